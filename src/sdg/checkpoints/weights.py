"""One weight format: safetensors whose header holds all that rebuilds the model. Reading it never executes code."""

import json
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sdg.errors import UserError

__all__ = ["header", "read", "save"]

KEY = "sdg"


def save(file: str | Path, kind: str, module: nn.Module, config: dict, half: bool = False) -> Path:
    """Writes the module's weights and its `config`, plain JSON, under `kind` ("denoiser", "clip", …).

    Arguments:
        half: store matrices and kernels in float16, half the size; they are read back into float32.
    """
    def stored(value: Tensor) -> Tensor:
        return value.detach().cpu().to(torch.float16 if half and value.ndim > 1 and value.is_floating_point() else value.dtype).contiguous()

    tensors = {name: stored(value) for name, value in module.state_dict().items()}
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(file), {KEY: json.dumps({"kind": kind, "config": config})})
    return Path(file)


def header(file: str | Path) -> dict | None:
    """What this project's safetensors say of themselves, {`kind`, `config`}; None for another's.

    Raises:
        UserError: it cannot be read, or it is damaged.
    """
    try:
        with safetensors.safe_open(str(file), "pt") as handle:
            found = json.loads((handle.metadata() or {}).get(KEY, "null"))
    except OSError as error:
        raise UserError(f"cannot read the weights {file}: {error.strerror or error}.") from error
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"the weights {file} are damaged or no safetensors file ({error}); fetch or train them again.") from error
    if found is not None and not (isinstance(found, dict) and {"kind", "config"} <= found.keys()):
        raise UserError(f"the weights {file} have no valid `{KEY}` header; train or export them again.")
    return found


def read(file: str | Path, kind: str) -> tuple[dict, dict]:
    """The config and the tensors of a weight file.

    Raises:
        UserError: the file is missing, truncated, of another format, or holds another kind of model.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"no weights at {file}; train them (`python train.py --help` lists how) or set the path of a file that exists.")
    said = header(file)
    if said is None:
        raise UserError(f"the weights {file} have no `{KEY}` header, so they were not written by this project; train or export them with it.")
    if said["kind"] != kind:
        raise UserError(f"the weights {file} hold a {said['kind']}, but a {kind} is needed here.")
    return said["config"], load_file(str(file))
