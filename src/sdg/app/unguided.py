"""The same seeds without guidance, to show beside guided samples."""

from collections.abc import Mapping
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch import Tensor

from sdg.app.fingerprint import fingerprint
from sdg.app.naming import name_of, unguided_config
from sdg.app.opening import group_choices
from sdg.data.requests import Requests
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import choice
from sdg.evaluation.guided_sampling import GuidedSampling
from sdg.evaluation.store import SampleStore
from sdg.pipeline import Pipeline
from sdg.pipeline.guided_run import GuidedRun

__all__ = ["draw_unguided", "pictures_of", "unguided_store"]

FOLDER = "unguided"  # in the guided run's


def unguided_store(
    config: DictConfig,
    folder: Path,
    requests: Requests,
    pictures: Mapping[str, Tensor],
    batch_size: int,
) -> SampleStore | None:
    """Where unguided samples of the same seeds lie, or are to be drawn; None for nowhere.

    That is the run that the same command with `guidance.gamma=0` leaves, if it is there and
    finished. Otherwise it is a folder in the guided run's own, if `unguided=true` asks for them.

    Arguments:
        folder: of the guided run.
        requests: of the guided run.
        pictures: {name: image} of references and of what samples start from.
        batch_size: how many requests share a batch.
    """
    asked = choice("unguided", config.unguided, (True, False))
    if "gamma" not in config.guidance:
        return None
    other = unguided_config(config)
    digest = fingerprint(other, requests, pictures, batch_size, {})
    name = name_of(other, group_choices()["guidance"])
    places = [folder.parent / name, *([folder / FOLDER] if asked else [])]
    stores = [
        SampleStore(place, len(requests), batch_size, digest, config.images) for place in places
    ]
    if stores[0].finished():
        return stores[0]
    return stores[1] if asked else None


def pictures_of(store: SampleStore | None) -> dict[int, Path]:
    """{index: file} of what a store holds."""
    if store is None:
        return {}
    return {row["index"]: store.folder / row["file"] for row in store.rows()}


def draw_unguided(
    config: DictConfig,
    trainer: Trainer,
    denoiser: Denoiser,
    sampler,
    requests: Requests,
    store: SampleStore,
    start: Tensor | None,
) -> None:
    """Draws the same seeds without guidance, into a folder of their own."""
    if trainer.is_global_zero:
        print("the same seeds without guidance, unguided=true:", flush=True)
        store.begin(config.rerun)
    method = instantiate(unguided_config(config).guidance)
    run = GuidedRun(
        Pipeline(denoiser, None), sampler, method, start=start, strength=config.strength
    )
    module = GuidedSampling(run, requests, store)
    trainer.predict(module, return_predictions=False)
