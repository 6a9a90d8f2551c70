"""Names of open_clip's models and of timm's image towers, looked up without importing either."""

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from sdg.errors import UserError, near

__all__ = ["check_model_name", "unknown_model"]

OWN = Path(__file__).with_name("towers.py")  # what this project adds to timm's
LISTING = 'python -c "import open_clip; print(*open_clip.list_models())"'


def unknown_model(name: str, models: Iterable[str]) -> UserError:
    """The error of a CLIP's name that nobody has.

    Arguments:
        models: open_clip's names.
    """
    return UserError(
        f"encoder.name: neither open_clip nor timm has a model {name!r}{near(name, models) or '.'} "
        f"Such as RN50, ViT-B-32 or vit_base_patch16_clip_224; `{LISTING}` lists open_clip's.",
        "encoder.name",
    )


def check_model_name(name: str) -> None:
    """Refuses a name that stands nowhere in open_clip's configs or in timm's models.

    What passes may still be none: `clip_by_name` asks the libraries themselves.

    Raises:
        UserError: it stands nowhere.
    """
    imported = sys.modules.get("open_clip")  # a program may have added its own models to it
    files = files_of("open_clip", "model_configs/*.json")
    models = imported.list_models() if imported else [file.stem for file in files]
    if not models or name in models:
        return
    architecture = name.partition(".")[0]  # timm's names may end in those of weights
    word = re.compile(rf"\b{re.escape(architecture)}\b")
    sources = [*files_of("timm", "models/**/*.py"), OWN]
    if not any(word.search(file.read_text(encoding="utf-8")) for file in sources):
        raise unknown_model(name, models)


def files_of(package: str, pattern: str) -> Iterator[Path]:
    """The files of an installed package, sorted; none where it is not installed."""
    found = find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob(pattern))
