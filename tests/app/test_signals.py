"""Signals at every moment: nothing is lost, the exit code and one line tell, the rest goes on."""

import os
import signal
import sys
import time

import killing
import pytest
import torch
from tiny_training import words

from sdg.app import stopping
from sdg.app.stopping import STOP, Stop, Stopped
from sdg.errors import UserError
from sdg.evaluation.guided_sampling import GuidedSampling

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143, signal.SIGHUP: 143}
STEPS = {"trainer__max_steps": 4, "callbacks__checkpoint__every_n_train_steps": 50}


def stopped(run, capsys, *arguments) -> tuple[int, str]:
    """The exit code of a command that a signal ends, and its last line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return stop.value.code, told.rstrip().splitlines()[-1]


def same(ours, theirs) -> bool:
    """Whether two checkpoints hold the same weights, averages and optimizer, bit for bit."""
    names = ("state_dict", "current_model_state", "optimizer_states")
    return all(equal(ours[name], theirs[name]) for name in names)


def equal(ours, theirs) -> bool:
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return ours == theirs


def last(folder) -> dict:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(*words(folder, **STEPS))
    return last(folder)


@pytest.mark.parametrize(
    "at, count, signum, step",
    [
        ("on_before_zero_grad", 3, signal.SIGTERM, 3),
        pytest.param("on_before_zero_grad", 3, signal.SIGHUP, 3, marks=pytest.mark.slow),
        ("on_validation_batch_start", 1, signal.SIGINT, 2),
        pytest.param("on_train_batch_start", 1, signal.SIGINT, 1, marks=pytest.mark.slow),
        pytest.param("on_train_batch_end", 1, signal.SIGUSR1, 1, marks=pytest.mark.slow),
        pytest.param("on_validation_end", 1, signal.SIGTERM, 2, marks=pytest.mark.slow),
    ],
)
def test_a_training_saves_says_how_it_goes_on_and_ends_with_the_same_weights(
    run, capsys, tmp_path, undisturbed, at, count, signum, step
):
    folder = tmp_path / "run"
    told = stopped(run, capsys, *words(folder, **STEPS), *killing.words(at, signum, count=count))
    assert told[0] == CODES[signum]
    assert f"step {step} is kept in {folder}/checkpoints/last.ckpt" in told[1]
    assert told[1].startswith("stopped by ") and "resume=true" in told[1]
    assert last(folder)["global_step"] == step and not list(folder.glob("denoiser"))
    assert not (folder / ".running").exists()
    run(*words(folder, **STEPS), "resume=true")
    assert same(last(folder), undisturbed)


def test_a_training_stopped_in_its_last_step_keeps_the_checkpoint_that_was_due(
    run, capsys, tmp_path
):
    settings = STEPS | {"callbacks__checkpoint__every_n_train_steps": 2}
    command = words(tmp_path / "run", **settings)
    attack = killing.words("on_before_zero_grad", signal.SIGTERM, count=4)
    assert stopped(run, capsys, *command, *attack)[0] == 143
    run(*command, "resume=true")
    kept = sorted(file.name for file in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["last.ckpt", "step=4.ckpt"]


@pytest.mark.parametrize("at", ["setup", pytest.param("on_train_start", marks=pytest.mark.slow)])
def test_a_training_stopped_before_its_first_step_leaves_nothing(run, capsys, tmp_path, at):
    arguments = [*words(tmp_path / "run", **STEPS), *killing.words(at, signal.SIGTERM)]
    code, line = stopped(run, capsys, *arguments)
    assert code == 143 and "it had kept no step yet; the same command begins again" in line
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_training_whose_checkpoints_lie_elsewhere_names_them(run, capsys, tmp_path):
    place = f"callbacks.checkpoint.dirpath={tmp_path}/elsewhere"
    attack = killing.words("on_before_zero_grad", signal.SIGTERM)
    code, line = stopped(run, capsys, *words(tmp_path / "run", **STEPS), place, *attack)
    assert code == 143 and f"step 1 is kept in {tmp_path}/elsewhere/last.ckpt. To go on:" in line
    assert line.endswith(f"ckpt_path={tmp_path}/elsewhere/last.ckpt")


def test_a_training_saves_where_nobody_reads_what_it_prints(run, tmp_path):
    def piped() -> None:  # as into `tee`, which Ctrl-C ends too
        reader, writer = os.pipe()
        kill = os.kill

        def kill_both(*signal_of) -> None:
            os.close(reader)
            kill(*signal_of)

        os.kill = kill_both  # in this fork alone
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        attack = killing.words("on_before_zero_grad", signal.SIGINT)
        run(*words(tmp_path / "run", **STEPS), *attack)

    assert killing.ended(killing.fork(piped), 120) == 130
    assert last(tmp_path / "run")["global_step"] == 1


def test_a_second_signal_ends_a_step_at_once(run, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "TOGETHER", 0.0)
    twice = killing.words("on_before_zero_grad", signal.SIGINT, count=2, times=2)
    code, line = stopped(run, capsys, *words(tmp_path / "run", **STEPS), *twice)
    assert code == 130 and "no step" in line


@pytest.mark.slow
def test_gradients_that_are_being_accumulated_are_not_lost(run, capsys, tmp_path):
    settings = STEPS | {"trainer__accumulate_grad_batches": 2, "trainer__max_steps": 2}
    run(*words(tmp_path / "whole", **settings))
    torn = words(tmp_path / "torn", **settings)
    told = stopped(run, capsys, *torn, *killing.words("on_train_batch_start", signal.SIGTERM))
    assert told[0] == 143 and "step 1 is kept" in told[1]
    run(*torn, "resume=true")
    assert same(last(tmp_path / "torn"), last(tmp_path / "whole"))


def test_a_signal_after_the_last_step_leaves_the_weights(run, capsys, tmp_path):
    end = killing.words("on_train_end", signal.SIGTERM)
    assert stopped(run, capsys, *words(tmp_path / "run", **STEPS), *end)[0] == 143
    assert list((tmp_path / "run" / "denoiser").rglob("*.safetensors"))


def pictures(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "images").glob("*.png")}


def inside_a_batch(monkeypatch, number: int, signum: int, times: int = 1) -> None:
    """Signals this process in a batch of sampling, just before its images are written."""
    write, batches = GuidedSampling.write, []

    def attacked(self, batch, *rest) -> None:
        batches.append(batch)
        for _ in range(times if len(batches) == number else 0):
            os.kill(os.getpid(), signum)
        write(self, batch, *rest)

    monkeypatch.setattr(GuidedSampling, "write", attacked)


@pytest.mark.parametrize(
    "times, done, signum",
    [(1, 2, signal.SIGTERM), pytest.param(2, 1, signal.SIGINT, marks=pytest.mark.slow)],
)
def test_sampling_ends_its_batch_and_goes_on_with_the_same_bytes(
    run, capsys, tiny, tmp_path, monkeypatch, times, done, signum
):
    *settings, _ = tiny
    settings += ["batch_size=1", "eval.reading=false"]
    run("sample.py", *settings, f"hydra.run.dir={tmp_path}/whole")
    torn = ["sample.py", *settings, f"hydra.run.dir={tmp_path}/torn"]
    with monkeypatch.context() as patched:
        patched.setattr(stopping, "TOGETHER", 0.0)
        inside_a_batch(patched, 2, signum, times)
        code, line = stopped(run, capsys, *torn)
    assert code == CODES[signum]
    assert f"samples finished: {done}, in {tmp_path}/torn. The same command goes on." in line
    assert len(pictures(tmp_path / "torn")) == done
    run(*torn)
    assert f"{done} of 4 batches are drawn already" in capsys.readouterr().out
    assert pictures(tmp_path / "torn") == pictures(tmp_path / "whole")


def test_a_sweep_starts_no_further_job(run, capsys, tiny, tmp_path, monkeypatch):
    *settings, _ = tiny
    sweep = [*settings, f"hydra.sweep.dir={tmp_path}/sweep", "guidance.gamma=0,5", "-m"]
    inside_a_batch(monkeypatch, 1, signal.SIGTERM)
    code, line = stopped(run, capsys, "sample.py", *sweep)
    assert code == 143 and "samples finished: 4, in" in line and "no further job" in line
    assert len(list((tmp_path / "sweep").glob("text*"))) == 1


def test_a_job_in_a_process_without_handlers_hears_a_signal_and_names_it():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match="stopped by SIGTERM: nothing had begun"):
        with stopping.stoppable_job():
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
    with stopping.stoppable(), pytest.raises(Stopped), stopping.stoppable_job():
        os.kill(os.getpid(), signal.SIGTERM)  # the sweep's own process: it ends whole


def test_a_signal_that_python_drops_is_heard_all_the_same(capsys):
    class Dropped:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    before = sys.unraisablehook
    with pytest.raises(SystemExit) as stop, stopping.stoppable():
        Dropped()
        time.sleep(20)
    told = capsys.readouterr().err
    assert stop.value.code == 143 and told.count("stopped by SIGTERM") == 1
    assert "Traceback" not in told and sys.unraisablehook == before


def test_a_signal_that_python_wraps_in_an_error_is_heard_as_one(capsys):
    class Signals:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)

    with pytest.raises(SystemExit) as end, stopping.stoppable():
        type("Made", (), {"attribute": Signals()})
    assert end.value.code == 143
    assert "stopped by SIGTERM: nothing had begun" in capsys.readouterr().err


@pytest.mark.parametrize("begun, raised", [(False, SystemExit), (True, OSError)])
def test_an_error_on_the_way_out_is_one_of_a_run_that_has_begun(monkeypatch, begun, raised):
    with pytest.raises(raised), stopping.stoppable():
        if begun:
            monkeypatch.setattr(STOP, "report", "a step is kept.")
        try:
            raise Stopped(signal.SIGTERM)
        except Stopped:
            raise OSError("full")  # noqa: B904


def test_errors_that_name_each_other_as_their_cause_are_no_stop():
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(OSError, match="first"), stopping.stoppable():
        raise first


def test_a_program_of_several_signals_within_a_second_hears_one():
    stop = Stop()
    stop.hold("step")
    for _ in range(3):
        stop.handle(signal.SIGTERM)
    stop.since -= 2
    with pytest.raises(Stopped):
        stop.handle(signal.SIGTERM)


def test_a_process_that_another_one_launched_leaves_the_second_signal_to_it(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    stop = Stop()
    stop.hold("batch")
    stop.handle(signal.SIGTERM)
    stop.since -= 2
    stop.handle(signal.SIGTERM)
    with pytest.raises(Stopped):
        stop.release()


def test_a_fork_is_no_run_and_the_handlers_are_put_back(tmp_path):
    def wait() -> None:
        (tmp_path / "ready").touch()  # Python forgets what comes while it forks
        time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    with stopping.stoppable():
        STOP.hold("step")
        pid = killing.fork(wait)
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(pid, signal.SIGTERM)
        assert killing.ended(pid, 20) == -signal.SIGTERM and STOP.asked is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_warning_by_slurm_is_lightnings_to_hear(monkeypatch):
    import pytorch_lightning as pl

    from sdg.app.stop_points import end_by_signal_only_here

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with stopping.stoppable():
        end_by_signal_only_here(trainer)
        assert signal.getsignal(signal.SIGUSR1) == STOP.handle
        monkeypatch.setenv("SLURM_NTASKS", "1")
        monkeypatch.setenv("SLURM_JOB_NAME", "train")
        end_by_signal_only_here(trainer)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == STOP.handle
