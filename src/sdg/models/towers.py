"""Image towers, open_clip's and timm's, at any resolution, and small ones for small images.

The small ones are in timm's registry.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import timm
import torch
from open_clip.model import _build_vision_tower
from timm.layers import GroupNorm, resample_abs_pos_embed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from sdg.errors import UserError, first_line

__all__ = [
    "at_resolution",
    "check_timm_name",
    "image_tower",
    "known",
    "resized",
    "resnet_medium",
    "resnet_small",
    "resnet_tiny",
]

OWN_HEAD = "own"  # `timm_proj` of a timm tower whose own pooling and head give the embedding
PREFIXES = (0, 1, 2, 4, 5)  # tokens that stand for no place: none, a class token, registers


class TimmTower(nn.Module):
    """A timm model whose own head is the projection, as timm keeps the image towers of CLIPs."""

    def __init__(self, name: str, embed_dim: int):
        super().__init__()
        self.trunk = timm.create_model(name, num_classes=embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.trunk(x)
        return embeddings


def image_tower(model: Mapping[str, Any]) -> nn.Module:
    """The image tower of a CLIP's config, with untrained weights.

    It goes from normalised images to embeddings.

    Raises:
        UserError: it cannot be built for images of `vision_cfg.image_size`.
    """
    vision = known(model["vision_cfg"])
    if vision.get("timm_proj") == OWN_HEAD:
        tower = TimmTower(vision["timm_model_name"], model["embed_dim"])
    else:
        tower = _build_vision_tower(model["embed_dim"], vision, model.get("quick_gelu", False))
    return resized(tower, vision)


def known(vision: Mapping[str, Any]) -> dict[str, Any]:
    """A tower's config, with which nothing is fetched and no code comes from elsewhere.

    That is so whatever file it stood in.

    Raises:
        UserError: it names a tower that timm has not.
    """
    if name := vision.get("timm_model_name"):
        check_timm_name(name)
    return dict(vision) | {"timm_model_pretrained": False}


def check_timm_name(name: object) -> None:
    """Checks that timm itself has a model: it would fetch `hf-hub:…`, or read `local-dir:…`.

    Raises:
        UserError: it has not.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        raise UserError(f"timm {timm.__version__} has no image tower {name!r}.")


def resized(tower: nn.Module, vision: Mapping[str, Any]) -> nn.Module:
    """A timm tower for images of `image_size`; any other is built for it."""
    size = vision["image_size"]
    trunk: Any = getattr(tower, "trunk", None)
    if hasattr(trunk, "set_input_size") and trunk.default_cfg["input_size"][-1] != size:
        try:
            trunk.set_input_size(img_size=size)
        except (AssertionError, ValueError) as error:
            raise UserError(
                f"the image tower {vision['timm_model_name']} takes no images of {size} pixels a "
                f"side ({error})."
            ) from error
    return tower


def at_resolution(
    model: Mapping[str, Any], tower: nn.Module, resolution: int
) -> tuple[dict[str, Any], nn.Module]:
    """A CLIP's config and image tower for images of another size.

    The weights are the same, the embeddings of positions interpolated (bicubic).

    Arguments:
        model: as of `CLIP`.
        tower: its image tower.
        resolution: side of the images.

    Raises:
        UserError: the tower does not take images of that size.
    """
    other = dict(model) | {"vision_cfg": dict(model["vision_cfg"]) | {"image_size": resolution}}
    if resolution == model["vision_cfg"]["image_size"]:
        return other, tower
    try:
        larger = image_tower(other)
        weights = tower.state_dict()
        for name, value in larger.state_dict().items():
            if weights[name].shape != value.shape:
                weights[name] = interpolated(weights[name], value.shape)
        larger.load_state_dict(weights)
        with torch.no_grad():
            larger.eval()(torch.zeros(1, 3, resolution, resolution))
    except (AssertionError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"this image tower takes no images of {resolution} pixels a side, only multiples of "
            f"what its deepest stage or patch covers ({first_line(error)})."
        ) from error
    return other, larger


def interpolated(positions: Tensor, shape: torch.Size) -> Tensor:
    """Embeddings of a square grid's positions, for another grid.

    From (…, prefix + n², D) they become (…, prefix + m², D).
    """
    for prefix in PREFIXES:
        old, new = math.isqrt(positions.shape[-2] - prefix), math.isqrt(shape[-2] - prefix)
        if (
            positions.ndim > 1
            and positions.shape[-1] == shape[-1]
            and (old**2, new**2) == (positions.shape[-2] - prefix, shape[-2] - prefix)
        ):
            moved: Tensor = resample_abs_pos_embed(
                positions.reshape(1, *positions.shape[-2:]),
                [new, new],
                [old, old],
                num_prefix_tokens=prefix,
            ).view(shape)
            return moved
    raise ValueError(f"a tensor of shape {tuple(positions.shape)} cannot become {tuple(shape)}")


CONFIG = {
    "input_size": (3, 32, 32),
    "pool_size": (2, 2),
    "first_conv": "conv1.0",
    "classifier": "fc",
}
default_cfgs = generate_default_cfgs(
    {f"resnet_{size}.untrained": CONFIG for size in ("tiny", "small", "medium")}
)


def small_resnet(
    name: str,
    layers: tuple[int, ...],
    channels: tuple[int, ...],
    stem_width: int,
    pretrained: bool,
    **options: Any,
) -> ResNet:
    """A ResNet-D without the stem's pooling.

    It has 16 × 16 positions of a 32 × 32 image, and stages at /2, /4, /8, /16.

    GroupNorm, because a batch of x_t mixes noise levels and batch statistics would mix them too;
    SiLU and average pooling, because guidance follows this network's gradient and kinks or skipped
    pixels would show in it.
    """
    model = build_model_with_cfg(
        ResNet,
        name,
        pretrained,
        feature_cfg={"out_indices": (0, 1, 2, 3, 4)},
        block=BasicBlock,
        layers=layers,
        stem_type="deep",
        stem_width=stem_width,
        channels=channels,
        avg_down=True,
        norm_layer=partial(GroupNorm, num_groups=8),
        act_layer=nn.SiLU,
        **options,
    )
    model.maxpool = nn.Identity()  # type: ignore[assignment]  # of any kind: it is called alone
    return model


@register_model
def resnet_tiny(pretrained: bool = False, **options: Any) -> ResNet:
    """0.8 M parameters."""
    return small_resnet("resnet_tiny", (1, 1, 1, 1), (48, 96, 128, 128), 24, pretrained, **options)


@register_model
def resnet_small(pretrained: bool = False, **options: Any) -> ResNet:
    """1.6 M parameters, most of them where they see whole objects.

    Noise averages out over space.
    """
    return small_resnet("resnet_small", (1, 2, 2, 1), (32, 96, 160, 160), 16, pretrained, **options)


@register_model
def resnet_medium(pretrained: bool = False, **options: Any) -> ResNet:
    """2.9 M parameters, for images of 64 × 64."""
    return small_resnet(
        "resnet_medium", (1, 2, 2, 2), (32, 96, 160, 224), 16, pretrained, **options
    )
