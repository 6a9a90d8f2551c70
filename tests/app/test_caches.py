"""Caches: in a checkout its own folders, elsewhere the user's, unless a setting says so."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from sdg.app import caches
from sdg.app.naming import register, sample_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No checkout, and no variable of the user's."""
    for name in (caches.VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(caches, "CHECKOUT", None)
    return tmp_path


def test_without_a_checkout_the_users_cache_holds_them(alone, monkeypatch):
    assert caches.cache_folder("data/portraits") == f"{alone}/.cache/sdg/portraits"
    assert caches.cache_folder("outputs/real") == f"{alone}/.cache/sdg/real"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert caches.cache_folder("data/shapes") == "/xdg/sdg/shapes"
    monkeypatch.setenv("SDG_CACHE", "~/big")
    assert caches.cache_folder("data/shapes") == f"{alone}/big/shapes"
    assert caches.cache_folder("data/shapes", "/mine") == "/mine/shapes"


def test_in_a_checkout_they_stay_where_they_were(monkeypatch, tmp_path):
    monkeypatch.delenv("SDG_CACHE", raising=False)
    monkeypatch.chdir(ROOT)
    assert caches.cache_folder("data/portraits") == "data/portraits"
    monkeypatch.chdir(tmp_path)
    assert caches.cache_folder("data/portraits") == str(ROOT / "data/portraits")
    monkeypatch.setenv("SDG_CACHE", "/mine")
    assert caches.cache_folder("data/portraits") == "/mine/portraits"


@pytest.fixture
def settings(monkeypatch):
    """The composed `data.cache`, `eval.cache` and sample settings of some overrides."""
    monkeypatch.setenv("SDG_CACHE", "/users")
    register()
    GlobalHydra.instance().clear()

    def composed(*overrides):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            folder = "hydra.runtime.output_dir=/run"
            config = compose("sample", [*overrides, folder], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return config.data.cache, config.eval.cache, sample_settings(config)

    yield composed
    HydraConfig.instance().cfg = None


def test_a_setting_moves_them_and_no_run_takes_another_name(settings):
    data, real, usual = settings("data=shapes")
    assert (data, real) == ("/users/shapes", "/users/real")
    data, real, moved = settings("data=shapes", "cache=/there")
    assert (data, real) == ("/there/shapes", "/there/real")
    assert moved == usual and usual["data"]["cache"] == "data/shapes"
    assert settings("data=shapes", "data.cache=mine", "eval.cache=null")[:2] == ("mine", None)
