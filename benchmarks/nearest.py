"""The training images nearest to a run's samples: is anything memorised? docs/nearest.png.

    python benchmarks/nearest.py FOLDER_OF_A_RUN [control=1000]

Distances are of pixels in [0, 1], per pixel and channel as the residual is:

    d(x, y) = ‖x − y‖ / √(3HW)

A blurred sample is nearer to any image than a sharp one is, so two controls stand beside it: how
near the samples come to as many held-out images as training images, and how near `control`
held-out images come to all training images. A memorised sample is far nearer to one training image
than either. The twenty samples are spread evenly over the run; none is chosen.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import torch
from runs import ROOT, folder_and_options

sys.path.insert(0, str(ROOT / "src"))

from sdg.report.grid import labelled_rows  # noqa: E402
from sdg.report.pictures import open_picture  # noqa: E402

SAMPLES = 20
COLUMNS = 10
BLOCK = 1000  # images whose pixels are held at once, as float32: 49 MB at 64 pixels a side
QUANTILE = 0.01


def pixels(images: np.ndarray) -> torch.Tensor:
    """8-bit images (N, H, W, 3) as rows in [−½, ½], (N, 3HW): small squares, little rounding."""
    return torch.tensor(np.asarray(images), dtype=torch.float32).flatten(1).div_(255).sub_(0.5)


def nearest(
    images: np.ndarray, others: np.ndarray, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the others is nearest to each image, and how far it is: d, both (N,).

    Arguments:
        images: 8-bit, (N, H, W, 3).
        others: 8-bit, (M, H, W, 3); may be memory-mapped, a block of them is read at a time.
        block: number of others, at least 1.
    """
    rows = pixels(images)
    least = torch.full((len(rows),), torch.inf)
    index = torch.zeros(len(rows), dtype=torch.long)
    for start in range(0, len(others), block):
        part = pixels(others[start : start + block])
        # ‖x‖² is the same for all others, so it decides nothing.
        squared, place = (part.square().sum(1) - 2 * rows @ part.T).min(1)
        closer = squared < least
        least = torch.where(closer, squared, least)
        index = torch.where(closer, place + start, index)
    index = index.numpy()
    # Directly: the difference of large squares would leave 3e-4 between equal images.
    pairs = zip(rows, index, strict=True)
    exact = [(row - pixels(others[i : i + 1])[0]).square().mean().sqrt().item() for row, i in pairs]
    return index, np.array(exact)


def spread(number: int, most: int) -> np.ndarray:
    """At most `most` indices, evenly spread over `number`, from the first."""
    return np.arange(min(most, number)) * max(number // most, 1)


def read_run(folder: Path) -> tuple[list[int], np.ndarray]:
    """Indices and 8-bit pictures, (N, H, W, 3), of a finished run's samples.

    Raises:
        SystemExit: the folder holds no finished run.
    """
    if not (folder / "samples.csv").is_file():
        sys.exit(f"error: {folder} holds no finished run of sample.py: there is no samples.csv.")
    with open(folder / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [rows[k] for k in spread(len(rows), SAMPLES)]
    images = [np.asarray(open_picture(folder / row["file"]).convert("RGB")) for row in chosen]
    return [int(row["index"]) for row in chosen], np.stack(images)


def read_data(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The training and held-out images of the data that a run names, 8-bit, (N, H, W, 3).

    Raises:
        SystemExit: that data has no array of images.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    os.chdir(ROOT)  # caches are named from there, as in a run
    data = instantiate(OmegaConf.load(folder / "config.yaml").data)
    data.setup("fit")
    if not all(hasattr(part, "images") for part in (data.train, data.held_out)):
        sys.exit("error: this run's data has no array of images; use a run with data=portraits.")
    return data.train.images, data.held_out.images


def compare(
    indices: list[int],
    samples: np.ndarray,
    train: np.ndarray,
    held_out: np.ndarray,
    file: Path,
    control: int = 1000,
) -> dict[str, float]:
    """Draws the picture, and returns the figures.

    Arguments:
        indices: of the samples, for their labels.
        samples, train, held_out: 8-bit images, (N, H, W, 3).
        file: of the picture.
        control: number of held-out images that are compared with the training images.
    """
    few = min(len(train), len(held_out))
    in_train, to_train = nearest(samples, train)
    in_held_out, to_held_out = nearest(samples, held_out[:few])
    _, to_few = nearest(samples, train[:few])
    _, controls = nearest(held_out[:control], train)
    bound = np.quantile(controls, QUANTILE)

    def cells(images, labels):
        shown = torch.tensor(np.asarray(images), dtype=torch.float32).permute(0, 3, 1, 2)
        return list(zip(shown / 127.5 - 1, labels, strict=True))

    rows = []
    for start in range(0, len(samples), COLUMNS):
        line = slice(start, start + COLUMNS)
        rows.append(cells(samples[line], [f"sample {i}" for i in indices[line]]))
        near = [f"training {d:.3f}" for d in to_train[line]]
        rows.append(cells(train[in_train[line]], near))
        near = [f"held out {d:.3f}" for d in to_held_out[line]]
        rows.append(cells(held_out[in_held_out[line]], near))
    title = (
        f"Samples, the nearest of {len(train)} training images, the nearest of {few} held-out "
        f"images; {QUANTILE:.0%} of held-out images are nearer than {bound:.3f} to a training "
        "image"
    )
    labelled_rows(file, rows, title)
    return {
        "training images": len(train),
        "held-out images": few,
        "control images": len(controls),
        "sample to training": float(np.median(to_train)),
        "held-out to training": float(np.median(controls)),
        "1 % of held-out to training": float(bound),
        "samples nearer than that": int((to_train < bound).sum()),
        "sample to held-out": float(np.median(to_held_out)),
        "sample to as many training": float(np.median(to_few)),
    }


def main(folder: Path, control: int = 1000) -> None:
    indices, samples = read_run(folder)
    train, held_out = read_data(folder)
    if samples.shape[1:] != train.shape[1:]:
        sys.exit(f"error: samples are {samples.shape[1:]}, training images {train.shape[1:]}.")
    file = ROOT / "docs" / "nearest.png"
    found = compare(indices, samples, train, held_out, file, control)
    few = found["held-out images"]
    print(
        f"{len(samples)} samples, {found['training images']} training images; median distance\n"
        f"  sample → nearest training image: {found['sample to training']:.4f}\n"
        f"  held-out → nearest training image: {found['held-out to training']:.4f} "
        f"(control, {found['control images']} images; 1 % are below "
        f"{found['1 % of held-out to training']:.4f})\n"
        f"  sample → nearest of {few} training images: {found['sample to as many training']:.4f}\n"
        f"  sample → nearest of {few} held-out images: {found['sample to held-out']:.4f}\n"
        "samples nearer to a training image than 1 % of held-out images are: "
        f"{found['samples nearer than that']} of {len(samples)}\n"
        f"picture: {file}"
    )


if __name__ == "__main__":
    folder, options = folder_and_options(__doc__, {"control": 1000})
    main(folder, **options)
