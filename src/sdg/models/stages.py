"""The maps inside an image tower, by the names of its stages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import Parameter

from sdg.errors import choice

__all__ = ["Encoded", "Stage", "blocks", "feature_hooks", "stages", "stage_parameters"]


class Encoded(NamedTuple):
    """E(x, t): the unit embedding, (B, D), and the asked-for stages' maps.

    Maps are (B, C, H, W) or (B, C, tokens). `scaled` is a calibrated encoder's z at its own length,
    (B, D): z · E_text(y) is a logit of p(y | x_t). None of others.
    """

    z: Tensor
    maps: dict[str, Tensor]
    scaled: Tensor | None = None


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

    def read(self, output: Tensor) -> Tensor:
        """The output with its channels on axis 1 and nothing but places behind."""
        if output.ndim == 3:
            return output[:, self.prefix :].transpose(1, 2)
        return output if output.shape[1] == self.channels else output.movedim(-1, 1)


def stages(tower: nn.Module) -> dict[str, Stage]:
    """The stages of a tower from image to embedding.

    They have timm's own names, or open_clip's stem, layer1 … layer4 and resblocks.0 …. A tower that
    is neither has none.
    """
    trunk: Any = getattr(tower, "trunk", tower)
    if hasattr(trunk, "feature_info"):
        prefix = getattr(trunk, "num_prefix_tokens", 0)
        return {
            info["module"]: Stage(trunk.get_submodule(info["module"]), info["num_chs"], prefix)
            for info in trunk.feature_info
        }
    if hasattr(trunk, "transformer"):
        return {
            f"resblocks.{i}": Stage(block, block.attn.embed_dim, 1)
            for i, block in enumerate(trunk.transformer.resblocks)
        }
    stem = (
        {"stem": Stage(trunk.avgpool, trunk.conv3.out_channels)}
        if hasattr(trunk, "attnpool")
        else {}
    )
    return stem | {
        name: Stage(layer, layer[-1].conv3.out_channels)
        for name, layer in trunk.named_children()
        if name.startswith("layer")
    }


def stage_parameters(tower: nn.Module, names: Sequence[str]) -> list[Parameter]:
    """The weights of these stages.

    Of one that has none itself, such as a stem's pooling, they are all that stand before it.

    Raises:
        UserError: a stage that the tower lacks.
    """
    there, found = stages(tower), []
    for name in names:
        module = there[choice("encoder.freeze", name, list(there))].module
        own = list(module.parameters())
        for passed in () if own else getattr(tower, "trunk", tower).modules():
            if passed is module:
                break
            own.extend(passed.parameters(recurse=False))
        found.extend(own)
    return found


def blocks(tower: nn.Module) -> list[nn.Module]:
    """What a tower's stages consist of.

    That is residual blocks, or a stage as a whole where it is no sequence.
    """
    return [
        block
        for stage in stages(tower).values()
        for block in (stage.module if isinstance(stage.module, nn.Sequential) else [stage.module])
    ]


@contextmanager
def feature_hooks(tower: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dictionary that a forward pass of the tower fills with the maps of these stages.

    Raises:
        UserError: a stage that the tower lacks; the message lists those it has.
    """
    there = stages(tower) if names else {}
    maps: dict[str, Tensor] = {}
    found = {name: there[choice("stages", name, list(there))] for name in names}
    hooks = [
        stage.module.register_forward_hook(
            lambda module, inputs, output, name=name, stage=stage: maps.__setitem__(
                name, stage.read(output)
            )
        )
        for name, stage in found.items()
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
