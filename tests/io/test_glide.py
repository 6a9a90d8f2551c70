"""GLIDE's noised CLIP: it meets its encoders written out, and steers as the others do."""

import json

import pytest
import torch
import torch.nn.functional as F
from foreign import same_tensors
from glide import (
    FULL,
    Net,
    embed_image,
    embed_text,
    image_shapes,
    random_weights,
    save_pair,
    text_shapes,
    tokens,
)
from safetensors.torch import save_file

from sdg import Pipeline, from_pretrained
from sdg.app.checkpoints import main
from sdg.diffusion.samplers import DDPM
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.io.denoiser_file import DenoiserFile
from sdg.io.glide import from_glide_image, from_glide_text
from sdg.models.build import build_noisy_encoder
from sdg.models.glide import GlideImageEncoder, GlideTextEncoder
from sdg.models.registry import load_clip_noisy, load_clip_text, noise_aware_encoders
from sdg.similarity import matched_levels

NET = Net()
SENTENCES = [
    "a photo of a cat",
    "an oil painting of a corgi",
    "A Red Heart",
    "it's what they'd call a dog's breakfast",
    "3 dogs, 12 cats & R2-D2!",
    "café in Zürich, naïve façade",
    "  too   many\tspaces  ",
    "snake_case and (brackets) ...",
    "antidisestablishmentarianism",
    "日本の猫",
    "a heart \u2764 in the middle",
    "very " * 90,
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return save_pair(tmp_path_factory.mktemp("glide"), NET)


def in_float64(build, read, shapes, seed):
    """(the file's tensors, the model that holds them), both in float64."""
    p = random_weights(shapes, seed)
    config, tensors = read(p, "x.pt")
    model = build(config).double().eval()
    model.load_state_dict({name: value.double() for name, value in tensors.items()})
    return p, config, model


def test_an_image_is_embedded_as_the_paper_says():
    p, config, encoder = in_float64(build_noisy_encoder, from_glide_image, image_shapes(NET), 0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0, 500, 999])
    expected, found = embed_image(NET, p, x, t), encoder.embed(x, t)
    # OpenAI's mean and deviation have 8 digits there and 7 here.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    aim = torch.randn(16, generator=generator, dtype=torch.float64)
    slopes = [
        torch.autograd.grad((F.normalize(z, dim=-1) @ aim).sum(), x)[0] for z in (expected, found)
    ]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-5, atol=1e-7)
    assert (found[0] - encoder.embed(x, t + 1 - 2 * (t == 999).long())[0]).norm() > 0.1  # told t
    assert config["schedule"] == {"kind": "cosine", "T": 1000} and encoder.cosine_scale == 100


def test_memory_is_saved_without_another_result(pair):
    encoder = load_clip_noisy(pair[0])
    x, t = torch.randn(2, 3, 32, 32).requires_grad_(True), torch.tensor([3, 700])
    z = encoder.embed(x, t)
    whole = torch.autograd.grad(z.sum(), x)[0]
    encoder.checkpointing = True
    torch.testing.assert_close(torch.autograd.grad(encoder.embed(x, t).sum(), x)[0], whole)


