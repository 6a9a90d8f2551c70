"""Flags between overrides, and what a run's command says of them."""

from pathlib import Path

from sdg.app.cli import flags_first

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
