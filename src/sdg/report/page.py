"""One self-contained HTML page for a run or a sweep: it needs no network and no other file."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Page"]

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body {
  font: 15px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem;
}
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td {
  padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: bottom;
}
th:first-child, td:first-child { text-align: left; }
table.sortable th { cursor: pointer; }
.gallery td { padding: 2px; border: 0; text-align: center; vertical-align: middle; }
.gallery td:first-child {
  padding-right: .8rem; min-width: 4.5rem; max-width: 16rem; white-space: normal;
}
.gallery th {
  font-weight: normal; font-size: .75rem; white-space: normal; max-width: 6rem;
  text-align: center; border: 0;
}
.gallery img { width: 84px; height: 84px; cursor: zoom-in; }
img.pixels { image-rendering: pixelated; } svg, .picture { max-width: 100%; height: auto; }
figure.svg { background: white; margin: 0; display: inline-block; max-width: 100%; }
pre { background: var(--soft); padding: 1rem; overflow: auto; max-height: 32rem; }
dialog { border: 0; padding: 1rem; max-width: 94vw; } dialog::backdrop { background: #000b; }
dialog img { width: min(70vh, 84vw); height: auto; }
dialog p { max-width: min(70vh, 84vw); margin: .6rem 0 0; }
"""

SCRIPT = """
const large = document.querySelector('dialog');
document.addEventListener('click', event => {
  const image = event.target.closest('.gallery img');
  if (image) {
    large.querySelector('img').src = image.src;
    large.querySelector('p').textContent = image.alt;
    large.showModal();
  } else if (large.open) large.close();
});
const heads = document.querySelectorAll('table.sortable th');
heads.forEach((head, column) => head.addEventListener('click', () => {
  const body = head.closest('table').tBodies[0];
  const sign = head.dataset.sign = -(head.dataset.sign || -1);
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const words = (a, b) => value(a).localeCompare(value(b));
  const order = (a, b) => isNaN(value(a) - value(b)) ? words(a, b) : value(a) - value(b);
  [...body.rows].sort((a, b) => sign * order(a, b)).forEach(row => body.append(row));
}));
"""


class Page:
    """Collects parts in order and writes them.

    Arguments:
        title: of the page.
        note: a line below it.
    """

    def __init__(self, title: str, note: str = ""):
        self.title, self.parts = title, [f"<h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>"]

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def table(self, rows: Sequence[Mapping]) -> None:
        """Rows with the same keys; a click on a column's head sorts."""
        columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in columns)
        body = "".join(
            "<tr>" + "".join(cell(row[name]) for name in columns) + "</tr>" for row in rows
        )
        self.parts.append(
            '<div class="scroll"><table '
            f'class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def drawing(self, figure) -> None:
        """A matplotlib figure, as lines that stay sharp."""
        svg = io.StringIO()
        figure.savefig(svg, format="svg")
        self.parts.append(
            f'<figure class="svg">{svg.getvalue()[svg.getvalue().index("<svg") :]}</figure>'
        )

    def picture(self, file: Path, text: str) -> None:
        """An image file as it is."""
        self.parts.append(
            f'<img class="picture" alt="{html.escape(text)}" '
            f'src="{embedded(file.read_bytes(), file.suffix)}">'
        )

    def gallery(
        self, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple | None]]]
    ) -> None:
        """Small images in rows, each enlarged by a click.

        Arguments:
            heads: over the columns.
            rows: (label, [(image, what it is) or None, …]).
        """
        head = "".join(f"<th>{html.escape(text)}</th>" for text in ("", *heads))
        body = "".join(
            f"<tr><td>{html.escape(label)}</td>"
            + "".join(f"<td>{thumbnail(*image) if image else ''}</td>" for image in images)
            + "</tr>"
            for label, images in rows
        )
        self.parts.append(
            '<div class="scroll"><table '
            f'class="gallery"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def text(self, text: str) -> None:
        """Text in the letters of a terminal, such as a config."""
        self.parts.append(f"<pre>{html.escape(text)}</pre>")

    def write(self, file: Path) -> Path:
        file.write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            'content="width=device-width">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head><body>\n"
            + "\n".join(self.parts)
            + '\n<dialog><img class="pixels" alt=""><p></p></dialog>'
            f"<script>{SCRIPT}</script></body></html>\n",
            encoding="utf-8",
        )
        return file


def cell(value) -> str:
    if isinstance(value, float):
        return f'<td data-value="{value!r}">{value:.3g}</td>'
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"


def thumbnail(image, text: str) -> str:
    data = io.BytesIO()
    image.save(data, "png")
    said, source = html.escape(text), embedded(data.getvalue(), ".png")
    return f'<img class="pixels" loading="lazy" title="{said}" alt="{said}" src="{source}">'


def embedded(data: bytes, suffix: str) -> str:
    return f"data:image/{suffix[1:].lower()};base64,{base64.b64encode(data).decode()}"
