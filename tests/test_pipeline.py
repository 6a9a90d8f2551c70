"""The library's one door."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sdg
from sdg import Pipeline
from sdg.data.captions import WORDS
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver, Heun
from sdg.errors import UserError, choice
from sdg.guidance import Guidance, GuidanceOutput
from sdg.guidance.semantic import SemanticGuidance
from sdg.guidance.training_free import DPS, MPGD
from sdg.io.weights_folder import save_folder
from sdg.models.clip import CLIP
from sdg.models.encoder import ImageEncoder
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import load_classifier, load_clip, load_clip_noisy, load_denoiser
from sdg.pipeline.conditions import CallConditions
from sdg.pipeline.terms import build_terms
from sdg.similarity import Class, Term, Text

RED = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 32, 32).contiguous()


@pytest.fixture(scope="module")
def pipe(weights) -> Pipeline:
    return Pipeline(
        load_denoiser(weights / "denoiser.safetensors"),
        load_clip_noisy(weights / "clip_noisy.safetensors"),
        load_clip(weights / "clip.safetensors"),
        gamma=5.0,
        sampler=DDPM(4),
    )


def test_a_sample_hangs_on_its_seed_and_place_alone(pipe):
    whole = pipe("a red heart", num_samples=5, seed=3, progress=False)
    parts = pipe("a red heart", num_samples=5, seed=3, batch_size=2, progress=False)
    torch.testing.assert_close(whole.tensors, parts.tensors)
    assert whole.seeds == parts.seeds and len(set(whole.seeds)) == 5
    assert whole.images[0].size == (32, 32) and whole.prompts == ["a red heart"] * 5


def test_without_guidance_the_prompt_changes_nothing(pipe):
    one = pipe("a red heart", gamma=0, progress=False).tensors
    other = pipe(gamma=0, progress=False).tensors
    guided = pipe("a red heart", progress=False).tensors
    assert torch.equal(one, other) and not torch.equal(one, guided)


def test_a_function_of_ones_own_guides(pipe):
    def brightness(x, level):
        return 50 * x.mean((1, 2, 3))

    plain, bright = (pipe(similarity=s, progress=False).tensors for s in ((), brightness))
    assert bright.mean() > plain.mean()
    both = pipe("a red heart", similarity=[brightness], progress=False).tensors
    assert not torch.equal(both, bright)


def test_pictures_of_every_kind_are_references(pipe, tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(array)
    picture.save(tmp_path / "picture.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1
    kinds = (picture, tmp_path / "picture.png", tensor)
    a, b, c = (pipe(content=kind, style=kind, progress=False).tensors for kind in kinds)
    assert torch.equal(a, b) and torch.equal(a, c)
    assert not torch.equal(a, pipe(content=picture, progress=False).tensors)


def test_the_trajectory_ends_in_the_samples(pipe):
    out = pipe("a red heart", num_samples=3, batch_size=2, trajectory=True, progress=False)
    assert len(out.trajectory) == 4 and out.trajectory[0].x.shape == out.tensors.shape
    torch.testing.assert_close(out.trajectory[-1].x.clamp(-1, 1), out.tensors)


def test_another_sampler_and_another_guidance(pipe):
    options = {"prompt": "a red heart", "sampler": DDIM(3), "progress": False}
    scored = pipe(guidance=SemanticGuidance(3.0), **options).tensors
    assert torch.equal(scored, pipe(gamma=3.0, **options).tensors)
    assert not torch.equal(scored, pipe(gamma=0, **options).tensors)
    moved = pipe(guidance=MPGD(3.0), **options).tensors
    assert not torch.equal(moved, scored)
    assert not torch.equal(scored, pipe("a red heart", gamma=3.0, progress=False).tensors)


def test_a_method_that_reads_the_predicted_image_reads_it_with_the_clean_clip(pipe):
    options = {"guidance": DPS(5.0), "content": RED, "progress": False}
    denoiser, encoder, clip = parts(pipe)
    clean = Pipeline(denoiser, clip, clip, sampler=DDPM(4))
    found = pipe("a red heart", **options).tensors
    assert torch.equal(found, clean("a red heart", **options).tensors)
    assert torch.equal(
        found, Pipeline(denoiser, None, clip)("a red heart", steps=4, **options).tensors
    )
    calibrated = NoiseAwareEncoder(
        clip.towers.visual, clip.config, encoder.schedule, 32, 32, calibrated=True
    )
    banked = Pipeline(denoiser, calibrated, clip, sampler=DDPM(4), negative_captions=["a ring"])
    assert torch.equal(found, banked("a red heart", **options).tensors)
    with pytest.raises(UserError, match="made with a calibrated encoder, and another one reads"):
        term = Text(calibrated, clip, negative_captions=["a ring"])
        banked(similarity={term: "a red heart"}, guidance=DPS(5.0), progress=False)
    blind = Pipeline(denoiser, encoder, sampler=DDPM(4))
    with pytest.raises(UserError, match=r"guidance DPS reads .*, Pipeline\(…, clip=…\)"):
        blind(**options)
    unread = {"guidance": DPS(1.0), "similarity": lambda x, level: x.mean((1, 2, 3))}
    assert len(blind(**unread, progress=False).tensors) == 1  # a function reads no encoder


@pytest.mark.parametrize("guidance", [None, DPS(5.0)])
def test_a_call_within_inference_mode_is_that_without(pipe, guidance):
    options = {"steps": 4, "seed": 1, "guidance": guidance, "batch_size": "auto"}
    found = pipe("a red heart", progress=False, **options).tensors
    with torch.inference_mode():
        opened = Pipeline.from_pretrained("shapes")
        within = pipe("a red heart", progress=False, **options).tensors
    assert torch.equal(found, within)
    after = opened("a red heart", steps=2, progress=False).tensors
    assert after.shape == found.shape and not after.is_inference()


@pytest.mark.parametrize("guidance", ["dps", "mpgd"])
def test_a_method_that_reads_the_predicted_image_draws_what_the_command_draws(
    pipe, run, quick, tmp_path, guidance
):
    own = [word for word in quick if not word.startswith("encoder.weights")]
    words = [f"guidance={guidance}", "prompt=a red heart", f"hydra.run.dir={tmp_path}/run"]
    run("sample.py", *own, *words)
    method = {"dps": DPS, "mpgd": MPGD}[guidance](5.0)
    found = pipe("a red heart", num_samples=4, steps=3, guidance=method, progress=False)
    files = sorted((tmp_path / "run" / "images").glob("*.png"))
    for file, image in zip(files, found.images, strict=True):
        assert np.array_equal(np.array(Image.open(file)), np.array(image))


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"num_samples": 0}, "num_samples must be"),
        ({"prompt": []}, "prompt is an empty list"),
        (
            {"prompt": "a red heart", "weights": {"txt": 1}},
            "this call asks for no .txt.*It asks for text",
        ),
        ({"prompt": "a red heart", "weights": {"txt": 1}, "gamma": 0}, "did you mean 'text'"),
        ({"prompt": "a red heart", "weights": {"text": "2"}, "gamma": 0}, r"weights\['text'\]"),
        ({"weights": {"text": 1}}, "no similarity is asked for"),
        ({"init_image": RED, "strength": 5}, "strength must be above 0 and at most 1, not 5"),
        ({"init_image": RED, "strength": 0}, "strength must be above 0"),
        ({"init_image": RED, "strength": -3}, "strength must be above 0"),
        ({"init_image": RED, "strength": math.nan}, "strength must be a finite number"),
        ({"strength": 0.5}, "strength says how far from init_image"),
        ({"prompt": ["a red heart", "a ring"], "content": [RED] * 3}, "2 for text, 3 for content"),
        ({"content": []}, "content is an empty list"),
        ({"content": 3}, "a picture must be a file"),
        ({"prompt": [None]}, "prompt must be a sentence"),
        ({"prompt": 5}, "prompt must be a sentence, or a list of sentences, not 5"),
        ({"prompt": {"a ring": 1}}, "prompt must be a sentence"),
        ({"prompt": "a ring:0"}, "asks for nothing, as its weight is 0"),
        ({"prompt": "a ring", "weights": 5}, "weights must be {similarity: weight}, not 5"),
        ({"callback": 5}, r"callback must be a function of \(done, step\), not 5"),
        ({"callback": lambda done: 0}, r"callback must be .*, but it takes \(done\)"),
        ({"similarity": lambda x: x}, r"'<lambda>' must be a function of \(x, level\), but it"),
        ({"trajectory": -1}, "trajectory must be one of false, true, not -1"),
        ({"progress": 5}, "progress must be one of false, true"),
        ({"similarity": "content"}, "similarity must be a term, such as"),
        ({"similarity": {max: "a ring"}}, "similarity must be a term, such as"),
        ({"steps": 0}, "steps must be an integer"),
        ({"steps": 1001}, "^steps must be an integer from 1 to 1000"),
        ({"steps": 5, "sampler": DDPM(3)}, "leave steps out"),
        ({"sampler": "ddim"}, "sampler must be a sdg.diffusion.sampler.Sampler"),
        ({"sampler": "ddim", "steps": 2}, "sampler must be a sdg.diffusion.sampler.Sampler"),
        ({"guidance": "dps", "gamma": 2.0}, "guidance must be a sdg.guidance.guidance.Guidance"),
        ({"guidance": "dps"}, "guidance must be a sdg.guidance.guidance.Guidance"),
        ({"prompt": "a red heart", "steps": 1}, "none of the 1 steps would be guided"),
        ({"content": torch.zeros(3, 8, 8)}, "a picture as a tensor must have the shape"),
        ({"content": 200 * RED.abs()}, r"must have values in \[-1, 1\], not from 200 to 200"),
        ({"init_image": RED * math.nan}, r"must have values in \[-1, 1\], not from nan"),
        ({"gamma": 5}, "^gamma=5 steers towards nothing: give a prompt"),
        ({"guidance": SemanticGuidance(3.0)}, "^gamma=3 steers towards nothing"),
        ({"prompt": "a red hart"}, r"'hart' .* Another CLIP knows others\.$"),
        (
            {"prompt": "a red heart", "gamma": 1, "guidance": SemanticGuidance(1.0)},
            "leave gamma out",
        ),
    ],
)
def test_wrong_arguments_are_named(pipe, arguments, says):
    with pytest.raises(UserError, match=says):
        pipe(**{"progress": False} | arguments)


def test_unknown_weights_are_named(pipe):
    with pytest.raises(UserError, match="did you mean 'portraits'"):
        Pipeline.from_pretrained("portrait")
    for path in (5, None, ""):
        with pytest.raises(UserError, match="path must be the name or the path of a folder"):
            Pipeline.from_pretrained(path)
    with pytest.raises(UserError, match="folder must be the name or the path of a folder, not 5"):
        pipe.save_pretrained(5)


def test_samples_print_in_one_line(pipe):
    out = pipe(num_samples=2, trajectory=True, progress=False)
    assert repr(out) == "SampleOutput(2 × 32 × 32 pixels, trajectory of 4 steps)"
    assert repr(pipe(progress=False)) == "SampleOutput(1 × 32 × 32 pixels)"


def test_import_waits_for_nothing():
    code = "import sys, sdg; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_a_notebooks_plots_keep_their_backend():
    code = (
        "import sys, matplotlib; matplotlib.use('svg'); from sdg import Pipeline; "
        "sys.exit(matplotlib.get_backend() != 'svg')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_denoiser_put_together_by_hand_needs_no_config(pipe):
    by_hand = Denoiser(pipe.denoiser.network, pipe.denoiser.schedule, "v", patch=2)
    assert by_hand.config is None and by_hand.resolution is None
    guided = Pipeline(by_hand, pipe.encoder, pipe.clip, gamma=5.0, sampler=DDPM(4))
    expected = pipe("a red heart", progress=False).tensors
    assert torch.equal(guided("a red heart", progress=False).tensors, expected)
    with pytest.raises(UserError, match=r"Pipeline\(…, resolution=64\)"):
        Pipeline(by_hand, sampler=DDPM(2))(progress=False)
    with pytest.raises(UserError, match="put together by hand"):
        save_folder("nowhere", "denoiser", by_hand)


def test_a_term_of_ones_own_reads_its_reference_without_an_encoder(pipe):
    class Palette(Term):
        by_reference = True

        def compare(self, x, pairs, references):
            ours, theirs = x.pixels.mean((2, 3)), references.pixels.mean((2, 3))
            return -(ours[pairs.samples] - theirs[pairs.targets]).square().sum(1)

    alone = Pipeline(pipe.denoiser, gamma=1.0, sampler=DDPM(6))
    drawn = alone(similarity={Palette(300.0): RED}, progress=False).tensors
    plain = alone(progress=False).tensors
    assert (drawn[:, 0] - drawn[:, 2]).mean() > (plain[:, 0] - plain[:, 2]).mean() + 0.1
    with pytest.raises(UserError, match="compares with a picture"):
        alone(similarity=Palette(1.0), progress=False)


# --- the parts ----------------------------------------------------------------------------------


def parts(pipe):
    return pipe.denoiser, pipe.encoder, pipe.clip


def test_parts_that_do_not_belong_together_are_refused(pipe):
    denoiser, encoder, clip = parts(pipe)
    for given, name in (((5,), "denoiser"), ((denoiser, 5), "encoder")):
        with pytest.raises(UserError, match=f"{name} must be a sdg.*, not 5"):
            Pipeline(*given)
    with pytest.raises(UserError, match="clip must be a sdg.models.encoder.TextEncoder, not 5"):
        Pipeline(denoiser, encoder, 5)
    with pytest.raises(UserError, match="takes 32 pixels a side, the denoiser draws 64"):
        Pipeline(denoiser, encoder, clip, resolution=64)
    model = clip.config["model"]
    text = {**model["text_cfg"], "layers": 2}
    other = CLIP({**model, "text_cfg": text}, WORDS)
    with pytest.raises(UserError, match="was made from another CLIP"):
        Pipeline(denoiser, encoder, other)
    narrow = CLIP({**model, "embed_dim": 8}, WORDS)
    with pytest.raises(UserError, match="embeds in 8 dimensions, the text encoder in 16"):
        Pipeline(denoiser, narrow, clip)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"negative_captions": "a ring"}, "negative_captions must be a list"),
        ({"interval": (0.5, 0.1)}, "interval"),
        ({"negative_captions": ["a\nb"]}, "negative_captions must be of one line each"),
        ({"negative_captions": ["a\rb"]}, "negative_captions must be of one line each"),
        ({"gamma": math.nan}, "gamma must be a finite number"),
        ({"resolution": 0}, "resolution must be"),
        ({"sampler": "ddpm"}, "sampler must be"),
    ],
)
def test_wrong_options_of_a_pipeline_are_named(pipe, options, says):
    with pytest.raises(UserError, match=says):
        Pipeline(*parts(pipe), **options)


def test_a_classifier_guides_to_its_classes_and_nothing_else(pipe, weights):
    classifier = load_classifier(weights / "classifier_noisy.safetensors")
    classes = {name: dict.fromkeys(names, "") for name, names in classifier.classes.items()}
    by_class = Pipeline(pipe.denoiser, classifier, gamma=5.0, sampler=DDPM(3))
    term = Class(classifier, None, classes, "classifier")
    plain = Class(classifier, None, classifier.classes, "classifier")
    assert plain.order == term.order
    one, other = (
        by_class(similarity={term: name}, progress=False).tensors for name in ("ring", "star")
    )
    assert not torch.equal(one, other)
    for similarity in ("content", "structure", "style"):
        with pytest.raises(UserError, match=f"knows classes only, which {similarity} cannot use"):
            by_class(**{similarity: RED}, progress=False)


def test_a_calibrated_encoder_weighs_a_sentence_beside_others(pipe):
    encoder = NoiseAwareEncoder(
        pipe.clip.towers.visual, pipe.clip.config, pipe.encoder.schedule, 32, 32, calibrated=True
    )
    with pytest.raises(UserError, match="give negative_captions"):
        Pipeline(pipe.denoiser, encoder, pipe.clip)("a ring", progress=False)
    captions = ["a ring", "a red heart"]
    beside = Pipeline(pipe.denoiser, encoder, pipe.clip, negative_captions=captions)
    given = (beside.encoder, beside.clip, beside.negative_captions)
    (term,) = build_terms(asked("a ring"), {}, *given).values()
    assert term.weight == 1 and len(term.negatives) == 2


def asked(prompt):
    return CallConditions.from_arguments(prompt, {}, ())


def test_parts_sample_in_eval_mode(pipe):
    dropping = nn.Sequential(pipe.denoiser.network, nn.Dropout(0.5))
    by_hand = Denoiser(Through(dropping), pipe.denoiser.schedule, "v", patch=2)
    assert by_hand.training
    drawn = Pipeline(by_hand, sampler=DDPM(4), resolution=32)(progress=False).tensors
    assert torch.equal(drawn, pipe(gamma=0, progress=False).tensors)


class Through(nn.Module):
    """A network behind which something else stands."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x, t):
        return self.layers[1](self.layers[0](x, t).sample)


