"""A hook of mkdocs: an underscore is a subscript here, never emphasis.

Markdown leaves x_0 alone, but takes the underscores of x̂_0 for italics, because a combining hat
is no letter.
"""

from markdown.extensions import Extension
from markdown.inlinepatterns import SimpleTextInlineProcessor


class PlainUnderscores(Extension):
    def extendMarkdown(self, md):
        # After code, links and HTML, before emphasis, which has 60.
        md.inlinePatterns.register(SimpleTextInlineProcessor("(_)"), "plain_underscore", 65)


def on_config(config):
    config.markdown_extensions.append(PlainUnderscores())
    return config
