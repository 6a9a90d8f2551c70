"""Guided sampling in one object: what is drawn, what it shall be like, and how it is steered."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sdg.data.image import load_image, pixels
from sdg.data.prompts import escape_prompt, parse_weighted_prompt
from sdg.data.requests import Request, Requests
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide
from sdg.diffusion.samplers import DDPM, Noise, Sampler, Step, sample, steps_taken
from sdg.errors import UserError, choice, integer, number
from sdg.guidance.method import Bound, Method
from sdg.guidance.selection import Selection, candidate_seeds
from sdg.guidance.semantic import SemanticGuidance
from sdg.io.shipped import INDEX, shipped, shipped_names
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser
from sdg.report.grid import to_uint8
from sdg.report.progress import Bar
from sdg.similarity import Content, Similarity, Structure, Style, Term, Text, matched_levels
from sdg.similarity.references import References
from sdg.similarity.term import Targets

__all__ = ["Pipeline", "SampleOutput"]

Picture = str | Path | Image.Image | Tensor
# sim(x, level) of images (B, 3, H, W) in [-1, 1] at one of the denoiser's levels, −1 for clean
# ones: (B,), differentiable in x.
SimilarityFunction = Callable[[Tensor, int], Tensor]
Similar = Term | SimilarityFunction


@dataclass
class SampleOutput:
    """Samples.

    Attributes:
        tensors: (N, 3, H, W), in [-1, 1], on the CPU.
        prompts: what each was asked for; None where no sentence was.
        seeds: of each sample's noise.
        trajectory: x_s and x̂_0 after every step, (N, 3, H, W) each, if they were asked for.
    """

    tensors: Tensor
    prompts: list[str | None]
    seeds: list[int]
    trajectory: list[Step] = field(default_factory=list)

    @property
    def images(self) -> list[Image.Image]:
        """The samples as pictures."""
        return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in to_uint8(self.tensors)]


class Pipeline:
    """A diffusion model, steered by meaning.

        pipe = Pipeline.from_pretrained("portraits")
        pipe("a smiling person with red hair", num_samples=4).images

    Arguments:
        denoiser: the diffusion model.
        encoder: E(x_t, t), a noise-aware encoder, or a clean CLIP for guidance that reads x̂_0;
            None for a pipeline that knows no sentence and no reference.
        clip: reads sentences, into the space of `encoder`.
        gamma: γ, where a call names none.
        interval: of the noise range, in which a call that names no guidance is guided.
        sampler: where a call names none; None is DDPM with 100 steps.
        negative_captions: beside which a sentence is weighed: draws of what images show.
        resolution: side of a sample in pixels; None takes the denoiser's own, else the encoder's.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        encoder: ImageEncoder | None = None,
        clip: TextEncoder | None = None,
        *,
        gamma: float = 1.0,
        interval: Sequence[float] = (0.0, 1.0),
        sampler: Sampler | None = None,
        negative_captions: Sequence[str] = (),
        resolution: int | None = None,
    ):
        self.denoiser, self.encoder, self.clip = denoiser, encoder, clip
        if encoder is not None:
            encoder.attach(denoiser)
        self.gamma, self.interval = number("gamma", gamma), interval
        self.sampler = sampler or DDPM(100)
        self.negative_captions = list(negative_captions)
        own = None if encoder is None else encoder.resolution
        self.resolution = resolution or denoiser.resolution or own
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Pipeline":
        """The pipeline of a folder with a `pipeline.json`, or of shipped weights by their name.

        Raises:
            UserError: there is no such folder.
        """
        folder = Path(path).expanduser()
        if not (folder / INDEX).is_file():
            if folder.exists():
                raise UserError(f"{folder} has no {INDEX}; shipped: {', '.join(shipped_names())}.")
            folder = shipped(str(path))
        index = json.loads((folder / INDEX).read_text())
        captions = index.get("negative_captions")
        return cls(
            load_denoiser(folder / index["denoiser"]),
            load_clip_noisy(folder / index["encoder"]),
            load_clip(folder / index["clip"]),
            gamma=index["gamma"],
            interval=index.get("interval", (0.0, 1.0)),
            sampler=DDPM(index["steps"], index.get("spacing", "linspace")),
            negative_captions=(folder / captions).read_text().splitlines() if captions else (),
        )

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "Pipeline":
        """Moves the networks.

        With `dtype` bfloat16 or float16 they run under autocast, guidance's gradient in float32.
        """
        if device is not None:
            self.device = torch.device(device)
            for part in (self.denoiser, self.encoder, self.clip):
                if part is not None:
                    part.to(self.device)
        if dtype is not None:
            self.dtype = choice("dtype", dtype, (torch.float32, torch.bfloat16, torch.float16))
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a sample, (C, H, W)."""
        if self.resolution is None:
            raise UserError(
                "how large are the samples? Neither the denoiser nor an encoder says: "
                "Pipeline(…, resolution=64)."
            )
        return 3, self.resolution, self.resolution

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        content: Picture | None = None,
        structure: Picture | None = None,
        style: Picture | None = None,
        similarity: Similar | Sequence[Similar] | Mapping[Term, Picture | str | None] = (),
        weights: Mapping[str, float] | None = None,
        num_samples: int = 1,
        gamma: float | None = None,
        seed: int = 0,
        guidance: Method | None = None,
        sampler: Sampler | None = None,
        init_image: Picture | None = None,
        strength: float = 0.6,
        batch_size: int = 64,
        trajectory: bool = False,
        progress: bool = True,
    ) -> SampleOutput:
        """Draws samples.

        Arguments:
            prompt: a sentence, or several; "a red heart | a ring:-0.5" has two parts, one with the
                weight −0.5. None leaves the sentence out.
            content, structure, style: a picture that samples shall be like in this respect.
            similarity: further ones, whose values are added: functions sim(x, level) and terms; or
                {term: what samples shall be like}, a picture for a term by reference, a word for
                another.
            weights: of `text`, `content`, `structure` or `style`, instead of their own.
            num_samples: for each prompt.
            gamma: γ of `SemanticGuidance`; 0 samples unguided.
            seed: of the run; sample i of a run is the same whatever the batch size and device.
            guidance: another method than `SemanticGuidance(gamma)`.
            sampler: another than the pipeline's.
            init_image, strength: a picture to start from, and how far from it samples may go, in
                (0, 1].
            batch_size: samples at once.
            trajectory: keep every step.
            progress: show a bar.

        Returns:
            samples in the order of the prompts, `num_samples` of each.

        Raises:
            UserError: a parameter is out of range, or the pipeline lacks what a condition needs.
        """
        asked = {"content": content, "structure": structure, "style": style}
        pictures = {name: picture for name, picture in asked.items() if picture is not None}
        functions: list[SimilarityFunction] = []
        own: dict[str, Term] = {}
        words: dict[str, str] = {}
        for one, condition in as_pairs(similarity):
            if not isinstance(one, Term):
                functions.append(one)
                continue
            name = f"{type(one).__name__} {len(own)}"
            own[name] = one
            if one.by_reference:
                if condition is None:
                    raise UserError(
                        f"{type(one).__name__} compares with a picture: "
                        "similarity={term: picture}."
                    )
                pictures[name] = condition
            elif condition is not None:
                words[name] = escape_prompt(str(condition))
        prompts = [prompt] if isinstance(prompt, str) or prompt is None else list(prompt)
        if not prompts:
            raise UserError("prompt is an empty list; name at least one sentence, or leave it out.")
        sampler = sampler or self.sampler
        method = guidance or SemanticGuidance(
            self.gamma if gamma is None else gamma, interval=self.interval
        )
        if guidance is not None and gamma is not None:
            raise UserError("gamma belongs to a guidance of one's own: give it there, not here.")
        method.check(sampler)
        steps = steps_taken(
            self.denoiser.schedule, sampler, 1.0 if init_image is None else strength
        )
        method.check_steps(steps, self.denoiser.schedule.T)
        conditions = [self.conditions(each, pictures) | words for each in prompts]
        each = integer("num_samples", num_samples, 1)
        requests = Requests(conditions, each, integer("seed", seed, 0)).requests
        similar = None
        if method.gamma:
            similar = self.similarity(
                conditions, pictures, own, weights or {}, seed, method.at_clean
            )
        start = None if init_image is None else self.picture(init_image)
        batches = batched(requests, integer("batch_size", batch_size, 1))
        bar, done = Bar("sampling"), 0
        bar.begin(len(batches) * len(steps), 0, progress)
        images, kept = [], []
        try:
            for batch in batches:
                taken: list[Step] = []

                def on_step(
                    count: int, step: Step, begun: int = done, taken: list[Step] = taken
                ) -> None:
                    bar.reach(begun + count)
                    if trajectory:
                        taken.append(Step(step.x.cpu(), step.x0.cpu()))

                guide = self.guide(method, similar, functions, batch, sampler)
                images.append(self.draw(batch, guide, sampler, start, strength, on_step).cpu())
                kept.append(taken)
                done += len(steps)
        finally:
            bar.stop()
        path = [Step(*map(torch.cat, zip(*step, strict=True))) for step in zip(*kept, strict=True)]
        return SampleOutput(
            torch.cat(images),
            [r.conditions.get("text") for r in requests],
            [r.seed for r in requests],
            path,
        )

    def conditions(self, prompt: str | None, pictures: Mapping[str, Picture]) -> dict[str, str]:
        """{similarity: what it is asked for} of one prompt."""
        text = {} if prompt is None else {"text": prompt}
        return text | {name: name for name in pictures}

    def picture(self, picture: Picture) -> Tensor:
        """A picture of any kind as (3, H, W) in [-1, 1], at the size of the samples."""
        side = self.shape[-1]
        if isinstance(picture, Tensor):
            if tuple(picture.shape) != self.shape:
                raise UserError(
                    f"a picture as a tensor must have the shape {self.shape}, not "
                    f"{tuple(picture.shape)}."
                )
            return picture.float().cpu()
        if isinstance(picture, Image.Image):
            return pixels(picture, side)
        return load_image(picture, side)

    def similarity(
        self,
        conditions: Sequence[Mapping[str, str]],
        pictures: Mapping[str, Picture],
        own: Mapping[str, Term],
        weights: Mapping[str, float],
        seed: int,
        at_clean: bool,
    ) -> Similarity | None:
        """sim of a whole run, None where nothing but functions of one's own is asked for."""
        kinds = [kind for kind in conditions[0] if kind not in own]
        for name in weights:
            choice("weights", name, kinds)
        terms = {kind: self.term(kind, conditions, weights.get(kind)) for kind in kinds}
        terms |= own
        if not terms:
            return None
        schedule = self.denoiser.schedule
        if at_clean or self.encoder is None:
            levels = torch.zeros(schedule.T, dtype=torch.long)
        else:
            levels = matched_levels(schedule, self.encoder.schedule)
        shown = {name: self.picture(picture) for name, picture in pictures.items()}
        return Similarity(self.encoder, terms, levels, References(shown, schedule, seed))

    def term(
        self, kind: str, conditions: Sequence[Mapping[str, str]], weight: float | None
    ) -> Term:
        """The term `text`, `content`, `structure` or `style`."""
        if self.encoder is None:
            raise UserError(
                "this pipeline has no encoder, which a sentence or a picture needs; give one to "
                "Pipeline(…, encoder=…)."
            )
        if kind == "content":
            return Content(self.encoder, weight)
        if kind != "text":
            maps = Structure if kind == "structure" else Style
            return maps.of_encoder(self.encoder, weight)
        if self.clip is None:
            raise UserError(
                "this pipeline has no text tower, which a sentence needs; give one to "
                "Pipeline(…, clip=…)."
            )
        sentences = [text for c in conditions for text, _ in parse_weighted_prompt(c["text"])]
        return Text(self.encoder, self.clip, sentences, weight, self.negative_captions)

    def guide(
        self,
        method: Method,
        similar: Similarity | None,
        functions: Sequence[SimilarityFunction],
        batch: Sequence[Request],
        sampler: Sampler,
    ) -> Bound | Selection | None:
        """Guidance of one batch, with several candidates for each sample their selection."""
        if method.gamma and method.candidates > 1:
            every = [request for request in batch for _ in range(method.candidates)]
            wide = self.prepare(method, similar, functions, every, sampler)
            narrow = self.prepare(method, similar, functions, batch, sampler)
            if wide is None or narrow is None:
                return None
            return Selection(wide, narrow, method.candidates, method.select_at)
        return self.prepare(method, similar, functions, batch, sampler)

    def prepare(
        self,
        method: Method,
        similar: Similarity | None,
        functions: Sequence[SimilarityFunction],
        batch: Sequence[Request],
        sampler: Sampler,
    ) -> Bound | None:
        """Guidance of these requests, None for none."""
        if not method.gamma or (similar is None and not functions):
            return None
        parts = list(functions)
        if similar is not None:
            asked: dict[str, list[Targets]] = {}
            for name, term in similar.terms.items():
                asked[name] = [term.targets_of(request.conditions.get(name)) for request in batch]
            parts.append(similar.bind(asked, self.device))

        def total(x: Tensor, level: int) -> Tensor:
            return reduce(add, (part(x, level) for part in parts))

        return method.guide(total, self.denoiser.schedule, sampler)

    def draw(
        self,
        batch: Sequence[Request],
        guide: Guide | Selection | None,
        sampler: Sampler,
        start: Tensor | None = None,
        strength: float = 1.0,
        on_step: Callable[[int, Step], None] = lambda done, step: None,
    ) -> Tensor:
        """One batch: (B, 3, H, W) in [-1, 1]."""
        seeds = [request.seed for request in batch]
        selection: Selection | None = None
        if isinstance(guide, Selection):
            selection, guide = guide, guide.wide
            seeds = candidate_seeds(seeds, selection.candidates)
        noise = Noise(seeds, self.shape, self.device)
        begin = None if start is None else start.to(self.device).expand(len(seeds), *self.shape)
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype) if mixed else contextlib.nullcontext():
            return sample(self.denoiser, sampler, noise, guide, begin, strength, on_step, selection)


def as_pairs(
    similarity: Similar | Sequence[Similar] | Mapping[Term, Picture | str | None],
) -> list[tuple[Similar, Picture | str | None]]:
    """Each term or function with its condition."""
    if isinstance(similarity, Mapping):
        return list(similarity.items())
    each = [similarity] if isinstance(similarity, Term) or callable(similarity) else similarity
    return [(one, None) for one in each]


def batched(requests: Sequence[Request], size: int) -> list[list[Request]]:
    """In order, `size` at a time."""
    return [list(requests[start : start + size]) for start in range(0, len(requests), size)]
