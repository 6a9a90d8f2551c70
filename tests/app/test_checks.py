"""What can be seen to be wrong at once is refused before the line that says what begins."""

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_training import TINY

# What a denoiser to fine-tune leaves to be set.
SMALL = [f"{key}={value}" for key, value in TINY.items() if not key.startswith("denoiser.")]


@pytest.mark.parametrize(
    "script, word, message",
    [
        ("sample.py", f"guidance.gamma={10**400}", "guidance.gamma must be a finite number"),
        ("sample.py", "unguided=perhaps", "unguided must be true or false, not 'perhaps'"),
        ("sample.py", "guidance.gamma=nan", "guidance.gamma must be a finite number"),
        ("sample.py", "batch_size=0", "batch_size must be"),
        ("sample.py", "trainer=gpu", "trainer=auto takes the CPU"),
        ("sample.py", "strength=0.5", "strength says how far from init_image; set init_image=FILE"),
        ("train.py", "optimizer.lr=nan", "optimizer.lr must be a finite number"),
    ],
)
def test_it_is_refused_before_anything_is_announced(run, tmp_path, capsys, script, word, message):
    if word == "trainer=gpu":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as stop:
        run(script, word, f"hydra.run.dir={tmp_path}/run")
    assert message in str(stop.value.code)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "gamma, note", [("-2", "is negative, so it steers away"), ("1e5", "is far beyond 30")]
)
def test_a_gamma_that_is_seldom_meant_is_noted(run, tiny, capsys, gamma, note):
    run("sample.py", *tiny, f"guidance.gamma={gamma}", "preset.gamma=30")
    assert f"note: guidance.gamma={float(gamma):g} {note}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "prompt, command",
    [
        ("hi!", "'prompt=\"hi!\"'"),
        ("一个人", "prompt=\"'一个人'\""),
        ("🙂", "prompt=\"'🙂'\""),
        ("a ring, blue", "prompt=\"'a ring, blue'\""),
    ],
)
def test_the_right_command_is_shown_for_a_sentence_that_needs_quotes(refusal, prompt, command):
    message = refusal("sample.py", f"prompt={prompt}")
    assert f"Quote a sentence twice, {command}, or" in message and "in quotes alone" in message


@pytest.mark.parametrize("value", ["'hi!'", '"hi!"', "'一个人'", "'🙂'"])
def test_what_stands_in_quotes_twice_is_read(run, capsys, value):
    run("sample.py", f"prompt={value}", "--cfg", "job")
    assert yaml.safe_load(capsys.readouterr().out)["prompt"] == value[1:-1]


@pytest.mark.parametrize(
    "style, said",
    [
        ("toon-head", "data.style=toon-head: the shipped weights draw avataaars alone"),
        ("[avataaars,micah]", "data.style=[avataaars,micah]: the shipped weights draw avataaars"),
        ("avatars", "did you mean 'avataaars'"),
    ],
)
def test_a_style_that_the_shipped_weights_do_not_draw_is_refused(refusal, style, said):
    assert said in refusal("sample.py", "data=portraits", f"data.style={style}")


def test_a_folder_of_broken_images_alone_is_named(refusal, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.png").write_text("no picture")
    words = ["data=folder", f"data.root={tmp_path}/images", f"hydra.run.dir={tmp_path}/run"]
    assert "no training image is left: of 1 in all 1 cannot be read (bad.png)" in refusal(
        "train.py", *words
    )
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "images" / "bad.png")
    assert "the 1 that there are are held out" in refusal("train.py", *words)


@pytest.mark.parametrize(
    "script, words, message",
    [
        (
            "sample.py",
            ["encoder=classifier_noisy", "encoder.name=RN50"],
            "'encoder.name' is a setting of",
        ),
        (
            "train.py",
            ["encoder=clip", "encoder.clip=x"],
            "encoder.clip has no effect on training kind=clip: it reads encoder.name",
        ),
        (
            "train.py",
            ["encoder=clip", "schedule=linear"],
            "schedule has no effect on training kind=clip: it reads no schedule",
        ),
        ("train.py", ["encoder=clip_noisy", "encoder.weights=x"], "init=PATH starts from weights"),
        (
            "train.py",
            ["encoder=judge", "denoiser.patch=1"],
            "denoiser.patch has no effect on training kind=judge: it reads no denoiser",
        ),
        ("train.py", ["encoder=classifier_noisy", "denoiser=trained"], "denoiser has no effect"),
    ],
)
def test_a_setting_without_effect_is_refused(refusal, script, words, message):
    assert message in refusal(script, *words)


