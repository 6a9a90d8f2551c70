"""Classifier-free guidance and autoguidance of a denoiser, from their settings."""

import copy
from collections.abc import Sequence

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guided_denoiser import GuidedDenoiser, Negative, check_compatible
from sdg.diffusion.noise_range import checked_interval
from sdg.errors import UserError, integer, number
from sdg.models.class_labels import class_count, null_label
from sdg.models.text_unet import TextUNet

__all__ = ["guided_denoiser", "refuse_alone"]

WHOLE = (0.0, 1.0)


def guided_denoiser(
    denoiser: Denoiser,
    guidance_scale: float | None = None,
    guidance_interval: Sequence[float] | None = None,
    negative_label: int | None = None,
    autoguidance: Denoiser | None = None,
    autoguidance_scale: float | None = None,
    autoguidance_interval: Sequence[float] | None = None,
) -> Denoiser:
    """A denoiser with classifier-free guidance, autoguidance or both.

        guided_denoiser(from_pretrained("dit.pt", label=207, family="dit"), guidance_scale=4.0)

    Arguments:
        denoiser: with its class, if it has classes.
        guidance_scale: w of ε̂ = ε̂(no class) + w (ε̂(class) − ε̂(no class)), as in diffusers; 1
            leaves every prediction as it is, bit for bit, and None is no guidance.
        guidance_interval: the part of the noise range that is guided, as fractions of the levels;
            None is all of it.
        negative_label: the class to move away from; None is "no class", where the network has
            learned that. A network of text moves away from its negative prompt instead, with which
            it was loaded.
        autoguidance: a weaker denoiser, smaller or less trained, to move away from: of the same
            class, or of none.
        autoguidance_scale, autoguidance_interval: the same two of it.

    Returns:
        the denoiser itself where every scale is 1.

    Raises:
        UserError: a setting is out of range, is missing, or has no effect.
    """
    negatives = []
    if guidance_scale is None:
        for name, value in (
            ("guidance_interval", guidance_interval),
            ("negative_label", negative_label),
        ):
            refuse_alone(name, value, "guidance_scale")
    else:
        scale = number("guidance_scale", guidance_scale, 0)
        interval = checked_interval("guidance_interval", guidance_interval or WHOLE)
        other = copy.copy(denoiser)  # of the same network
        other.label = checked_negative(denoiser, negative_label)
        negatives.append(Negative(other, scale, interval))
    if autoguidance is None:
        refuse_alone("autoguidance_scale", autoguidance_scale, "autoguidance")
        refuse_alone("autoguidance_interval", autoguidance_interval, "autoguidance")
    elif autoguidance_scale is None:
        raise UserError(
            "autoguidance needs autoguidance_scale too: above 1, such as 2.", "autoguidance"
        )
    else:
        scale = number("autoguidance_scale", autoguidance_scale, 0)
        interval = checked_interval("autoguidance_interval", autoguidance_interval or WHOLE)
        try:
            check_compatible(denoiser, autoguidance)
        except UserError as error:
            raise UserError(f"autoguidance: {error}", "autoguidance") from error
        negatives.append(Negative(autoguidance, scale, interval))
    acting = [negative for negative in negatives if negative.scale != 1]
    return GuidedDenoiser(denoiser, acting) if acting else denoiser


def refuse_alone(name: str, value: object, needed: str) -> None:
    """Refuses a setting without the one that it belongs to.

    Raises:
        UserError: it is given.
    """
    if value is not None:
        raise UserError(f"{name} has no effect without {needed}; set both, or neither.", name)


def check_prompts(network: TextUNet, label: int | None) -> None:
    """Raises a `UserError` for a class of a network of text, or for two prompts that are one."""
    if label is not None:
        raise UserError(
            "negative_label is a class, and this network reads sentences; give negative_prompt.",
            "negative_label",
        )
    if network.same_prompts:
        raise UserError(
            "guidance_scale has no effect: the prompt and the negative prompt are the same; change "
            "one, or leave it out.",
            "guidance_scale",
        )


def checked_negative(denoiser: Denoiser, label: int | None) -> int:
    """The label that classifier-free guidance moves away from.

    Raises:
        UserError: there is none, or it is out of range, or the denoiser's own.
    """
    if denoiser.label is None:
        raise UserError(
            "guidance_scale has no effect on a denoiser without a class; leave it out.",
            "guidance_scale",
        )
    if isinstance(denoiser.network, TextUNet):
        check_prompts(denoiser.network, label)
    if label is not None:
        count = class_count(denoiser.network)
        label = integer("negative_label", label, 0, None if count is None else count - 1)
    else:
        label = null_label(denoiser.network)
    if label is None:
        raise UserError(
            'guidance_scale: this network does not tell a label of "no class"; name the class to '
            "move away from, negative_label, or give an unconditional denoiser as autoguidance.",
            "guidance_scale",
        )
    if label == denoiser.label:
        raise UserError(
            f"guidance_scale has no effect: it moves label={label} away from the same label; "
            "choose another.",
            "guidance_scale",
        )
    return label
