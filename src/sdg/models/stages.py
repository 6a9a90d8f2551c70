"""The maps inside an image tower, by the names of its stages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from sdg.errors import choice

__all__ = ["Encoded", "Stage", "blocks", "feature_hooks", "stages", "stage_parameters"]


class Encoded(NamedTuple):
    """What an encoder says of images.

    Attributes:
        z: E(x, t), the unit embedding, (B, D).
        maps: of the asked-for stages, (B, C, H, W) or (B, C, tokens) each.
        scaled: a calibrated encoder's z at its own length, (B, D): z · E_text(y) is a logit of
            p(y | x_t). None of others.
        logits: a classifier's, of all its classes, (B, K). None of others.
    """

    z: Tensor
    maps: dict[str, Tensor]
    scaled: Tensor | None = None
    logits: Tensor | None = None

    def at_least_float32(self) -> "Encoded":
        """The same, with what is of half precision in float32."""
        if self.z.dtype in (torch.float32, torch.float64):
            return self
        scaled = None if self.scaled is None else self.scaled.float()
        logits = None if self.logits is None else self.logits.float()
        maps = {stage: values.float() for stage, values in self.maps.items()}
        return Encoded(self.z.float(), maps, scaled, logits)


class Stage(NamedTuple):
    """Where a stage's map comes out of a tower.

    Arguments:
        module: the layer whose output it is.
        channels: C.
        prefix: tokens in front that stand for no place in the image.
    """

    module: nn.Module
    channels: int
    prefix: int = 0

    def map_from(self, output: Tensor) -> Tensor:
        """The module's output with its channels on axis 1 and nothing but places behind."""
        if output.ndim == 3:
            return output[:, self.prefix :].transpose(1, 2)
        return output if output.shape[1] == self.channels else output.movedim(-1, 1)


def stages(tower: nn.Module) -> dict[str, Stage]:
    """The stages of a tower from image to embedding.

    They have timm's own names, or open_clip's stem, layer1 … layer4 and resblocks.0 …. A tower that
    is neither has none.
    """
    trunk: Any = getattr(tower, "trunk", tower)
    by_name: dict[str, Stage] = {}
    if hasattr(trunk, "feature_info"):
        prefix = getattr(trunk, "num_prefix_tokens", 0)
        for info in trunk.feature_info:
            name = info["module"]
            by_name[name] = Stage(trunk.get_submodule(name), info["num_chs"], prefix)
        return by_name
    if hasattr(trunk, "transformer"):
        for i, block in enumerate(trunk.transformer.resblocks):
            by_name[f"resblocks.{i}"] = Stage(block, block.attn.embed_dim, 1)
        return by_name
    if hasattr(trunk, "attnpool"):
        by_name["stem"] = Stage(trunk.avgpool, trunk.conv3.out_channels)
    for name, layer in trunk.named_children():
        if name.startswith("layer"):
            by_name[name] = Stage(layer, layer[-1].conv3.out_channels)
    return by_name


def stage_parameters(tower: nn.Module, names: Sequence[str]) -> list[Parameter]:
    """The weights of these stages.

    Of one that has none itself, such as a stem's pooling, they are all that stand before it.

    Raises:
        UserError: a stage that the tower lacks.
    """
    available = stages(tower)
    parameters: list[Parameter] = []
    for name in names:
        module = available[choice("encoder.freeze", name, list(available))].module
        own = list(module.parameters())
        for passed in () if own else getattr(tower, "trunk", tower).modules():
            if passed is module:
                break
            own.extend(passed.parameters(recurse=False))
        parameters.extend(own)
    return parameters


def blocks(tower: nn.Module) -> list[nn.Module]:
    """What a tower's stages consist of.

    That is residual blocks, or a stage as a whole where it is no sequence.
    """
    parts: list[nn.Module] = []
    for stage in stages(tower).values():
        parts += stage.module if isinstance(stage.module, nn.Sequential) else [stage.module]
    return parts


@contextmanager
def feature_hooks(tower: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dictionary that a forward pass of the tower fills with the maps of these stages.

    Raises:
        UserError: a stage that the tower lacks; the message lists those it has.
    """
    available = stages(tower) if names else {}
    chosen = {name: available[choice("stages", name, list(available))] for name in names}
    maps: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        maps[name] = chosen[name].map_from(output)

    hooks = [
        stage.module.register_forward_hook(partial(keep, name)) for name, stage in chosen.items()
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
