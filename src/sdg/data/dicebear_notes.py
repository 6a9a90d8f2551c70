"""What the definitions of DiceBear's styles do not say: crops, names of parts, legibility."""

import re
from typing import NamedTuple

__all__ = ["HEADWEAR", "Notes", "notes_on", "option_words"]

HEADWEAR = {"cap", "beanie", "turban", "hijab", "hat", "helmet"}
SPELLINGS = {
    "mustache": "moustache",
    "gray": "grey",
    "comed": "combed",
    "tound": "round",
    "horshoe": "horseshoe",
    "balndess": "baldness",
}
PHRASES = {  # where a name's words by themselves say something else
    "variant": "",
    "no hair": "none",
    "hat beanie": "beanie",
    "hat hip": "hat",
    "eyes": "plain",
    "eyes shadow": "shadowed",
}


class Notes(NamedTuple):
    """On one style.

    Attributes:
        parts: {component or colour: what it is called}.
        crop: options of DiceBear for every image.
        unnamed: components and colours that vary and that no caption names: too small at 64 pixels.
        left_out: {component: variants} that cannot be told from another at 64 pixels.
        hides: {value: factors} that cannot be seen with it.
        absent: components that are never drawn: what moves, and what covers the face.
    """

    parts: dict[str, str] = {}
    crop: dict[str, float] = {}
    unnamed: frozenset[str] = frozenset()
    left_out: dict[str, tuple[str, ...]] = {}
    hides: dict[str, tuple[str, ...]] = {}
    absent: frozenset[str] = frozenset({"animation", "mask"})


EVERY = Notes(
    parts={
        "clothing": "clothes",
        "headContrast": "hair",
        "hat": "headwear",
        "outfit": "clothes",
        "mustache": "moustache",
    },
    unnamed=frozenset({"nose", "ears", "earrings", "earring", "eyeShadow", "cheeks"}),
    hides={
        "sunglasses": ("eyes",),
        "shades": ("eyes",),
        "visor": ("eyes",),
        "sleep mask": ("eyes",),
        "face mask": ("mouth",),
    },
)
NOTES = {
    "toon-head": Notes(
        parts={"beard": "facialHair"},
        left_out={
            "mouth": ("sad",),
            "eyes": ("bow",),
            "beard": ("chin",),
            "eyebrows": ("neutral",),
        },
    ),
    "micah": Notes(
        parts={"shirt": "clothes", "base": "skin"},
        unnamed=frozenset({"eyebrows"}),
        left_out={"mouth": ("smirk",), "facialHair": ("scruff",)},
        hides={"beard": ("mouth",)},
    ),
    "voxel-art": Notes(
        parts={"top": "hair", "beard": "facialHair"},
        crop={"scale": 1.25, "translateY": 10},
        unnamed=frozenset({"eyebrows", "pants", "shoes"}),
        left_out={"mouth": ("flat", "smirk"), "beard": ("stubble",)},
    ),
    "open-peeps": Notes(parts={"head": "hair", "accessories": "eyewear"}),
    "personas": Notes(
        left_out={"eyes": ("wink",), "facialHair": ("shadow", "soulPatch"), "hair": ("buzzcut",)},
    ),
    "big-smile": Notes(left_out={"mouth": ("braces",)}),
}


def notes_on(name: str) -> Notes:
    """The notes on every style, and those on this one."""
    own = NOTES.get(name, Notes())
    return own._replace(
        parts=EVERY.parts | own.parts,
        unnamed=EVERY.unnamed | own.unnamed,
        hides=EVERY.hides | own.hides,
    )


def option_words(name: str) -> str:
    """The words of an option's name without its number: "sideComed02" is "side combed".

    A number or a letter alone is no word.
    """
    split = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name.replace("tShirt", "t_shirt"))
    words = " ".join(SPELLINGS.get(word.lower(), word.lower()) for word in split)
    words = PHRASES.get(words, words.replace("t shirt", "t-shirt"))
    return "" if len(words) == 1 else words
