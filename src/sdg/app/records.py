"""What a run's folder says about itself: the resolved config, the versions, the command."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.opening import shell_command
from sdg.app.precision import chosen_precision
from sdg.io.files import write_whole
from sdg.report.samples import COMMAND

__all__ = ["RECORDS", "command_of", "write_records"]

RECORDS = ("config.yaml", "versions.json", COMMAND)
RECORDED = (
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "timm",
    "open_clip_torch",
    "diffusers",
    "torchmetrics",
    "safetensors",
    "numpy",
)


@rank_zero_only
def write_records(config: DictConfig, folder: Path, precision: str | None = None) -> None:
    """Writes a run's config, command and versions into its folder.

    It is called once nothing can refuse the run any more: until then the files are another run's.

    Arguments:
        precision: that it computes in; None is the trainer's.
    """
    write_whole(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    write_whole(folder / COMMAND, command_of(HydraConfig.get()) + "\n")
    versions = {name: version(name) for name in RECORDED} | {"python": platform.python_version()}
    precision = precision or str(chosen_precision(config.trainer))
    records = {"seed": config.seed, "precision": precision, "versions": versions}
    text = json.dumps(records, indent=2)
    write_whole(folder / "versions.json", text + "\n")


def command_of(hydra, *more: str) -> str:
    """The command that draws or trains what one job does, outside its sweep too.

    Arguments:
        more: settings, which replace those of the same name.
    """
    own = [] if hydra.mode == RunMode.MULTIRUN else hydra.overrides.hydra
    replaced = tuple(f"{word.partition('=')[0]}=" for word in more)
    words = [word for word in [*hydra.overrides.task, *own] if not word.startswith(replaced)]
    return shell_command(hydra.job.config_name, [*words, *more])
