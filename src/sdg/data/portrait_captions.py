"""Sentences about portraits, and what a sentence names.

Every value has words, every sentence's words are known.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sdg.data.portrait_factors import FACTORS
from sdg.data.portrait_vocabulary import (
    ABSENT,
    CLOTHES,
    COLOURED,
    COLOURS,
    EXPRESSIONS,
    EYEWEAR,
    FACIAL_HAIR,
    HAIR,
    HEADWEAR,
    MEANING,
    SPELLINGS,
    TONES,
    WORDS,
)
from sdg.data.sentences import (
    GROUNDS,
    OPENINGS,
    PEOPLE,
    article,
    pick,
    unknown_word,
    words_in_caption,
)

__all__ = ["WORDS", "all_named", "describe", "zero_shot_caption"]


def describe(factors, rng: np.random.Generator, named=None) -> str:
    """A caption in varied wording.

    One is "a smiling person with short red hair and a beard in a blue hoodie".

    Arguments:
        factors: eleven indices in the order of `FACTORS`, −1 for what is not visible.
        rng: chooses the wording.
        named: names of the factors to mention, or how many of the visible ones; by default one to
            all of them, each number as often. The colour of a beard is the hair's: where there is
            no hair, naming `hair_colour` names the beard too.
    """
    visible = {
        name: FACTORS[name][value]
        for name, value in zip(FACTORS, factors, strict=True)
        if value >= 0
    }
    if named is None or isinstance(named, int):
        order = [list(visible)[i] for i in rng.permutation(len(visible))]
        named = order[: rng.integers(1, len(visible) + 1) if named is None else named]
    chosen = {name: value for name, value in visible.items() if name in named}
    if "hair_colour" in chosen and visible.get("hair", "bald") == "bald":
        chosen["facial_hair"] = visible["facial_hair"]

    def worded(table, factor: str, colour: str | None) -> list[str]:
        if factor not in chosen:
            return []
        before = f"{chosen[colour]} " if colour in chosen else ""
        return [article(pick(table[chosen[factor]], rng).format(before))]

    bald = visible.get("hair", "bald") == "bald"
    features = worded(HAIR, "hair", None if bald else "hair_colour")
    if not features and not bald and "hair_colour" in chosen:
        features = [f"{chosen['hair_colour']} hair"]
    features += worded(FACIAL_HAIR, "facial_hair", "hair_colour" if bald else None)
    adjectives = [pick(EXPRESSIONS[chosen["expression"]], rng)] if "expression" in chosen else []
    if "skin" in chosen and rng.random() < 0.5:
        adjectives.append(f"{chosen['skin']}-skinned")
    elif "skin" in chosen:
        features.append(f"{chosen['skin']} skin")
    worn = worded(HEADWEAR, "headwear", "headwear_colour")
    if not worn and "headwear_colour" in chosen:
        worn = [f"{chosen['headwear_colour']} headwear"]
    worn += worded(CLOTHES, "clothes", "clothes_colour")
    if "clothes" not in chosen and "clothes_colour" in chosen:
        worn.append(f"{chosen['clothes_colour']} clothes")
    eyewear = worded(EYEWEAR, "eyewear", None)
    (features if chosen.get("eyewear") == "none" or rng.random() < 0.5 else worn).extend(eyewear)
    features, worn = (list(rng.permutation(parts)) for parts in (features, worn))

    phrase = article(" ".join(["a", *adjectives, pick(PEOPLE, rng)]))
    if features:
        phrase += pick((" with ", " with ", " who has "), rng) + " and ".join(features)
    if worn:
        verbs = (" in ", " wearing ") if features else (" in ", " wearing ", " who wears ")
        phrase += pick(verbs, rng) + " and ".join(worn)
    if "background" in chosen:
        phrase += " " + article(pick(GROUNDS, rng).format(chosen["background"]))
    return pick(OPENINGS, rng) + phrase


def zero_shot_caption(factor: str, value: str) -> str:
    """Such as "a person with long hair", "a happy person", "a person on a white background"."""
    noun = {"headwear_colour": f"{value} headwear", "clothes_colour": f"{value} clothes"}.get(
        factor
    )
    tables: dict[str, Mapping[str, Sequence[str]]] = {
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
    for given in words_in_caption(caption):
        if given not in WORDS:
            raise unknown_word(caption, given, WORDS)
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
