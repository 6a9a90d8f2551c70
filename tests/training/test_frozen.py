"""Frozen networks beside what is trained: they move along, and no checkpoint holds them."""

import copy

import pytest
import torch
from conftest import CACHE
from latent import autoencoder_kl
from torch import nn

from sdg.errors import UserError
from sdg.models.autoencoder import Autoencoder
from sdg.models.registry import load_clip, load_denoiser
from sdg.training.frozen import Frozen, check_frozen


class Trained(nn.Module):
    def __init__(self, autoencoder):
        super().__init__()
        self.model, self.frozen = nn.Linear(2, 2), Frozen(autoencoder)


def test_an_autoencoder_moves_with_the_module_and_is_none_of_its_weights():
    autoencoder = Autoencoder(autoencoder_kl())
    module = Trained(autoencoder)
    assert module.state_dict().keys() == {"model.weight", "model.bias"}
    assert len(list(module.parameters())) == 2 and not list(module.frozen.buffers())
    module.double()
    tensors = [*autoencoder.parameters(), *autoencoder.buffers()]
    assert {value.dtype for value in tensors} == {torch.float64}
    module.to("meta")
    assert {value.device.type for value in autoencoder.parameters()} == {"meta"}


def test_a_copy_of_the_module_shares_its_autoencoder():
    module = Trained(Autoencoder(autoencoder_kl()))
    again = copy.deepcopy(module)
    assert again.frozen.network is module.frozen.network
    assert again.model.weight is not module.model.weight
    assert copy.deepcopy(Trained(None)).frozen.network is None


def test_a_copy_shares_what_is_frozen_wherever_else_it_is_held():
    module = Trained(Autoencoder(autoencoder_kl()))
    module.beside = (module.frozen.network,)
    assert copy.deepcopy(module).beside[0] is module.frozen.network


@pytest.mark.parametrize("early", [False, True])
def test_a_checkpoint_knows_the_network_that_it_was_trained_with(early):
    own, other = nn.Linear(2, 2), nn.Linear(2, 2)
    part = Frozen(own)

    def checkpoint(network):
        if not early:
            return {"state_dict": {"model.w": 1}, "frozen": {"teacher": Frozen(network).digest}}
        held = {f"teacher.{name}": value for name, value in network.state_dict().items()}
        state = held | {"model.w": 1}
        return {"state_dict": state, "current_model_state": dict(state)}

    good = checkpoint(copy.deepcopy(own))
    check_frozen(good, "teacher", part)
    assert good["state_dict"] == good.get("current_model_state", {"model.w": 1}) == {"model.w": 1}
    with pytest.raises(UserError, match="trained with another teacher"):
        check_frozen(checkpoint(other), "teacher", part)
    with pytest.raises(UserError, match="trained with another denoiser"):
        check_frozen(checkpoint(own), "denoiser", part)
    check_frozen(checkpoint(own), "denoiser", Frozen(None))


def equal(one, other):
    """Whether two parts of checkpoints are the same, to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit_from_an_early_checkpoint_too(run, weights, tmp_path):
    (tmp_path / "bank.txt").write_text("a red heart\na blue ring\na small star\n")
    settings = [
        *("train.py", "encoder=clip_noisy", "experiment=calibrated", "module.estimate=true"),
        *(f"module.bank={tmp_path}/bank.txt", "data.captions=false"),
        *("data.size=96", "data.held_out=32", f"data.cache={CACHE}", "data.batch_size=16"),
        *("trainer.max_steps=6", "trainer.val_check_interval=2", "module.tower=denoiser"),
        *("callbacks.checkpoint.every_n_train_steps=2", "callbacks.checkpoint.save_top_k=-1"),
        *("module.score_weight=0.01", "module.score_batch=4", "module.cache_teacher=false"),
        *("module.on_policy_share=0.5", "module.on_policy_steps=2", "module.hidden=32"),
        "callbacks.ema.decay=0.5",
        f"module.denoiser={weights}/denoiser.safetensors",
        f"encoder.clip={weights}/clip.safetensors",
    ]
    run(*settings, f"hydra.run.dir={tmp_path}/whole")
    (middle,) = (tmp_path / "whole" / "checkpoints").glob("step=4*.ckpt")
    kept = torch.load(middle, weights_only=True)
    assert {name.partition(".")[0] for name in kept["current_model_state"]} == {"model"}
    clip = load_clip(weights / "clip.safetensors").state_dict()
    denoiser = load_denoiser(weights / "denoiser.safetensors").state_dict()
    for part in ("state_dict", "current_model_state"):
        kept[part] |= {f"teacher.{name}": value for name, value in clip.items()}
        kept[part] |= {f"denoiser.{name}": value for name, value in denoiser.items()}
    del kept["frozen"]
    torch.save(kept, tmp_path / "early.ckpt")
    whole = torch.load(tmp_path / "whole/checkpoints/last.ckpt", weights_only=True)
    for name, file in (("resumed", middle), ("from_early", tmp_path / "early.ckpt")):
        run(*settings, f"ckpt_path='{file}'", f"hydra.run.dir={tmp_path}/{name}")
        found = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
        for part in ("state_dict", "current_model_state", "averaging_state", "frozen"):
            assert equal(found[part], whole[part]), (name, part)
        assert equal(found["optimizer_states"][0]["state"], whole["optimizer_states"][0]["state"])
