"""A trained part as a folder.

What goes in comes out, diffusers opens a denoiser's, and the card's own lines run.
"""

import json
import re
import shutil
import signal
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from adm import Net, random_weights
from attack.fresh import watch
from diffusers import DDPMPipeline, DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor
from killing import ended, fork

from sdg import from_pretrained
from sdg.app.checkpoints import main
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import ddpm_step
from sdg.errors import UserError
from sdg.io.weights import save
from sdg.io.weights_folder import save_folder, swap
from sdg.models.build import build_denoiser
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import load_clip, load_denoiser
from sdg.report.card import CARD, heading, write_card

KINDS = {
    "denoiser": Denoiser,
    "clip": CLIP,
    "clip_noisy": NoiseAwareEncoder,
    "classifier_noisy": NoisyClassifier,
    "judge": Judge,
}
NETWORK = {
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_comes_back_from_its_folder(weights, tmp_path, kind):
    model = from_pretrained(weights / f"{kind}.safetensors")
    again = from_pretrained(save_folder(tmp_path / "part", kind, model))
    assert type(again) is KINDS[kind] and json.loads(json.dumps(again.config)) == json.loads(
        json.dumps(model.config)
    )
    assert again.state_dict().keys() == model.state_dict().keys() and all(
        torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items()
    )
    assert not again.training and not any(
        parameter.requires_grad for parameter in again.parameters()
    )


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
@pytest.mark.parametrize(
    "patch, variance",
    [(1, "fixed_small"), (2, "fixed_small"), (2, "fixed_large"), (2, "learned_range")],
)
@pytest.mark.parametrize(
    "kind, T",
    [
        pytest.param("cosine", 50, marks=pytest.mark.slow),
        ("cosine", 4),
        pytest.param("linear", 50, marks=pytest.mark.slow),
        ("linear", 21),
    ],
)
def test_diffusers_draws_from_the_folder_what_is_drawn_here(
    tmp_path, prediction, patch, variance, kind, T
):
    torch.manual_seed(0)
    model = (
        build_denoiser(
            {"prediction": prediction, "variance": variance, "patch": patch, "network": NETWORK},
            {"kind": kind, "T": T},
            16,
        )
        .eval()
        .requires_grad_(False)
    )
    pipeline = DDPMPipeline.from_pretrained(save_folder(tmp_path / "part", "denoiser", model))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        batch_size=2,
        num_inference_steps=T,
        output_type="np",
        generator=torch.Generator().manual_seed(3),
    ).images
    theirs = F.pixel_shuffle(torch.from_numpy(theirs).permute(0, 3, 1, 2), patch)

    generator = torch.Generator().manual_seed(3)

    def noise():  # the pipeline's draws, in its order
        return F.pixel_shuffle(
            randn_tensor((2, 3 * patch**2, 16 // patch, 16 // patch), generator), patch
        )

    x = noise()
    for t in range(T - 1, -1, -1):
        x = ddpm_step(model, x, t, t - 1, noise)[0]
    torch.testing.assert_close(theirs, (x / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)


def test_half_precision_is_stored_half_and_read_full(weights, tmp_path):
    model = load_denoiser(weights / "denoiser.safetensors")
    full, half = (
        save_folder(tmp_path / str(half), "denoiser", model, half)
        / "unet"
        / "diffusion_pytorch_model.safetensors"
        for half in (False, True)
    )
    assert half.stat().st_size < 0.65 * full.stat().st_size
    again = from_pretrained(tmp_path / "True").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(
            again[name].float(), value.half().float() if value.ndim > 1 else value
        ), name
    network = DDPMPipeline.from_pretrained(tmp_path / "True").unet
    assert network.dtype == torch.float32 and all(
        torch.equal(value, again[f"network.{name}"].float())
        for name, value in network.state_dict().items()
    )


def test_what_diffusers_cannot_say_is_a_folder_of_ours(tmp_path, weights):
    torch.manual_seed(0)
    model = build_denoiser(
        {"time_scale": 0.25, "network": NETWORK}, {"kind": "linear", "T": 40}, 16
    ).eval()
    folder = save_folder(tmp_path / "part", "denoiser", model)
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors"}
    few = save_folder(
        tmp_path / "few",
        "denoiser",
        build_denoiser({"network": NETWORK}, {"kind": "linear", "T": 20}, 16),
    )
    assert {file.name for file in few.iterdir()} == {"config.json", "model.safetensors"}
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(
        from_pretrained(folder)(x, 8)[0], model.requires_grad_(False)(x, 8)[0], rtol=0, atol=1e-5
    )


def run_card(folder) -> dict:
    """What the lines of a folder's card leave."""
    (block,) = re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(), re.DOTALL)
    found = {}
    exec(block.replace("FOLDER", str(folder)), found)
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "denoiser"])
def test_the_lines_on_a_card_run(weights, tmp_path, kind):
    main(["convert", str(weights / f"{kind}.safetensors"), str(tmp_path / "part")])
    assert type(run_card(tmp_path / "part")["model"]) is KINDS[kind]


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("T", [4, pytest.param(1100, marks=pytest.mark.slow)])
def test_the_lines_on_a_denoisers_card_run_and_draw_at_all_its_levels(
    tmp_path, patch, T, monkeypatch
):
    torch.manual_seed(0)
    model = build_denoiser(
        {"patch": patch, "network": NETWORK}, {"kind": "cosine", "T": T}, 16
    ).eval()
    save(tmp_path / "one.safetensors", "denoiser", model, model.config)
    main(["convert", str(tmp_path / "one.safetensors"), str(tmp_path / "part")])
    steps, step = [], DDPMScheduler.step
    monkeypatch.setattr(
        DDPMScheduler,
        "step",
        lambda self, out, t, *rest, **options: (
            steps.append(int(t)) or step(self, out, t, *rest, **options)
        ),
    )
    found = run_card(tmp_path / "part")
    assert isinstance(found["model"], Denoiser) and steps == list(range(T - 1, -1, -1))
    if patch == 1:
        assert [image.size for image in found["images"]] == [(16, 16)] * 4
    else:
        assert (
            found["images"].shape == (4, 3, 16, 16)
            and 0 <= found["images"].min()
            and found["images"].max() <= 1
        )


