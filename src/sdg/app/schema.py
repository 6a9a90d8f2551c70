"""What every setting of both programs may be: the one place where types and ranges stand.

`sdg.app.setting_checks` holds each command's config against it, before anything heavy is imported;
`--help` and docs/settings.md print it. The comments of conf/ say what a setting does.
"""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Called, Choice, Flag, Integer, Kind, ListOf, Number, Section, Text

__all__ = ["BY_CLASS", "NAMED", "OPEN", "PROGRAMS", "SETTINGS"]

PATH = Text("a file, a folder, or owner/name on the hub")
FILE = Text("a file")
FOLDER = Text("a folder")
COUNT = Integer(1)
WEIGHT = Number(0)
SHARE = Number(0, 1)
INTERVAL = ListOf(Number(0, 1), length=2, rising=True)
SHARDS = Called(
    "a path, a pattern or a URL of tar files, or a list of such", Text() | ListOf(Text())
)
WORD = Text() | Number()  # Hydra reads a sentence such as 7 as a number
CONDITION = Called("a text that is not empty, a list of such, or null", WORD | ListOf(WORD) | NULL)
SENTENCE = Called("a sentence, which may be empty, or null", Text(empty=True) | Number() | NULL)
STAGE = Text("the name of a stage")
STAGES = ListOf(STAGE) | STAGE | NULL
STEPS = Choice((-1,)) | COUNT  # -1: no limit
BATCHES = Integer(1) | Number(0, 1, above=True) | NULL  # so many, or a share of them
DEVICES = (
    STEPS | Choice(("auto",)) | ListOf(Integer(0)) | Text(pattern=r"[1-9]\d*|\d+(,\d+)+,?|\d+,")
)
VARIANCES = ("fixed_small", "fixed_large", "learned_range")
SCHEDULES = ("linear", "scaled_linear", "cosine", "flow", "edm")
SPACINGS = ("linspace", "leading", "trailing", "towards_noise", "karras", "log_snr")
# Not the "true" ones of 16 and 64 bits: guidance's gradient, and the averaged weights, have 32.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16", 32, 16)

