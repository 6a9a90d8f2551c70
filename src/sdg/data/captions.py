"""What the embedded shapes may show, and sentences about it.

Every attribute has words, every sentence's words are known.

Five factors (shape, colour, pattern, size, background); a caption names some of them.
"""

import numpy as np

from sdg.data.sentences import FUNCTION_WORDS, article, unknown_word, words_in_caption
from sdg.errors import UserError

__all__ = [
    "FACTORS",
    "WORDS",
    "all_named",
    "describe",
    "named_factors",
    "wording",
    "zero_shot_caption",
]

FACTORS = {
    "shape": ("circle", "square", "triangle", "star", "heart", "ring"),
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"),
    "pattern": ("solid", "striped", "dotted"),
    "size": ("small", "large"),
    "background": ("white", "grey", "black"),
}

SYNONYMS = {
    "circle": ("circle", "disc"),
    "solid": ("solid", "plain"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "small": ("small", "little"),
    "large": ("large", "big"),
    "grey": ("grey", "gray"),
}
NOUNS = ("shape", "object", "figure")  # stand for a shape that the caption does not name
OPENINGS = ("", "", "", "a picture of ", "an image of ", "a drawing of ")
GRAMMAR = (
    *FUNCTION_WORDS,
    "that",
    "background",
    "picture",
    "image",
    "drawing",
    "stripes",
    "dots",
)

MEANING = {
    word: (factor, i)
    for factor, values in FACTORS.items()
    for i, value in enumerate(values)
    for word in SYNONYMS.get(value, (value,))
}
MEANING |= {"stripes": ("pattern", 1), "dots": ("pattern", 2)}
WORDS = tuple(sorted({*MEANING, *NOUNS, *GRAMMAR}))


def wording(sentence: str, value: str) -> str:
    """The sentence's own word for a value, such as "disc" for "circle"; else the value."""
    said = words_in_caption(sentence)
    return next((word for word in SYNONYMS.get(value, ()) if word in said), value)


def describe(factors, rng: np.random.Generator, named=None) -> str:
    """A caption in varied wording, such as "a small striped red heart on a white background".

    Arguments:
        factors: five indices in the order of `FACTORS`.
        rng: chooses the wording.
        named: names of the factors to mention, or how many of them; by default one to five, each
            number as often.
    """
    names = list(FACTORS)
    if named is None or isinstance(named, int):
        order = [names[i] for i in rng.permutation(len(names))]
        named = order[: rng.integers(1, len(names) + 1) if named is None else named]
    value = {name: FACTORS[name][factors[i]] for i, name in enumerate(names) if name in named}
    word = {name: str(rng.choice(SYNONYMS.get(v, (v,)))) for name, v in value.items()}

    adjectives = [word[name] for name in ("size", "pattern", "colour") if name in word]
    noun, after = word.get("shape", str(rng.choice(NOUNS))), ""
    style = rng.random()
    if value.get("pattern") in ("striped", "dotted") and style < 0.2:
        adjectives.remove(word["pattern"])
        after = " with " + {"striped": "stripes", "dotted": "dots"}[value["pattern"]]
    elif adjectives and style < 0.35:
        after, adjectives = " that is " + " and ".join(rng.permutation(adjectives)), []
    elif style < 0.5:
        adjectives = list(rng.permutation(adjectives))
    if "background" in word:
        after += str(
            rng.choice(
                (" on a {} background", " on {}", " against a {} background", " on a {} background")
            )
        ).format(word["background"])
    phrase = " ".join([*adjectives, noun])
    return f"{rng.choice(OPENINGS)}{article(f'a {phrase}')}{after}"


def zero_shot_caption(factor: str, value: str) -> str:
    """ "a heart", "a red shape", "a shape on a white background"."""
    return {"shape": f"a {value}", "background": f"a shape on a {value} background"}.get(
        factor, f"a {value} shape"
    )


def all_named(caption: str) -> dict[str, set[int]]:
    """The factors that a caption names and all their values.

    "a red blue heart" gives {"colour": {0, 2}, "shape": {4}}.

    Raises:
        UserError: a word that the shapes' captions never use.
    """
    named: dict[str, set[int]] = {}
    for word in words_in_caption(caption):
        if word not in WORDS:
            raise unknown_word(caption, word, WORDS)
        if word in MEANING:
            factor, value = MEANING[word]
            named.setdefault(factor, set()).add(value)
    return named


def named_factors(caption: str) -> dict[str, int]:
    """The factors that a caption names and their values.

    "a red heart" gives {"colour": 0, "shape": 4}.

    Raises:
        UserError: a word that the shapes' captions never use, or two values of one factor.
    """
    named = all_named(caption)
    for factor, values in named.items():
        if len(values) > 1:
            raise UserError(f"the prompt {caption!r} names two values of {factor}; name one.")
    return {factor: values.pop() for factor, values in named.items()}
