"""`python sample.py`: from a composed config to images and their figures."""

from pathlib import Path

from omegaconf import DictConfig

from sdg.app.data import chosen_data
from sdg.app.denoiser import chosen_denoiser
from sdg.app.encoders import chosen_encoders
from sdg.app.evaluate_encoder import evaluate_encoder
from sdg.app.fingerprint import fingerprint
from sdg.app.making import made
from sdg.app.opening import group_choices
from sdg.app.plain import plain
from sdg.app.records import record
from sdg.app.run import first_process, make_trainer, run
from sdg.app.similarities import (
    build_similarity,
    chosen_terms,
    negative_captions,
    reference_images,
    requested_conditions,
)
from sdg.app.unguided import draw_unguided, pictures_of, unguided_store
from sdg.data.datamodule import loaded
from sdg.data.image import load_image
from sdg.data.requests import Requests
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.sampling import checked_strength, steps_taken
from sdg.errors import UserError, choice, integer
from sdg.evaluation.figures import report
from sdg.evaluation.guided_sampling import GuidedSampling
from sdg.evaluation.measuring import Evaluation
from sdg.evaluation.publish import publish
from sdg.evaluation.store import SampleStore
from sdg.guidance.guidance import Guidance
from sdg.io.digest import content
from sdg.io.plain import numbers
from sdg.io.shipped import on_this_machine
from sdg.metrics.sample_metric import SampleMetric
from sdg.models.clip import CLIP
from sdg.pipeline import Pipeline
from sdg.report.pages import run_page
from sdg.similarity import Similarity

__all__ = ["sample"]


def sample(config: DictConfig) -> None:
    """Draws what was asked for; `eval=encoder` draws nothing.

    The run's folder ends with images, a grid, a table, the figures and a page.
    """
    if config.eval.get("measures") == "encoder":
        evaluate_encoder(config)
        return
    with run(config, kept) as folder:
        sampler, guidance = made(config, "sampler", Sampler), made(config, "guidance", Guidance)
        terms = chosen_terms(config)
        guidance.check(sampler)
        integer("batch_size", config.batch_size, 1)
        if str(config.trainer.precision) in ("16-true", "bf16-true"):
            raise UserError(
                f"trainer.precision={config.trainer.precision} would take guidance's gradient in "
                "half precision; use bf16-mixed."
            )
        integer("trajectory", config.trajectory, 0)
        denoiser = chosen_denoiser(config)
        data = chosen_data(config)
        resolution = denoiser.resolution
        if resolution != data.resolution:
            raise UserError(
                f"data.resolution={data.resolution}, but the denoiser draws {resolution} "
                f"pixels a side; set data.resolution={resolution}."
            )
        data.setup("predict")
        held_out, guided = loaded(data.held_out), bool(guidance.gamma)
        conditions, each = requested_conditions(config, terms, held_out, guided)
        requests = Requests(conditions, each, config.seed)
        integer("sampler.steps", sampler.steps, 1, denoiser.schedule.T)
        start = (
            None
            if config.init_image is None
            else load_image(config.init_image, resolution, setting="init_image")
        )
        if start is not None:
            checked_strength(config.strength)
        guidance.check_steps(
            steps_taken(denoiser.schedule, sampler, 1.0 if start is None else config.strength),
            denoiser.schedule.T,
        )
        if config.trajectory > config.batch_size:
            raise UserError(
                f"trajectory={config.trajectory} samples are followed within one batch; "
                f"batch_size={config.batch_size} is less."
            )
        references = reference_images(requests, terms, held_out, resolution)
        similarity = (
            build_similarity(
                config,
                terms,
                chosen_encoders(config),
                denoiser,
                requests,
                held_out,
                references,
                guidance.at_clean,
            )
            if guided
            else None
        )
        if similarity and first_process():
            parts = [f"{term.weight:.4g} · {name}" for name, term in similarity.terms.items()]
            names = map(config.encoder.get, ("weights", "name", "clip", "_target_"))
            encoder = next(filter(None, names), "no encoder")
            print(f"similarity = {' + '.join(parts)}, γ = {guidance.gamma:g}, encoder {encoder}")

        if config.compile:
            denoiser.compile()
        own_metrics = {
            name: made(config.eval.metrics, name, SampleMetric) for name in config.eval.metrics
        }
        if not guided and lacks_own_clip(config):
            config.eval.clip = None
        evaluation = Evaluation(
            config.eval,
            requests,
            data,
            references,
            resolution,
            start,
            guidance.gamma,
            own_metrics,
            clip_guides(config, similarity),
        )
        trainer = make_trainer(config, use_distributed_sampler=False)
        if len(requests) < trainer.world_size:
            raise UserError(
                f"{len(requests)} samples for {trainer.world_size} processes; raise num_samples or "
                "lower trainer.devices."
            )
        batch_size = min(config.batch_size, -(-len(requests) // trainer.world_size))
        pictures = references | ({} if start is None else {"": start})
        negatives = negative_captions(config, similarity, held_out)
        store = SampleStore(
            folder,
            len(requests),
            batch_size,
            fingerprint(config, requests, pictures, batch_size, guided, negatives),
            config.images,
        )
        beside = unguided_store(config, folder, requests, pictures, batch_size) if guided else None
        unfinished = beside if beside and not beside.finished() else None
        options = plain(config.eval)
        if first_process():
            store.begin(choice("rerun", config.rerun, (True, False)))
            record(config, folder)
            announce_earlier(store, bool(config.trajectory))
        # A process that is ahead of the first one must not see what that one will draw anew.
        if not (config.rerun or unfinished) and (metrics := store.figures(options)):
            if first_process():
                report(metrics)
                print(f"picture: {folder / 'grid.png'}")
                print(f"page: {run_page(folder, pictures_of(beside))}")
            return
        pipeline = Pipeline(denoiser, similarity.encoder if similarity else None)
        module = GuidedSampling(
            pipeline,
            sampler,
            guidance,
            similarity,
            requests,
            store,
            start,
            config.strength,
            config.trajectory,
        )
        try:
            if config.rerun or store.missing():
                trainer.predict(module, return_predictions=False)
            if unfinished:
                draw_unguided(config, trainer, denoiser, sampler, requests, unfinished, start)
            if trainer.is_global_zero:
                store.archive_metrics(options)
            trainer.test(evaluation.of_samples(store, pictures_of(beside)), verbose=False)
        finally:
            module.progress.stop()
            data.print_skipped()
        if trainer.is_global_zero:
            store.record_options(options)
            if trainer.logger:
                weights = (
                    [config.encoder.weights] if similarity and "weights" in config.encoder else []
                )
                figures = numbers(evaluation.metrics or {})
                publish(trainer.logger, folder, figures, "samples.csv", weights)


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
    ours = config.encoder.clip if name is None else f"{name}:{pretrained}"
    return content(ours) == content(config.eval.clip)


def announce_earlier(store: SampleStore, trajectory: bool) -> None:
    """Says how much of a run is drawn already.

    Arguments:
        trajectory: whether the run is to follow samples of its first batch.
    """
    missing = store.missing()
    done = len(store.batches) - len(missing)
    if not done:
        return
    first_done = 0 not in {batch[0] for batch in missing}
    hint = " The trajectory is drawn with the first batch." if trajectory and first_done else ""
    print(
        f"{done} of {len(store.batches)} batches are drawn already in {store.folder}; "
        f"rerun=true draws them anew.{hint}"
    )
