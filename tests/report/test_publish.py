"""What a logger is told of a finished run arrives there."""

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from sdg.report.publish import publish


@pytest.fixture
def finished(tmp_path):
    """A folder with what a run leaves."""
    folder = tmp_path / "run"
    folder.mkdir()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(folder / "grid.png")
    (folder / "samples.csv").write_text("prompt,all\na red heart,1\n\"a heart, blue\",\n")
    (folder / "report.html").write_text("<p>the page</p>")
    (folder / "clip_noisy.safetensors").write_bytes(b"weights")
    return folder


def test_tensorboard_has_the_figures_and_the_picture(finished, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    publish(TensorBoardLogger(tmp_path, name="", version="logs"), finished, {"alignment.all": 0.5}, "samples.csv")
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.value for event in events.Scalars("alignment.all")] == [0.5]
    (picture,) = events.Images("grid")
    assert (picture.width, picture.height) == (8, 8)
