"""Inception-v3 as FID and KID know it."""

from pathlib import Path

import torch
from torch import Tensor, nn

from sdg.errors import UserError

__all__ = ["Inception"]

FILE = "pt_inception-2015-12-05-6726825d.pth"
ADDRESS = (
    "https://github.com/toshas/torch-fidelity/releases/download/weights-inception-2015-12-05/"
    + FILE
)


class Inception(nn.Module):
    """The 2048 features before the last layer, of images (B, 3, H, W) in [-1, 1].

    Images are taken as 8-bit pixels and scaled to 299 × 299.

    Arguments:
        weights: a file of torch-fidelity's weights, or "download" for torch's hub cache and, where
            it is not there, its address.

    Raises:
        UserError: the file is missing, damaged or of another network.
    """

    def __init__(self, weights: str):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        file = downloaded() if weights == "download" else Path(weights).expanduser()
        if not file.is_file():
            raise UserError(
                f"eval.inception: there is no file {file}; it is {FILE} of torch-fidelity, from "
                f"{ADDRESS}, or eval.inception=download."
            )
        try:
            self.network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(file)
            )
        # Torch and torch-fidelity raise a dozen kinds for a file that is not what it should be.
        except Exception as error:
            raise UserError(
                f"eval.inception: {file} does not hold torch-fidelity's Inception-v3 "
                f"({type(error).__name__})."
            ) from error
        self.file = file
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))[0]


def downloaded() -> Path:
    file = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(ADDRESS, str(file))
        except OSError as error:
            raise UserError(
                f"eval.inception=download: {ADDRESS} cannot be reached ({error}); put the file at "
                f"{file}, or set eval.inception=FILE."
            ) from error
    return file
