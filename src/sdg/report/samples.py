"""What a page says of a sample."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sdg.data.captions import wording
from sdg.data.prompts import parse_weighted_prompt, primary_prompt
from sdg.report.rows import Sample

__all__ = [
    "COMMAND",
    "attributes",
    "caption",
    "condition",
    "condition_title",
    "identity",
    "in_words",
    "label_of_reference",
    "miss",
    "reference_in_words",
    "shows_prompt",
    "strength",
]

COMMAND = "command.txt"  # in a run's folder: what draws its samples


def attributes(metrics: Mapping) -> list[str]:
    """The attributes that a run's samples were read for."""
    return [name for name in metrics.get("alignment", {}) if name != "all"]


def strength(gamma: float) -> str:
    """γ as a title has it; that of an unguided run says that nothing asked for was used."""
    return f"γ = {gamma:g}" if gamma else "unguided (γ = 0): what was asked for has not steered"


def condition(sample: Sample) -> str:
    """What a sample was asked to be like, in few words."""
    return in_words(sample.conditions, sample.references)


def condition_title(sample: Sample) -> str:
    """The same as a title: a sentence in quotes, anything else with a capital letter."""
    words = condition(sample)
    if words == sample.get("prompt"):
        return f"“{words}”"
    return words[:1].upper() + words[1:]


def in_words(condition: Mapping[str, str], by_reference: Collection[str] = ()) -> str:
    """A condition {kind: prompt} in few words: "a smiling person + style of 3.png".

    Arguments:
        by_reference: the kinds that refer to pictures.
    """
    parts = []
    for kind, prompt in condition.items():
        if kind in by_reference:
            parts += [reference_in_words(kind, *part) for part in parse_weighted_prompt(prompt)]
        else:
            parts.append(prompt)
    return " + ".join(parts)


def reference_in_words(kind: str, name: str, weight: float = 1.0) -> str:
    """One picture that a sample refers to: "style of 3.png × 0.5"."""
    return f"{kind} of {Path(name).name}" + ("" if weight == 1 else f" × {weight:g}")


def shows_prompt(sample: Mapping) -> bool | None:
    """Whether a sample shows its prompt; None where that was not read.

    It does when it has all named attributes and, where that is measured, no visible flaw.
    """
    value = sample.get("shows") or sample.get("all")
    return None if value in (None, "") else value == "1"


def miss(sample: Mapping) -> str:
    """What a sample misses, in few words: "hair: bob wanted, read as curly", or a flaw."""
    if shows_prompt(sample) is not False:
        return ""
    names = sample.get("missed", "").split()
    wanted = sample.get("missed_values", "").split(", ")
    if len(wanted) != len(names):  # an earlier run's table
        wanted = [""] * len(names)
    lacking = [lacks(sample, name, value) for name, value in zip(names, wanted, strict=True)]
    return "; ".join(lacking) or "visible flaw"


def lacks(sample: Mapping, name: str, wanted: str) -> str:
    """Of an attribute, what was read beside what was wanted."""
    words, read = name.replace("_", " "), value_of(sample, name)
    if not wanted:
        return words
    found = f"read as {read}" if read else "none read"
    return f"{words}: {wording(sample.get('prompt', ''), wanted)} wanted, {found}"


def value_of(sample: Mapping, name: str) -> str:
    """What was read of an attribute, in the prompt's own word where it has one; "" for nothing."""
    return wording(sample.get("prompt", ""), sample.get(name, ""))


def caption(sample: Sample, names: Sequence[str]) -> str:
    """What a sample was asked for, what it misses, and what was read off it.

    Arguments:
        names: of the attributes that were read.
    """
    parts = [condition(sample)]
    if lacking := miss(sample):
        parts.append(f"✗ misses: {lacking}")
    values = [
        f"{name.replace('_', ' ')} {value_of(sample, name)}" for name in names if sample.get(name)
    ]
    if values:
        parts.append(f"read off the picture: {', '.join(values)}")
    return " | ".join([*parts, identity(sample)])


def identity(sample: Mapping) -> str:
    """Which sample it is."""
    return f"sample {sample['index']}, seed {sample['seed']}"


def label_of_reference(sample: Sample, kind: str) -> str:
    """What the picture that a sample refers to is: "style of 3.png"."""
    return reference_in_words(kind, primary_prompt(sample.conditions[kind]))
