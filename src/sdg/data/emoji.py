"""Every emoji of an installed colour font, with its names in Unicode's own words.

These are real pictures with words for everybody, offline.
"""

import copy
import hashlib
import itertools
import re
import xml.etree.ElementTree
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import Dataset

from sdg.data.rendered import rendered
from sdg.errors import UserError, choice, integer

__all__ = ["CLDR", "Emoji", "NamedEmoji", "named_emoji"]

FONTS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/System/Library/Fonts/Apple Color Emoji.ttc",
    "C:/Windows/Fonts/seguiemj.ttf",
)
SIZES = (109, 160, 96, 64)  # of bitmap fonts, Noto's and Apple's; any serves the others
CLDR = "/usr/share/unicode/cldr/common"
UNASSIGNED = "\U0010ffff"


class NamedEmoji(NamedTuple):
    """An emoji, its name and its keywords, as CLDR has them."""

    text: str
    name: str
    keywords: tuple[str, ...]

    @property
    def base(self) -> str:
        """Its name without tones of skin: what its variants have in common."""
        return re.sub(
            r"[:,] (medium-light|medium-dark|light|medium|dark) skin tone", "", self.name
        ).replace(":", ",")

    def captions(self) -> list[str]:
        """Its name, each keyword that has a letter, and the name with the first two."""
        others = [
            word
            for word in self.keywords
            if word.lower() != self.name.lower() and re.search(r"[^\W_]", word)
        ]
        return [self.name, *others, *([f"{self.name}, {', '.join(others[:2])}"] if others else [])]


class Emoji(Dataset):
    """Emoji on white.

    Items, fetched a batch at a time, are {`image`: float (B, 3, H, W) in [-1, 1]}, and with
    `captions` {`caption`: B sentences}: the name half of the time, else another of its captions.

    Arguments:
        resolution: side in pixels.
        captions: give captions with the images.
        flip: mirror every other time.
        font: file of a colour font; None looks where systems have one.
        cldr: folder of Unicode's CLDR with `annotations/en.xml`.
        cache: folder of rendered images; None renders in memory.

    Raises:
        UserError: the font or the CLDR is missing, or the font has no emoji.
    """

    knows_captions = True
    classes: dict[str, dict[str, str]] = {}

    def __init__(
        self,
        resolution: int = 64,
        captions: bool = False,
        flip: bool = False,
        font: str | None = None,
        cldr: str = CLDR,
        cache: str | None = None,
    ):
        self.resolution, self.with_captions, self.flip = (
            integer("data.resolution", resolution, 8, 128),
            captions,
            choice("data.flip", flip, (False, True)),
        )
        self.file = font_file(font)
        self.font_mark = hashlib.sha256(self.file.read_bytes()).hexdigest()[:12]
        self.font = open_font(self.file)
        self.emoji = self.drawable(named_emoji(Path(cldr).expanduser()), cache)
        place = (
            Path(cache) / f"emoji-{self.font_mark}-{digest(self.emoji)}-{self.resolution}px.npy"
            if cache
            else None
        )
        self.images = rendered(
            place,
            len(self.emoji),
            lambda: np.stack([np.asarray(self.draw(emoji.text)) for emoji in self.emoji]),
        )

    def drawable(self, every: list[NamedEmoji], cache: str | None) -> list[NamedEmoji]:
        """Those that the font draws as one picture."""
        one, nothing, face = (
            self.font.getlength("\U0001f600"),
            self.picture(UNASSIGNED).tobytes(),
            np.asarray(self.picture("\U0001f600"))[..., :3],
        )
        if (face == face[..., :1]).all():
            raise UserError(f"data.font: {self.file} draws no emoji in colour; give another font.")

        def single(text: str) -> bool:
            if self.font.getlength(text) != one:
                return False
            picture = self.picture(text)
            return picture.getbbox() is not None and picture.tobytes() != nothing

        def try_each() -> np.ndarray:
            return np.array([single(emoji.text) for emoji in every])

        file = Path(cache) / f"emoji-{self.font_mark}-{digest(every)}.npy" if cache else None
        drawable = list(itertools.compress(every, rendered(file, len(every), try_each)))
        if not drawable:
            raise UserError(f"data.font: {self.file} draws no emoji in colour; give another font.")
        return drawable

    def picture(self, text: str) -> Image.Image:
        """One emoji, as large as the font has it, on nothing."""
        side = round(
            self.font.getlength("\U0001f600") * 0.945
        )  # what is left of Noto's cells without their margin
        image = Image.new("RGBA", (side, side))
        ImageDraw.Draw(image).text(
            (side / 2, side / 2), text, font=self.font, embedded_color=True, anchor="mm"
        )
        return image

    def draw(self, text: str) -> Image.Image:
        """One emoji on white, in RGB, `resolution` pixels a side."""
        picture = self.picture(text)
        ground = Image.new("RGBA", picture.size, "white")
        return (
            Image.alpha_composite(ground, picture)
            .convert("RGB")
            .resize((self.resolution,) * 2, Image.Resampling.LANCZOS)
        )

    def __len__(self) -> int:
        return len(self.emoji)

    def __getitem__(self, index: int) -> dict:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices) -> dict:
        images = (
            torch.from_numpy(np.array(self.images[list(indices)]))
            .permute(0, 3, 1, 2)
            .float()
            .div_(127.5)
            .sub_(1)
        )
        if self.flip:
            mirrored = torch.rand(len(images)) < 0.5
            images[mirrored] = images[mirrored].flip(3)
        if not self.with_captions:
            return {"image": images}
        return {"image": images, "caption": [self.any_caption(i) for i in indices]}

    def any_caption(self, index: int) -> str:
        name, *others = self.emoji[index].captions()
        return (
            others[int(torch.randint(len(others), ()))] if others and torch.rand(()) < 0.5 else name
        )

    def captions_of(self, index: int) -> list[str]:
        """The captions of one emoji; the first is its name."""
        return self.emoji[index].captions()

    def plain(self) -> "Emoji":
        """The same emoji, never mirrored."""
        other = copy.copy(self)
        other.flip = False
        return other

    def split_key(self, index: int) -> bytes:
        """What decides on which side of a split an emoji stands.

        It is the same for all its tones of skin, whatever the font.
        """
        return self.emoji[index].base.encode()


