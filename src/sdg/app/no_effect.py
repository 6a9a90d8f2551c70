"""Settings that a command would not read, refused where they are set on the command line."""

from collections.abc import Mapping

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.errors import UserError

__all__ = ["check_effect"]

START = "init=PATH starts from weights"
NO_DENOISER = "this command trains no denoiser"
# {what is trained: {key or section: why it is not read}}
IN_TRAINING: dict[str, dict[str, str]] = {
    "clip": {
        "encoder.clip": f"a CLIP is trained, not read; {START}",
        "schedule": "a clean CLIP reads no noise",
        "denoiser": NO_DENOISER,
    },
    "clip_noisy": {
        "encoder.weights": START,
        "denoiser": f"{NO_DENOISER}; module.denoiser names the one that it needs",
    },
    "classifier_noisy": {"encoder.weights": START, "denoiser": NO_DENOISER},
    "judge": {
        "encoder.weights": START,
        "schedule": "the judge reads no noise",
        "denoiser": NO_DENOISER,
    },
}
TEACHER = "the classifier is read from encoder.weights; its CLIP serves its training alone"
IN_SAMPLING = {
    "classifier_noisy": dict.fromkeys(
        ("encoder.clip", "encoder.name", "encoder.pretrained"), TEACHER
    )
}


def check_effect(program: str, config: DictConfig) -> None:
    """Refuses a setting of the command line that nothing would read.

    Raises:
        UserError: there is one.
    """
    without: Mapping[str, str] = (
        IN_TRAINING.get(config.kind, {})
        if program == "train"
        else IN_SAMPLING.get(config.encoder_name, {})
    )
    for word in HydraConfig.get().overrides.task:
        key = word.lstrip("+~").partition("=")[0]
        for name, reason in without.items():
            if key == name or key.startswith(f"{name}."):
                raise UserError(f"{key} has no effect here: {reason}. Leave it out.")
