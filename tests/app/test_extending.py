"""docs/extending.md: every recipe is run as it stands on the page."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdg import Pipeline
from sdg.diffusion.samplers import DDIM, DDPM
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SECTIONS = {
    text.partition("\n")[0]: BLOCK.findall(text) for text in PAGE.read_text().split("\n## ")[1:]
}


@pytest.fixture(scope="module")
def pipe(weights) -> Pipeline:
    return Pipeline(
        load_denoiser(weights / "denoiser.safetensors"),
        load_clip_noisy(weights / "clip_noisy.safetensors"),
        load_clip(weights / "clip.safetensors"),
        gamma=5.0,
        sampler=DDPM(4),
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The files of all recipes, in the folder where the commands are started."""
    for _, title, code in sum(SECTIONS.values(), []):
        if title:
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(code)
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


@pytest.fixture
def sampled(run, tiny, tmp_path):
    """Runs a `python sample.py` command of the page with tiny weights; gives its figures."""

    def sample(command: str | list[str], *more: str, name: str = "run") -> dict:
        words = shlex.split(command)[2:] if isinstance(command, str) else command
        own_encoder = any(word.startswith("encoder=") for word in words)
        own_data = "data=shapes" not in words
        skipped = {word.partition("=")[0] for word in words}
        kept = [
            word
            for word in tiny
            if word.partition("=")[0] not in skipped | {"hydra.run.dir"}
            and not (own_encoder and word.startswith("encoder."))
            and not (own_data and word.startswith("data."))
        ]
        run("sample.py", *words, *kept, *more, f"hydra.run.dir={tmp_path}/{name}")
        return json.loads((tmp_path / name / "metrics.json").read_text())

    return sample


def commands(section: str) -> list[str]:
    """The lines of a section's bash blocks."""
    blocks = [code for language, _, code in SECTIONS[section] if language == "bash"]
    return [line for block in blocks for line in block.strip().split("\n")]