def test_a_similarity_that_is_added_without_a_weight_has_weight_1(run, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bright.py").write_text(
        "from sdg.similarity import Term\n\n\n"
        "class Bright(Term):\n"
        "    def compare(self, x, pairs, references):\n"
        "        return x.pixels.mean((1, 2, 3))[pairs.samples]\n"
    )
    for words in ([], ["+similarity.bright.weight=2"]):
        run(
            "sample.py",
            *tiny[:-1],
            "+similarity.bright._target_=bright.Bright",
            *words,
            f"hydra.run.dir={tmp_path}/{len(words)}",
        )
        assert (tmp_path / f"{len(words)}" / "grid.png").is_file()


def test_encoders_of_two_clips_are_told_apart_in_words(weights):
    import copy

    from sdg.errors import UserError
    from sdg.models.kin import check_kin
    from sdg.models.registry import load_clip, load_clip_noisy

    image = load_clip_noisy(weights / "clip_noisy.safetensors")
    clip = load_clip(weights / "clip.safetensors")
    clip.config = copy.deepcopy(clip.config)
    clip.config["model"]["text_cfg"]["vocab_size"] = 84
    with pytest.raises(UserError, match="text.vocab_size is 64 there and 84 here") as refused:
        check_kin(image, clip)
    assert "{" not in str(refused.value)


@pytest.mark.parametrize("word", ["process=flow", "schedule=linear", "denoiser.patch=2"])
def test_what_a_denoiser_to_fine_tune_brings_is_not_set(refusal, weights, tmp_path, word):
    file = f"denoiser.path={weights}/denoiser.safetensors"
    words = ["denoiser=pretrained", file, f"hydra.run.dir={tmp_path}/run"]
    line = refusal("train.py", *words, *SMALL, word)
    what = "is a setting of" if word.startswith("denoiser.") else "brings the network and the"
    assert word.partition("=")[0] in line and what in line


@pytest.mark.slow
def test_a_denoiser_is_fine_tuned_on_the_default_data(run, tmp_path):
    """The portraits' recipe has a network of its own, which is not the one to fine-tune."""
    source = "denoiser.path=weights/portraits/denoiser.safetensors"
    words = ["data=portraits", "denoiser=pretrained", source, *SMALL]
    run("train.py", *words, f"hydra.run.dir={tmp_path}/run")
    assert (tmp_path / "run" / "denoiser" / "README.md").is_file()


def test_what_ends_a_sampling_run_early_is_refused(refusal, tiny):
    for name in ("limit_test_batches", "limit_predict_batches"):
        assert "lower num_samples instead" in refusal("sample.py", *tiny, f"+trainer.{name}=1")


def test_two_checkpoints_to_go_on_from_are_refused(refusal, tmp_path):
    words = ["resume=true", f"ckpt_path={tmp_path}/last.ckpt", f"hydra.run.dir={tmp_path}/run"]
    assert "give resume=true or ckpt_path=FILE, not both" in refusal("train.py", *words)


def test_an_error_in_code_of_ones_own_keeps_its_traceback(run, tiny, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "dim.py").write_text(
        "from sdg.similarity import Term\n\n\n"
        "class Dim(Term):\n"
        "    def __init__(self, weight=1.0):\n"
        "        super().__init__(weight / 0)\n"
        "    def compare(self, x, pairs, references):\n"
        "        return -x.pixels.mean((1, 2, 3))[pairs.samples]\n"
    )
    (tmp_path / "conf" / "similarity").mkdir(parents=True)
    (tmp_path / "conf" / "similarity" / "dim.yaml").write_text("dim: {_target_: dim.Dim}\n")
    with pytest.raises(Exception, match="division by zero") as error:
        run("sample.py", "--config-dir", str(tmp_path / "conf"), "similarity=[dim]", *tiny)
    assert not isinstance(error.value, SystemExit)
