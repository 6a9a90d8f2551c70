"""Small image towers for small images, in timm's registry beside its large ones."""

from functools import partial

from timm.layers import GroupNorm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

__all__ = ["resnet_tiny"]

default_cfgs = generate_default_cfgs({"resnet_tiny.untrained": {
    "input_size": (3, 32, 32), "pool_size": (2, 2), "first_conv": "conv1.0", "classifier": "fc"}})


@register_model
def resnet_tiny(pretrained: bool = False, **options) -> ResNet:
    """A ResNet-D of 0.7 M parameters that keeps 16 × 16 positions of a 32 × 32 image: stages at /2, /4, /8, /16.

    GroupNorm, because a batch of x_t mixes noise levels and batch statistics would mix them too; SiLU and average pooling,
    because guidance follows this network's gradient and kinks or skipped pixels would show in it.
    """
    design = dict(block=BasicBlock, layers=(1, 1, 1, 1), stem_type="deep", stem_width=24, channels=(48, 96, 128, 128), avg_down=True,
                  norm_layer=partial(GroupNorm, num_groups=8), act_layer=nn.SiLU)
    model = build_model_with_cfg(ResNet, "resnet_tiny", pretrained, feature_cfg={"out_indices": (0, 1, 2, 3, 4)}, **design, **options)
    model.maxpool = nn.Identity()
    return model
