"""What terms that compare the maps of an encoder's stages share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdg.errors import UserError, choice, number
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.run_context import RunContext
from sdg.similarity.term import Pairs, Term

__all__ = ["Maps"]


class Maps(Term):
    """Minus the distance of features of chosen stages' maps from those of the reference.

    It has one of two forms, with f the term's `features` of the maps of stage j:

        squared   −Σ_j d_j,   d_j = mean of (f(E(x, s)_j) − f(E(x'_s, s)_j))²   (the paper's)
        log       −Σ_j log d_j

    The second is, up to a factor, the log-likelihood of a Gaussian around the reference, maximised
    over its unknown variance. It has no unit, so one weight serves every stage and encoder, and its
    gradient is large near the reference, not far from it, where steps are long.

    Arguments:
        weight: w, by which the values are multiplied.
        stages: the names of the encoder's stages whose maps are compared, at least one.
        form: `squared` or `log`.

    Raises:
        UserError: no stage is named, or a parameter is out of range.
    """

    condition_option, by_reference, name = "reference", True, ""

    def __init__(self, weight: float, stages: Sequence[str], form: str):
        super().__init__(number("weight", weight), checked_stages(stages))
        self.form = choice("form", form, ("squared", "log"))

    @classmethod
    def from_config(
        cls, run: RunContext, stages: str | Sequence[str] | None = None, **options: Any
    ) -> "Maps":
        available = run.image_encoder.stage_names
        term = cls(stages=cls.own_stage(available) if stages is None else stages, **options)
        for stage in term.stages:
            choice("stages", stage, available)
        return term

    @classmethod
    def own_stage(cls, available: Sequence[str]) -> str:
        """The stage that the term reads where none is named, of those that an encoder has.

        Raises:
            UserError: it has none.
        """
        if not available:
            raise UserError(
                f"similarity={cls.name} compares an encoder's stages, and this one has none; "
                "choose another encoder."
            )
        return cls.default_stage(available)

    @staticmethod
    @abstractmethod
    def default_stage(available: Sequence[str]) -> str:
        """One of these stages, of which there is at least one."""

    @abstractmethod
    def features(self, maps: Tensor) -> Tensor:
        """What is compared of a stage's maps."""

    def compare(self, x: NoisyImages, pairs: Pairs, references: NoisyImages | None) -> Tensor:
        assert references is not None  # by_reference
        distances = []
        for name in self.stages:
            ours = self.features(x.maps[name])[pairs.samples]
            theirs = self.features(references.maps[name])[pairs.targets]
            distances.append((ours - theirs).square().flatten(1).mean(1))
        d = torch.stack(distances)
        if self.form == "log":
            d = d.clamp(min=torch.finfo(d.dtype).tiny).log()
        return -d.sum(0)


def checked_stages(stages: str | Sequence[str] | None) -> tuple[str, ...]:
    """One stage or several.

    Raises:
        UserError: there is none.
    """
    names = [stages] if isinstance(stages, str) else stages
    if not isinstance(names, Sequence) or not all(is_name(name) for name in names) or not names:
        raise UserError(
            f"stages must be one or more names of the encoder's stages, not {stages!r}.", "stages"
        )
    return tuple(names)


def is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip())
