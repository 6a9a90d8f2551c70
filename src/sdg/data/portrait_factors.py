"""What an avataaars portrait may show: its factors, and the drawing options that make each value.

A portrait is a row of ten choices, one for each entry of `CHOICES`.
"""

import numpy as np

from sdg.data.portrait_style import Choice, Value, shown_by

__all__ = ["CHOICES", "FACTORS", "FIXED", "HELD_OUT_PAIRS", "factors_of", "options_of"]

FIXED = {"scale": 1.2, "translateY": 6, "accessoriesColor": "#26262b"}  # the crop, and all frames

FACTORS = {
    "hair": ("bald", "short", "spiky", "bob", "long", "curly"),
    "hair_colour": ("black", "brown", "blond", "red", "grey", "pink"),
    "headwear": ("hat", "turban", "beanie", "ear-flap hat"),
    "headwear_colour": ("red", "yellow", "green", "blue"),
    "eyewear": ("none", "glasses", "sunglasses", "eyepatch"),
    "facial_hair": ("none", "moustache", "beard"),
    "expression": ("happy", "sad", "surprised", "angry", "cheeky"),
    "skin": ("light", "tan", "brown", "dark"),
    "clothes": ("t-shirt", "hoodie", "blazer", "dungarees"),
    "clothes_colour": ("red", "yellow", "green", "blue", "purple", "black"),
    "background": ("white", "grey", "blue", "green", "orange", "purple"),
}
NAMES = tuple(FACTORS)


def top(variant: str | None, weight: float, **shows: str) -> Value:
    options = (
        {"topProbability": 0} if variant is None else {"topProbability": 100, "topVariant": variant}
    )
    return Value(options, shows, weight)


def part(component: str, variant: str | None, weight: float, **shows: str) -> Value:
    options: dict[str, object] = {f"{component}Probability": 0 if variant is None else 100}
    if variant is not None:
        options[f"{component}Variant"] = variant
    return Value(options, shows, weight)


def face(mouth: str, eyes: str, eyebrows: str, expression: str) -> Value:
    options = {"mouthVariant": mouth, "eyesVariant": eyes, "eyebrowsVariant": eyebrows}
    return Value(options, {"expression": expression}, 1)


def colours(factor: str, options: tuple[str, ...], **hexes: str) -> Choice:
    values = tuple(
        Value(dict.fromkeys(options, hex), {factor: name}, 1) for name, hex in hexes.items()
    )
    return Choice(factor, values)


HAIR, HEADWEAR = 0.65 / 6, 0.35 / 4  # how often each style of hair and each headwear is drawn

