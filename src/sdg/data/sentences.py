"""How captions of portraits of any style are worded."""

import re

__all__ = ["GROUNDS", "OPENINGS", "PEOPLE", "article"]

OPENINGS = ("", "", "", "a portrait of ", "a picture of ", "a drawing of ")
PEOPLE = ("person", "person", "character")
GROUNDS = ("on a {} background", "against a {} background", "in front of a {} background")


def article(phrase: str) -> str:
    """The phrase with every "a" and "an" as the next word wants it."""
    return re.sub(r"\ban? (?=(\w))", lambda word: "an " if word[1] in "aeiou" else "a ", phrase)
