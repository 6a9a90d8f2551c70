"""One weight format: safetensors, and beside them all that rebuilds the model.

That stands in a header or in a folder's config.json. Reading never executes code.
"""

import json
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdg.errors import UserError, choice
from sdg.io.files import UNREADABLE, part_of
from sdg.io.hub import located
from sdg.io.metadata import metadata_of
from sdg.io.tensors import load_tensors, not_finite

__all__ = [
    "CONFIG",
    "KEY",
    "MODEL",
    "UNET",
    "VAE",
    "header",
    "read_weights",
    "safetensors_of",
    "save",
    "stored",
]

KEY = "sdg"
CONFIG, MODEL, UNET, VAE = (
    "config.json",
    "model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors",
)  # of a folder


def save(file: str | Path, kind: str, module: nn.Module, config: dict, half: bool = False) -> Path:
    """Writes the module's weights and its `config`, plain JSON, under `kind`.

    A kind is "denoiser", "clip", …

    Arguments:
        half: store matrices and kernels in float16, half the size; they are read back into float32.

    Raises:
        UserError: some are no finite numbers.
    """
    tensors = stored(module, half)
    with part_of(file) as part:
        save_file(tensors, part, {KEY: json.dumps({"kind": kind, "config": config})})
    return Path(file)


def stored(module: nn.Module, half: bool) -> dict[str, Tensor]:
    """A module's tensors as they are written, with `half` matrices and kernels in float16.

    Raises:
        UserError: some are no finite numbers.
    """
    tensors = {
        name: value.detach()
        .cpu()
        .to(torch.float16 if half and value.ndim > 1 and value.is_floating_point() else value.dtype)
        .contiguous()
        for name, value in module.state_dict().items()
    }
    if wrong := not_finite(tensors):
        raise UserError(
            f"weights that are NaN or infinite{' in float16' if half else ''} are not written: "
            f"{len(wrong)} of {len(tensors)} tensors hold such, {wrong[0]} is one."
        )
    return tensors


def header(file: str | Path) -> dict | None:
    """What this project's safetensors, or a folder, say of themselves, {`kind`, `config`}.

    It is None for another's.

    Raises:
        UserError: it cannot be read, or it is damaged.
    """
    if not Path(file).is_dir() and Path(file).suffix != ".safetensors":
        return None
    try:
        if Path(file).is_dir():
            place = Path(file) / CONFIG
            config = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else None
            content = config.get(KEY) if isinstance(config, dict) else None
            # Beside diffusers' own config.json, which it wants to itself.
            if content is None and (Path(file) / VAE).is_file():
                content = json.loads(metadata_of(Path(file) / VAE).get(KEY, "null"))
        else:
            content = json.loads(metadata_of(file).get(KEY, "null"))
    except PermissionError as error:
        raise UserError(f"cannot read the weights {file}: {UNREADABLE}.") from error
    except OSError as error:
        raise UserError(f"cannot read the weights {file}: {error.strerror or error}.") from error
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise UserError(
            f"the weights {file} are damaged or no safetensors "
            f"{'folder' if Path(file).is_dir() else 'file'} ({error}); fetch or train them again."
        ) from error
    if content is not None and not (
        isinstance(content, dict)
        and {"kind", "config"} <= content.keys()
        and isinstance(content["config"], dict)
    ):
        raise UserError(
            f"the weights {file} have no valid `{KEY}` header; train or export them again."
        )
    return content


def read_weights(path: str | Path, kind: str) -> tuple[dict, dict]:
    """The config and the tensors of a weight file, of a folder, or of `owner/name` on the hub.

    Raises:
        UserError: it is missing, truncated, of another format, or holds another kind of model.
    """
    file = located(path)
    own = header(file)
    if own is None and header(file / kind):
        raise UserError(f"the folder {file} is no {kind}'s; did you mean {file / kind}?")
    if own is None and file.is_dir():
        raise UserError(
            f"the folder {file} is none of this project's: it has no {CONFIG} with `{KEY}`. Give "
            "the one that a training ended with, as `weights: FOLDER`, or a .safetensors file."
        )
    if own is None:
        raise UserError(
            f"the weights {file} have no `{KEY}` header, so they were not written by this project; "
            "train or export them with it."
        )
    if own["kind"] != kind:
        raise UserError(
            f"the weights {file} are of the kind {own['kind']}; the kind {kind} is needed here."
        )
    place = safetensors_of(file, own)
    # A file in a layout of diffusers holds the network alone.
    ours = place.name == MODEL or (place == file and "file" not in own)
    return own["config"], {
        ("" if ours else "network.") + name: value for name, value in load_tensors(place).items()
    }


def safetensors_of(place: Path, own: dict) -> Path:
    """The safetensors of a file or folder of this project, whole.

    Arguments:
        own: its `header`. A folder's names the file: one of another format may lie beside it, from
            an earlier export or push.

    Raises:
        UserError: it is not there, or damaged.
    """
    file = (
        place
        if place.is_file()
        else place
        / choice(
            f"the file of weights in {place}",
            own.get("file", UNET if (place / UNET).is_file() else MODEL),
            (MODEL, UNET, VAE),
        )
    )
    if not file.is_file():
        raise UserError(
            f"the folder {place} has no {file.relative_to(place)}; fetch or train it again."
        )
    header(file)  # says what is damaged
    return file
