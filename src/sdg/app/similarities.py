"""From the config's similarities to the terms of sim."""

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig
from torch import Tensor

from sdg.app.choices import check_similarities
from sdg.app.making import class_from_target, from_options, options_of
from sdg.app.naming import chosen_similarities
from sdg.data.image_set import ImageSet
from sdg.diffusion.denoiser import Denoiser
from sdg.guidance.guidance import Guidance
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import Encoders
from sdg.pipeline.call_choices import check_seen
from sdg.pipeline.deterministic import one_by_one
from sdg.pipeline.parts import Parts
from sdg.pipeline.terms import assemble_similarity
from sdg.similarity import RunContext, Similarity, Term

__all__ = ["build_similarity", "chosen_terms"]


def chosen_terms(config: DictConfig) -> dict[str, type[Term]]:
    """{similarity: its class} of a run.

    Raises:
        UserError: a `_target_` is no similarity, or there is none.
    """
    check_similarities(config)
    return {
        kind: class_from_target(config.similarity[kind]._target_, f"similarity.{kind}", Term)
        for kind in chosen_similarities(config)
    }


def build_similarity(
    config: DictConfig,
    terms: Mapping[str, type[Term]],
    encoders: Encoders | None,
    guidance: Guidance,
    conditions: Sequence[Mapping[str, str]],
    held_out: ImageSet,
    references: dict[str, Tensor],
    denoiser: Denoiser,
    autoencoder: Autoencoder | None,
) -> Similarity:
    """sim of the whole run.

    Arguments:
        terms: {similarity: its class}.
        conditions: every condition of the run, {similarity: as written}.
        references: {name: image} of what they refer to.
        guidance: which asks.
        denoiser, autoencoder: which draw.

    Raises:
        UserError: the encoder cannot give a similarity that the run names, or does not belong to
            the denoiser.
    """
    image = encoders and encoders.image
    parts = Parts(denoiser, image, encoders and encoders.text, None, autoencoder)
    if denoiser.latents and image:
        check_seen(image, guidance)
    if config.deterministic:
        encoders = one_by_one(encoders)
    made: dict[str, Term] = {}
    for kind, term in terms.items():
        targets = [term.targets_of(condition.get(kind)) for condition in conditions]
        run = RunContext(encoders, config.encoder_name, targets, held_out)
        options = options_of(config.similarity[kind], term.condition_option or "_target_")
        made[kind] = from_options(f"similarity.{kind}", term, run, options)
    if not guidance.at_clean:
        references = {name: parts.latents(image) for name, image in references.items()}
    return assemble_similarity(
        *(made, image, denoiser.schedule, references, config.seed), at_clean=guidance.at_clean
    )
