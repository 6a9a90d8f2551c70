"""What each training makes before it begins: its model, inside the module that trains it.

A file of conf/training names one of these functions as its `builder`. One of the user's own may
name none: its module is then made of its own options alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.imported import imported
from sdg.app.latents import denoiser_to_tune, latents_beside, latents_for, new_denoiser
from sdg.app.making import check_options, of_kind, section
from sdg.data.captions import FACTORS
from sdg.data.datamodule import ImageData, require_setup
from sdg.data.own_data import DatasetData, LoaderData
from sdg.data.shapes_data import ShapesData
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, first_line
from sdg.io.hub import located
from sdg.io.text_folder import is_text_folder
from sdg.models.autoencoder import new_autoencoder
from sdg.models.build import build_denoiser
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP, tokens
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import chosen_clip, load_denoiser
from sdg.models.text_unet import TextUNet
from sdg.models.towers import at_resolution
from sdg.models.words import vocabulary
from sdg.training.module import TrainingModule

__all__ = ["autoencoder", "build", "classifier_noisy", "clip", "clip_noisy", "denoiser", "judge"]

# What a denoiser to fine-tune brings along.
BROUGHT = ("schedule", "process", "denoiser.network", "denoiser.patch")


def build(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    """The training that the config names.

    Arguments:
        settings: the config, plain.
        data: that it trains on.

    Raises:
        UserError: an option is none of its class, or the class is no `TrainingModule`.
    """
    name = config.get("builder")
    make = imported("builder", name) if name else own
    module = make(config, settings, data)
    return of_kind(module, f"module._target_={config.module._target_}", TrainingModule)


def own(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    """A training of the user's own: its class is given optimizer, lr_schedule and seed."""
    return instantiate(config.module, **training_parts(config), _convert_="all")


