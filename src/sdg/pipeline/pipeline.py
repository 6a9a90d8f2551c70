"""Guided sampling in one object: what is drawn, what it shall be like, and how it is steered."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sdg.data.requests import Request, Requests
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide
from sdg.diffusion.noise import Noise
from sdg.diffusion.sampler import Sampler, Step
from sdg.diffusion.samplers import DDPM
from sdg.diffusion.sampling import sample, steps_taken
from sdg.errors import UserError, choice, integer, number
from sdg.guidance.guidance import Guidance
from sdg.guidance.selection import Selection, candidate_seeds
from sdg.guidance.semantic import SemanticGuidance
from sdg.io.shipped import INDEX, shipped, shipped_names
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser
from sdg.pipeline.conditions import Conditions, Picture, Similarities, SimilarityFunction, as_tensor
from sdg.pipeline.output import SampleOutput, joined_steps
from sdg.pipeline.terms import build_terms, total_similarity
from sdg.progress import Bar
from sdg.similarity import Similarity, matched_levels
from sdg.similarity.references import References

__all__ = ["Pipeline"]


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
        interval: the part of the noise range that is guided, where a call names no guidance.
        sampler: where a call names none; None is DDPM with 100 steps.
        negative_captions: beside which a sentence is weighed: captions of other images.
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
        similarity: Similarities = (),
        weights: Mapping[str, float] | None = None,
        num_samples: int = 1,
        gamma: float | None = None,
        seed: int = 0,
        guidance: Guidance | None = None,
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
        pictures = {"content": content, "structure": structure, "style": style}
        conditions = Conditions.from_arguments(prompt, pictures, similarity)
        if guidance is not None and gamma is not None:
            raise UserError("gamma belongs to a guidance of one's own: give it there, not here.")
        if guidance is None:
            strength_of_guidance = self.gamma if gamma is None else gamma
            guidance = SemanticGuidance(strength_of_guidance, interval=self.interval)
        sampler = sampler or self.sampler
        guidance.check(sampler)
        share = 1.0 if init_image is None else strength
        steps = steps_taken(self.denoiser.schedule, sampler, share)
        guidance.check_steps(steps, self.denoiser.schedule.T)
        each = integer("num_samples", num_samples, 1)
        requests = Requests(conditions.by_prompt, each, integer("seed", seed, 0)).requests
        run_similarity = None
        if guidance.gamma:
            run_similarity = self.similarity(conditions, weights or {}, seed, guidance.at_clean)
        start = None if init_image is None else as_tensor(init_image, self.shape)
        size = integer("batch_size", batch_size, 1)
        batches = [requests[first : first + size] for first in range(0, len(requests), size)]
        bar, taken = Bar("sampling"), 0
        bar.begin(len(batches) * len(steps), 0, progress)
        images: list[Tensor] = []
        kept: list[list[Step]] = []

        def on_step(count: int, step: Step) -> None:
            bar.reach(taken + count)
            if trajectory:
                kept[-1].append(Step(step.x.cpu(), step.x0.cpu()))

        try:
            for batch in batches:
                kept.append([])
                guide = self.guide(guidance, run_similarity, conditions.functions, batch, sampler)
                images.append(self.draw(batch, guide, sampler, start, strength, on_step).cpu())
                taken += len(steps)
        finally:
            bar.stop()
        return SampleOutput(
            torch.cat(images),
            [request.conditions.get("text") for request in requests],
            [request.seed for request in requests],
            joined_steps(kept),
        )

    def similarity(
        self, conditions: Conditions, weights: Mapping[str, float], seed: int, at_clean: bool
    ) -> Similarity | None:
        """sim of a whole run, None where nothing but functions of one's own is asked for."""
        terms = build_terms(conditions, weights, self.encoder, self.clip, self.negative_captions)
        if not terms:
            return None
        schedule = self.denoiser.schedule
        if at_clean or self.encoder is None:
            levels = torch.zeros(schedule.T, dtype=torch.long)
        else:
            levels = matched_levels(schedule, self.encoder.schedule)
        images = {name: as_tensor(each, self.shape) for name, each in conditions.pictures.items()}
        return Similarity(self.encoder, terms, levels, References(images, schedule, seed))

    def guide(
        self,
        guidance: Guidance,
        similarity: Similarity | None,
        functions: Sequence[SimilarityFunction],
        batch: Sequence[Request],
        sampler: Sampler,
    ) -> Guidance | Selection | None:
        """Guidance of one batch, with several candidates for each sample their selection."""

        def prepare(requests: Sequence[Request]) -> Guidance | None:
            total = total_similarity(similarity, functions, requests, self.device)
            return guidance.prepare(total, self.denoiser.schedule, sampler)

        if not guidance.gamma or (similarity is None and not functions):
            return None
        if guidance.candidates == 1:
            return prepare(batch)
        candidates = [request for request in batch for _ in range(guidance.candidates)]
        wide, narrow = prepare(candidates), prepare(batch)
        assert wide is not None and narrow is not None  # γ is not 0
        return Selection(wide, narrow, guidance.candidates, guidance.select_at)

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
