"""What a command says first, before the heavy libraries are imported; and the command itself."""

import os
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.naming import chosen_similarities

__all__ = ["opening", "shell_command"]

CONFIG_FOLDER = ("--config-dir", "-cd")
INTERNAL = ("hydra.mode=", "hydra.callbacks.report.sweep=")  # what the entry point itself adds


def opening(program: str, config: DictConfig) -> str | None:
    """One line about what a job is going to do; None in a process that another one has started."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return None
    choices = group_choices()
    if program == "train":
        batch = config.data.get("batch_size")  # of conf/training, whatever the data's file says
        parts = [
            f"{config.kind} on {choices['data']}",
            *steps_in_words(config.trainer.max_steps),
            *([] if batch is None else [f"data.batch_size={batch}"]),
        ]
    elif config.eval.get("measures") == "encoder":
        parts = [choices["data"], "measuring the encoder, no samples"]
    else:
        guidance = guidance_in_words(config, choices["guidance"])
        parts = [choices["data"], *guidance, *steps_in_words(config.sampler.get("steps"))]
    return f"{program}: {', '.join(parts)} …"


def group_choices() -> dict[str, Any]:
    """{config group: what was chosen of it} of the job."""
    return dict(HydraConfig.get().runtime.choices)


def guidance_in_words(config: DictConfig, method: str) -> list[str]:
    """How samples are guided, in few words."""
    gamma = config.guidance.get("gamma")  # one of the user's own may have another word for it
    if gamma == 0:
        return ["unguided"]
    methods = [] if method == "sdg" else [method]
    value = f"{gamma:g}" if isinstance(gamma, float) else gamma
    strength = [] if gamma is None else [f"γ = {value}"]
    return ["+".join(chosen_similarities(config)), *methods, *strength]


def steps_in_words(number: Any) -> list[str]:
    return [f"{number} steps"] if isinstance(number, int) and number > 0 else []


def shell_command(program: str, overrides: Sequence[str], sweep: bool = False) -> str:
    """The command line of a run, quoted for a shell.

    Arguments:
        program: `sample` or `train`.
        overrides: what was set on the command line.
        sweep: whether they start one.
    """
    started = Path(sys.argv[0])
    if started.name.startswith("sdg-"):
        start = [f"sdg-{program}"]
    else:
        script = started.with_name(f"{program}.py")
        here = script.resolve().parent == Path.cwd()
        start = ["python", script.name if here else str(script)]
    words = [word for word in overrides if not word.startswith(INTERNAL)]
    flags = [*(["-m"] if sweep else []), *config_folder()]
    return shlex.join([*start, *flags, *words])


def config_folder() -> list[str]:
    """The flag that names the folder of configs of this command line, absolute; none without."""
    for word, following in pairwise([*sys.argv[1:], ""]):
        flag, equals, value = word.partition("=")
        if flag in CONFIG_FOLDER:
            folder = Path(value if equals else following).expanduser().resolve()
            return [f"--config-dir={folder}"]
    return []
