"""The seeds of the parts of rendered data."""

from sdg.errors import integer

__all__ = ["part_seed"]

PARTS = ("train", "held_out", "combinations")


def part_seed(seed: int, part: str) -> int:
    """3 · seed + k of the k-th part, so that no part of one seed is a part of another.

    Arguments:
        seed: `data.seed`.
        part: `train`, `held_out` or `combinations`.
    """
    return len(PARTS) * integer("data.seed", seed, 0) + PARTS.index(part)
