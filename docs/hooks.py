"""Hooks of mkdocs: what these pages need beyond Markdown."""

import re

from markdown.extensions import Extension
from markdown.inlinepatterns import SimpleTextInlineProcessor

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
    return OUTSIDE.sub(r"\1", markdown)
