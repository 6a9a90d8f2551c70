"""The figures of a sampling run, from the files that it wrote.

Every rank reads a part of them back and measures it.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MetricCollection
from torchvision.transforms.functional import to_pil_image

from sdg.data.prompts import parse_weighted_prompt, primary_prompt
from sdg.data.requests import Request
from sdg.errors import UserError, choice, integer
from sdg.evaluation.figures import figures, report, write_table
from sdg.evaluation.store import SampleStore
from sdg.io.digest import content
from sdg.io.files import write_whole
from sdg.io.plain import flat
from sdg.io.shipped import program
from sdg.metrics.alignment import Alignment, hits, shares
from sdg.metrics.features import Diversity, Frechet, Kernel, PrecisionRecall, SamePrompts, enough
from sdg.metrics.imagenet import ImageNet, weights_file
from sdg.metrics.inception import Inception
from sdg.metrics.layout import centres, intersection_over_union
from sdg.metrics.perceptual import Perceptual, pairs_within
from sdg.metrics.readers import reader_of
from sdg.metrics.reading import shows
from sdg.metrics.reference import of_real_images
from sdg.metrics.retrieval import Retrieval
from sdg.metrics.sample_metric import SampleMetric
from sdg.models.registry import load_clip, load_judge
from sdg.report.grid import labelled_grid, labelled_rows, to_uint8
from sdg.report.pages import run_page

__all__ = ["Evaluation"]

PART = 250  # images that go through a network at once
ROW = 10  # pictures in a row


class Evaluation(pl.LightningModule):
    """Measures a run's samples under `Trainer.test`.

    It is made before they are drawn, so that what it lacks is said first.

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

    Raises:
        UserError: weights are missing or take images of another size, or a condition names what the
            data does not know.
    """

    def __init__(
        self,
        options: Any,
        requests: Sequence[Request],
        data,
        references: Mapping[str, Tensor],
        resolution: int,
        start: Tensor | None = None,
        gamma: float = 0.0,
        metrics: Mapping[str, SampleMetric] | None = None,
    ):
        super().__init__()
        integer("eval.grid", options.grid, 1)
        integer("eval.real", options.real, 2)
        integer("eval.bootstrap", options.bootstrap, 1)
        self.options, self.data, self.pictures, self.start, self.gamma = (
            options,
            data,
            dict(references),
            start,
            gamma,
        )
        self.held_out, self.conditions = (
            data.held_out,
            [dict(request.conditions) for request in requests],
        )
        self.distinct = {
            condition: k
            for k, condition in enumerate(
                dict.fromkeys(str(condition) for condition in self.conditions)
            )
        }
        self.group = torch.tensor([self.distinct[str(condition)] for condition in self.conditions])
        self.own_metrics = torch.nn.ModuleDict(metrics or {})
        self.attributes = self.held_out.attributes
        self.names = list(self.attributes)
        self.judge = load_judge(options.judge) if options.judge and self.attributes else None
        self.reader = (
            reader_of(self.held_out)
            if choice("eval.reading", options.reading, (True, False))
            else None
        )
        self.clip = (
            load_clip(options.clip)
            if options.clip and (self.conditions[0].get("text") or not self.judge)
            else None
        )
        self.inception = Inception(options.inception) if options.inception else None
        self.imagenet = ImageNet() if reads_imagenet(options.imagenet, len(requests)) else None
        self.lpips = Perceptual() if choice("eval.lpips", options.lpips, (False, True)) else None
        for name, network in (("judge", self.judge), ("clip", self.clip)):
            if (
                network is not None
                and network.resolution != resolution
                and not (name == "clip" and network.any_size)
            ):
                raise UserError(
                    f"eval.{name} reads images of {network.resolution} pixels a side, the samples "
                    f"have {resolution}: train one "
                    f"({program('train')} encoder={name} data.resolution={resolution}) or go "
                    f"without, eval.{name}=null."
                )
        if self.judge or self.reader:
            self.wanted, self.unwanted = (
                named_by(self.conditions, sign, self.held_out) for sign in (1, -1)
            )
            self.aligned, self.against = Alignment(self.names), Alignment(self.names)
        if self.judge:
            self.rivals = self.wanted.new_empty(len(self.distinct), len(self.names)).index_copy(
                0, self.group, self.wanted
            )
            self.found, self.by_judge = Retrieval(), Alignment(self.names)
        self.distances, self.of_showing = torch.nn.ModuleDict(), None

    def of(self, drawn: SampleStore, unguided: Mapping[int, Path] | None = None) -> "Evaluation":
        """This evaluation, of that run.

        Arguments:
            unguided: {index: picture of the same seed without guidance}, for the page.
        """
        self.drawn, self.unguided = drawn, unguided
        return self

    # --- what is measured --------------------------------------------------------------------

    def readers(self) -> dict[str, str]:
        """The networks in whose features sets of images are compared.

        They are {name: the file of its weights}.
        """
        found = (
            {"judge": self.options.judge}
            if self.judge
            else {"clip": self.options.clip}
            if self.clip
            else {}
        )
        others = {"inception": self.inception, "imagenet": self.imagenet}
        return found | {name: network.file for name, network in others.items() if network}

    def read(self, name: str, images: Tensor) -> dict[str, Tensor]:
        """What one of them reads off images, a row for each."""
        if name == "judge":
            read = self.judge(images)
            return {"features": read.features, "guesses": read.guesses()}
        if name == "clip":
            return {"features": self.clip.encode_image(images)}
        return {"features": (self.imagenet if name == "imagenet" else self.inception)(images)}

    @torch.no_grad()
    def on_test_start(self) -> None:
        self.real, many = (
            {},
            enough(len(self.conditions)),
        )  # few samples are compared with nothing, so nothing need be rendered
        for turn in (
            True,
            False,
        ):  # the first process reads the real images, the others find what it kept
            if self.trainer.is_global_zero == turn:
                self.real = {
                    name: self.read_real(name) for name in self.readers() if many or name == "judge"
                }
            self.trainer.strategy.barrier()
        for name in self.readers():
            metrics = {"diversity": Diversity()}
            if many:
                of = self.real[name]["features"]
                metrics |= {
                    "frechet": Frechet(of),
                    "kernel": Kernel(of),
                    "precision_recall": PrecisionRecall(of),
                }
            self.distances[name] = MetricCollection(metrics).to(self.device)
        if many and (self.judge or self.reader) and self.real_images_show_the_prompts():
            self.of_showing = torch.nn.ModuleDict()
            for name, real in self.real.items():
                of = real["features"]
                self.of_showing[name] = MetricCollection(
                    {"frechet": Frechet(of), "kernel": Kernel(of)}
                ).to(self.device)
            self.shown_real = MeanMetric().to(self.device)
            self.of_prompts = torch.nn.ModuleDict({name: SamePrompts() for name in self.real}).to(
                self.device
            )
        if self.pictures and (self.judge or self.reader):
            pictures = torch.stack(list(self.pictures.values())).to(self.device)
            judged = self.judge(pictures) if self.judge else None
            factors = self.reader.read(pictures).factors if self.reader else judged.guesses()
            self.their_factors = dict(zip(self.pictures, factors, strict=True))
            self.their_masks = {}
            if judged:
                self.their_masks = dict(zip(self.pictures, judged.mask > 0, strict=True))
        if self.clip:
            sentences = list(
                dict.fromkeys(
                    primary_prompt(condition["text"])
                    for condition in self.conditions
                    if "text" in condition
                )
            )
            text = self.clip.encode_text(sentences) if sentences else []
            self.sentences = dict(zip(sentences, text, strict=True))
        self.rows: list[dict] = []

    def real_images_show_the_prompts(self) -> bool:
        """Whether prompts name anything, and each something that a real image can show."""
        if not (self.wanted >= 0).any():
            return False
        distinct = self.wanted.unique(dim=0)
        try:
            self.held_out.render_matching(distinct.numpy(), range(len(distinct)))
        except UserError as error:
            if self.trainer.is_global_zero:
                print(f"{error} Distances to real images of the same prompts are left out.")
            return False
        return True

    def read_real(self, name: str) -> dict[str, Tensor]:
        """What one of the readers reads off the held-out images."""
        return of_real_images(
            self.held_out,
            self.options.real,
            lambda x: self.read(name, x.to(self.device)),
            self.options.cache,
            data=self.data.identity(),
            network=content(self.readers()[name]),
        )

    def test_dataloader(self) -> list[DataLoader]:
        """This rank's parts of the samples, and of the pairs of samples of one condition."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        part = min(PART, -(-len(self.conditions) // world))  # no rank goes empty-handed
        parts = [torch.arange(len(self.conditions)).split(part)] + (
            [pairs_within(self.group).split(PART)] if self.lpips else []
        )
        return [DataLoader(each[rank::world], batch_size=None) for each in parts]

    @torch.no_grad()
    def test_step(self, index: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx:  # pairs
            self.lpips.update(*(self.drawn.read(side.tolist()).to(self.device) for side in index.T))
            return
        images, group = (
            self.drawn.read(index.tolist()).to(self.device),
            self.group[index.cpu()].to(self.device),
        )
        rows, features = [{"index": i} for i in index.tolist()], {}
        judged = self.judge(images) if self.judge else None
        if judged or self.reader:
            self.read_attributes(images, index, rows, judged)
        if judged:
            features["judge"] = judged.features
            self.judged(judged, index, rows)
        if self.clip:
            z = features["clip"] = self.clip.encode_image(images)
            if self.sentences:
                own = torch.stack(
                    [
                        self.sentences[primary_prompt(self.conditions[i]["text"])]
                        for i in index.tolist()
                    ]
                )
                for row, cosine in zip(rows, (z * own).sum(1).tolist(), strict=True):
                    row["similarity"] = round(cosine, 4)
        for metric in self.own_metrics.values():
            metric.update(images, [self.conditions[i] for i in index.tolist()])
        for name in self.readers().keys() - features.keys():
            features[name] = self.read(name, images)["features"]
        for name, of_samples in self.distances.items():
            of_samples.update(features[name], index, group)
        if self.of_showing:  # samples of a few conditions are not the data, however good they are
            wanted, keys = self.wanted[index.cpu()].numpy(), index.tolist()
            others = [key + len(self.conditions) for key in keys]
            shown, more = (
                self.held_out.render_matching(wanted, k).to(self.device) for k in (keys, others)
            )
            if self.reader:
                asked = self.wanted[index.cpu()].to(self.device)
                clear = shows(self.reader.read(shown), asked, self.reader.threshold)
                self.shown_real.update(clear.float(), weight=(asked >= 0).any(1).float())
            for name, of_real in self.of_showing.items():
                real = self.read(name, shown)["features"]
                of_real.update(real, index, group)
                self.of_prompts[name].update(
                    features[name], real, self.read(name, more)["features"], index
                )
        self.rows += rows

    def read_attributes(self, images: Tensor, index: Tensor, rows: list[dict], judged) -> None:
        """Notes which attributes each image shows beside those that were asked for.

        They are read by rendering, else by the judge.
        """
        at = index.cpu()
        wanted, unwanted = self.wanted[at].to(self.device), self.unwanted[at].to(self.device)
        reading = self.reader.read(images) if self.reader else None
        factors = reading.factors if reading else judged.guesses()
        self.aligned.update(factors, wanted)
        self.against.update(factors, unwanted)
        right, asked = hits(factors, wanted)
        lacking = (asked & ~right)[:, :-1].tolist()
        right, asked = (each[:, -1].tolist() for each in (right, asked))
        for row, values, hit, was, lacks in zip(
            rows, factors.tolist(), right, asked, lacking, strict=True
        ):
            row |= {
                name: self.attributes[name][value] if value >= 0 else ""
                for name, value in zip(self.names, values, strict=True)
            }
            row["all"] = int(hit) if was else None
            row["missed"] = " ".join(compress(self.names, lacks))
        if reading:
            shown = shows(reading, wanted, self.reader.threshold).tolist()
            for row, residual, all_shown in zip(
                rows, reading.residual.tolist(), shown, strict=True
            ):
                row["residual"] = round(residual, 5)
                row["shows"] = None if row["all"] is None else int(all_shown)
        for kind in self.by_reference():
            theirs = torch.stack(
                [
                    self.their_factors[primary_prompt(self.conditions[i][kind])]
                    for i in index.tolist()
                ]
            )
            same = torch.where(
                theirs >= 0, (factors == theirs).int(), -1
            )  # what the reference lacks is not shared
            for row, values in zip(rows, same.tolist(), strict=True):
                row |= {
                    f"{kind}_{name}": None if value < 0 else value
                    for name, value in zip(self.names, values, strict=True)
                }

    def judged(self, read, index: Tensor, rows: list[dict]) -> None:
        """Notes what the judge reads off each image.

        That is where its object is, how likely every prompt, what it takes for shown.
        """
        at, masks = index.cpu(), read.mask > 0
        self.by_judge.update(read.guesses(), self.wanted[at].to(self.device))
        if (self.rivals >= 0).any():
            self.found.update(
                read.log_likelihood(self.rivals.to(self.device)), self.group[at].to(self.device)
            )
        for row, (x, y) in zip(rows, centres(masks).tolist(), strict=True):
            row |= {"x": round(x, 4), "y": round(y, 4)}
        for kind in self.by_reference():
            names = [primary_prompt(self.conditions[i][kind]) for i in index.tolist()]
            others = list(
                dict.fromkeys(primary_prompt(condition[kind]) for condition in self.conditions)
            )
            theirs = torch.stack([self.their_masks[name] for name in names])
            overlap = intersection_over_union(masks, theirs).tolist()
            another = torch.stack(
                [self.their_masks[others[(others.index(name) + 1) % len(others)]] for name in names]
            )
            chance = (
                intersection_over_union(masks, another).tolist()
                if len(others) > 1
                else [None] * len(rows)
            )
            for row, iou, random in zip(rows, overlap, chance, strict=True):
                row |= {
                    f"{kind}_mask_iou": round(iou, 4),
                    f"{kind}_mask_iou_random": random and round(random, 4),
                }

    def by_reference(self) -> list[str]:
        return [
            kind
            for kind in self.conditions[0]
            if all(
                primary_prompt(condition[kind]) in self.pictures for condition in self.conditions
            )
        ]

    def on_test_epoch_end(self) -> None:
        computed = {}
        if self.judge or self.reader:
            computed["alignment"] = self.aligned.compute()
            if (self.unwanted >= 0).any():
                computed["against"] = self.against.compute()
        if self.judge:
            computed["judge_ceiling"] = self.ceiling()
            if self.reader:
                computed["alignment_judge"] = self.by_judge.compute()
            if (self.rivals >= 0).any():
                computed["retrieval_judge"] = self.found.compute() | {"among": len(self.distinct)}
        for name, of_samples in self.distances.items():
            computed |= named(name, of_samples.compute())
        if self.lpips:
            computed["diversity_lpips"] = self.lpips.compute()
        for name, of_real in (self.of_showing or {}).items():
            computed |= {
                f"{key}_real": value for key, value in named(name, of_real.compute()).items()
            }
            key = "fid" if name == "inception" else f"frechet_{name}"
            computed[f"{key}_prompts"], computed[f"{key}_prompts_real"] = self.of_prompts[
                name
            ].compute()
        if self.of_showing and self.reader:
            computed["shows_real"] = self.shown_real.compute().item()
        if self.own_metrics:
            own = self.own_metrics.items()
            computed["metrics"] = {name: float(metric.compute()) for name, metric in own}
        write_whole(self.drawn.rank_results(self.trainer.global_rank), json.dumps(self.rows))
        self.trainer.strategy.barrier()
        self.metrics = self.finish(computed) if self.trainer.is_global_zero else None

    def ceiling(self) -> dict[str, float | None]:
        """The judge's accuracy on real images, asked what the conditions ask.

        "all" means the factors that they name, if they name any.
        """
        guesses, named = self.real["judge"]["guesses"], self.wanted.max(0).values >= 0
        factors = self.held_out.__getitems__(list(range(len(guesses))))["factors"]
        return shares(*hits(guesses, torch.where(named | ~named.any(), factors, -1)), self.names)

    # --- what is written ---------------------------------------------------------------------

    def finish(self, computed: dict) -> dict:
        """Writes the figures, prints them and returns what `metrics.json` holds.

        The files are `samples.csv`, `metrics.json`, `metrics.csv` and `grid.png`.
        """
        folder, rows = self.drawn.folder, self.drawn.rows()
        if len(rows) != len(self.conditions):
            raise UserError(
                f"{folder} holds {len(rows)} of {len(self.conditions)} samples: some processes "
                "wrote elsewhere. Set hydra.run.dir to one folder that all machines share."
            )
        read = {
            row["index"]: row
            for rank in range(self.trainer.world_size)
            for row in json.loads(self.drawn.rank_results(rank).read_text())
        }
        conditions = [
            {"prompt" if kind == "text" else kind: what for kind, what in condition.items()}
            for condition in self.conditions
        ]
        table = [
            row | {"gamma": self.gamma} | condition | read[row["index"]]
            for row, condition in zip(rows, conditions, strict=True)
        ]
        metrics = figures(
            table,
            self.gamma,
            [str(condition) for condition in self.conditions],
            self.by_reference() if self.judge or self.reader else [],
            self.names,
            computed,
            self.options.bootstrap,
        )
        write_table(
            folder / "samples.csv",
            [{key: value for key, value in row.items() if key != "cost"} for row in table],
        )
        write_table(folder / "metrics.csv", [flat(metrics)])
        write_whole(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        shown = self.drawn.read(list(range(min(self.options.grid, len(rows)))))
        self.keep_references(folder)
        draw(
            folder / "grid.png",
            shown,
            self.conditions,
            self.pictures,
            f"γ = {self.gamma:g}",
            self.start,
        )
        report(metrics)
        print(f"picture: {folder / 'grid.png'}")
        print(f"page: {run_page(folder, self.unguided)}")
        return metrics

    def keep_references(self, folder: Path) -> None:
        """Writes what the conditions refer to, for pages to show.

        That is `references/0.png` …, and `references.json`, {condition: the picture that it refers
        to most}.
        """
        places = {name: f"references/{k}.png" for k, name in enumerate(self.pictures)}
        for name, place in places.items():
            (folder / place).parent.mkdir(exist_ok=True)
            to_pil_image(to_uint8(self.pictures[name])).save(folder / place)
        refers = {
            what: places[primary_prompt(what)]
            for condition in self.conditions
            for what in condition.values()
            if primary_prompt(what) in places
        }
        if refers:
            write_whole(folder / "references.json", json.dumps(refers))


def draw(
    file: Path,
    images: Tensor,
    conditions: list[dict],
    references: Mapping[str, Tensor],
    title: str,
    start: Tensor | None = None,
) -> None:
    """The first samples behind what they started from.

    With references there is a row for each condition, which starts with what it refers to.
    """
    first = [] if start is None else [(start, "start")]
    if not references:
        shown = first + list(
            zip(images, [" + ".join(condition.values()) for condition in conditions], strict=False)
        )
        labelled_grid(file, *zip(*shown, strict=True), title=title)
        return
    rows: dict[str, list] = {}
    for image, condition in zip(images, conditions, strict=False):
        row = rows.setdefault(
            str(condition),
            first
            + [
                (
                    references[name],
                    f"{kind}: {Path(name).name}" + (f" × {weight:g}" if weight != 1 else ""),
                )
                for kind in condition
                for name, weight in parse_weighted_prompt(condition[kind])
                if name in references
            ],
        )
        row.append(
            (
                image,
                " + ".join(what for kind, what in condition.items() if kind in ("text", "class")),
            )
        )
    labelled_rows(file, [row[:ROW] for row in rows.values()], title)


def reads_imagenet(asked: bool | None, samples: int) -> bool:
    """Whether ImageNet's network measures a run.

    By default it does where it is installed and a distance says something.
    """
    if asked is None:
        return enough(samples) and weights_file() is not None
    return choice("eval.imagenet", asked, (True, False))


def named(reader: str, computed: dict) -> dict:
    """The figures in one reader's features, under names of their own.

    In Inception's the Fréchet distance is FID.
    """
    name = {"frechet": "fid", "kernel": "kid"} if reader == "inception" else {}
    found = {
        name.get(key, f"{key}_{reader}"): value
        for key, value in computed.items()
        if key in ("frechet", "kernel")
    }
    if computed.get("precision_recall"):
        found |= {
            f"precision_{reader}": computed["precision_recall"][0],
            f"recall_{reader}": computed["precision_recall"][1],
        }
    if computed.get("diversity"):
        found |= {
            f"diversity_{reader}": computed["diversity"][0],
            f"diversity_{reader}_interval": computed["diversity"][1],
        }
    return found


def named_by(conditions: list[dict], sign: int, held_out) -> Tensor:
    """The factors that sentences and classes with a weight of this sign name.

    They are integers (B, factors), −1 where none or two are named.
    """
    rows, attributes = [], list(held_out.attributes)
    for condition in conditions:
        words = " ".join(
            part
            for kind in ("text", "class")
            if kind in condition
            for part, weight in parse_weighted_prompt(condition[kind])
            if weight * sign > 0
        )
        named = {
            factor: values
            for factor, values in held_out.all_named(words).items()
            if len(values) == 1
        }
        rows.append([next(iter(named[factor])) if factor in named else -1 for factor in attributes])
    return torch.tensor(rows)
