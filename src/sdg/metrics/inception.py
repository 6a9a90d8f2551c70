"""Inception-v3 as FID and KID know it."""

import io
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["Inception"]


class Inception(nn.Module):
    """The 2048 features before the last layer, of images (B, 3, H, W) in [-1, 1].

    Images are taken as 8-bit pixels and scaled to 299 × 299.

    Arguments:
        tensors: torch-fidelity's weights.

    Raises:
        RuntimeError: they are of another network.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # torch-fidelity unpickles the file that it is given: it gets one that is made here.
        file = io.BytesIO()
        torch.save(dict(tensors), file)
        file.seek(0)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=file
        )
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))[0]
