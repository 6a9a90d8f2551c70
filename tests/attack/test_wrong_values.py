"""Every setting of both programs with wrong values: one clear line, or a right result."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack.conftest import some
from attack.forked import Ended, forked
from attack.settings import Case, cases, composed, settings
from PIL import Image
from safetensors.torch import load_file
from tiny_training import TINY

SECONDS = 2.0  # of a CPU, in which a value of the wrong type is answered
LIMIT = 120.0  # after which a command counts as hanging
FRACTIONS = (("data=folder",), ("data=emoji",))  # whose data.held_out is a share
TAKEN = 16  # cases of each part without ATTACK=whole
PARTS = 4  # of each program's cases


def base(case: Case, quick: list[str], pictures: Path) -> list[str]:
    """What makes a command's run tiny, as far as it has these settings."""
    words = [*quick, "data.resolution=32", f"data.root={pictures}"]
    if case.chosen == ("data=hf",):
        words.append("data.name=mnist")
    if case.chosen in FRACTIONS:
        words.append("data.held_out=0.25")
    if case.program == "train":
        trained = [word for word in case.chosen if word.startswith("encoder=")]
        words += [f"{k}={v}" for k, v in TINY.items() if not (trained and k.startswith("denoiser"))]
        words = [word for word in words if not word.startswith(("num_samples", "denoiser.weights"))]
        words += ["encoder.model.vision_cfg.timm_model_name=resnet_tiny"]
        words = [word for word in words if not word.startswith("encoder.weights")]
        if trained == ["encoder=clip"]:
            words = [word for word in words if not word.startswith("encoder.clip")]
    if case.chosen in FRACTIONS:
        words = [word for word in words if word != f"data.held_out={TINY['data.held_out']}"]
    config = composed(case.program, case.chosen)
    keys = {key for key, _ in settings(config)} - {case.key}
    return [word for word in words if word.partition("=")[0] in keys]


def judged(case: Case, ended: Ended, folder: Path) -> str:
    """What came of a case, as one of the attack's outcomes; else what is wrong with it."""
    if ended.code is None:
        return "hang"
    if "Traceback" in ended.err + ended.out or ended.code not in (0, 1, 2):
        return "traceback"
    if ended.code == 0:
        if case.wrong:
            return "nonsense is taken"
        return "right result" if all(map(math.isfinite, figures(folder))) else "no finite figure"
    lines = [line for line in ended.err.splitlines() if line.strip()]
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return "more than one line"
    if case.wrong and case.key.rpartition(".")[2] not in lines[0]:
        return "another setting is named"
    return "slow" if case.wrong and ended.seconds > SECONDS else "clear line"


def figures(folder: Path) -> Iterator[float]:
    """Every number of the figures that a run has left, and the sum of each of its tensors."""
    for file in folder.rglob("model.safetensors"):
        yield from (tensor.sum().item() for tensor in load_file(file).values())
    for file in folder.rglob("metrics.json"):
        parts = [json.loads(file.read_text())]
        while parts:
            part = parts.pop()
            if isinstance(part, (dict, list)):
                parts += part.values() if isinstance(part, dict) else part
            elif isinstance(part, float):
                yield part


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("program", ["sample", "train"])
def test_wrong_values(program, part, run, quick, tally, tmp_path, monkeypatch):
    monkeypatch.setenv("SDG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import sdg.app.sample  # the children then need not
    import sdg.app.train  # noqa: F401

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in range(40):
        Image.new("RGB", (32, 32), (name, 0, 0)).save(pictures / f"{name}.png")
    failures = []
    for number, case in enumerate(some(cases(program)[part::PARTS], TAKEN)):
        folder = tmp_path / str(number)
        words = [*case.chosen, *base(case, quick, pictures), case.word]
        ended = forked(lambda words=words: run(f"{program}.py", *words), folder, LIMIT)
        outcome = judged(case, ended, folder)
        if outcome in ("clear line", "right result"):
            tally.add(outcome)
            continue
        tally.add(outcome if outcome in ("traceback", "hang") else "wrong result")
        failures.append(f"{outcome}: {case}\n    {' / '.join(ended.err.splitlines()[-1:])}")
    assert not failures, "\n".join(failures)
