"""What a sampling run draws, and with what: everything loaded, and checked against each other."""

from dataclasses import dataclass

from omegaconf import DictConfig
from torch import Tensor

from sdg.app.data import chosen_data
from sdg.app.denoiser_choice import chosen_autoencoder, chosen_guided_denoiser
from sdg.app.encoders import chosen_encoders
from sdg.app.making import instantiate_as, section
from sdg.app.requested import reference_images, requested_conditions
from sdg.app.run import first_process
from sdg.app.similarities import build_similarity, chosen_terms
from sdg.data.datamodule import ImageData, require_setup
from sdg.data.image import load_image
from sdg.data.requests import Requests
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.sampling import steps_taken
from sdg.errors import UserError
from sdg.guidance.guidance import Guidance
from sdg.models.autoencoder import Autoencoder
from sdg.pipeline import Pipeline
from sdg.similarity import Similarity

__all__ = ["Job", "load_job"]


@dataclass(frozen=True)
class Job:
    """What a run draws, and with what.

    Attributes:
        resolution: side of the images in pixels.
        requests: what each sample shall be like, and its seed.
        references: {name: image} of what the requests refer to.
        start: the image that samples start from; None for noise.
        similarity: sim; None where nothing is guided.
    """

    sampler: Sampler
    guidance: Guidance
    denoiser: Denoiser
    autoencoder: Autoencoder | None
    resolution: int
    data: ImageData
    requests: Requests
    start: Tensor | None
    references: dict[str, Tensor]
    similarity: Similarity | None

    def parts(self, guided: bool = True) -> Pipeline:
        """The networks that draw; with the encoder if something is guided."""
        encoder = self.similarity.encoder if guided and self.similarity else None
        return Pipeline(self.denoiser, encoder, autoencoder=self.autoencoder)

    @property
    def guided(self) -> bool:
        return bool(self.guidance.gamma)

    @property
    def pictures(self) -> dict[str, Tensor]:
        """{name: image} of references and of what samples start from."""
        return self.references | ({} if self.start is None else {"": self.start})


def load_job(config: DictConfig) -> Job:
    """Everything that a config asks for, loaded and checked against each other.

    Raises:
        UserError: something is missing, or does not go together.
    """
    sampler = instantiate_as(config, "sampler", Sampler)
    guidance = instantiate_as(config, "guidance", Guidance)
    terms = chosen_terms(config)
    with section("guidance"):
        guidance.check(sampler)
    denoiser = chosen_guided_denoiser(config)
    autoencoder, schedule = chosen_autoencoder(config, denoiser), denoiser.schedule
    resolution = Pipeline(denoiser, autoencoder=autoencoder).resolution
    share = 1.0 if config.init_image is None else config.strength
    with section("sampler"):
        taken = steps_taken(schedule, sampler, share)
    data = chosen_data(config)
    if resolution != data.resolution:
        raise UserError(
            f"data.resolution={data.resolution}, but the denoiser draws {resolution} "
            f"pixels a side; choose the data that it was trained on, data=…, or set "
            f"data.resolution={resolution}."
        )
    data.setup("predict")
    held_out, guided = require_setup(data.held_out), bool(guidance.gamma)
    conditions, each = requested_conditions(config, terms, held_out, guided)
    requests = Requests(conditions, each, config.seed)
    start = None
    if config.init_image is not None:
        start = load_image(config.init_image, resolution, setting="init_image")
    with section("guidance"):
        guidance.check_steps(taken, schedule.T)
    references = reference_images(conditions, terms, held_out, resolution)
    similarity = None
    if guided:
        encoders = chosen_encoders(config)
        similarity = build_similarity(
            *(config, terms, encoders, guidance, conditions, held_out, references),
            *(denoiser, autoencoder),
        )
        announce_similarity(config, similarity, guidance.gamma)
    return Job(
        *(sampler, guidance, denoiser, autoencoder, resolution),
        *(data, requests, start, references, similarity),
    )


def announce_similarity(config: DictConfig, similarity: Similarity, gamma: float) -> None:
    """Prints what guides, in one line."""
    if not first_process():
        return
    parts = [f"{term.weight:.4g} · {name}" for name, term in similarity.terms.items()]
    names = map(config.encoder.get, ("weights", "name", "clip", "_target_"))
    file = next(filter(None, names), None)
    encoder = "no encoder" if file is None else f"encoder {file}"
    print(f"similarity = {' + '.join(parts)}, γ = {gamma:g}, {encoder}")