@contextmanager
def refused_in_words(place: str) -> Iterator[None]:
    """Says in one line what a library cannot build from the options of a section.

    Raises:
        UserError: it cannot.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever the constructors of other libraries raise
        raise UserError(
            f"{place}: no network can be built from these options "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error


def training_parts(config: DictConfig) -> dict:
    for part in ("module", "optimizer", "lr_schedule"):
        check_options(config, part)
    return {
        "optimizer": instantiate(config.optimizer),
        "lr_schedule": instantiate(config.lr_schedule),
        "seed": config.seed,
    }


def denoiser(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    if any(name in settings["denoiser"] for name in ("path", "weights")):  # one to fine-tune
        check_brought(HydraConfig.get().overrides.task)
        model, autoencoder = denoiser_to_tune(config, data.resolution)
    else:
        own = dict(settings["denoiser"])
        path = own.pop("autoencoder", None)
        autoencoder = None if path is None else latents_for(path, data.resolution)
        options = new_denoiser(own, autoencoder)
        side = data.resolution // (autoencoder.factor if autoencoder else 1)
        with refused_in_words("denoiser"), section("denoiser"):
            model = build_denoiser(options, settings["schedule"], side)
    beside = {} if autoencoder is None else {"autoencoder": autoencoder}
    return instantiate(
        config.module, denoiser=model, **beside, **training_parts(config), _convert_="all"
    )


def check_brought(words: Sequence[str]) -> None:
    """Refuses to set what a denoiser to fine-tune brings along.

    Arguments:
        words: of the command line.

    Raises:
        UserError: one does.
    """
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key.startswith(BROUGHT):
            raise UserError(
                f"{word}: this denoiser brings the network and the process that it was trained "
                "with; leave that out."
            )


def clip(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    if config.encoder.name is not None:  # one that somebody trained, to fine-tune
        return instantiate(
            config.module,
            clip=chosen_clip(config.encoder).requires_grad_(True).train(),
            **training_parts(config),
            _convert_="all",
        )
    tokenizer = config.encoder.tokenizer
    model = settings["encoder"]["model"]
    captions = [] if tokenizer == "bpe" or data.words else data.captions
    words = () if tokenizer == "bpe" else data.words or tuple(vocabulary(captions))
    if model["text_cfg"]["vocab_size"] is None:
        model["text_cfg"]["vocab_size"] = tokens(words)
    with refused_in_words("encoder.model"):
        encoder = CLIP(model, words)
    encoder.tokenizer(captions)  # says now, not after an epoch, that one is too long
    return instantiate(config.module, clip=encoder, **training_parts(config), _convert_="all")


def clip_noisy(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    rank_zero_only(print)(f"the clean CLIP: {config.encoder.name or config.encoder.clip}")
    module = config.module
    banks = [module.bank] if isinstance(module.bank, str) else module.bank
    if (
        (module.posterior_weight or module.score_weight)
        and {"captions", "neighbours"} & set(banks)
        and not (config.data.get("captions") or isinstance(data, (DatasetData, LoaderData)))
    ):
        raise UserError(
            f"module.bank={','.join(banks)} takes the sentences from the data: set "
            "data.captions=true, or module.bank=templates or a file of sentences."
        )
    denoiser = denoiser_beside(module.denoiser)
    autoencoder = latents_beside(module.autoencoder, denoiser, data.resolution)
    return instantiate(
        config.module,
        clip=chosen_clip(config.encoder),
        resolution=data.resolution // (autoencoder.factor if autoencoder else 1),
        autoencoder=autoencoder,
        schedule=settings["schedule"],
        freeze=settings["encoder"]["freeze"],
        denoiser=denoiser,
        checkpointing=config.encoder.checkpointing,
        **training_parts(config),
        _convert_="all",
    )


def denoiser_beside(path: str | None) -> Denoiser | None:
    """The denoiser that an encoder learns beside; None where none is given.

    It is loaded where nothing needs it too: its latents must be those that the encoder reads.

    Raises:
        UserError: it is a Stable Diffusion.
    """
    if not path:
        return None
    denoiser = None if is_text_folder(located(path)) else load_denoiser(path)
    if denoiser is None or isinstance(denoiser.network, TextUNet):
        raise UserError(
            f"module.denoiser={path} is a Stable Diffusion, beside which no encoder is "
            "trained here; give another denoiser, or leave out what needs one."
        )
    return denoiser


def autoencoder(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    with refused_in_words("encoder.network"):
        model = new_autoencoder(settings["encoder"]["network"])
    if data.resolution % model.factor:
        raise UserError(
            f"data.resolution={data.resolution} must be a multiple of {model.factor}, by which "
            "this autoencoder makes images smaller: it halves them once for each of "
            "encoder.network.block_out_channels but the first."
        )
    return instantiate(config.module, autoencoder=model, **training_parts(config), _convert_="all")


def judge(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    if not isinstance(data, ShapesData):
        raise UserError("the judge learns to read the shapes' factors: train it with data=shapes.")
    with refused_in_words("encoder.model_name"):
        model = Judge(
            config.encoder.model_name,
            {name: len(values) for name, values in FACTORS.items()},
            resolution=data.resolution,
        )
    return instantiate(config.module, judge=model, **training_parts(config), _convert_="all")


def classifier_noisy(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    teacher = chosen_clip(config.encoder)
    data.setup("validate")
    classes = require_setup(data.held_out).classes
    if not classes:
        raise UserError(
            "a classifier needs labels: use data=shapes, or data=folder with a sub-folder for each "
            "class and data.labels=folders."
        )
    resized, tower = at_resolution(teacher.config["model"], teacher.tower, data.resolution)
    clip_config = teacher.config | {"model": resized}
    schedule = settings["schedule"]
    factors = {factor: list(names) for factor, names in classes.items()}
    model = NoisyClassifier(clip_config, schedule, factors)
    model.encoder.tower.load_state_dict(
        NoiseAwareEncoder(tower, clip_config, schedule).tower.state_dict()
    )
    return instantiate(config.module, classifier=model, **training_parts(config), _convert_="all")
