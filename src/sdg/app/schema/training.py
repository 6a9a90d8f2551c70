"""What a training learns, and by which steps."""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Choice, Flag, Integer, Kind, ListOf, Number, Section, Text
from sdg.app.schema.shared import COUNT, FILE, PATH, SHARE, WEIGHT

__all__ = ["TRAIN", "TRAINING"]

# At the top of the config of train.py.
TRAIN: Mapping[str, Kind] = {
    "kind": Text("a name", pattern=r"[\w-]+"),
    "reads": ListOf(Text("a setting"), least=0),
    "builder": Text("the dotted name of a function") | NULL,
    "resume": Flag,
    "ckpt_path": FILE | NULL,
    "init": PATH | NULL,
    "half": Flag,
    "module": Section(),
    "optimizer": Section(),
    "lr_schedule": Section(),
    "schedule": Section(),
}

TRAINING: Mapping[str, Kind] = {
    "module.reconstruction": Choice(("l1", "squared")),
    "module.kl_weight": WEIGHT,
    "module.scale_images": COUNT,
    "module.autoencoder": PATH | NULL,
    "module.preview": Integer(0),
    "module.noise": Number(0, 100),
    "module.levels": ListOf(Integer(0)),
    "module.instance_weight": WEIGHT,
    "module.instance_noise": Number(0, 100),
    "module.instance_scale": Number(0, 1000, above=True),
    "module.class_weight": WEIGHT,
    "module.negative_weight": WEIGHT,
    "module.tower": Choice(("clip", "denoiser")),
    "module.width": Integer(2),
    "module.hidden": COUNT,
    "module.level_power": Number(0.1, 10),
    "module.scale": Number(0, 1000, above=True),
    "module.contrastive_weight": WEIGHT,
    "module.cosine_weight": WEIGHT,
    "module.posterior_weight": WEIGHT,
    "module.score_weight": WEIGHT,
    "module.score_batch": COUNT,
    "module.cache_teacher": Flag,
    "module.denoiser": PATH | NULL,
    "module.estimate": Flag,
    "module.robust_radius": WEIGHT,
    "module.on_policy_share": SHARE,
    "module.on_policy_steps": COUNT,
    "module.on_policy_gamma": Number(1),
    "module.bank": Text() | ListOf(Text()),
    "module.bank_size": Integer(2),
    "optimizer.lr": Number(0, 100),
    "optimizer.weight_decay": WEIGHT,
    "optimizer.eps": WEIGHT,
    "optimizer.betas": ListOf(Number(0, 1, below=True), length=2),
    "optimizer.momentum": WEIGHT,
    "optimizer.amsgrad": Flag,
    "optimizer.fused": Flag,
    "lr_schedule.warmup": Number(0, 1, below=True),
    "lr_schedule.seconds": Number(0, above=True),
}
