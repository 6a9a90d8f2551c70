"""From the config's similarities to the terms of sim, and to what every sample shall be like."""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from sdg.app.naming import chosen_similarities
from sdg.data.image import image_files, load_image
from sdg.data.prompts import escape_prompt, parse_weighted_prompt, read_conditions, read_table
from sdg.data.requests import Request
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, choice, integer
from sdg.io.shipped import on_this_machine
from sdg.models.noisy import NoisyEncoder
from sdg.models.registry import chosen_clip, load_classifier, load_clip_noisy, pair, scales
from sdg.models.stages import stages
from sdg.similarity import Class, Content, Similarity, Structure, Style, Term, Text, matched_levels
from sdg.similarity.references import References

__all__ = [
    "requested_conditions",
    "build_similarity",
    "negative_captions",
    "prompted",
    "reference_images",
]

RIVALS = 256  # held-out captions
TERMS = {"text": Text, "content": Content, "structure": Structure, "style": Style, "class": Class}
MAPS = {"structure": Structure, "style": Style}
BY_REFERENCE = [kind for kind, term in TERMS.items() if term.by_reference]
HELD_OUT = "held-out "  # with a number: a reference from the data's held-out part


def requested_conditions(
    config: DictConfig, held_out, guided: bool
) -> tuple[list[dict[str, str]], int]:
    """Every condition of the run, {similarity: as written}, and the number of samples of each.

    Arguments:
        config: of the run.
        held_out: the data's held-out part; shapes have captions and classes, a folder has images
            only.
        guided: whether anything must be asked for at all.
    """
    kinds, offers = chosen_similarities(config), default_conditions(config, held_out)
    if not kinds and guided:
        raise UserError("similarity=[] is empty; name at least one, such as similarity=[text].")
    given = {kind: command_line(kind, config) for kind in kinds}
    if not guided and config.prompts is None:
        given = {kind: said for kind, said in given.items() if said is not None or kind in offers}
    return read_conditions(
        given, config.prompts, config.num_samples, config.samples_per_prompt, offers
    )


def command_line(kind: str, config: DictConfig) -> list[str] | None:
    """What the command line says of a similarity, one for all samples or one each.

    It is None for nothing.
    """
    if kind == "text":
        return None if config.prompt is None else [str(p) for p in listed(config.prompt)]
    value = config.similarity[kind].get("name" if kind == "class" else "reference")
    if value is None or kind == "class":
        return None if value is None else [str(v) for v in listed(value)]
    files = [str(v) for v in listed(value)]
    if len(files) == 1 and Path(files[0]).expanduser().is_dir():
        found = image_files(Path(files[0]).expanduser())
        if not found:
            raise UserError(f"similarity.{kind}.reference: no image in the folder {files[0]}.")
        return [str(file) for file in found]
    return files


def listed(value) -> list:
    return [value] if isinstance(value, (str, int, float)) else list(value)


def default_conditions(config: DictConfig, held_out) -> dict:
    """{similarity: function of a number}: what held-out data offers where nobody said."""

    def within(i: int) -> int:
        i += integer("offset", config.offset, 0)
        if i >= len(held_out):
            raise UserError(
                f"this run needs {i + 1} held-out images, but there are {len(held_out)}; lower "
                "num_samples, or raise data.held_out or samples_per_prompt."
            )
        return i

    offers = {kind: lambda i: f"{HELD_OUT}{within(i)}" for kind in BY_REFERENCE}
    if hasattr(held_out, "caption"):
        offers["text"] = lambda i: escape_prompt(
            held_out.caption(within(i), 0, prompted(config.named, held_out, within(i)))
        )
    if hasattr(held_out, "class_of"):
        offers["class"] = lambda i: escape_prompt(held_out.class_of(within(i)))
    return offers


def prompted(named, held_out, index: int) -> list[str] | int | None:
    """Which factors a held-out caption names: a list of them, how many, or None for any.

    Arguments:
        named: of the config: `auto` leaves them to the data, null to chance.

    Raises:
        UserError: the data has no such factor, or not so many.
    """
    if not hasattr(held_out, "attributes") or named is None:
        return None
    if named == "auto":
        return held_out.prompt_factors(index)
    if named == "all":
        return list(held_out.attributes)
    if isinstance(named, int):
        return integer("named", named, 1, len(held_out.attributes))
    return [choice("named", name, list(held_out.attributes)) for name in listed(named)]


def reference_images(
    requests: Sequence[Request], terms: Sequence[str], held_out, resolution: int
) -> dict[str, Tensor]:
    """{name: image} of everything that the requests refer to."""
    names = {
        name: f"similarity.{term}.reference"
        for request in requests
        for term in terms
        if term in BY_REFERENCE
        for name, _ in parse_weighted_prompt(request.conditions[term])
    }
    return {
        name: held_out_image(name, held_out)
        if name.startswith(HELD_OUT)
        else load_image(name, resolution, setting=setting)
        for name, setting in names.items()
    }


def held_out_image(name: str, held_out) -> Tensor:
    number = name.removeprefix(HELD_OUT)
    if not number.isdecimal() or int(number) >= len(held_out):
        raise UserError(
            f"there is no reference '{name}': held-out images are numbered from 0 to "
            f"{len(held_out) - 1}."
        )
    return held_out[int(number)]["image"]


