"""One self-contained HTML page for a run or a sweep: it needs no network and no other file.

Its looks are in `templates/`: what a part is called here, `page.html` says how it is shown.
"""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["Group", "Page", "Picture"]

SMALL = 128  # pixels; what has fewer is enlarged with sharp edges


class Picture:
    """An image and its captions.

    Arguments:
        image: a PIL image.
        text: a full description, read where the image is enlarged.
        label: a few words below it in a grid.
        shown: whether it shows its prompt; None where nothing was read off it.
        wrong: what it misses, in a few words.
        unguided: the picture of the same seed without guidance, to stand beside it.
    """

    def __init__(
        self,
        image,
        text: str,
        label: str = "",
        shown: bool | None = None,
        wrong: str = "",
        unguided: "Picture | None" = None,
    ):
        self.source, self.small = as_png(image), image.width < SMALL
        self.text, self.label, self.shown, self.wrong = text, label, shown, wrong
        self.unguided = unguided


@dataclass
class Group:
    """Samples that stand together below a label, behind the pictures that they refer to."""

    label: str
    samples: Sequence[Picture]
    references: Sequence[Picture] = field(default_factory=list)


class Page:
    """Collects parts in order and writes them.

    All text is escaped: markup in a prompt is shown as it was written.

    Arguments:
        title: of the page.
        note: a line below it.
        command: that made what is shown; a button copies it.
        date: of that.
    """

    def __init__(self, title: str, note: str = "", command: str = "", date: str = ""):
        self.head = {"title": title, "note": note, "command": command, "date": date}
        self.parts: list[tuple[str, object]] = []

    def heading(self, text: str) -> None:
        self.parts.append(("heading", text))

    def note(self, text: str) -> None:
        """A line of small print."""
        self.parts.append(("note", text))

    def table(self, rows: Sequence[Mapping]) -> None:
        """Rows with the same keys; a click on a column's head sorts.

        A column without values is left out.
        """

        def filled(name: str) -> bool:
            return any(row[name] is not None for row in rows)

        columns = [name for name in rows[0] if filled(name)]
        self.parts.append(("table", {"rows": rows, "columns": columns}))

    def figures(self, sentences: Sequence) -> None:
        """Figures in words: `sdg.report.words.Sentence` each."""
        self.parts.append(("figures", sentences))

    def drawing(self, figure) -> None:
        """A matplotlib figure, as lines that stay sharp."""
        svg = io.StringIO()
        figure.savefig(svg, format="svg")
        text = svg.getvalue()
        self.parts.append(("drawing", Markup(text[text.index("<svg") :])))

    def picture(self, file: Path, text: str) -> None:
        """An image file as it is."""
        source = embedded(file.read_bytes(), file.suffix)
        self.parts.append(("picture", {"text": text, "source": source}))

    def grid(self, groups: Sequence[Group]) -> None:
        """Samples in a grid, each enlarged by a click.

        Where it is known which show their prompt, buttons choose among them.
        """
        self.choose([sample for group in groups for sample in group.samples])
        self.parts.append(("grid", groups))

    def gallery(
        self, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Picture | None]]]
    ) -> None:
        """Small images in rows, each enlarged by a click.

        Arguments:
            titles: over the columns.
            rows: (label, [picture or None, …]).
        """
        self.choose([cell for _, cells in rows for cell in cells if cell])
        self.parts.append(("gallery", {"titles": ["", *titles], "rows": rows}))

    def choose(self, pictures: Sequence[Picture]) -> None:
        """Buttons that show all samples, those that show their prompt, or the others."""
        known = [picture.shown for picture in pictures if picture.shown is not None]
        if known:
            hits = sum(known)
            counts = {"all": len(pictures), "hits": hits, "misses": len(known) - hits}
            self.parts.append(("filter", counts))

    def text(self, text: str) -> None:
        """Text in the letters of a terminal, such as a config."""
        self.parts.append(("text", text))

    @contextmanager
    def folded(self, summary: str) -> Iterator[None]:
        """What is added inside is folded away below one line."""
        outer, self.parts = self.parts, []
        try:
            yield
        finally:
            outer.append(("folded", {"summary": summary, "parts": self.parts}))
            self.parts = outer

    def write(self, file: Path) -> Path:
        text = templates().get_template("page.html").render(**self.head, parts=self.parts)
        file.write_text(text, encoding="utf-8")
        return file


def templates() -> Environment:
    return Environment(
        loader=PackageLoader("sdg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def as_png(image) -> str:
    data = io.BytesIO()
    image.save(data, "png")
    return embedded(data.getvalue(), ".png")


def embedded(data: bytes, suffix: str) -> str:
    return f"data:image/{html.escape(suffix[1:].lower())};base64,{base64.b64encode(data).decode()}"
