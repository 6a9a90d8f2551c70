"""Files that never end, or are none: pipes, devices, folders, /proc; given wherever one is read."""

import os
from pathlib import Path

import pytest
import torch
from adm import Net, random_weights
from attack.conftest import some
from PIL import Image

from sdg.app.checkpoints import main as checkpoints

SETTINGS = (
    *("prompts", "init_image", "similarity.content.reference", "denoiser.weights"),
    *("encoder.weights", "encoder.clip", "eval.clip", "eval.judge", "eval.inception"),
    *("similarity.text.negative_captions", "data.cache", "cache"),
)
FOLDERS = ("data.cache", "cache")  # a folder is what these take


def odd(folder: Path) -> dict[str, Path]:
    """{name: a path} of what is no file, and of files of /proc."""
    pipe, loop, closed = folder / "pipe", folder / "loop", folder / "closed"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    closed.write_text("a red ring\n")
    (folder / "line\nfeed").write_text("")
    return {
        "pipe": pipe,
        "pipe.safetensors": Path(os.path.realpath(pipe)),
        "zero": Path("/dev/zero"),
        "tty": Path("/dev/tty"),
        "loop": loop,
        "file as a folder": closed / "a.png",
        "maps": Path("/proc/self/maps"),
        "memory": Path("/proc/self/mem"),
        "long": folder / ("a" * 300),
        "line feed": folder / "line\nfeed",
        "empty": Path("/dev/null"),
        "folder": folder,
    }


@pytest.mark.parametrize("setting", SETTINGS)
def test_odd_files_for_sampling(attack, run, tiny, setting, tmp_path):
    kept = [word for word in tiny if not word.startswith(f"{setting}=")]
    if setting.startswith("similarity.content"):
        kept += ["similarity=[content]"]
    for name, file in some(list(odd(tmp_path).items()), 1):
        words = [*kept, f"{setting}='{file}'"]
        # A cache that cannot be kept there, or negative captions out of any text, may be right.
        lenient = setting in FOLDERS or os.path.isdir(file) or file.name == "maps"
        attack.case(f"{setting}: {name}", lambda w=words: run("sample.py", *w), lambda y=lenient: y)


def test_odd_files_in_a_folder_of_images(attack, run, tiny, tmp_path):
    for name in some(("a.png", "a.txt", "metadata.jsonl", "metadata.csv"), 1):
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        for number in range(8):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")
            (folder / f"{number}.txt").write_text("a ring\n")
        os.mkfifo(folder / name)
        words = [*tiny[:5], "data=folder", f"data.root={folder}", "data.held_out=0.5"]
        words += ["data.resolution=32", "data.captions=true", f"hydra.run.dir={folder}/run"]
        words += ["sampler.steps=2", "num_samples=2", "eval.reading=false"]
        attack.case(
            name, lambda w=words: run("sample.py", *w), lambda n=name: n in ("a.png", "a.txt")
        )


@pytest.mark.parametrize("command", ["inspect", "convert", "push"])
def test_the_checkpoints_command(attack, command, weights, tmp_path):
    odds = odd(tmp_path)
    good = str(weights / "denoiser.safetensors")
    for name, file in some(list(odds.items()), 2):
        words = {
            "inspect": [str(file)],
            "convert": [str(file), str(tmp_path / "out")],
            "push": [str(file), "owner/name"],
        }[command]
        attack.case(f"{command} {name}", lambda w=words: checkpoints([command, *w]))
        if command == "convert":
            out = [good, str(file)]
            attack.case(f"to {name}", lambda w=out: checkpoints(["convert", *w]))


WORDS = (
    *("T=banana", "T=-1", "T=1e9", "T=null", "T=[1]", "T={}", "T=true", "T=1.5", "T=", "=3"),
    *("heads=0", "heads=7", "heads=NaN", "heads_upsample=0", "head_width=-3", "heads=1e400"),
    *("qkv=first", "qkv=1", "schedule=none", "schedule=[]", "time_scale=0", "time_scale=nan"),
    *("time_scale=Infinity", "variance=large", "variance=1", "resolution=0", "resolution=7"),
    *("resolution=" + "9" * 5000, "T=" + "[" * 100_000, "unheard=1", "T", "\0=1", "qkv=\ud800"),
)


@pytest.mark.parametrize(
    "word",
    some(WORDS, 8),
    ids=lambda word: ascii(word[:20]),
)
def test_settings_of_the_checkpoints_command(attack, word, tmp_path):
    file, net = tmp_path / "x.pt", Net(32, (1, 2), 1, (1,), heads=2)
    torch.save(random_weights(net, dtype=torch.float32), file)
    said = ["resolution=8", "schedule=linear", "T=1000", "qkv=heads_first", "heads=2"]
    said = [each for each in said if each.partition("=")[0] != word.partition("=")[0]]
    asks = word == "T=null"  # says that T is missing, in its table
    attack.case(word, lambda: checkpoints(["inspect", str(file), *said, word]), lambda: asks)
