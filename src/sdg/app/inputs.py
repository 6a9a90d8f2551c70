"""Files and words that a command names, looked at before anything heavy is imported.

What is not seen here is seen when it is read. Options of the user's own classes are theirs: only
the framework's own are known to name files.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdg.app.input_words import check_classes, check_words
from sdg.app.opening import group_choices
from sdg.app.reference_files import check_image, check_references
from sdg.data.image_files import images_root
from sdg.data.prompts import read_table
from sdg.errors import UserError
from sdg.io.autoencoder_file import check_autoencoder_file
from sdg.io.hub import Absent, is_hub_name, located
from sdg.io.published_files import inception_path
from sdg.models.model_names import check_model_name

__all__ = ["check_encoder_name", "check_inputs", "check_root", "check_training_inputs"]

FOLDER = "sdg.data.folder_data.FolderData"
PORTRAITS = "sdg.data.portraits_data.PortraitsData"
SHIPPED_DENOISER, SHIPPED_STYLE = "weights/portraits/denoiser.safetensors", "avataaars"


def check_root(data: Mapping[str, Any]) -> None:
    """Refuses a folder of the user's own images that is not there, or holds none.

    Raises:
        UserError: it is such.
    """
    if data.get("_target_") == FOLDER:
        images_root(data["root"])


def check_inputs(config: Mapping[str, Any]) -> None:
    """Refuses a file of a sampling run that is not there, and a word that its CLIP does not know.

    Arguments:
        config: plain, and each setting of it of the right kind.

    Raises:
        UserError: there is one.
    """
    columns = {}
    if config["prompts"] is not None and config["prompt"] is None:  # both are refused together
        columns = read_table(Path(config["prompts"]).expanduser())
    if config["init_image"] is not None:
        check_image(config["init_image"], "init_image")
    check_references(config["similarity"], columns)
    guided = config["guidance"].get("gamma") != 0
    check_there(weights(config, guided))
    check_style(config["data"], config["denoiser"])
    if guided:
        check_words(config, columns)
        check_classes(config, columns)
    check_measuring(config, guided)


def check_style(data: Mapping[str, Any], denoiser: Mapping[str, Any]) -> None:
    """Refuses a style of portraits that the shipped denoiser does not draw.

    Raises:
        UserError: it is such, or there is no such style.
    """
    if data.get("_target_") != PORTRAITS or denoiser.get("weights") != SHIPPED_DENOISER:
        return
    style = data["style"]
    if style in (SHIPPED_STYLE, [SHIPPED_STYLE]):
        return
    from sdg.data.portrait_styles import portrait_style

    portrait_style(style)
    words = style if isinstance(style, str) else f"[{','.join(style)}]"
    raise UserError(
        f"data.style={words}: the shipped weights draw {SHIPPED_STYLE} alone; train on this style "
        "first, with train.py encoder=none, encoder=clip and encoder=clip_noisy, and name what "
        "they leave: denoiser.weights=, encoder.clip=, encoder.weights=."
    )


def check_training_inputs(config: Mapping[str, Any]) -> None:
    """Refuses weights that a training begins from, or learns beside, and that are not there.

    Arguments:
        config: plain.

    Raises:
        UserError: there are some.
    """
    files = {f"denoiser.{key}": config["denoiser"].get(key) for key in ("path", "autoencoder")}
    module = config["module"]
    if str(module.get("_target_", "sdg.")).startswith("sdg."):
        files |= {f"module.{key}": module.get(key) for key in ("denoiser", "autoencoder")}
    check_there((key, path) for key, path in files.items() if isinstance(path, str))


def check_encoder_name(encoder: Mapping[str, Any]) -> None:
    """Refuses a CLIP by a name that nobody has.

    Arguments:
        encoder: its options, plain.

    Raises:
        UserError: it is such.
    """
    if str(encoder.get("_target_", "sdg.")).startswith("sdg.") and encoder.get("name") is not None:
        check_model_name(str(encoder["name"]))


def check_there(files: Iterable[tuple[str, str]]) -> None:
    """Refuses the first (setting, file) that is neither here nor a name on the hub.

    Raises:
        Absent: there is one.
        UserError: it may not be read, or is a file in the place of an autoencoder.
    """
    for key, path in files:
        if is_hub_name(path):
            continue
        try:
            place = located(path)
            if key.endswith(".autoencoder"):
                check_autoencoder_file(path, place)
        except Absent as error:
            raise Absent(f"{key}: {error}") from error
        except UserError as error:
            raise UserError(f"{key}: {error}") from error


def check_measuring(config: Mapping[str, Any], guided: bool) -> None:
    """Refuses weights that are to measure and are not there.

    Those that the data would have are left to the run, which may go without them.

    Raises:
        UserError: there are some.
    """
    options = config["eval"]
    if options.get("inception") not in (None, "download"):
        inception_path(options["inception"])
    for name in ("judge", "clip"):
        key, path = f"eval.{name}", options.get(name)
        usual = path == f"weights/{group_choices()['data']}/{name}.safetensors"
        needed = name == "clip" and guided and "_target_" in config["similarity"].get("text", {})
        if not path or usual and not needed or ":" in path:  # a CLIP's NAME:WEIGHTS
            continue
        try:
            check_there([(key, path)])
        except Absent as error:
            raise Absent(f"{error} Or measure without it: {key}=null.") from error


def weights(config: Mapping[str, Any], guided: bool) -> Iterator[tuple[str, str]]:
    """(setting, file) of the weights without which no sample can be drawn."""
    denoiser, encoder = config["denoiser"], config["encoder"]
    if "_target_" not in denoiser:
        for key in ("weights", "path", "autoencoder", "autoguidance"):
            if denoiser.get(key):
                yield f"denoiser.{key}", denoiser[key]
    ours = encoder.get("_target_", "sdg.").startswith("sdg.")
    if guided and ours and encoder.get("name") is None:
        for key in ("weights", "clip"):
            if encoder.get(key):
                yield f"encoder.{key}", encoder[key]
