"""The words of captions of portraits: every value has words, every word's meaning is known."""

from sdg.data import sentences
from sdg.data.portrait_factors import FACTORS

__all__ = [
    "ABSENT",
    "CLOTHES",
    "COLOURED",
    "COLOURS",
    "EXPRESSIONS",
    "EYEWEAR",
    "FACIAL_HAIR",
    "HAIR",
    "HEADWEAR",
    "MEANING",
    "SPELLINGS",
    "TONES",
    "WORDS",
]

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
SPELLINGS = sentences.SPELLINGS | {"ginger": "red"}
TONES = tuple(f"{tone}-skinned" for tone in FACTORS["skin"])
COLOURS = sorted({value for factor in set(COLOURED.values()) for value in FACTORS[factor]})
GRAMMAR = (*sentences.GRAMMAR, "full", "no")
WORDS = tuple(sorted({*MEANING, *COLOURED, *COLOURS, *GRAMMAR, *TONES, *SPELLINGS}))