def test_the_device_is_where_the_denoiser_is(pipe):
    away = Denoiser(nn.Conv2d(3, 3, 1, device="meta"), pipe.denoiser.schedule)
    assert Pipeline(away, resolution=32).device.type == "meta"
    assert pipe.device.type == "cpu"
    apart = Pipeline(away, pipe.encoder, pipe.clip)
    with pytest.raises(UserError, match="the NoiseAwareEncoder is on cpu, the denoiser on meta"):
        apart("a ring", progress=False)


def test_to_takes_a_dtype_alone_as_torch_does(pipe):
    low = Pipeline(*parts(pipe), gamma=5.0, sampler=DDPM(4)).to(torch.bfloat16)
    assert low.dtype == torch.bfloat16 and low.device.type == "cpu"
    ours, theirs = (each("a red heart", progress=False).tensors for each in (low, pipe))
    assert not torch.equal(ours, theirs) and (ours - theirs).abs().mean() < 0.05
    low.to("cpu", torch.float32)
    assert torch.equal(low("a red heart", progress=False).tensors, theirs)
    with pytest.raises(UserError, match="there is no device 'gpu' here"):
        pipe.to("gpu")
    with pytest.raises(UserError, match="device must be a device, not torch.bfloat16"):
        pipe.to(torch.bfloat16, torch.float16)
    with pytest.raises(UserError, match="dtype must be one of"):
        pipe.to(torch.int8)


