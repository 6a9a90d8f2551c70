"""The embedded data: reproducible, true to its factors."""

from itertools import combinations

import numpy as np
import pytest
import torch

from sdg.data.captions import FACTORS, named_factors
from sdg.data.shape_drawing import BACKGROUNDS, COLOURS, OUTLINES, RADII, Placement, render
from sdg.data.shapes import Shapes
from sdg.errors import UserError

NAMES = list(FACTORS)


@pytest.fixture(scope="module")
def shapes():
    return Shapes(500, seed=3)


def factors_of(n, **fixed):
    """Random rows of factor indices; `fixed` holds factors at a value's name."""
    rng = np.random.default_rng(0)
    columns = [
        np.full(n, values.index(fixed[name]))
        if name in fixed
        else rng.integers(len(values), size=n)
        for name, values in FACTORS.items()
    ]
    return np.stack(columns, 1)


def drawn(factors, resolution=32, seed=0):
    """Images in [0, 1] and the mask of pixels that are wholly or partly the object's.

    The mask is told from the corner's ground.
    """
    images = (
        render(factors, Placement.draw(len(factors), np.random.default_rng(seed)), resolution)
        / 255.0
    )
    return images, np.abs(images - images[:, :1, :1]).max(-1) > 0.02


# --- reproducible -------------------------------------------------------------------------------


def test_same_seed_gives_the_same_pixels_and_factors(shapes):
    again = Shapes(500, seed=3)
    assert np.array_equal(again.images, shapes.images) and np.array_equal(
        again.factors, shapes.factors
    )


@pytest.mark.parametrize("size", [1, 70, 501])
def test_smaller_set_is_a_prefix_of_a_larger_one(shapes, size):
    other = Shapes(size, seed=3, resolution=32)
    assert len(other) == size == len(other.images)
    n = min(size, 500)
    assert np.array_equal(other.images[:n], shapes.images[:n]) and np.array_equal(
        other.factors[:n], shapes.factors[:n]
    )


def test_another_seed_shares_no_image(shapes):
    other = Shapes(500, seed=4)
    assert not {image.tobytes() for image in shapes.images} & {
        image.tobytes() for image in other.images
    }


def test_no_image_of_a_set_occurs_twice():
    assert len({image.tobytes() for image in Shapes(1000, seed=0, resolution=16).images}) == 1000


def test_every_factor_is_drawn_uniformly():
    factors = Shapes(5000, seed=0, resolution=8).factors
    for column, values in zip(factors.T, FACTORS.values(), strict=True):
        counts, p = np.bincount(column, minlength=len(values)), 1 / len(values)
        assert np.abs(counts - 5000 * p).max() < 4 * (5000 * p * (1 - p)) ** 0.5


