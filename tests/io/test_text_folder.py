"""Folders of Stable Diffusion: what diffusers' own pipelines draw, and a line for what is wrong."""

import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from diffusers import UNet2DConditionModel  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from stable_diffusion import (  # noqa: E402
    LENGTH,
    SIDE,
    WIDTH,
    autoencoder,
    saved,
    scheduler,
    stable_diffusion,
    stable_diffusion_2,
    stable_diffusion_xl,
)

from sdg import (  # noqa: E402
    DDIM,
    MPGD,
    Pipeline,
    UserError,
    from_pretrained,
    guided_denoiser,
)
from sdg.app.checkpoints import main  # noqa: E402
from sdg.diffusion.noise import Noise  # noqa: E402
from sdg.diffusion.sampling import sample  # noqa: E402
from sdg.io import prompt_embeddings  # noqa: E402
from sdg.io.digest import content  # noqa: E402
from sdg.io.text_folder import network_arguments  # noqa: E402
from sdg.models.autoencoder import Autoencoder  # noqa: E402
from sdg.models.text_unet import TextUNet  # noqa: E402

MODELS = {"sd": stable_diffusion, "sd2": stable_diffusion_2, "xl": stable_diffusion_xl}
SENTENCE = "a red barn"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: (diffusers' pipeline, its folder)}."""
    place = tmp_path_factory.mktemp("models")
    made = {}
    for name, make in MODELS.items():
        pipe = make(place / name)
        made[name] = pipe, saved(pipe, place / name / "folder")
    return made


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of Stable Diffusion's folder, to damage."""
    return shutil.copytree(folders["sd"][1], tmp_path / "sd")


@pytest.fixture
def folder_xl(folders, tmp_path):
    return shutil.copytree(folders["xl"][1], tmp_path / "xl")


def their_latents(pipe, noise, steps=4, **options):
    drawn = pipe(
        SENTENCE, num_inference_steps=steps, latents=noise, output_type="latent", **options
    )
    return drawn.images


def our_latents(denoiser, noise, steps=4):
    return sample(denoiser, DDIM(steps, spacing="trailing"), lambda *_: noise)


def noise_of(count=2):
    return Noise(range(count), (4, SIDE, SIDE))()


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("negative", [None, "", "blue, bad"])
def test_ddim_with_guidance_is_that_of_diffusers_own_pipeline(folders, name, negative):
    theirs, folder = folders[name]
    ours = Pipeline.from_pretrained(
        folder, prompt=SENTENCE, negative_prompt=negative, guidance_scale=7.5
    )
    noise = noise_of(1)
    expected = their_latents(theirs, noise, guidance_scale=7.5, negative_prompt=negative)
    assert relative(our_latents(ours.denoiser, noise), expected) < 1e-5
    assert ours.shape == (3, 2 * SIDE, 2 * SIDE)


@pytest.mark.parametrize("name", MODELS)
def test_without_guidance_the_prompt_alone_counts(folders, name):
    theirs, folder = folders[name]
    noise = noise_of(1)
    alone = our_latents(from_pretrained(folder, prompt=SENTENCE), noise)
    assert relative(alone, their_latents(theirs, noise, guidance_scale=1.0)) < 1e-5
    other = our_latents(from_pretrained(folder, prompt="blue"), noise)
    assert relative(other, alone) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_v_prediction_is_that_of_diffusers_too(tmp_path, name):
    theirs = MODELS[name](tmp_path, prediction_type="v_prediction")
    denoiser = from_pretrained(saved(theirs, tmp_path / "folder"), prompt=SENTENCE)
    assert denoiser.prediction == "v"
    noise = noise_of(1)
    guided = guided_denoiser(denoiser, guidance_scale=5.0)
    expected = their_latents(theirs, noise, guidance_scale=5.0)
    assert relative(our_latents(guided, noise), expected) < 1e-5


def test_an_xl_that_encodes_the_empty_sentence_is_that_of_diffusers(tmp_path):
    theirs = stable_diffusion_xl(tmp_path, zeros=False)
    folder = saved(theirs, tmp_path / "folder")
    assert json.loads((folder / "model_index.json").read_text())[
        "force_zeros_for_empty_prompt"
    ] in (False,)
    ours = Pipeline.from_pretrained(folder, prompt=SENTENCE, guidance_scale=3.0)
    noise = noise_of(1)
    expected = their_latents(theirs, noise, guidance_scale=3.0)
    assert relative(our_latents(ours.denoiser, noise), expected) < 1e-5


def test_an_xl_without_an_index_takes_diffusers_default(folder_xl, folders):
    (folder_xl / "model_index.json").unlink()
    network = from_pretrained(folder_xl, prompt=SENTENCE).network
    assert not network.prompts[1].any() and not network.pooled[1].any()


def test_a_larger_xl_image_is_conditioned_on_its_own_size(folders):
    theirs, folder = folders["xl"]
    noise = Noise([0], (4, 2 * SIDE, 2 * SIDE))()
    denoiser = from_pretrained(folder, prompt=SENTENCE)
    side = 4 * SIDE
    expected = their_latents(theirs, noise, guidance_scale=1.0, height=side, width=side)
    assert relative(our_latents(denoiser, noise), expected) < 1e-5


def test_samples_of_a_batch_are_those_drawn_alone(folders):
    denoiser = Pipeline.from_pretrained(
        folders["xl"][1], prompt=SENTENCE, guidance_scale=4.0
    ).denoiser
    noise = noise_of(3)
    alone = torch.cat([our_latents(denoiser, each[None]) for each in noise])
    assert relative(our_latents(denoiser, noise), alone) < 1e-5


def test_the_text_encoders_do_not_stay_in_memory(folders, monkeypatch):
    kept = []
    load = prompt_embeddings.text_encoder

    def watched(*arguments):
        encoder = load(*arguments)
        kept.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(prompt_embeddings, "text_encoder", watched)
    denoiser = from_pretrained(folders["xl"][1], prompt=SENTENCE)
    gc.collect()
    assert len(kept) == 2 and all(encoder() is None for encoder in kept)
    assert denoiser.network.prompts.shape == (2, LENGTH, 2 * WIDTH)


def test_guidance_of_the_decoded_estimate_stands_on_top(folders):
    pipe = Pipeline.from_pretrained(folders["sd"][1], prompt=SENTENCE, guidance_scale=7.5)

    def dark(x, level):
        return -(x + 1).square().flatten(1).mean(1)

    call = {"sampler": DDIM(4), "progress": False, "seed": 2}
    plain = pipe(**call).tensors
    guided = pipe(similarity=dark, guidance=MPGD(30.0), **call).tensors
    assert guided.mean() < plain.mean()
    assert torch.equal(pipe(similarity=dark, guidance=MPGD(0.0), **call).tensors, plain)


def test_a_stored_file_draws_the_same_prompt_without_transformers(folders, tmp_path, monkeypatch):
    pipe = Pipeline.from_pretrained(folders["xl"][1], prompt=SENTENCE)
    pipe.save_pretrained(tmp_path / "stored")
    main(["convert", str(folders["xl"][1]), f"{tmp_path}/one.safetensors", f"prompt={SENTENCE}"])
    monkeypatch.setitem(sys.modules, "transformers", None)
    noise = noise_of(1)
    expected = our_latents(pipe.denoiser, noise)
    assert torch.equal(
        our_latents(Pipeline.from_pretrained(tmp_path / "stored").denoiser, noise), expected
    )
    assert torch.equal(our_latents(from_pretrained(tmp_path / "one.safetensors"), noise), expected)


def test_inspect_says_what_a_folder_is(folders, capsys):
    folder = str(folders["sd"][1])
    main(["inspect", folder])
    assert "prompt" in capsys.readouterr().out
    main(["inspect", folder, f"prompt={SENTENCE}"])
    said = capsys.readouterr().out
    assert SENTENCE in said and "scaled_linear" in said and "UNet2DConditionModel" in said


def test_weights_in_several_files_and_in_half_precision_are_read(folder, folders):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {name: value.half() for name, value in load_file(file).items()}
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[::2], names[1::2])):
        shard = f"diffusion_pytorch_model-{number}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / "unet" / shard)
        index |= dict.fromkeys(part, shard)
    file.unlink()
    place = file.with_suffix(".safetensors.index.json")
    place.write_text(json.dumps({"metadata": {}, "weight_map": index}))
    denoiser = from_pretrained(folder, prompt=SENTENCE)
    whole = from_pretrained(folders["sd"][1], prompt=SENTENCE)
    assert {value.dtype for value in denoiser.state_dict().values()} == {torch.float32}
    noise = noise_of(1)
    assert relative(our_latents(denoiser, noise), our_latents(whole, noise)) < 0.05
    place.write_text(json.dumps({"weight_map": {"a": "../../other.safetensors"}}))
    with pytest.raises(UserError, match="no safetensors file beside it"):
        from_pretrained(folder, prompt=SENTENCE)


