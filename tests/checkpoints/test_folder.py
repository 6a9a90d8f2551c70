"""A trained part as a folder: what goes in comes out, diffusers opens a denoiser's, and the card's own lines run."""

import json
import re
import shutil

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline
from diffusers.utils.torch_utils import randn_tensor

from sdg.checkpoints import from_pretrained
from sdg.checkpoints.__main__ import main
from sdg.checkpoints.folder import save_folder
from sdg.checkpoints.models import build_denoiser, load_clip, load_denoiser
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import ddpm_step
from sdg.encoders.classifier import NoisyClassifier
from sdg.encoders.clip import CLIP
from sdg.encoders.noise_aware import NoiseAwareEncoder
from sdg.errors import UserError
from sdg.metrics.judge import Judge
from sdg.report.card import CARD, heading

KINDS = {"denoiser": Denoiser, "clip": CLIP, "clip_noisy": NoiseAwareEncoder, "classifier_noisy": NoisyClassifier, "judge": Judge}
NETWORK = {"block_out_channels": [8, 8], "layers_per_block": 1, "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "norm_num_groups": 4, "attention_head_dim": 8}


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_comes_back_from_its_folder(weights, tmp_path, kind):
    model = from_pretrained(weights / f"{kind}.safetensors")
    again = from_pretrained(save_folder(tmp_path / "part", kind, model))
    assert type(again) is KINDS[kind] and json.loads(json.dumps(again.config)) == json.loads(json.dumps(model.config))
    assert again.state_dict().keys() == model.state_dict().keys() and all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
@pytest.mark.parametrize("patch, variance", [(1, "fixed_small"), (2, "fixed_small"), (2, "fixed_large")])
@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_diffusers_draws_from_the_folder_what_is_drawn_here(tmp_path, prediction, patch, variance, kind):
    torch.manual_seed(0)
    T = 50
    model = build_denoiser({"prediction": prediction, "variance": variance, "patch": patch, "network": NETWORK}, {"kind": kind, "T": T}, 16).eval().requires_grad_(False)
    pipeline = DDPMPipeline.from_pretrained(save_folder(tmp_path / "part", "denoiser", model))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(batch_size=2, num_inference_steps=T, output_type="np", generator=torch.Generator().manual_seed(3)).images
    theirs = F.pixel_shuffle(torch.from_numpy(theirs).permute(0, 3, 1, 2), patch)

    generator = torch.Generator().manual_seed(3)

    def noise():  # the pipeline's draws, in its order
        return F.pixel_shuffle(randn_tensor((2, 3 * patch**2, 16 // patch, 16 // patch), generator), patch)
    x = noise()
    for t in range(T - 1, -1, -1):
        x = ddpm_step(model, x, t, t - 1, noise)[0]
    torch.testing.assert_close(theirs, (x / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)


def test_half_precision_is_stored_half_and_read_full(weights, tmp_path):
    model = load_denoiser(weights / "denoiser.safetensors")
    full, half = (save_folder(tmp_path / str(half), "denoiser", model, half) / "unet" / "diffusion_pytorch_model.safetensors" for half in (False, True))
    assert half.stat().st_size < 0.65 * full.stat().st_size
    again = from_pretrained(tmp_path / "True").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(again[name].float(), value.half().float() if value.ndim > 1 else value), name
    network = DDPMPipeline.from_pretrained(tmp_path / "True").unet
    assert network.dtype == torch.float32 and all(torch.equal(value, again[f"network.{name}"].float()) for name, value in network.state_dict().items())


def test_what_diffusers_cannot_say_is_a_folder_of_ours(tmp_path, weights):
    torch.manual_seed(0)
    model = build_denoiser({"time_scale": 0.25, "network": NETWORK}, {"kind": "linear", "T": 40}, 16).eval()
    folder = save_folder(tmp_path / "part", "denoiser", model)
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors"}
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(from_pretrained(folder)(x, 8)[0], model.requires_grad_(False)(x, 8)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_on_a_card_run(weights, tmp_path, kind):
    main(["convert", str(weights / f"{kind}.safetensors"), str(tmp_path / "part")])
    (block,) = re.findall(r"```python\n(.*?)```", (tmp_path / "part" / CARD).read_text(), re.DOTALL)
    found = {}
    exec(block.replace("FOLDER", str(tmp_path / "part")).replace("pipeline(batch_size=4", "pipeline(batch_size=4, num_inference_steps=2"), found)
    assert type(found["model"]) is KINDS[kind]
    if kind == "denoiser":  # of patches of two pixels
        assert found["images"].shape == (4, 3, 32, 32) and 0 <= found["images"].min() and found["images"].max() <= 1


def test_the_card_of_a_denoiser_of_single_pixels_gives_pictures(tmp_path):
    torch.manual_seed(0)
    folder = save_folder(tmp_path / "part", "denoiser", build_denoiser({"network": NETWORK}, {"kind": "cosine", "T": 4}, 16).eval())
    (block,) = re.findall(r"```python\n(.*?)```", heading(folder, "denoiser"), re.DOTALL)
    found = {}
    exec(block.replace("FOLDER", str(folder)).replace("batch_size=4", "batch_size=4, num_inference_steps=2"), found)
    assert [image.size for image in found["images"]] == [(16, 16)] * 4


def test_a_converted_files_card_goes_along(weights, tmp_path, capsys):
    shutil.copy(weights / "clip.safetensors", tmp_path / "mine.safetensors")
    (tmp_path / "mine.md").write_text("# Mine\n\nval/shape 0.9985\n")
    main(["convert", str(tmp_path / "mine.safetensors"), str(tmp_path / "part")])
    card = (tmp_path / "part" / CARD).read_text()
    assert "val/shape 0.9985" in card and "# Mine" not in card and card.startswith("---\nlibrary_name: sdg\n")
    main(["convert", str(tmp_path / "part"), str(tmp_path / "again.safetensors")])
    one, other = (from_pretrained(tmp_path / name).state_dict() for name in ("mine.safetensors", "again.safetensors"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    capsys.readouterr()
    main(["inspect", str(tmp_path / "part")])
    assert "folder      this project's, a clip" in capsys.readouterr().out


# --- damaged folders ---------------------------------------------------------------------------------------------------------

def said(path):
    with pytest.raises(UserError) as error:
        from_pretrained(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_damaged_folders_are_refused_in_a_sentence(weights, tmp_path):
    folder = save_folder(tmp_path / "part", "clip", from_pretrained(weights / "clip.safetensors"))
    config, tensors = (folder / "config.json").read_bytes(), (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(tensors[:1000])
    assert "damaged" in said(folder)
    (folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in said(folder)
    (folder / "model.safetensors").write_bytes(tensors)
    (folder / "config.json").write_bytes(config[:100])
    assert "damaged" in said(folder)
    (folder / "config.json").write_text(json.dumps({"sdg": {"kind": "clap", "config": {}}}))
    assert "must be one of denoiser, clip" in said(folder)
    (folder / "config.json").write_text(json.dumps({"sdg": {"kind": "clip", "config": {"words": ["a"]}}}))
    assert "builds no model (TypeError" in said(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json" in said(folder)


def test_the_folder_of_a_run_names_that_of_the_part(weights, tmp_path):
    for kind in ("clip", "denoiser"):
        save_folder(tmp_path / kind, kind, from_pretrained(weights / f"{kind}.safetensors"))
    for load in (load_clip, load_denoiser):
        with pytest.raises(UserError, match=f"(?i)did you mean {tmp_path}/{load.__name__.removeprefix('load_')}\\?"):
            load(tmp_path)
