"""The pictures of the portraits in README and docs/.

They are docs/portraits.png, docs/portraits_references.png and docs/two_sentences.png.

    python benchmarks/pictures.py FOLDER

Nothing is chosen: the seeds are 0 … 3, the first samples are shown. A run in FOLDER is not drawn
again.
"""

import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from runs import ROOT, folder_and_options, sample, within

sys.path.insert(0, str(ROOT / "src"))

from sdg.data.portraits import Portraits  # noqa: E402

SENTENCES = (
    "a smiling person with long pink hair and glasses in a blue hoodie",
    "an angry person with a red beard wearing a green beanie",
    "a surprised person with curly black hair and sunglasses on an orange background",
    "a sad light-skinned person with a moustache and an eyepatch in a yellow hat",
    "a cheeky dark-skinned person with short blond hair in red dungarees",
)
TWO = ("a person with glasses", "a person in a purple hoodie")
REFERENCES = (3, 7)  # held-out portraits
SEEDS = 4
SIDE = 128  # of a picture: twice that of a sample
TEXT = 260
GAP = 6
SETTINGS = {"data": "portraits", "num_samples": SEEDS}


def images(folder: Path) -> list[Image.Image]:
    """The samples of a run, in order, enlarged."""
    files = sorted((folder / "images").iterdir())
    return [Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.NEAREST) for file in files]


def draw(folder: Path, **options) -> list[Image.Image]:
    place = within(folder, "-".join(f"{key}-{value}" for key, value in options.items())[:120])
    sample(place, **SETTINGS, **options)
    return images(place)


def sheet(file: Path, rows: list[tuple[str, list[Image.Image]]]) -> None:
    """Writes a picture: a line of text beside each row of images."""
    columns = max(len(row) for _, row in rows)
    size = (TEXT + columns * (SIDE + GAP), len(rows) * (SIDE + GAP))
    picture = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=17)
    for k, (text, row) in enumerate(rows):
        top = k * (SIDE + GAP)
        pen.multiline_text((8, top + 14), "\n".join(textwrap.wrap(text, 27)), "black", font)
        for column, image in enumerate(row):
            picture.paste(image, (TEXT + column * (SIDE + GAP), top))
    Image.fromarray(np.asarray(picture)).save(file, optimize=True)
    print(f"picture: {file}")


def reference(number: int) -> Image.Image:
    """A held-out portrait, enlarged."""
    data = Portraits(number + 1, seed=1, cache=None)
    return Image.fromarray(data.images[number]).resize((SIDE, SIDE), Image.NEAREST)


def by_reference(folder: Path, number: int) -> list[tuple[str, list[Image.Image]]]:
    """Two rows: the reference and samples of its content, and of its style."""
    shown, rows = reference(number), []
    for kind, text in (("content", "content of the first picture"), ("style", "its style alone")):
        option = {f"similarity__{kind}__reference": f"'held-out {number}'"}
        rows.append((text, [shown, *draw(folder, similarity=f"[{kind}]", **option)]))
    return rows


def quoted(sentence: str) -> str:
    return f"'{sentence}'"


def main(folder: Path) -> None:
    docs = ROOT / "docs"
    unguided = draw(folder, guidance__gamma=0)
    rows = [("unguided: the same seeds in every row", unguided)]
    rows += [(sentence, draw(folder, prompt=quoted(sentence))) for sentence in SENTENCES]
    sheet(docs / "portraits.png", rows)

    blank = Image.new("RGB", (SIDE, SIDE), "white")
    rows = [("unguided", [blank, *unguided])]
    for number in REFERENCES:
        rows += by_reference(folder, number)
    sheet(docs / "portraits_references.png", rows)

    both = " | ".join(TWO)
    rows = [("unguided", unguided)]
    rows += [(sentence, draw(folder, prompt=quoted(sentence))) for sentence in TWO]
    sheet(
        docs / "two_sentences.png", [*rows, ("both sentences", draw(folder, prompt=quoted(both)))]
    )


if __name__ == "__main__":
    main(folder_and_options(__doc__, {})[0])
