"""Trains a model, the denoiser or the encoder that `encoder=` names.

`python train.py --help` lists the settings.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from sdg.app.cli import entry_point  # noqa: E402


@entry_point("train")
def main(config):
    from sdg.app.train import train

    train(config)


if __name__ == "__main__":
    main()
