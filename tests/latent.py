"""Small random latent models, as diffusers' pipelines keep them."""

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DiTTransformer2DModel,
    LDMPipeline,
    UNet2DModel,
    VQModel,
)

SIDE = 16  # of the latents; images are twice as wide
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
BLOCKS = {
    "block_out_channels": (8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
}


def autoencoder_kl(channels=4, **options):
    torch.manual_seed(1)
    return AutoencoderKL(latent_channels=channels, **BLOCKS, **options).eval()


def autoencoder_tiny(channels=4):
    torch.manual_seed(1)
    widths, ones = (8, 8), (1, 1)
    return AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=ones,
        num_decoder_blocks=ones,
    ).eval()


def vq_model(channels=3, **options):
    torch.manual_seed(1)
    return VQModel(latent_channels=channels, num_vq_embeddings=32, **BLOCKS, **options).eval()


def unet(channels=4, side=SIDE, **options):
    torch.manual_seed(2)
    return UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        **options,
    ).eval()


def scheduler(**options):
    settings = {"clip_sample": False, "set_alpha_to_one": True} | BETAS | options
    return DDIMScheduler(**settings)


def ldm(vae, channels=4, **options):
    """An unconditional latent diffusion of diffusers."""
    return LDMPipeline(vqvae=vae, unet=unet(channels), scheduler=scheduler(**options))


def transformer(channels=4, classes=5):
    torch.manual_seed(3)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=channels,
        out_channels=2 * channels,
        num_layers=2,
        sample_size=SIDE,
        num_embeds_ada_norm=classes,
    )
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network.eval()
