"""Whose code an error came from."""

import importlib.util

import pytest

from sdg.app.error_origin import in_own_code

FAILS = "def fail():\n    raise ValueError('no')\n"


def error_of(fail) -> Exception:
    """What it raises, without this file's frame."""
    with pytest.raises(ValueError) as raised:
        fail()
    error = raised.value
    return error.with_traceback(error.__traceback__.tb_next)


@pytest.mark.parametrize(
    "place, own", [("mine", True), ("lib/site-packages/its", False), ("dist-packages", False)]
)
def test_what_is_installed_anywhere_is_a_library(tmp_path, place, own):
    file = tmp_path / place / "module.py"
    file.parent.mkdir(parents=True)
    file.write_text(FAILS)
    spec = importlib.util.spec_from_file_location("module", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert in_own_code(error_of(module.fail)) == own


def test_code_of_no_file_is_nobodys():
    names: dict = {}
    exec(compile(FAILS, "<string>", "exec"), names)
    assert not in_own_code(error_of(names["fail"]))
