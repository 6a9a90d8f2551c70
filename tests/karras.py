"""What EDM and EDM2 share: the order of a U-Net's blocks, and the preconditioning."""

from collections.abc import Callable, Sequence

import torch
from foreign import denoiser_of, on_meta, relative, same_tensors

Module = tuple[str, int, int, bool]  # (name, channels inside, channels outside, attention)


def plan(
    side: int,
    first: int,
    widths: Sequence[int],
    blocks: int,
    attends: Callable[[int], bool],
    attends_up: Callable[[int, int], bool],
    residual: bool = False,
) -> tuple[list[Module], list[Module]]:
    """(encoder, decoder) of EDM's and EDM2's U-Nets after the first convolution, in order.

    Arguments:
        side: of the images.
        first: channels of the first convolution.
        widths: of each level; `blocks` blocks each, one more on the way up.
        attends, attends_up: whether a side's blocks attend, and on the way up which of them.
        residual: an image made smaller joins each level (NCSN++).
    """
    sides = [side // 2**i for i in range(len(widths))]
    encoder, kept, width, image = [], [first], first, 3
    for here, wide in zip(sides, widths, strict=True):
        at = f"{here}x{here}"
        if here < side:
            encoder.append((f"{at}_down", width, width, False))
            kept.append(width)
        if here < side and residual:
            encoder.append((f"{at}_aux_residual", image, width, False))
            image = width
        for j in range(blocks):
            encoder.append((f"{at}_block{j}", width, wide, attends(here)))
            width = wide
            kept.append(width)
    decoder = []
    for here, wide in reversed(list(zip(sides, widths, strict=True))):
        at = f"{here}x{here}"
        if here == sides[-1]:
            decoder.append((f"{at}_in0", width, width, True))
            decoder.append((f"{at}_in1", width, width, False))
        else:
            decoder.append((f"{at}_up", width, width, False))
        for j in range(blocks + 1):
            decoder.append((f"{at}_block{j}", width + kept.pop(), wide, attends_up(here, j)))
            width = wide
    return encoder, decoder


def check_preconditioning(tensors: dict, network: Callable, channels: int, classes: int) -> None:
    """The estimated image is the one of Karras et al. 2022, table 1, at σ of its eq. 5.

    Arguments:
        tensors: of the file.
        network: F(x; ¼ ln σ, classes), written from the paper.
        channels, classes: of the images; 0 without classes.
    """
    denoiser = denoiser_of(tensors)
    denoiser.label = 2 if classes else None
    y = torch.tensor([2, 2]) if classes else None
    x = torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    first, last = 0.002 ** (1 / 7), 80 ** (1 / 7)
    for level in (0, 300.5, 999):
        sigma = (first + level / 999 * (last - first)) ** 7
        root = (sigma**2 + 0.25) ** 0.5
        log_sigma = torch.full((2,), sigma, dtype=torch.float64).log()
        own = (1 + sigma**2) ** 0.5 * x  # x_0 + σ ε, where ours is that over √(1 + σ²)
        of_network = network(own / root, log_sigma / 4, y)
        expected = 0.25 / root**2 * own + 0.5 * sigma / root * of_network
        assert relative(denoiser(x, level).x0, expected) < 1e-8
        assert relative(denoiser(x, level).output, of_network) < 1e-8


def check_full_size(shapes: dict, side: int, channels: int, classes: int) -> None:
    """A published size has a place for every tensor, and EDM's settings."""
    file, model = on_meta(shapes)
    assert same_tensors(file, model)
    sizes = file.config["resolution"], model.channels, model.network.classes
    assert sizes == (side, channels, classes)
    known = {name: value for name, (value, _) in file.sources.items()}
    assert (known["sigma_data"], known["time"], known["time_scale"]) == (0.5, "log_sigma", 0.25)
