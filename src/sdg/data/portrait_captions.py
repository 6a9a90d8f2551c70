"""Sentences about portraits, and what a sentence names.

Every value has words, every sentence's words are known.
"""

import re

import numpy as np

from sdg.data.portrait_factors import FACTORS
from sdg.data.sentences import GROUNDS, OPENINGS, PEOPLE, article
from sdg.errors import UserError, near

__all__ = ["WORDS", "all_named", "describe", "zero_shot_caption"]

EXPRESSIONS = {
    "happy": ("smiling", "happy"),
    "sad": ("sad", "unhappy"),
    "surprised": ("surprised", "shocked"),
    "angry": ("angry", "furious"),
    "cheeky": ("cheeky", "winking"),
}
HAIR = {  # {} is the colour, with a blank behind it, or nothing
    "bald": ("no hair", "a bald head"),
    "short": ("short {}hair",),
    "spiky": ("spiky {}hair", "messy {}hair"),
    "bob": ("a {}bob",),
    "long": ("long {}hair",),
    "curly": ("curly {}hair", "a {}afro"),
}
FACIAL_HAIR = {
    "none": ("no beard",),
    "moustache": ("a {}moustache",),
    "beard": ("a {}beard", "a full {}beard"),
}
EYEWEAR = {
    "none": ("no glasses",),
    "glasses": ("glasses",),
    "sunglasses": ("sunglasses",),
    "eyepatch": ("an eyepatch",),
}
HEADWEAR = {
    "hat": ("a {}hat",),
    "turban": ("a {}turban",),
    "beanie": ("a {}beanie",),
    "ear-flap hat": ("an {}ear-flap hat",),
}
CLOTHES = {
    "t-shirt": ("a {}t-shirt",),
    "hoodie": ("a {}hoodie",),
    "blazer": ("a {}blazer",),
    "dungarees": ("{}dungarees",),
}

# What a word says of a factor by itself.
MEANING = {word: ("expression", value) for value, words in EXPRESSIONS.items() for word in words}
MEANING |= {
    "bald": ("hair", "bald"),
    "short": ("hair", "short"),
    "spiky": ("hair", "spiky"),
    "messy": ("hair", "spiky"),
    "bob": ("hair", "bob"),
    "long": ("hair", "long"),
    "curly": ("hair", "curly"),
    "afro": ("hair", "curly"),
    "glasses": ("eyewear", "glasses"),
    "sunglasses": ("eyewear", "sunglasses"),
    "eyepatch": ("eyewear", "eyepatch"),
    "moustache": ("facial_hair", "moustache"),
    "beard": ("facial_hair", "beard"),
    "hat": ("headwear", "hat"),
    "turban": ("headwear", "turban"),
    "beanie": ("headwear", "beanie"),
    "ear-flap": ("headwear", "ear-flap hat"),
    "t-shirt": ("clothes", "t-shirt"),
    "hoodie": ("clothes", "hoodie"),
    "blazer": ("clothes", "blazer"),
    "dungarees": ("clothes", "dungarees"),
}
# Of which factor a noun takes the colour that stands before it.
COLOURED = {
    "hair": "hair_colour",
    "bob": "hair_colour",
    "afro": "hair_colour",
    "beard": "hair_colour",
    "moustache": "hair_colour",
    "head": "hair_colour",
    "hat": "headwear_colour",
    "turban": "headwear_colour",
    "beanie": "headwear_colour",
    "headwear": "headwear_colour",
    "t-shirt": "clothes_colour",
    "hoodie": "clothes_colour",
    "blazer": "clothes_colour",
    "dungarees": "clothes_colour",
    "clothes": "clothes_colour",
    "background": "background",
    "skin": "skin",
}
ABSENT = {
    "hair": ("hair", "bald"),
    "glasses": ("eyewear", "none"),
    "beard": ("facial_hair", "none"),
}
SPELLINGS = {
    "gray": "grey",
    "blonde": "blond",
    "mustache": "moustache",
    "without": "no",
    "ginger": "red",
}
TONES = tuple(f"{tone}-skinned" for tone in FACTORS["skin"])
COLOURS = sorted({value for factor in set(COLOURED.values()) for value in FACTORS[factor]})
GRAMMAR = (
    "a",
    "an",
    "the",
    "of",
    "on",
    "with",
    "and",
    "in",
    "front",
    "against",
    "who",
    "has",
    "is",
    "wearing",
    "wears",
    "portrait",
    "picture",
    "drawing",
    "full",
    "no",
    "person",
    "character",
)
WORDS = tuple(sorted({*MEANING, *COLOURED, *COLOURS, *GRAMMAR, *TONES, *SPELLINGS}))


