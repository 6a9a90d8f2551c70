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
from hydra.types import RunMode
from omegaconf import DictConfig

from sdg.app.child_process import end_launched, follow_parent
from sdg.app.empty_run import remove_empty_run
from sdg.app.explaining import explain
from sdg.app.flags import MULTIRUN, check_flags, flags_first
from sdg.app.jobs import Jobs
from sdg.app.naming import register, sweep_name
from sdg.app.no_effect import check_effect
from sdg.app.opening import opening
from sdg.app.options import register_options
from sdg.app.plain import check_text
from sdg.app.quick_hydra import quick_hydra
from sdg.app.setting_checks import check_settings, check_sweep, notes
from sdg.app.stopping import end_output, stoppable_job, unwrapped
from sdg.app.threads import limit_threads
from sdg.io.shipped import CONF
from sdg.machine.cpu_sharing import share_cpus

__all__ = ["entry_point"]


def entry_point(config_name: str) -> Callable:
    """Decorates `main(config)`, which then runs with a composed config.

    That is `conf/<config_name>.yaml` with the command line's overrides.

    The heavy libraries are imported by `main`, so `--help` answers at once. The exit code is 1
    after any error. A job of a sweep that fails is named at the end; the others go on.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def job(config: DictConfig) -> str | None:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return job_of_sweep(config_name, config, main)
            with explained(CONF, config_name):  # before Hydra adds lines of its own
                start(config_name, config, main)
            return None

        @functools.wraps(main)
        def run() -> None:
            prepare_process()
            with explained(CONF, config_name):
                check_text(sys.argv[1:])
                sys.argv[1:] = flags_first(sys.argv[1:])
                check_flags(sys.argv[1:])
            if sys.argv[1:2] and sys.argv[1] in MULTIRUN:
                begin_sweep(config_name)
            Jobs.failed.clear()
            with (
                explained(CONF, config_name),
                help_names_command(config_name),
                quick_hydra(sys.argv[1:]),
            ):
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                    job
                )()
            if Jobs.failed:
                sys.exit(f"error: of the sweep these failed: {'; '.join(Jobs.failed)}")

        return run

    return decorate


def prepare_process() -> None:
    """Sets what must be set before torch is imported or Hydra begins."""
    limit_threads()
    share_cpus_early()
    print_any_text()
    follow_parent()
    # Hydra would print its own report and exit; this makes it raise, so that one place explains.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    register_options()
    sys.path.append(os.getcwd())  # modules of the user's own, which a _target_ may name


def job_of_sweep(
    config_name: str, config: DictConfig, main: Callable[[DictConfig], None]
) -> str | None:
    """Does a job of a sweep; why it failed, None if it did not.

    That is for `sdg.app.jobs`, which the other jobs' processes may not share with this one.
    """
    share_cpus_early()  # a launcher's process has not been prepared
    try:
        with stoppable_job():
            start(config_name, config, main)
    except Exception as error:
        message = explain(error, CONF, config_name)
        if message is None:
            traceback.print_exc()
            message = type(error).__name__
        words = " ".join(HydraConfig.get().overrides.task)
        print(f"failed: {words} ({message})", file=sys.stderr)
        return message
    return None


def share_cpus_early() -> None:
    """`share_cpus`, where torch has not read its settings yet."""
    if "torch" not in sys.modules:
        share_cpus()


def print_any_text() -> None:
    """Prints a sign that the terminal's encoding lacks as an escape, such as \\u03b3."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def begin_sweep(config_name: str) -> None:
    """Checks the values of a sweep, and names its folder where the command line names none."""
    settings = [word for word in sys.argv[2:] if "=" in word and not word.startswith("-")]
    with explained(CONF, config_name):
        check_sweep(config_name, settings)
    if not any(word.startswith("hydra.sweep.dir=") for word in settings):
        sys.argv.append(f"hydra.callbacks.report.sweep={sweep_name(sys.argv[2:])}")


def start(config_name: str, config: DictConfig, main: Callable[[DictConfig], None]) -> None:
    """Refuses what can be seen to be wrong at once, then says what begins and does it."""
    try:
        check_effect(config_name, config)
        check_settings(config_name, config)
    except Exception:
        remove_empty_run()
        raise
    announce(config_name, config)
    main(config)


def announce(config_name: str, config: DictConfig) -> None:
    """Says at once what begins: importing what it needs takes seconds."""
    line = opening(config_name, config)
    if not line:
        return
    print(line, flush=True)
    if config_name == "sample":
        for note in notes(config):
            print(note, flush=True)


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
        with unwrapped():
            yield
    except Exception as error:
        message = explain(error, conf, config_name)
        if message is None:
            raise
        end_output()
        end_launched(message)
        sys.exit(f"error: {message}")
