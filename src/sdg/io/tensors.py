"""The one door to the tensors of a file: nothing else in the package reads them.

Reading never runs code.
"""

import pickle
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sdg.errors import UserError
from sdg.io.files import UNREADABLE, regular

# What makes safetensors of a file where its code may run: of a network's pickle, of a checkpoint,
# and of a TorchScript archive. No sign of it means something to a shell within double quotes.
NETWORK = "import pickle; t = pickle.load(open(old, 'rb'))['ema'].state_dict()"
CHECKPOINT = (
    "import torch; c = torch.load(old, weights_only=False); "
    "t = next((c[k] for k in ('ema', 'model_ema1', 'model') if k in c), c)"
)
SCRIPT = "import torch; t = torch.jit.load(old, map_location='cpu').state_dict()"
NAMES = "import sys; old, new = sys.argv[1:]"
SAVE = (
    "from safetensors.torch import save_file; "
    "save_file({k: v.contiguous() for k, v in t.items()}, new)"
)

__all__ = ["load_tensors", "not_finite", "tensor_shapes"]


def load_tensors(file: str | Path) -> Any:
    """What a file of weights holds, on the CPU.

    Of a .safetensors that is {name: tensor}. Any other file is one of `torch.save`, of which
    tensors and plain values are read and nothing else; where it can be, its tensors stay on disk
    until they are asked for.

    Raises:
        UserError: it cannot be read, is damaged, or needs code to be read.
    """
    try:
        regular(file)
        if Path(file).suffix == ".safetensors":
            return load_file(str(file))
        if is_script(file):
            raise pickle.UnpicklingError("a TorchScript archive is code")
        return torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except PermissionError as error:
        raise UserError(f"cannot read the weights {file}: {UNREADABLE}.") from error
    except Exception as error:  # pickle, zip and torch each have errors of their own
        raise UserError(
            f"{file} is no file of weights, or one that needs code to be read, which is never run "
            f"here.{recipe(Path(file)) if isinstance(error, pickle.UnpicklingError) else ''}"
        ) from error


def is_script(file: str | Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with constants of its code."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def recipe(file: Path) -> str:
    """What turns such a file into safetensors elsewhere, as a sentence; nothing of another file."""
    with file.open("rb") as opened:
        if opened.read(2)[:1] != b"\x80" and not zipfile.is_zipfile(file):
            return ""
    load = NETWORK if file.suffix == ".pkl" else CHECKPOINT
    load = SCRIPT if is_script(file) else load
    names = shlex.join([file.name, f"{file.stem}.safetensors"])
    return (
        " If you trust it, run this beside it, where its authors' code can be imported: "
        f'python -c "{NAMES}; {load}; {SAVE}" {names}'
    )


def tensor_shapes(file: str | Path) -> dict[str, list[int]]:
    """The shapes of a .safetensors' tensors, by name; the tensors are not read.

    Raises:
        OSError: it cannot be read.
        safetensors.SafetensorError: it is damaged.
    """
    with safe_open(str(regular(file)), "pt") as handle:
        return {name: handle.get_slice(name).get_shape() for name in handle.keys()}


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that hold a NaN or an infinity."""
    return [
        name
        for name, value in tensors.items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
