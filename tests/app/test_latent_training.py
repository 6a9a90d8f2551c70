"""An autoencoder, a denoiser of its latents and an encoder of these, trained and sampled."""

import json
import re
import shlex
import shutil

import pytest
import torch
from conftest import CACHE
from diffusers import AutoencoderKL
from latent import autoencoder_kl, ldm
from omegaconf import OmegaConf
from tiny_training import TINY

from sdg import DDIM, Pipeline, UserError, from_pretrained, guided_denoiser
from sdg.app.checkpoints import main
from sdg.app.latents import new_denoiser
from sdg.data.shapes_data import ShapesData
from sdg.io.weights import header, read_weights
from sdg.models.noise_aware import NoiseAwareEncoder

COMMON = [
    *(f"{key}={TINY[key]}" for key in ("data.size", "data.held_out", "data.batch_size")),
    *("trainer.max_steps=4", "trainer.val_check_interval=4", "callbacks.ema.decay=0.5"),
    *("callbacks.checkpoint.every_n_train_steps=2", f"data.cache={CACHE}"),
]
SMALL = ["encoder.network.block_out_channels=[8,16]", "module.scale_images=32", "module.preview=4"]
UNET = [f"{key}={value}" for key, value in TINY.items() if key.startswith("denoiser.")]
DRAWN = ["module.preview=2"]
KEEP = "callbacks.checkpoint.save_top_k=-1"


def autoencoder_words(folder, *more) -> list[str]:
    """The command that trains a small autoencoder."""
    words = ["train.py", "encoder=autoencoder", *COMMON, *SMALL, "logger=none"]
    return [*words, *more, f"hydra.run.dir={folder}"]


