"""Small image towers for small images, in timm's registry beside its large ones."""

from functools import partial

from timm.layers import GroupNorm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

__all__ = ["resnet_small", "resnet_tiny"]

CONFIG = {"input_size": (3, 32, 32), "pool_size": (2, 2), "first_conv": "conv1.0", "classifier": "fc"}
default_cfgs = generate_default_cfgs({"resnet_tiny.untrained": CONFIG, "resnet_small.untrained": CONFIG})


def small_resnet(name: str, layers: tuple, channels: tuple, stem_width: int, pretrained: bool, **options) -> ResNet:
    """A ResNet-D without the stem's pooling: 16 × 16 positions of a 32 × 32 image, stages at /2, /4, /8, /16.

    GroupNorm, because a batch of x_t mixes noise levels and batch statistics would mix them too; SiLU and average pooling,
    because guidance follows this network's gradient and kinks or skipped pixels would show in it.
    """
    model = build_model_with_cfg(ResNet, name, pretrained, feature_cfg={"out_indices": (0, 1, 2, 3, 4)}, block=BasicBlock, layers=layers,
                                 stem_type="deep", stem_width=stem_width, channels=channels, avg_down=True,
                                 norm_layer=partial(GroupNorm, num_groups=8), act_layer=nn.SiLU, **options)
    model.maxpool = nn.Identity()
    return model


@register_model
def resnet_tiny(pretrained: bool = False, **options) -> ResNet:
    """0.8 M parameters."""
    return small_resnet("resnet_tiny", (1, 1, 1, 1), (48, 96, 128, 128), 24, pretrained, **options)


@register_model
def resnet_small(pretrained: bool = False, **options) -> ResNet:
    """1.6 M parameters, most of them where they see whole objects: noise averages out over space."""
    return small_resnet("resnet_small", (1, 2, 2, 1), (32, 96, 160, 160), 16, pretrained, **options)