def pixels(folder) -> np.ndarray:
    files = sorted((folder / "images").glob("*.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files]).astype(float)


@pytest.mark.parametrize("section", [name for name, code in SECTIONS.items() if code])
def test_the_python_of_the_page_runs(section, pipe, folder, monkeypatch):
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda name: pipe)
    sys.path.append(str(folder))
    snippets = [code for language, title, code in SECTIONS[section] if not title]
    for language, title, code in SECTIONS[section]:
        if language == "python" and not title:
            exec(compile(code, PAGE.name, "exec"), {"__name__": "page"})
    assert snippets


def test_a_similarity(sampled, folder, capsys):
    with_text, palette = commands("A similarity")
    plain = ["data=shapes", "prompt=a ring", "guidance.gamma=30"]
    sampled(with_text, "guidance.gamma=30", "similarity.warmth.weight=50", name="warm")
    sampled(plain, name="plain")
    warm, cold = pixels(folder / "warm"), pixels(folder / "plain")
    assert (warm[..., 0] - warm[..., 2]).mean() > (cold[..., 0] - cold[..., 2]).mean() + 5

    Image.new("RGB", (32, 32), (250, 20, 20)).save("red.png")
    Image.new("RGB", (32, 32), (20, 20, 250)).save("blue.png")
    strong = ["guidance.gamma=30", "similarity.palette.weight=100"]
    sampled(palette, "similarity.palette.reference=[red.png,blue.png]", *strong)
    run = pixels(folder / "run")
    difference = (run[..., 0] - run[..., 2]).mean((1, 2))
    assert difference[:2].min() > difference[2:].max()  # two samples for each reference
    assert "γ = 30, no encoder\n" in capsys.readouterr().out
    page = (folder / "run/report.html").read_text()
    assert "4 samples of 2 conditions" in page
    for name in ("red.png", "blue.png"):
        assert page.count(f'alt="reference | palette of {name}"') == 1


def test_a_page_tells_the_words_of_an_own_similarity_apart(sampled, folder):
    (folder / "own/similarity/tone.yaml").write_text(
        "tone: {_target_: tone.Tone, tone: null, weight: 5.0}\n"
    )
    words = "--config-dir own data=shapes similarity=[text,tone] similarity.tone.tone=[bright,dark]"
    sampled([*words.split(), "prompt=a ring"])
    page = (folder / "run/report.html").read_text()
    assert "4 samples of 2 prompts" in page
    assert "<h3>a ring + bright</h3>" in page and "<h3>a ring + dark</h3>" in page


def test_a_searchpath_and_a_plain_override_find_it_too(sampled, folder):
    common = ["data=shapes", "prompt=a ring", "guidance.gamma=30"]
    dotted = ["+similarity.warmth._target_=warmth.Warmth", "+similarity.warmth.weight=4.0"]
    sampled(["similarity=[text,warmth]", "hydra.searchpath=[own]", *common], name="path")
    sampled([*dotted, *common], name="dotted")
    assert np.array_equal(pixels(folder / "path"), pixels(folder / "dotted"))


def test_a_guidance_method(sampled, folder, pipe):
    (command,) = commands("A guidance method")
    sampled(command)
    sampled([*shlex.split(command)[2:], "guidance.gamma=0"], name="unguided")
    assert not np.array_equal(pixels(folder / "run"), pixels(folder / "unguided"))

    sys.path.append(str(folder))
    from plain_score import PlainScore

    # In a sampler without Σ it is semantic guidance's own score form.
    ours, theirs = (
        pipe("a ring", guidance=method(7.0), sampler=DDIM(4), progress=False).tensors
        for method in (PlainScore, SemanticGuidance)
    )
    assert torch.equal(ours, theirs)


def test_a_sampler(sampled, folder, pipe):
    (command,) = commands("A sampler")
    sampled(command)
    sys.path.append(str(folder))
    from flow import Flow

    # This is DDIM at η = 0 (Song et al. 2021, eq. 12), guided or not.
    for gamma in (0.0, 5.0):
        ours, theirs = (
            pipe("a ring", gamma=gamma, sampler=sampler, progress=False).tensors
            for sampler in (Flow(6), DDIM(6))
        )
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_an_image_encoder(sampled, folder):
    (command,) = commands("An image encoder")
    Image.new("RGB", (32, 32), (250, 20, 20)).save("red.png")
    red = "similarity.content.reference=red.png"
    figures = sampled(command, red, "guidance.gamma=30")
    sampled(command, red, "guidance.gamma=0", name="unguided")
    guided, unguided = pixels(folder / "run"), pixels(folder / "unguided")
    redness = [(images[..., 0] - images[..., 2]).mean() for images in (guided, unguided)]
    assert redness[0] > redness[1] + 5
    cost = figures["cost_per_sample"]
    # Two of three steps are guided; four samples share the reference's pass.
    assert cost["encoder_backwards"] == 2 and cost["encoder_forwards"] == 2 + 2 / 4


def test_options_of_an_own_encoder_are_its_own(sampled, folder):
    (folder / "named.py").write_text(
        "from pooled import Pooled\n"
        "def pooled(weights, clip): assert weights == 'version 2'; return Pooled()\n"
    )
    Image.new("RGB", (32, 32), (250, 20, 20)).save("red.png")
    words = ["similarity=[content]", "similarity.content.reference=red.png", "guidance.gamma=5"]
    options = "_target_: named.pooled\nweights: version 2\nclip: mine\n"
    (folder / "own/encoder/named.yaml").write_text(options)
    assert sampled(["--config-dir", "own", "encoder=named", *words])["num_samples"] == 4


def test_a_data_set(run, sampled, folder, capsys):
    train, sample = commands("A data set")
    run(
        *shlex.split(train)[1:],
        "denoiser.network.block_out_channels=[32,32]",
        "denoiser.network.down_block_types=[DownBlock2D,DownBlock2D]",
        "denoiser.network.up_block_types=[UpBlock2D,UpBlock2D]",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        "module.preview=0",
        "data.size=40",
        "data.batch_size=8",
        f"hydra.run.dir={folder}/train",
    )
    weights = re.search(r"weights: (\S+)", capsys.readouterr().out)[1]
    figures = sampled(sample.replace("FOLDER", weights), "data.size=40")
    assert figures["num_samples"] == 4
    prompts = (folder / "run" / "samples.csv").read_text()  # they are held-out captions
    assert len(re.findall("stripes [1-4] wide", prompts)) == 4


def test_a_lightning_data_module(sampled, folder):
    (folder / "loaders.py").write_text(
        "import pytorch_lightning as pl\n"
        "from torch.utils.data import DataLoader\n"
        "from stripes import Stripes\n"
        "class Loaders(pl.LightningDataModule):\n"
        "    def __init__(self, size): super().__init__(); self.size = size\n"
        "    def val_dataloader(self): return DataLoader(Stripes(self.size), 4)\n"
    )
    (folder / "own/data/loaders.yaml").write_text("_target_: loaders.Loaders\nsize: 8\n")
    words = "--config-dir own data=loaders similarity=[content] guidance.gamma=5".split()
    assert sampled(words)["num_samples"] == 4


def test_a_metric(sampled, folder, capsys):
    (command,) = commands("A metric")
    found = sampled(command)["metrics"]["contrast"]
    own = pixels(folder / "run") / 127.5 - 1
    expected = own.reshape(len(own), -1).std(1, ddof=1).mean()
    assert found == pytest.approx(expected, abs=1e-4)
    assert "contrast: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "value",
    [
        "None",
        *(
            pytest.param(code, marks=pytest.mark.slow)
            for code in ("images.mean((1, 2, 3))", "'bright'")
        ),
    ],
)
def test_a_metric_that_gives_no_number_is_named(folder, refusal, tiny, value):
    (command,) = commands("A metric")
    code = (folder / "contrast.py").read_text().splitlines()
    last = next(i for i, line in enumerate(code) if "def compute" in line)
    own = value.replace("images.mean((1, 2, 3))", "self.total.new_zeros(3)")
    (folder / "contrast.py").write_text("\n".join([*code[: last + 1], f"        return {own}"]))
    message = refusal("sample.py", *shlex.split(command)[2:], *tiny)
    assert "eval.metrics.contrast: its compute() must give one number, not" in message


