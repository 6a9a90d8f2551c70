"""Images of the user's own without captions, from training to samples."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def test_a_training_prints_the_command_that_samples_it(run, images, tmp_path, capsys):
    run(
        "train.py",
        "data=folder",
        f"data.root={images}",
        "data.batch_size=4",
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "module.preview=2",
        "denoiser.network.block_out_channels=[32,32,32]",
        f"hydra.run.dir={tmp_path}/train",
    )
    command = re.search(r"^sample it: (.*)$", capsys.readouterr().out, re.MULTILINE)[1]
    words = shlex.split(command)
    assert words == [
        "python",
        "sample.py",
        "data=folder",
        f"data.root={images}",
        "data.resolution=32",
        f"denoiser.weights={tmp_path}/train/denoiser",
        "guidance.gamma=0",
    ]
    quick = ["num_samples=2", "sampler.steps=2", f"hydra.run.dir={tmp_path}/run"]
    run("sample.py", *words[2:], *quick)
    assert (tmp_path / "run" / "grid.png").is_file()
