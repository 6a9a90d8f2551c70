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

from sdg.errors import UserError, first_line
from sdg.models.build import check_finite
from sdg.models.clip import CLIP
from sdg.models.model_names import unknown_model
from sdg.models.towers import OWN_HEAD

__all__ = ["clip_by_name"]

CLASS_COUNTS = (1000, 21841)  # of ImageNet: weights with so many outputs end in classes


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
    models = open_clip.list_models()
    is_timm = name not in models and timm.is_model(name)
    if not is_timm and name not in models:
        raise unknown_model(name, models)
    tags = clip_tags(name) if is_timm else open_clip.list_pretrained_tags_by_model(name)
    available = f"published ones are: {', '.join(tags)}" if tags else "none are published"
    if pretrained is None:
        raise UserError(
            f"encoder.name={name} needs weights: encoder.pretrained=FILE, or a tag, to fetch them "
            f"from the hub; {available}."
        )
    before, at, rest = pretrained.partition("@")
    like: str | None = None
    if at and before in tags and not Path(pretrained).expanduser().is_file():
        pretrained, like = rest, before
    file = Path(pretrained).expanduser()
    tag = None if file.is_file() else pretrained
    if tag is not None and tag not in tags:
        raise UserError(
            f"encoder.pretrained={pretrained}: there is no such file, and of {name} no such "
            f"weights; {available}."
        )
    facts_by_tag = {each: published_facts(name, each, is_timm) for each in tags}
    settings = {
        str((statistics(facts), bool(facts.get("quick_gelu")))) for facts in facts_by_tag.values()
    }
    if tag is None and like is None and len(settings) > 1:
        raise UserError(
            f"encoder.pretrained={pretrained}: the published weights of {name} differ in "
            "activation or in how images are normalised, and a file does not tell; say which it "
            f"holds: encoder.pretrained=TAG@{pretrained}; {available}."
        )
    facts = facts_by_tag.get(tag or like or (tags[0] if tags else ""), {})
    clip = CLIP(timm_model(name, facts) if is_timm else open_clip_model(name, facts))
    try:
        if is_timm:
            weights = file if tag is None else download(f"timm/{name}.{tag}", facts)
            load_timm(clip.tower.get_submodule("trunk"), str(weights), weights_only=True)
        else:
            weights = file if tag is None else open_clip.download_pretrained(facts)
            open_clip.load_checkpoint(clip.towers, str(weights), weights_only=True)
    except Exception as error:  # the hub's, the connection's, the file's, the shapes'
        wanted = f"the file {file}" if tag is None else f"the weights {tag}"
        source = "" if tag is None else f" ({address(name, tag, facts, is_timm)})"
        raise UserError(
            f"{wanted} of {name} cannot be had or do not fit it ({type(error).__name__}: "
            f"{first_line(error)}). Offline, fetch the weights elsewhere{source}, as safetensors "
            "or a state dict, and give the file: encoder.pretrained=FILE."
        ) from error
    check_finite(clip, f"{pretrained} of {name}")
    return clip.eval().requires_grad_(False)


def published_facts(name: str, tag: str, is_timm: bool) -> dict[str, Any]:
    """What the library knows of these published weights."""
    facts: dict[str, Any]
    if is_timm:
        facts = timm_config(f"{name}.{tag}").to_dict()  # type: ignore[no-untyped-call]  # timm's
        return facts
    facts = open_clip.get_pretrained_cfg(name, tag)
    return facts


def address(name: str, tag: str, facts: Mapping[str, Any], is_timm: bool) -> str | None:
    """Where these published weights are found."""
    if facts.get("hf_hub_id"):
        return str(facts["hf_hub_id"])
    if is_timm:
        return f"timm/{name}.{tag}"
    return facts.get("hf_hub", "").strip("/") or facts.get("url")


def open_clip_model(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The config of one of open_clip's models, as `CLIP` takes it.

    Arguments:
        facts: what is known of its published weights.
    """
    model = open_clip.get_model_config(name)
    if "multimodal_cfg" in model:
        raise UserError(
            f"encoder.name={name}: its text tower is a decoder, which is not supported."
        )
    model.pop("custom_text", None)
    model["quick_gelu"] = bool(model.get("quick_gelu") or facts.get("quick_gelu"))
    config: dict[str, Any] = model | statistics(facts)
    return config


def timm_model(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The config of one of timm's image towers, without a text tower."""
    tower: Any = timm.create_model(name)
    width = facts.get("num_classes") or tower.num_features
    return {
        "embed_dim": width,
        "vision_cfg": {
            "timm_model_name": name,
            "timm_proj": OWN_HEAD,
            "image_size": tower.default_cfg["input_size"][-1],
        },
        "text_cfg": None,
    } | statistics(facts)


def statistics(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The mean and the deviation of its images, where they are known."""
    return {key: list(facts[key]) for key in ("mean", "std") if key in facts}


def clip_tags(name: str) -> list[str]:
    """Tags of a timm tower's weights that end in a CLIP's embedding.

    Those that were fine-tuned to classes are not among them.
    """
    tags = [listed.partition(".")[2] for listed in timm.list_pretrained(f"{name}.*")]
    embedding = [tag for tag in tags if "_ft_" not in tag]
    return [
        tag for tag in embedding if timm_config(f"{name}.{tag}").num_classes not in CLASS_COUNTS
    ]


def timm_config(name: str) -> PretrainedCfg:
    """What timm knows of weights that it lists, `NAME.TAG`."""
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    return config


def download(hub: str, facts: Mapping[str, Any]) -> str:
    """The file of timm's weights, from the hub or its cache."""
    from huggingface_hub import hf_hub_download

    return hf_hub_download(
        facts.get("hf_hub_id") or hub, facts.get("hf_hub_filename") or "model.safetensors"
    )