def test_a_class_conditional_denoiser_and_what_an_adm_file_cannot_tell_can_be_said(tmp_path):
    torch.manual_seed(0)
    model = build_denoiser(
        {"network": NETWORK | {"num_class_embeds": 3}}, {"kind": "cosine", "T": 4}, 16
    ).eval()
    folder = save_folder(
        tmp_path / "part", "denoiser", model
    )  # of ours: DDPMPipeline gives no class
    (folder / CARD).write_text(heading(folder, "denoiser", model.config))
    assert (
        run_card(tmp_path / "part")["model"].label == 0
        and "denoiser.label=0" in (tmp_path / "part" / CARD).read_text()
    )
    x = torch.rand(1, 3, 16, 16)
    assert not torch.equal(
        *(from_pretrained(tmp_path / "part", label=label)(x, 2)[0] for label in (0, 2))
    )
    with pytest.raises(UserError, match="label must be an integer from 0 to 2"):
        from_pretrained(tmp_path / "part")
    torch.save(random_weights(Net(32, (1, 2), 1, (1,), head_width=16)), tmp_path / "adm.pt")
    said = {
        "resolution": 8,
        "schedule": "linear",
        "T": 1000,
        "qkv": "heads_first",
        "head_width": 16,
    }
    assert from_pretrained(tmp_path / "adm.pt", **said).config["resolution"] == 8
    for wrong, message in (
        ({"qvk": "heads_first"}, "qvk.*did you mean 'qkv'"),
        (
            {"schedule": "linaer"},
            "^schedule must be one of linear, scaled_linear.*did you mean 'linear'",
        ),
        ({"time_scale": 0}, "^time_scale"),
    ):
        with pytest.raises(UserError, match=message):
            from_pretrained(tmp_path / "adm.pt", **said | wrong)