def test_a_data_set_without_a_length_is_named(folder, refusal, tiny):
    (folder / "stream.py").write_text(
        "from torch.utils.data import IterableDataset\n\n\n"
        "class Stream(IterableDataset):\n"
        "    def __iter__(self):\n"
        "        return iter(())\n"
    )
    (folder / "own/data/stream.yaml").write_text("_target_: stream.Stream\n")
    kept = [word for word in tiny if not word.startswith("data.")]
    message = refusal("sample.py", "--config-dir", "own", "data=stream", *kept)
    assert "Stream has no __len__, the number of its images" in message


def test_a_training(folder, run, refusal, capsys):
    (command,) = commands("A training")
    words = [*shlex.split(command)[2:], "trainer.max_steps=4", "data.size=64", "data.held_out=32"]
    words += ["trainer.val_check_interval=4", "data.batch_size=16", "data.cache=null"]
    run("train.py", *words, f"hydra.run.dir={folder}/run")
    assert "weights: " in capsys.readouterr().out
    config = json.loads((folder / "run/brightness/config.json").read_text())
    assert config["sdg"]["kind"] == "brightness" and config["sdg"]["config"] == {"width": 16}
    assert "| val/error |" in (folder / "run/brightness/README.md").read_text()
    resumed = [*words, "trainer.max_steps=6", f"ckpt_path={folder}/run/checkpoints/last.ckpt"]
    run("train.py", *resumed, f"hydra.run.dir={folder}/longer")
    message = refusal("train.py", *words, "schedule=linear")
    assert "schedule has no effect on training kind=brightness: it reads no schedule" in message
    message = refusal("train.py", *words, "+module.depth=3")
    assert "'module.depth' is no setting of" in message


def test_edited_code_is_another_run(sampled, folder, refusal, tiny):
    command = commands("A similarity")[0]
    sampled(command)
    code = (folder / "warmth.py").read_text()
    (folder / "warmth.py").write_text(code.replace("red - blue", "blue - red"))
    with pytest.raises(SystemExit, match="code of your own drew before .* rerun=true replaces"):
        sampled(command)
    with pytest.raises(SystemExit, match="another run, whose settings, .* rerun=true replaces"):
        sampled(command, "guidance.gamma=2")


def test_code_that_failed_before_a_sample_is_simply_run_once_it_is_mended(sampled, folder):
    (command,) = commands("A sampler")
    code = (folder / "flow.py").read_text()
    (folder / "flow.py").write_text(code.replace("return Step(", "return Stepp("))
    with pytest.raises(NameError, match="Stepp"):
        sampled(command)
    assert not list((folder / "run/images").iterdir())
    (folder / "flow.py").write_text(code)
    del sys.modules["flow"]
    assert sampled(command)["num_samples"] == 4


