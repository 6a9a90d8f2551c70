"""An ADM state dict, with what it cannot tell: from the user, or from its published family."""

from collections.abc import Mapping

from torch import Tensor

from sdg.diffusion.schedule import KINDS, Schedule
from sdg.errors import UserError, choice, integer, number
from sdg.io.adm import converted, network_of
from sdg.io.adm_families import Family, family_of
from sdg.io.adm_layout import Layout, layout_of
from sdg.io.denoiser_file import DenoiserFile, MissingSettings

__all__ = ["ASKED", "from_adm"]

# What a user may set of an ADM file.
ASKED = (
    *("resolution", "schedule", "T", "heads", "heads_upsample", "head_width", "qkv"),
    *("time_scale", "variance"),
)
NEEDED = ("resolution", "schedule", "T", "qkv")  # that nothing but a family can tell
DEFAULTS = {"time_scale": 1.0}


class Settings:
    """The settings of an ADM file: a user's go before its family's, those before the defaults.

    Arguments:
        given: {setting: value} of the user.
        family: None for a file of no published family.

    Attributes:
        sources: {setting: (value, who says so)} of those that were asked for.
    """

    def __init__(self, given: Mapping, family: Family | None):
        self.given, self.family = given, family
        self.sources: dict[str, tuple[object, str]] = {}

    def missing(self) -> list[list[str]]:
        """What neither the user nor a family says, each under all its names."""
        if self.family:
            return []
        names = [[name] for name in NEEDED if name not in self.given]
        if not {"heads", "head_width"} & self.given.keys():
            names.append(["heads", "head_width"])
        return names

    def settle(self, name: str):
        """The value of a setting."""
        if self.family:
            return self.settle_as(name, getattr(self.family, name), self.family.name)
        return self.settle_as(name, DEFAULTS.get(name), "default")

    def settle_as(self, name: str, default, source: str):
        """The value of a setting, whose default is that of this source."""
        known = (self.given[name], "you") if name in self.given else (default, source)
        self.sources[name] = known
        return known[0]

    def attention(self) -> tuple[int | None, int | None]:
        """The number of heads, or the width of one; the other is None."""
        by_number = "heads" in self.given
        if self.family and not {"heads", "head_width"} & self.given.keys():
            by_number = bool(self.family.heads)
        if by_number:
            return integer("heads", self.settle("heads"), 1), None
        return None, integer("head_width", self.settle("head_width"), 1)

    def attention_on_way_up(self, heads: int | None) -> int | None:
        """The number of heads on the way up, guided-diffusion's num_heads_upsample.

        Arguments:
            heads: on the way down and in the middle; None where heads have a width instead.

        Raises:
            UserError: heads have a width, which holds on the way up too.
        """
        if heads is None:
            if "heads_upsample" in self.given:
                raise UserError(
                    "heads_upsample goes with heads; heads of one width have it on the way up too.",
                    "heads_upsample",
                )
            return None
        by_family = self.family and self.sources["heads"][1] != "you"
        source = self.family.name if self.family and by_family else "assumed: as many as heads"
        return integer("heads_upsample", self.settle_as("heads_upsample", heads, source), 1)

    def variance(self, learned: bool, path: str) -> str:
        """Which Σ, one that agrees with what the file holds.

        Arguments:
            learned: whether the file learned Σ.
        """
        if learned:
            variance = self.settle_as("variance", "learned_range", "the file")
            holds, advice = "learned its variance", "leave it out"
        else:
            variance = self.settle_as("variance", "fixed_large", "default")
            holds, advice = "learned none", "set fixed_large or fixed_small"
        if (variance == "learned_range") != learned:
            raise UserError(f"variance={variance}, but {path} {holds}; {advice}.", "variance")
        return variance


def from_adm(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of an ADM state dict.

    Arguments:
        tensors: of the file, under its own names.
        given: of `ASKED`, what the user says; it goes before what the family says.
        path: of the file, for messages.

    Raises:
        MissingSettings: neither the user nor a published family says what the file cannot tell.
        UserError: these are no tensors of an ADM U-Net, or a setting does not suit them.
    """
    layout = layout_of(tensors)
    settings = Settings(given, family_of(layout))
    if "heads" in given and "head_width" in given:
        raise UserError("give heads or head_width, not both.")
    if missing := settings.missing():
        raise MissingSettings(
            f"{path} is an ADM U-Net that no published family has ({layout_text(layout)}), and it "
            "cannot tell the rest",
            f"an ADM U-Net, {layout_text(layout)}",
            missing,
        )
    heads, head_width = settings.attention()
    heads_upsample = settings.attention_on_way_up(heads)
    qkv = choice("qkv", settings.settle("qkv"), ("heads_first", "qkv_first"))
    schedule = Schedule(
        choice("schedule", settings.settle("schedule"), KINDS),
        integer("T", settings.settle("T"), 1),
    )
    resolution = integer("resolution", settings.settle("resolution"), 1)
    time_scale = number("time_scale", settings.settle("time_scale"), 1e-6)
    variance = settings.variance(layout.learned, path)
    renamed = converted(tensors, layout, heads, head_width, qkv, heads_upsample)
    widths = {layout.widths[level] for level in layout.attention} | {layout.widths[-1]}
    if heads == heads_upsample:  # no key then: the config of such files stays what it was
        heads_upsample = None
    if heads and not heads_upsample and len(widths) == 1:
        # As many heads everywhere are then heads of one width everywhere.
        head_width = widths.pop() // heads
        heads = None
    denoiser = {
        "prediction": "epsilon",
        "variance": variance,
        "clip": True,
        "time_scale": time_scale,
        "heads": heads,
        "sinusoid": None if layout.channels == layout.widths[0] else layout.channels,
        "network": network_of(layout, head_width or 32),
    }
    if heads_upsample:
        denoiser["heads_upsample"] = heads_upsample
    return DenoiserFile(
        path,
        {"denoiser": denoiser, "schedule": schedule.config, "resolution": resolution},
        {f"network.{name}": value for name, value in renamed.items()},
        f"an ADM U-Net, {layout_text(layout)}",
        settings.sources,
    )


def layout_text(layout: Layout) -> str:
    """A layout in words."""
    multipliers = ",".join(f"{width / layout.channels:g}" for width in layout.widths)
    parts = [
        f"{layout.channels} channels × {multipliers}",
        f"{layout.blocks} blocks a level",
        f"attention at levels {','.join(map(str, layout.attention))}",
        "scale and shift" if layout.scale_shift else "additive t",
        f"{'residual' if layout.resnet_resampling else 'convolutional'} resampling",
        f"{'learned' if layout.learned else 'fixed'} Σ",
        f"{layout.classes} classes" if layout.classes else "unconditional",
    ]
    return ", ".join(parts)
