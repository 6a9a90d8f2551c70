"""What a logger is told of a finished run arrives there."""

import json

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from sdg.app.loggers import wandb_logger
from sdg.evaluation.publish import publish


@pytest.fixture
def finished(tmp_path):
    """A folder with what a run leaves."""
    folder = tmp_path / "run"
    folder.mkdir()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(folder / "grid.png")
    (folder / "samples.csv").write_text('prompt,all\na red heart,1\n"a heart, blue",\n')
    (folder / "report.html").write_text("<p>the page</p>")
    (folder / "clip_noisy.safetensors").write_bytes(b"weights")
    return folder


def test_tensorboard_has_the_figures_and_the_picture(finished, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    publish(
        TensorBoardLogger(tmp_path, name="", version="logs"),
        finished,
        {"alignment.all": 0.5},
        "samples.csv",
    )
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.value for event in events.Scalars("alignment.all")] == [0.5]
    (picture,) = events.Images("grid")
    assert (picture.width, picture.height) == (8, 8)


@pytest.mark.slow
def test_wandb_has_figures_picture_table_page_and_weights(finished, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))  # where it stages artifacts
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # a busy machine starts its service slowly
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    kept = []
    monkeypatch.setattr(wandb.Run, "log_artifact", lambda run, artifact: kept.append(artifact))
    logger = wandb_logger("sdg", "run", str(tmp_path))
    publish(
        logger,
        finished,
        {"alignment.all": 0.5},
        "samples.csv",
        [finished / "clip_noisy.safetensors"],
    )
    run = logger.experiment
    assert run.summary["alignment.all"] == 0.5
    wandb.finish()
    (files,) = (tmp_path / "wandb").glob("offline-run-*/files/media")
    (picture,) = files.glob("images/grid_*.png")
    assert np.array_equal(
        np.asarray(Image.open(picture)), np.asarray(Image.open(finished / "grid.png"))
    )
    (table,) = files.glob("table/samples_*.table.json")
    assert json.loads(table.read_text())["data"] == [["a red heart", 1], ["a heart, blue", None]]
    (page,) = files.glob("html/report_*.html")
    assert "the page" in page.read_text()
    (weights,) = (
        artifact for artifact in kept if artifact.type == "weights"
    )  # the table is kept as one too
    assert weights.name == "clip_noisy" and list(weights.manifest.entries) == [
        "clip_noisy.safetensors"
    ]
