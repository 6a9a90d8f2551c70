"""What a similarity must give, so that a mistake in one of the user's own is said where it is."""

import torch
from torch import Tensor

from sdg.errors import UserError

__all__ = ["checked_values"]

FAR_AWAY = 1e3  # a pixel so large has been driven there by γ, which is what is to be mended


def checked_values(name: str, values: Tensor, count: int, unit: str, x: Tensor) -> Tensor:
    """The values, if guidance can use them.

    Arguments:
        name: of the similarity.
        values: what it gave.
        count: the number that it should give, one for each `unit`, "sample" or "pair".
        x: what it was given, (B, C, H, W).

    Raises:
        UserError: they are no numbers of shape (count,); they are not finite, though the samples
            are no larger than noise makes them; or x needs a gradient and they do not depend on
            it.
    """
    if not isinstance(values, Tensor):
        raise UserError(
            f"similarity {name!r} gave {type(values).__name__}; it must give a tensor of shape "
            f"({count},), one value for each {unit}."
        )
    if values.shape != (count,):
        raise UserError(
            f"similarity {name!r} gave a tensor of shape {tuple(values.shape)}; it must be "
            f"({count},), one value for each {unit}."
        )
    if torch.is_grad_enabled() and x.requires_grad and not values.requires_grad:
        raise UserError(
            f"similarity {name!r} has no gradient in the images, so it cannot guide; compute it "
            "from them in torch, without detach or no_grad."
        )
    # A GPU would have to be waited for; there the samples, which such a value spoils, tell.
    on_cpu = values.device.type == "cpu"
    if on_cpu and not values.isfinite().all() and x.abs().amax() < FAR_AWAY:
        raise UserError(f"similarity {name!r} gave a value that is not finite.")
    return values
