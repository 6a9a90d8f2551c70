"""Draws guided samples and measures them. `python sample.py --help` lists the settings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from sdg.app.commands import sample as main  # noqa: E402

if __name__ == "__main__":
    main()
