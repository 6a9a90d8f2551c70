"""How well an encoder knows an image behind its noise, at every level.

The command is `python sample.py eval=encoder`.
"""

import json
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.progress import track
from torch import Tensor

from sdg.app.data import chosen_data
from sdg.app.denoiser_choice import chosen_denoiser
from sdg.app.encoders import chosen_encoders
from sdg.app.making import of_kind
from sdg.app.records import write_records
from sdg.app.requested import factors_to_name
from sdg.app.run import run
from sdg.data.datamodule import require_setup
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, integer
from sdg.evaluation.figures import write_table
from sdg.evaluation.gradients import explained_by_level, information_by_encoder, information_of
from sdg.evaluation.networks import PART
from sdg.evaluation.results import check_figures
from sdg.io.files import write_whole
from sdg.metrics.retrieval import retrieval_top1
from sdg.models.clip import CLIP
from sdg.models.noisy import NoisyEncoder
from sdg.report.levels import levels_figure
from sdg.report.pages import config_of, heading_of

__all__ = ["by_level", "evaluate_encoder"]

BANK = 256  # captions beside which a prompt is weighed


def evaluate_encoder(config: DictConfig) -> None:
    """Measures `encoder=clip_noisy`, beside the clean tower of its CLIP.

    It writes `encoder.csv`, `gradients.csv`, `encoder.png`, `metrics.json` and `report.html`.

    Raises:
        UserError: another encoder, or levels that its schedule does not have.
    """
    with run(config, lambda folder: "nothing is kept; the same command begins again.") as folder:
        noisy, clean = noisy_and_clean(config)
        schedule = Schedule(**noisy.schedule)
        for level in config.eval.levels:
            integer("eval.levels", level, 0, schedule.T - 1)
        if noisy.latent_channels is not None:
            raise UserError(
                "eval=encoder measures encoders of images, and this one reads latents; the "
                "figures of its training are in its card."
            )
        data = chosen_data(config)
        data.setup("predict")
        held_out = require_setup(data.held_out)
        count = min(integer("eval.images", config.eval.images, 2), len(held_out))
        if noisy.resolution != data.resolution:
            raise UserError(
                f"data.resolution={data.resolution}, but the encoder reads images of "
                f"{noisy.resolution} pixels a side."
            )
        device = (
            "cuda"
            if torch.cuda.is_available() and str(config.trainer.accelerator) != "cpu"
            else "cpu"
        )
        images = held_out.__getitems__(list(range(count)))["image"].to(device)
        write_records(config, folder, "32-true")  # nothing here runs under autocast
        denoiser = None
        if noisy.reads_estimate:
            denoiser = chosen_denoiser(config).to(device)
            noisy.attach(denoiser)
        rows = by_level(
            {"noise-aware": noisy.to(device), "clean": clean.to(device)},
            clean,
            schedule,
            images,
            config.eval.levels,
            config.seed,
        )
        check_figures({f"{row['encoder']} at t={row['t']}": row for row in rows})
        write_table(folder / "encoder.csv", rows)
        write_whole(folder / "metrics.json", json.dumps(rows, indent=2) + "\n")
        explained, nats = gradients(config, noisy, clean, denoiser, held_out, images)
        if explained:
            write_table(folder / "gradients.csv", explained)
            write_whole(folder / "information.json", json.dumps(nats, indent=2) + "\n")
        figure = levels_figure(rows, explained)
        figure.savefig(folder / "encoder.png", dpi=120)
        for row in rows:
            print(
                f"t = {row['t']:4d}: {row['encoder']:<11}  top-1 of {count}: "
                f"{row['retrieval_top1']:.2f}  cosine to the clean image's embedding: "
                f"{row['cosine']:.2f}"
            )
        for name, value in nats.items():
            print(f"information, {name}: {value:.2f} nats")
        print(f"picture: {folder / 'encoder.png'}")
        print(f"page: {encoder_page(folder, rows, explained, nats, figure, count)}")


