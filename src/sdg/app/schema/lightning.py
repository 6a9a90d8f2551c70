"""Lightning's own: the trainer, its callbacks and its loggers."""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Called, Choice, Flag, Integer, Kind, ListOf, Number, Section, Text
from sdg.app.schema.shared import COUNT, FOLDER, SHARE, WEIGHT

__all__ = ["LIGHTNING"]

STEPS = Choice((-1,)) | COUNT  # -1: no limit
BATCHES = Integer(1) | Number(0, 1, above=True) | NULL  # so many, or a share of them
DEVICES = (
    STEPS | Choice(("auto",)) | ListOf(Integer(0)) | Text(pattern=r"[1-9]\d*|\d+(,\d+)+,?|\d+,")
)
# Not the "true" ones of 16 and 64 bits: guidance's gradient, and the averaged weights, have 32.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16", 32, 16)

LIGHTNING: Mapping[str, Kind] = {
    "callbacks.checkpoint.dirpath": FOLDER,
    "callbacks.checkpoint.filename": Text() | NULL,
    "callbacks.checkpoint.every_n_train_steps": COUNT,
    "callbacks.checkpoint.save_top_k": Integer(-1),
    "callbacks.checkpoint.save_last": Flag | Choice(("link",)),
    "callbacks.checkpoint.enable_version_counter": Flag,
    "callbacks.checkpoint.save_on_train_epoch_end": Flag | NULL,
    "callbacks.ema.decay": SHARE,
    "logger.save_dir": FOLDER,
    "logger.name": Text(empty=True) | NULL,
    "logger.version": Text(empty=True) | Integer(0) | NULL,
    "logger.project": Text("a text without / \\ # ? % :", pattern=r"[^/\\#?%:]{1,128}"),
    "trainer.accelerator": Choice(("auto", "cpu", "gpu", "cuda", "mps", "tpu")),
    "trainer.devices": Called("how many, auto, -1 for all, or a list of their numbers", DEVICES),
    "trainer.num_nodes": COUNT,
    "trainer.strategy": Text() | Section(),
    "trainer.precision": Choice(PRECISIONS),
    "trainer.max_steps": STEPS,
    "trainer.max_epochs": STEPS | NULL,
    "trainer.min_steps": Integer(0) | NULL,
    "trainer.min_epochs": Integer(0) | NULL,
    "trainer.max_time": Text("DD:HH:MM:SS", pattern=r"\d+:\d\d:\d\d:\d\d") | Section() | NULL,
    "trainer.val_check_interval": BATCHES,
    "trainer.check_val_every_n_epoch": COUNT | NULL,
    "trainer.num_sanity_val_steps": Integer(-1),
    "trainer.gradient_clip_val": WEIGHT | NULL,
    "trainer.gradient_clip_algorithm": Choice(("norm", "value")) | NULL,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.limit_train_batches": BATCHES,
    "trainer.limit_val_batches": BATCHES | Choice((0,)),
    "trainer.limit_test_batches": BATCHES,
    "trainer.limit_predict_batches": BATCHES,
    "trainer.overfit_batches": Called("0; data.size=N takes few images", Choice((0, 0.0))),
    "trainer.log_every_n_steps": COUNT,
    "trainer.deterministic": Flag | Choice(("warn",)) | NULL,
    "trainer.benchmark": Flag | NULL,
    "trainer.detect_anomaly": Flag,
    "trainer.sync_batchnorm": Flag,
    "trainer.reload_dataloaders_every_n_epochs": Integer(0),
    "trainer.enable_model_summary": Flag | NULL,
    "trainer.enable_progress_bar": Flag | NULL,
    "trainer.inference_mode": Flag,
    "trainer.default_root_dir": FOLDER | NULL,
}
