"""The checkpoint that a training goes on from, and whether it may."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from sdg.app.lasting import changed_settings, lasting_settings
from sdg.app.plain import load_yaml, plain
from sdg.app.run_folder import first_process
from sdg.errors import UserError, choice
from sdg.io.files import remove_dead_parts
from sdg.io.shipped import EARLIER
from sdg.io.tensors import load_tensors
from sdg.report.card import CARD
from sdg.training.checkpoints import checkpoints_in, is_whole
from sdg.training.module import shortened

__all__ = ["checkpoint", "steps_of"]

NAMED = 3  # differences that a refusal names


def checkpoint(config: DictConfig, settings: Mapping, folder: Path) -> str | None:
    """The checkpoint to continue from: `ckpt_path`, with `resume` the newest of this kind, or none.

    With `resume` a folder that holds checkpoints already goes on with its own.

    Arguments:
        settings: the run's `lasting_settings`.
        folder: of the run.

    Raises:
        UserError: there is none, it cannot be read, its run had other settings, or it has taken all
            of this run's steps already. Or the folder holds another training, which would be lost.
    """
    if config.ckpt_path:
        file = Path(config.ckpt_path).expanduser()
        if not file.is_file():
            raise UserError(f"ckpt_path: there is no file {file}.")
        if not is_whole(file):
            raise UserError(
                f"{file} is damaged or no checkpoint of a training run; resume from another."
            )
        if file.resolve().parent != (folder / "checkpoints").resolve():
            refuse_to_replace(folder, config.kind)
    elif choice("resume", config.resume, (True, False)):
        own = any(folder.glob("checkpoints/*.ckpt"))
        file = newest([folder] if own else folder.parent.glob("*"), config.kind, folder.parent)
    else:
        refuse_to_replace(folder, config.kind)
        return None
    remove_dead_parts(file.with_name("last.ckpt"))  # a run that has no step left writes none anew
    check_settings(file, settings, folder, config.get("reads"))
    done, written = steps_of(file), file.parent.parent / config.kind
    exported = (written / CARD).is_file() and not (written / EARLIER).exists()
    if 0 < config.trainer.max_steps <= done and exported:
        raise UserError(
            f"{file} has taken {done} steps already, and {written} holds their weights; raise "
            "trainer.max_steps above that to go on."
        )
    return str(file)


def refuse_to_replace(folder: Path, kind: str) -> None:
    """Refuses to begin where an earlier training has left checkpoints or weights.

    Raises:
        UserError: it has.
    """
    if not first_process():  # the first may have begun
        return
    left = next(folder.glob("checkpoints/*.ckpt"), folder / kind / CARD)
    if left.exists():
        raise UserError(
            f"{folder} holds a training already, such as {left}, which a new one would replace; "
            "resume=true goes on with it, hydra.run.dir=FOLDER puts this one elsewhere."
        )


def newest(runs: Iterable[Path], kind: str, place: Path) -> Path:
    """The last whole checkpoint of the newest run of a kind; says which.

    Arguments:
        runs: the runs' folders.
        place: where they lie.

    Raises:
        UserError: there is none.
    """
    times = {
        file: file.stat().st_mtime
        for run in runs
        if trained_kind(run) == kind
        for file in run.glob("checkpoints/*.ckpt")
    }
    if not times:
        raise UserError(
            f"resume=true: no checkpoint of a {kind} under {place}; start without it, or set "
            "ckpt_path=FILE."
        )
    folder = max(times, key=lambda file: times[file]).parent
    for file in checkpoints_in(folder):
        if is_whole(file):
            print(f"resuming from {file}")
            return file
        print(f"{file} is damaged; going on from the one before it.")
    raise UserError(
        f"resume=true: no checkpoint in {folder} is whole; start without it, or set ckpt_path=FILE "
        "of another run."
    )


def check_settings(
    file: Path, settings: Mapping, folder: Path, reads: Sequence[str] | None
) -> None:
    """Refuses to go on with other settings than a checkpoint's run had.

    Arguments:
        reads: of denoiser, encoder and schedule; None for all of them.

    Raises:
        UserError: some differ.
    """
    theirs = settings_of(file, folder)
    if theirs is None:
        print(f"{file} does not tell its settings; they are not compared with this run's.")
        return
    changed = changed_settings(theirs, settings, reads)
    if not changed:
        return
    words = [
        f"{key} was {shortened(then)} and is {shortened(now)}" for key, then, now in changed[:NAMED]
    ]
    more = f"; and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    raise UserError(
        f"{file} cannot be continued with other settings: {'; '.join(words)}{more}. Set them as "
        "they were, or start a new run, which init=PATH begins with the weights of this one."
    )


def settings_of(file: Path, folder: Path) -> dict | None:
    """The lasting settings of a checkpoint's run, None where nothing tells them.

    One that does not hold them lies in the folder of its run, beside that run's config; but not in
    this run's own `folder`, whose config is this run's already.
    """
    held = load_checkpoint(file).get("settings")
    if held is not None:
        return held
    run = file.resolve().parent.parent
    beside = run / "config.yaml"
    if run == folder.resolve() or not beside.is_file():
        return None
    return lasting_settings(plain(load_yaml(beside), resolve=False))


def load_checkpoint(file: str | Path) -> dict:
    """A checkpoint, whose tensors stay on disk until they are asked for."""
    try:
        held = load_tensors(file)
        held["global_step"]
    except (UserError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged or no checkpoint of a training run; resume from another."
        ) from error
    return held


def steps_of(file: str | Path) -> int:
    """How many steps a checkpoint has taken."""
    return load_checkpoint(file)["global_step"]


def trained_kind(folder: Path) -> str | None:
    """What a run's folder trained; None where it does not tell."""
    try:
        return load_yaml(folder / "config.yaml").get("kind")
    except UserError:
        return None
