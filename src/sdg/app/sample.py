"""`python sample.py`: from a composed config to images and their figures."""

from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from sdg.app.compiling import compile_mode
from sdg.app.evaluate_encoder import evaluate_encoder
from sdg.app.fingerprint import fingerprint
from sdg.app.finished import forget_finished, note_finished
from sdg.app.making import instantiate_as
from sdg.app.measured_options import measured_options
from sdg.app.opening import group_choices
from sdg.app.records import write_records
from sdg.app.run import first_process, make_trainer, run
from sdg.app.sampling_job import Job, load_job
from sdg.app.unguided import draw_unguided, pictures_of, unguided_store
from sdg.errors import UserError
from sdg.evaluation.guided_sampling import GuidedSampling
from sdg.evaluation.measuring import Evaluation
from sdg.evaluation.publish import publish
from sdg.evaluation.recorded_metrics import archive_metrics, record_options, recorded_metrics
from sdg.evaluation.store import SampleStore
from sdg.io.digest import content
from sdg.io.plain import numbers
from sdg.io.shipped import on_this_machine
from sdg.metrics.sample_metric import SampleMetric
from sdg.models.clip import CLIP
from sdg.pipeline.deterministic import deterministic_arithmetic
from sdg.pipeline.guided_run import GuidedRun
from sdg.pipeline.memory import fitting_batch
from sdg.report.pages import run_page
from sdg.report.words import report
from sdg.similarity import Similarity

__all__ = ["sample"]


def sample(config: DictConfig) -> None:
    """Draws what was asked for; `eval=encoder` draws nothing.

    The run's folder ends with images, a grid, a table, the figures and a page.
    """
    if config.eval.get("measures") == "encoder":
        evaluate_encoder(config)
        return
    with run(config, kept) as folder, deterministic_arithmetic(config.deterministic):
        job = load_job(config)
        evaluation = build_evaluation(config, job)
        trainer = make_trainer(config, use_distributed_sampler=False)
        store, beside = stores(config, job, folder, trainer)
        unfinished = beside if beside and not beside.finished() else None
        options = measured_options(config, job.data)
        if first_process():
            store.begin(config.rerun)
            write_records(config, folder)
            announce_earlier(store, bool(config.trajectory))
        # A process that is ahead of the first one must not see what that one will draw anew.
        if not (config.rerun or unfinished) and (metrics := recorded_metrics(store, options)):
            if first_process():
                show(folder, metrics, beside)
                note_finished(config, folder)
            return
        if first_process():
            forget_finished(folder)
        module = build_sampling_module(config, job, store)
        try:
            if config.rerun or store.missing():
                trainer.predict(module, return_predictions=False)
            if unfinished:
                draw_unguided(config, trainer, job, unfinished)
            if trainer.is_global_zero:
                archive_metrics(store.folder, options)
            trainer.test(evaluation.of_samples(store, pictures_of(beside)), verbose=False)
        finally:
            module.progress.stop()
            job.data.print_skipped()
        if trainer.is_global_zero:
            record_options(store.folder, options)
            publish_run(config, job, trainer, evaluation, folder)
            note_finished(config, folder)


def build_evaluation(config: DictConfig, job: Job) -> Evaluation:
    """What measures the samples, as `eval` says."""
    own = {
        name: instantiate_as(config.eval.metrics, name, SampleMetric)
        for name in config.eval.metrics
    }
    if not job.guided and lacks_own_clip(config):
        config.eval.clip = None
    return Evaluation(
        config.eval,
        job.requests,
        job.data,
        job.references,
        job.resolution,
        job.start,
        job.guidance.gamma,
        own,
        clip_guides(config, job.similarity),
    )


