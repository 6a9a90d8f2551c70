"""Denoisers of others: a diffusers folder, an ADM file.

What they are said to be, and what they are written as.
"""

import json

import pytest
import torch
from adm import Net, forward, outputs, random_weights
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
)

from sdg.app.checkpoints import main
from sdg.diffusion.samplers import DDIM
from sdg.errors import UserError
from sdg.io.pretrained import open_denoiser
from sdg.io.weights import save
from sdg.models.registry import load_denoiser

NET = Net(32, (1, 2), 1, (1,), head_width=16)
SAID = {"resolution": 8, "schedule": "linear", "T": 1000, "qkv": "heads_first", "head_width": 16}
WORDS = [f"{name}={value}" for name, value in SAID.items()]


def unet(**options):
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **options,
    ).eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    "scheduler, kind, prediction, variance, clip",
    [
        (DDPMScheduler(1000, beta_schedule="linear"), "linear", "epsilon", "fixed_small", True),
        (
            DDPMScheduler(
                1000,
                beta_schedule="squaredcos_cap_v2",
                prediction_type="v_prediction",
                variance_type="fixed_large",
                clip_sample=False,
            ),
            "cosine",
            "v",
            "fixed_large",
            False,
        ),
        (
            DDIMScheduler(500, beta_start=2e-4, beta_end=0.04, prediction_type="sample"),
            "linear",
            "x0",
            "fixed_small",
            True,
        ),
    ],
)
def test_a_diffusers_folder_works_as_it_is(
    tmp_path, x, scheduler, kind, prediction, variance, clip, flat
):
    network = unet(
        freq_shift=1,
        flip_sin_to_cos=False,
        downsample_padding=0,
        norm_eps=1e-6,
        attention_head_dim=None,
    )  # as in google/ddpm-*
    DDPMPipeline(network, scheduler).save_pretrained(tmp_path / "model")
    if flat:  # as in google/ddpm-*, too
        for file in list((tmp_path / "model").glob("*/*")):
            file.rename(tmp_path / "model" / file.name)
    denoiser = load_denoiser(tmp_path / "model")
    assert (
        denoiser.schedule.kind,
        denoiser.schedule.T,
        denoiser.prediction,
        denoiser.variance,
        denoiser.clip,
    ) == (kind, scheduler.config.num_train_timesteps, prediction, variance, clip)
    t = torch.tensor([3, 400])
    with torch.no_grad():
        torch.testing.assert_close(denoiser(x, t).output, network(x, t).sample)


def test_a_scheduler_that_never_clips_does_not_clip_here(tmp_path, capsys):
    DDPMPipeline(unet(), PNDMScheduler(1000, beta_schedule="linear")).save_pretrained(
        tmp_path / "model"
    )
    assert not load_denoiser(tmp_path / "model").clip
    main(["inspect", str(tmp_path / "model")])
    assert "clip                   False   [scheduler_config.json]" in capsys.readouterr().out


def test_learned_variance_and_classes_of_a_diffusers_folder(tmp_path, x):
    network = unet(out_channels=6, num_class_embeds=5)
    DDPMPipeline(network, DDPMScheduler(variance_type="learned_range")).save_pretrained(tmp_path)
    denoiser, t = load_denoiser(tmp_path, label=3), torch.tensor([3, 400])
    with torch.no_grad():
        torch.testing.assert_close(
            outputs(denoiser(x, t)), network(x, t, torch.tensor([3, 3])).sample
        )
    for label in (None, 5, "cat"):
        with pytest.raises(UserError, match="label must be an integer from 0 to 4"):
            load_denoiser(tmp_path, label=label)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear"])
def test_a_schedule_of_other_betas_is_read(tmp_path, kind):
    scheduler = DDPMScheduler(500, beta_start=0.0015, beta_end=0.0195, beta_schedule=kind)
    DDPMPipeline(unet(), scheduler).save_pretrained(tmp_path)
    schedule = load_denoiser(tmp_path).schedule
    ours = schedule.alpha_bar(torch.arange(500)).flatten()
    assert schedule.config == {"kind": kind, "T": 500, "betas": [0.0015, 0.0195]}
    assert torch.allclose(ours.float(), scheduler.alphas_cumprod, rtol=1e-5)


