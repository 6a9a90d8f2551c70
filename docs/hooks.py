"""Hooks of mkdocs: what these pages need beyond Markdown."""

import re
from collections.abc import Iterator
from pathlib import Path

from markdown.extensions import Extension
from markdown.inlinepatterns import SimpleTextInlineProcessor

from sdg.app.schema import PROGRAMS, SETTINGS

COMMENTED = re.compile(r"^( *)(\w+):[^#\n]*(?:# (.+))?$", re.MULTILINE)
CONF = Path(__file__).resolve().parent.parent / "conf"

# A link out of docs/, such as [`compare`](../src/sdg/similarity/term.py).
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:src|conf|tests|benchmarks|notebooks)/[^)]*\)")


class PlainUnderscores(Extension):
    """An underscore is a subscript here, never emphasis.

    Markdown leaves x_0 alone, but takes the underscores of x̂_0 for italics, because a combining
    hat is no letter.
    """

    def extendMarkdown(self, md):
        # After code, links and HTML, before emphasis, which has 60.
        md.inlinePatterns.register(SimpleTextInlineProcessor("(_)"), "plain_underscore", 65)


def on_config(config):
    config.markdown_extensions.append(PlainUnderscores())
    return config


def on_page_markdown(markdown, **kwargs):
    """Links to files that are no page work on GitHub; here their words stay, without the link."""
    if "<!-- settings -->" in markdown:
        markdown = markdown.replace("<!-- settings -->", tables())
    return OUTSIDE.sub(r"\1", markdown)


def tables() -> str:
    """What every setting may be, from the schema, and what it does, from the comments of conf/."""
    comments = dict(reversed(list(commented())))  # the first one counts
    sections = {f"Of {name}.py": list(kinds.items()) for name, kinds in PROGRAMS.items()}
    for key, kind in SETTINGS.items():
        section = key.partition(".")[0] if "." in key else "Of both"
        sections.setdefault(section, []).append((key, kind))
    lines = []
    for name, rows in sections.items():
        lines += [f"\n## {name}\n", "| setting | may be | |", "|---|---|---|"]
        for key, kind in rows:
            cells = (f"`{key}`", kind.words, comments.get(key, ""))
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def commented() -> Iterator[tuple[str, str]]:
    """(dotted key, its comment) of the files of conf/."""
    for file in sorted(CONF.rglob("*.yaml")):
        text = file.read_text()
        group = file.parent.relative_to(CONF).as_posix()
        top = group == "." or "@package _global_" in text
        above: list[tuple[int, list[str]]] = [(-1, [] if top else [group])]
        for indent, name, comment in COMMENTED.findall(text):
            while above[-1][0] >= len(indent):
                above.pop()
            above.append((len(indent), [*above[-1][1], name]))
            if comment:
                yield ".".join(above[-1][1]), comment.strip()
