"""From a weight file to a denoiser."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, integer
from sdg.io.hub import located
from sdg.io.pretrained import ASKED, PROMPTS, DenoiserFile, is_foreign, open_denoiser
from sdg.io.text_folder import is_text_folder
from sdg.models.build import build_denoiser, frozen
from sdg.models.class_labels import class_count
from sdg.models.text_unet import PROMPT, TextUNet

__all__ = ["denoiser_from", "load_denoiser", "load_weaker"]


def denoiser_from(file: DenoiserFile) -> Denoiser:
    """A denoiser as some file has it, in eval mode, taking no gradient."""
    return frozen(lambda: build_denoiser(**file.config), file.tensors, file.path)


def load_denoiser(
    path: str | Path,
    label: int | None = None,
    asked: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Denoiser:
    """The denoiser of a weight file, of this project or another.

    Arguments:
        path, asked: as of `open_denoiser`.
        label: the class, of a class-conditional one. A network of text has its prompt instead.
        tell: is given a line for each setting: its value and where that comes from.

    Raises:
        UserError: it cannot be opened, or its class is missing, or there are none, or not so many.
    """
    file = open_denoiser(path, asked)
    for name, (value, source) in file.sources.items():
        tell(f"denoiser: {name} = {value}   [{source}]")
    denoiser = denoiser_from(file)
    if isinstance(denoiser.network, TextUNet):
        if label is not None:
            raise UserError(
                f"label={label}: {path} is conditioned on a prompt, and has no classes.", "label"
            )
        denoiser.label = PROMPT
        return denoiser
    if classes := class_count(denoiser.network):
        denoiser.label = integer("label", label, 0, classes - 1)
    elif label is not None:
        raise UserError(
            f"label={label}: {path} holds an unconditional denoiser, without classes.", "label"
        )
    return denoiser


def load_weaker(path: str | Path, label: int | None, asked: Mapping[str, Any]) -> Denoiser:
    """The denoiser of a weight file that another one is guided away from.

    Arguments:
        path: as of `open_denoiser`.
        label: of the guided denoiser; a weaker one without classes does without it.
        asked: of the guided one's file, for a file that does not hold all settings either; and its
            prompts, for another network of text.

    Raises:
        UserError: it cannot be opened, or has no such class.
    """
    own = ASKED if is_foreign(path) else PROMPTS if is_text_folder(located(path)) else ()
    denoiser = denoiser_from(open_denoiser(path, {n: v for n, v in asked.items() if n in own}))
    if isinstance(denoiser.network, TextUNet):
        denoiser.label = PROMPT
        return denoiser
    if classes := class_count(denoiser.network):
        if label is None or label >= classes:
            raise UserError(
                f"autoguidance: {path} has {classes} classes, and the denoiser that it guides has "
                f"label={'null' if label is None else label}; take one of the same classes.",
                "autoguidance",
            )
        denoiser.label = label
    return denoiser