def test_a_folder_with_the_names_of_those_first_published_is_read(folder, folders):
    """Words and merges in files of their own, and text encoders with a prefix and positions."""
    before = from_pretrained(folders["sd"][1], prompt=SENTENCE).network.prompts
    place, words = folder / "tokenizer", folders["sd"][1].parent / "words"
    (place / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(words / name, place / name)
    sign = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False}
    signs = {
        "bos_token": sign | {"content": "<|startoftext|>", "single_word": False},
        "eos_token": sign | {"content": "<|endoftext|>", "single_word": False},
        "unk_token": sign | {"content": "<|endoftext|>", "single_word": False},
        "pad_token": "<|endoftext|>",
    }
    config = {"model_max_length": LENGTH, "tokenizer_class": "CLIPTokenizer", "errors": "replace"}
    (place / "tokenizer_config.json").write_text(json.dumps(signs | config))
    file = folder / "text_encoder" / "model.safetensors"
    tensors = {
        f"text_model.{name.removeprefix('text_model.')}": value
        for name, value in load_file(file).items()
    }
    tensors["text_model.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    save_file(tensors, file, {"format": "pt"})
    assert torch.equal(from_pretrained(folder, prompt=SENTENCE).network.prompts, before)


def test_a_prompt_that_is_too_long_is_cut_as_diffusers_cuts_it_and_said(folders):
    theirs, folder = folders["sd"]
    long = "red red red red red red red red red red blue"
    with pytest.warns(UserWarning, match=f"{LENGTH - 2} tokens.*left out: 'blue'"):
        denoiser = from_pretrained(folder, prompt=long)
    expected, _ = theirs.encode_prompt(long, "cpu", 1, False)
    assert torch.allclose(denoiser.network.prompts[:1], expected, atol=1e-6)


# The sizes in the configs that were published with the models, and how many weights each U-Net has.
PUBLISHED = {
    "SD 1.5": (
        {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64},
        (686, 859_520_964),
    ),
    "SD 2.1": (
        {
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "sample_size": 96,
            "use_linear_projection": True,
            "dual_cross_attention": False,
            "only_cross_attention": False,
            "upcast_attention": True,
            "num_class_embeds": None,
        },
        (686, 865_910_724),
    ),
    "XL": (
        {
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "sample_size": 128,
            "use_linear_projection": True,
            "transformer_layers_per_block": [1, 2, 10],
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
        },
        (1680, 2_567_463_684),
    ),
}
COMMON = {"_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_a_place_for_every_tensor(name, tmp_path):
    own, (count, weights) = PUBLISHED[name]
    config = COMMON | own
    with torch.device("meta"):
        theirs = UNet2DConditionModel.from_config(config).state_dict()
    options = network_arguments(config, tmp_path)
    for key in ("in_channels", "out_channels"):
        del options[key]
    side = options.pop("sample_size")
    network = TextUNet(channels=4, resolution=side, tokens=77, factor=8, options=options)
    ours = network.state_dict()
    places = {f"network.{key}": value.shape for key, value in theirs.items()}
    rest = {key: tuple(value.shape) for key, value in ours.items() if key not in places}
    assert places.items() <= {key: value.shape for key, value in ours.items()}.items()
    assert len(places) == count and sum(map(torch.Size.numel, places.values())) == weights
    pooled = {"pooled": (2, 1280)} if name == "XL" else {}
    assert rest == {"prompts": (2, 77, own["cross_attention_dim"])} | pooled


def test_settings_of_a_text_encoder_that_could_load_code_are_not_followed(folder, folders):
    edited(
        folder / TEXT,
        auto_map={"AutoModel": "evil.Model"},
        attn_implementation="somebody/kernel",
        _attn_implementation="somebody/kernel",
        quantization_config={"quant_method": "bitsandbytes"},
    )
    before = from_pretrained(folders["sd"][1], prompt=SENTENCE).network.prompts
    assert torch.equal(from_pretrained(folder, prompt=SENTENCE).network.prompts, before)


def test_the_digest_of_a_folder_changes_with_its_tokenizer(folder):
    before = content(str(folder))
    file = folder / "tokenizer" / "tokenizer_config.json"
    file.write_text(file.read_text() + "\n")
    assert content(str(folder)) != before


def edited(file, **settings):
    config = json.loads(file.read_text())
    for name, value in settings.items():
        config[name] = value
        if value is ...:
            del config[name]
    file.write_text(json.dumps(config))


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


UNET, TEXT = "unet/config.json", "text_encoder/config.json"
SCHEDULER = "scheduler/scheduler_config.json"
DAMAGED = {
    "no network": (lambda f: edited(f / UNET, in_channels=...), "it has no in_channels"),
    "a size below": (lambda f: edited(f / UNET, sample_size=-3), "an integer above 0"),
    "no size": (lambda f: edited(f / UNET, sample_size=None), "sample_size=None"),
    "no width": (lambda f: edited(f / UNET, cross_attention_dim=...), "no cross_attention_dim"),
    "inpainting": (lambda f: edited(f / UNET, in_channels=9), "reads 9 channels.*inpainting"),
    "distilled": (lambda f: edited(f / UNET, time_cond_proj_dim=32), "time_cond_proj_dim=32"),
    "later": (lambda f: edited(f / UNET, shiny=1), "has no setting shiny"),
    "no JSON": (lambda f: (f / UNET).write_text("{"), "is no JSON"),
    "wrong width": (lambda f: edited(f / UNET, cross_attention_dim=20), "give 16"),
    "wrong network": (lambda f: edited(f / UNET, layers_per_block=2), "do not fit this model"),
    "wrong kind": (lambda f: edited(f / UNET, block_out_channels="a"), "builds no model"),
    "no weights": (
        lambda f: (f / "unet/diffusion_pytorch_model.safetensors").unlink(),
        "only safetensors are read",
    ),
    "cut weights": (lambda f: cut(f / "unet/diffusion_pytorch_model.safetensors"), "damaged"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "has no scheduler_config.json"),
    "no Gaussian": (
        lambda f: edited(f / SCHEDULER, _class_name="VQDiffusionScheduler", beta_schedule=...),
        "VQDiffusionScheduler",
    ),
    "rescaled": (lambda f: edited(f / SCHEDULER, rescale_betas_zero_snr=True), "neither those of"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "holds no tokenizer"),
    "no padding": (
        lambda f: (f / "tokenizer/tokenizer_config.json").unlink(),
        "holds no tokenizer.*beside tokenizer_config.json",
    ),
    "cut tokenizer": (lambda f: cut(f / "tokenizer/tokenizer.json"), "tokenizer .* cannot be read"),
    "no text": (lambda f: shutil.rmtree(f / "text_encoder"), "holds no text encoder"),
    "other text": (lambda f: edited(f / TEXT, model_type="bert"), "describes a bert"),
    "no type": (lambda f: edited(f / TEXT, model_type=...), "it has no model_type"),
    "cut text": (lambda f: cut(f / "text_encoder/model.safetensors"), "text encoder .* cannot be"),
    "other sizes": (
        lambda f: edited(f / TEXT, hidden_size=24, num_attention_heads=2),
        "tensors are missing or of another shape",
    ),
    "adapter": (
        lambda f: (f / "text_encoder/adapter_config.json").write_text("{}"),
        "has an adapter_config.json",
    ),
    "few words": (
        lambda f: edited(f / TEXT, vocab_size=20),
        "1 tensors are missing or of another shape.*token_embedding",
    ),
    "autoencoder": (lambda f: edited(f / "vae/config.json", latent_channels=8), "autoencoder has"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_missing_or_damaged_is_said_in_one_line(folder, name):
    damage, message = DAMAGED[name]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        from_pretrained(folder, prompt=SENTENCE)
    assert "\n" not in str(caught.value)


def test_what_an_xl_lacks_is_said_in_one_line(folder_xl):
    edited(folder_xl / UNET, projection_class_embeddings_input_dim=30)
    with pytest.raises(UserError, match="30 channels of sizes.*36 are given; a refiner"):
        from_pretrained(folder_xl, prompt=SENTENCE)
    edited(folder_xl / UNET, projection_class_embeddings_input_dim=...)
    with pytest.raises(UserError, match="no projection_class_embeddings_input_dim"):
        from_pretrained(folder_xl, prompt=SENTENCE)
    shutil.rmtree(folder_xl / "text_encoder_2")
    edited(folder_xl / UNET, projection_class_embeddings_input_dim=36)
    with pytest.raises(UserError, match="reads vectors of 32 channels .* give 16"):
        from_pretrained(folder_xl, prompt=SENTENCE)


def test_wrong_pairs_are_refused_in_one_line(folders, weights):
    folder = folders["sd"][1]
    pixels = weights / "denoiser.safetensors"
    for message, call in {
        "draws what a sentence says: set prompt to a sent": lambda: from_pretrained(folder),
        "prompt must be a sentence, not 7": lambda: from_pretrained(folder, prompt=7),
        "^label=1: .* has no classes": lambda: from_pretrained(folder, label=1, prompt="a"),
        "holds all settings; leave out heads": lambda: from_pretrained(folder, prompt="", heads=2),
        "^prompt: .* leave it out": lambda: from_pretrained(pixels, prompt="a"),
        "^negative_prompt has no effect": lambda: Pipeline.from_pretrained(
            folder, prompt="a", negative_prompt="b"
        ),
        "the prompt and the negative prompt are the same": lambda: Pipeline.from_pretrained(
            folder, prompt="a", negative_prompt="a", guidance_scale=2.0
        ),
        "^negative_label is a class": lambda: guided_denoiser(
            from_pretrained(folder, prompt="a"), 2.0, negative_label=1
        ),
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_without_transformers_the_line_that_installs_it_is_said(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="pip install 'transformers>=5,<6'"):
        from_pretrained(folders["sd"][1], prompt=SENTENCE)


def test_loading_says_nothing_and_leaves_transformers_as_it_was(folders, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_pretrained(folders["xl"][1], prompt=SENTENCE)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_schedulers_of_other_samplers_give_the_same_process(folder):
    before = from_pretrained(folder, prompt=SENTENCE).schedule.config
    for name in ("PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
        edited(folder / SCHEDULER, _class_name=name)
        assert from_pretrained(folder, prompt=SENTENCE).schedule.config == before
    assert scheduler().config.beta_schedule == before["kind"]


def test_a_folder_knows_the_autoencoder_that_it_holds(folders, tmp_path):
    pipe, folder = folders["sd"]
    model = from_pretrained(folder, prompt=SENTENCE)
    assert model.autoencoder_digest == Autoencoder(pipe.vae).latents_digest
    network = autoencoder()
    network.register_to_config(scaling_factor=0.5)
    network.save_pretrained(tmp_path / "other")
    other = from_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="has learned the latents of another autoencoder"):
        Pipeline(model, autoencoder=other)


CONTEXT = """
import sys
import torch
from sdg.io.prompt_embeddings import transformers
library = transformers()
library.CLIPTextModel.from_pretrained(sys.argv[1])
with torch.device("meta"):
    print(torch.linspace(0, 1, 3).device)
"""


@pytest.mark.slow
def test_contexts_of_devices_hold_after_a_text_encoder_was_opened(tmp_path):
    folder = saved(stable_diffusion(tmp_path), tmp_path / "folder") / "text_encoder"
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", CONTEXT, str(folder)],
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.split() == ["meta"], done.stderr
