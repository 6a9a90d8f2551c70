"""What every setting of both programs may be: the one place where types and ranges stand.

`sdg.app.setting_checks` holds each command's config against it, before anything heavy is imported;
`--help` and the site's page of settings print it. The comments of conf/ say what a setting does.
"""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Choice, Flag, Integer, Kind, Section, Text
from sdg.app.schema.data import BY_CLASS, DATA
from sdg.app.schema.lightning import LIGHTNING
from sdg.app.schema.networks import NETWORKS
from sdg.app.schema.sampling import SAMPLE, SAMPLING
from sdg.app.schema.shared import FOLDER
from sdg.app.schema.training import TRAIN, TRAINING

__all__ = ["BY_CLASS", "NAMED", "OPEN", "PROGRAMS", "SETTINGS"]

# Settings at the top of a config, by program.
PROGRAMS: Mapping[str, Mapping[str, Kind]] = {"sample": SAMPLE, "train": TRAIN}

# Settings below, and those that both programs have.
SETTINGS: Mapping[str, Kind] = {
    "name": Text(),
    "seed": Integer(0, 2**32 - 1),
    "compile": Flag | Choice(("reduce-overhead", "max-autotune")),
    "cache": FOLDER | NULL,
    "data": Section(),
    "denoiser": Section(),
    "encoder": Section(),
    "trainer": Section(),
    "logger": Section(),
    "callbacks": Section(),
    **SAMPLING,
    **DATA,
    **NETWORKS,
    **TRAINING,
    **LIGHTNING,
}

# Sections whose settings have names of the user's own.
NAMED: Mapping[str, Kind] = {
    "similarity": Section(),
    "callbacks": Section() | NULL,
    "eval.metrics": Section(),
}

# Sections where any key may stand: constructors of other libraries, and parts of the user's own.
OPEN = (
    *("callbacks", "data.options", "denoiser.network", "encoder.model", "eval.metrics", "hydra"),
    "encoder.network",
    *("logger", "lr_schedule", "module", "optimizer", "similarity", "trainer"),
)
