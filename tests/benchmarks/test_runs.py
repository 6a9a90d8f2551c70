"""The command lines of the benchmarks: what they take, and what their usage says."""

import ast
import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DEFAULTS = {"prompts": 32, "share": 0.5, "only": ""}


def test_named_options_take_the_type_of_their_defaults(benchmark):
    named_options = benchmark("runs").named_options
    assert named_options([], DEFAULTS) == DEFAULTS
    words = ["only=a=b", "prompts=4", "share=1"]
    assert named_options(words, DEFAULTS) == {"prompts": 4, "share": 1.0, "only": "a=b"}


@pytest.mark.parametrize(
    "word, says",
    [
        ("eech=2", "there are: prompts=, share=, only="),
        ("32", "error: 32 is no option"),
        ("prompts=many", "a value of type int must follow prompts="),
    ],
)
def test_what_is_no_option_is_refused_in_one_line(benchmark, word, says):
    with pytest.raises(SystemExit) as stop:
        benchmark("runs").named_options(["share=1", word], DEFAULTS)
    message = str(stop.value.code)
    assert message.startswith("error: ") and says in message and "\n" not in message


@pytest.mark.parametrize("words", [[], ["--help"], ["prompts=4"]])
def test_usage_stands_for_a_missing_folder(benchmark, monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["portraits.py", *words])
    with pytest.raises(SystemExit, match="^the usage$"):
        benchmark("runs").folder_and_options("the usage", DEFAULTS)


def test_a_folder_may_be_followed_by_options(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["portraits.py", f"{tmp_path}/x=1", "prompts=4"])
    folder, options = benchmark("runs").folder_and_options("the usage", DEFAULTS)
    assert folder == tmp_path / "x=1" and options == DEFAULTS | {"prompts": 4}


def options_of(source: str) -> dict | None:
    """The defaults that a benchmark gives to `folder_and_options` or `named_options`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "defaults":
            return ast.literal_eval(node.value)
        name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if name in ("folder_and_options", "named_options") and isinstance(node.args[1], ast.Dict):
            return ast.literal_eval(node.args[1])
    return None


@pytest.mark.parametrize("file", sorted(BENCHMARKS.glob("*.py")), ids=lambda file: file.stem)
def test_usage_names_the_options_and_their_defaults(file):
    source = file.read_text()
    defaults = options_of(source)
    if defaults is None or file.stem == "runs":
        pytest.skip("it reads its command line otherwise")
    command = re.compile(r"python benchmarks/.+?(?=\n\n|\Z)", re.DOTALL)
    usage = command.search(ast.get_docstring(ast.parse(source)))[0]
    written = dict(re.findall(r"\b(\w+)=([^\s\]]+)", usage))
    assert set(written) == set(defaults)
    given = {name: value for name, value in defaults.items() if value != ""}
    assert {name: type(given[name])(written[name]) for name in given} == given