def test_the_estimate_under_edms_scheduler_is_diffusers(tmp_path, x):
    network, scheduler = unet(), EDMEulerScheduler()
    network.save_pretrained(tmp_path / "unet")
    scheduler.save_pretrained(tmp_path / "scheduler")
    denoiser = load_denoiser(tmp_path)
    scheduler.set_timesteps(5)
    with torch.no_grad():
        for time in scheduler.timesteps[:4]:
            sigma = float((4 * time.double()).exp())
            y = x * sigma
            out = network(scheduler.scale_model_input(y, time), time).sample
            theirs = scheduler.step(out, time, y).pred_original_sample
            level = denoiser.schedule.clock.level(torch.tensor(1 / (1 + sigma**2)).double())
            ours = denoiser(y / (1 + sigma**2) ** 0.5, float(level)).x0
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert not denoiser.clip


def test_a_step_under_flow_matchings_scheduler_is_diffusers(tmp_path, x):
    network, scheduler = unet(), FlowMatchEulerDiscreteScheduler()
    network.save_pretrained(tmp_path / "unet")
    scheduler.save_pretrained(tmp_path / "scheduler")
    denoiser, sampler = load_denoiser(tmp_path), DDIM(5)
    scheduler.set_timesteps(5)
    taus, y = scheduler.sigmas.double(), x
    with torch.no_grad():
        for time, tau, after in zip(scheduler.timesteps, taus[:-1], taus[1:], strict=True):
            theirs = scheduler.step(network(y, time).sample, time, y).prev_sample
            length, length_after = (float(((1 - u) ** 2 + u**2) ** 0.5) for u in (tau, after))
            t, s = float(1000 * tau - 1), float(1000 * after - 1)
            s = s if s > -1 else -1
            ours = sampler.step(denoiser, y / length, t, s, lambda: x).x * length_after
            assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
            y = theirs


def test_an_embedding_of_t_of_another_width_keeps_diffusers_sinusoid(tmp_path, x):
    network = unet(time_embedding_dim=96)
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path)
    t = torch.tensor([3, 400])
    with torch.no_grad():
        torch.testing.assert_close(load_denoiser(tmp_path)(x, t).output, network(x, t).sample)


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "ema.pt"])
def test_an_adm_file_of_either_format(tmp_path, x, suffix):
    p, file, t = (
        random_weights(NET, dtype=torch.float32),
        tmp_path / f"adm.{suffix}",
        torch.tensor([3, 400]),
    )
    if suffix == "safetensors":
        from safetensors.torch import save_file

        save_file(p, str(file))
    else:
        torch.save(
            {"ema": {f"module.{name}": value for name, value in p.items()}, "step": 7}
            if suffix == "ema.pt"
            else p,
            file,
        )
    with torch.no_grad():
        torch.testing.assert_close(
            outputs(load_denoiser(file, asked=SAID)(x, t)),
            forward(NET, p, x, t),
            rtol=1e-4,
            atol=1e-5,
        )


def test_half_precision_is_read_into_full(tmp_path, x):
    p = {name: value.half() for name, value in random_weights(NET).items()}
    torch.save(p, tmp_path / "adm.pt")
    t = torch.tensor([3, 400])
    with torch.no_grad():
        torch.testing.assert_close(
            outputs(load_denoiser(tmp_path / "adm.pt", asked=SAID)(x, t)),
            forward(NET, {name: value.float() for name, value in p.items()}, x, t),
            rtol=1e-4,
            atol=1e-5,
        )


# --- the command --------------------------------------------------------------------------------


def test_inspect_tells_what_an_adm_file_is_and_who_says_so(tmp_path, capsys):
    torch.save(random_weights(NET, dtype=torch.float32), tmp_path / "adm.pt")
    main(["inspect", str(tmp_path / "adm.pt"), *WORDS])
    said = capsys.readouterr().out
    assert "learned_range   [the file]" in said
    assert (
        "an ADM U-Net, 32 channels × 1,2, 1 blocks a level" in said
        and "heads_first   [you]" in said
        and "as a diffusers folder  exact" in said
    )


def test_inspect_tells_what_is_to_be_said_of_a_layout_of_no_family(tmp_path, capsys):
    torch.save(random_weights(NET, dtype=torch.float32), tmp_path / "adm.pt")
    main(["inspect", str(tmp_path / "adm.pt")])
    said = capsys.readouterr().out
    assert "an ADM U-Net, 32 channels × 1,2" in said and "heads or head_width  ?" in said


def test_inspect_tells_of_our_own_files_of_every_kind(weights, capsys):
    for kind in ("denoiser", "clip", "clip_noisy", "judge", "classifier_noisy"):
        main(["inspect", str(weights / f"{kind}.safetensors")])
        assert f"this project's, a {kind}" in capsys.readouterr().out


