"""The plan of the packages: who may import whom, and which libraries live where."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sdg"
# Each package may import those named here, and the two modules for all.
SHARED = {"errors", "progress"}
ALLOWED = {
    "diffusion": set(),
    "io": {"diffusion"},
    "models": {"diffusion", "io"},
    "guidance": {"diffusion"},
    "similarity": {"data", "diffusion", "io", "models"},
    "data": set(),
    "metrics": {"data"},
    "report": {"data", "io"},
    "training": {"data", "diffusion", "io", "metrics", "models", "report"},
    "pipeline": {"data", "diffusion", "guidance", "io", "models", "similarity"},
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


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
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


@pytest.mark.parametrize("name", SHARED)
def test_what_all_may_import_imports_nothing_of_theirs(name):
    assert not [module for module in imports(SOURCE / f"{name}.py") if module.startswith("sdg")]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_framework_stays_in_its_packages(library):
    for package, file in files():
        if package not in LIBRARIES[library]:
            used = [module for module in imports(file) if module.split(".")[0] == library]
            assert not used, f"{file}: {used}"
