"""Flags between overrides, and what a run's command says of them."""

from pathlib import Path

import pytest

from sdg.app.checkpoint_commands import command_parser
from sdg.app.flags import check_flags, flags_first
from sdg.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SHAPED = "defaults: [sdg]\nmax_norm: 5.0\n"


def test_flags_stand_before_overrides_with_their_values():
    words = ["data=shapes", "--config-dir", "own", "prompt=a ring", "--cfg=job", "-m", "seed=1"]
    assert flags_first(words) == [
        *("-m", "--config-dir", "own", "--cfg=job"),
        *("data=shapes", "prompt=a ring", "seed=1"),
    ]


def test_a_flag_between_overrides_is_taken_and_written_into_the_command(
    run, tiny, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "guidance").mkdir(parents=True)
    (tmp_path / "own" / "guidance" / "short.yaml").write_text(SHAPED)
    run("sample.py", *tiny, "--config-dir", "own", "guidance=short")
    command = (tmp_path / "run" / "command.txt").read_text()
    assert command.startswith(f"python {ROOT}/sample.py --config-dir={tmp_path}/own ")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "--hlep",
            "there is no flag --hlep, did you mean '--help'? `--help` lists what can be set.",
        ),
        ("--multirn", "there is no flag --multirn, did you mean '--multirun'?"),
        ("-z", "there is no flag -z. `--help` lists"),
        ("--cfg=jb", "--cfg/-c: invalid choice: 'jb' (choose from "),
    ],
)
def test_a_flag_that_there_is_not_is_refused_in_one_line(refusal, word, message):
    for script in ("sample.py", "train.py"):
        assert message in refusal(script, word)


def test_a_flag_without_its_value_is_refused():
    with pytest.raises(UserError, match="--cfg/-c: expected one argument. `--help` lists what"):
        check_flags(["--cfg"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["convert", "a.pt"],
            "OUT must be given. Write: sdg-checkpoints convert [-h] [--half] FILE ",
        ),
        (["inspect"], "FILE must be given. Write: sdg-checkpoints inspect [-h] FILE [SETTING"),
        (["push"], "FOLDER and owner/name must be given. Write: sdg-checkpoints push "),
        (
            ["convrt", "a"],
            "there is no command 'convrt', did you mean 'convert'? There are: inspect",
        ),
        ([], "inspect|convert|push must be given. Write: sdg-checkpoints "),
        (["convert", "--haf", "a", "b"], "there is no flag --haf, did you mean '--half'? Write: "),
        (["push", "a", "b", "c"], "'c' is a word too many. Write: "),
    ],
)
def test_sdg_checkpoints_refuses_a_command_line_in_one_line(capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        command_parser("").parse_args(words)
    line = capsys.readouterr().err
    assert stop.value.code == 1 and line.startswith(f"error: {message}") and line.count("\n") == 1