def noisy_and_clean(config: DictConfig) -> tuple[NoisyEncoder, CLIP]:
    """The noise-aware encoder that the config chooses, and its CLIP.

    Raises:
        UserError: it chooses another encoder.
    """
    encoders = chosen_encoders(config)
    if not encoders or not isinstance(encoders.image, NoisyEncoder):
        raise UserError(
            "eval=encoder measures a noise-aware encoder beside its clean one: use "
            f"encoder=clip_noisy, not encoder={config.encoder_name}."
        )
    return encoders.image, of_kind(encoders.text, "encoder.clip", CLIP)


def gradients(
    config: DictConfig, noisy, clean, denoiser: Denoiser | None, held_out, images: Tensor
) -> tuple[list[dict], dict[str, float]]:
    """What each encoder's gradient explains, by level, and the nats that it is worth.

    That is nothing where the data has no captions.

    Arguments:
        denoiser: None loads it.

    Raises:
        UserError: the denoiser draws other images.
    """
    asked = integer("eval.gradients", config.eval.gradients, 0)
    count = min(asked, len(images), len(held_out) // 2)  # the others' captions are the bank
    if not count or not held_out.has_captions:
        return [], {}
    denoiser = denoiser or chosen_denoiser(config).to(images.device)
    side = denoiser.resolution
    if side != images.shape[-1]:
        raise UserError(
            f"the denoiser draws {side} pixels a side, the encoder sees {images.shape[-1]}; choose "
            "another with denoiser.weights, or set eval.gradients=0."
        )
    prompts = [
        held_out.caption(i, 0, factors_to_name(config.named, held_out, i)) for i in range(count)
    ]
    others = range(count, min(count + BANK, len(held_out)))  # captions of other images
    bank = [held_out.caption(i, variant=1) for i in others]
    shown = images[:count], prompts, bank
    rows = explained_by_level(noisy, clean, denoiser, *shown, config.seed)
    nats = information_by_encoder(rows, Schedule(**noisy.schedule))
    return rows, nats | {"in the sentences": information_of(clean, *shown)}


@torch.no_grad()
def by_level(
    encoders: dict, clean, schedule: Schedule, images: Tensor, levels: list[int], seed: int
) -> list[dict]:
    """Retrieval and cosine at each level t.

    With x_t ~ q(x_t | x_0) and z' = E_clean(x_0), they are how often z = E(x_t, t) is nearest to
    its own z', and mean cos(z, z').

    Arguments:
        encoders: {name: E}.
        clean: E_clean.
        images: x_0, (N, 3, H, W).
    """
    keys, rows = torch.cat([clean.encode_image(part) for part in images.split(PART)]), []
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(
        images.device
    )
    for level in track(levels, "levels"):
        x = schedule.q_sample(images, level, noise)
        for name, encoder in encoders.items():
            z = torch.cat(
                [
                    encoder.encode_image(part, torch.full((len(part),), level, device=x.device))
                    for part in x.split(PART)
                ]
            )
            rows.append(
                {
                    "t": level,
                    "encoder": name,
                    "retrieval_top1": retrieval_top1(z, keys).item(),
                    "cosine": (z * keys).sum(1).mean().item(),
                }
            )
    return rows


def encoder_page(
    folder: Path,
    rows: list[dict],
    explained: list[dict],
    nats: dict[str, float],
    figure,
    count: int,
) -> Path:
    page = heading_of(
        folder, "The noise-aware encoder beside its clean CLIP", f"{count} held-out images"
    )
    page.drawing(figure)
    page.note(
        "By noise level t: how often the embedding of a noised image is nearest to that of its own "
        "clean image, and their mean cosine."
    )
    if explained:
        page.note(
            "On the right: the share of the denoiser's error that the gradient of the similarity "
            "to an image's sentence explains."
        )
        page.heading("What a gradient tells of the sentence, over all levels")
        page.table([{"gradient": name, "nats": value} for name, value in nats.items()])
    with page.folded("Retrieval and cosine by level, as in encoder.csv"):
        page.table(rows)
    if explained:
        with page.folded("What gradients explain by level, as in gradients.csv"):
            page.table(explained)
    config_of(page, folder)
    return page.write(folder / "report.html")
