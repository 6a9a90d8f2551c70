"""Files of weights that others published, known by their SHA-256."""

from pathlib import Path
from typing import NamedTuple

from sdg.errors import UserError
from sdg.io.files import sha256_of

__all__ = ["ALEXNET", "INCEPTION", "Published", "inception_path", "published_file"]


class Published(NamedTuple):
    """A published file.

    Arguments:
        address: where it is.
        sha256: of it, in hexadecimal.
    """

    address: str
    sha256: str

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]


# Inception-v3 of torch-fidelity, for FID and KID.
INCEPTION = Published(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
# AlexNet of torchvision, for LPIPS.
ALEXNET = Published(
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)


def inception_path(file: str) -> Path:
    """The file of a user that `eval.inception` names.

    Raises:
        UserError: it is not there.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(
            f"eval.inception: there is no file {path}; it is {INCEPTION.name} of torch-fidelity, "
            f"from {INCEPTION.address}, or eval.inception=download."
        )
    return path


def published_file(published: Published, setting: str, otherwise: str) -> Path:
    """The file in torch's hub cache, fetched into it where it is not there.

    Arguments:
        setting: that asks for it, as key=value.
        otherwise: what else a user may set.

    Raises:
        UserError: it cannot be fetched, or what lies in the cache is another file.
    """
    import torch  # what looks at names alone does without it

    file = Path(torch.hub.get_dir()) / "checkpoints" / published.name
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(published.address, str(file), published.sha256)
        except (OSError, RuntimeError) as error:  # the connection's, the disk's, a wrong digest
            raise UserError(
                f"{setting}: {published.address} cannot be fetched ({error}); put the file at "
                f"{file}, or set {otherwise}."
            ) from error
    digest = sha256_of(file)
    if digest != published.sha256:
        raise UserError(
            f"{setting}: {file} is not the published {published.name}: its SHA-256 begins with "
            f"{digest[:8]}, not {published.sha256[:8]}. Remove it, and it is fetched anew."
        )
    return file
