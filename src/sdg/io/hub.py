"""The Hugging Face hub, where it is asked for: models come from there, folders go there."""

import re
from functools import partial
from pathlib import Path

from sdg.errors import UserError, first_line
from sdg.io.shipped import on_this_machine, program

__all__ = ["Absent", "is_hub_name", "located", "push"]

NAME = re.compile(
    r"\w[\w.-]*/[\w.-]+(?<!\.safetensors)(?<!\.pt)(?<!\.pth)(?<!\.bin)(?<!\.ckpt)(@[\w./-]+)?$"
)
INDEX = "model_index.json"  # of a whole pipeline of diffusers
PUSHED = ("*.json", "*.safetensors", "*.md", "captions.txt", "tokenizer*/merges.txt")
FETCHED = (*PUSHED, "*.bin")
# Of Stable Diffusion what is read here: other variants, pickles and single files are as large.
TEXT_FETCHED = (
    *("*.json", "*.md", "tokenizer*/*", "text_encoder*/model*.safetensors"),
    *("unet/diffusion_pytorch_model*.safetensors", "vae/diffusion_pytorch_model*.safetensors"),
)
TEXT_LEFT_OUT = ("*.fp16*", "*non_ema*", "*openvino*", "*flax*", "safety_checker/*")


class Absent(UserError):
    """There are no weights at a path."""


def is_hub_name(path: str | Path) -> bool:
    """Whether this is nothing of this machine, and could be the name of something on the hub.

    Of a path into a folder that is here, a revision says so: `owner/name@main`.
    """
    name = NAME.match(str(path))
    if name is None or on_this_machine(path) is not None:
        return False
    return bool(name[1] or not Path(path).parent.is_dir())


def located(path: str | Path) -> Path:
    """A file or folder of this machine, of the shipped weights, or of the hub.

    `weights/portraits/clip.safetensors` is found in the current folder, else among the shipped.
    The hub's, `owner/name` or `owner/name@revision`, comes out of its cache or is fetched into it.

    Raises:
        Absent: nothing is there.
        UserError: it could not be fetched, or is a pipe or a device, which may never end.
    """
    if not is_hub_name(path):
        if (place := on_this_machine(path)) is not None:
            if not place.is_file() and not place.is_dir():
                raise UserError(f"{path} is neither a file nor a folder, but a pipe or a device.")
            return place
        hint = f" If {path} is a name on the hub, say {path}@main." if NAME.match(str(path)) else ""
        raise Absent(
            f"no weights at {path}; train them (`{program('train')} --help` lists how) or set "
            f"the path of a file or folder that exists.{hint}"
        )
    from huggingface_hub import snapshot_download

    name, _, revision = str(path).partition("@")
    fetch = partial(snapshot_download, name, revision=revision or None)
    try:
        if is_text_index(Path(fetch(allow_patterns=[INDEX])) / INDEX):
            patterns, left_out = list(TEXT_FETCHED), list(TEXT_LEFT_OUT)
            return Path(fetch(allow_patterns=patterns, ignore_patterns=left_out))
        return Path(fetch(allow_patterns=list(FETCHED)))
    except Exception as error:  # the hub's, the connection's, the cache's
        raise UserError(
            f"there is no file or folder {path}, and no such model could be fetched from the hub "
            f"({type(error).__name__}). Offline, fetch it elsewhere "
            f"(hf download {name}) and give its folder instead."
        ) from error


def is_text_index(file: Path) -> bool:
    """Whether an index of diffusers' pipelines names the network of a Stable Diffusion."""
    return file.is_file() and '"UNet2DConditionModel"' in file.read_text(encoding="utf-8")


def push(folder: str | Path, name: str, private: bool = False) -> str:
    """Uploads a folder's weights, configs and card to the hub's `owner/name`.

    That is made if it is not there yet.

    Returns:
        the address of the upload.

    Raises:
        UserError: it could not be uploaded, or would be for all to see though it is `private`.
    """
    from huggingface_hub import HfApi

    if not NAME.fullmatch(name) or "@" in name:
        raise UserError(f"{name} is no name for a model on the hub: owner/name is.")
    try:
        hub = HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        if private and not hub.repo_info(name).private:  # it was there already
            raise UserError(
                f"{name} is there already and public, so nothing was pushed; make it private in "
                "its settings, or choose another name."
            )
        return str(
            hub.upload_folder(
                repo_id=name,
                folder_path=str(folder),
                allow_patterns=list(PUSHED),
                commit_message="Weights, config and card",
            )
        )
    except UserError:
        raise
    except Exception as error:  # the hub's, the connection's
        raise UserError(
            f"{folder} could not be pushed to {name} ({type(error).__name__}: "
            f"{first_line(error)}). Is the hub within reach? `hf auth login` logs in, `hf auth "
            "whoami` says as whom."
        ) from error
