"""`python sample.py`: from a composed config to images and their figures."""

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from sdg.checkpoints.models import load_clip, load_clip_noisy, load_denoiser
from sdg.data.requests import Requests, read_prompts
from sdg.errors import UserError, integer
from sdg.guidance.semantic import matched_levels
from sdg.guidance.similarity import Text
from sdg.lightning.evaluation import evaluate
from sdg.lightning.guided_sampling import GuidedSampling
from sdg.lightning.run import leave_process_group, make_trainer, run

__all__ = ["sample"]


def sample(config: DictConfig) -> None:
    """Draws what was asked for; the run's folder ends with images, a grid, a table and the figures."""
    with run(config) as folder:
        sampler, guidance = instantiate(config.sampler), instantiate(config.guidance)
        guidance.check(sampler)
        integer("batch_size", config.batch_size, 1)
        data = instantiate(config.data)
        data.setup("predict")
        prompts, each = read_prompts(config.prompt, config.prompts, config.num_samples, config.samples_per_prompt,
                                     data.held_out if hasattr(data.held_out, "caption") else None, config.named)
        requests = Requests(prompts, each, config.seed)
        denoiser = load_denoiser(config.denoiser.weights)
        if denoiser.config["resolution"] != config.data.resolution:
            raise UserError(f"data.resolution={config.data.resolution}, but the denoiser draws {denoiser.config['resolution']} pixels a side.")
        integer("sampler.steps", sampler.steps, 1, denoiser.schedule.T)
        terms, levels = similarity(config, denoiser, prompts) if guidance.gamma else ([], torch.arange(denoiser.schedule.T))

        module = GuidedSampling(denoiser, sampler, guidance, terms, levels, folder)
        if config.compile:
            denoiser.compile()
        trainer = make_trainer(config)
        loader = DataLoader(requests, config.batch_size, collate_fn=list)
        trainer.predict(module, loader, return_predictions=False)
        leave_process_group()
        if trainer.is_global_zero:
            evaluate(folder, config, data.held_out, guidance.gamma, module.device)


def similarity(config: DictConfig, denoiser, prompts: list[str]) -> tuple[list[Text], torch.Tensor]:
    """The terms of sim, and the encoder's level for each of the denoiser's."""
    name = config.encoder_name
    if name == "clip_noisy":
        image, text = load_clip_noisy(config.encoder.weights), load_clip(config.encoder.clip)
    elif name == "clip":
        image = text = load_clip(config.encoder.weights)
    else:
        raise UserError(f"encoder={name} cannot guide; use encoder=clip_noisy or encoder=clip, or guidance.gamma=0 to sample unguided.")
    if image.resolution != denoiser.config["resolution"]:
        raise UserError(f"the encoder takes {image.resolution} pixels a side, the denoiser draws {denoiser.config['resolution']}; fine-tune the encoder at the denoiser's resolution.")
    terms = [Text(image, text, prompts, config.similarity.text.weight)]
    print(f"sim = {terms[0].weight:.2f} · cos(image, text), γ = {config.guidance.gamma:g}")
    return terms, matched_levels(denoiser.schedule, image.config.get("schedule"))