# Settings at the top of a config, by program.
PROGRAMS: Mapping[str, Mapping[str, Kind]] = {
    "sample": {
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
    },
    "train": {
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
    },
}

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
    # What is asked for, and how it is drawn.
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
    "guidance.max_norm": WEIGHT | NULL,
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
    # The data.
    "data.resolution": Integer(1),
    "data.size": COUNT,
    "data.held_out": COUNT | Number(0.001, 0.5),
    "data.seed": Integer(0),
    "data.cache": FOLDER | NULL,
    "data.captions": Flag,
    "data.masks": Flag,
    "data.batch_size": COUNT,
    "data.num_workers": Integer(0, 256),
    "data.name": Text(),
    "data.root": FOLDER,
    "data.category": Text(),
    "data.download": Flag,
    "data.crop": Choice(("centre", "random")),
    "data.flip": Flag,
    "data.max_broken": Integer(0),
    "data.labels": Choice(("folders", "names", False, True)),
    "data.font": FILE | NULL,
    "data.cldr": FOLDER,
    "data.style": Text() | ListOf(Text()),
    "data.split": Text(),
    "data.hard_negatives": Integer(0),
    "data.held_out_split": Text() | NULL,
    "data.streaming": Flag,
    "data.options": Section(),
    "data.buffer": COUNT,
    "data.urls": SHARDS,
    "data.allow_pipe": Flag,
    "data.held_out_urls": SHARDS | NULL,
    # The denoiser.
    "denoiser.weights": PATH,
    "denoiser.path": PATH | NULL,
    "denoiser.autoencoder": PATH | NULL,
    "denoiser.label": Integer(0) | NULL,
    "denoiser.prompt": SENTENCE,
    "denoiser.negative_prompt": SENTENCE,
    "denoiser.guidance_scale": WEIGHT | NULL,
    "denoiser.guidance_interval": INTERVAL | NULL,
    "denoiser.negative_label": Integer(0) | NULL,
    "denoiser.autoguidance": PATH | NULL,
    "denoiser.autoguidance_scale": WEIGHT | NULL,
    "denoiser.autoguidance_interval": INTERVAL | NULL,
    "denoiser.resolution": COUNT | NULL,
    "denoiser.schedule": Choice(SCHEDULES) | NULL,
    "denoiser.T": COUNT | NULL,
    "denoiser.heads": COUNT | NULL,
    "denoiser.heads_upsample": COUNT | NULL,
    "denoiser.head_width": COUNT | NULL,
    "denoiser.qkv": Choice(("heads_first", "qkv_first")) | NULL,
    "denoiser.time_scale": Number(1e-6) | NULL,
    "denoiser.variance": Choice(VARIANCES) | NULL,
    "denoiser.family": Choice(("dit", "sit", "edm")) | NULL,
    "denoiser.prediction": Choice(("epsilon", "x0", "v", "velocity", "flow_x0", "edm")),
    "denoiser.max_weight": Number(1),
    "denoiser.clip": Flag,
    "denoiser.patch": COUNT,
    "denoiser.network": Section(),
    "denoiser.network.block_out_channels": ListOf(COUNT),
    "denoiser.network.layers_per_block": COUNT,
    "denoiser.network.down_block_types": ListOf(Text("the name of a block")),
    "denoiser.network.up_block_types": ListOf(Text("the name of a block")),
    "denoiser.network.attention_head_dim": COUNT | NULL,
    "denoiser.network.norm_num_groups": COUNT,
    "denoiser.network.dropout": Number(0, 1, below=True),
    "schedule.kind": Choice(SCHEDULES),
    "schedule.T": COUNT,
    # The encoder.
    "encoder.weights": PATH,
    "encoder.clip": PATH,
    "encoder.name": Text() | NULL,
    "encoder.pretrained": Text("a file, or a tag of open_clip's") | NULL,
    "encoder.checkpointing": Flag,
    "encoder.model_name": Text("the name of a classifier of timm's"),
    "encoder.freeze": ListOf(Text("the name of a stage"), least=0),
    "encoder.tokenizer": Choice(("words", "bpe")),
    "encoder.model": Section(),
    "encoder.model.embed_dim": COUNT,
    "encoder.model.vision_cfg": Section(),
    "encoder.model.vision_cfg.image_size": COUNT,
    "encoder.model.vision_cfg.timm_model_name": Text("the name of a model of timm's"),
    "encoder.model.vision_cfg.timm_pool": Text(empty=True),
    "encoder.model.vision_cfg.timm_proj": Choice(("linear", "mlp")) | NULL,
    "encoder.model.text_cfg": Section(),
    "encoder.model.text_cfg.context_length": Integer(2),
    "encoder.model.text_cfg.vocab_size": COUNT | NULL,
    "encoder.model.text_cfg.width": COUNT,
    "encoder.model.text_cfg.heads": COUNT,
    "encoder.model.text_cfg.layers": COUNT,
    # The training.
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
    # Lightning's own.
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

# Sections whose settings have names of the user's own.
NAMED: Mapping[str, Kind] = {
    "similarity": Section(),
    "callbacks": Section() | NULL,
    "eval.metrics": Section(),
}

# Narrower ones, by the class whose option it is.
FRACTION = Number(0.001, 0.5)
BY_CLASS: Mapping[str, Mapping[str, Kind]] = {
    "sdg.data.folder_data.FolderData": {
        "root": Text("a folder of images"),
        "held_out": FRACTION,
        "resolution": Integer(8, 1024),
    },
    "sdg.data.emoji_data.EmojiData": {"held_out": FRACTION, "resolution": Integer(8, 128)},
    "sdg.data.torchvision_data.TorchvisionData": {
        "name": Choice(("cifar10", "celeba", "lsun")),
        "resolution": Integer(8, 1024),
    },
    "sdg.data.shapes_data.ShapesData": {"held_out": COUNT, "resolution": Integer(8, 1024)},
    "sdg.data.portraits_data.PortraitsData": {
        "held_out": COUNT,
        "resolution": Integer(16, 1024),
        "split": Choice(("held_out", "combinations")),
    },
    "sdg.data.streamed.HubData": {"name": Text("the name of a data set"), "held_out": COUNT},
    "sdg.data.streamed.TarData": {"held_out": COUNT},
}

# Sections where any key may stand: constructors of other libraries, and parts of the user's own.
OPEN = (
    *("callbacks", "data.options", "denoiser.network", "encoder.model", "eval.metrics", "hydra"),
    *("logger", "lr_schedule", "module", "optimizer", "similarity", "trainer"),
)
