"""`SemanticGuider` in diffusers' modular pipeline of Stable Diffusion XL, as the docs write it."""

import re

import pytest
import torch
from conftest import ROOT
from PIL import Image

pytest.importorskip("transformers")

from stable_diffusion import SIDE, saved, stable_diffusion_xl  # noqa: E402
from untrained import CLIP_MODEL, NETWORK  # noqa: E402

from sdg import DDIM, MPGD, Pipeline, from_pretrained  # noqa: E402
from sdg.data.image import to_uint8  # noqa: E402
from sdg.diffusion.noise import Noise  # noqa: E402
from sdg.io.weights import save  # noqa: E402
from sdg.models.clip import CLIP  # noqa: E402
from sdg.models.unet import UNetEncoder  # noqa: E402

PROCESS = {"kind": "scaled_linear", "T": 1000, "betas": [0.00085, 0.012]}
PAGE = (ROOT / "docs" / "other-models.md").read_text()


def recipe(heading: str) -> str:
    """The Python below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def parts(request, tmp_path_factory):
    """A folder with `FOLDER`, `ENCODER` and `CLIP` of the recipe."""
    place = tmp_path_factory.mktemp("modular")
    pipe = stable_diffusion_xl(place / "words", prediction_type=request.param)
    saved(pipe, place / "FOLDER")
    torch.manual_seed(4)
    vision = CLIP_MODEL["vision_cfg"] | {"image_size": SIDE}
    clip = CLIP(CLIP_MODEL | {"vision_cfg": vision}, ("a", "red", "circle"))
    encoder = UNetEncoder(clip.config, PROCESS, NETWORK, latent_channels=4)
    save(place / "CLIP.safetensors", "clip", clip, clip.config)
    save(place / "ENCODER.safetensors", "clip_noisy", encoder, encoder.config)
    return place


def run(code: str, place, **replaced: str) -> dict:
    """What a recipe leaves, with the names of its files and some words replaced."""
    for name in ("FOLDER", "ENCODER", "CLIP"):
        code = code.replace(f'"{name}"', f'"{place / name}"')
    code = code.replace('/ENCODER"', '/ENCODER.safetensors"').replace(
        '/CLIP"', '/CLIP.safetensors"'
    )
    for word, other in replaced.items():
        assert word in code
        code = code.replace(word, other)
    names: dict = {}
    exec(code, names)
    return names


def test_the_docs_recipe_draws_what_the_pipeline_draws(parts):
    code = recipe("In diffusers' own pipelines")
    assert len(code.strip().splitlines()) <= 10
    steps = 4
    ours = Pipeline.from_pretrained(parts / "FOLDER", prompt="a barn", guidance_scale=7.5)
    encoder = from_pretrained(parts / "ENCODER.safetensors")
    clip = from_pretrained(parts / "CLIP.safetensors")
    whole = Pipeline(ours.denoiser, encoder, clip, autoencoder=ours.autoencoder)
    whole.pictures = lambda latents: latents
    kept = []
    drawn = whole(
        "a red circle",
        gamma=30.0,
        sampler=DDIM(steps, spacing="trailing"),
        callback=lambda done, step: kept.append(step.x),
        progress=False,
    )
    noise = Noise(drawn.seeds, (4, SIDE, SIDE))()
    call = f"num_inference_steps={steps}, latents=noise, height={2 * SIDE}, width={2 * SIDE}"
    replaced = {
        "num_inference_steps=30": call,
        'output="images"': 'output="latents"',
    }
    code = code.replace("from diffusers", "noise = NOISE\nfrom diffusers", 1)
    with_noise = {"noise = NOISE": f"import torch\nnoise = torch.load({str(parts / 'z.pt')!r})"}
    torch.save(noise, parts / "z.pt")
    theirs = run(code, parts, **(with_noise | replaced))["images"]
    assert (kept[-1] - theirs).abs().max() < 1e-5 * theirs.abs().max()
    off = {'"gamma": 30.0': '"gamma": 0.0'}
    without = run(code, parts, **(with_noise | replaced | off))["images"]
    alone = {"guider=guider": "guider=pipe.guider"}
    inner = run(code, parts, **(with_noise | replaced | alone))["images"]
    assert torch.equal(without, inner)
    assert (without - theirs).abs().max() > 1e-3 * theirs.abs().max()


def test_the_docs_recipe_of_stable_diffusion_runs(parts, tmp_path):
    Image.new("RGB", (2 * SIDE, 2 * SIDE), (20, 60, 200)).save(tmp_path / "picture.png")
    torch.manual_seed(4)
    clip = CLIP(CLIP_MODEL, ("a", "red", "circle"))
    save(tmp_path / "clip.safetensors", "clip", clip, clip.config)
    code = recipe("Stable Diffusion")
    names = run(
        code,
        parts,
        **{
            '"ViT-B-32:openai"': repr(str(tmp_path / "clip.safetensors")),
            '"picture.png"': repr(str(tmp_path / "picture.png")),
            "DDIM(50)": "DDIM(2)",
        },
    )
    pipe = names["pipe"]
    options = {"style": str(tmp_path / "picture.png"), "sampler": DDIM(2), "progress": False}
    images = [pipe(guidance=MPGD(gamma), **options).tensors for gamma in (0.0, 30.0)]
    assert not torch.equal(*map(to_uint8, images))
