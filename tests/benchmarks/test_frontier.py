"""Frontiers of encoders: interpolation and bootstrap in closed form, the script on made-up runs."""

import csv
import math

import numpy as np
import pytest
import torch


def test_frontier_of_a_rising_curve_is_linear_interpolation(benchmark):
    curves = benchmark("frontier_curves")
    residual = torch.tensor([0.02, 0.03, 0.05, 0.09]).double()
    shown = torch.tensor([0.0, 0.4, 0.5, 0.9]).double()
    at = torch.tensor([0.02, 0.025, 0.03, 0.04, 0.08, 0.09]).double()
    expected = np.interp(at.numpy(), residual.numpy(), shown.numpy())
    np.testing.assert_allclose(curves.frontier(residual, shown, at).numpy(), expected, atol=1e-12)


def test_frontier_is_flat_where_more_guidance_shows_less(benchmark):
    curves = benchmark("frontier_curves")
    residual, shown = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 0.8, 0.2])
    found = curves.frontier(residual, shown, torch.tensor([0.5, 1.5, 2.0, 3.0, 9.0]))
    torch.testing.assert_close(found, torch.tensor([math.nan, 0.4, 0.8, 0.8, 0.8]), equal_nan=True)


def test_frontier_of_any_curve_is_the_most_among_its_points(benchmark):
    curves = benchmark("frontier_curves")
    generator = torch.Generator().manual_seed(0)
    residual, shown = torch.rand(2, 30, 8, generator=generator, dtype=torch.float64)
    at = torch.rand(30, 5, generator=generator, dtype=torch.float64)
    found = curves.frontier(residual, shown, at)
    for k in range(30):
        fine = np.linspace(0, 7, 70001)  # every segment in 10 000 steps
        r, s = (np.interp(fine, np.arange(8), part[k].numpy()) for part in (residual, shown))
        for value, limit in zip(found[k].tolist(), at[k].tolist(), strict=True):
            below = s[r <= limit]
            assert math.isnan(value) if not len(below) else abs(value - below.max()) < 5e-3


def test_equal_residuals_lie_in_the_range_that_both_curves_cover(benchmark):
    curves = benchmark("frontier_curves")
    # s = r and s = 2r: at equal residual the second shows r more.
    low = torch.tensor([0.1, 0.2, 0.5]).double()
    high = torch.tensor([0.2, 0.3, 0.4]).double()
    fractions = torch.tensor([0.0, 0.5, 1.0]).double()
    at, shown, base = curves.at_equal_residual((high, 2 * high), (low, low), fractions)
    expected = torch.tensor([0.2, 0.2 * math.sqrt(2), 0.4]).double()
    torch.testing.assert_close(at, expected)
    torch.testing.assert_close(shown - base, expected)
    apart, *_ = curves.at_equal_residual((high, high), (high + 1, high), fractions)
    assert apart.isnan().all()


def test_gamma_is_interpolated_in_its_logarithm(benchmark):
    reaching = benchmark("frontier_curves").gamma_reaching
    gammas = [0, 1, 2, 3, 5, 10, 20, 40]
    a, b = 0.1, 0.22  # s = a + b log γ reaches the level at γ = exp((level − a) / b)
    shown = [0.0] + [a + b * math.log(gamma) for gamma in gammas[1:]]
    assert reaching(gammas, shown, 0.8) == pytest.approx(math.exp((0.8 - a) / b))
    assert reaching(gammas, [0.1] * 8, 0.8) == math.inf
    assert reaching(gammas, [0.1, 0.9] + [1.0] * 6, 0.8) == 1
    assert reaching(gammas, [0.8] + [1.0] * 7, 0.8) == 0
    assert reaching(gammas, [0.0, 0.5, 0.8, 0.7, 1.0, 1.0, 1.0, 1.0], 0.8) == pytest.approx(2)