def stores(
    config: DictConfig, job: Job, folder: Path, trainer: Trainer
) -> tuple[SampleStore, SampleStore | None]:
    """Where the samples lie, and where those of the same seeds without guidance do, if anywhere.

    Raises:
        UserError: there are more processes than samples.
    """
    count, processes = len(job.requests), trainer.world_size
    if count < processes:
        raise UserError(
            f"{count} samples for {processes} processes; raise num_samples or lower "
            "trainer.devices."
        )
    size = batch_of(config, job, folder, trainer.strategy.root_device)
    batch_size = 1 if config.deterministic else min(size, -(-count // processes))
    terms = job.similarity.terms if job.similarity else {}
    digest = fingerprint(config, job.requests, job.pictures, batch_size, terms)
    store = SampleStore(folder, count, batch_size, digest, config.images)
    if not job.guided:
        return store, None
    return store, unguided_store(config, folder, job.requests, job.pictures, batch_size)


def batch_of(config: DictConfig, job: Job, folder: Path, device: torch.device) -> int:
    """How many samples are drawn at once; a run that goes on keeps its number."""
    if config.batch_size != "auto":
        return config.batch_size
    begun = None if config.rerun else SampleStore.batch_size_of(folder)
    if begun is not None:
        return begun
    parts = job.parts()
    networks = (parts.denoiser, parts.encoder, parts.sampled_shape, device)
    return fitting_batch(*networks, parts.autoencoder, job.guidance)


def build_sampling_module(config: DictConfig, job: Job, store: SampleStore) -> GuidedSampling:
    """The module that draws into a store."""
    parts = job.parts()
    if config.compile:
        parts.compile(mode=compile_mode(config.compile))
    run = GuidedRun(
        *(parts, job.sampler, job.guidance, job.similarity),
        start=job.start,
        strength=config.strength,
    )
    return GuidedSampling(run, job.requests, store, config.trajectory)


def show(folder: Path, metrics: Mapping, beside: SampleStore | None) -> None:
    """Prints the figures of a finished run, and where its picture and its page are."""
    report(metrics)
    print(f"picture: {folder / 'grid.png'}")
    print(f"page: {run_page(folder, pictures_of(beside))}")


def publish_run(
    config: DictConfig, job: Job, trainer: Trainer, evaluation: Evaluation, folder: Path
) -> None:
    """Gives the results to the logger, if there is one."""
    if not trainer.logger:
        return
    weights = [config.encoder.weights] if job.similarity and "weights" in config.encoder else []
    publish(trainer.logger, folder, numbers(evaluation.metrics or {}), "samples.csv", weights)


def kept(folder: Path) -> str:
    """What a stopped run leaves, and how it goes on."""
    return f"samples finished: {SampleStore.count(folder)}, in {folder}. The same command goes on."


def lacks_own_clip(config: DictConfig) -> bool:
    """Whether `eval.clip` is the one that the data would have, and the data has none."""
    usual = f"weights/{group_choices()['data']}/clip.safetensors"
    return config.eval.clip == usual and on_this_machine(usual) is None


def clip_guides(config: DictConfig, similarity: Similarity | None) -> bool:
    """Whether `eval.clip` holds the weights of the clean CLIP that guides."""
    if similarity is None or not isinstance(similarity.encoder, CLIP) or not config.eval.clip:
        return False
    name, pretrained = config.encoder.get("name"), config.encoder.get("pretrained")
    ours = config.encoder.get("clip") if name is None else f"{name}:{pretrained}"
    return bool(ours) and content(ours) == content(config.eval.clip)


def announce_earlier(store: SampleStore, trajectory: bool) -> None:
    """Says how much of a run is drawn already.

    Arguments:
        trajectory: whether the run is to follow samples of its first batch.
    """
    missing = store.missing()
    done = len(store.batches) - len(missing)
    if not done:
        return
    first_done = missing[:1] != store.batches[:1]
    hint = " The trajectory is drawn with the first batch." if trajectory and first_done else ""
    print(
        f"{done} of {len(store.batches)} batches are drawn already in {store.folder}; "
        f"rerun=true draws them anew.{hint}"
    )
