"""The figures of a sampling run, from the files that it wrote.

Every rank reads a part of them back and measures it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sdg.data.requests import Requests
from sdg.errors import UserError, choice, integer
from sdg.evaluation.attributes import Attributes, condition_factors
from sdg.evaluation.features import FeatureDistances
from sdg.evaluation.figures import figures
from sdg.evaluation.grid import draw_grid
from sdg.evaluation.networks import PART, Networks
from sdg.evaluation.prompt_images import PromptImages, unrenderable
from sdg.evaluation.published_networks import lpips
from sdg.evaluation.references import ReferenceMetrics
from sdg.evaluation.results import sample_table, write_figures, write_references
from sdg.evaluation.sentence_cosine import SentenceCosine
from sdg.evaluation.store import SampleStore
from sdg.io.files import write_whole
from sdg.metrics.perceptual import pairs_within
from sdg.metrics.sample_metric import SampleMetric
from sdg.report.pages import run_page
from sdg.report.samples import strength
from sdg.report.words import report

__all__ = ["Evaluation"]


class Evaluation(pl.LightningModule):
    """Measures a run's samples under `Trainer.test`.

    It is made before sampling, so that a user learns first what it lacks.

    Where the data can be rendered, each sample's attributes are read by rendering
    (`sdg.metrics.reading`); the judge, where there is one, gives features, outlines and the
    probabilities of prompts.

    Arguments:
        options: `eval` of the config: who judges.
        requests: of the run.
        data: the data module; its held-out images are what samples are compared with. Attributes
            are read only where they are known.
        references: {name: image} of what the requests refer to.
        resolution: side of the samples in pixels.
        start: the image that the samples started from, to show beside them.
        gamma: γ, for the record.
        metrics: {name: metric of one's own}, whose figures are `metrics` of `metrics.json`.
        clip_guided: whether `eval.clip` is the encoder that guides: it then compares no images.

    Raises:
        UserError: weights are missing or take images of another size, or a condition names what the
            data does not know.
    """

    def __init__(
        self,
        options: Any,
        requests: Requests,
        data,
        references: Mapping[str, Tensor],
        resolution: int,
        start: Tensor | None = None,
        gamma: float = 0.0,
        metrics: Mapping[str, SampleMetric] | None = None,
        clip_guided: bool = False,
    ):
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer pairs than ranks
        integer("eval.grid", options.grid, 1)
        integer("eval.real", options.real, 2)
        integer("eval.bootstrap", options.bootstrap, 1)
        self.options, self.start, self.gamma = options, start, gamma
        self.held_out, self.reference_images = data.held_out, dict(references)
        self.requests = requests
        self.metric_modules = torch.nn.ModuleDict(metrics or {})  # so that they move to the device
        self.own_metrics = dict(metrics or {})
        first = requests.conditions[0]
        self.networks = Networks(options, self.held_out, first, len(requests), clip_guided)
        self.lpips = lpips() if choice("eval.lpips", options.lpips, (False, True)) else None
        self.networks.check_resolution(resolution)
        self.attributes: Attributes | None = None
        self.references: ReferenceMetrics | None = None
        self.prompt_images: PromptImages | None = None
        if self.networks.reads_attributes:  # says at once what the data does not know
            condition_factors(requests.conditions, 1, self.held_out)
        self.features = FeatureDistances(self.networks, data, options, len(requests))

    def setup(self, stage: str) -> None:
        # These tables are as long as the run, so they are made when all samples are drawn.
        self.conditions = self.requests.sample_conditions()
        self.group = condition_numbers(self.conditions)
        if self.networks.reads_attributes:
            self.attributes = Attributes(self.networks, self.held_out, self.conditions, self.group)
            self.references = ReferenceMetrics(
                self.attributes.names, self.reference_images, self.conditions
            )

    def of_samples(
        self, store: SampleStore, unguided: Mapping[int, Path] | None = None
    ) -> "Evaluation":
        """This evaluation, for the samples of a run.

        Arguments:
            store: the run's samples.
            unguided: {index: picture of the same seed without guidance}, for the page.
        """
        self.store, self.unguided = store, unguided
        return self

    @torch.no_grad()
    def on_test_start(self) -> None:
        # The first process reads the real images, the others find them in the cache.
        for first in (True, False):
            if self.trainer.is_global_zero == first:
                self.features.read_real(self.device)
            self.trainer.strategy.barrier()
        self.features.prepare(self.device)
        if self.features.compares and self.attributes:
            wanted = self.attributes.wanted
            if self.can_render_prompts(wanted) and self.features.real:
                prompt_images = PromptImages(
                    self.networks, self.held_out, wanted, self.features.real
                )
                self.prompt_images = prompt_images.to(self.device)
        if self.references:
            self.references.prepare(self.networks, self.device)
        clip = self.networks.clip
        self.cosine = SentenceCosine(clip, self.conditions) if clip else None
        self.rows: list[dict] = []

    def can_render_prompts(self, wanted: Tensor) -> bool:
        """Whether prompts name anything, and each something that a real image can show.

        Arguments:
            wanted: the factors that they name, integers (N, factors), −1 for none.
        """
        reason = unrenderable(wanted, self.held_out)
        if reason and self.trainer.is_global_zero:
            print(f"{reason} Distances to real images of the same prompts are left out.")
        return reason is None

    def test_dataloader(self) -> list[DataLoader]:
        """This rank's parts of the samples, and of the pairs of samples of one condition."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        parts = [torch.arange(len(self.conditions))]
        if self.lpips:
            parts.append(pairs_within(self.group))
        shares = [each.tensor_split(world)[rank] for each in parts]
        chunks: list[Any] = [[*each.split(PART)] if len(each) else [] for each in shares]
        return [DataLoader(each, batch_size=None) for each in chunks]

    @torch.no_grad()
    def test_step(self, index: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        # Figures are those of float32 whatever precision samples were drawn in.
        with torch.autocast(self.device.type, enabled=False):
            self.measure(index, bool(dataloader_idx))

    def measure(self, index: Tensor, pairs: bool) -> None:
        """Measures some samples, or some pairs of them."""
        if pairs and self.lpips:
            first, second = (
                self.store.read_images(side.tolist()).to(self.device) for side in index.T
            )
            self.lpips.update(first, second)
            return
        images = self.store.read_images(index.tolist()).to(self.device)
        group = self.group[index.cpu()].to(self.device)
        rows, features = [{"index": i} for i in index.tolist()], {}
        if self.attributes and self.references:
            features = self.measure_attributes(
                self.attributes, self.references, images, index, rows
            )
        if self.networks.clip:
            features["clip"] = self.networks.clip.encode_image(images)
        if self.cosine:
            self.cosine.add(features["clip"], index, rows)
        for metric in self.own_metrics.values():
            metric.update(images, [self.conditions[i] for i in index.tolist()])
        for name in self.networks.weight_files().keys() - features.keys():
            features[name] = self.networks.features(name, images)
        self.features.update(features, index, group)
        if self.prompt_images:
            self.prompt_images.update(features, index, group)
        self.rows += rows

    def measure_attributes(
        self,
        attributes: Attributes,
        references: ReferenceMetrics,
        images: Tensor,
        index: Tensor,
        rows: list[dict],
    ) -> dict[str, Tensor]:
        """Measures what images show, beside conditions and references; the judge's features."""
        judgement = self.networks.judge(images) if self.networks.judge else None
        factors, reading = attributes.factors(images, judgement)
        attributes.update(factors, reading, index, rows)
        references.add_agreement(factors, index, rows)
        if judgement is None:
            return {}
        attributes.update_judge(judgement, index, rows)
        references.add_overlap(judgement.mask > 0, index, rows)
        return {"judge": judgement.features}

    def on_test_epoch_end(self) -> None:
        computed: dict[str, Any] = {}
        if self.attributes:
            judged = self.features.real["judge"]["guesses"] if self.networks.judge else None
            computed |= self.attributes.compute(judged)
        computed |= self.features.compute()
        if self.lpips:
            computed["diversity_lpips"] = self.lpips.compute()
        if self.prompt_images:
            computed |= self.prompt_images.compute()
        if self.own_metrics:
            own = self.own_metrics.items()
            computed["metrics"] = {name: figure_of(name, metric.compute()) for name, metric in own}
        if self.networks.clip and self.networks.clip_guided:
            computed["clip_guided"] = True
        write_whole(self.store.rank_results(self.trainer.global_rank), json.dumps(self.rows))
        self.trainer.strategy.barrier()
        self.metrics = self.finish(computed) if self.trainer.is_global_zero else None

    def finish(self, computed: dict) -> dict:
        """Writes the figures, prints them and returns what `metrics.json` holds.

        The files are `samples.csv`, `metrics.json`, `metrics.csv`, `grid.png` and the page.
        """
        folder = self.store.folder
        table = sample_table(self.store, self.conditions, self.gamma, self.trainer.world_size)
        metrics = figures(
            table,
            self.gamma,
            [str(condition) for condition in self.conditions],
            self.references.kinds if self.references else [],
            list(self.held_out.attributes),
            computed,
            self.options.bootstrap,
        )
        write_figures(folder, table, metrics)
        write_references(folder, self.reference_images, self.conditions)
        draw_grid(
            folder / "grid.png",
            self.store.read_images(list(range(min(self.options.grid, len(table))))),
            self.conditions,
            self.reference_images,
            strength(self.gamma),
            self.start,
        )
        report(metrics)
        print(f"picture: {folder / 'grid.png'}")
        print(f"page: {run_page(folder, self.unguided)}")
        return metrics


def figure_of(name: str, value: Any) -> float:
    """The figure of a metric of one's own.

    Raises:
        UserError: it is no single number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        given = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else value
        raise UserError(
            f"eval.metrics.{name}: its compute() must give one number, not "
            f"{' '.join(str(given).split())[:60]}."
        ) from error


def condition_numbers(conditions: Sequence[Mapping[str, str]]) -> Tensor:
    """The number of each condition among the distinct ones, integers (N,)."""
    words = [str(condition) for condition in conditions]
    numbers = {condition: k for k, condition in enumerate(dict.fromkeys(words))}
    return torch.tensor([numbers[condition] for condition in words])
