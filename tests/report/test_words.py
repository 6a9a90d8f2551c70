"""Figures in words, and what a page says of a sample."""

import json
from pathlib import Path

import pytest
from PIL import Image

from sdg.report.pages import run_page, swept
from sdg.report.rows import Sample
from sdg.report.samples import caption, condition, condition_title, miss, shows_prompt
from sdg.report.words import figures_in_words

METRICS = {
    "gamma": 10.0,
    "num_samples": 4,
    "num_prompts": 2,
    "seconds_per_sample": 1.5,
    "alignment": {"hair_colour": 0.75, "skin": None, "all": 0.5625},
    "alignment_all_interval": [0.4, 0.71],
    "shows": 0.25,
    "residual": 0.0304,
    "frechet_judge": 3.0,
    "kernel_imagenet": [0.5, 0.012],
    "frechet_imagenet_prompts_real": 1.25,
    "diversity_judge_interval": [1.0, 2.0],
    "cost_per_sample": {"flops": 1e9},
}


def test_figures_are_sentences_the_most_telling_first_and_the_cost_last():
    assert [str(sentence) for sentence in figures_in_words(METRICS)] == [
        "all named attributes shown in 0.56 of samples (95 %: 0.40 to 0.71)",
        "each attribute, where a prompt names it: hair colour 0.75",
        "prompt shown, and the picture without a visible flaw, in 0.25 of samples",
        "median difference to the renderer's nearest picture: 0.03 of the pixels' range",
        "Fréchet distance to real images, in the judge's features: 3.00",
        "kernel distance to real images, in the features of a network trained on ImageNet: 0.50 "
        "(± 0.012)",
        "Fréchet distance to real images of the same prompts, of as many other real images, in the "
        "features of a network trained on ImageNet: 1.25",
        "1.50 seconds a sample",
    ]


def test_one_prompt_has_no_interval_over_prompts():
    (first, *_) = figures_in_words(METRICS | {"num_prompts": 1})
    assert str(first) == "all named attributes shown in 0.56 of samples"


@pytest.mark.parametrize(
    "row, verdict, words",
    [
        ({"all": "1", "shows": "1"}, True, ""),
        ({"all": "1", "shows": "0", "missed": ""}, False, "visible flaw"),
        ({"all": "0", "shows": "0", "missed": "hair_colour skin"}, False, "hair colour; skin"),
        (
            {
                "all": "0",
                "missed": "hair_colour skin",
                "missed_values": "red, light",
                "skin": "dark",
            },
            False,
            "hair colour: red wanted, none read; skin: light wanted, read as dark",
        ),
        ({"all": "1"}, True, ""),
        ({"all": "0", "missed": "shape"}, False, "shape"),
        ({"all": "", "shows": ""}, None, ""),
        ({}, None, ""),
    ],
)
def test_a_miss_says_what_is_missed(row, verdict, words):
    assert shows_prompt(row) is verdict and miss(row) == words


def test_a_caption_tells_what_was_read_of_any_data():
    row = {"prompt": "a face", "all": "0", "missed": "skin", "index": "3", "seed": "7"}
    row |= {"skin": "dark", "hair_colour": "red", "hat": ""}
    sample = Sample(row, {"prompt": "a face"}, {})
    assert caption(sample, ["skin", "hair_colour", "hat"]) == (
        "a face | ✗ misses: skin | read off the picture: skin dark, hair colour red | "
        "sample 3, seed 7"
    )


@pytest.mark.parametrize(
    "conditions, words, heading",
    [
        ({"prompt": "a star"}, "a star", "“a star”"),
        ({"content": "DIR/3.png"}, "content of 3.png", "Content of 3.png"),
        (
            {"prompt": "a star", "style": "b.png:0.5 | held-out 3"},
            "a star + style of b.png × 0.5 + style of held-out 3",
            "A star + style of b.png × 0.5 + style of held-out 3",
        ),
        ({"class": "heart"}, "heart", "Heart"),
        ({"palette": "DIR/3.png"}, "palette of 3.png", "Palette of 3.png"),
        ({"prompt": "a star", "tone": "dark"}, "a star + dark", "A star + dark"),
        ({}, "", ""),
    ],
)
def test_a_condition_has_the_same_words_wherever_it_stands(conditions, words, heading):
    pictures = {kind: Path("0.png") for kind in ("content", "style", "palette")}
    references = {kind: file for kind, file in pictures.items() if kind in conditions}
    sample = Sample(conditions, conditions, references)
    assert condition(sample) == words and condition_title(sample) == heading


def written(folder, prompts):
    """A run's folder as it is when its page is made, with a sample for each of the prompts."""
    (folder / "images").mkdir(parents=True)
    lines = ["index,seed,file,gamma,prompt,all"]
    for i, prompt in enumerate(prompts):
        Image.new("RGB", (8, 8), "red").save(folder / f"images/{i}.png")
        lines.append(f"{i},{i + 10},images/{i}.png,10,{prompt},{i % 2}")
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text("seed: 0\nsimilarity: {text: {weight: 1}}\n")
    (folder / "command.txt").write_text("python sample.py 'prompt=a <star>'\n")
    metrics = METRICS | {"num_samples": len(prompts), "num_prompts": len(set(prompts))}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_page_has_prompt_and_command_and_pairs_with_unguided_pictures(tmp_path):
    folder = written(tmp_path / "run", ["a <star>"] * 3)
    other = tmp_path / "other.png"
    Image.new("RGB", (8, 8), "blue").save(other)
    page = run_page(folder, {1: other}).read_text()
    assert "<title>“a &lt;star&gt;”</title>" in page and "prompt=a &lt;star&gt;" in page
    assert page.count('<figure class="sample') == 3 and page.count("without guidance |") == 2
    assert page.index('class="grid"') < page.index("Figures") < page.index("<details>")


def test_a_page_of_many_samples_has_a_bounded_number_of_pictures(tmp_path):
    alone = run_page(written(tmp_path / "alone", ["a star"] * 300)).read_text()
    assert alone.count('<figure class="sample') == 288
    assert "288 of 300 samples are on this page" in alone
    several = run_page(written(tmp_path / "several", ["a star", "a ring"] * 20)).read_text()
    assert several.count('<figure class="sample') == 2 * 12
    pairs = {i: tmp_path / "alone/images/0.png" for i in range(300)}
    beside = run_page(tmp_path / "alone", pairs).read_text()
    assert beside.count("<figure") == 144 and beside.count("data:image/png") == 288


def test_a_sweep_is_named_by_its_one_setting():
    def jobs(*names):
        return [{"name": name} for name in names]

    assert swept(jobs("guidance.gamma=0", "guidance.gamma=5")) == "γ = 0, 5"
    assert swept(jobs("sampler.steps=5", "sampler.steps=9")) == "sampler.steps = 5, 9"
    assert swept(jobs("a=1 b=2", "a=2 b=2")) == "2 runs" and swept(jobs("")) == "1 run"
