"""The networks that measure a run, and the reader that renders."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdg.errors import UserError, choice
from sdg.evaluation.published_networks import inception_file, inception_of
from sdg.io.shipped import program
from sdg.metrics.features import enough
from sdg.metrics.imagenet import ImageNet, weights_file
from sdg.metrics.inception import Inception
from sdg.metrics.readers import choose_reader
from sdg.metrics.reading import Reader
from sdg.models.clip import CLIP
from sdg.models.judge import Judge, Judgement
from sdg.models.registry import load_clip, load_judge

__all__ = ["PART", "Networks", "uses_imagenet"]

PART = 250  # images that go through a network at once


class Networks(torch.nn.Module):
    """What `eval` of the config asks to measure with. None stands for what it goes without.

    Arguments:
        options: `eval` of the config.
        held_out: the held-out images; a judge serves only where their attributes are known.
        condition: {kind: prompt} of the first sample.
        samples: how many the run has.
        clip_guided: whether `eval.clip` is the encoder that guides.

    Attributes:
        judge: reads features, attributes and outlines.
        reader: reads attributes by rendering (`sdg.metrics.reading`).
        clip: the clean CLIP, for the cosine between a sample and its sentence.
        inception: for FID and KID.
        imagenet: for distances in ImageNet's features.
    """

    def __init__(
        self,
        options: Any,
        held_out,
        condition: Mapping[str, str],
        samples: int,
        clip_guided: bool = False,
    ):
        super().__init__()
        self.options, self.clip_guided = options, clip_guided
        self.judge: Judge | None = None
        self.reader: Reader | None = None
        self.clip: CLIP | None = None
        self.inception: Inception | None = None
        self.imagenet: ImageNet | None = None
        if options.judge and held_out.attributes:
            self.judge = load_judge(options.judge)
        if choice("eval.reading", options.reading, (True, False)):
            self.reader = choose_reader(held_out)
        if options.clip and (condition.get("text") or not self.judge):
            self.clip = load_clip(options.clip)
        if options.inception:
            self.inception_file = inception_file(options.inception)
            self.inception = inception_of(self.inception_file)
        if uses_imagenet(options.imagenet, samples):
            self.imagenet = ImageNet()

    def check_resolution(self, resolution: int) -> None:
        """Checks that judge and CLIP take the samples.

        Arguments:
            resolution: side of the samples in pixels.

        Raises:
            UserError: one of them takes images of another size.
        """
        for name, network in (("judge", self.judge), ("clip", self.clip)):
            if network is None or network.resolution == resolution:
                continue
            if name == "clip" and network.any_size:
                continue
            raise UserError(
                f"eval.{name} reads images of {network.resolution} pixels a side, the samples "
                f"have {resolution}: train one "
                f"({program('train')} encoder={name} data.resolution={resolution}) or go "
                f"without, eval.{name}=null."
            )

    @property
    def reads_attributes(self) -> bool:
        """Whether something reads attributes."""
        return bool(self.judge or self.reader)

    def factors(self, images: Tensor, judgement: Judgement | None) -> Tensor:
        """The attributes that images show, integers (B, factors).

        They are read by rendering, else by the judge.

        Arguments:
            images: (B, 3, H, W) in [-1, 1].
            judgement: the judge's, of these images; None without a judge.
        """
        if self.reader:
            return self.reader.infer(images).factors
        if judgement is None:
            raise ValueError("nothing reads attributes")
        return judgement.guesses()

    def weight_files(self) -> dict[str, str]:
        """{network in whose features sets of images are compared: the file of its weights}."""
        files = {}
        if self.judge:
            files["judge"] = self.options.judge
        elif self.clip and not self.clip_guided:  # guidance moves samples in its own features
            files["clip"] = self.options.clip
        if self.inception:
            files["inception"] = str(self.inception_file)
        if self.imagenet:
            files["imagenet"] = str(self.imagenet.file)
        return files

    def outputs(self, name: str, images: Tensor) -> dict[str, Tensor]:
        """What one of `weight_files` gives for images, a row for each.

        Arguments:
            images: (B, 3, H, W) in [-1, 1].
        """
        if name == "judge" and self.judge:
            judgement = self.judge(images)
            return {"features": judgement.features, "guesses": judgement.guesses()}
        if name == "clip" and self.clip:
            return {"features": self.clip.encode_image(images)}
        network = self.imagenet if name == "imagenet" else self.inception
        if network is None:
            raise KeyError(name)
        return {"features": network(images)}

    def features(self, name: str, images: Tensor) -> Tensor:
        """The features of images (B, 3, H, W) in one of `weight_files`, (B, D)."""
        return self.outputs(name, images)["features"]


def uses_imagenet(asked: bool | None, samples: int) -> bool:
    """Whether ImageNet's network measures a run.

    By default it does where it is installed and a distance says something.
    """
    if asked is None:
        return enough(samples) and weights_file() is not None
    return choice("eval.imagenet", asked, (True, False))
