"""What README and docs/ show: commands compose, Python runs, links lead somewhere."""

import ast
import copy
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from sdg import Pipeline
from sdg.diffusion.guide import GuidanceOutput, Prediction
from sdg.diffusion.sampler import Step
from sdg.diffusion.samplers import DDPM
from sdg.models.stages import Encoded

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCRIPTS = ("sample", "train")
COMMANDS = {
    "sample.py": "sample",
    "train.py": "train",
    "sdg-sample": "sample",
    "sdg-train": "train",
}
# Choices that a setting shown by itself may need.
CONTEXTS = (
    [],
    ["denoiser=pretrained"],
    ["encoder=autoencoder"],
    ["encoder=clip"],
    ["encoder=clip_noisy"],
    ["similarity=[text,content,structure,style,class]"],
    ["data=folder"],
    ["data=emoji"],
    ["data=hf"],
    ["data=webdataset"],
    ["data=cifar10"],
    ["data=lsun"],
    ["sampler=ddim"],
    ["hydra/sweeper=search"],
)


def code(page: Path) -> list[str]:
    """The lines of its code blocks and its code within sentences and tables."""
    text, found = page.read_text(), []
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found += block.splitlines()
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found += re.findall(r"^    (?! )(.+)$", text, re.MULTILINE)
    prose = re.sub(r"^    .+$", "", text, flags=re.MULTILINE)
    found += [word.replace(r"\|", "|") for word in re.findall(r"`([^`\n]+)`", prose)]
    return found


def shown(pattern: str) -> list:
    """Every piece of code that matches, once, with the first page that shows it."""
    pieces = {}
    for page in PAGES:
        for line in code(page):
            if re.search(pattern, line):
                pieces.setdefault(line, page.name)
    return [pytest.param(line, id=f"{name}: {line}") for line, name in pieces.items()]


def jobs(words: list[str]) -> list[list[str]]:
    """The overrides of a command; of a sweep, as many as it takes to see every value once."""
    columns = []
    for override in OverridesParser.create().parse_overrides(words):
        if override.is_choice_sweep():
            key = override.get_key_element()
            columns.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif override.is_sweep_override():  # an interval
            columns.append([f"{override.get_key_element()}={override.value().start}"])
        else:
            columns.append([override.input_line])
    longest = max(map(len, columns), default=1)
    filled = [column + column[:1] * (longest - len(column)) for column in columns]
    return list(map(list, zip(*filled, strict=True))) or [[]]


@cache
def base(script: str, choices: tuple[str, ...]) -> DictConfig:
    """The whole config of these choices, Hydra's part too."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(script, [*choices], return_hydra_config=True)


def composed(script: str, words: list[str]) -> None:
    """Composes what `python <script>.py <words>` would; raises what Hydra raises."""
    for overrides in jobs(words):
        choices, values = [], []
        for override in OverridesParser.create().parse_overrides(overrides):
            group = override.key_or_group.startswith("hydra/")
            group = group or (ROOT / "conf" / override.key_or_group).is_dir()
            (choices if group else values).append(override)
        config = base(script, tuple(override.input_line for override in choices))
        ConfigLoaderImpl._apply_overrides_to_config(values, copy.deepcopy(config))


# Commands with --config-dir need the reader's own files: the page of those has a test of its own.
@pytest.mark.parametrize(
    "line",
    shown(
        r"^(?!.*--config-dir)((python|torchrun|srun)\b.*\b(sample|train)\.py|sdg-(sample|train)\b)"
    ),
)
def test_commands_compose(line):
    words = shlex.split(line, comments=True)
    at = next(k for k, word in enumerate(words) if word in COMMANDS)
    composed(
        COMMANDS[words[at]],
        [word for word in words[at + 1 :] if word not in ("-m", "--help")],
    )


def settings(line: str) -> list[str]:
    """The words of code that is settings and nothing else, such as `data=folder data.flip=true`."""
    top = {file.name.removesuffix(".yaml") for file in (ROOT / "conf").iterdir()}
    for script in SCRIPTS:
        text = (ROOT / "conf" / f"{script}.yaml").read_text()
        top |= set(re.findall(r"^(\w+):", text, re.MULTILINE))
    top |= {"module", "optimizer", "lr_schedule"}
    words = shlex.split(line) if line.count("'") % 2 == 0 else []
    keys = [re.match(r"\+?([a-z_]+)[\w./]*=.", word) for word in words]
    return words if words and all(key and key[1] in top for key in keys) else []


@pytest.mark.parametrize(
    "line", [piece for piece in shown(r"^\+?[a-z_]+[\w./]*=\S") if settings(piece.values[0])]
)
def test_settings_compose(line):
    words, failures = settings(line), []
    groups = {re.match(r"\+?(\w+)", word)[1] for word in words}
    groups |= {"encoder"} if "module" in groups else set()
    for context in CONTEXTS:
        if context and re.match(r"\w+", context[0])[0] not in groups:
            continue
        for script in SCRIPTS:
            try:
                return composed(script, [*context, *words])
            except HydraException as error:
                failures.append(str(error).splitlines()[0])
    raise AssertionError(f"{line} composes nowhere: {failures[0]}")


@pytest.mark.parametrize("line", shown(r"^make \w+"))
def test_make_targets_exist(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", shown(r"\bbenchmarks/\w+\.\w+"))
def test_benchmarks_exist(line):
    assert (ROOT / re.search(r"benchmarks/\w+\.\w+", line)[0]).is_file()


@pytest.mark.parametrize("line", shown(r"^sdg-checkpoints \w"))
def test_checkpoint_commands_exist(line):
    assert line.split()[1] in ("inspect", "convert", "push")


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_python(page):
    for block in python_blocks(page):
        ast.parse(block)


def test_the_readmes_python_runs(monkeypatch, tmp_path):
    load = Pipeline.from_pretrained

    def quick(name):
        pipe = load(name)
        pipe.sampler = DDPM(2)
        return pipe

    monkeypatch.setattr(Pipeline, "from_pretrained", quick)
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks(ROOT / "README.md")
    variables = {}
    exec(block, variables)
    assert len(variables["images"]) == 4 and (tmp_path / "portrait.png").is_file()
    assert variables["bright"].tensors.shape == (1, 3, 64, 64)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_code_in_the_sites_tables_has_a_bar(page):
    # GitHub shows `a \| b` in a table as a | b, the site shows the backslash too.
    if page.name != "README.md":
        assert re.findall(r"^\|.*`[^`\n|]*\\\|[^`\n]*`", page.read_text(), re.MULTILINE) == []


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_gap_left_to_fill(page):
    assert not re.findall(r"@[A-Z]{3,}@|TODO|FIXME|XXX", page.read_text())


@pytest.mark.parametrize("part", [Prediction, GuidanceOutput, Step, Encoded])
def test_the_fields_of_what_parts_hand_on_are_listed(part):
    page = (ROOT / "docs" / "extending.md").read_text()
    table = page.partition(f"\n`{part.__name__}`, of ")[2].partition("|---|---|\n")[2]
    rows = table.partition("\n\n")[0].splitlines()
    assert tuple(row.split("`")[1] for row in rows) == part._fields
