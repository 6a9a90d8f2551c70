"""Guided sampling in one object: what is drawn, what it shall be like, and how it is steered."""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sdg.data.requests import Request, Requests
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide
from sdg.diffusion.noise import Noise
from sdg.diffusion.sampler import Sampler, Step
from sdg.diffusion.samplers import DDPM
from sdg.diffusion.sampling import checked_strength, sample, steps_taken
from sdg.errors import UserError, choice, integer, number
from sdg.guidance.guidance import Guidance, checked_interval
from sdg.guidance.selection import Selection, candidate_seeds
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.pipeline.checks import (
    check_devices,
    check_parts,
    check_pixels,
    checked_captions,
    checked_device,
    checked_kind,
    checked_weights,
)
from sdg.pipeline.conditions import (
    Conditions,
    Picture,
    Pictures,
    Similarities,
    SimilarityFunction,
    as_tensor,
)
from sdg.pipeline.files import load_parts, pipeline_folder, save_parts
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

    Its networks are put into eval mode, and stay on the device where they are.

    Arguments:
        denoiser: the diffusion model.
        encoder: E(x_t, t), a noise-aware encoder, or a clean CLIP for guidance that reads x̂_0;
            None for a pipeline that knows no sentence and no reference.
        clip: reads sentences, into the space of `encoder`: the CLIP that it was made from.
        gamma: γ, where a call names none.
        interval: the part of the noise range that is guided, where a call names no guidance.
        sampler: where a call names none; None is DDPM with 100 steps.
        negative_captions: beside which a sentence is weighed: captions of other images. A
            calibrated encoder needs some.
        resolution: side of a sample in pixels; None takes the denoiser's own, else the encoder's.

    Raises:
        UserError: the parts do not belong together, or a parameter is out of range.
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
        self.gamma, self.interval = number("gamma", gamma), checked_interval("interval", interval)
        self.sampler = checked_kind("sampler", sampler or DDPM(100), Sampler)
        self.negative_captions = checked_captions(negative_captions)
        if resolution is not None:
            integer("resolution", resolution, 1)
        own = None if encoder is None else encoder.resolution
        self.resolution = resolution or denoiser.resolution or own
        check_pixels(denoiser)
        check_parts(encoder, clip, self.resolution)
        if encoder is not None:
            encoder.attach(denoiser)
        for part in self.parts:
            if isinstance(part, nn.Module):
                part.eval()
        self.place, self.dtype = torch.device("cpu"), torch.float32

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Pipeline":
        """The pipeline of a folder that `save_pretrained` wrote, or of one of other names.

        Arguments:
            path: the folder; `portraits` or `shapes`, the shipped ones; or `owner/name`, or
                `owner/name@revision`, of such a folder on the Hugging Face hub, which is fetched.

        Raises:
            UserError: there is no such pipeline, or it cannot be fetched.
        """
        return cls(**load_parts(pipeline_folder(path)))

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes the whole pipeline, as `from_pretrained` reads it.

        That is `pipeline.json`, a safetensors file for each network, and `captions.txt` with the
        negative captions; no device and no dtype.

        Returns:
            the folder.

        Raises:
            UserError: a part was put together by hand, or is of a class of one's own.
        """
        return save_parts(self, Path(folder).expanduser())

    @property
    def parts(self) -> list[Denoiser | ImageEncoder | TextEncoder]:
        """The networks: denoiser, encoder, CLIP."""
        every = (self.denoiser, self.encoder, self.clip)
        return [part for part in every if part is not None]

    @property
    def device(self) -> torch.device:
        """Where the denoiser is; of one without weights, where the pipeline was moved."""
        tensors = itertools.chain(self.denoiser.parameters(), self.denoiser.buffers())
        first = next(tensors, None)
        return self.place if first is None else first.device

    def to(
        self,
        device: str | torch.device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Pipeline":
        """Moves the networks: `to("cuda")`, `to(torch.bfloat16)`, `to("cuda", torch.bfloat16)`.

        With the dtype bfloat16 or float16 they run under autocast, guidance's gradient in float32.

        Raises:
            UserError: there is no such device, or another dtype.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if device is not None:
            self.place = checked_device(device)
            for part in self.parts:
                part.to(self.place)
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
        content: Pictures | None = None,
        structure: Pictures | None = None,
        style: Pictures | None = None,
        similarity: Similarities = (),
        weights: Mapping[str, float] | None = None,
        num_samples: int = 1,
        gamma: float | None = None,
        seed: int = 0,
        guidance: Guidance | None = None,
        sampler: Sampler | None = None,
        steps: int | None = None,
        init_image: Picture | None = None,
        strength: float = 0.6,
        batch_size: int = 64,
        trajectory: bool = False,
        callback: Callable[[int, Step], None] | None = None,
        progress: bool = True,
    ) -> SampleOutput:
        """Draws samples.

        Arguments:
            prompt: a sentence, or several; "a red heart | a ring:-0.5" has two parts, one with the
                weight −0.5. None leaves the sentence out.
            content, structure, style: a picture that samples shall be like in this respect; or a
                list, one for each prompt, or for samples of its own where there is one prompt or
                none.
            similarity: further ones, whose values are added: functions sim(x, level) and terms; or
                {term: what samples shall be like}, a picture for a term by reference, a word for
                another, or a list as above. A function is asked the same of every sample; what
                depends on words is a term.
            weights: of `text`, `content`, `structure` or `style`, instead of their own.
            num_samples: for each prompt or picture.
            gamma: γ of `SemanticGuidance`; 0 samples unguided.
            seed: of the run; sample i of a run is the same whatever the batch size and device.
            guidance: another method than `SemanticGuidance(gamma)`.
            sampler: another than the pipeline's.
            steps: of the pipeline's sampler, instead of its own number.
            init_image, strength: a picture to start from, and how far from it samples may go, in
                (0, 1].
            batch_size: samples at once.
            trajectory: keep every step.
            callback: is called as callback(done, step) after every step of every batch: how many
                of its steps are done, and x_s and x̂_0, (B, 3, H, W) each.
            progress: show a bar.

        Returns:
            samples in the order of the prompts or pictures, `num_samples` of each.

        Raises:
            UserError: a parameter is out of range, or the pipeline lacks what a condition needs.
        """
        pictures = {"content": content, "structure": structure, "style": style}
        conditions = Conditions.from_arguments(prompt, pictures, similarity)
        if guidance is None:
            guidance = SemanticGuidance(
                self.gamma if gamma is None else gamma, interval=self.interval
            )
        elif gamma is not None:
            raise UserError("gamma belongs to a guidance of one's own: give it there, not here.")
        if sampler is None:
            sampler = self.sampler if steps is None else self.sampler.with_steps(steps)
        elif steps is not None:
            raise UserError("steps belongs to a sampler of one's own: give it there, not here.")
        checked_kind("guidance", guidance, Guidance)
        checked_kind("sampler", sampler, Sampler)
        guidance.check(sampler)
        check_devices(self.device, self.encoder, self.clip)
        checked = checked_weights(weights, conditions.kinds)
        share = checked_strength(strength)
        whole = init_image is None
        taken = steps_taken(self.denoiser.schedule, sampler, 1.0 if whole else share)
        each, seed = integer("num_samples", num_samples, 1), integer("seed", seed, 0)
        requests = Requests(conditions.rows, each, seed).requests
        run_similarity = None
        if guidance.gamma and conditions.any:
            guidance.check_steps(taken, self.denoiser.schedule.T)
            run_similarity = self.similarity(conditions, checked, seed, guidance.at_clean)
        start = None if init_image is None else as_tensor(init_image, self.shape)
        size = integer("batch_size", batch_size, 1)
        batches = [requests[first : first + size] for first in range(0, len(requests), size)]
        bar, before = Bar("sampling"), 0
        bar.begin(len(batches) * len(taken), 0, progress)
        images: list[Tensor] = []
        kept: list[list[Step]] = []

        def on_step(count: int, step: Step) -> None:
            bar.reach(before + count)
            if trajectory:
                kept[-1].append(Step(step.x.cpu(), step.x0.cpu()))
            if callback is not None:
                callback(count, step)

        try:
            for batch in batches:
                kept.append([])
                guide = self.guide(guidance, run_similarity, conditions.functions, batch, sampler)
                images.append(self.draw(batch, guide, sampler, start, strength, on_step).cpu())
                before += len(taken)
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
