"""Guided sampling in one object: what is drawn, what it shall be like, and how it is steered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from sdg.data.requests import Requests
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.noise_range import checked_interval
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.samplers import DDPM
from sdg.diffusion.sampling import steps_taken
from sdg.errors import choice, integer, number
from sdg.guidance.guidance import Guidance
from sdg.models.autoencoder import Autoencoder
from sdg.models.caption_embeddings import CaptionEmbeddings
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.pipeline.argument_checks import (
    checked_captions,
    checked_function,
    checked_kind,
    checked_path,
    checked_weights,
)
from sdg.pipeline.batches import OnStep, draw_batches
from sdg.pipeline.call_choices import (
    chosen_encoder,
    chosen_guidance,
    chosen_sampler,
    chosen_strength,
)
from sdg.pipeline.conditions import (
    CallConditions,
    Picture,
    Pictures,
    SimilarityArgument,
    as_tensor,
    as_tensors,
)
from sdg.pipeline.deterministic import OneByOne, deterministic_arithmetic
from sdg.pipeline.files import load_parts, pipeline_folder, save_parts
from sdg.pipeline.guided_run import GuidedRun
from sdg.pipeline.memory import fitting_batch
from sdg.pipeline.output import SampleOutput
from sdg.pipeline.part_checks import check_devices
from sdg.pipeline.parts import Parts
from sdg.pipeline.terms import assemble_similarity, build_terms

__all__ = ["Pipeline"]


class Pipeline(Parts):
    """A diffusion model, steered by meaning.

        pipe = Pipeline.from_pretrained("portraits")
        pipe("a smiling person with red hair", num_samples=4).images

    Its networks are put into eval mode, and stay on the device where they are.

    Arguments:
        denoiser: the diffusion model.
        encoder: E(x_t, t), a noise-aware encoder, or a clean CLIP; None for a pipeline that knows
            no sentence and no reference.
        clip: reads sentences, into the space of `encoder`: the CLIP that it was made from. Guidance
            that reads x̂_0, such as `DPS`, reads it with this CLIP where `encoder` is noise-aware.
        gamma: γ, where a call names none.
        interval: the part of the noise range that is guided, where a call names no guidance.
        sampler: where a call names none; None is DDPM with 100 steps.
        negative_captions: beside which a sentence is weighed: captions of other images. A
            calibrated encoder needs some; where it does not guide, a clean CLIP does without them.
        resolution: side of a sample in pixels; None takes the denoiser's own, else the encoder's.
        autoencoder: makes images of the latents that a latent denoiser draws, and latents of
            pictures. Guidance that reads x̂_0 then reads the decoded D(ẑ_0), with the clean CLIP of
            images; `SemanticGuidance` reads z_t, and needs an encoder of such latents. A function
            of one's own is asked about what its guidance reads.

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
        autoencoder: Autoencoder | None = None,
    ):
        super().__init__(denoiser, encoder, clip, resolution, autoencoder)
        self.gamma, self.interval = number("gamma", gamma), checked_interval("interval", interval)
        self.sampler = checked_kind("sampler", sampler or DDPM(100), Sampler)
        self.negative_captions = checked_captions(negative_captions)
        self.embeddings = CaptionEmbeddings()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        label: int | None = None,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        guidance_scale: float | None = None,
    ) -> "Pipeline":
        """The pipeline of a folder that `save_pretrained` or diffusers wrote.

        Arguments:
            path: the folder; `portraits` or `shapes`, the shipped ones; or `owner/name`, or
                `owner/name@revision`, of such a folder on the Hugging Face hub, which is fetched.
                Of diffusers' pipelines those of a `UNet2DModel` or a `DiTTransformer2DModel`, with
                an autoencoder or without, and Stable Diffusion 1, 2 and XL: the encoders are yours
                to add.
            label: the class, of a class-conditional denoiser.
            prompt, negative_prompt: what a Stable Diffusion is conditioned on. They are
                embedded once; the prompt of a call is what guidance asks for beside them.
            guidance_scale: of classifier-free guidance, away from the negative prompt or from no
                class; 1 is none, and so is None. `sdg.guided_denoiser` has more of it.

        Raises:
            UserError: there is no such pipeline, or it cannot be fetched.
        """
        folder = pipeline_folder(path)
        with torch.inference_mode(False):  # whose tensors could not be differentiated through
            return cls(**load_parts(folder, label, prompt, negative_prompt, guidance_scale))

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes the whole pipeline, as `from_pretrained` reads it.

        That is `pipeline.json`, a safetensors file for each network, and `captions.txt` with the
        negative captions; no device and no dtype.

        Returns:
            the folder.

        Raises:
            UserError: a part was put together by hand, or is of a class of one's own.
        """
        return save_parts(self, checked_path("folder", folder))

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        content: Pictures | None = None,
        structure: Pictures | None = None,
        style: Pictures | None = None,
        similarity: SimilarityArgument = (),
        weights: Mapping[str, float] | None = None,
        num_samples: int = 1,
        gamma: float | None = None,
        seed: int = 0,
        guidance: Guidance | None = None,
        sampler: Sampler | None = None,
        steps: int | None = None,
        init_image: Picture | None = None,
        strength: float | None = None,
        batch_size: int | Literal["auto"] = 64,
        deterministic: bool = False,
        trajectory: bool = False,
        callback: OnStep | None = None,
        progress: bool = True,
    ) -> SampleOutput:
        """Draws samples.

        Arguments:
            prompt: a sentence, or several; "a red heart | a ring:-0.5" has two parts, one with the
                weight −0.5. None leaves the sentence out.
            content, structure, style: a picture that samples shall be like in this respect: a file,
                an image of pillow, or a tensor (3, H, W) in [-1, 1]; or a list, one for each
                prompt, or for samples of its own where there is one prompt or none.
            similarity: further ones, whose values are added: functions sim(x, level) and terms; or
                {term: what samples shall be like}, a picture for a term by reference, a word for
                another, or a list as above. A function is asked the same of every sample; what
                depends on words is a term.
            weights: of `text`, `content`, `structure` or `style`, instead of their own.
            num_samples: for each prompt or picture.
            gamma: γ of `SemanticGuidance`; 0 samples unguided.
            seed: of the run; sample i of a run has the same noise whatever the batch size and
                device, and the same pixels but for rounding.
            guidance: another method than `SemanticGuidance(gamma)`, or that with other options. It
                brings its own γ and interval, by default its class's; the pipeline's are for calls
                that name none. A method that reads x̂_0 (`DPS`, `LGD`, `FreeDoM`, `Universal`,
                `MPGD`, `TFG`) reads it with the clean CLIP, as the command does.
            sampler: another than the pipeline's.
            steps: of the pipeline's sampler, instead of its own number.
            init_image, strength: a picture to start from, and how far from it samples may go, in
                (0, 1]; None is 0.6.
            batch_size: samples at once; "auto" takes what the free memory holds. Where memory is
                short it is halved. Rounding depends on it and on the number of threads:
                mostly by 1 of 255 in a few pixels, with strong guidance by more.
            deterministic: draw one sample at a time, with one thread: then neither changes a bit
                on one machine, at a cost (`docs/troubleshooting.md`).
            trajectory: keep every step.
            callback: is called as callback(done, step) after every step of every batch: how many
                of its steps are done, and x_s and x̂_0, (B, 3, H, W) each.
            progress: show a bar.

        Returns:
            samples in the order of the prompts or pictures, `num_samples` of each.

        Raises:
            UserError: a parameter is out of range, or the pipeline lacks what a condition or the
                guidance needs.
        """
        pictures = {"content": content, "structure": structure, "style": style}
        conditions = CallConditions.from_arguments(prompt, pictures, similarity)
        guidance = chosen_guidance(guidance, gamma, self.gamma, self.interval, conditions.any)
        sampler = chosen_sampler(sampler, steps, self.sampler)
        guidance.check(sampler)
        check_devices(self.device, self.encoder, self.clip, self.autoencoder)
        checked = checked_weights(weights, conditions.kinds)
        start = None if init_image is None else as_tensor(init_image, self.shape)
        share = chosen_strength(strength, start is not None)
        schedule = self.denoiser.schedule
        taken = steps_taken(schedule, sampler, share)
        each, seed = integer("num_samples", num_samples, 1), integer("seed", seed, 0)
        requests = Requests(conditions.rows, each, seed)
        guided = guidance.gamma and conditions.any
        reads = guided and (conditions.columns or conditions.terms)
        encoder = self.encoder
        if reads:
            encoder = chosen_encoder(encoder, self.clip, guidance, self.denoiser.latents)
        if batch_size == "auto":
            networks = (self.denoiser, encoder, self.sampled_shape, self.device)
            acting = guidance if guided else None
            with torch.inference_mode(False):
                batch_size = fitting_batch(*networks, self.autoencoder, acting)
        size = integer("batch_size", batch_size, 1)
        size = 1 if choice("deterministic", deterministic, (False, True)) else size
        for name, flag in (("trajectory", trajectory), ("progress", progress)):
            choice(name, flag, (False, True))
        if callback is not None:
            checked_function("callback", callback, "done", "step")
        if guided:
            guidance.check_steps(taken, schedule.T)
        # Inference mode, which a caller may be in, has no gradients.
        with torch.inference_mode(False), deterministic_arithmetic(deterministic):
            whole = None
            if guided:
                clip = OneByOne(self.clip) if deterministic and self.clip else self.clip
                negatives = self.captions_beside(encoder)
                given = (encoder, clip, negatives)
                terms = build_terms(conditions, checked, *given, self.embeddings)
                images = as_tensors(conditions.pictures, self.shape)
                if not guidance.at_clean:
                    images = {name: self.latents(image) for name, image in images.items()}
                if terms:
                    whole = assemble_similarity(
                        terms, encoder, schedule, images, seed, guidance.at_clean
                    )
            functions = conditions.functions
            run = GuidedRun(self, sampler, guidance, whole, functions, start, share)
            return draw_batches(
                *(run.draw, requests, size, len(taken), trajectory, callback, progress),
                self.pictures,
            )

    def captions_beside(self, encoder: ImageEncoder | None) -> Sequence[str]:
        """The negative captions of a sentence that this encoder reads.

        Those of a calibrated encoder are its bank, and none where a clean CLIP takes its place.
        """
        bank = self.encoder is not None and self.encoder.calibrated
        return () if bank and encoder is not self.encoder else self.negative_captions
