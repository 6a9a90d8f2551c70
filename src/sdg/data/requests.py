"""What a sampling run is asked for: a list of (index, seed, prompt)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from sdg.errors import UserError, integer

__all__ = ["Request", "Requests", "read_prompts"]


class Request(NamedTuple):
    """One sample: its place in the run, the seed of all its noise, and what it shall show."""

    index: int
    seed: int
    prompt: str


class Requests(Dataset):
    """K requests for each prompt, in order; a sample's seed follows from the run's seed and its index alone."""

    def __init__(self, prompts: list[str], samples_per_prompt: int, seed: int):
        every = [prompt for prompt in prompts for _ in range(samples_per_prompt)]
        self.requests = [Request(i, int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> 1), prompt)
                         for i, prompt in enumerate(every)]

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, index: int) -> Request:
        return self.requests[index]


def read_prompts(prompt: str | None, prompts: str | None, num_samples: int, samples_per_prompt: int | None, held_out=None,
                 named: list[str] | None = None) -> tuple[list[str], int]:
    """The run's prompts and the number of samples for each.

    Arguments:
        prompt: one sentence for all `num_samples`.
        prompts: a text file, a sentence a line; # starts a comment line.
        num_samples: of the run, where no file gives the number of prompts.
        samples_per_prompt: samples of each sentence; by default 1, or all for a single prompt.
        held_out: data whose captions serve when neither prompt nor prompts is given.
        named: the factors that those captions name; None leaves that to chance.
    """
    integer("num_samples", num_samples, 1)
    each = None if samples_per_prompt is None else integer("samples_per_prompt", samples_per_prompt, 1)
    if prompt is not None and prompts is not None:
        raise UserError("give prompt= or prompts=, not both.")
    if prompt is not None:
        return [checked(str(prompt))], each or num_samples
    if prompts is not None:
        return prompts_of_file(Path(prompts)), each or 1
    if held_out is None:
        raise UserError("this data has no captions: say what to draw with prompt=\"…\" or prompts=FILE.")
    count = -(-num_samples // (each or 1))
    if count > len(held_out):
        raise UserError(f"num_samples={num_samples} needs {count} held-out captions, but there are {len(held_out)}; raise data.held_out or samples_per_prompt.")
    return [held_out.caption(i, 0, named) for i in range(count)], each or 1


def prompts_of_file(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"prompts: cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"prompts: {file} is not UTF-8 text.") from error
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise UserError(f"prompts: {file} has no sentence; write one a line.")
    return found


def checked(prompt: str) -> str:
    if not prompt.strip():
        raise UserError("prompt is empty; write what the images shall show, such as prompt=\"a red heart\".")
    return prompt
