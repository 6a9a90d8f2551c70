"""Untrained weights, as small as they get."""

from pathlib import Path

import torch
import torchvision
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from sdg.data.captions import FACTORS, WORDS
from sdg.io.weights import save
from sdg.models.build import build_denoiser
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder

NETWORK = {
    "block_out_channels": [16, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
CLIP_MODEL = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "resnet_tiny",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 32,
    },
    "text_cfg": {"context_length": 20, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def save_parts(folder: Path) -> None:
    """A file of each part of a pipeline of the shapes."""
    torch.manual_seed(0)
    denoiser = build_denoiser(
        {"prediction": "v", "patch": 2, "network": NETWORK}, {"kind": "cosine", "T": 1000}, 32
    )
    clip = CLIP(CLIP_MODEL, WORDS)
    noisy = NoiseAwareEncoder(
        clip.towers.visual, clip.config, {"kind": "cosine", "T": 1000}, 32, 32
    )
    noisy.logit_scale.copy_(clip.logit_scale.detach())
    judge = Judge("resnet_tiny", {name: len(values) for name, values in FACTORS.items()})
    classifier = NoisyClassifier(clip.config, {"kind": "cosine", "T": 1000}, FACTORS, 32, 32)
    for kind, model in (
        ("denoiser", denoiser),
        ("clip", clip),
        ("clip_noisy", noisy),
        ("judge", judge),
        ("classifier_noisy", classifier),
    ):
        save(folder / f"{kind}.safetensors", kind, model, model.config)


def save_inception(file: Path) -> nn.Module:
    """A file of torch-fidelity's Inception-v3; the network that it was made from."""
    torch.manual_seed(0)
    made, load = object.__new__(FeatureExtractorInceptionV3), torch.load
    try:  # its constructor wants weights: those that it starts with are as good as any
        torch.load = lambda *_, **__: made.state_dict()
        made.__init__("made", ["2048"], feature_extractor_weights_path=__file__)
    finally:
        torch.load = load
    torch.save(made.state_dict(), file)
    return made


def save_alexnet(file: Path) -> None:
    """A file of torchvision's AlexNet."""
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), file)
