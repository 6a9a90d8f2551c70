"""What is asked for, how it is drawn, and how samples are measured."""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Called, Choice, Flag, Integer, Kind, ListOf, Number, Section, Text
from sdg.app.schema.shared import COUNT, FILE, FOLDER, INTERVAL, PATH, SHARE, WEIGHT

__all__ = ["SAMPLE", "SAMPLING"]

WORD = Text() | Number()  # Hydra reads a sentence such as 7 as a number
CONDITION = Called("a text that is not empty, a list of such, or null", WORD | ListOf(WORD) | NULL)
STAGE = Text("the name of a stage")
STAGES = ListOf(STAGE) | STAGE | NULL
SPACINGS = ("linspace", "leading", "trailing", "towards_noise", "karras", "log_snr")

# At the top of the config of sample.py.
SAMPLE: Mapping[str, Kind] = {
    "prompt": CONDITION,
    "prompts": FILE | NULL,
    "num_samples": COUNT | NULL,
    "samples_per_prompt": COUNT | NULL,
    "named": Choice(("auto", "all")) | COUNT | ListOf(Text("a factor")) | Text() | NULL,
    "offset": Integer(0),
    "images": Choice(("folder", "shards")),
    "batch_size": COUNT | Choice(("auto",)),
    "deterministic": Flag,
    "init_image": FILE | NULL,
    "strength": Number(0, 1, above=True),
    "trajectory": Integer(0),
    "unguided": Flag,
    "rerun": Flag,
    "encoder_name": Text(),
    "similarity": Section(),
    "guidance": Section(),
    "sampler": Section(),
    "eval": Section(),
    "preset": Section(),
}

SAMPLING: Mapping[str, Kind] = {
    "similarity.text.prompt": CONDITION,
    "similarity.text.weight": Number() | NULL,
    "similarity.text.negative_captions": Text("held_out, or a file, a sentence a line") | NULL,
    "similarity.class.name": CONDITION,
    "similarity.class.form": Choice(("cosine", "contrastive", "classifier")),
    "similarity.class.weight": Number() | NULL,
    "similarity.content.reference": CONDITION,
    "similarity.content.noised": Flag,
    "similarity.content.weight": Number() | NULL,
    "similarity.structure.reference": CONDITION,
    "similarity.structure.stages": STAGES,
    "similarity.structure.form": Choice(("squared", "log")),
    "similarity.structure.weight": Number(),
    "similarity.style.reference": CONDITION,
    "similarity.style.stages": STAGES,
    "similarity.style.form": Choice(("log", "squared")),
    "similarity.style.statistics": Choice(("gram", "energies")),
    "similarity.style.weight": Number(),
    "preset.gamma": Number(),
    "preset.steps": COUNT,
    "preset.spacing": Choice(SPACINGS),
    "preset.interval": INTERVAL,
    "guidance.gamma": Number(),
    "guidance.gradient_at": Choice(("mean", "mean_own_level", "x_t", "x0")) | NULL,
    "guidance.gamma_schedule": Choice(("constant", "towards_noise", "towards_image")),
    "guidance.interval": INTERVAL,
    "guidance.normalize": Flag,
    "guidance.last_step": Flag,
    "guidance.clip_first": Flag,
    "guidance.max_norm": Number(0, above=True) | NULL,
    "guidance.recurrence": COUNT,
    "guidance.recurrence_interval": INTERVAL,
    "guidance.candidates": COUNT,
    "guidance.select_at": SHARE,
    "guidance.rho": WEIGHT,
    "guidance.mu": WEIGHT,
    "guidance.iterations": COUNT,
    "guidance.smoothing": WEIGHT,
    "guidance.draws": COUNT,
    "sampler.steps": COUNT,
    "sampler.spacing": Choice(SPACINGS),
    "sampler.eta": SHARE,
    # How samples are measured.
    "eval.measures": Choice(("samples", "encoder")),
    "eval.judge": PATH | NULL,
    "eval.reading": Flag,
    "eval.clip": PATH | NULL,
    "eval.real": Integer(2),
    "eval.inception": Text("a file, or download") | NULL,
    "eval.imagenet": Flag | NULL,
    "eval.lpips": Flag,
    "eval.cache": FOLDER | NULL,
    "eval.bootstrap": COUNT,
    "eval.grid": COUNT,
    "eval.metrics": Section(),
    "eval.levels": ListOf(Integer(0)),
    "eval.images": Integer(2),
    "eval.gradients": Integer(0),
}