@pytest.mark.slow
def test_an_edited_file_that_an_own_similarity_reads_is_another_run(sampled, folder):
    (folder / "plain.py").write_text(
        "from sdg.similarity import Term, Text\n"
        "class Plain(Text): pass\n"
        "class Listed(Term):\n"
        "    def __init__(self, weight, table):\n"
        "        super().__init__(weight); self.value = float(open(table).read())\n"
        "    def compare(self, x, pairs, references):\n"
        "        return self.value * x.pixels.mean((1, 2, 3))[pairs.samples]\n"
        "class Hidden(Listed):\n"
        "    def __init__(self, weight): super().__init__(weight, 'read.txt')\n"
        "    def fingerprint(self): return self.value\n"
    )
    for name, options in (
        ("Plain", ["similarity.text._target_=plain.Plain", "similarity.text.negative_captions="]),
        ("Listed", ["+similarity.own._target_=plain.Listed", "+similarity.own.table="]),
        ("Hidden", ["+similarity.own._target_=plain.Hidden"]),
    ):
        words = [*options[:1], *(f"{option}read.txt" for option in options[1:]), "prompt=a ring"]
        words += ["+similarity.own.weight=1"] if name != "Plain" else []
        first, second = ("a star\n", "a disc\n") if name == "Plain" else ("1\n", "2\n")
        (folder / "read.txt").write_text(first)
        sampled(words, name=name)
        (folder / "read.txt").write_text(second)
        with pytest.raises(SystemExit, match="rerun=true replaces them"):
            sampled(words, name=name)


@pytest.mark.parametrize(
    "words, says",
    [
        (
            ["similarity=[text,warmth]", "similarity.warmth.wieght=3"],
            "mean 'similarity.warmth.weight'",
        ),
        (["similarity=[text,warmth]", "+similarity.warmth.hue=3"], "Warmth has no such option"),
        (["+similarity.warmth.weight=3"], "this run has not chosen it"),
        (["similarity=[text,bare]"], "similarity=bare: its config names no _target_"),
        (["similarity=[text,flat]"], "put them one level down"),
        (
            ["similarity=[text,elsewhere]"],
            "similarity.elsewhere._target_=nowhere.Hue cannot be imported: Module",
        ),
        (["similarity=[text,sampler]"], "is no sdg.similarity.term.Term"),
        (["similarity=[text,wamth]"], "did you mean 'warmth'"),
        (
            ["similarity=[text,warmth]", "similarity.warmth.weight=two"],
            "similarity.warmth.weight must be a finite number, not 'two'",
        ),
        (
            ["similarity=[text,warmth]", "similarity.warmth.weight=null"],
            "similarity.warmth.weight must be a finite number, not None",
        ),
        (
            ["similarity=[text,warmth]", "similarity.warmth.weight=nan"],
            "similarity.warmth.weight must be a finite number, not nan",
        ),
        (["+similarity.any._target_=sdg.similarity.Term"], "Term lacks compare, which it must def"),
        (["similarity=[warmth]"], "no similarity of this run reads a sentence"),
        (["guidance=flow_"], "makes a Flow, but a sdg.guidance.guidance.Guidance is needed"),
        (["sampler=warm"], "makes a Warmth, but a sdg.diffusion.sampler.Sampler is needed"),
        (["+eval.metrics.contrast=3"], "contrast must be a section"),
        (["+data.colour=red", "data=stripes"], "has no such option"),
    ],
)
def test_what_would_have_no_effect_is_refused_in_one_line(refusal, tiny, folder, words, says):
    for name, text in {
        "similarity/bare": "bare: {weight: 3}",
        "similarity/flat": "_target_: warmth.Warmth\nweight: 3.0",
        "similarity/elsewhere": "elsewhere: {_target_: nowhere.Hue}",
        "similarity/sampler": "sampler: {_target_: flow.Flow, steps: 3}",
        "guidance/flow_": "_target_: flow.Flow\nsteps: 3",
        "sampler/warm": "_target_: warmth.Warmth\nweight: 3.0\nsteps: 3",
    }.items():
        (folder / "own" / f"{name}.yaml").write_text(text + "\n")
    if "sampler=warm" in words:
        (folder / "own/sampler/warm.yaml").write_text("_target_: warmth.Warmth\nweight: 3.0\n")
        tiny = [word for word in tiny if not word.startswith("sampler.")]
    if "data=stripes" in words:
        tiny = [word for word in tiny if not word.startswith("data.")]
    message = refusal("sample.py", "--config-dir", "own", "prompt=a ring", *words, *tiny)
    assert re.search(says, message), message
