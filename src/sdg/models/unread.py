"""What of a sentence a text tower never sees."""

from collections.abc import Sequence
from typing import Any
from warnings import warn

from open_clip.tokenizer import SimpleTokenizer

__all__ = ["warn_of_unread_words"]


def warn_of_unread_words(text_encoder: object, sentences: Sequence[str]) -> None:
    """Warns of sentences whose end is beyond what CLIP's own tokenizer passes on.

    Arguments:
        text_encoder: with a `tokenizer`; any other is left alone.
    """
    tokenizer: Any = getattr(text_encoder, "tokenizer", None)
    if not isinstance(tokenizer, SimpleTokenizer):
        return
    length = int(tokenizer.context_length or 0) - 2  # without the start and the end
    for sentence in sentences:
        tokens = tokenizer.encode(sentence)
        if len(tokens) > length:
            unread = tokenizer.decode(tokens[length:]).strip()
            warn(
                f"this CLIP reads {length} tokens of a sentence; it does not read the last "
                f"{len(tokens) - length} of {sentence!r}: {unread!r}.",
                stacklevel=2,
            )
