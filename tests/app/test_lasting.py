"""Which settings a continued training must keep, and what null stands for in them."""

import pytest

from sdg.app.lasting import changed_settings, lasting_settings


def test_settings_that_last():
    config = {
        "kind": "clip",
        "seed": 0,
        "logger": {"name": "x"},
        "data": {"root": "faces", "num_workers": 2, "cache": "here", "columns": ("a", "b")},
        "optimizer": {"lr": 0.1, "fused": True, "foreach": None},
        "trainer": {"max_steps": 3, "devices": 2, "gradient_clip_val": 1.0},
    }
    assert lasting_settings(config) == {
        "kind": "clip",
        "seed": 0,
        "data.root": "faces",
        "data.columns": ["a", "b"],
        "optimizer.lr": 0.1,
        "trainer.gradient_clip_val": 1.0,
    }


def test_of_denoiser_encoder_and_schedule_what_the_training_reads_lasts():
    config = {
        "reads": ["encoder.network", "schedule"],
        "denoiser": {"patch": 2},
        "encoder": {"network": {"width": 8}, "network_of_others": 1, "weights": "x"},
        "schedule": {"T": 1000},
    }
    assert lasting_settings(config) == {"encoder.network.width": 8, "schedule.T": 1000}


def test_what_an_older_checkpoint_holds_beside_that_is_not_compared():
    then = {"seed": 0, "denoiser.patch": 1, "schedule.T": 100, "optimizer.fused": None}
    then |= {"encoder.network.width": 8}
    now = {"seed": 1, "encoder.network.width": 16}
    assert changed_settings(then, now, ["encoder.network"]) == [
        ("encoder.network.width", 8, 16),
        ("seed", 0, 1),
    ]
    assert len(changed_settings(then, now, None)) == 4  # a training that does not say what it reads


@pytest.mark.parametrize(
    ("key", "value", "others"),
    [
        ("denoiser.clip", True, {}),
        ("denoiser.clip", False, {"denoiser.autoencoder": "vae"}),
        ("denoiser.sigma_data", 0.5, {"denoiser.prediction": "edm"}),
        ("denoiser.sigma_data", 1, {"denoiser.prediction": "edm", "denoiser.autoencoder": "vae"}),
        ("trainer.gradient_clip_algorithm", "norm", {}),
    ],
)
def test_a_value_and_null_where_that_means_it_are_one_setting(key, value, others):
    spelled, null, other = (others | {key: each} for each in (value, None, "another"))
    for then in (spelled, null, others):
        assert changed_settings(then, spelled, None) == changed_settings(then, null, None) == []
    assert changed_settings(null, other, None) == [(key, None, "another")]


def test_null_is_no_other_value():
    assert changed_settings({"denoiser.clip": False}, {"denoiser.clip": None}, None)
    latents = {"denoiser.autoencoder": "vae"}
    assert changed_settings(latents | {"denoiser.clip": True}, latents, None)