@pytest.mark.slow
def test_compile_takes_both_networks_and_leaves_the_samples(pipe):
    shapes = set()

    def backend(graph, inputs):
        def call(*values):
            outputs = graph(*values)
            shapes.update(tuple(output.shape) for output in outputs)
            return outputs

        return call

    # A copy: what is compiled stays so, and other tests share this pipeline.
    compiled = copy.deepcopy(pipe).compile(backend=backend)
    conditions = {"prompt": "a red heart", "content": RED, "progress": False}
    found = compiled(**conditions).tensors
    torch.testing.assert_close(found, pipe(**conditions).tensors, atol=1e-4, rtol=0)
    width = pipe.encoder.encode_image(RED[None], torch.tensor([0])).shape[1]
    patch = pipe.denoiser.patch
    assert {(1, 3 * patch**2, 32 // patch, 32 // patch), (1, width)} <= shapes


# --- a call -------------------------------------------------------------------------------------


def test_steps_are_those_of_a_sampler_of_so_many(pipe):
    short = pipe("a red heart", steps=3, trajectory=True, progress=False)
    assert len(short.trajectory) == 3 and pipe.sampler.steps == 4
    assert torch.equal(short.tensors, pipe("a red heart", sampler=DDPM(3), progress=False).tensors)


def test_a_callback_is_told_of_every_step(pipe):
    told = []
    out = pipe(
        "a red heart",
        num_samples=3,
        batch_size=2,
        trajectory=True,
        callback=lambda done, step: told.append((done, step)),
        progress=False,
    )
    assert [done for done, _ in told] == [1, 2, 3, 4] * 2
    assert torch.equal(told[3][1].x, out.trajectory[3].x[:2])
    assert torch.equal(told[7][1].x0, out.trajectory[3].x0[2:])


def test_where_nothing_is_asked_for_one_step_is_enough(pipe):
    assert torch.equal(
        pipe(steps=1, progress=False).tensors, pipe(steps=1, gamma=0, progress=False).tensors
    )


def test_several_pictures_have_samples_each_like_prompts(pipe):
    dark = torch.full((3, 32, 32), -1.0)
    both = pipe(content=[RED, dark], num_samples=2, progress=False).tensors
    red, black = (
        pipe(content=each, num_samples=4, progress=False).tensors for each in (RED, [dark])
    )
    torch.testing.assert_close(both[:2], red[:2])
    torch.testing.assert_close(both[2:], black[2:])
    paired = pipe(["a ring", "a red heart"], content=[RED, dark], style=RED, progress=False)
    assert paired.prompts == ["a ring", "a red heart"] and len(paired.tensors) == 2
    ring = pipe(["a ring", "a ring"], content=RED, style=RED, progress=False).tensors
    torch.testing.assert_close(paired.tensors[0], ring[0])


def test_a_term_of_ones_own_reads_words_of_its_own_for_each_sample(pipe):
    class Tone(Term):
        condition_option = "tone"

        def compare(self, x, pairs, references):
            tones = {"bright": 1.0, "dark": -1.0}
            signs = torch.tensor([tones[word] for word in pairs.order])[pairs.targets]
            return signs * x.pixels.mean((1, 2, 3))[pairs.samples]

        @classmethod
        def targets_of(cls, condition):
            targets = super().targets_of(condition)
            for word, _ in targets:
                choice("tone", word, ["bright", "dark"])
            return targets

    words = ["bright", "dark"]
    drawn = pipe(["a ring", "a ring"], similarity={Tone(2000.0): words}, progress=False).tensors
    plain = pipe(["a ring", "a ring"], progress=False).tensors
    moved = (drawn - plain).mean((1, 2, 3))
    assert moved[0] > 0.01 and moved[1] < -0.01
    with pytest.raises(UserError, match="tone must be one of bright, dark, not 'dork', did you"):
        pipe("a ring", similarity={Tone(1.0): "dork"}, progress=False)


def test_a_text_term_encodes_what_it_was_not_made_with(pipe):
    late, early = (
        Text(pipe.encoder, pipe.clip, sentences) for sentences in (["a red heart"], ["a ring"])
    )
    ours, theirs = (
        pipe(similarity={term: "a ring"}, progress=False).tensors for term in (late, early)
    )
    torch.testing.assert_close(ours, theirs)


# --- folders and exports ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler", [DDPM(4, "towards_noise"), DDIM(3, eta=0.5), DPMSolver(3), Heun(4, "log_snr")]
)
def test_a_saved_pipeline_draws_the_same(pipe, tmp_path, sampler):
    captions = ["a ring", "a blue star"]
    whole = Pipeline(
        *parts(pipe), gamma=7.0, interval=(0.1, 1.0), sampler=sampler, negative_captions=captions
    )
    again = Pipeline.from_pretrained(whole.save_pretrained(tmp_path / "new" / "folder"))
    assert again.negative_captions == captions and again.interval == (0.1, 1.0)
    assert (again.sampler.__dict__, again.gamma) == (sampler.__dict__, 7.0)
    ours, theirs = (each("a red heart", progress=False).tensors for each in (whole, again))
    assert torch.equal(ours, theirs)


def test_a_saved_pipeline_may_lack_parts_or_have_one_twice(pipe, weights, tmp_path):
    denoiser, clip = pipe.denoiser, pipe.clip
    bare = Pipeline(denoiser, sampler=DDPM(2))
    again = Pipeline.from_pretrained(bare.save_pretrained(tmp_path / "bare"))
    assert again.encoder is again.clip is None
    clean = Pipeline(denoiser, clip, clip)
    again = Pipeline.from_pretrained(clean.save_pretrained(tmp_path / "clean"))
    assert again.encoder is again.clip
    classifier = load_classifier(weights / "classifier_noisy.safetensors")
    Pipeline(denoiser, classifier).save_pretrained(tmp_path / "classes")
    assert Pipeline.from_pretrained(tmp_path / "classes").encoder.classes == classifier.classes


def test_what_cannot_be_saved_is_said_before_anything_is_written(pipe, tmp_path):
    class Own(DDPM):
        pass

    by_hand = Denoiser(pipe.denoiser.network, pipe.denoiser.schedule, "v", patch=2)
    own = type("Mine", (ImageEncoder,), {"encode": None})()
    turned = copy.copy(pipe.encoder)
    turned.__class__ = type("Turned", (type(pipe.encoder),), {})
    kept = copy.copy(pipe.denoiser)
    kept.__class__ = type("Kept", (Denoiser,), {})
    for made, says in (
        (Pipeline(pipe.denoiser, sampler=Own(2)), "Own is of a class of your own"),
        (Pipeline(by_hand, resolution=32), "put together by hand"),
        (Pipeline(pipe.denoiser, own), "Mine is of a class of your own"),
        (Pipeline(pipe.denoiser, turned), "Turned is of a class of your own"),
        (Pipeline(kept), "Kept is of a class of your own"),
    ):
        with pytest.raises(UserError, match=says):
            made.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    "index, says",
    [
        ("{", "is damaged"),
        ("{}", "is damaged, or names what is not there"),
        ('{"denoiser": "../denoiser.safetensors", "gamma": 1}', "outside of its folder"),
        ('{"denoiser": "denoiser.safetensors", "gamma": 1}', "no weights at"),
    ],
)
def test_a_damaged_folder_is_said_in_one_line(tmp_path, index, says):
    (tmp_path / "pipeline.json").write_text(index)
    with pytest.raises(UserError, match=says):
        Pipeline.from_pretrained(tmp_path)


