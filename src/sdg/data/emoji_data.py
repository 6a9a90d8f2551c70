"""The emoji of a font as a DataModule."""

import hashlib

from sdg.data.emoji import CLDR, Emoji
from sdg.data.split_data import SplitData

__all__ = ["EmojiData"]


class EmojiData(SplitData):
    """The emoji of an installed colour font.

    Arguments:
        resolution, captions, flip, font, cldr, cache: as of `Emoji`.
        held_out: the fraction that is held out, each with all its tones of skin.
    """

    def __init__(
        self,
        resolution: int = 64,
        held_out: float = 0.05,
        captions: bool = False,
        flip: bool = False,
        font: str | None = None,
        cldr: str = CLDR,
        cache: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        super().__init__(
            Emoji(resolution, captions, flip, font, cldr, cache), held_out, batch_size, num_workers
        )

    def identity(self) -> dict:
        names = "\n".join(self.images.emoji[i].text for i in self.held_out.indices)
        return {
            "data": "emoji",
            "font": self.images.font_mark,
            "names": hashlib.sha256(names.encode()).hexdigest(),
            "resolution": self.resolution,
        }
