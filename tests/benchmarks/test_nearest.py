"""Nearest training images, against brute force; the script on a made-up run."""

import csv

import numpy as np
import pytest
from PIL import Image


def random_images(number, seed):
    return np.random.default_rng(seed).integers(0, 256, (number, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("block", [1, 7, 50, 1000])
def test_nearest_is_what_brute_force_finds(benchmark, tmp_path, block):
    images, others = random_images(9, 0), random_images(50, 1)
    np.save(tmp_path / "others.npy", others)
    index, distance = benchmark("nearest").nearest(
        images, np.load(tmp_path / "others.npy", mmap_mode="r"), block
    )
    apart = (images[:, None].astype(float) - others[None].astype(float)) / 255
    expected = np.sqrt((apart**2).mean((2, 3, 4)))
    np.testing.assert_array_equal(index, expected.argmin(1))
    np.testing.assert_allclose(distance, expected.min(1), rtol=1e-5)


def test_an_image_among_the_others_has_distance_zero(benchmark):
    others = random_images(20, 0)
    index, distance = benchmark("nearest").nearest(others[[13, 4]], others, 6)
    assert index.tolist() == [13, 4] and distance.tolist() == [0, 0]
    grey = np.full((1, 8, 8, 3), 100, np.uint8)
    _, distance = benchmark("nearest").nearest(grey, grey + np.uint8(51))
    assert distance == pytest.approx([0.2])


@pytest.mark.parametrize("number, expected", [(3, [0, 1, 2]), (20, list(range(20)))])
def test_few_samples_are_all_shown(benchmark, number, expected):
    assert benchmark("nearest").spread(number, 20).tolist() == expected


def test_samples_are_spread_over_the_run(benchmark):
    assert benchmark("nearest").spread(128, 20).tolist() == list(range(0, 120, 6))


@pytest.mark.slow
def test_script_finds_what_is_memorised(benchmark, tmp_path, monkeypatch, capsys):
    module = benchmark("nearest")
    train, held_out = random_images(60, 0), random_images(30, 1)
    samples = random_images(40, 2)
    samples[[0, 6]] = train[[50, 3]]
    (tmp_path / "images").mkdir()
    (tmp_path / "docs").mkdir()
    with open(tmp_path / "samples.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["index", "file"])
        for k, image in enumerate(samples):
            Image.fromarray(image).save(tmp_path / "images" / f"{k}.png")
            table.writerow([k, f"images/{k}.png"])
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "read_data", lambda folder: (train, held_out))
    module.main(tmp_path)
    printed = capsys.readouterr().out
    assert "20 samples, 60 training images" in printed
    # Of random images a few may be nearer than the nearest of 30; the two copies are.
    indices, chosen = module.read_run(tmp_path)
    assert indices == list(range(0, 40, 2))
    distances = [module.nearest(part, train)[1] for part in (chosen, held_out)]
    nearer = (distances[0] < np.quantile(distances[1], 0.01)).sum()
    assert nearer >= 2 and f"are: {nearer} of 20" in printed
    assert f"nearest training image: {np.median(distances[0]):.4f}" in printed
    with Image.open(tmp_path / "docs" / "nearest.png") as picture:
        assert picture.width > picture.height / 2
    with pytest.raises(SystemExit, match="no finished run"):
        module.main(tmp_path / "docs")


def test_data_are_those_of_the_run(benchmark, tmp_path, monkeypatch):
    from sdg.data.part_seed import part_seed
    from sdg.data.portraits import Portraits

    monkeypatch.chdir(tmp_path)  # the script changes the folder; this restores it
    (tmp_path / "config.yaml").write_text(
        "data: {_target_: sdg.data.portraits_data.PortraitsData, size: 4, held_out: 2, batch_size: "
        "2, "
        f"resolution: 16, seed: 3, split: combinations, cache: '{tmp_path}'}}\n"
    )
    train, held_out = benchmark("nearest").read_data(tmp_path)
    np.testing.assert_array_equal(train, Portraits(4, part_seed(3, "train"), 16).images)
    np.testing.assert_array_equal(held_out, Portraits(2, part_seed(3, "held_out"), 16).images)
