"""The plan of the packages: who may import whom, which libraries live where, who opens weights."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sdg"
# Each package may import those named here, and the two modules for all.
SHARED = {"errors", "progress"}
ALLOWED = {
    "diffusion": set(),
    "machine": set(),
    "io": {"diffusion"},
    "models": {"diffusion", "io"},
    "guidance": {"diffusion"},
    "similarity": {"data", "diffusion", "io", "models"},
    "data": {"io", "machine"},
    "metrics": {"data", "io"},
    "report": {"data", "io"},
    "training": {"data", "diffusion", "io", "metrics", "models", "report"},
    "pipeline": {"data", "diffusion", "guidance", "io", "machine", "models", "similarity"},
    "evaluation": {
        "pipeline",
        "data",
        "diffusion",
        "guidance",
        "io",
        "metrics",
        "models",
        "report",
        "similarity",
    },
}
LIBRARIES = {
    "hydra": {"app"},
    "omegaconf": {"app"},
    "pytorch_lightning": {"app", "data", "evaluation", "training"},
}
NUMBERS = {
    "cpu_sharing.py",
    "cpus.py",
    "ram.py",
}  # read the system's files, which hold numbers alone
# What opens files of weights, or runs the code of a file that it reads.
DOOR = SOURCE / "io" / "tensors.py"
HEADERS = SOURCE / "io" / "metadata.py"  # opens them without torch, for their metadata alone
OPENERS = {
    "safetensors.safe_open",
    "safetensors.torch.load",
    "safetensors.torch.load_file",
    "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
    "torch.jit.load",
    "torch.load",
    "torch.serialization.load",
}
RUNNERS = {
    *("__import__", "compile", "eval", "exec"),
    *("os.popen", "os.system", "runpy.run_module", "runpy.run_path"),
    *("yaml.full_load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
}
PICKLES = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
READING = {"Unpickler", "load", "loads", "open"}


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import; the arrows are read off whole names"
            yield node.module


def files() -> Iterator[tuple[str, Path]]:
    """(package, file) of all source files that lie in a package."""
    for file in sorted(SOURCE.rglob("*.py")):
        package = file.relative_to(SOURCE).parts[0]
        if package.endswith(".py"):
            continue
        yield package, file


def test_every_package_is_in_the_plan():
    assert {package for package, _ in files()} == {*ALLOWED, "app"}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    for owner, file in files():
        if owner != package:
            continue
        for module in imports(file):
            parts = module.split(".")
            if parts[0] == "sdg" and len(parts) > 1:
                assert parts[1] in ALLOWED[package] | SHARED | {package}, f"{file}: {module}"


def test_pictures_and_pages_are_above_the_pipeline():
    assert "report" not in ALLOWED["pipeline"]


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_all_may_import_imports_nothing_of_theirs(name):
    assert not [module for module in imports(SOURCE / f"{name}.py") if module.startswith("sdg")]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_framework_stays_in_its_packages(library):
    for package, file in files():
        if package not in LIBRARIES[library]:
            used = [module for module in imports(file) if module.split(".")[0] == library]
            assert not used, f"{file}: {used}"


def full_name(node: ast.AST, imported: dict[str, str]) -> str | None:
    """The name that an expression such as `st.load_file` stands for; None for another one."""
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = full_name(node.value, imported)
        return owner and f"{owner}.{node.attr}"
    return None


def imported_names(tree: ast.AST) -> dict[str, str]:
    """{name in a file: what it stands for}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def opened_with(source: str) -> set[str]:
    """What a file's code opens weights or pickles with or runs text by, called or handed on."""
    tree = ast.parse(source)
    imported = imported_names(tree)
    used = set()
    plain = {  # np.load(FILE) alone
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and len(node.args) == 1
    }
    for node in ast.walk(tree):
        name = full_name(node, imported) or (node.id if isinstance(node, ast.Name) else "")
        module, _, function = name.rpartition(".")
        if name in OPENERS | RUNNERS or (module in PICKLES and function in READING):
            used.add(name)
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            used.add(node.arg)
        if name == "numpy.load" and id(node) not in plain:
            used.add(name)
    return used


def test_weights_are_opened_in_one_place():
    assert opened_with(DOOR.read_text()) >= {"torch.load", "safetensors.torch.load_file"}
    for file in sorted(SOURCE.parent.rglob("*.py")):
        if file not in (DOOR, HEADERS):
            used = opened_with(file.read_text())
            assert not used, f"{file}: {used}; use sdg.io.tensors"


def modes(call: ast.Call) -> list[str]:
    """The texts that a call is given as further arguments, such as "rb"."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return [each.value for each in given if isinstance(each, ast.Constant) and each.value]


def test_text_is_utf_8_whatever_the_locale():
    for file in sorted(SOURCE.parent.rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            function = ast.unparse(call.func).rpartition(".")
            if function[2] not in ("open", "read_text", "write_text") or file.name in NUMBERS:
                continue
            if function[2] == "open" and (function[0] or any("b" in mode for mode in modes(call))):
                continue
            named = {keyword.arg for keyword in call.keywords} | {*modes(call)}
            assert named & {"encoding", "utf-8"}, f"{file}:{call.lineno}: {ast.unparse(call)}"


def test_that_place_never_runs_code():
    calls = [node for node in ast.walk(ast.parse(DOOR.read_text())) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert len(loads) == 1
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in loads[0].keywords}
    assert options["weights_only"] == "True"


@pytest.mark.parametrize(
    "source, name",
    [
        ("import torch\ntorch.load('x', weights_only=True)", "torch.load"),
        ("import torch as t\nread = t.load", "torch.load"),
        ("def f():\n    from torch import load as g\n    g('x')", "torch.load"),
        ("from pickle import loads\nloads(b'')", "pickle.loads"),
        ("import pickle\nclass Own(pickle.Unpickler): ...", "pickle.Unpickler"),
        (
            "import safetensors.torch\nsafetensors.torch.load_file('x')",
            "safetensors.torch.load_file",
        ),
        ("from safetensors import torch as st\nst.load_file('x')", "safetensors.torch.load_file"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load('x', None, True)", "numpy.load"),
        ("import yaml\nyaml.load('x', yaml.Loader)", "yaml.load"),
        ("eval('1')", "eval"),
        ("run = exec", "exec"),
        ("import os\nos.system('ls')", "os.system"),
        ("import subprocess\nsubprocess.run('ls', shell=True)", "shell"),
    ],
)
def test_another_place_that_opens_weights_is_found(source, name):
    assert opened_with(source) == {name}


def test_what_only_looks_alike_is_let_through():
    source = "import json, pickle, torch\njson.loads('1')\ntorch.save(1, 'x')\npickle.dumps(1)"
    assert not opened_with(source + "\nself.load('x')\nraise pickle.UnpicklingError")


def test_malicious_releases_are_kept_out_whatever_asks_for_them():
    root = SOURCE.parents[1]
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    held = [Requirement(line) for line in lines if not line.startswith("#")]
    (lightning,) = (each.specifier for each in held if each.name == "lightning")
    assert [v for v in ("2.6.1", "2.6.2", "2.6.3", "2.6.6") if v in lightning] == ["2.6.1", "2.6.6"]
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if "pip install" in line and " -e " in line]
    assert installs and all("-c constraints.txt" in line for line in installs)