def files(folder) -> dict[str, bytes]:
    """What an export holds, but for its card, which has the time of the run."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".md"}


@pytest.fixture(scope="module")
def autoencoder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder") / "run"
    run(*autoencoder_words(folder, "logger=csv", "trainer.log_every_n_steps=1", KEEP))
    return folder


@pytest.fixture(scope="module")
def denoiser(run, autoencoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("denoiser") / "run"
    own = f"denoiser.autoencoder={autoencoder}/autoencoder"
    words = [*COMMON, *UNET, *DRAWN, "process=edm", "logger=none", own]
    run("train.py", *words, KEEP, f"hydra.run.dir={folder}")
    return folder


@pytest.fixture
def encoder_words(weights, autoencoder, denoiser):
    return [
        *("train.py", "encoder=clip_noisy", *COMMON, "logger=none", "schedule=edm"),
        *(f"encoder.clip={weights}/clip.safetensors", "module.levels=[0,500]"),
        *(f"module.denoiser={denoiser}/denoiser", "module.tower=denoiser", "module.hidden=16"),
        f"module.autoencoder={autoencoder}/autoencoder",
    ]


def test_an_autoencoder_leaves_a_folder_that_diffusers_opens(autoencoder):
    place = autoencoder / "autoencoder"
    theirs, ours = AutoencoderKL.from_pretrained(place).eval(), from_pretrained(place)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean = theirs.encode(x).latent_dist.mean
    z = ours.encode(x)
    scale, shift = theirs.config.scaling_factor, theirs.config.shift_factor
    assert torch.allclose(z, (mean - shift) * scale, atol=1e-5) and z.shape == (2, 4, 16, 16)
    raw = z / scale + shift
    assert torch.allclose(raw, mean, atol=1e-5)
    assert torch.allclose(ours.decode(z), theirs.decode(raw).sample, atol=1e-5)
    assert "sdg" not in json.loads((place / "config.json").read_text())
    card = (place / "README.md").read_text()
    assert "| val/psnr |" in card and "AutoencoderKL.from_pretrained" in card
    assert (autoencoder / "samples" / "step-000004.png").is_file()
    table = (autoencoder / "metrics.csv").read_text()
    assert all(name in table for name in ("train/reconstruction", "train/kl", "val/psnr"))


def test_exported_latents_of_training_images_have_unit_variance(autoencoder):
    data = ShapesData(resolution=32, size=64, held_out=32, cache=str(CACHE))
    data.setup("fit")
    evenly = list(range(0, len(data.train), len(data.train) // 32))
    images = data.train.__getitems__(evenly)["image"]
    z = from_pretrained(autoencoder / "autoencoder").encode(images).double()
    assert abs(z.mean()) < 1e-5 and z.var(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_the_figure_is_the_psnr_of_held_out_images(autoencoder):
    data = ShapesData(resolution=32, size=64, held_out=32, cache=str(CACHE))
    data.setup("validate")
    x = data.held_out.__getitems__(list(range(32)))["image"]
    model = from_pretrained(autoencoder / "autoencoder")
    error = (model.decode(model.encode(x)).clamp(-1, 1) - x).square().mean((1, 2, 3))
    expected = (10 * torch.log10(4 / error)).mean().item()
    line = (autoencoder / "autoencoder" / "README.md").read_text().split("| val/psnr | ")[1]
    assert float(line.split(" ")[0]) == pytest.approx(expected, abs=0.02)


def test_a_resumed_autoencoder_is_that_of_a_run_that_did_not_stop(run, autoencoder, tmp_path):
    middle = autoencoder / "checkpoints" / "step=2.ckpt"
    run(*autoencoder_words(tmp_path / "run", KEEP), f"ckpt_path='{middle}'")
    assert files(tmp_path / "run" / "autoencoder") == files(autoencoder / "autoencoder")


def test_one_killed_before_its_export_gives_the_same_when_resumed(run, autoencoder, tmp_path):
    shutil.copytree(autoencoder / "checkpoints", tmp_path / "killed" / "checkpoints")
    last = f"ckpt_path={tmp_path}/killed/checkpoints/last.ckpt"
    run(*autoencoder_words(tmp_path / "run", KEEP), last)
    assert files(tmp_path / "run" / "autoencoder") == files(autoencoder / "autoencoder")


def test_one_starts_from_weights_and_from_a_folder_of_diffusers(run, autoencoder, tmp_path, capsys):
    place = autoencoder / "autoencoder"
    AutoencoderKL.from_pretrained(place).save_pretrained(tmp_path / "theirs")
    ends = []
    for name, init in (("a", place), ("b", tmp_path / "theirs")):
        run(*autoencoder_words(tmp_path / name, "trainer.max_steps=1"), f"init={init}")
        ends.append(files(tmp_path / name / "autoencoder"))
    assert ends[0] == ends[1]
    out = capsys.readouterr().out
    assert "init:" not in out  # of its scale and shift, which are measured at the end
    command = re.findall(r"^train a denoiser of its latents: (.*)$", out, re.MULTILINE)[-1]
    assert (
        f" denoiser.autoencoder={tmp_path}/b/autoencoder" in command and " data=shapes" in command
    )


def test_a_loss_that_is_no_number_ends_an_autoencoder(refusal, tmp_path):
    poison = ["+callbacks.poison._target_=poison.Poison", "+callbacks.poison.rank=null"]
    words = [*poison, "+callbacks.poison.batch=1"]
    line = refusal(*autoencoder_words(tmp_path / "run", *words))
    assert "the loss of step 1 is NaN or infinite" in line
    assert not (tmp_path / "run" / "autoencoder").exists()


def test_a_single_file_and_a_pipeline_hold_the_same_latents(autoencoder, denoiser, tmp_path):
    own, model = (
        from_pretrained(autoencoder / "autoencoder"),
        from_pretrained(denoiser / "denoiser"),
    )
    main(["convert", f"{autoencoder}/autoencoder", f"{tmp_path}/vae.safetensors"])
    main(["convert", f"{tmp_path}/vae.safetensors", f"{tmp_path}/folder"])
    assert from_pretrained(tmp_path / "vae.safetensors").latents_digest == own.latents_digest
    assert files(tmp_path / "folder") == files(autoencoder / "autoencoder")
    pipe = Pipeline(model, sampler=DDIM(2), autoencoder=own)
    pipe.save_pretrained(tmp_path / "pipe")
    again = Pipeline.from_pretrained(tmp_path / "pipe")
    assert (
        again.denoiser.autoencoder_digest == again.autoencoder.latents_digest == own.latents_digest
    )
    assert again.denoiser.sigma_data == 1.0
    assert torch.equal(pipe(progress=False).tensors, again(progress=False).tensors)


def test_a_denoiser_of_latents_is_trained_further(run, refusal, autoencoder, denoiser, tmp_path):
    own = f"denoiser.weights={denoiser}/denoiser"
    words = ["train.py", *COMMON, "denoiser=trained", own, *DRAWN, "logger=none"]
    words += [f"denoiser.autoencoder={autoencoder}/autoencoder", f"hydra.run.dir={tmp_path}/run"]
    line = refusal(*words, "data.resolution=64")
    assert "data.resolution=64, but this denoiser draws 32 pixels a side" in line
    run(*words)
    configs = [header(folder / "denoiser")["config"] for folder in (denoiser, tmp_path / "run")]
    assert configs[0] == configs[1]


@pytest.mark.slow
def test_the_printed_command_samples_a_tuned_folder_with_its_own_autoencoder(run, capsys, tmp_path):
    ldm(autoencoder_kl()).save_pretrained(tmp_path / "ldm")
    words = ["train.py", *COMMON, "denoiser=pretrained", f"denoiser.path={tmp_path}/ldm"]
    words += [*DRAWN, "logger=none", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    run(*words, f"hydra.run.dir={tmp_path}/train")
    command = re.search(r"^sample it: (.*)$", capsys.readouterr().out, re.MULTILINE)[1]
    words = shlex.split(command)[2:]
    assert f"denoiser.autoencoder={tmp_path}/ldm/vqvae" in words
    run("sample.py", *words, "num_samples=2", "sampler.steps=2", f"hydra.run.dir={tmp_path}/run")
    assert len(list((tmp_path / "run" / "images").iterdir())) == 2


def test_a_run_keeps_the_setting_of_its_autoencoder(run, autoencoder, tmp_path):
    """With what the logger writes, too: a model is built of a copy."""
    own = f"denoiser.autoencoder={autoencoder}/autoencoder"
    words = [*COMMON, *UNET, *DRAWN, "logger=csv", "trainer.max_steps=1", own]
    run("train.py", *words, "trainer.val_check_interval=1", f"hydra.run.dir={tmp_path}/run")
    logged = OmegaConf.load(next((tmp_path / "run").rglob("hparams.yaml")))
    assert logged.denoiser.autoencoder == f"{autoencoder}/autoencoder"


def weights_of(checkpoint) -> dict[str, torch.Tensor]:
    held = torch.load(checkpoint, weights_only=True)
    return held["state_dict"] | held["current_model_state"]


def test_a_checkpoint_of_latents_holds_no_autoencoder_and_goes_on_alike(
    run, autoencoder, denoiser, tmp_path
):
    middle = denoiser / "checkpoints" / "step=2.ckpt"
    assert all(name.startswith("model.") for name in weights_of(middle))
    own = f"denoiser.autoencoder={autoencoder}/autoencoder"
    words = ["train.py", *COMMON, *UNET, *DRAWN, "process=edm", "logger=none", own, KEEP]
    run(*words, f"hydra.run.dir={tmp_path}/run", f"ckpt_path='{middle}'")
    assert files(tmp_path / "run" / "denoiser") == files(denoiser / "denoiser")
    ends = [weights_of(run / "checkpoints" / "last.ckpt") for run in (tmp_path / "run", denoiser)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_checkpoint_of_an_encoder_of_latents_holds_no_autoencoder(run, encoder_words, tmp_path):
    run(*encoder_words, f"hydra.run.dir={tmp_path}/run")
    names = weights_of(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert names and not any(name.startswith(("autoencoder.", "frozen.")) for name in names)


def test_a_denoiser_of_images_keeps_its_estimates_within_the_range():
    assert new_denoiser({"clip": None}, None) == {"clip": True}
    assert new_denoiser({"clip": False}, None) == {"clip": False}


def test_a_denoiser_of_latents_knows_its_autoencoder(autoencoder, denoiser):
    own = header(denoiser / "denoiser")["config"]["denoiser"]
    digest = from_pretrained(autoencoder / "autoencoder").latents_digest
    known = (own["autoencoder_digest"], own["sigma_data"], own["channels"], own["clip"])
    assert known == (digest, 1.0, 4, False) and own["patch"] == 1 and "autoencoder" not in own
    model = from_pretrained(denoiser / "denoiser")
    assert (model.resolution, model.latents, model.sigma_data) == (16, True, 1.0)
    assert (denoiser / "samples" / "step-000004.png").is_file()


def test_the_encoder_reads_latents_and_its_teacher_images(
    run, encoder_words, autoencoder, denoiser, tmp_path, capsys
):
    run(*encoder_words, f"hydra.run.dir={tmp_path}/run")
    command = re.search(r"^sample with it: (.*)$", capsys.readouterr().out, re.MULTILINE)[1]
    words = {word.partition("=")[0]: word.partition("=")[2] for word in shlex.split(command)[2:]}
    clip = next(word for word in encoder_words if word.startswith("encoder.clip=")).partition("=")[
        2
    ]
    assert words.pop("encoder.clip") == clip and words.pop("data.cache") == str(CACHE)
    assert words.pop("data.size") and words.pop("data.held_out")
    assert words == {
        "data": "shapes",
        "data.resolution": "32",
        "denoiser.weights": f"{denoiser}/denoiser",
        "denoiser.autoencoder": f"{autoencoder}/autoencoder",
        "encoder.weights": f"{tmp_path}/run/clip_noisy",
    }
    config, _ = read_weights(tmp_path / "run" / "clip_noisy", "clip_noisy")
    digest = from_pretrained(denoiser / "denoiser").autoencoder_digest
    assert (config["latent_channels"], config["autoencoder_digest"]) == (4, digest)
    card = (tmp_path / "run" / "clip_noisy" / "README.md").read_text()
    assert "val/top1_t0" in card and "clean_top1" not in card
    assert "encoder.clip=… denoiser.weights=… denoiser.autoencoder=…\n" in card


@pytest.mark.parametrize("tower", ["clip", pytest.param("denoiser", marks=pytest.mark.slow)])
def test_the_three_files_sample_on_both_sides(
    run, tiny, encoder_words, autoencoder, denoiser, weights, tmp_path, tower
):
    run(*encoder_words, f"module.tower={tower}", f"hydra.run.dir={tmp_path}/encoder")
    kept = [w for w in tiny if not w.startswith(("denoiser.", "encoder.weights", "hydra"))]
    latents = [
        f"denoiser.weights={denoiser}/denoiser",
        f"denoiser.autoencoder={autoencoder}/autoencoder",
        *("prompt=a red heart", "guidance.interval=[0,1]", "num_samples=2"),
    ]
    sides = {
        "noisy": [f"encoder.weights={tmp_path}/encoder/clip_noisy"],
        "clean": ["encoder=clip", "guidance=dps", "guidance.gamma=3"],
    }
    for name, words in sides.items() if tower == "denoiser" else [("noisy", sides["noisy"])]:
        run("sample.py", *kept, *latents, *words, f"hydra.run.dir={tmp_path}/{name}")
        assert len(list((tmp_path / name / "images").iterdir())) == 2


def other_autoencoder(autoencoder, place):
    """The same network with another scale."""
    network = AutoencoderKL.from_pretrained(autoencoder / "autoencoder")
    network.register_to_config(scaling_factor=2.0)
    network.save_pretrained(place)
    return place


def test_another_autoencoder_is_refused(
    refusal, tiny, encoder_words, autoencoder, denoiser, tmp_path
):
    other = other_autoencoder(autoencoder, tmp_path / "other")
    kept = [w for w in tiny if not w.startswith("denoiser.")]
    words = [*kept, f"denoiser.weights={denoiser}/denoiser", "guidance.gamma=0"]
    line = refusal("sample.py", *words, f"denoiser.autoencoder={other}")
    assert "has learned the latents of another autoencoder than this one" in line
    assert "denoiser.autoencoder=FOLDER" in refusal("sample.py", *words)
    line = refusal(*encoder_words, f"module.autoencoder={other}")
    assert "the latents of another autoencoder" in line
    assert "set module.autoencoder=FOLDER" in refusal(*encoder_words, "module.autoencoder=null")


def test_parts_of_two_autoencoders_do_not_go_together(autoencoder, denoiser, weights):
    own = from_pretrained(autoencoder / "autoencoder")
    model = from_pretrained(denoiser / "denoiser")
    clip = from_pretrained(weights / "clip.safetensors")
    vision = clip.config["model"]["vision_cfg"] | {"image_size": 16}
    config = clip.config | {"model": clip.config["model"] | {"vision_cfg": vision}}
    process = model.schedule.config
    of_another = {"latent_channels": 4, "autoencoder_digest": "0123456789abcdef"}
    encoder = NoiseAwareEncoder(clip.towers.visual, config, process, 32, 32, **of_another)
    with pytest.raises(UserError, match="the encoder has learned the latents of another"):
        Pipeline(model, encoder, clip, autoencoder=own)
    weaker = from_pretrained(denoiser / "denoiser")
    guided = guided_denoiser(model, autoguidance=weaker, autoguidance_scale=2.0)
    Pipeline(guided, autoencoder=own)
    weaker.autoencoder_digest = "0123456789abcdef"
    with pytest.raises(
        UserError, match="autoguidance: the two denoisers draw latents of different"
    ):
        guided_denoiser(model, autoguidance=weaker, autoguidance_scale=2.0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["denoiser.clip=true"], "denoiser.clip=true keeps estimates within [-1, 1]"),
        (["++denoiser.clip=True"], "denoiser.clip=true keeps estimates within [-1, 1]"),
        (["denoiser={clip:true}"], "denoiser.clip=true keeps estimates within [-1, 1]"),
        (["denoiser.sigma_data=1"], "denoiser.sigma_data has no effect without process=edm"),
        (["data.resolution=33"], "must be a multiple of 2, by which denoiser.autoencoder="),
        (["data.resolution=34"], "the side of the latents, 17, must be a multiple of 2"),
        (["denoiser.autoencoder=/nowhere"], "/nowhere"),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value, list) else "",
)
def test_what_a_denoiser_of_latents_cannot_be(refusal, autoencoder, words, told):
    own = f"denoiser.autoencoder={autoencoder}/autoencoder"
    assert told in refusal("train.py", *COMMON, *UNET, own, *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data.resolution=33"], "data.resolution=33 must be a multiple of 2"),
        (["encoder.network.norm_num_groups=3"], "encoder.network: no network can be built"),
        (["denoiser.patch=2"], "denoiser.patch has no effect on training kind=autoencoder"),
        (["module.reconstruction=l2"], "module.reconstruction must be one of l1, squared"),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value, list) else "",
)
def test_what_an_autoencoder_cannot_be(refusal, tmp_path, words, told):
    assert told in refusal(*autoencoder_words(tmp_path / "run", *words))


@pytest.mark.slow
def test_a_compiled_autoencoder_learns_what_a_plain_one_does(run, autoencoder, tmp_path):
    run(*autoencoder_words(tmp_path / "run", "compile=true"))
    cards = [folder / "autoencoder" / "README.md" for folder in (autoencoder, tmp_path / "run")]
    plain, compiled = (float(card.read_text().split("| val/psnr | ")[1][:5]) for card in cards)
    assert compiled == pytest.approx(plain, abs=0.02)
