"""Distances between samples and held-out images in the features of networks."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import ModuleDict
from torchmetrics import Metric, MetricCollection

from sdg.evaluation.networks import Networks
from sdg.evaluation.real_features import real_features
from sdg.io.digest import content
from sdg.metrics.features import Diversity, Frechet, Kernel, PrecisionRecall, enough

__all__ = ["FeatureDistances", "collections", "figure_names"]


class FeatureDistances(torch.nn.Module):
    """Measures samples in every network's features: distances to real images, and diversity.

    Few samples are compared with nothing, so that nothing need be rendered for them.

    Arguments:
        networks: that give the features.
        data: the data module, whose held-out images are the real ones.
        options: `eval` of the config: how many real images, and the folder of the cache.
        samples: how many the run has.
    """

    def __init__(self, networks: Networks, data, options: Any, samples: int):
        super().__init__()
        self.networks, self.data, self.options = networks, data, options
        self.compares = enough(samples)
        self.real: dict[str, dict[str, Tensor]] = {}
        self.metrics = torch.nn.ModuleDict()

    def read_real(self, device: torch.device) -> None:
        """Reads the held-out images with each network, or finds in the cache what was read."""
        for name, file in self.networks.weight_files().items():
            if not self.compares and name != "judge":
                continue

            def outputs(images: Tensor, name: str = name) -> dict[str, Tensor]:
                return self.networks.outputs(name, images.to(device))

            self.real[name] = real_features(
                self.data.held_out,
                self.options.real,
                outputs,
                self.options.cache,
                data=self.data.identity(),
                network=content(file),
            )

    def prepare(self, device: torch.device) -> None:
        """Makes the metrics, of the real images that were read."""
        for name in self.networks.weight_files():
            metrics: dict[str, Metric | MetricCollection] = {"diversity": Diversity()}
            if self.compares:
                features = self.real[name]["features"]
                metrics["frechet"] = Frechet(features)
                metrics["kernel"] = Kernel(features)
                metrics["precision_recall"] = PrecisionRecall(features)
            self.metrics[name] = MetricCollection(metrics).to(device)

    def update(self, features: dict[str, Tensor], index: Tensor, group: Tensor) -> None:
        """Adds samples.

        Arguments:
            features: {network: (B, D)}.
            index: of the samples, integers (B,).
            group: the number of each one's condition among the distinct ones, integers (B,).
        """
        for name, metrics in collections(self.metrics):
            metrics.update(features[name], index, group)

    def compute(self) -> dict:
        """The figures over all ranks."""
        figures: dict[str, Any] = {}
        for name, metrics in collections(self.metrics):
            figures |= figure_names(name, metrics.compute())
        return figures


def collections(metrics: ModuleDict) -> Iterator[tuple[str, MetricCollection]]:
    """{network: its metrics}, item by item."""
    for name, part in metrics.items():
        if isinstance(part, MetricCollection):
            yield name, part


def figure_names(network: str, computed: dict) -> dict:
    """The figures in one network's features, under names of their own.

    In Inception's the Fréchet distance is FID and the kernel distance is KID.
    """
    short = {"frechet": "fid", "kernel": "kid"} if network == "inception" else {}
    figures = {}
    for key, value in computed.items():
        if key in ("frechet", "kernel"):
            figures[short.get(key, f"{key}_{network}")] = value
    if computed.get("precision_recall"):
        precision, recall = computed["precision_recall"]
        figures[f"precision_{network}"] = precision
        figures[f"recall_{network}"] = recall
    if computed.get("diversity"):
        diversity, interval = computed["diversity"]
        figures[f"diversity_{network}"] = diversity
        figures[f"diversity_{network}_interval"] = interval
    return figures