def test_converted_to_a_diffusers_folder_the_pipeline_draws_the_same(tmp_path, x, capsys):
    p = random_weights(NET, dtype=torch.float32)
    torch.save(p, tmp_path / "adm.pt")
    main(["convert", str(tmp_path / "adm.pt"), str(tmp_path / "folder"), *WORDS])
    assert capsys.readouterr().out.rstrip().endswith(f"results: {tmp_path}/folder")
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "folder")
    t = torch.tensor([3, 400])
    with torch.no_grad():
        torch.testing.assert_close(
            pipeline.unet(x, t).sample, forward(NET, p, x, t), rtol=1e-4, atol=1e-5
        )
    assert (pipeline.scheduler.config.variance_type, pipeline.scheduler.config.beta_schedule) == (
        "learned_range",
        "linear",
    )
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)
    again = open_denoiser(tmp_path / "folder")  # and back
    assert all(
        torch.equal(value, again.tensors[name])
        for name, value in open_denoiser(tmp_path / "adm.pt", SAID).tensors.items()
    )


def test_converted_to_our_format_everything_is_remembered(tmp_path, x):
    net = Net(32, (1, 2, 4), 1, (1, 2), heads=4)  # as many heads at two widths
    p = random_weights(net, dtype=torch.float32)
    torch.save(p, tmp_path / "adm.pt")
    words = [word for word in WORDS if not word.startswith("head_width")] + [
        "heads=4",
        "time_scale=0.25",
    ]
    main(["convert", str(tmp_path / "adm.pt"), str(tmp_path / "own.safetensors"), *words])
    t = torch.tensor([3, 401])
    with torch.no_grad():
        torch.testing.assert_close(
            outputs(load_denoiser(tmp_path / "own.safetensors")(x, t)),
            forward(net, p, x, t * 0.25),
            rtol=1e-4,
            atol=1e-5,
        )
    with pytest.raises(
        SystemExit, match="cannot be a diffusers folder: it has 4 attention heads at several widths"
    ):
        main(["convert", str(tmp_path / "own.safetensors"), str(tmp_path / "folder")])


def test_heads_on_the_way_up_are_remembered_in_our_format(tmp_path, x):
    net = Net(32, (1, 2), 1, (1,), heads=2, heads_upsample=8)
    p = random_weights(net, dtype=torch.float32)
    torch.save(p, tmp_path / "adm.pt")
    words = [word for word in WORDS if not word.startswith("head_width")]
    own = tmp_path / "own.safetensors"
    main(["convert", str(tmp_path / "adm.pt"), str(own), *words, "heads=2", "heads_upsample=8"])
    t = torch.tensor([3, 401])
    with torch.no_grad():
        drawn = outputs(load_denoiser(own)(x, t))
    torch.testing.assert_close(drawn, forward(net, p, x, t), rtol=1e-4, atol=1e-5)
    with pytest.raises(SystemExit, match="2 attention heads on the way down and 8 on the way up"):
        main(["convert", str(own), str(tmp_path / "folder")])


# --- sampling -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pretrained_denoiser_samples(run, tiny, tmp_path, refusal, capsys):
    torch.save(random_weights(NET, dtype=torch.float32), tmp_path / "adm.pt")
    options = [option for option in tiny if not option.startswith("denoiser.")] + [
        "denoiser=pretrained",
        f"denoiser.path={tmp_path}/adm.pt",
    ]
    said = [f"denoiser.{word}" for word in WORDS if not word.startswith("resolution")]
    run("sample.py", *options, *said, "denoiser.resolution=32")
    assert (
        "denoiser: T = 1000   [you]" in capsys.readouterr().out
        and len(list((tmp_path / "run" / "images").iterdir())) == 4
    )
    assert "set data.resolution=8" in refusal("sample.py", *options, *said, "denoiser.resolution=8")
    assert "denoiser.qkv must be one of heads_first, qkv_first" in refusal(
        "sample.py", *options, *said, "denoiser.resolution=32", "denoiser.qkv=head_first"
    )
    assert "that no published family has" in refusal("sample.py", *options)
    assert "choose denoiser=trained or denoiser=pretrained" in refusal(
        "sample.py", *options[:-2], "denoiser=unet"
    )
    assert "denoiser=pretrained needs denoiser.path=FILE" in refusal("sample.py", *options[:-1])


def test_a_pretrained_denoiser_is_fine_tuned(run, tmp_path, refusal):
    torch.save(random_weights(NET, dtype=torch.float32), tmp_path / "adm.pt")
    command = [
        "train.py",
        "denoiser=pretrained",
        f"denoiser.path={tmp_path}/adm.pt",
        *(f"denoiser.{word}" for word in WORDS),
        "data.resolution=8",
        "data.size=8",
        "data.held_out=8",
        "data.cache=null",
        "data.batch_size=4",
        "trainer.max_steps=1",
        "logger=none",
        f"hydra.run.dir={tmp_path}/run",
    ]
    assert "schedule=linear: this denoiser brings the network and the process" in refusal(
        *command, "schedule=linear"
    )
    run(*command)
    before, after = (
        open_denoiser(tmp_path / "adm.pt", SAID).tensors,
        open_denoiser(tmp_path / "run" / "denoiser"),
    )
    assert after.config["schedule"] == {"kind": "linear", "T": 1000} and any(
        not torch.equal(value, after.tensors[name]) for name, value in before.items()
    )