def named_emoji(cldr: Path) -> list[NamedEmoji]:
    """All that CLDR names, in English; letters and signs among them, which no colour font draws."""
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for part in ("annotations", "annotationsDerived"):
        file = cldr / part / "en.xml"
        if not file.is_file():
            raise UserError(
                f"data.cldr: there is no {file}. Debian: apt install unicode-cldr-core; or unpack "
                "the CLDR's common folder and set data.cldr=FOLDER."
            )
        for annotation in xml.etree.ElementTree.parse(file).iter("annotation"):
            characters, words = annotation.attrib["cp"], annotation.text or ""
            if annotation.get("type") == "tts":
                names[characters] = words
            else:
                keywords[characters] = tuple(word.strip() for word in words.split("|"))
    return [NamedEmoji(text, name, keywords.get(text, ())) for text, name in names.items()]


def digest(emoji: list[NamedEmoji]) -> str:
    return hashlib.sha256("\n".join(one.text for one in emoji).encode()).hexdigest()[:12]


def font_file(chosen: str | None) -> Path:
    """The font that the user chose, else the first of `FONTS` that is installed."""
    for file in map(Path, [chosen] if chosen else FONTS):
        if file.expanduser().is_file():
            return file.expanduser()
    if chosen:
        raise UserError(f"data.font: there is no file {chosen}.")
    raise UserError(
        "no colour-emoji font was found. Debian: apt install fonts-noto-color-emoji; or set "
        "data.font=FILE."
    )


def open_font(file: Path) -> ImageFont.FreeTypeFont:
    for size in SIZES:
        try:
            return ImageFont.truetype(str(file), size)
        except OSError:
            continue
    raise UserError(f"data.font: {file} is no font that can be opened.")