def test_a_sentence_is_embedded_as_the_paper_says():
    def build(config):
        return GlideTextEncoder(**config)

    p, _, encoder = in_float64(build, from_glide_text, text_shapes(NET), 1)
    expected = embed_text(NET, p, [tokens(sentence) for sentence in SENTENCES])
    torch.testing.assert_close(encoder.encode_text(SENTENCES), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_tokens_are_those_of_an_independent_byte_pair_encoding(pair):
    found = load_clip_text(pair[1]).tokenizer(SENTENCES)
    for row, sentence in zip(found.tolist(), SENTENCES, strict=True):
        expected = tokens(sentence)
        assert row == expected + [0] * (77 - len(expected)), sentence
    # as published with CLIP
    assert tokens("a photo of a cat") == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_full_size_files_have_a_place_for_every_tensor():
    with torch.device("meta"):
        image = {name: torch.empty(shape) for name, shape in image_shapes(FULL).items()}
        config, tensors = from_glide_image(image, "clip_image_enc.pt")
        encoder = build_noisy_encoder(config)
        assert same_tensors(DenoiserFile("", config, tensors, "", {}), encoder)
        text = {name: torch.empty(shape) for name, shape in text_shapes(FULL).items()}
        text_config, text_tensors = from_glide_text(text, "clip_text_enc.pt")
        sentences = GlideTextEncoder(**text_config)
        assert same_tensors(DenoiserFile("", text_config, text_tensors, "", {}), sentences)
    assert (encoder.resolution, encoder.schedule["T"]) == (64, 1000)
    heads = [encoder.tower.transformer.resblocks[0].attn.num_heads]
    heads.append(sentences.tower.transformer.resblocks[0].attn.num_heads)
    assert heads == [12, 8] and text_config["layers"] == 12


def test_both_guide_through_the_pipeline(weights, pair, tmp_path):
    denoiser = from_pretrained(weights / "denoiser.safetensors")
    encoders = noise_aware_encoders(*map(str, pair))
    assert isinstance(encoders.image, GlideImageEncoder)
    pipe = Pipeline(denoiser, encoders.image, encoders.text, sampler=DDPM(6))
    options = {"num_samples": 2, "progress": False}
    drawn = pipe("an oil painting of a corgi", gamma=300.0, **options).tensors
    plain = pipe("an oil painting of a corgi", gamma=0, **options).tensors
    aim = encoders.text.encode_text(["an oil painting of a corgi"])

    def alike(images):
        return (encoders.image.encode_image(images, torch.zeros(2).long()) @ aim.T).mean()

    assert alike(drawn) > alike(plain) + 0.05
    picture = torch.zeros(3, 32, 32)
    for kind in ("content", "structure", "style"):
        by_picture = pipe(**{kind: picture}, gamma=300.0, **options).tensors
        assert by_picture.isfinite().all() and not torch.equal(by_picture, plain), kind
    again = Pipeline.from_pretrained(pipe.save_pretrained(tmp_path / "whole"))
    assert torch.equal(again("an oil painting of a corgi", gamma=300.0, **options).tensors, drawn)


def test_the_command_is_guided_and_says_whose_weights_they_are(run, tiny, pair, capsys, tmp_path):
    given = [f"encoder.weights={pair[0]}", f"encoder.clip={pair[1]}"]
    words = ["prompt=a red heart", "guidance.gamma=5", "num_samples=1"]
    run("sample.py", *tiny, *given, *words)
    out = capsys.readouterr().out
    assert out.count("GLIDE's noised CLIP") == 1 and (tmp_path / "run" / "grid.png").is_file()
    line = next(line for line in out.splitlines() if "GLIDE's noised CLIP" in line)
    assert "MIT licence" in line and "images of people" in line and "model card" in line


def test_the_command_says_in_one_line_what_is_wrong(refusal, tiny, pair):
    image, text = pair
    guided = [*tiny, "prompt=a red heart", "guidance.gamma=5"]
    message = refusal("sample.py", *guided, f"encoder.weights={text}", f"encoder.clip={image}")
    assert (
        "is the text encoder of GLIDE's noised CLIP, and weights of the kind clip_noisy are needed"
        in message
    )
    assert "encoder.weights=clip_image_enc.pt encoder.clip=clip_text_enc.pt" in message
    message = refusal("sample.py", *guided, f"encoder.weights={image}")
    assert "reads sentences with its own text encoder; give encoder.clip=clip_text" in message
    message = refusal("sample.py", *guided, f"encoder.clip={text}")
    assert (
        "is the text encoder of GLIDE's noised CLIP, and weights of the kind clip are needed here"
        in message
    )


def test_another_resolution_is_refused(weights, tmp_path):
    denoiser = from_pretrained(weights / "denoiser.safetensors")
    image, text = save_pair(tmp_path, NET._replace(side=64, depth=1))
    encoders = noise_aware_encoders(str(image), str(text))
    with pytest.raises(
        UserError, match="the encoder takes 64 pixels a side, the denoiser draws 32"
    ):
        Pipeline(denoiser, encoders.image, encoders.text)


def test_parts_of_other_clips_are_refused(weights, pair):
    image, text = load_clip_noisy(pair[0]), load_clip_text(pair[1])
    denoiser = from_pretrained(weights / "denoiser.safetensors")
    clip = from_pretrained(weights / "clip.safetensors")
    with pytest.raises(UserError, match="goes with its own text encoder, not with another CLIP"):
        Pipeline(denoiser, image, clip)
    with pytest.raises(UserError, match="goes with its own image encoder alone"):
        Pipeline(denoiser, clip, text)
    with pytest.raises(UserError, match=r"encoder\.name=RN50: GLIDE's noised CLIP reads sentences"):
        noise_aware_encoders(str(pair[0]), str(pair[1]), "RN50", "openai")
    narrow = GlideTextEncoder(**text.config | {"embed_dim": 8})
    with pytest.raises(UserError, match="embeds in 16 dimensions, the text encoder in 8"):
        Pipeline(denoiser, image, narrow)


@pytest.mark.parametrize(
    "read, shapes, change, message",
    [
        (
            from_glide_image,
            image_shapes(NET),
            lambda p: p.pop("blocks.block_1.f_mlp.f_2.b"),
            "it has no blocks.block_1.f_mlp.f_2.b; the file is not whole",
        ),
        (
            from_glide_image,
            image_shapes(NET),
            lambda p: p.update({"blocks.block_0.f_attn.f_k.b": torch.zeros(128)}),
            "it has a tensor blocks.block_0.f_attn.f_k.b, which is not known",
        ),
        (
            from_glide_image,
            image_shapes(NET),
            lambda p: p.update({"blocks.input.w_pos": torch.zeros(64, 128)}),
            "its 63 positions are no square",
        ),
        (
            from_glide_image,
            image_shapes(NET),
            lambda p: p.update({"blocks.block_0.f_attn.f_q.w": torch.zeros(128, 64)}),
            "its blocks.block_0.f_attn.f_q.w is not 128 channels wide",
        ),
        (
            from_glide_image,
            image_shapes(NET._replace(width=96)),
            lambda p: None,
            "its 96 channels are no multiple of heads of 64",
        ),
    ],
)
def test_damaged_and_unknown_files_get_one_line(read, shapes, change, message):
    p = {name: torch.zeros(shape) for name, shape in shapes.items()}
    change(p)
    with pytest.raises(UserError, match=message):
        read(p, "x.pt")


def test_a_table_shorter_than_the_vocabulary_is_refused(tmp_path):
    file = save_pair(tmp_path, NET._replace(tokens=100))[1]
    with pytest.raises(UserError, match="has 100 tokens, fewer than the 49408 of its tokenizer"):
        load_clip_text(file)


@pytest.mark.parametrize("kind", ["linear", "cosine", "flow", "edm"])
def test_every_process_finds_its_levels(kind):
    other, own = Schedule(kind, 1000), Schedule("cosine", 1000)
    levels = matched_levels(other, {"kind": "cosine", "T": 1000})
    angles = [
        torch.arccos(schedule.alpha_bar(t).sqrt()).flatten()
        for schedule, t in ((other, torch.arange(1000)), (own, levels))
    ]
    assert (angles[0] - angles[1]).abs().max() < 0.006  # radians; the lowest level is at 0.006


def test_the_command_tells_what_they_are_and_converts_them(pair, tmp_path, capsys):
    main(["inspect", str(pair[0])])
    said = capsys.readouterr().out
    assert "the image encoder of GLIDE's noised CLIP" in said and "resblocks.1" in said
    main(["inspect", str(pair[1])])
    assert "the text encoder of GLIDE's noised CLIP" in capsys.readouterr().out
    for place, out in zip(pair, ("image.safetensors", "text"), strict=True):
        main(["convert", str(place), str(tmp_path / out)])
        before, after = (from_pretrained(each).state_dict() for each in (place, tmp_path / out))
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    encoders = noise_aware_encoders(*(str(tmp_path / out) for out in ("image.safetensors", "text")))
    assert encoders.image.notice and encoders.image.config["family"] == "glide"
    assert json.loads((tmp_path / "text" / "config.json").read_text())["sdg"]["kind"] == "clip_text"


def test_safetensors_of_the_published_names_are_read_too(pair, tmp_path):
    p = torch.load(pair[0], weights_only=True)
    save_file({name: value.contiguous() for name, value in p.items()}, tmp_path / "i.safetensors")
    x, t = torch.randn(1, 3, 32, 32), torch.tensor([7])
    both = [load_clip_noisy(place) for place in (pair[0], tmp_path / "i.safetensors")]
    assert torch.equal(both[0].embed(x, t), both[1].embed(x, t))