# --- what is refused ----------------------------------------------------------------------------


class Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, zipped):
    torch.save(
        {"a": Evil(tmp_path / "ran")}, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(UserError, match="needs code to be read, which is never run here"):
        open_denoiser(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_file_of_torchs_old_format_is_read(tmp_path):
    torch.save(
        random_weights(NET, dtype=torch.float32),
        tmp_path / "old.pt",
        _use_new_zipfile_serialization=False,
    )
    assert open_denoiser(tmp_path / "old.pt", SAID).config["resolution"] == 8


def test_what_is_no_denoiser_is_refused_in_a_sentence(tmp_path, weights, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text(
        json.dumps({"_class_name": "UNet2DConditionModel", "in_channels": 4, "sample_size": 64})
    )
    (tmp_path / "clip" / "scheduler_config.json").write_text("{}")
    DDPMPipeline(unet(), DDPMScheduler(beta_schedule="sigmoid")).save_pretrained(
        tmp_path / "sigmoid"
    )
    unet().save_pretrained(tmp_path / "edm")
    EDMEulerScheduler(sigma_data=0.0).save_pretrained(tmp_path / "edm")
    DDPMPipeline(unet(time_embedding_type="fourier"), DDPMScheduler()).save_pretrained(
        tmp_path / "fourier"
    )
    DDPMPipeline(unet(out_channels=6), DDPMScheduler()).save_pretrained(tmp_path / "six")
    DDPMPipeline(unet(), DDPMScheduler()).save_pretrained(tmp_path / "broken")
    (tmp_path / "broken" / "scheduler" / "scheduler_config.json").write_text("{")
    for path, message in (
        (tmp_path / "none.pt", "no weights at .*none.pt"),
        ("weights/denoisr.safetensors", "no weights at weights/denoisr"),
        (tmp_path / "list.pt", "holds no state dict"),
        (tmp_path / "cut.safetensors", "damaged"),
        (tmp_path / "empty", r"has no config.json, nor unet/config.json"),
        (tmp_path / "clip", "draws what a sentence says: set prompt to a sentence"),
        (tmp_path / "fourier", "time_embedding_type=fourier"),
        (tmp_path / "six", "out_channels=6 and a scheduler with variance_type=fixed_small"),
        (tmp_path / "broken", "scheduler_config.json is no JSON"),
        (tmp_path / "sigmoid", "neither those of a linear schedule"),
        (tmp_path / "edm", "its scheduler.s sigma_data must be at least 0.001"),
        ("nobody/nothing", "no such model could be fetched.*hf download nobody/nothing"),
    ):
        with pytest.raises(UserError, match=message):
            open_denoiser(path)
    with pytest.raises(UserError, match="holds all settings; leave out T"):
        open_denoiser(weights / "denoiser.safetensors", {"T": 4000, "qkv": None})
    with pytest.raises(UserError, match="^label=3: .* holds an unconditional denoiser"):
        load_denoiser(weights / "denoiser.safetensors", label=3)


def test_convert_overwrites_nothing_and_writes_no_pickle(tmp_path, weights):
    (tmp_path / "there.safetensors").write_text("mine")
    for name, message in (("there.safetensors", "is there already"), ("out.pt", "never a pickle")):
        with pytest.raises(SystemExit, match=message):
            main(["convert", str(weights / "denoiser.safetensors"), str(tmp_path / name)])
    assert (tmp_path / "there.safetensors").read_text() == "mine" and not (
        tmp_path / "out.pt"
    ).exists()


def test_a_settings_typo_of_the_command_names_the_near_match(weights):
    with pytest.raises(SystemExit, match="no setting 'head_with=3', did you mean 'head_width'"):
        main(["inspect", str(weights / "denoiser.safetensors"), "head_with=3"])


def test_a_saved_denoiser_stays_what_it_was(tmp_path, weights):
    model = load_denoiser(weights / "denoiser.safetensors")
    save(tmp_path / "again.safetensors", "denoiser", model, model.config)
    assert (
        open_denoiser(tmp_path / "again.safetensors").config
        == open_denoiser(weights / "denoiser.safetensors").config
    )
