"""Draws guided samples and measures them. `python sample.py --help` lists the settings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from sdg.app.cli import entry_point  # noqa: E402


@entry_point("sample")
def main(config):
    from sdg.app.sample import sample

    sample(config)


if __name__ == "__main__":
    main()
