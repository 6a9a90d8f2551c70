"""`python sample.py`: from a composed config to images and their figures."""

from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.denoiser import chosen_denoiser
from sdg.app.evaluate_encoder import evaluate_encoder
from sdg.app.fingerprint import fingerprint
from sdg.app.naming import chosen_similarities
from sdg.app.run import make_trainer, run
from sdg.app.similarities import build_similarity, reference_images, requested_conditions
from sdg.app.unguided import draw_unguided, finished, pictures_of, unguided_store
from sdg.data.image import load_image
from sdg.data.requests import Requests
from sdg.diffusion.samplers import steps_taken
from sdg.errors import UserError, choice, integer, number
from sdg.evaluation.figures import report
from sdg.evaluation.guided_sampling import GuidedSampling
from sdg.evaluation.measuring import Evaluation
from sdg.evaluation.publish import publish
from sdg.evaluation.store import SampleStore
from sdg.io.plain import numbers
from sdg.pipeline import Pipeline
from sdg.report.pages import run_page

__all__ = ["sample"]


def sample(config: DictConfig) -> None:
    """Draws what was asked for; `eval=encoder` draws nothing.

    The run's folder ends with images, a grid, a table, the figures and a page.
    """
    if "levels" in config.eval:
        evaluate_encoder(config)
        return
    with run(config) as folder:
        sampler, method = instantiate(config.sampler), instantiate(config.guidance)
        method.check(sampler)
        integer("batch_size", config.batch_size, 1)
        if str(config.trainer.precision) in ("16-true", "bf16-true"):
            raise UserError(
                f"trainer.precision={config.trainer.precision} would take guidance's gradient in "
                "half precision; use bf16-mixed."
            )
        integer("trajectory", config.trajectory, 0)
        denoiser = chosen_denoiser(config)
        resolution = denoiser.config["resolution"]
        if resolution != config.data.resolution:
            raise UserError(
                f"data.resolution={config.data.resolution}, but the denoiser draws {resolution} "
                f"pixels a side; set data.resolution={resolution}."
            )
        data = instantiate(config.data)
        data.setup("predict")
        conditions, each = requested_conditions(config, data.held_out, guided=bool(method.gamma))
        requests = Requests(conditions, each, config.seed)
        integer("sampler.steps", sampler.steps, 1, denoiser.schedule.T)
        start = (
            None
            if config.init_image is None
            else load_image(config.init_image, resolution, setting="init_image")
        )
        if start is not None and not 0 < number("strength", config.strength) <= 1:
            raise UserError(f"strength must be above 0 and at most 1, not {config.strength!r}.")
        method.check_steps(
            steps_taken(denoiser.schedule, sampler, 1.0 if start is None else config.strength),
            denoiser.schedule.T,
        )
        if config.trajectory > config.batch_size:
            raise UserError(
                f"trajectory={config.trajectory} samples are followed within one batch; "
                f"batch_size={config.batch_size} is less."
            )
        references = reference_images(
            requests, chosen_similarities(config), data.held_out, resolution
        )
        similarity = (
            build_similarity(config, denoiser, requests, data.held_out, references, method.at_clean)
            if method.gamma
            else None
        )
        if similarity and rank_zero_only.rank == 0:
            terms = [f"{term.weight:.4g} · {name}" for name, term in similarity.terms.items()]
            encoder = next(filter(None, map(config.encoder.get, ("weights", "name", "clip"))))
            print(f"similarity = {' + '.join(terms)}, γ = {method.gamma:g}, encoder {encoder}")

        if config.compile:
            denoiser.compile()
        evaluation = Evaluation(
            config.eval, requests, data, references, resolution, start, method.gamma
        )
        trainer = make_trainer(config, use_distributed_sampler=False)
        if len(requests) < trainer.world_size:
            raise UserError(
                f"{len(requests)} samples for {trainer.world_size} processes; raise num_samples or "
                "lower trainer.devices."
            )
        batch_size = min(config.batch_size, -(-len(requests) // trainer.world_size))
        pictures = references | ({} if start is None else {"": start})
        drawn = SampleStore(
            folder,
            len(requests),
            batch_size,
            fingerprint(config, requests, pictures, batch_size),
            config.images,
        )
        beside = (
            unguided_store(config, folder, requests, pictures, batch_size) if method.gamma else None
        )
        if rank_zero_only.rank == 0:
            drawn.begin(choice("rerun", config.rerun, (True, False)))
            if left := len(drawn.batches) - len(drawn.missing()):
                asked = (
                    " The trajectory is drawn with the first batch."
                    if config.trajectory and 0 not in {batch[0] for batch in drawn.missing()}
                    else ""
                )
                print(
                    f"{left} of {len(drawn.batches)} batches are drawn already in {folder}; "
                    f"rerun=true draws them anew.{asked}"
                )
        unfinished = beside is not None and not finished(beside)
        # A process that is ahead of the first one must not see what that one will draw anew.
        if not (config.rerun or unfinished) and (metrics := drawn.figures(config.eval)):
            if rank_zero_only.rank == 0:
                report(metrics)
                print(f"picture: {folder / 'grid.png'}")
                print(f"page: {run_page(folder, pictures_of(beside))}")
            return
        pipeline = Pipeline(denoiser, similarity.encoder if similarity else None)
        module = GuidedSampling(
            pipeline,
            sampler,
            method,
            similarity,
            requests,
            drawn,
            start,
            config.strength,
            config.trajectory,
        )
        try:
            if config.rerun or drawn.missing():
                trainer.predict(module, return_predictions=False)
            if unfinished:
                draw_unguided(config, trainer, denoiser, sampler, requests, beside, start)
            if trainer.is_global_zero:
                drawn.archive_metrics(config.eval)
            trainer.test(evaluation.of(drawn, pictures_of(beside)), verbose=False)
        finally:
            module.progress.stop()
            data.tell()
        if trainer.is_global_zero:
            drawn.record_options(config.eval)
            if trainer.logger:
                weights = (
                    [config.encoder.weights] if similarity and "weights" in config.encoder else []
                )
                publish(trainer.logger, folder, numbers(evaluation.metrics), "samples.csv", weights)
