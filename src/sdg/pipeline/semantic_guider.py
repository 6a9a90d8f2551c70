"""Semantic guidance within the pipelines of diffusers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.guiders import BaseGuidance, ClassifierFreeGuidance
from torch import Tensor, nn

from sdg.data.requests import Requests
from sdg.diffusion.guide import Prediction
from sdg.diffusion.parametrisation import SIGMA_DATA, coefficients, moved_output
from sdg.diffusion.samplers import DDIM
from sdg.errors import UserError, integer
from sdg.guidance.guidance import Guidance
from sdg.guidance.semantic import SemanticGuidance
from sdg.io.diffusers_scheduler import process_of
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.pipeline.argument_checks import checked_captions, checked_kind, checked_weights
from sdg.pipeline.call_choices import own_guidance
from sdg.pipeline.conditions import (
    CallConditions,
    Pictures,
    SimilarityArgument,
    sampled_pictures,
)
from sdg.pipeline.guider_calls import LastCall, level_of
from sdg.pipeline.guider_checks import (
    check_latents_read,
    check_noise_aware,
    check_read,
    scheduler_config,
    score_guidance,
    seen_sample,
)
from sdg.pipeline.part_checks import check_parts
from sdg.pipeline.terms import assemble_similarity, build_terms, total_similarity

__all__ = ["SemanticGuider"]

SCORE = DDIM(1)  # a sampler to which guidance gives its gradient as a score at x_t


class SemanticGuider(BaseGuidance):
    """A guider of diffusers' modular pipelines that adds a similarity's gradient to the prediction.

        ε̂ ← ε̂ − σ_t γ ∇_{x_t} sim(x_t, y)

    That is semantic guidance in score form, as `Pipeline` does it with DDIM, after another guider
    has combined the predictions. Whatever the scheduler has its network predict (noise, v, x_0, a
    velocity) is moved by as much as this noise. The last step is not guided, unless `guidance`
    asks for it. γ = 0 is the other guider, bit for bit. `disable()` and `enable()` are the other
    guider's too, and diffusers' loop of Stable Diffusion XL calls one of them at every call of the
    pipeline: γ is what turns guidance off.

        pipe.update_components(
            guider=SemanticGuider(pipe.scheduler, encoder, clip, prompt="a red barn", gamma=30.0)
        )

    Arguments:
        scheduler: of the pipeline.
        encoder: noise-aware, of the latents or images that the pipeline's network is called with.
        clip: reads sentences, into the space of `encoder`.
        prompt, content, structure, style, similarity, weights: as of `Pipeline.__call__`: one for
            all samples, or lists with one for each prompt of the pipeline.
        negative_captions: as of `Pipeline`; a calibrated encoder needs some.
        gamma: γ; None is 1, or that of `guidance`.
        guidance: a `SemanticGuidance` with other options than its γ: an interval of noise levels,
            `normalize`, `max_norm`, `gamma_schedule`, `last_step`.
        guider: what combines the predictions before; None is `ClassifierFreeGuidance()`.
        autoencoder: of latents, to compare with pictures: one of this project, or the pipeline's.
        seed: of the noise on pictures that samples are compared with.

    Raises:
        UserError: the scheduler's process is not known, the parts do not belong together, or
            guidance needs more than diffusers hands over.
    """

    def __init__(
        self,
        scheduler: Any,
        encoder: ImageEncoder | None = None,
        clip: TextEncoder | None = None,
        *,
        prompt: str | Sequence[str] | None = None,
        content: Pictures | None = None,
        structure: Pictures | None = None,
        style: Pictures | None = None,
        similarity: SimilarityArgument = (),
        weights: Mapping[str, float] | None = None,
        negative_captions: Sequence[str] = (),
        gamma: float | None = None,
        guidance: SemanticGuidance | None = None,
        guider: BaseGuidance | None = None,
        autoencoder: Autoencoder | nn.Module | None = None,
        seed: int = 0,
    ):
        inner = ClassifierFreeGuidance() if guider is None else guider
        self.inner = checked_kind("guider", inner, BaseGuidance)
        self._input_predictions = self.inner._input_predictions
        super().__init__()
        self.guidance = score_guidance(own_guidance(guidance, gamma, 1.0, (0.0, 1.0)))
        register: Any = self.register_to_config  # of diffusers, without types
        register(gamma=self.guidance.gamma)
        self.schedule, self.network = process_of(*scheduler_config(scheduler))
        self.encoder, self.clip, self.seed = encoder, clip, integer("seed", seed, 0)
        if encoder is not None:
            checked_kind("encoder", encoder, ImageEncoder)
            check_noise_aware(encoder)
        if clip is not None:
            checked_kind("clip", clip, TextEncoder)
        check_parts(encoder, clip, None)
        if autoencoder is not None and not isinstance(autoencoder, Autoencoder):
            autoencoder = Autoencoder(autoencoder)
        check_latents_read(encoder, autoencoder)
        self.autoencoder = autoencoder
        pictures = {"content": content, "structure": structure, "style": style}
        self.conditions = CallConditions.from_arguments(prompt, pictures, similarity)
        self.weights = checked_weights(weights, self.conditions.kinds)
        captions = checked_captions(negative_captions)
        self.terms = build_terms(self.conditions, self.weights, encoder, clip, captions)
        self.last_call, self.at_last_call = LastCall(scheduler), False
        self.seen: Tensor | None = None
        self.prepared: tuple[torch.Size, torch.device, Guidance | None] | None = None
        self.hook: Any = None

    @classmethod
    def from_config(cls, *arguments: Any, **options: Any) -> Any:
        """Refused: no config holds an encoder.

        Raises:
            UserError: always.
        """
        raise UserError(
            "no config rebuilds a SemanticGuider, which holds an encoder; make it anew, and give "
            "it to the pipeline by update_components(guider=…)."
        )

    @property
    def num_conditions(self) -> int:
        return int(self.inner.num_conditions)

    @property
    def is_conditional(self) -> bool:
        return bool(self.inner.is_conditional)

    def disable(self) -> None:
        super().disable()  # type: ignore[no-untyped-call]
        self.inner.disable()

    def enable(self) -> None:
        super().enable()  # type: ignore[no-untyped-call]
        self.inner.enable()

    def set_state(self, step: int, num_inference_steps: int, timestep: Any) -> None:
        super().set_state(step, num_inference_steps, timestep)
        self.inner.set_state(step, num_inference_steps, timestep)
        self.at_last_call = self.last_call.reached(step, num_inference_steps, timestep)
        self.seen = None

    def prepare_inputs(self, data: Any) -> Any:
        return self.inner.prepare_inputs(data)

    def prepare_inputs_from_block_state(self, data: Any, input_fields: Any) -> Any:
        return self.inner.prepare_inputs_from_block_state(data, input_fields)

    def prepare_models(self, denoiser: nn.Module) -> None:
        """Also looks at what the network is called with: diffusers hands a guider no x_t."""
        super().prepare_models(denoiser)
        self.inner.prepare_models(denoiser)
        if self.hook is not None:  # of a call that an error has ended
            self.hook.remove()
        self.hook = denoiser.register_forward_pre_hook(self.look, with_kwargs=True)

    def cleanup_models(self, denoiser: nn.Module) -> None:
        self.inner.cleanup_models(denoiser)
        self.hook.remove()

    def look(self, network: nn.Module, arguments: Any, options: Mapping[str, Any]) -> None:
        """Keeps the sample that the network is called with."""
        named = options.get("hidden_states", options.get("sample"))
        self.seen = arguments[0] if arguments else named

    def __call__(self, data: Any) -> Any:
        """The other guider's output, moved where this step is guided."""
        output = self.inner(data)
        if self._enabled and self.guidance.gamma and self.conditions.any and self.acts_now():
            output.pred = self.moved(output.pred)
        return output

    def acts_now(self) -> bool:
        """Whether this step may be guided: the last one is only where guidance asks for it."""
        return self.guidance.last_step or not self.at_last_call

    def moved(self, prediction: Tensor) -> Tensor:
        """The network's output with the similarity's score added to the noise in it.

        Raises:
            UserError: diffusers hands over something else than noisy images.
        """
        seen = seen_sample(self.seen, prediction)
        level = level_of(self._timestep, self.schedule, self.network)
        a_bar = self.schedule.alpha_bar(level)
        a, n = a_bar.sqrt(), (1 - a_bar).sqrt()
        kind = self.network["prediction"]
        deviation = self.network.get("sigma_data", SIGMA_DATA)
        divisor = float(coefficients(kind, a, n, deviation).input_divisor)
        x = seen * divisor
        acting = self.guidance_of(x)
        if acting is None or not acting.guided_repeats(level):
            return prediction
        own = Prediction(x)  # is not asked about
        score = acting.guide_prediction(lambda _: own, x, level, level, x.clone).score
        assert score is not None  # of a score form
        moved = moved_output(kind, prediction.float(), score, a.to(x), n.to(x), deviation)
        return moved.to(prediction.dtype)

    def guidance_of(self, x: Tensor) -> Guidance | None:
        """Guidance with its similarity, of a batch of this size; made once."""
        if self.prepared is None or self.prepared[:2] != (x.shape, x.device):
            self.prepared = x.shape, x.device, self.prepare(x)
        return self.prepared[2]

    def prepare(self, x: Tensor) -> Guidance | None:
        """The guidance of a batch like x.

        Raises:
            UserError: the encoder reads something else, there are other numbers of conditions and
                of samples, or an autoencoder is missing.
        """
        rows = self.conditions.rows
        if len(x) % len(rows):
            raise UserError(
                f"{len(rows)} conditions, and the pipeline draws {len(x)} samples at once; give "
                "one condition for all, or one for each of its prompts."
            )
        if self.encoder is not None:
            check_read(self.encoder, x)
        latent = self.encoder is not None and self.encoder.latent_channels is not None
        images = sampled_pictures(self.conditions.pictures, x, self.autoencoder, latent)
        whole = None
        if self.terms:
            whole = assemble_similarity(
                self.terms, self.encoder, self.schedule, images, self.seed, False
            )
        requests = Requests(rows, len(x) // len(rows), self.seed)
        total = total_similarity(whole, self.conditions.functions, list(requests), x.device)
        return self.guidance.prepare(total, self.schedule, SCORE)
