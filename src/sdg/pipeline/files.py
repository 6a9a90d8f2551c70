"""A pipeline as a folder: `pipeline.json`, and a file for each part."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver, EtaSampler, Heun
from sdg.errors import UserError, choice
from sdg.io.diffusers_autoencoder import autoencoder_folder
from sdg.io.diffusers_folder import MODEL_INDEX
from sdg.io.files import regular, write_whole
from sdg.io.hub import located
from sdg.io.shipped import INDEX, shipped, shipped_names
from sdg.io.weights import header, save
from sdg.models.autoencoder import Autoencoder
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.glide import GlideTextEncoder
from sdg.models.guided import guided_denoiser, refuse_alone
from sdg.models.noisy import NoisyEncoder
from sdg.models.registry import from_pretrained, load_autoencoder, load_denoiser
from sdg.models.text_unet import TextUNet
from sdg.pipeline.argument_checks import checked_path

if TYPE_CHECKING:
    from sdg.pipeline.pipeline import Pipeline

__all__ = ["load_parts", "pipeline_folder", "save_parts"]

SAMPLERS: dict[str, type[Sampler]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "dpm_solver": DPMSolver,
    "heun": Heun,
}
KINDS = {
    NoisyEncoder: "clip_noisy",
    CLIP: "clip",
    GlideTextEncoder: "clip_text",
    NoisyClassifier: "classifier_noisy",
    Autoencoder: "autoencoder",
}
CAPTIONS = "captions.txt"


def pipeline_folder(path: str | Path) -> Path:
    """The folder of a pipeline, ours or diffusers': of this machine, shipped, or on the hub.

    Arguments:
        path: the folder; a name of shipped weights; `owner/name` or `owner/name@revision`, which
            is fetched.

    Raises:
        UserError: there is none, or it holds no pipeline.
    """
    folder = checked_path("path", path)
    name = str(path)
    if name in shipped_names() and not (folder / INDEX).is_file():
        folder = shipped(name)  # a folder of that name may hold anything else
    elif name in shipped_names():
        warnings.warn(
            f"path: {name} is the folder {folder.resolve()}, not the shipped weights of that name.",
            stacklevel=3,
        )
    elif not folder.exists():
        # A name without a slash can only be one of the shipped.
        folder = located(path) if "/" in name else shipped(name)
    of_diffusers = (folder / MODEL_INDEX).is_file() and header(folder) is None
    if not of_diffusers and not (folder / INDEX).is_file():
        raise UserError(
            f"{path} has no {INDEX}, so it is no whole pipeline; sdg.from_pretrained opens a part. "
            f"Shipped pipelines: {', '.join(shipped_names())}."
        )
    return folder


def load_parts(
    folder: Path,
    label: int | None = None,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    guidance_scale: float | None = None,
) -> dict[str, Any]:
    """What `Pipeline` takes, from such a folder.

    Arguments:
        label: the class of a class-conditional denoiser; None takes what `pipeline.json` says.
        prompt, negative_prompt: of a denoiser of text.
        guidance_scale: of classifier-free guidance; None is none.

    Raises:
        UserError: `pipeline.json` is damaged, or a file that it names is missing; or a diffusers
            folder has a part that is not known here.
    """
    if guidance_scale is None:
        refuse_alone("negative_prompt", negative_prompt, "guidance_scale")
    prompts = {"prompt": prompt, "negative_prompt": negative_prompt}

    def denoiser(place: Path, own: int | None = None) -> Denoiser:
        loaded = load_denoiser(place, own if label is None else label, prompts)
        return guided_denoiser(loaded, guidance_scale)

    if not (folder / INDEX).is_file():
        kept = autoencoder_folder(folder)
        autoencoder = None if kept is None else load_autoencoder(kept)
        return {"denoiser": denoiser(folder), "autoencoder": autoencoder}
    try:
        return stored_parts(folder, denoiser)
    except UserError:
        raise
    except (OSError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{folder / INDEX} is damaged, or names what is not there "
            f"({type(error).__name__}: {error})."
        ) from error


def stored_parts(folder: Path, denoiser: Callable[[Path, int | None], Denoiser]) -> dict[str, Any]:
    """What `save_parts` wrote.

    Arguments:
        denoiser: opens it, from its file and the class that it had.
    """
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    parts: dict[str, Any] = {
        "denoiser": denoiser(file_in(folder, index["denoiser"]), index.get("label")),
        "gamma": index["gamma"],
        "interval": index.get("interval", (0.0, 1.0)),
        "resolution": index.get("resolution"),
    }
    options = {name: index[name] for name in ("steps", "spacing", "eta") if name in index}
    cls = SAMPLERS[choice("its sampler", index.get("sampler", "ddpm"), list(SAMPLERS))]
    parts["sampler"] = cls(**options)
    # A clean CLIP may be both.
    models = {name: None for name in (index.get("encoder"), index.get("clip")) if name}
    loaded: dict[str, Any] = {name: from_pretrained(file_in(folder, name)) for name in models}
    for role in ("encoder", "clip"):
        parts[role] = loaded.get(index.get(role))
    if name := index.get("autoencoder"):
        parts["autoencoder"] = load_autoencoder(file_in(folder, name))
    if name := index.get("negative_captions"):
        captions = regular(file_in(folder, name)).read_text(encoding="utf-8")
        parts["negative_captions"] = captions.removesuffix("\n").split("\n")
    return parts


def file_in(folder: Path, name: str) -> Path:
    """A file of the folder.

    Raises:
        UserError: the name leads out of it.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{folder / INDEX} names {name}, which lies outside of its folder.")
    return folder / name


