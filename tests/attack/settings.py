"""Every setting of both programs, read from the composed configs, with wrong values for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sdg.app.naming import register
from sdg.app.options import register_options

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = {
    "sample": ("data", "denoiser", "encoder", "eval", "guidance", "logger", "sampler", "trainer"),
    "train": ("encoder", "data", "denoiser", "logger", "schedule", "trainer"),
}
ELSEWHERE = {"sample": ("data=none",), "train": ("data=none", "denoiser=trained")}
# Settings that no config names and that the library beneath has, with their types.
ADDED = {
    "sample": {"trainer.limit_predict_batches": "number", "trainer.limit_test_batches": "number"},
    "train": {
        "trainer.limit_train_batches": "number",
        "trainer.limit_val_batches": "number",
        "trainer.overfit_batches": "number",
        "trainer.gradient_clip_algorithm": "text",
        "trainer.max_time": "text",
        "trainer.min_steps": "integer",
        "trainer.min_epochs": "integer",
        "trainer.benchmark": "flag",
        "trainer.detect_anomaly": "flag",
        "trainer.sync_batchnorm": "flag",
        "trainer.reload_dataloaders_every_n_epochs": "integer",
        "optimizer.eps": "number",
        "optimizer.betas": "list",
        "optimizer.amsgrad": "flag",
        "denoiser.network.dropout": "number",
        "denoiser.network.act_fn": "text",
        "callbacks.checkpoint.save_on_train_epoch_end": "flag",
        "data.unheard": "number",
    },
}
# Settings whose null says something: the library's or Lightning's own way, or none.
NULLABLE = (
    *("cache", "data.cache", "eval.cache", "denoiser.network.attention_head_dim"),
    *("similarity.class.weight", "similarity.content.weight", "similarity.text.weight"),
    *("trainer.enable_model_summary", "trainer.enable_progress_bar", "trainer.deterministic"),
    *("trainer.gradient_clip_val", "trainer.max_epochs", "trainer.val_check_interval"),
    *("trainer.min_steps", "trainer.min_epochs", "trainer.benchmark"),
    *("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.overfit_batches"),
    *("trainer.limit_test_batches", "trainer.limit_predict_batches"),
    *("callbacks.checkpoint.save_on_train_epoch_end", "denoiser.variance"),
)
# Values that their type refuses elsewhere, and that are right here.
RIGHT = {
    "trainer.devices=[1,2]": "two devices by their numbers",
    "denoiser.max_weight=1.5": "a weight, written as an integer by default",
    "encoder.freeze=[]": "no stage is frozen",
    "reads=[]": "a training of one's own that reads none of these",
}
TAGS = ("_partial_", "_convert_")

# Values that no setting of this type takes.
WRONG = {
    "flag": ("perhaps", "2", "null", "[true]", "{a:1}", "nan", "''"),
    "integer": ("banana", "nan", "inf", "-7", "1.5", "null", "[1,2]", "{a:1}", "true", "''"),
    "number": ("banana", "nan", "inf", "null", "[0.5]", "{a:1}", "true", "''"),
    "list": ("banana", "3", "[nan]", "[{a:1}]", "true", "[-7]", "[]"),
    "section": ("banana", "3", "[1]"),
}
# Values that a setting of this type may take or refuse: it must end well, or say why not.
DOUBTFUL = {
    "flag": (),
    "integer": ("0", "1"),
    "number": ("-1", "0", "1e30"),
    "list": ("null",),
    "section": ("null", "{}"),
    "text": ("banana", "7.5", "true", "null", "[]", "{a:1}", "''", "nan", "/dev/null/nowhere"),
    "nothing": ("banana", "-7", "true", "[]", "{a:1}", "''", "nan", "1.5"),
}


@dataclass(frozen=True)
class Case:
    """One setting with one value.

    Arguments:
        program: sample or train.
        chosen: the choices that the setting needs.
        wrong: whether no setting of this type takes the value.
    """

    program: str
    chosen: tuple[str, ...]
    key: str
    value: str
    wrong: bool

    @property
    def word(self) -> str:
        return f"{self.key}={self.value}"

    def __str__(self) -> str:
        return f"{self.program}.py {' '.join([*self.chosen, self.word])}"


def choices(program: str) -> Iterator[tuple[str, ...]]:
    """Choices whose configs have all settings between them; the default first."""
    yield ()
    for group in GROUPS[program]:
        for file in sorted((CONF / group).glob("*.yaml")):
            if f"{group}={file.stem}" not in ELSEWHERE[program]:
                yield (f"{group}={file.stem}",)
    if program == "sample":
        for file in sorted((CONF / "similarity").glob("*.yaml")):
            yield (f"similarity=[{file.stem}]",)


@cache
def composed(program: str, chosen: tuple[str, ...]) -> DictConfig:
    """The config of a command."""
    register()
    register_options()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(program, [*on_shapes(chosen)])
    finally:
        GlobalHydra.instance().clear()


def on_shapes(chosen: tuple[str, ...]) -> tuple[str, ...]:
    return chosen if any(word.startswith("data=") for word in chosen) else ("data=shapes", *chosen)


def settings(node: DictConfig, above: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, type of its value) of all that is in a config."""
    for name in map(str, node):
        key = f"{above}{name}"
        if name in TAGS or key == "hydra":
            continue
        try:
            value = None if OmegaConf.is_missing(node, name) else node[name]
        except OmegaConfBaseException:  # what a running job alone can tell, such as its folder
            value = ""
        yield key, type_of(value)
        if isinstance(value, DictConfig):
            yield from settings(value, f"{key}.")


def type_of(value: object) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, (DictConfig, ListConfig)):
        return "section" if isinstance(value, DictConfig) else "list"
    return "nothing" if value is None else "text"


def cases(program: str) -> list[Case]:
    """Every setting with every value."""
    seen: set[str] = set()
    listed: list[Case] = []
    for chosen in choices(program):
        for key, kind in settings(composed(program, chosen)):
            if key not in seen:
                seen.add(key)
                listed += with_values(program, chosen, key, kind)
    for key, kind in ADDED[program].items():
        listed += with_values(program, (), f"+{key}", kind)
    return listed


def with_values(program: str, chosen: tuple[str, ...], key: str, kind: str) -> Iterator[Case]:
    """One setting of this type with every value."""
    for value in WRONG.get(kind, ()):
        nothing = value == "null" and key.lstrip("+") in NULLABLE
        yield Case(program, chosen, key, value, not nothing and f"{key}={value}" not in RIGHT)
    for value in DOUBTFUL[kind]:
        yield Case(program, chosen, key, value, False)
