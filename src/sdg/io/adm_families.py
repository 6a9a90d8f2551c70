"""The published families of ADM files.

Names and shapes of a state dict cannot tell the number of attention heads, the order of the rows of
qkv, the noise schedule or the image size: a wrong guess loads without complaint and gives wrong
images. So these come from the published family that has the layout, or from the user.
"""

from typing import NamedTuple

from sdg.io.adm_layout import Layout

__all__ = ["FAMILIES", "Family", "family_of"]


# What a family and a layout both have.
SHARED = ("channels", "blocks", "attention", "scale_shift", "resnet_resampling", "classes")


class Family(NamedTuple):
    """What a file of this family cannot tell, and what it is known by.

    Arguments:
        name: whose it is.
        channels, multipliers, blocks, attention, scale_shift, resnet_resampling, classes: the
            layout it is known by.
        resolution: of its images.
        schedule: and T, of its noise.
        head_width: channels of an attention head; None where `heads` says how many there are at
            every width.
        qkv: order of the rows of qkv: `heads_first`, (head, q k v, width), or `qkv_first`, (q k v,
            head, width).
        time_scale: what t is multiplied by before it is embedded.
    """

    name: str
    channels: int
    multipliers: tuple[float, ...]
    blocks: int
    attention: tuple[int, ...]
    scale_shift: bool
    resnet_resampling: bool
    classes: int | None
    resolution: int
    schedule: str
    T: int
    head_width: int | None = 64
    heads: int | None = None
    qkv: str = "heads_first"
    time_scale: float = 1.0

    def has(self, layout: Layout) -> bool:
        """Whether files of this family have that layout."""
        widths = tuple(int(self.channels * m) for m in self.multipliers)
        if layout.widths != widths:
            return False
        return all(getattr(self, name) == getattr(layout, name) for name in SHARED)


def family_of(layout: Layout) -> Family | None:
    """The published family with this layout; None for a layout that none has."""
    return next((family for family in FAMILIES if family.has(layout)), None)


# From the flags that were published with the files.
FAMILIES = (
    Family(
        name="guided-diffusion ImageNet 64",
        channels=192,
        multipliers=(1, 2, 3, 4),
        blocks=3,
        attention=(1, 2, 3),
        scale_shift=True,
        resnet_resampling=True,
        classes=1000,
        resolution=64,
        schedule="cosine",
        T=1000,
        qkv="qkv_first",
    ),
    Family(
        name="guided-diffusion ImageNet 128",
        channels=256,
        multipliers=(1, 1, 2, 3, 4),
        blocks=2,
        attention=(2, 3, 4),
        scale_shift=True,
        resnet_resampling=True,
        classes=1000,
        resolution=128,
        schedule="linear",
        T=1000,
        head_width=None,
        heads=4,
    ),
    Family(
        name="guided-diffusion ImageNet 256",
        channels=256,
        multipliers=(1, 1, 2, 2, 4, 4),
        blocks=2,
        attention=(3, 4, 5),
        scale_shift=True,
        resnet_resampling=True,
        classes=1000,
        resolution=256,
        schedule="linear",
        T=1000,
    ),
    Family(
        name="guided-diffusion ImageNet 256 unconditional, or LSUN 256",
        channels=256,
        multipliers=(1, 1, 2, 2, 4, 4),
        blocks=2,
        attention=(3, 4, 5),
        scale_shift=True,
        resnet_resampling=True,
        classes=None,
        resolution=256,
        schedule="linear",
        T=1000,
    ),
    Family(
        name="guided-diffusion ImageNet 512",
        channels=256,
        multipliers=(0.5, 1, 1, 2, 2, 4, 4),
        blocks=2,
        attention=(4, 5, 6),
        scale_shift=True,
        resnet_resampling=True,
        classes=1000,
        resolution=512,
        schedule="linear",
        T=1000,
    ),
    Family(
        name="ilvr / P2 FFHQ 256",
        channels=128,
        multipliers=(1, 1, 2, 2, 4, 4),
        blocks=1,
        attention=(4,),
        scale_shift=True,
        resnet_resampling=True,
        classes=None,
        resolution=256,
        schedule="linear",
        T=1000,
    ),
    Family(
        name="improved-diffusion CIFAR-10",
        channels=128,
        multipliers=(1, 2, 2, 2),
        blocks=3,
        attention=(1, 2),
        scale_shift=True,
        resnet_resampling=False,
        classes=None,
        resolution=32,
        schedule="cosine",
        T=4000,
        head_width=None,
        heads=4,
        time_scale=0.25,
    ),
    Family(
        name="improved-diffusion ImageNet 64",
        channels=128,
        multipliers=(1, 2, 3, 4),
        blocks=3,
        attention=(2, 3),
        scale_shift=True,
        resnet_resampling=False,
        classes=None,
        resolution=64,
        schedule="cosine",
        T=4000,
        head_width=None,
        heads=4,
        time_scale=0.25,
    ),
    Family(
        name="improved-diffusion ImageNet 64 class-conditional",
        channels=192,
        multipliers=(1, 2, 3, 4),
        blocks=3,
        attention=(2, 3),
        scale_shift=True,
        resnet_resampling=False,
        classes=1000,
        resolution=64,
        schedule="cosine",
        T=4000,
        head_width=None,
        heads=4,
    ),
    Family(
        name="improved-diffusion LSUN 256",
        channels=128,
        multipliers=(1, 1, 2, 2, 4, 4),
        blocks=2,
        attention=(4,),
        scale_shift=False,
        resnet_resampling=False,
        classes=None,
        resolution=256,
        schedule="linear",
        T=1000,
        head_width=None,
        heads=1,
    ),
)
