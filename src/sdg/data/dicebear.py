"""DiceBear's avatar styles, rendered from Python packages alone.

That takes no Node, no network, and about 3 ms an image.
"""

import io
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np
from PIL import Image

from sdg.errors import UserError, choice

__all__ = ["Layer", "credit", "definition", "render", "styles"]

INSTALL = "pip install dicebear-core dicebear-styles dicebear-schema resvg-py"


def packages():
    """The renderer's packages: (dicebear, resvg_py).

    Raises:
        UserError: one of them is not installed.
    """
    try:
        import dicebear
        import dicebear_styles  # noqa: F401
        import resvg_py
    except ImportError as error:
        raise UserError(f"data=portraits needs the package {error.name}: {INSTALL}.") from error
    return dicebear, resvg_py


def styles() -> list[str]:
    """Names of the styles that the package dicebear-styles holds."""
    packages()
    folder = files("dicebear_styles").iterdir()
    return sorted(file.name.removesuffix(".json") for file in folder if file.name.endswith(".json"))


@lru_cache
def definition(name: str) -> dict:
    """The definition of a style: its components with their variants, its colours, its licence.

    Raises:
        UserError: there is no such style, or the packages are missing.
    """
    choice("data.style", name, styles())
    return json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))


def credit(name: str) -> str:
    """Who drew a style, and under which licence, in one line."""
    meta = definition(name)["meta"]
    creator, licence = (meta.get(key, {}).get("name", "") for key in ("creator", "license"))
    by = creator or "an unknown artist"
    return f"portraits in the style {name} by {by}, licence: {licence.rstrip('.')}"


class Layer:
    """Some elements of a style's canvas, drawn apart from the others on a transparent ground.

    Arguments:
        name: of the style.
        elements: their places in the canvas, or None for the whole avatar.
    """

    def __init__(self, name: str, elements: Iterable[int] | None = None):
        dicebear, self.resvg = packages()
        full = definition(name)
        canvas = full["canvas"]
        if elements is not None:
            canvas = canvas | {"elements": [canvas["elements"][place] for place in elements]}
            full = full | {
                "components": used(canvas, full["components"])
            }  # the schema's check costs
        self.avatar, self.style = dicebear.Avatar, dicebear.Style(full | {"canvas": canvas})

    def render(self, options: Mapping, resolution: int) -> np.ndarray:
        """Draws one avatar: uint8, (resolution, resolution, 4), red, green, blue and opacity.

        Arguments:
            options: DiceBear's, such as `topVariant` and `skinColor`.
            resolution: side in pixels.
        """
        svg = self.avatar(self.style, {"seed": "", "size": resolution} | dict(options)).to_string()
        png = self.resvg.svg_to_bytes(
            svg_string=svg, width=resolution, height=resolution, skip_system_fonts=True
        )
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def used(part: dict, components: dict) -> dict:
    """The components of a style that a part of it draws, and those that these draw."""
    names = set(
        re.findall(r'"name": "(\w+)", "type": "component"', json.dumps(part, sort_keys=True))
    )
    parts = {name: components[name] for name in sorted(names)}
    for name in sorted(names):
        parts |= used(components[name], components)
    return parts


@lru_cache
def whole(name: str) -> Layer:
    return Layer(name)


def render(name: str, options: Mapping, resolution: int) -> np.ndarray:
    """Draws one avatar of a style: uint8, (resolution, resolution, 3).

    What is transparent is white.

    Raises:
        UserError: there is no such style, or the packages are missing.
    """
    image = whole(name).render(options, resolution).astype(np.uint16)
    colour, opacity = image[..., :3], image[..., 3:]
    return ((colour * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
