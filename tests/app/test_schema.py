"""The schema of all settings: whole, in step with the library, quick, and printed."""

import importlib.util
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from attack.settings import choices, composed, settings

from sdg.app.kinds import NULL, Choice, Integer, ListOf, Number, Text
from sdg.app.rules import check_rules
from sdg.app.schema import NAMED, PROGRAMS, SETTINGS
from sdg.app.setting_checks import check_section, setting_kind
from sdg.data.annotations import LABELS
from sdg.data.image import CROPS
from sdg.data.known import KNOWN
from sdg.diffusion.denoiser import PREDICTIONS, VARIANCES
from sdg.diffusion.schedule import KINDS, SPACINGS
from sdg.errors import UserError
from sdg.guidance.guidance import GAMMA_SCHEDULES
from sdg.guidance.semantic import PLACES
from sdg.report.pictures import KINDS as WRITERS
from sdg.similarity.class_ import FORMS

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("_target_", "_partial_")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["sample", "train"])
def test_every_setting_of_every_choice_is_in_it(program):
    unknown = set()
    for chosen in choices(program):
        config = composed(program, chosen)
        for key, _ in settings(config):
            if key.rpartition(".")[2] not in CLASSES and setting_kind(program, key) is None:
                unknown.add(key)
    assert unknown == set()


@pytest.mark.parametrize(
    "key, options",
    [
        ("guidance.gradient_at", PLACES),
        ("guidance.gamma_schedule", GAMMA_SCHEDULES),
        ("sampler.spacing", SPACINGS),
        ("preset.spacing", SPACINGS),
        ("schedule.kind", KINDS),
        ("denoiser.schedule", KINDS),
        ("denoiser.prediction", PREDICTIONS),
        ("denoiser.variance", VARIANCES),
        ("similarity.class.form", FORMS),
        ("data.crop", CROPS),
        ("data.labels", LABELS),
        ("images", WRITERS),
    ],
)
def test_its_choices_are_the_librarys(key, options):
    kind = SETTINGS.get(key) or PROGRAMS["sample"][key]
    assert {*kind.options} == {*options}
    assert all(map(kind.takes, options)) and not kind.takes("banana")


def test_the_names_of_known_data_are_the_librarys():
    kind = setting_kind("train", "data.name", "sdg.data.torchvision_data.TorchvisionData")
    assert kind is not None and {*kind.options} == {*KNOWN}


@pytest.mark.parametrize(
    "kind, right, wrong",
    [
        (Integer(1), [1, 10**30], [0, -7, 1.0, True, "1", None, [1], float("nan")]),
        (Integer(0, 3), [0, 3], [4, -1]),
        (Number(0, 1), [0, 1, 0.5], [-1e-9, 1.1, float("inf"), float("nan"), False, "0.5"]),
        (Number(0, 1, above=True), [1e-9, 1], [0]),
        (Number(0, 1, below=True), [0], [1]),
        (Choice((True, False)), [True, False], [1, 0, "true", None]),
        (NULL, [None], [0, "", False]),
        (Text(), ["a"], ["", "  ", 7, None, ["a"], "a\0"]),
        (ListOf(Integer(1)), [[1], [1, 2]], [[], [0], 1, "1", [[1]]]),
        (ListOf(Number(0, 1), length=2, rising=True), [[0, 0.5]], [[0.5, 0.5], [0.5, 0], [0]]),
        (Integer(1) | NULL | Choice((-1,)), [1, None, -1], [0, -2]),
    ],
)
def test_kinds(kind, right, wrong):
    assert [value for value in right if not kind.takes(value)] == []
    assert [value for value in wrong if kind.takes(value)] == []


def test_a_class_of_ones_own_has_options_of_its_own():
    section = {"sampler": {"_target_": "mine.Sampler", "steps": "many"}}
    check_section("sample", section)
    section["sampler"]["_target_"] = "sdg.diffusion.samplers.DDPM"
    with pytest.raises(UserError, match="sampler.steps must be an integer of at least 1"):
        check_section("sample", section)


NETWORK = {"block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"]}


@pytest.mark.parametrize(
    "options, says",
    [
        ({"up_block_types": ["UpBlock2D"]}, "up_block_types has 1 entries"),
        ({"norm_num_groups": 3}, "norm_num_groups=3 must divide"),
        ({"norm_num_groups": 8, "attention_head_dim": 32}, "must be at most 16"),
        ({"norm_num_groups": 8, "attention_head_dim": 16}, None),
    ],
)
def test_the_shape_of_a_network(options, says):
    config = {
        "denoiser": {"network": NETWORK | options},
        "encoder": {},
        "lr_schedule": {},
        "module": {"_target_": "sdg.training.DDPM"},
        "schedule": {},
        "trainer": {},
    }
    if says is None:
        check_rules("train", config, [])
        return
    with pytest.raises(UserError, match=says):
        check_rules("train", config, [])


@pytest.mark.parametrize(
    "program, word",
    [("train", "half=foo"), ("sample", "guidance.recurrence=0"), ("train", "module.preview=-1")],
)
def test_wrong_input_is_answered_within_a_second_before_torch_is_imported(program, word):
    code = (
        f"import sys; sys.argv = ['{program}.py', '{word}']\n"
        f"from sdg.app.commands import {program} as main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 1 and ended.stderr.startswith(f"error: {word.partition('=')[0]} ")
    assert ended.stdout == "False\n"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_the_page_of_settings_has_them_all():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.on_page_markdown((ROOT / "docs" / "settings.md").read_text())
    for key in [*SETTINGS, *PROGRAMS["sample"], *PROGRAMS["train"]]:
        assert f"\n| `{key}` | " in page
    assert "| `strength` | a finite number above 0 and at most 1 | how far from it" in page
    assert "| `guidance.max_norm` | a finite number above 0, or null | longest" in page


def test_sections_with_names_of_ones_own():
    for section in NAMED:
        assert setting_kind("sample", f"{section}.mine").takes({"_target_": "mine.Own"})
        assert not setting_kind("sample", f"{section}.mine").takes("banana")