def test_settings_of_a_denoiser_are_not_said_of_another_part(weights):
    with pytest.raises(UserError, match="holds a clip; label, qkv can be said of a denoiser alone"):
        from_pretrained(weights / "clip.safetensors", label=1, qkv="heads_first")


def test_the_weights_that_the_config_names_are_read_whatever_else_lies_there(tmp_path, weights):
    torch.manual_seed(0)
    plain, scaled = (
        build_denoiser(
            {"time_scale": scale, "network": NETWORK}, {"kind": "cosine", "T": 40}, 16
        ).eval()
        for scale in (1, 0.5)
    )
    for model in (
        plain,
        scaled,
        plain,
    ):  # a diffusers folder, one of ours, and a diffusers folder again
        again = from_pretrained(save_folder(tmp_path / "part", "denoiser", model)).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
        assert not (
            tmp_path / "part" / ("unet" if model is scaled else "model.safetensors")
        ).exists()
    config = json.loads((tmp_path / "part" / "config.json").read_text())
    del config["sdg"]["file"]  # as folders were first written
    (tmp_path / "part" / "config.json").write_text(json.dumps(config))
    assert all(
        torch.equal(value, again[name])
        for name, value in from_pretrained(tmp_path / "part").state_dict().items()
    )


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_the_earlier_one_or_its_own(tmp_path, weights):
    model = from_pretrained(weights / "denoiser.safetensors")
    earlier = save_folder(tmp_path / "earlier", "denoiser", model)
    torch.nn.init.zeros_(model.network.conv_in.weight)
    own = save_folder(tmp_path / "own", "denoiser", model)
    codes, left, mid = [], [], 0
    while not codes or codes[-1]:
        folder = tmp_path / str(len(codes) + 1)
        shutil.copytree(earlier, folder)
        shutil.copytree(own, folder / ".part")
        codes.append(ended(fork(partial(killed, folder, len(codes) + 1)), 60))
        left.append(bool(from_pretrained(folder).network.conv_in.weight.any()))
        mid += (folder / ".old").exists()
        again = from_pretrained(save_folder(folder, "denoiser", model))
        assert not again.network.conv_in.weight.any()
        assert {file.name for file in folder.iterdir()} == {file.name for file in own.iterdir()}
    assert set(codes[:-1]) == {-signal.SIGKILL} and mid >= 4
    assert left == sorted(left, reverse=True) and left[0] and not left[-1]


def killed(folder, change):
    watch(folder, change, signal.SIGKILL, folder)
    swap(folder / ".part", folder)


def test_a_card_survives_every_conversion(tmp_path, weights):
    run = tmp_path / "run"
    folder = save_folder(
        run / "clip", "clip", model := from_pretrained(weights / "clip.safetensors")
    )
    (run / "config.yaml").write_text("kind: clip\n")
    (run / "versions.json").write_text("{}")
    write_card(
        folder,
        "clip",
        model,
        "python train.py encoder=clip",
        "1 CPU core",
        60,
        {"val/top1": 0.9876},
    )
    main(["convert", str(folder), str(tmp_path / "half"), "--half"])
    main(["convert", str(tmp_path / "half"), str(tmp_path / "file.safetensors")])
    main(["convert", str(tmp_path / "file.safetensors"), str(tmp_path / "back")])
    cards = [(place / CARD).read_text() for place in (folder, tmp_path / "half", tmp_path / "back")]
    assert (
        cards[0] == cards[1] == cards[2]
        and "| val/top1 | 0.9876 |" in cards[0]
        and cards[0].count("library_name") == 1
    )


