"""Images rendered in parallel, into a file that is then memory-mapped.

There is progress from the first second.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sdg.data.processes import map_parts
from sdg.data.rendered import rendered

__all__ = ["render_all"]

PART = 250  # images that a process renders at once
EVERY = 10.0  # seconds between two lines of progress where none can be overwritten
FEW = 500  # so few are rendered by this process alone


def render_all(
    file: Path | None, what: str, draw: Callable, rows: np.ndarray, *options
) -> np.ndarray:
    """Images, uint8, (N, H, W, 3): read from `file` if it is there, else rendered and kept in it.

    Arguments:
        file: the cache, or None to render in memory.
        what: is rendered, in words.
        draw: from a part of `rows` and the `options` to images; another process imports it by name.
        rows: one for each image.

    Raises:
        UserError: the file cannot be written.
    """

    def parts() -> Iterator[np.ndarray]:
        cut = [rows[start : start + PART] for start in range(0, len(rows), PART)]
        if len(rows) <= FEW:
            yield from (draw(part, *options) for part in cut)
        else:
            yield from map_parts(draw, cut, *options)

    def render_parts() -> np.ndarray:
        began, images = time.monotonic(), []
        printed = began - EVERY  # when the last line was
        for part in parts():
            images.append(part)
            done, now = min(len(images) * PART, len(rows)), time.monotonic()
            if len(rows) > FEW and (
                now - printed >= (0.5 if sys.stdout.isatty() else EVERY) or done == len(rows)
            ):
                left = (now - began) * (len(rows) - done) / done
                line = f"rendering {what}: {done} of {len(rows)} images, {left:.0f} s left"
                print(
                    f"\r{line} " if sys.stdout.isatty() else line,
                    end="" if sys.stdout.isatty() and done < len(rows) else "\n",
                    flush=True,
                )
                printed = now
        return np.concatenate(images)

    if file is None or not file.exists():
        if len(rows) > FEW:
            print(
                f"rendering {what}: {len(rows)} images, "
                f"once{'' if file is None else f', kept in {file}'}",
                flush=True,
            )
    return rendered(file, len(rows), render_parts)
