"""A denoiser of each family: trained, stored, sampled, steered by an encoder of another one."""

import json

import pytest
import tiny_training
import torch
from untrained import NETWORK

from sdg.errors import UserError
from sdg.io.weights import save
from sdg.models.build import build_denoiser
from sdg.models.registry import load_denoiser


# Heun's method calls the network twice a step, once in the last, once from noise alone.
@pytest.mark.parametrize(
    "process, prediction, calls", [("flow", "velocity", 1 + 2 + 2 + 1), ("edm", "edm", 3 * 2 + 1)]
)
def test_a_flow_and_an_edm_are_trained_and_steered_by_an_encoder_of_a_table(
    run, weights, quick, tmp_path, process, prediction, calls
):
    run(*tiny_training.words(tmp_path / "train", data="shapes", process=process))
    folder = tmp_path / "train" / "denoiser"
    denoiser = load_denoiser(str(folder))
    assert (denoiser.schedule.kind, denoiser.prediction) == (process, prediction)
    assert not (folder / "model_index.json").exists()  # no DDPMPipeline would draw from it
    figures = []
    for gamma in (0, 5):
        out = tmp_path / f"sample{gamma}"
        run(
            "sample.py",
            *quick,
            "data=shapes",
            f"denoiser.weights={folder}",
            "sampler=heun",
            "sampler.steps=4",
            "num_samples=2",
            f"guidance.gamma={gamma}",
            f"hydra.run.dir={out}",
        )
        figures.append((out / "images" / "00000.png").read_bytes())
        cost = json.loads((out / "metrics.json").read_text())["cost_per_sample"]
        assert cost["denoiser_forwards"] == calls
    assert figures[0] != figures[1]


def test_a_setting_of_the_process_is_refused_where_no_noise_is_read(refusal):
    said = refusal("train.py", "encoder=clip", "process=flow")
    assert "has no effect" in said


def test_epsilon_of_a_flow_is_refused(refusal, tmp_path):
    words = tiny_training.words(tmp_path, data="shapes", process="flow")
    said = refusal(*words, "denoiser.prediction=epsilon")
    assert said.startswith("error: denoiser.prediction=epsilon: ") and "divides by zero" in said


def test_a_file_of_epsilon_of_a_flow_is_refused(tmp_path):
    flow = {"kind": "flow", "T": 10}
    denoiser = build_denoiser({"prediction": "velocity", "network": NETWORK}, flow, 32)
    config = denoiser.config | {"denoiser": {"prediction": "epsilon", "network": NETWORK}}
    file = save(tmp_path / "it.safetensors", "denoiser", denoiser, config)
    with pytest.raises(UserError, match=r"it.safetensors: prediction=epsilon: .*divides by zero"):
        load_denoiser(file)


def test_a_flow_learns_its_own_levels(run, tmp_path, monkeypatch):
    seen = []
    from sdg.diffusion.denoiser import Denoiser

    loss = Denoiser.loss

    def watched(self, x0, t, noise):
        seen.append(t)
        return loss(self, x0, t, noise)

    monkeypatch.setattr(Denoiser, "loss", watched)
    run(*tiny_training.words(tmp_path, data="shapes", process="flow"))
    trained = [t for t in seen if t.is_floating_point()]
    assert len(trained) == 2 and all((t > -1).all() and (t < 999).all() for t in trained)
    assert not torch.equal(trained[0], trained[1])
