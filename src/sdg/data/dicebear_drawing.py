"""What of a DiceBear style is seen: components within components, and the colours that they use."""

from collections.abc import Iterator

import numpy as np

__all__ = ["Drawing"]

DEPTH = 4  # of components within components


def references(drawing) -> Iterator[tuple[str, str]]:
    """What a drawing refers to: ("component", name) and ("color", name)."""
    if isinstance(drawing, dict):
        if drawing.get("type") in ("component", "color"):
            yield drawing["type"], drawing["name"]
        drawing = list(drawing.values())
    if isinstance(drawing, list):
        for part in drawing:
            yield from references(part)


class Drawing:
    """Which components and colours of a style are seen, from its definition.

    Arguments:
        full: the definition.
    """

    def __init__(self, full: dict):
        self.source = {name: part.get("extends", name) for name, part in full["components"].items()}
        self.canvas = self.refers(full["canvas"])
        self.variants = {
            (name, variant): self.refers(drawing)
            for name, part in full["components"].items()
            for variant, drawing in part.get("variants", {}).items()
        }

    def refers(self, drawing) -> set[tuple[str, str]]:
        return {
            (kind, self.source[name] if kind == "component" else name)
            for kind, name in references(drawing)
        }

    def seen(self, variant: dict[str, np.ndarray]) -> tuple[dict, dict]:
        """Where each component is placed, and each variant that has a colour drawn: booleans, (N,).

        Arguments:
            variant: of each component, N names, "" where it is absent.
        """
        n = len(next(iter(variant.values())))
        placed = {name: np.full(n, ("component", name) in self.canvas) for name in variant}
        holders = [
            (key, child)
            for key, inside in self.variants.items()
            for kind, child in inside
            if kind == "component"
        ]
        for _ in range(DEPTH if holders else 0):
            for (parent, name), child in holders:
                placed[child] = placed[child] | placed[parent] & (variant[parent] == name)
        coloured = [key for key, inside in self.variants.items() if "color" in dict(inside)]
        return placed, {key: placed[key[0]] & (variant[key[0]] == key[1]) for key in coloured}