def test_a_folder_of_a_shipped_name_is_opened_if_it_is_a_pipeline(pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()  # such as one with images
    assert Pipeline.from_pretrained("shapes").denoiser.resolution == 32
    pipe.save_pretrained("shapes")
    with pytest.warns(UserWarning, match="shapes is the folder .*, not the shipped weights"):
        own = Pipeline.from_pretrained("shapes")
    assert own.sampler.steps == pipe.sampler.steps == 4


def test_a_part_and_a_whole_are_told_apart(pipe, weights, tmp_path):
    with pytest.raises(UserError, match=r'Pipeline.from_pretrained\("portraits"\) opens it'):
        sdg.from_pretrained("portraits")
    folder = Pipeline(pipe.denoiser).save_pretrained(tmp_path / "whole")
    with pytest.raises(UserError, match="holds a whole pipeline"):
        sdg.from_pretrained(folder)
    save_folder(tmp_path / "part", "denoiser", pipe.denoiser)
    with pytest.raises(UserError, match="no whole pipeline; sdg.from_pretrained opens a part"):
        Pipeline.from_pretrained(tmp_path / "part")


@pytest.mark.parametrize("name", sdg.__all__)
def test_every_export_is_there_and_is_listed(name):
    assert getattr(sdg, name).__name__ == name and name in dir(sdg)


def test_every_guidance_method_and_sampler_is_exported():
    from sdg import guidance
    from sdg.diffusion import samplers

    methods = {name for name in guidance.__all__ if name[0].isupper()} - {"GuidanceOutput"}
    assert methods | {"DDIM", "DDPM", "DPMSolver", "Heun"} <= set(sdg.__all__)
    assert {"DDIM", "DDPM", "DPMSolver"} <= set(samplers.__all__)


@pytest.mark.parametrize(
    ("similarity", "complaint"),
    [
        (lambda x, level: 20 * x.mean((1, 2, 3))[:, None], r"shape \(2, 1\); it must be \(2,\)"),
        (lambda x, level: 3.0, "gave float"),
        (lambda x, level: x.detach().mean((1, 2, 3)), "has no gradient in the images"),
        (lambda x, level: x.mean((1, 2, 3)) * math.nan, "not finite"),
        (Text, "must be a term, such as"),
        (None, "must be a term, such as"),
        ("redness", "must be a term, such as"),
    ],
)
def test_a_similarity_that_cannot_guide_is_refused(pipe, similarity, complaint):
    with pytest.raises(UserError, match=complaint):
        pipe(similarity=similarity, num_samples=2, progress=False)


class PerBatch(Term):
    """A value for each pair, with an axis too many."""

    def compare(self, x, pairs, references):
        return x.pixels.mean((1, 2, 3))[pairs.samples, None]


def test_a_term_of_a_wrong_shape_is_refused(pipe):
    with pytest.raises(UserError, match=r"PerBatch 0.*shape \(2, 1\).*each pair"):
        pipe(similarity=PerBatch(1.0), num_samples=2, progress=False)


class Idle(Guidance):
    """Overrides nothing."""


class OneRow(Guidance):
    """A score of the first sample alone, which would be added to all."""

    def guide_prediction(self, predict, x_t, t, s, noise):
        return GuidanceOutput(predict(x_t), score=torch.ones_like(x_t[:1]))


class AtMean(Guidance):
    def mean_gradient(self, mean, x_t, t, s):
        return torch.ones_like(mean)


@pytest.mark.parametrize(
    ("guidance", "sampler", "complaint"),
    [
        (Idle(1.0), DDPM(4), "Idle steers nothing"),
        (AtMean(1.0), DDIM(4), "AtMean gives a mean_gradient only"),
        (OneRow(1.0), DDPM(4), r"score of shape \(1, 3, 32, 32\)"),
    ],
)
def test_a_guidance_that_would_steer_nothing_or_all_alike_is_refused(
    pipe, guidance, sampler, complaint
):
    with pytest.raises(UserError, match=complaint):
        pipe("a ring", guidance=guidance, sampler=sampler, num_samples=2, progress=False)
