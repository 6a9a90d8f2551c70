"""One sentence for an error that the user can mend."""

import errno
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sdg.app.choices import group_files
from sdg.app.config_keys import config_keys, options_in
from sdg.app.error_origin import chain_of, composing, in_own_code, of_lightning
from sdg.app.no_effect import UnknownKey
from sdg.errors import UserError, near
from sdg.models.words import UnknownWord

__all__ = ["explain"]

# What the system says, in whatever error a library wraps it.
DISK_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
RENAMED = {"similarity.text.rivals": "similarity.text.negative_captions"}  # settings of old names
# What Hydra's parser says where a sentence met its grammar.
GRAMMAR_SIGNS = (
    "Ambiguous value",
    "mismatched input",
    "no viable alternative",
    "token recognition error",
    "extraneous input",
    "LexerNoViableAlt",
)


def explain(error: BaseException, conf: Path, config_name: str) -> str | None:
    """One sentence for an error of the user's, None for one of ours."""
    chain = chain_of(error)
    for link in chain:
        if isinstance(link, UnknownWord):
            return f"{str(link).removesuffix('.')}: encoder.clip=FOLDER."
        if isinstance(link, UserError):
            # From a DataLoader's worker it brings that process's traceback along.
            return str(link).rpartition(f"{UserError.__module__}.UserError: ")[2].strip()
        if isinstance(link, UnknownKey):
            return explain_key(link.key, conf, config_name)
    for link in chain:
        if isinstance(link, MissingConfigException):
            group, _, word = str(link.missing_cfg_file).rpartition("/")
            options = sorted({file.stem for file in group_files(group, conf)}) if group else []
            if not options:  # one of Hydra's own, such as hydra/launcher
                listed = re.search(r"Available options in '[^']*':\n(.*)\nConfig", str(link), re.S)
                options = listed[1].split() if listed else []
            if group and options:
                noun = group.rpartition("/")[2]
                return (
                    f"{group}={word}: there is no such {noun}{near(word, options) or '.'} "
                    f"There are: {', '.join(options)}."
                )
    if composing(error) and (choice := wrong_choice(conf)):
        group = choice.partition("=")[0]
        return f"{choice}: what is chosen of {group} must be a name, as in {group}=NAME."
    for link in chain:
        if isinstance(link, InstantiationException) and link.__cause__ is not None:
            if in_own_code(link.__cause__):
                return None
            key = re.search(r"full_key: (\S+)", str(link))
            return f"{key[1] if key else 'config'}: {' '.join(str(link.__cause__).split())}"
    for link in chain:
        if isinstance(link, OverrideParseException):
            return explain_grammar(link.override)
        if isinstance(link, (HydraException, OmegaConfBaseException)):
            return explain_override(str(link), conf, config_name)
    if of_lightning(error):
        return f"trainer: {' '.join(str(error).split())}"
    if killed := re.search(
        r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\) (is killed by signal: \w+|exited "
        r"unexpectedly)",
        str(error),
    ):
        return (
            f"a process that reads data was stopped from outside ({killed[1]}): the whole run was, "
            "or memory ran out; then lower data.num_workers. Checkpoints are kept: resume=true "
            "goes on."
        )
    if any(full in str(link) for link in chain for full in DISK_FULL):
        return (
            "the disk or the quota is full, so what was being written is not kept. Make room; then "
            "the same command goes on with what was finished (a training with resume=true)."
        )
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        text = error.object[max(0, error.start - 40) : error.end + 20]
        return f"a name holds bytes that are no UTF-8, {ascii(text)}; rename the file or folder."
    if isinstance(error, BrokenPipeError) and error.filename is None:
        return (
            "what this program prints goes to a pipe that nobody reads any more, so it ends; the "
            "same command goes on with what was finished (a training with resume=true)."
        )
    if isinstance(error, OSError) and error.filename:
        return (
            f"cannot read or write {error.filename}: {error.strerror}.{elsewhere(error.filename)}"
        )
    if isinstance(error, PermissionError) and error.args:  # a library's own words, such as W&B's
        return " ".join(str(error).split())
    return None


def elsewhere(file: str) -> str:
    """How the results go to another folder, where the file is one of them."""
    hydra: Any = HydraConfig.get() if HydraConfig.initialized() else None
    folder = None if hydra is None else OmegaConf.select(hydra, "runtime.output_dir")
    # Before Hydra has made the folder it is the only one that is written.
    if folder and not Path(file).absolute().is_relative_to(Path(folder).absolute()):
        return ""
    return " hydra.run.dir=FOLDER puts the results elsewhere."