def build_similarity(
    config: DictConfig,
    denoiser: Denoiser,
    requests: Sequence[Request],
    held_out,
    references: dict[str, Tensor],
    at_clean: bool,
) -> Similarity:
    """sim of the whole run.

    Arguments:
        references: {name: image} of what the requests refer to.
        at_clean: whether it is asked about clean images only, so that the encoder's schedule does
            not matter.

    Raises:
        UserError: the encoder cannot give a similarity that the run names.
    """
    image, text = load_encoders(config)
    if isinstance(image, NoisyEncoder):
        image.attach(denoiser)
    if image.resolution != denoiser.config["resolution"] and not scales(image):
        raise UserError(
            f"the encoder takes {image.resolution} pixels a side, the denoiser draws "
            f"{denoiser.config['resolution']}; fine-tune the encoder at the denoiser's resolution."
        )
    wanted = {
        kind: [parse_weighted_prompt(request.conditions[kind]) for request in requests]
        for kind in chosen_similarities(config)
    }
    terms: dict[str, Term] = {}
    for kind, targets in wanted.items():
        options = config.similarity[kind]
        if text is None and not (kind == "class" and options.form == "classifier"):
            raise UserError(
                f"encoder={config.encoder_name} knows classes only: use similarity=class "
                "similarity.class.form=classifier, or encoder=clip_noisy."
            )
        if kind == "text":
            terms[kind] = Text(
                image,
                text,
                [sentence for condition in targets for sentence, _ in condition],
                options.weight,
                negative_captions(options.rivals, held_out, getattr(image, "calibrated", False)),
            )
        elif kind == "content":
            terms[kind] = Content(image, options.weight, options.noised)
        elif kind in ("structure", "style"):
            there = list(stages(image.tower))
            common = (
                options.weight,
                MAPS[kind].own_stage(there) if options.stages is None else options.stages,
                options.form,
            )
            terms[kind] = (
                Structure(*common) if kind == "structure" else Style(*common, options.statistics)
            )
            for stage in terms[kind].stages:
                choice(f"similarity.{kind}.stages", stage, there)
        else:
            terms[kind] = class_term(config, image, text, held_out)
            terms[kind].targets(targets)  # says at once which class is unknown
    levels = (
        torch.zeros(denoiser.schedule.T, dtype=torch.long)
        if at_clean
        else matched_levels(denoiser.schedule, image.config.get("schedule"))
    )
    return Similarity(image, terms, levels, References(references, denoiser.schedule, config.seed))


def negative_captions(said: str | None, held_out, calibrated: bool = False) -> list[str]:
    """The sentences against which a prompt is weighed.

    Where nothing is said, they are held-out captions for a calibrated encoder and none for others.
    """
    if said is None and not calibrated:
        return []
    if said is None and not hasattr(held_out, "caption"):
        raise UserError(
            "this encoder's log-probabilities are over a bank of captions, and this data has none: "
            "set similarity.text.rivals=FILE, one sentence a line."
        )
    if said is None:
        said = "held_out"
    if said != "held_out":
        key = "similarity.text.rivals"
        file = on_this_machine(str(said)) or Path(str(said)).expanduser()
        found = read_table(file, key)
        if "text" not in found:
            raise UserError(f"{key}: {said} has no column 'prompt'.")
        return found["text"]
    if not hasattr(held_out, "caption"):
        raise UserError(
            "similarity.text.rivals=held_out: this data has no captions; give a file of sentences "
            "instead."
        )
    return [held_out.caption(i, variant=1) for i in range(min(RIVALS, len(held_out)))]


def class_term(config: DictConfig, image, text, held_out) -> Class:
    options = config.similarity["class"]
    choice("similarity.class.form", options.form, ("cosine", "contrastive", "classifier"))
    if options.form == "classifier":
        if not hasattr(image, "classes"):
            raise UserError(
                "similarity.class.form=classifier needs encoder=classifier_noisy, not "
                f"encoder={config.encoder_name}."
            )
        return Class(
            image,
            None,
            {factor: dict.fromkeys(names) for factor, names in image.classes.items()},
            "classifier",
            options.weight,
        )
    if not getattr(held_out, "classes", None):
        raise UserError(
            "this data has no classes; use similarity=[text], or data=folder with "
            "data.labels=folders."
        )
    return Class(image, text, held_out.classes, options.form, options.weight)


def load_encoders(config: DictConfig):
    """The image encoder and the text encoder, None where it has none."""
    name = config.encoder_name
    if name == "clip_noisy":
        image = load_clip_noisy(config.encoder.weights)
        image.checkpointing = choice(
            "encoder.checkpointing", config.encoder.checkpointing, (False, True)
        )
        return pair(image, chosen_clip(config.encoder))
    if name == "clip":
        clip = chosen_clip(config.encoder)
        return clip, clip
    if name == "classifier_noisy":
        return load_classifier(config.encoder.weights), None
    raise UserError(
        f"encoder={name} cannot guide; use encoder=clip_noisy, clip or classifier_noisy, or "
        "guidance.gamma=0 to sample unguided."
    )
