"""Real images of the same prompts, measured as the samples are.

Samples of a few conditions are not the data, however good they are: what a distance to the data can
be is that of real images which show the same conditions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection

from sdg.errors import UserError
from sdg.evaluation.features import collections, figure_names
from sdg.evaluation.networks import Networks
from sdg.metrics.features import Frechet, Kernel, SamePrompts
from sdg.metrics.reading import shows

__all__ = ["PromptImages", "unrenderable"]


class PromptImages(torch.nn.Module):
    """Measures real images that are rendered for the samples' prompts.

    Arguments:
        networks: that give features and read attributes.
        held_out: the held-out images, whose renderer makes the real ones.
        wanted: the factors that the conditions name, integers (N, factors), −1 for none.
        real: {network: its `features` of the held-out images, (R, D)}.
    """

    def __init__(
        self,
        networks: Networks,
        held_out,
        wanted: Tensor,
        real: Mapping[str, Mapping[str, Tensor]],
    ):
        super().__init__()
        self.networks, self.held_out, self.wanted = networks, held_out, wanted
        self.distances, self.same_prompts = torch.nn.ModuleDict(), torch.nn.ModuleDict()
        for name, outputs in real.items():
            features = outputs["features"]
            metrics: dict[str, Metric | MetricCollection]
            metrics = {"frechet": Frechet(features), "kernel": Kernel(features)}
            self.distances[name] = MetricCollection(metrics)
            self.same_prompts[name] = SamePrompts()
        self.shown = MeanMetric()

    def update(self, features: Mapping[str, Tensor], index: Tensor, group: Tensor) -> None:
        """Renders two real images for each sample's prompt and adds them beside the sample.

        Arguments:
            features: of the samples, {network: (B, D)}.
            index: of the samples, integers (B,).
            group: the number of each one's condition among the distinct ones, integers (B,).
        """
        device, keys = group.device, index.tolist()
        wanted = self.wanted[index.cpu()]
        other_keys = [key + len(self.wanted) for key in keys]
        images = self.held_out.render_matching(wanted.numpy(), keys).to(device)
        others = self.held_out.render_matching(wanted.numpy(), other_keys).to(device)
        reader = self.networks.reader
        if reader:
            wanted = wanted.to(device)
            shown = shows(reader.infer(images), wanted, reader.threshold)
            self.shown.update(shown.float(), weight=(wanted >= 0).any(1).float())
        for name, metrics in collections(self.distances):
            real = self.networks.features(name, images)
            metrics.update(real, index, group)
            other = self.networks.features(name, others)
            self.same(name).update(features[name], real, other, index)

    def same(self, network: str) -> SamePrompts:
        """The distances of equally many samples and real images, in one network's features."""
        metric = self.same_prompts[network]
        assert isinstance(metric, SamePrompts)
        return metric

    def compute(self) -> dict:
        """The figures over all ranks."""
        figures = {}
        for name, metrics in collections(self.distances):
            for key, value in figure_names(name, metrics.compute()).items():
                figures[f"{key}_real"] = value
            key = "fid" if name == "inception" else f"frechet_{name}"
            samples, real = self.same(name).compute()
            figures[f"{key}_prompts"], figures[f"{key}_prompts_real"] = samples, real
        if self.networks.reader:
            figures["shows_real"] = self.shown.compute().item()
        return figures


def unrenderable(wanted: Tensor, held_out) -> str | None:
    """Why real images cannot show the prompts: "" where they name nothing; None if they can.

    Arguments:
        wanted: the factors that the conditions name, integers (N, factors), −1 for none.
    """
    if not (wanted >= 0).any():
        return ""
    distinct = wanted.unique(dim=0)
    try:
        held_out.render_matching(distinct.numpy(), range(len(distinct)))
    except UserError as error:
        return str(error)
    return None
