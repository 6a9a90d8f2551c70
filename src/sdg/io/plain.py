"""Nested configs and figures as flat tables with dotted keys."""

import json
from collections.abc import Iterator

__all__ = ["differences", "flat", "numbers"]


def flat(config, prefix: str = "") -> dict:
    """Nested dictionaries as one, with dotted keys."""
    if not isinstance(config, dict):
        return {prefix[:-1]: config}
    return {
        key: value
        for name, part in config.items()
        for key, value in flat(part, f"{prefix}{name}.").items()
    }


def differences(one: dict, other: dict) -> Iterator[tuple[str, object, object]]:
    """(dotted key, its value here, there) wherever two configs differ; None for what one lacks."""
    one, other = (
        flat(json.loads(json.dumps(config))) for config in (one, other)
    )  # a tuple is a list
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            yield key, one.get(key), other.get(key)


def numbers(metrics: dict) -> dict[str, float]:
    """The numbers among nested figures, with dotted keys; of a pair, the first."""
    firsts = {
        key: value[0] if isinstance(value, (list, tuple)) and value else value
        for key, value in flat(metrics).items()
    }
    return {key: value for key, value in firsts.items() if isinstance(value, (int, float))}
