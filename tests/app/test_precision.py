"""What `trainer.precision=auto` stands for."""

import json

import pytest
import torch

from sdg.app.precision import chosen_precision


def device(monkeypatch, *, gpu: bool | None, cpu: bool) -> None:
    """A machine with a GPU that computes in bfloat16 or not, None without one; its CPU likewise."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: gpu or including_emulation
    )
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu)


@pytest.mark.parametrize(
    "gpu, cpu, accelerator, expected",
    [
        (None, True, "auto", "bf16-mixed"),
        (None, False, "auto", "32-true"),
        (True, False, "auto", "bf16-mixed"),
        (False, True, "auto", "32-true"),  # the GPU is taken, which merely imitates it
        (True, False, "cpu", "32-true"),
        (None, True, "mps", "32-true"),
    ],
)
def test_auto_is_bfloat16_where_the_device_computes_in_it(
    monkeypatch, gpu, cpu, accelerator, expected
):
    device(monkeypatch, gpu=gpu, cpu=cpu)
    assert chosen_precision({"precision": "auto", "accelerator": accelerator}) == expected


def test_what_is_named_is_taken(monkeypatch):
    device(monkeypatch, gpu=None, cpu=True)
    assert chosen_precision({"precision": "32-true", "accelerator": "auto"}) == "32-true"


def test_a_run_that_goes_on_where_auto_is_another_precision_is_refused(
    run, refusal, quick, tmp_path, monkeypatch
):
    words = [*quick, "sampler.steps=2", "num_samples=2", "batch_size=1", "trainer.precision=auto"]
    words.append(f"hydra.run.dir={tmp_path}")
    device(monkeypatch, gpu=None, cpu=False)
    run("sample.py", *words)
    (tmp_path / "rows" / "00001.jsonl").unlink()  # as if it had been killed
    device(monkeypatch, gpu=None, cpu=True)
    assert "settings, prompts, weights or precision were others" in refusal("sample.py", *words)
    device(monkeypatch, gpu=None, cpu=False)
    run("sample.py", *words)  # with auto, on the device that it began on
    assert (tmp_path / "rows" / "00001.jsonl").is_file()


@pytest.mark.parametrize("has, encoder_dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_a_run_computes_so(run, quick, tmp_path, monkeypatch, has, encoder_dtype):
    device(monkeypatch, gpu=None, cpu=has)
    seen = set()
    linear = torch.nn.Linear.forward

    def watched(self, x):
        result = linear(self, x)
        seen.add(result.dtype)
        return result

    monkeypatch.setattr(torch.nn.Linear, "forward", watched)
    words = [*quick, "sampler.steps=2", "num_samples=1", "trainer.precision=auto"]
    run("sample.py", *words, f"hydra.run.dir={tmp_path}")
    assert encoder_dtype in seen and (torch.bfloat16 in seen) == has
    recorded = json.loads((tmp_path / "versions.json").read_text())["precision"]
    assert recorded == ("bf16-mixed" if has else "32-true")
