"""What a call takes where it leaves something out: encoder, guidance, sampler, strength."""

from collections.abc import Sequence

from sdg.diffusion.sampler import Sampler
from sdg.diffusion.sampling import checked_strength
from sdg.errors import UserError
from sdg.guidance.guidance import Guidance
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.pipeline.argument_checks import checked_kind

__all__ = [
    "check_seen",
    "chosen_encoder",
    "chosen_guidance",
    "chosen_sampler",
    "chosen_strength",
    "own_guidance",
]


def chosen_encoder(
    encoder: ImageEncoder | None,
    clip: TextEncoder | None,
    guidance: Guidance,
    latents: bool = False,
) -> ImageEncoder | None:
    """The encoder that this guidance reads: of x̂_0 a clean one, or a classifier, which has none.

    Arguments:
        encoder, clip: of the pipeline.
        latents: whether the denoiser draws latents.

    Raises:
        UserError: the guidance reads x̂_0, and both know noisy images or sentences alone; or it
            reads noisy latents, and the encoder reads images.
    """
    if latents and encoder is not None:
        check_seen(encoder, guidance)
    if not guidance.at_clean or (encoder is not None and encoder.classes):
        return encoder
    for part in (encoder, clip):
        if isinstance(part, ImageEncoder) and part.schedule is None:
            return part
    if encoder is None:
        return None
    raise UserError(
        f"guidance {type(guidance).__name__} reads the predicted clean image, and this pipeline's "
        "encoder was trained on noisy ones; give the clean CLIP that it was made from, "
        "Pipeline(…, clip=…)."
    )


def check_seen(encoder: ImageEncoder, guidance: Guidance) -> None:
    """Raises a `UserError` for a guidance of noisy latents with an encoder of images."""
    if guidance.at_clean or encoder.latent_channels is not None:
        return
    raise UserError(
        f"guidance {type(guidance).__name__} reads noisy latents, and this pipeline's encoder "
        "reads images: take a guidance that reads the decoded estimate, such as DPS or MPGD, or a "
        "noise-aware encoder of these latents."
    )


def chosen_guidance(
    guidance: Guidance | None,
    gamma: float | None,
    own: float,
    interval: Sequence[float],
    conditioned: bool,
) -> Guidance:
    """The guidance of a call, by default `SemanticGuidance` with γ.

    Arguments:
        own: the pipeline's γ, where a call names none.
        interval: the pipeline's, for the default.
        conditioned: whether the call says what samples shall be like.

    Raises:
        UserError: there are two γ, `guidance` is none, or it would steer towards nothing.
    """
    chosen = own_guidance(guidance, gamma, own, interval)
    asked = guidance is not None or gamma is not None
    if asked and chosen.gamma and not conditioned:
        raise UserError(
            f"gamma={chosen.gamma:g} steers towards nothing: give a prompt, a picture or a "
            "similarity, or leave gamma and guidance out."
        )
    return chosen


def own_guidance(
    guidance: Guidance | None, gamma: float | None, own: float, interval: Sequence[float]
) -> Guidance:
    """`chosen_guidance`, whether or not there is something to steer towards."""
    if guidance is None:
        return SemanticGuidance(own if gamma is None else gamma, interval=interval)
    checked_kind("guidance", guidance, Guidance)
    if gamma is not None:
        name = type(guidance).__name__
        raise UserError(
            f"a guidance of one's own has its own gamma: write {name}({gamma}) and leave gamma out."
        )
    return guidance


def chosen_sampler(sampler: Sampler | None, steps: int | None, own: Sampler) -> Sampler:
    """The sampler of a call, by default the pipeline's own, with so many steps.

    Raises:
        UserError: there are two numbers of steps, or `sampler` is none.
    """
    if sampler is None:
        return checked_kind("sampler", own if steps is None else own.with_steps(steps), Sampler)
    checked_kind("sampler", sampler, Sampler)
    if steps is not None:
        name = type(sampler).__name__
        raise UserError(
            f"a sampler of one's own has its own number of steps: write {name}({steps}) and leave "
            "steps out."
        )
    return sampler


def chosen_strength(strength: float | None, from_image: bool) -> float:
    """The share of the steps that are taken: all, or from an image 0.6 where a call names none.

    Raises:
        UserError: it is not in (0, 1], or there is no image that it could be from.
    """
    if strength is None:
        return 0.6 if from_image else 1.0
    if not from_image:
        raise UserError("strength says how far from init_image; give one too, or leave it out.")
    return checked_strength(strength)