def save_parts(pipe: "Pipeline", folder: Path) -> Path:
    """Writes a pipeline as `load_parts` reads it.

    Raises:
        UserError: a part has no config that rebuilds it, or is of a class of one's own.
    """
    index: dict[str, Any] = {"gamma": pipe.gamma, "interval": list(pipe.interval)}
    index |= sampler_options(pipe.sampler)
    check_ours(pipe.denoiser)
    if len(pipe.denoiser.passes) > 1:
        raise UserError(
            "pipeline.json does not hold classifier-free guidance or autoguidance; store a "
            "pipeline with the plain denoiser, and guide that after loading."
        )
    if pipe.denoiser.config is None:
        raise UserError(
            "this denoiser was put together by hand and has no config that rebuilds it; "
            "sdg.models.build.build_denoiser makes one that has."
        )
    parts: dict[str, Any] = {"denoiser": ("denoiser", pipe.denoiser)}
    for role in ("encoder", "clip", "autoencoder"):
        part = getattr(pipe, role)
        if part is not None:
            parts[role] = (stored_kind(part), part)
    if pipe.denoiser.label is not None and not isinstance(pipe.denoiser.network, TextUNet):
        index["label"] = pipe.denoiser.label
    drawn = pipe.denoiser.resolution
    if drawn is None or pipe.resolution != drawn * pipe.factor:
        index["resolution"] = pipe.resolution
    make(folder)
    for role, (kind, model) in parts.items():
        index[role] = f"{kind}.safetensors"
        save(folder / index[role], kind, model, model.config)
    if pipe.negative_captions:
        index["negative_captions"] = CAPTIONS
        write_whole(folder / CAPTIONS, "\n".join(pipe.negative_captions) + "\n")
    write_whole(folder / INDEX, json.dumps(index, indent=2) + "\n")
    return folder


def make(folder: Path) -> None:
    """Makes the folder.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}.") from error


def sampler_options(sampler: Sampler) -> dict[str, Any]:
    """What of `pipeline.json` makes the sampler again.

    Raises:
        UserError: it is of a class of one's own.
    """
    for name, cls in SAMPLERS.items():
        if type(sampler) is cls:
            options = {"sampler": name, "steps": sampler.steps, "spacing": sampler.spacing}
            return options | ({"eta": sampler.eta} if issubclass(cls, EtaSampler) else {})
    raise UserError(
        f"the sampler {type(sampler).__name__} is of a class of your own, which pipeline.json "
        "cannot name; set pipe.sampler to DDPM, DDIM, DPMSolver or Heun, and give yours to a call."
    )


def stored_kind(part: object) -> str:
    """The kind of weights that a part is stored as.

    Raises:
        UserError: it is of a class of one's own.
    """
    check_ours(part)
    for cls, kind in KINDS.items():
        if isinstance(part, cls):
            return kind
    raise TypeError(f"there is no kind of weights for {type(part).__name__}")


def check_ours(part: object) -> None:
    """Refuses a part that would be read again as one of our classes, which it is not.

    Raises:
        UserError: it is of a class of one's own.
    """
    cls = type(part)
    if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
        raise UserError(
            f"{cls.__name__} is of a class of your own, and cannot be stored with a pipeline."
        )
