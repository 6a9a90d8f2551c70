"""CLIPs that others trained, open_clip's and timm's, by name.

Their weights come from a file or, when asked for, from a hub.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm
from timm.models import PretrainedCfg
from timm.models import load_checkpoint as load_timm

from sdg.errors import UserError, choice, first_line
from sdg.models.clip import CLIP
from sdg.models.towers import OWN_HEAD

__all__ = ["clip_by_name"]


def clip_by_name(name: str, pretrained: str | None) -> CLIP:
    """A CLIP with its weights, in eval mode, taking no gradient.

    Arguments:
        name: one of open_clip's models (RN50, ViT-B-16, ViT-B-16-SigLIP, …), or of timm's image
            towers (vit_base_patch16_clip_224, …).
        pretrained: a file of its weights, read without running code; a tag of published ones, such
            as openai, fetched from the hub; or `TAG@FILE`, a file that holds these, where the tags
            differ in what a file does not tell: the activation, and how images are normalised.

    Raises:
        UserError: there is no such model, or no such weights, or they cannot be had, read or used.
    """
    known = open_clip.list_models()
    alone = name not in known and timm.is_model(name)
    if not alone:
        choice("encoder.name", name, known)
    tags = clip_tags(name) if alone else open_clip.list_pretrained_tags_by_model(name)
    published = f"published ones are: {', '.join(tags)}" if tags else "none are published"
    if pretrained is None:
        raise UserError(
            f"encoder.name={name} needs weights: encoder.pretrained=FILE, or a tag, to fetch them "
            f"from the hub; {published}."
        )
    before, at, rest = pretrained.partition("@")
    like: str | None = None
    if at and before in tags and not Path(pretrained).expanduser().is_file():
        pretrained, like = rest, before
    file = Path(pretrained).expanduser()
    if not file.is_file() and pretrained not in tags:
        raise UserError(
            f"encoder.pretrained={pretrained}: there is no such file, and of {name} no such "
            f"weights; {published}."
        )
    tag = None if file.is_file() else pretrained
    facts = {
        each: timm_facts(f"{name}.{each}").to_dict()  # type: ignore[no-untyped-call]  # timm's
        if alone
        else open_clip.get_pretrained_cfg(name, each)
        for each in tags
    }
    if (
        tag is None
        and like is None
        and len({str((pixels(each), bool(each.get("quick_gelu")))) for each in facts.values()}) > 1
    ):
        raise UserError(
            f"encoder.pretrained={pretrained}: the published weights of {name} differ in "
            "activation or in how images are normalised, and a file does not tell; say which it "
            "holds: "
            f"encoder.pretrained=TAG@{pretrained}; {published}."
        )
    told = facts.get(tag or like or (tags[0] if tags else ""), {})
    clip = CLIP(timm_model(name, told) if alone else open_clip_model(name, told))
    try:
        if alone:
            load_timm(
                clip.tower.get_submodule("trunk"),
                str(file if tag is None else fetched(f"timm/{name}.{tag}", told)),
                weights_only=True,
            )
        else:
            open_clip.load_checkpoint(
                clip.towers,
                str(file if tag is None else open_clip.download_pretrained(told)),
                weights_only=True,
            )
    except Exception as error:  # the hub's, the connection's, the file's, the shapes'
        where = f"the file {file}" if tag is None else f"the weights {tag}"
        home = told.get("hf_hub_id") or (
            f"timm/{name}.{tag}" if alone else told.get("hf_hub", "").strip("/") or told.get("url")
        )
        source = "" if tag is None else f" ({home})"
        raise UserError(
            f"{where} of {name} cannot be had or do not fit it ({type(error).__name__}: "
            f"{first_line(error)}). Offline, fetch the weights elsewhere{source}, as safetensors "
            "or a "
            f"state dict, and give the file: encoder.pretrained=FILE."
        ) from error
    return clip.eval().requires_grad_(False)


def open_clip_model(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The config of one of open_clip's models, as `CLIP` takes it.

    Arguments:
        told: what is known of its published weights.
    """
    model = open_clip.get_model_config(name)
    if "multimodal_cfg" in model:
        raise UserError(
            f"encoder.name={name}: its text tower is a decoder, which is not supported."
        )
    model.pop("custom_text", None)
    model["quick_gelu"] = bool(model.get("quick_gelu") or told.get("quick_gelu"))
    config: dict[str, Any] = model | pixels(told)
    return config


def timm_model(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The config of one of timm's image towers, without a text tower."""
    made: Any = timm.create_model(name)
    width = told.get("num_classes") or made.num_features
    return {
        "embed_dim": width,
        "vision_cfg": {
            "timm_model_name": name,
            "timm_proj": OWN_HEAD,
            "image_size": made.default_cfg["input_size"][-1],
        },
        "text_cfg": None,
    } | pixels(told)


def pixels(told: Mapping[str, Any]) -> dict[str, Any]:
    """The mean and the deviation of its images, where they are known."""
    return {key: list(told[key]) for key in ("mean", "std") if key in told}


def clip_tags(name: str) -> list[str]:
    """Tags of a timm tower's weights that end in a CLIP's embedding.

    Those that were fine-tuned to classes are not among them.
    """
    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{name}.*")]
    return [
        tag
        for tag in tags
        if "_ft_" not in tag and timm_facts(f"{name}.{tag}").num_classes not in (1000, 21841)
    ]


def timm_facts(name: str) -> PretrainedCfg:
    """What timm knows of weights that it lists, `NAME.TAG`."""
    facts = timm.get_pretrained_cfg(name)
    assert facts is not None
    return facts


def fetched(hub: str, told: Mapping[str, Any]) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(
        told.get("hf_hub_id") or hub, told.get("hf_hub_filename") or "model.safetensors"
    )