def test_cache_is_written_once_read_again_and_equal(tmp_path, shapes):
    first = Shapes(500, seed=3, cache=str(tmp_path / "new"))
    (file,) = (tmp_path / "new").iterdir()
    written = file.stat().st_mtime_ns
    second = Shapes(500, seed=3, cache=str(tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == [file] and file.stat().st_mtime_ns == written
    for cached in (first, second):
        assert np.array_equal(cached.images, shapes.images)
        assert torch.equal(
            cached.__getitems__([4, 2])["image"], shapes.__getitems__([4, 2])["image"]
        )


def test_cache_tells_sets_apart_by_seed_size_and_resolution(tmp_path):
    for options in (
        {"seed": 0},
        {"seed": 1},
        {"seed": 0, "size": 11},
        {"seed": 0, "resolution": 16},
    ):
        options = {"size": 10, "resolution": 8, **options}
        assert np.array_equal(
            Shapes(**options, cache=str(tmp_path)).images, Shapes(**options).images
        )


def test_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="data.cache"):
        Shapes(1, 0, 8, cache=str(tmp_path / "file" / "cache"))


# --- true to its factors ------------------------------------------------------------------------


def test_background_is_the_nearest_to_its_value():
    factors = factors_of(300)
    images, _ = drawn(factors)
    corner = images[:, 0, 0].mean(1)
    assert np.array_equal(np.abs(corner[:, None] - BACKGROUNDS).argmin(1), factors[:, 4])


@pytest.mark.parametrize("pattern", FACTORS["pattern"])
def test_object_is_nearest_to_its_colour(pattern):
    factors = factors_of(300, pattern=pattern)
    images, mask = drawn(factors)
    for image, inside, colour in zip(images, mask, factors[:, 1], strict=True):
        # The most colourful tenth: neither edge nor stripe.
        pixels = image[inside]
        hue = pixels[np.argsort(np.ptp(pixels, axis=1))[-max(len(pixels) // 10, 3) :]].mean(0)
        assert np.abs(hue - COLOURS).sum(1).argmin() == colour


def test_large_objects_are_larger_than_small_ones_of_the_same_shape():
    for shape in FACTORS["shape"]:
        small, large = (
            drawn(factors_of(40, shape=shape, size=size))[1].sum((1, 2)) for size in FACTORS["size"]
        )
        assert small.max() < large.min()


def test_patterns_darken_the_share_of_the_object_that_geometry_says():
    # Stripes are as wide as their gaps; nine dots of radius 1.55 fit into a square of side 2 · 0.8
    # · 0.95 · 11, those of the next ring lie outside it. Both are 0.35 as bright as the colour.
    n = 30
    placement = Placement.draw(n, np.random.default_rng(0))._replace(
        ground=np.full(n, -0.05), radius=np.full(n, 0.95)
    )  # pure black
    factors = {
        pattern: factors_of(
            n, pattern=pattern, size="large", shape="square", background="black", colour="pink"
        )
        for pattern in FACTORS["pattern"]
    }
    light = {
        pattern: render(rows, placement, 32).sum((1, 2, 3), dtype=float)
        for pattern, rows in factors.items()
    }
    for pattern, share in (
        ("striped", 0.5),
        ("dotted", 9 * np.pi * 1.55**2 / (1.6 * 0.95 * 11) ** 2),
    ):
        dark = (1 - light[pattern] / light["solid"]) / (1 - 0.35)
        assert abs(dark.mean() - share) < 0.01 and np.abs(dark - share).max() < 0.03


def test_shapes_cover_the_area_that_geometry_says():
    # In units of the radius squared, without the edge's blur: circle .92π, square 1.6², triangle
    # between its lines, ring (1 − .3)π.
    areas = {
        "circle": 0.92 * np.pi,
        "square": 1.6**2,
        "triangle": (0.5 + 1) ** 2 / 1.75,
        "ring": 0.7 * np.pi,
        "star": 5 * 1.0 * 0.45 * np.sin(np.pi / 5),
    }
    for shape, area in areas.items():
        factors = factors_of(
            30, shape=shape, size="large", pattern="solid", background="black", colour="pink"
        )
        images, _ = drawn(factors, 64)
        ground, paint = images[:, 0, 0], images.reshape(30, -1, 3).max(1)
        cover = (
            (images - ground[:, None, None]).sum(-1) / (paint - ground).sum(-1)[:, None, None]
        ).sum((1, 2)) / 64**2
        assert np.abs(cover.mean() / (area * (11 / 32) ** 2) - 1) < 0.05


def test_outlines_of_no_two_shapes_are_alike():
    v, u = np.mgrid[-1.3:1.3:80j, -1.3:1.3:80j]
    masks = {name: outline(u, v) for name, outline in OUTLINES.items()}
    assert set(masks) == set(FACTORS["shape"])
    for one, other in combinations(masks, 2):
        assert (masks[one] & masks[other]).sum() / (masks[one] | masks[other]).sum() < 0.9


@pytest.mark.parametrize("shape", FACTORS["shape"])
def test_object_lies_within_the_frame_however_it_is_placed(shape):
    # The centre keeps radius + 0.02 from every side, so the outline may reach that far at every
    # rotation, at the largest radius.
    v, u = np.mgrid[-1.4:1.4:400j, -1.4:1.4:400j]
    inside = OUTLINES[shape](u, v)
    radius = 1.05 * RADII.max()
    for angle in np.deg2rad(np.arange(-15, 15.1, 2.5)):
        x, y = np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v
        assert max(np.abs(x[inside]).max(), np.abs(y[inside]).max()) * radius <= radius + 0.02


def test_centre_keeps_radius_and_margin_from_every_side():
    corners = np.array([[x, y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    placement = Placement(np.ones(4), corners, np.zeros(4), np.ones((4, 1)), np.full(4, -0.05))
    for size, radius in zip(FACTORS["size"], RADII, strict=True):
        images = render(
            factors_of(4, shape="square", size=size, pattern="solid", background="black"),
            placement,
            64,
        ).sum(-1, dtype=float)
        axis = (np.arange(64) + 0.5) / 64
        for image, corner in zip(images, corners, strict=True):
            centre = (
                np.array([(image.sum(0) * axis).sum(), (image.sum(1) * axis).sum()]) / image.sum()
            )
            np.testing.assert_allclose(centre, 0.5 + corner * (0.5 - radius - 0.02), atol=0.005)


def test_rotation_turns_the_object_clockwise_and_keeps_its_area():
    angle = np.array([-15.0, 0.0, 15.0])
    placement = Placement(np.ones(3), np.zeros((3, 2)), angle, np.ones((3, 1)), np.full(3, -0.05))
    factors = factors_of(
        3, shape="triangle", size="large", pattern="solid", background="black", colour="red"
    )
    images = render(factors, placement, 96)[..., 0] / 230  # red is 0.9
    areas = images.sum((1, 2))
    np.testing.assert_allclose(areas, areas[1], rtol=0.01)
    apex = [np.argwhere(image > 0.5)[0, 1] for image in images]  # the column of the topmost pixel
    expected = (
        48 + np.sin(np.deg2rad(angle)) * 96 * RADII[1]
    )  # the tip is 1 radius above the centre
    assert np.abs(apex - expected).max() < 2


def test_placement_is_drawn_within_its_bounds():
    placement = Placement.draw(2000, np.random.default_rng(0))
    for values, low, high in zip(
        placement,
        (0.95, -1, -15, 0.94, -0.03),
        (1.05, 1, 15, 1.04, 0.03),
        strict=True,
    ):
        assert len(values) == 2000 and low <= values.min() < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)


def test_resolution_changes_the_pixels_not_the_picture():
    placement = Placement.draw(20, np.random.default_rng(0))
    fine = render(factors_of(20), placement, 64).reshape(20, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(fine - render(factors_of(20), placement, 32)).mean() < 3


@pytest.mark.parametrize("options", [{"size": 0}, {"resolution": 4}, {"resolution": 32.0}])
def test_impossible_set_is_refused(options):
    with pytest.raises(UserError, match="data"):
        Shapes(**{"size": 1, "seed": 0, **options})


# --- items --------------------------------------------------------------------------------------


def test_items_are_scaled_pixels_with_their_factors(shapes):
    batch = shapes.__getitems__([7, 0, 7])
    assert (
        batch["image"].shape == (3, 3, 32, 32)
        and batch["image"].dtype == torch.float32
        and set(batch) == {"image", "factors"}
    )
    expected = (
        torch.from_numpy(shapes.images[[7, 0, 7]].astype(np.float32)).permute(0, 3, 1, 2) / 127.5
        - 1
    )
    torch.testing.assert_close(batch["image"], expected)
    assert torch.equal(batch["factors"], torch.from_numpy(shapes.factors[[7, 0, 7]]))
    assert torch.equal(shapes[7]["image"], batch["image"][0])


def test_captions_of_items_are_true_and_reworded_each_time():
    shapes, seen = Shapes(5, seed=0, resolution=8, captions=True), set()
    for _ in range(20):
        batch = shapes.__getitems__([3, 1])
        for index, caption in zip([3, 1], batch["caption"], strict=True):
            assert (
                named_factors(caption).items()
                <= dict(zip(NAMES, shapes.factors[index], strict=True)).items()
            )
        seen.add(batch["caption"][0])
    assert len(seen) > 5


def test_images_that_show_what_is_named_and_leave_the_rest_to_chance():
    data, wanted = Shapes(4, 1), np.full((40, 5), -1)
    wanted[:20] = [3, 5, 1, 1, 2]
    images = data.render_matching(wanted, range(40))
    assert images.shape == (40, 3, 32, 32) and images.min() >= -1 and images.max() <= 1
    assert (
        torch.equal(images[[7, 30]], data.render_matching(wanted[[7, 30]], [7, 30]))
        and len(images[20:].unique(dim=0)) == 20
    )  # each by its own key
    # A blue object on black: no pixel of the first twenty is redder than blue, and the corners are
    # dark; among the others some are light.
    assert (images[:20, 0] <= images[:20, 2] + 0.02).all() and (images[:20, :, 0, 0] < -0.8).all()
    assert (images[20:, :, 0, 0] > 0).any()


def test_caption_of_an_image_follows_from_its_index_and_variant(shapes):
    assert shapes.caption(5, 2) == Shapes(500, seed=3).caption(5, 2)
    assert len({shapes.caption(5, variant) for variant in range(20)}) > 10
    assert named_factors(shapes.caption(5, 0, ["shape", "colour"])).keys() == {"shape", "colour"}