CHOICES = (
    Choice(
        "top",
        (
            top(None, HAIR, hair="bald"),
            top("shortFlat", HAIR / 2, hair="short"),
            top("shortRound", HAIR / 2, hair="short"),
            top("dreads02", HAIR, hair="spiky"),
            top("bob", HAIR / 2, hair="bob"),
            top("miaWallace", HAIR / 2, hair="bob"),
            top("straight01", HAIR / 2, hair="long"),
            top("straight02", HAIR / 2, hair="long"),
            top("fro", HAIR / 2, hair="curly"),
            top("curly", HAIR / 2, hair="curly"),
            top("hat", HEADWEAR, headwear="hat"),
            top("turban", HEADWEAR, headwear="turban"),
            top("winterHat03", HEADWEAR, headwear="beanie"),
            top("winterHat1", HEADWEAR, headwear="ear-flap hat"),
        ),
    ),
    colours(
        "hair_colour",
        ("hairColor", "facialHairColor"),
        black="#1d1613",
        brown="#7a4422",
        blond="#f4cf5b",
        red="#d8400f",
        grey="#b8bcc4",
        pink="#ff7eb6",
    ),
    colours(
        "headwear_colour",
        ("hatColor",),
        red="#e02b2b",
        yellow="#ffd21f",
        green="#1f9d4d",
        blue="#2864dc",
    ),
    Choice(
        "eyewear",
        (
            part("accessories", None, 0.34, eyewear="none"),
            part("accessories", "prescription02", 0.22, eyewear="glasses"),
            part("accessories", "sunglasses", 0.22, eyewear="sunglasses"),
            part("accessories", "eyepatch", 0.22, eyewear="eyepatch"),
        ),
    ),
    Choice(
        "facial_hair",
        (
            part("facialHair", None, 0.4, facial_hair="none"),
            part("facialHair", "moustacheMagnum", 0.3, facial_hair="moustache"),
            part("facialHair", "beardMajestic", 0.3, facial_hair="beard"),
        ),
    ),
    Choice(
        "expression",
        (
            face("smile", "default", "defaultNatural", "happy"),
            face("sad", "default", "sadConcernedNatural", "sad"),
            face("screamOpen", "surprised", "raisedExcitedNatural", "surprised"),
            face("grimace", "default", "angryNatural", "angry"),
            face("tongue", "wink", "upDownNatural", "cheeky"),
        ),
    ),
    colours(
        "skin", ("skinColor",), light="#ffdfc4", tan="#e0a370", brown="#b06f40", dark="#6b4030"
    ),
    Choice(
        "clothes",
        (
            part("clothes", "shirtCrewNeck", 0.5, clothes="t-shirt"),
            part("clothes", "shirtVNeck", 0.5, clothes="t-shirt"),
            part("clothes", "hoodie", 1, clothes="hoodie"),
            part("clothes", "blazerAndShirt", 1, clothes="blazer"),
            part("clothes", "overall", 1, clothes="dungarees"),
        ),
    ),
    colours(
        "clothes_colour",
        ("clothesColor",),
        red="#e02b2b",
        yellow="#ffd21f",
        green="#1f9d4d",
        blue="#2864dc",
        purple="#8b3fc4",
        black="#23252b",
    ),
    colours(
        "background",
        ("backgroundColor",),
        white="#ffffff",
        grey="#8f949e",
        blue="#8cc8ff",
        green="#a9e5a0",
        orange="#ffb562",
        purple="#bfa3ee",
    ),
)

# Pairs of values that no training image shows together: does guidance compose what it never saw?
HELD_OUT_PAIRS = (
    (("headwear", "turban"), ("facial_hair", "moustache")),
    (("hair", "curly"), ("hair_colour", "pink")),
    (("hair", "bald"), ("eyewear", "sunglasses")),
    (("headwear", "hat"), ("headwear_colour", "green")),
    (("eyewear", "eyepatch"), ("expression", "cheeky")),
    (("clothes", "dungarees"), ("clothes_colour", "black")),
    (("skin", "dark"), ("background", "orange")),
    (("facial_hair", "beard"), ("hair", "bob")),
)


SHOWN = [shown_by(choice, FACTORS) for choice in CHOICES]
BALD = FACTORS["hair"].index("bald")
SHAVEN = FACTORS["facial_hair"].index("none")


def factors_of(choices: np.ndarray) -> np.ndarray:
    """The factors that portraits show: integers, (N, 11) in the order of `FACTORS`.

    They are −1 for what is not there.

    Headwear covers the hair; the colour of hair is that of the beard too, and is not there without
    either.

    Arguments:
        choices: integers, (N, 10) in the order of `CHOICES`.
    """
    factors = np.max(
        [table[column] for table, column in zip(SHOWN, choices.T, strict=True)], axis=0
    )
    column = {name: factors[:, k] for k, name in enumerate(NAMES)}
    hairy = (column["hair"] > BALD) | (column["facial_hair"] != SHAVEN)
    column["hair_colour"][~hairy] = -1
    column["headwear_colour"][column["headwear"] < 0] = -1
    return factors


def options_of(choices: np.ndarray) -> dict:
    """The options of DiceBear that draw one portrait, from its ten choices."""
    options = dict(FIXED)
    for choice, value in zip(CHOICES, choices, strict=True):
        options |= choice.values[value].options
    return options