@pytest.mark.parametrize("home", ["/", "/nowhere"])
def test_a_card_shortens_places_and_nothing_else(tmp_path, weights, monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    run = tmp_path / "run"
    folder = save_folder(
        run / "clip", "clip", model := from_pretrained(weights / "clip.safetensors")
    )
    (run / "config.yaml").write_text(
        f"a: {run}/checkpoints\nb: {run}2/x\nc: /data/faces\nd: {run}\ne: {home}x\nf: /nowhere/x\n"
    )
    (run / "versions.json").write_text("{}")
    card = write_card(
        folder,
        "clip",
        model,
        f"python train.py data.root=/data/faces hydra.run.dir={run}",
        "1 CPU core",
        None,
        {},
    ).read_text()
    assert (
        f"a: ./checkpoints\nb: {run}2/x\nc: /data/faces\nd: .\ne: {home}x\nf: "
        f"{'~' if home == '/nowhere' else home + 'nowhere'}/x\n" in card
    )
    assert "python train.py data.root=/data/faces hydra.run.dir=." in card


def test_a_converted_files_card_goes_along(weights, tmp_path, capsys):
    shutil.copy(weights / "clip.safetensors", tmp_path / "mine.safetensors")
    (tmp_path / "mine.md").write_text("# Mine\n\nval/shape 0.9985\n")
    main(["convert", str(tmp_path / "mine.safetensors"), str(tmp_path / "part")])
    card = (tmp_path / "part" / CARD).read_text()
    assert (
        "val/shape 0.9985" in card
        and "# Mine" not in card
        and card.startswith("---\nlibrary_name: sdg\n")
    )
    main(["convert", str(tmp_path / "part"), str(tmp_path / "again.safetensors")])
    one, other = (
        from_pretrained(tmp_path / name).state_dict()
        for name in ("mine.safetensors", "again.safetensors")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    capsys.readouterr()
    main(["inspect", str(tmp_path / "part")])
    assert "folder      this project's, a clip" in capsys.readouterr().out


# --- damaged folders ----------------------------------------------------------------------------


def said(path):
    with pytest.raises(UserError) as error:
        from_pretrained(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_damaged_folders_are_refused_in_a_sentence(weights, tmp_path):
    folder = save_folder(tmp_path / "part", "clip", from_pretrained(weights / "clip.safetensors"))
    config, tensors = (
        (folder / "config.json").read_bytes(),
        (folder / "model.safetensors").read_bytes(),
    )
    (folder / "model.safetensors").write_bytes(tensors[:1000])
    assert "damaged" in said(folder)
    with pytest.raises(SystemExit, match="error: .*damaged"):
        main(["inspect", str(folder)])
    (folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in said(folder)
    (folder / "model.safetensors").write_bytes(tensors)
    (folder / "config.json").write_bytes(config[:100])
    assert "damaged" in said(folder)
    (folder / "config.json").write_text(json.dumps({"sdg": {"kind": "clap", "config": {}}}))
    assert "must be one of denoiser, autoencoder, clip" in said(folder)
    (folder / "config.json").write_text(
        json.dumps({"sdg": {"kind": "clip", "config": {"words": ["a"]}}})
    )
    assert "builds no model (it lacks 'model')" in said(folder)
    for wrong in ({"norm_num_groups": 0}, {"block_out_channels": []}):
        (folder / "config.json").write_text(
            json.dumps(
                {
                    "sdg": {
                        "kind": "denoiser",
                        "config": {
                            "denoiser": {"network": NETWORK | wrong},
                            "schedule": {"kind": "cosine", "T": 4},
                            "resolution": 16,
                        },
                    }
                }
            )
        )
        assert "builds no model" in said(folder)
    (folder / "config.json").write_text(
        json.dumps({"sdg": {"kind": "clip", "config": {}, "file": "../other.safetensors"}})
    )
    assert "must be one of model.safetensors, unet/" in said(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json" in said(folder)


def test_the_folder_of_a_run_names_that_of_the_part(weights, tmp_path):
    for kind in ("clip", "denoiser"):
        save_folder(tmp_path / kind, kind, from_pretrained(weights / f"{kind}.safetensors"))
    for load in (load_clip, load_denoiser):
        with pytest.raises(
            UserError, match=f"(?i)did you mean {tmp_path}/{load.__name__.removeprefix('load_')}\\?"
        ):
            load(tmp_path)