def write_samples(folder, rows):
    folder.mkdir(parents=True)
    with open(folder / "samples.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["index", "prompt", "shows", "residual"])
        table.writerows((k, *row) for k, row in enumerate(rows))


def test_samples_are_grouped_by_prompt(benchmark, tmp_path):
    curves = benchmark("frontier_curves")
    write_samples(tmp_path / "a", [("x", 1, 0.1), ("y, z", 0, 0.3), ("x", 0, 0.2), ("x", 1, 0.4)])
    write_samples(tmp_path / "b", [("x", 0, 0.5), ("y, z", "", 0.7), ("x", 1, 0.6), ("x", 1, 0.9)])
    samples = curves.read_samples([tmp_path / "a", tmp_path / "b"])
    assert samples.shape == (2, 2, 3, 2)
    residual, shown = curves.curve(samples)
    torch.testing.assert_close(residual, torch.tensor([0.25, 0.65]))  # medians of four
    torch.testing.assert_close(shown, torch.tensor([2 / 4, 2 / 3]))  # a prompt may name nothing
    write_samples(tmp_path / "c", [("x", 1, 0.1)])
    with pytest.raises(ValueError, match="different prompts"):
        curves.read_samples([tmp_path / "a", tmp_path / "c"])


def test_bootstrap_of_a_share_has_the_spread_of_its_mean_over_prompts(benchmark):
    curves = benchmark("frontier_curves")
    prompts, each = 200, 3
    right = (torch.arange(prompts) % 4 == 0).float()  # all samples of a prompt agree
    measured = torch.stack([right, torch.full((prompts,), 0.05)], -1)
    samples = measured[None, :, None].repeat(1, 1, each, 1)
    residual, shown = curves.curve(samples, curves.resampled(prompts, 4000))
    low, high = curves.interval(shown[:, 0])
    deviation = math.sqrt(0.25 * 0.75 / prompts)
    assert low.item() == pytest.approx(0.25 - 1.96 * deviation, abs=0.008)
    assert high.item() == pytest.approx(0.25 + 1.96 * deviation, abs=0.008)
    assert (residual == residual[0]).all()


def test_prompts_are_resampled_together(benchmark):
    """An encoder that shows one sample of every prompt more gains that much in every draw."""
    curves = benchmark("frontier_curves")
    generator = torch.Generator().manual_seed(0)
    prompts, each = 30, 4
    residual = 0.02 * (1 + torch.arange(3.0))[:, None, None].expand(3, prompts, each)
    levels = torch.tensor([0.1, 0.4, 0.7])[:, None, None]
    solved = torch.rand(prompts, 1, generator=generator) < levels  # the first axis is γ
    base = solved.float().expand(3, prompts, each).clone()
    base[:, :, 0] = 0
    more = base.clone()
    more[:, :, 0] = 1
    picks, fractions = curves.resampled(prompts, 200), torch.tensor([0.0, 0.3, 1.0])
    both = (curves.curve(torch.stack([part, residual], -1), picks) for part in (more, base))
    _, shown, theirs = curves.at_equal_residual(*both, fractions)
    torch.testing.assert_close(shown - theirs, torch.full((200, 3), 0.25))


def test_interval_takes_infinite_values_and_leaves_out_nan(benchmark):
    values = torch.tensor([math.nan, *range(100), math.inf, math.inf, math.inf, math.inf])
    low, high = benchmark("frontier_curves").interval(values)
    assert low.item() == 3 and high.item() == math.inf


def test_script_writes_tables_and_figure(benchmark, tmp_path, monkeypatch, capsys):
    """Made-up encoders show a half at γ = 2 and all from 3 on; the contrastive needs twice γ."""
    module, drawn = benchmark("frontier"), []
    weights = tmp_path / "other.safetensors"
    weights.touch()

    def sample(folder, **options):
        drawn.append(options)
        gamma = options["guidance__gamma"]
        if options.get("encoder__weights") == module.CONTRASTIVE:
            gamma /= 2
        count = min(4, 2 * max(gamma - 1, 0))
        rows = [
            (f"prompt {k}", int(i < count), 0.02 + 0.001 * options["guidance__gamma"])
            for k in range(options["num_samples"] // options["samples_per_prompt"])
            for i in range(options["samples_per_prompt"])
        ]
        if not (folder / "samples.csv").is_file():
            write_samples(folder, rows)
        return {
            "shows": count / 4,
            "shows_interval": (0, 1),
            "alignment": {"all": 1.0},
            "residual": rows[0][2],
            "frechet_imagenet": 3.0 + options["guidance__gamma"],
            "seconds_per_sample": 0.1,
        }

    monkeypatch.setattr(module, "sample", sample)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    place = tmp_path / module.CONTRASTIVE
    place.parent.mkdir(parents=True)
    place.touch()
    module.main(tmp_path / "runs", {"other": weights}, prompts=3, docs=True)
    text = (tmp_path / "docs" / "frontier.md").read_text()
    assert "| shipped | 2 | **0.50** | 0.00–1.00 | 1.00 | 0.0220 | 5.0 |  | 0.10 |" in text
    between = 2 * (3 / 2) ** 0.6  # .80 lies three fifths of the way from .50 to 1
    assert f"| other | {between:.1f} | {between:.1f} to {between:.1f} |" in text
    at = 0.02 * 3**0.2  # residuals are 0.02 at γ = 0 and 0.06 at γ = 40
    base = 0.25 + 0.5 * (at - 0.023) / 0.002  # between the contrastive encoder's γ = 3 and γ = 5
    gain = f"{1 - base:+.2f}"
    row = f"| shipped | {at:.4f} | 1.00 | {base:.2f} | **{gain}** | {gain} to {gain} |"
    assert row in text
    pictures = [tmp_path / part / "frontier.png" for part in ("docs", "runs")]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    unguided = [options for options in drawn if options["guidance__gamma"] == 0]
    assert all(options == unguided[0] for options in unguided)
    assert drawn[-1]["encoder__weights"] == weights
    with pytest.raises(SystemExit, match="is not there"):
        module.main(tmp_path / "runs", {"none": tmp_path / "none.safetensors"})
