"""Reading by rendering: exact on what was rendered, and the optimum wherever all can be tried."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import gaussian_blur

from sdg.data import shape_drawing
from sdg.data.captions import FACTORS as SHAPE_FACTORS
from sdg.data.shape_drawing import Placement
from sdg.data.shapes import Shapes
from sdg.metrics.reading import Reading, barely_degraded, shows, unit_pixels, visible_residual
from sdg.metrics.shape_paint import best_paint
from sdg.metrics.shape_reader import ShapeReader

SEED = 1  # of the held-out data
FEW = 48


@pytest.fixture(scope="module")
def portraits():
    pytest.importorskip("resvg_py")
    from sdg.data.portraits import Portraits

    return Portraits(FEW, SEED, 64)


@pytest.fixture(scope="module")
def portrait_reader(portraits):
    from sdg.metrics.readers import choose_reader

    return choose_reader(portraits)


@pytest.fixture(scope="module")
def drawn():
    return Shapes(FEW, SEED, 32)


@pytest.fixture(scope="module")
def shapes_read(drawn):
    return ShapeReader().infer(images_of(drawn))


def images_of(dataset) -> torch.Tensor:
    return dataset.__getitems__(range(len(dataset)))["image"]


def smooth_errors(n: int, side: int, generator: torch.Generator) -> torch.Tensor:
    return F.interpolate(torch.randn(n, 3, 5, 5, generator=generator), side, mode="bicubic")


# --- portraits -------------------------------------------------------------------------------


@pytest.mark.slow
def test_layers_compose_to_what_the_renderer_draws(portraits, portrait_reader):
    reading = portrait_reader.infer(images_of(portraits))
    composed = (portrait_reader.rendered(reading.choices) + 1).mul(127.5).round()
    rendered = torch.from_numpy(portraits.images).permute(0, 3, 1, 2)
    assert (composed - rendered).abs().max() <= 2


def test_a_rendered_portrait_is_read_without_error(portraits, portrait_reader):
    reading = portrait_reader.infer(images_of(portraits))
    assert (reading.factors == torch.from_numpy(portraits.factors)).all()
    assert reading.residual.max() < 0.001
    named = torch.from_numpy(portraits.choices)
    assert ((reading.choices == named) | (reading.choices == 0)).all()  # 0 is what shows nowhere


def test_descent_finds_what_trying_everything_finds(portraits, portrait_reader):
    from sdg.metrics.portrait_layers import compose, portrait_layers
    from sdg.metrics.portrait_reader import PortraitReader

    generator = torch.Generator().manual_seed(0)
    few = []
    for layer in portrait_layers(64):
        some = torch.randperm(len(layer.rows), generator=generator)[:3]
        few.append(
            layer._replace(rows=layer.rows[some], added=layer.added[some], kept=layer.kept[some])
        )
    places = torch.tensor(list(product(range(3), repeat=len(few))))
    everything = compose(few, places)
    some = torch.randint(len(places), (12,), generator=generator)
    errors = 0.1 * smooth_errors(12, 64, generator).flatten(1)
    x = (everything[some] + errors).clamp(0, 1)
    best = torch.stack([(row - everything).square().mean(1).min().sqrt() for row in x])
    reading = PortraitReader(layers=few).infer(x.unflatten(1, (3, 64, 64)) * 2 - 1)
    torch.testing.assert_close(reading.residual, best, rtol=1e-4, atol=1e-5)


def test_noise_that_is_plain_to_see_changes_no_reading(portraits, portrait_reader):
    grain = torch.randn(FEW, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    reading = portrait_reader.infer(images_of(portraits) + 2 * 0.05 * grain)
    assert (reading.factors == torch.from_numpy(portraits.factors)).float().mean() > 0.998
    # Pixels at 0 and 1 lose half of their noise.
    assert 0.04 < reading.residual.median() < 0.051


def test_no_truth_is_nearer_than_what_is_read(portraits, portrait_reader):
    images = images_of(portraits)
    degraded = barely_degraded(images, blur=0.9, noise=0.05)
    to_truth = (unit_pixels(degraded) - unit_pixels(images)).square().mean(1).sqrt()
    assert (portrait_reader.infer(degraded).residual <= to_truth + 1e-4).all()


def test_the_blurrier_the_larger_the_residual(portraits, portrait_reader):
    images = images_of(portraits)[:16]
    residuals = torch.stack(
        [
            portrait_reader.infer(gaussian_blur(images, 13, sigma)).residual
            for sigma in (0.3, 0.6, 1.2, 2.4)
        ]
    )
    assert (residuals.diff(dim=0) > 0).all()


def test_a_reading_hangs_on_nothing_but_the_image(portraits, portrait_reader):
    images = gaussian_blur(images_of(portraits)[:6], 7, 1.0)
    together, again = portrait_reader.infer(images), portrait_reader.infer(images)
    assert all(torch.equal(one, other) for one, other in zip(together, again, strict=True))
    alone = torch.cat([portrait_reader.infer(image[None]).factors for image in images])
    assert torch.equal(alone, together.factors)


def test_threshold_of_portraits(portraits, portrait_reader):
    residual = visible_residual(portrait_reader, images_of(portraits))
    assert residual == pytest.approx(portrait_reader.threshold, abs=0.006)


# --- shapes ----------------------------------------------------------------------------------


def test_coverage_and_brightness_make_the_picture():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(len(v), size=20) for v in SHAPE_FACTORS.values()], 1)
    placement = Placement.draw(20, rng)
    m, f = (part[..., None] for part in shape_drawing.coverage(factors, placement, 32))
    paint = np.clip(shape_drawing.COLOURS[factors[:, 1]] * placement.shade, 0, 1)[:, None, None]
    ground = (shape_drawing.BACKGROUNDS[factors[:, 4]] + placement.ground)[:, None, None, None]
    made = ground * (1 - m) + paint * f
    assert np.abs(made * 255 - shape_drawing.render(factors, placement)).max() <= 0.51


def test_colours_of_a_known_outline_are_those_that_drew_it():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(len(v), size=40) for v in SHAPE_FACTORS.values()], 1)
    placement = Placement.draw(40, rng)
    m, f = (part.reshape(40, -1) for part in shape_drawing.coverage(factors, placement, 32))
    x = shape_drawing.render(factors, placement).transpose(0, 3, 1, 2).reshape(40, 3, -1) / 255
    paint = best_paint(x, m, f)
    assert (paint.colour == factors[:, 1]).all() and (paint.background == factors[:, 4]).all()
    ground = shape_drawing.BACKGROUNDS[factors[:, 4]] + placement.ground
    np.testing.assert_allclose(paint.ground, ground, atol=0.003)
    unclipped = (shape_drawing.COLOURS[factors[:, 1]] * placement.shade).max(1) < 1
    np.testing.assert_allclose(paint.shade[unclipped], placement.shade[unclipped, 0], atol=0.01)


def test_a_rendered_shape_is_read(drawn, shapes_read):
    assert (shapes_read.factors == torch.from_numpy(drawn.factors)).float().mean() > 0.99
    assert shapes_read.residual.median() < 0.01
    assert shapes_read.residual.max() < ShapeReader.threshold


def test_place_of_a_rendered_shape_is_read(drawn, shapes_read):
    (_, placement), *_ = drawn._blocks()
    off = np.abs(shapes_read.choices[:, 6:8].numpy() - placement.first(FEW).centre)
    assert np.median(off) < 0.02  # a seventh of a pixel


@pytest.mark.slow
def test_threshold_of_shapes(drawn):
    residual = visible_residual(ShapeReader(), images_of(drawn))
    assert residual == pytest.approx(ShapeReader.threshold, abs=0.01)


# --- what shows ------------------------------------------------------------------------------

READING = Reading(
    torch.zeros(4, 1),
    torch.tensor([[4, 0], [4, 0], [3, 0], [1, 1]]),
    torch.tensor([0.01, 0.05, 0.01, 0.02]),
)
TRUTH = torch.tensor([[4, -1], [4, 0], [4, 0], [-1, -1]])


def test_an_image_shows_its_prompt_if_all_is_read_and_the_residual_is_small():
    assert shows(READING, TRUTH, 0.03).tolist() == [True, False, False, False]
    assert shows(READING, TRUTH, 0.05).tolist() == [True, True, False, False]


def test_data_without_a_renderer_has_no_reader():
    from sdg.metrics.readers import choose_reader

    assert choose_reader(object()) is None
