"""What every sample of a run shall be like: conditions, and the images that they refer to."""

from collections.abc import Callable, Mapping, Sequence

from omegaconf import DictConfig
from torch import Tensor

from sdg.app.reference_files import HELD_OUT, files_of_folder
from sdg.data.conditions import read_conditions
from sdg.data.image import load_image
from sdg.data.image_set import ImageSet
from sdg.data.prompts import escape_prompt, parse_weighted_prompt
from sdg.errors import UserError, choice, integer
from sdg.similarity import Term

__all__ = ["factors_to_name", "reference_images", "requested_conditions"]

HELD_OUT_OFFERS = ("prompt", "reference", "name")


def requested_conditions(
    config: DictConfig, terms: Mapping[str, type[Term]], held_out: ImageSet, guided: bool
) -> tuple[list[dict[str, str]], int]:
    """Every condition of the run, {similarity: as written}, and the number of samples of each.

    Arguments:
        config: of the run.
        terms: the run's similarities; those without a `condition_option` have no condition.
        held_out: the data's held-out part; shapes have captions and classes, a folder has images
            only.
        guided: whether anything must be asked for at all.
    """
    if not terms and guided:
        raise UserError("similarity=[] is empty; name at least one, such as similarity=[text].")
    asking = {kind: term for kind, term in terms.items() if term.condition_option}
    if config.prompt is not None and not any(
        term.condition_option == "prompt" for term in asking.values()
    ):
        raise UserError(
            f"prompt: no similarity of this run reads a sentence; similarity=[{','.join(terms)}] "
            "would have to name one that does, such as text."
        )
    offers = default_conditions(config, asking, held_out)
    given = {
        kind: command_line(kind, config.similarity[kind].get(term.condition_option), term)
        for kind, term in asking.items()
    }
    for kind, value in given.items():
        option = asking[kind].condition_option
        if value is None and option not in HELD_OUT_OFFERS and config.prompts is None:
            raise UserError(
                f"similarity.{kind}.{option} must be given: what samples shall be like, one for "
                "all or a list."
            )
    if not guided and config.prompts is None:
        given = {
            kind: value for kind, value in given.items() if value is not None or kind in offers
        }
    options = {kind: str(term.condition_option) for kind, term in asking.items()}
    return read_conditions(
        given, config.prompts, config.num_samples, config.samples_per_prompt, offers, options
    )


def command_line(kind: str, value, term: type[Term]) -> list[str] | None:
    """The conditions that the command line gives for a similarity, one for all samples or one each.

    It is None where the command line gives none.
    """
    if value is None:
        return None
    words = [str(word) for word in as_list(value)]
    if not term.by_reference:
        return words
    return files_of_folder(f"similarity.{kind}.{term.condition_option}", words)


def as_list(value) -> list:
    return [value] if isinstance(value, (str, int, float)) else list(value)


def default_conditions(
    config: DictConfig, terms: Mapping[str, type[Term]], held_out: ImageSet
) -> dict[str, Callable[[int], str]]:
    """{similarity: function of a sample's number}: the conditions that held-out data gives."""

    def held_out_index(i: int) -> int:
        i += integer("offset", config.offset, 0)
        if i >= len(held_out):
            raise UserError(
                f"this run needs {i + 1} held-out images, but there are {len(held_out)}; lower "
                "num_samples, or raise data.held_out or samples_per_prompt."
            )
        return i

    def caption(i: int) -> str:
        index = held_out_index(i)
        return escape_prompt(
            held_out.caption(index, 0, factors_to_name(config.named, held_out, index))
        )

    offers: dict[str, Callable[[int], str]] = {
        "reference": lambda i: f"{HELD_OUT}{held_out_index(i)}"
    }
    if held_out.has_captions:
        offers["prompt"] = caption
    if held_out.classes:
        offers["name"] = lambda i: escape_prompt(held_out.class_name(held_out_index(i)))
    return {
        kind: offers[term.condition_option]
        for kind, term in terms.items()
        if term.condition_option in offers
    }


def factors_to_name(named, held_out: ImageSet, index: int) -> list[str] | int | None:
    """Which factors a held-out caption names: a list of them, how many, or None for any.

    Arguments:
        named: of the config: `auto` leaves them to the data, null to chance.

    Raises:
        UserError: the data has no such factor, or not so many.
    """
    if not held_out.attributes or named is None:
        return None
    if named == "auto":
        return held_out.prompt_factors(index)
    if named == "all":
        return list(held_out.attributes)
    if isinstance(named, int):
        return integer("named", named, 1, len(held_out.attributes))
    return [choice("named", name, list(held_out.attributes)) for name in as_list(named)]


def reference_images(
    conditions: Sequence[Mapping[str, str]],
    terms: Mapping[str, type[Term]],
    held_out: ImageSet,
    resolution: int,
) -> dict[str, Tensor]:
    """{name: image} of everything that the conditions refer to."""
    names = {
        name: f"similarity.{kind}.{term.condition_option}"
        for condition in conditions
        for kind, term in terms.items()
        if term.by_reference and kind in condition
        for name, _ in parse_weighted_prompt(condition[kind])
    }
    return {
        name: held_out_image(name, held_out)
        if name.startswith(HELD_OUT)
        else load_image(name, resolution, setting=setting)
        for name, setting in names.items()
    }


def held_out_image(name: str, held_out: ImageSet) -> Tensor:
    number = name.removeprefix(HELD_OUT)
    if not number.isdecimal() or int(number) >= len(held_out):
        raise UserError(
            f"there is no reference '{name}': held-out images are numbered from 0 to "
            f"{len(held_out) - 1}."
        )
    return held_out[int(number)]["image"]
