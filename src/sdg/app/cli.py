"""What both entry points share.

That is Hydra around `main`, and one clear line instead of a traceback for what the user can mend.
"""

import functools
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sdg.app.choices import group_files
from sdg.app.jobs import Jobs
from sdg.app.naming import register, sweep_name
from sdg.app.opening import opening
from sdg.app.options import register_options
from sdg.app.threads import limit_threads
from sdg.errors import UserError, near
from sdg.io.shipped import CONF

__all__ = ["entry_point"]

RENAMED = {"similarity.text.rivals": "similarity.text.negative_captions"}  # settings of old names
MULTIRUN = ("-m", "--multirun")
# What Hydra's parser says where a sentence met its grammar.
GRAMMAR_SIGNS = (
    "Ambiguous value",
    "mismatched input",
    "no viable alternative",
    "token recognition error",
    "extraneous input",
    "LexerNoViableAlt",
)


def entry_point(config_name: str) -> Callable:
    """Decorates `main(config)`, which then runs with a composed config.

    That is `conf/<config_name>.yaml` with the command line's overrides.

    The heavy libraries are imported by `main`, so `--help` answers at once. The exit code is 1
    after any error. A job of a sweep that fails is named at the end; the others go on.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def job(config: DictConfig) -> str | None:
            hydra_config = HydraConfig.get()
            if hydra_config.mode != RunMode.MULTIRUN:
                with explained(CONF, config_name):  # before Hydra adds lines of its own
                    announce(config_name, config)
                    main(config)
                return None
            try:
                announce(config_name, config)
                main(config)
            except Exception as error:
                message = explain(error, CONF, config_name)
                if message is None:
                    traceback.print_exc()
                    message = type(error).__name__
                print(
                    f"failed: {' '.join(hydra_config.overrides.task)} ({message})", file=sys.stderr
                )
                # For `sdg.app.jobs`, which the other jobs' processes may not share with this one.
                return message
            return None

        @functools.wraps(main)
        def run() -> None:
            # Threads that spin while they wait make a sample 50 times slower beside one busy
            # process. OpenMP reads this when torch is imported, and only then.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            limit_threads()
            # Hydra would print its own report and exit; this makes it raise, so that one place
            # explains.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            sys.argv[1:] = sorted(
                sys.argv[1:], key=lambda word: word not in MULTIRUN
            )  # Hydra takes them before overrides only
            register()
            register_options()
            sys.path.append(os.getcwd())  # modules of the user's own, which a _target_ may name
            if (
                sys.argv[1:2]
                and sys.argv[1] in MULTIRUN
                and not any(word.startswith("hydra.sweep.dir=") for word in sys.argv)
            ):
                sys.argv.append(f"hydra.callbacks.report.sweep={sweep_name(sys.argv[2:])}")
            Jobs.failed.clear()
            with explained(CONF, config_name), help_names_command(config_name):
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                    job
                )()
            if Jobs.failed:
                sys.exit(f"error: of the sweep's jobs these failed: {'; '.join(Jobs.failed)}")

        return run

    return decorate


def announce(config_name: str, config: DictConfig) -> None:
    """Says at once what begins: importing what it needs takes seconds."""
    if line := opening(config_name, config):
        print(line, flush=True)


@contextmanager
def help_names_command(config_name: str) -> Iterator[None]:
    """Makes the examples of `--help` begin with the installed command, where it was started."""
    command = Path(sys.argv[0]).name
    if command != f"sdg-{config_name}" or not {"-h", "--help"} & set(sys.argv):
        yield
        return
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:  # Hydra ends the program after its help
        print(re.sub(r"\bpython (sample|train)\.py\b", r"sdg-\1", text.getvalue()), end="")


@contextmanager
def explained(conf: Path, config_name: str) -> Iterator[None]:
    """Ends the program with one line for an error that the user can mend.

    Our own mistakes are let through.
    """
    try:
        yield
    except Exception as error:
        message = explain(error, conf, config_name)
        if message is None:
            raise
        sys.exit(f"error: {message}")
    except KeyboardInterrupt:
        sys.exit("interrupted; what was already written is kept.")


def explain(error: BaseException, conf: Path, config_name: str) -> str | None:
    """One sentence for an error of the user's, None for one of ours."""
    chain, link = [], error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for link in chain:
        if isinstance(
            link, UserError
        ):  # from a DataLoader's worker it brings that process's traceback along
            return str(link).rpartition(f"{UserError.__module__}.UserError: ")[2].strip()
    for link in chain:
        if isinstance(link, MissingConfigException):
            group, _, word = str(link.missing_cfg_file).rpartition("/")
            options = sorted({file.stem for file in group_files(group, conf)}) if group else []
            if group and options:
                return (
                    f"{group}={word}: there is no such {group}{near(word, options) or '.'} "
                    f"There are: {', '.join(options)}."
                )
    for link in chain:
        if isinstance(link, InstantiationException) and link.__cause__ is not None:
            key = re.search(r"full_key: (\S+)", str(link))
            return f"{key[1] if key else 'config'}: {' '.join(str(link.__cause__).split())}"
    for link in chain:
        if isinstance(link, OverrideParseException):
            return explain_grammar(link.override)
        if isinstance(link, (HydraException, OmegaConfBaseException)):
            return explain_override(str(link), conf, config_name)
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
    if isinstance(error, OSError) and error.filename:
        return (
            f"cannot read or write {error.filename}: {error.strerror}. hydra.run.dir=FOLDER puts "
            "the results elsewhere."
        )
    return None


