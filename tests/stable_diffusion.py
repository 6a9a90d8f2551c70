"""Small random Stable Diffusions, as diffusers' pipelines keep them; needs transformers."""

import json
import warnings

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from latent import BLOCKS
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from sdg.io.prompt_embeddings import keep_linspace

keep_linspace()  # diffusers' pipelines of these tests load text encoders too
SIDE = 16  # of the latents; images are twice as wide
WIDTH, PROJECTED, LENGTH = 16, 12, 12  # of text encoders, and tokens of a sentence
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
BLOCK_TYPES = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}


def tokenizer(folder, **options):
    """One of letters, pairs of letters and the two signs of start and end."""
    letters = list("abcdefghijklmnopqrstuvwxyz,")
    words = [*letters, *(f"{letter}</w>" for letter in letters), "re", "red</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH, **options)


def text_encoder(words, seed, kind=CLIPTextModel, **options):
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        intermediate_size=24,
        projection_dim=PROJECTED,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        **options,
    )
    model = kind(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def unet(width, channels=4, **options):
    torch.manual_seed(7)
    network = UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=width,
        attention_head_dim=2,
        **BLOCK_TYPES,
        **options,
    )
    for name, weight in network.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.2 if weight.ndim > 1 else 0.05)
    return network.eval()


def autoencoder(**options):
    torch.manual_seed(1)
    settings = {"latent_channels": 4, "scaling_factor": 0.18215, "sample_size": 2 * SIDE}
    return AutoencoderKL(**BLOCKS, **settings, **options).eval()


def scheduler(**options):
    settings = {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "trailing"}
    return DDIMScheduler(**settings, **BETAS, **options)


def stable_diffusion(folder, channels=4, **options):
    """A StableDiffusionPipeline of diffusers.

    Arguments:
        options: of the scheduler.
    """
    words = tokenizer(folder / "words")
    text = text_encoder(len(words), 5)
    return pipeline(words, text, unet(WIDTH, channels), **options)


def stable_diffusion_2(folder, **options):
    """One with what version 2 has: another padding and activation, linear projections, v."""
    words = tokenizer(folder / "words", pad_token=",")
    text = text_encoder(len(words), 6, hidden_act="gelu")
    network = unet(WIDTH, use_linear_projection=True, upcast_attention=True)
    return pipeline(words, text, network, **({"prediction_type": "v_prediction"} | options))


def pipeline(words, text, network, **options):
    pipe = StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=text,
        tokenizer=words,
        unet=network,
        scheduler=scheduler(**options),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return quiet(pipe)


def stable_diffusion_xl(folder, zeros=True, **options):
    """A StableDiffusionXLPipeline of diffusers."""
    first = tokenizer(folder / "words")
    second = tokenizer(folder / "words_2", pad_token=",")
    extra = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": PROJECTED + 6 * 4,
        "use_linear_projection": True,
        "transformer_layers_per_block": 2,
    }
    pipe = StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=text_encoder(len(first), 5),
        text_encoder_2=text_encoder(len(second), 6, CLIPTextModelWithProjection, hidden_act="gelu"),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet(2 * WIDTH, **extra),
        scheduler=scheduler(**options),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )
    return quiet(pipe)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def saved(pipe, folder):
    """The folder, with the pipeline written into it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.save_pretrained(folder)
    return folder
