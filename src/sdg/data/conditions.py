"""The conditions of a run: from the command line, from a file, or from held-out data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sdg.data.prompts import read_table
from sdg.errors import UserError, integer, near

__all__ = ["read_conditions"]

SAMPLES = 16  # of a run that says nothing of their number


def read_conditions(
    given: Mapping[str, Sequence[str] | None],
    table: str | None,
    num_samples: int | None = None,
    samples_per_prompt: int | None = None,
    held_out: Mapping[str, Callable[[int], str]] | None = None,
    options: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, str]], int]:
    """What the run's samples shall be like, and the number of samples of each.

    Arguments:
        given: {similarity: its conditions on the command line, one for all or one each; None leaves
            it to the table or to held-out data}.
        table: a text file, a sentence a line (# starts a comment), or a .csv whose columns are
            `prompt` or similarities.
        num_samples: of the run, at least; by default 16, or with several conditions one of each.
        samples_per_prompt: samples of each; by default as many as make `num_samples`, of held-out
            conditions 1. It goes before `num_samples`.
        held_out: {similarity: function of a number that gives held-out data's own condition}, for
            similarities that have none otherwise.
        options: {similarity: the option that says its condition}, by default `reference`.

    Raises:
        UserError: a number is out of range, the table cannot be read, a condition is empty or given
            twice, similarities are given different numbers of conditions, or one has no condition
            and held-out data gives none.
    """
    total = SAMPLES if num_samples is None else integer("num_samples", num_samples, 1)
    each = (
        None if samples_per_prompt is None else integer("samples_per_prompt", samples_per_prompt, 1)
    )
    chosen = {name: list(values) for name, values in given.items() if values is not None}
    if table is not None:
        chosen |= table_conditions(table, given, chosen)
    check_conditions(chosen, held_out or {})
    if not given:  # all samples are asked for the same: nothing
        return [{}], -(-total // (each or 1)) * (each or 1)
    count = condition_count(chosen)
    if count is None:
        count = -(-total // (each or 1))
    if each is None:
        one_each = not chosen or (count > 1 and num_samples is None)
        each = 1 if one_each else -(-total // count)
    columns = []
    for k, name in enumerate(given):
        if name in chosen:
            values = chosen[name]
            columns.append(values if len(values) > 1 else values * count)
        else:
            # Each similarity that is left to held-out data takes another part of it, so that a
            # sentence and a style do not come from one image.
            from_held_out = held_out_condition(
                name, held_out or {}, (options or {}).get(name, "reference")
            )
            columns.append([from_held_out(i + k * count) for i in range(count)])
    rows = zip(*columns, strict=True)
    return [dict(zip(given, row, strict=True)) for row in rows], each


def table_conditions(
    table: str, given: Mapping[str, object], chosen: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """{similarity: its conditions} of a file.

    Arguments:
        given: the similarities of the run.
        chosen: what the command line has already.

    Raises:
        UserError: the file cannot be read, or a column of it is empty, unknown or given twice.
    """
    columns = read_table(Path(table).expanduser())
    for name, values in columns.items():
        if name not in given:
            raise UserError(
                f"prompts: {table} has a column '{name}', which no similarity of this run "
                f"reads{near(name, given) or '.'} This run has similarity=[{','.join(given)}]."
            )
        if name in chosen:
            raise UserError(
                f"similarity.{name} is given twice: on the command line and in {table}."
            )
        for row, value in enumerate(values, 1):
            if not value.strip():
                raise UserError(f"prompts: {table} says nothing for {name} in row {row}.")
    return columns


def check_conditions(
    chosen: Mapping[str, Sequence[str]], held_out: Mapping[str, Callable[[int], str]]
) -> None:
    """Refuses an empty list of conditions, and an empty condition.

    Arguments:
        held_out: as of `read_conditions`; its first sentence is an example.

    Raises:
        UserError: there is one.
    """
    for name, values in chosen.items():
        if not values:
            setting = "prompt" if name == "text" else f"similarity.{name}"
            raise UserError(f"{setting}: the list is empty.")
        if all(value.strip() for value in values):
            continue
        if name == "text":
            example = f', such as prompt="{held_out[name](0)}"' if name in held_out else ""
            raise UserError(f"prompt is empty; write what the images shall show{example}.")
        raise UserError(f"similarity.{name}: nothing is named.")


def condition_count(chosen: Mapping[str, Sequence[str]]) -> int | None:
    """The number of conditions; None where none are chosen.

    Raises:
        UserError: similarities have different numbers of them.
    """
    counts = {len(values) for values in chosen.values() if len(values) > 1}
    if len(counts) > 1:
        raise UserError(
            "the similarities are given "
            + ", ".join(f"{len(values)} of {name}" for name, values in chosen.items())
            + "; give one of each, or equally many."
        )
    if counts:
        return counts.pop()
    return 1 if chosen else None


# What a data set has none of, and a word for one, by the option that would say it.
NONE_HELD_OUT = {
    "prompt": ("captions", '"…"'),
    "name": ("classes", "CLASS"),
    "reference": ("images", "FILE"),
}


def held_out_condition(
    name: str, held_out: Mapping[str, Callable[[int], str]], option: str
) -> Callable[[int], str]:
    """Held-out data's own conditions for a similarity, by number.

    Raises:
        UserError: it has none.
    """
    if name not in held_out:
        what, word = NONE_HELD_OUT.get(option, ("conditions", "…"))
        how = f"similarity.{name}.{option}={word}"
        if name == "text":
            how = (
                f"prompt={word} or prompts=FILE, or if its images have captions, data.captions=true"
            )
        raise UserError(f"this data has no held-out {what} to draw: say what with {how}.")
    return held_out[name]