def explain_override(text: str, conf: Path, config_name: str) -> str:
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        if key[1] in RENAMED:
            return f"'{key[1]}' is now called '{RENAMED[key[1]]}'."
        group, _, option = key[1].partition(".")
        files = group_files(group, conf)
        known = config_keys(conf, config_name)
        if key[1] in known:
            return (
                f"'{key[1]}' is a setting of another choice of {group}; `--cfg job` prints those "
                "of this command."
            )
        others = [file.stem for file in files if option in options_in(file)]
        if others:
            chosen = " or ".join(f"{group}={other}" for other in others)
            return f"'{key[1]}' is a setting of {chosen}, which this command has not chosen."
        hint = near(
            key[1],
            [*known, *(f"{group}.{option}" for file in files for option in options_in(file))],
        )
        new = "" if hint else "; put + before a new one"
        return f"there is no setting '{key[1]}'{hint or '.'} `--cfg job` prints them all{new}."
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{missing[1]} must be given: {missing[1]}=…"
    if any(sign in text for sign in GRAMMAR_SIGNS):
        word = re.search(r"for argument '(.*)'", text)
        return explain_grammar(word[1] if word else text.splitlines()[0])
    return " ".join(text.split())


def explain_grammar(word: str) -> str:
    """Why a word of the command line could not be read."""
    if "=" not in word:
        return (
            f"'{word}' is no setting: write key=value, and quotes around a sentence, "
            'prompt="a red heart".'
        )
    return (
        f"{word} cannot be read: Hydra reads , ( ) = and quotes as grammar. Quote a sentence "
        "twice, prompt=\"'a red heart, striped'\", or put sentences in a file, a line each: "
        "prompts=FILE."
    )


def options_in(file: Path) -> list[str]:
    """The options of one choice of a group, dotted."""
    from omegaconf import OmegaConf

    from sdg.io.plain import flat

    config = OmegaConf.to_container(OmegaConf.load(file))
    named = [name for name, part in config.items() if isinstance(part, dict)]
    return [*config, *(key for name in named for key in flat(config[name], f"{name}."))]


def config_keys(conf: Path, config_name: str) -> list[str]:
    """Every key of the default config, dotted, and the names of its groups."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose(config_name)
    defaults = (conf / f"{config_name}.yaml").read_text()
    keys = [
        folder.name
        for folder in conf.iterdir()
        if re.search(rf"^  - (optional )?{folder.name}:", defaults, re.MULTILINE)
    ]

    def walk(node: DictConfig, prefix: str) -> None:
        for key in node:
            keys.append(prefix + str(key))
            child = node._get_node(key)
            if (
                isinstance(child, DictConfig)
                and not child._is_none()
                and not child._is_missing()
                and not child._is_interpolation()
            ):
                walk(child, f"{prefix}{key}.")

    walk(config, "")
    return keys
