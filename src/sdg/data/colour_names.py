"""Names of colours: the basic one that is nearest, or a tone of skin."""

import numpy as np

__all__ = ["BASIC", "basic_colour", "distances", "skin_tone"]

BASIC = {  # names and what they look like: dark, plain and pale
    "red": ("#8e1a1a", "#c62222", "#e02b2b", "#ff5c5c", "#d6455d"),
    "orange": ("#a55728", "#d9660f", "#f97316", "#f98b42", "#ffa01a", "#ffb562", "#ffdfbf"),
    "yellow": (
        "#d9b310",
        "#ffd21f",
        "#eab308",
        "#f4cf5b",
        "#fff3a8",
        "#e5d7a3",
        "#d6b370",
        "#ecdcbf",
    ),
    "green": (
        "#1c5c30",
        "#1f9d4d",
        "#40c057",
        "#3fb27f",
        "#7fd48f",
        "#a9e5a0",
        "#5ba8a0",
        "#238d80",
    ),
    "blue": (
        "#1b2f66",
        "#2864dc",
        "#228be6",
        "#5199e4",
        "#8cc8ff",
        "#b6e3f4",
        "#6bd9e9",
        "#4a6fa5",
        "#3b5b8c",
        "#8fa7df",
        "#85c2c6",
    ),
    "purple": ("#4a2070", "#7950f2", "#8b3fc4", "#9f7fe0", "#bfa3ee", "#c0aede", "#592454"),
    "pink": (
        "#c2256f",
        "#e64980",
        "#ff488e",
        "#ff7eb6",
        "#f9b4cf",
        "#f9c9b6",
        "#ffd5dc",
        "#dba3be",
    ),
    "brown": ("#3a1a00", "#4a2e1c", "#5a3825", "#7a4422", "#a0642f", "#b58143", "#9a7550"),
    "black": ("#000000", "#1d1613", "#23252b", "#2c222b", "#33302f"),
    "grey": ("#545454", "#6f737a", "#8f949e", "#b0b3b8", "#929598"),
    "white": ("#ffffff", "#f2f2f2", "#e8e9e6"),
}
TONES = {"light": "#ffdfc4", "tan": "#e0a370", "brown": "#b06f40", "dark": "#6b4030"}


def basic_colour(colour: str) -> str:
    """The basic colour nearest to "#rrggbb": the least distance in OKLab to any of its examples."""
    nearest = {name: distances(colour, like).min() for name, like in BASIC.items()}
    return min(nearest, key=lambda name: nearest[name])


def skin_tone(colour: str) -> str:
    """The tone of skin whose lightness, OKLab's, is nearest."""
    gaps = np.abs(oklab(list(TONES.values()))[:, 0] - oklab([colour])[0, 0])
    return list(TONES)[int(gaps.argmin())]


def distances(colour: str, others) -> np.ndarray:
    """How far a colour is from N others in OKLab, (N,)."""
    return np.linalg.norm(oklab(others) - oklab([colour]), axis=1)


def oklab(colours) -> np.ndarray:
    """N of "#rrggbb" as lightness, red-green and yellow-blue, (N, 3) (Ottosson 2020)."""
    rgb = np.array([list(bytes.fromhex(colour.lstrip("#")[:6])) for colour in colours]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(
        linear
        @ np.array(
            [
                [0.4122214708, 0.2119034982, 0.0883024619],
                [0.5363325363, 0.6806995451, 0.2817188376],
                [0.0514459929, 0.1073969566, 0.6299787005],
            ]
        )
    )
    return cones @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
