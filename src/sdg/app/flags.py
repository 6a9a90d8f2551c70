"""Flags of a command line, in Hydra's order, and one line about one that there is not."""

import re
from collections.abc import Iterable
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from sdg.errors import UserError, near

__all__ = ["MULTIRUN", "check_flags", "flags_first", "parsing_error"]

MULTIRUN = ("-m", "--multirun")
# Hydra's flags whose value is the next word.
WITH_VALUE = (
    *("-c", "--cfg", "-p", "--package", "-cd", "--config-dir", "-cn", "--config-name"),
    *("-cp", "--config-path", "--experimental-rerun", "-i", "--info"),
)
UNKNOWN = "unrecognized arguments: "  # these are argparse's words
MISSING = "the following arguments are required: "
CHOICE = re.compile(r"argument [^-:][^:]*: invalid choice: '(.*)' \(choose from (.*)\)")


def flags_first(words: list[str]) -> list[str]:
    """A command line with its flags before its overrides: Hydra takes no other order.

    That for several runs comes first of all.
    """
    multirun = [word for word in words if word in MULTIRUN]
    flags: list[str] = []
    overrides: list[str] = []
    takes_value = False
    for word in words:
        if word in MULTIRUN:
            continue
        if word.startswith("-") or takes_value:
            flags.append(word)
            takes_value = word in WITH_VALUE
        else:
            overrides.append(word)
    return [*multirun, *flags, *overrides]


def check_flags(words: list[str]) -> None:
    """Refuses a flag that Hydra does not know, or one without its value.

    Arguments:
        words: of the command line, without the program.

    Raises:
        UserError: there is one.
    """
    parser = get_args_parser()
    flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{parsing_error(message, flags)} `--help` lists what can be set.")

    parser.error = refuse  # type: ignore[method-assign]  # it prints its usage, which is no help
    parser.parse_args(words)


def parsing_error(message: str, flags: Iterable[str]) -> str:
    """What argparse says of a command line, as a sentence.

    Arguments:
        flags: that there are, beginning with `--`.
    """
    if message.startswith(UNKNOWN):
        word = message.removeprefix(UNKNOWN).split(" ")[0]
        if not word.startswith("-"):
            return f"'{word}' is a word too many."
        name = word.partition("=")[0]
        return f"there is no flag {name}{near(name, flags) or '.'}"
    if message.startswith(MISSING):
        names = message.removeprefix(MISSING).split(", ")
        return f"{' and '.join(name for name in names if name != 'SETTING')} must be given."
    if choice := CHOICE.fullmatch(message):
        commands = re.findall(r"\w+", choice[2])
        hint = near(choice[1], commands) or "."
        return f"there is no command '{choice[1]}'{hint} There are: {', '.join(commands)}."
    return f"{message.removeprefix('argument ')}."