def describe(factors, rng: np.random.Generator, named=None) -> str:
    """A caption in varied wording.

    One is "a smiling person with short red hair and a beard in a blue hoodie".

    Arguments:
        factors: eleven indices in the order of `FACTORS`, −1 for what is not there.
        rng: chooses the wording.
        named: names of the factors to mention, or how many of those that are there; by default one
            to all of them, each number as often. The colour of a beard is the hair's: where there
            is no hair, naming `hair_colour` names the beard too.
    """
    there = {
        name: FACTORS[name][value]
        for name, value in zip(FACTORS, factors, strict=True)
        if value >= 0
    }
    if named is None or isinstance(named, int):
        order = [list(there)[i] for i in rng.permutation(len(there))]
        named = order[: rng.integers(1, len(there) + 1) if named is None else named]
    said = {name: value for name, value in there.items() if name in named}
    if "hair_colour" in said and there.get("hair", "bald") == "bald":
        said["facial_hair"] = there["facial_hair"]

    def pick(options) -> str:
        return str(options[rng.integers(len(options))])

    def worded(table, factor: str, colour: str | None) -> list[str]:
        if factor not in said:
            return []
        return [
            article(pick(table[said[factor]]).format(f"{said[colour]} " if colour in said else ""))
        ]

    bald = there.get("hair", "bald") == "bald"
    features = worded(HAIR, "hair", None if bald else "hair_colour")
    if not features and not bald and "hair_colour" in said:
        features = [f"{said['hair_colour']} hair"]
    features += worded(FACIAL_HAIR, "facial_hair", "hair_colour" if bald else None)
    adjectives = [pick(EXPRESSIONS[said["expression"]])] if "expression" in said else []
    if "skin" in said and rng.random() < 0.5:
        adjectives.append(f"{said['skin']}-skinned")
    elif "skin" in said:
        features.append(f"{said['skin']} skin")
    worn = worded(HEADWEAR, "headwear", "headwear_colour")
    if not worn and "headwear_colour" in said:
        worn = [f"{said['headwear_colour']} headwear"]
    worn += worded(CLOTHES, "clothes", "clothes_colour")
    if "clothes" not in said and "clothes_colour" in said:
        worn.append(f"{said['clothes_colour']} clothes")
    eyewear = worded(EYEWEAR, "eyewear", None)
    (features if said.get("eyewear") == "none" or rng.random() < 0.5 else worn).extend(eyewear)
    features, worn = (list(rng.permutation(parts)) for parts in (features, worn))

    phrase = article(" ".join(["a", *adjectives, pick(PEOPLE)]))
    if features:
        phrase += pick((" with ", " with ", " who has ")) + " and ".join(features)
    if worn:
        phrase += pick(
            (" in ", " wearing ") if features else (" in ", " wearing ", " who wears ")
        ) + " and ".join(worn)
    if "background" in said:
        phrase += " " + article(pick(GROUNDS).format(said["background"]))
    return pick(OPENINGS) + phrase


def zero_shot_caption(factor: str, value: str) -> str:
    """Such as "a person with long hair", "a happy person", "a person on a white background"."""
    noun = {"headwear_colour": f"{value} headwear", "clothes_colour": f"{value} clothes"}.get(
        factor
    )
    tables = {
        "hair": HAIR,
        "facial_hair": FACIAL_HAIR,
        "eyewear": EYEWEAR,
        "headwear": HEADWEAR,
        "clothes": CLOTHES,
    }
    if factor == "expression":
        return article(f"a {EXPRESSIONS[value][0]} person")
    if factor == "background":
        return article(f"a person on a {value} background")
    if noun is None:
        noun = (
            tables[factor][value][0].format("")
            if factor in tables
            else f"{value} {'skin' if factor == 'skin' else 'hair'}"
        )
    joint = (
        "in" if factor in ("clothes", "clothes_colour", "headwear_colour", "headwear") else "with"
    )
    return f"a person {joint} {article(noun)}"


def all_named(caption: str) -> dict[str, set[int]]:
    """The factors that a caption names and all their values.

    "a person with red hair" gives {"hair_colour": {3}}.

    A colour belongs to the next noun that can have one; "no" turns the next noun into its absence.

    Raises:
        UserError: a word that the captions of portraits never use.
    """
    named: dict[str, set[int]] = {}

    def name(factor: str, value: str) -> None:
        if value in FACTORS[factor]:
            named.setdefault(factor, set()).add(FACTORS[factor].index(value))

    colours: list[str] = []
    absent = False
    for given in re.findall(r"[^\W_]+(?:[’'-][^\W_]+)*", caption.lower()):
        if given not in WORDS:
            hint = near(given, WORDS) or "."
            raise UserError(
                f"the prompt {caption!r} has the word '{given}', which this data never uses{hint} "
                f"Known words: {' '.join(WORDS)}."
            )
        word = SPELLINGS.get(given, given)
        if word == "no":
            absent = True
        elif word in COLOURS:
            colours.append(word)
        elif word in TONES:
            name("skin", word.removesuffix("-skinned"))
        elif absent and word in ABSENT:
            name(*ABSENT[word])
            absent = False
        else:
            if word in MEANING and not (
                word == "hat" and "headwear" in named and ear_flaps in named["headwear"]
            ):
                name(*MEANING[word])
            if word in COLOURED:
                for colour in colours:
                    name(COLOURED[word], colour)
                colours = []
    return named


ear_flaps = FACTORS["headwear"].index("ear-flap hat")