def wrong_choice(conf: Path) -> str | None:
    """The word of the command line that chooses something other than files of a group."""
    for word in sys.argv[1:]:
        group, _, value = word.lstrip("+").partition("=")
        names = value.strip("[]").split(",")
        if (conf / group).is_dir() and not all(re.match("(?!null$)[a-z]", each) for each in names):
            return word
    return None


def explain_override(text: str, conf: Path, config_name: str) -> str:
    if key := re.search(r"Could not override '([^']+)'", text):
        return explain_key(key[1], conf, config_name, new="; put + before a new one")
    if left_out := re.search(r"Key '(\w+)' is not in struct", text):
        group = left_out[1]
        names = ", ".join(file.stem for file in group_files(group, conf))
        if f"~{group}" in sys.argv:
            return (
                f"~{group} leaves out what {config_name}.py needs; choose of it: {group}={names}."
            )
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{missing[1]} must be given: {missing[1]}=…"
    if any(sign in text for sign in GRAMMAR_SIGNS):
        word = re.search(r"for argument '(.*)'", text)
        return explain_grammar(word[1] if word else text.splitlines()[0])
    return " ".join(text.split())


def explain_key(key: str, conf: Path, config_name: str, new: str = "") -> str:
    """Why a dotted key is no setting of the command.

    Arguments:
        new: how to add one, for a key that is like no other.
    """
    if key in RENAMED:
        return f"'{key}' is now called '{RENAMED[key]}'."
    group, _, option = key.partition(".")
    files = group_files(group, conf)
    known = config_keys(conf, config_name)
    others = [file.stem for file in files if option in options_in(file)]
    if others:
        chosen = " or ".join(f"{group}={other}" for other in others)
        return f"'{key}' is a setting of {chosen}, which this command has not chosen."
    if key in known:
        return (
            f"'{key}' is a setting of another choice of {group}; `--cfg job` prints those of this "
            "command."
        )
    other_program = "sample" if config_name == "train" else "train"
    theirs = config_keys(conf, other_program)
    if other_program == "train":
        theirs += trained_options(conf)
    if key in theirs:
        return f"'{key}' is a setting of {other_program}.py, not of {config_name}.py."
    ends_alike = sorted(
        (name for name in known if name.endswith(f".{key}")),
        key=lambda name: name.startswith("preset."),
    ) or sorted((name for name in known if name.endswith(f"_{key}")), key=len)
    if ends_alike:
        return f"there is no setting '{key}', did you mean '{ends_alike[0]}'?"
    options = [f"{group}.{option}" for file in files for option in options_in(file)]
    if config_name == "train":
        options += trained_options(conf)
    hint = near(key, [name for name in [*known, *options] if "." in name or not option])
    end = "" if hint else new
    return f"there is no setting '{key}'{hint or '.'} `--cfg job` prints them all{end}."


def trained_options(conf: Path) -> list[str]:
    """The dotted options of everything that train.py can train."""
    keys: list[str] = []
    for file in sorted((conf / "training").glob("*.yaml")):
        keys += options_in(file)
    return keys


def explain_grammar(word: str) -> str:
    """Why a word of the command line could not be read."""
    if "=" not in word:
        return (
            f"'{word}' is no setting: write key=value, and quotes around a sentence, "
            'prompt="a sentence".'
        )
    key, _, value = word.partition("=")
    if re.fullmatch(r"[\w./+-]+(\s*,\s*[\w./+-]+)+", value):
        sweep = f"a run for each is a sweep, -m {word}."
        if re.fullmatch(r"[\d.eE+,\s-]+", value):
            return f"{word} are several values: {sweep}"
        return f"{word} are several: one run with all of them is {key}=[{value}], {sweep}"
    return (
        f"{word} cannot be read: Hydra takes , ( ) = ! and quotes, and letters beyond a to z, in "
        f"quotes alone. Quote a sentence twice, {quoted_twice(word)}, or put sentences in a file, "
        "a line each: prompts=FILE."
    )


def quoted_twice(word: str) -> str:
    """key=value as a shell takes it and Hydra reads it as one text.

    It is an example where the value is a list, or has both kinds of quotes.
    """
    key, _, value = word.partition("=")
    if value.startswith(("[", "{")) or ("'" in value and '"' in value) or "\\" in value:
        return "prompt=\"'a sentence, with a comma'\""
    if any(sign in value for sign in "'!$`"):  # what a shell reads within its double quotes
        return (
            shlex.quote(f'{key}="{value}"') if '"' not in value else shlex.quote(f"{key}='{value}'")
        )
    if '"' in value:
        return shlex.quote(f"{key}='{value}'")
    return f"{key}=\"'{value}'\""
