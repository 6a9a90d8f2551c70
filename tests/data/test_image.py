"""A user's own images, in the forms that they come in."""

import numpy as np
import pytest
import torch
from PIL import Image

from sdg.data.folder import ImageFolder
from sdg.data.image import load_image
from sdg.errors import UserError

RED, BLUE = (200, 20, 40), (30, 60, 220)


def load(folder, resolution=16):
    return ImageFolder(str(folder), resolution)[0]["image"]


def value(colour):
    return torch.tensor(colour).view(3, 1, 1) / 127.5 - 1


@pytest.mark.parametrize(
    "mode, colour, seen",
    [
        ("RGB", RED, RED),
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (*RED, 0), (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (90, 255), (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_colour_modes_become_three_channels_from_minus_one_to_one(tmp_path, mode, colour, seen):
    Image.new(mode, (20, 20), colour).save(tmp_path / "image.png")
    image = load(tmp_path)
    assert image.shape == (3, 16, 16) and image.dtype == torch.float32
    torch.testing.assert_close(image, value(seen).expand(3, 16, 16))


def test_sixteen_bit_greyscale_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((20, 20), 257 * 90, np.uint16)).save(
        tmp_path / "image.png"
    )  # 90 of 255
    torch.testing.assert_close(
        load(tmp_path), value((90, 90, 90)).expand(3, 16, 16), rtol=0, atol=0.01
    )


@pytest.mark.parametrize(
    "kind, low, high",
    [
        (np.float32, 0.0, 1.0),
        (np.float32, 0.0, 255.0),
        (np.int32, 0, 255),
        (np.int32, 0, 65535),
        (np.uint16, 0, 65535),
    ],
)
def test_greyscale_of_other_depths_is_scaled_to_its_range(tmp_path, kind, low, high):
    ramp = np.linspace(low, high, 16).astype(kind)
    Image.fromarray(np.tile(ramp, (16, 1))).save(tmp_path / "image.tiff")
    torch.testing.assert_close(
        load_image(tmp_path / "image.tiff", 16),
        torch.linspace(-1, 1, 16).expand(3, 16, 16),
        rtol=0,
        atol=0.01,
    )


@pytest.mark.parametrize("value", [float("nan"), -0.5, 1e6])
def test_values_that_are_no_shade_are_refused(tmp_path, value):
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "image.tiff")
    with pytest.raises(UserError, match="image.tiff: its values, from .* are no shades of grey"):
        load_image(tmp_path / "image.tiff", 16)


def test_damaged_exif_is_a_file_that_cannot_be_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.5  # upright by turning, and a resolution
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg", exif=exif)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(
        whole.replace(b"\x01\x1a\x00\x05", b"\x01\x00\x00\x05")
    )  # whose tag is now the width's
    with pytest.raises(UserError, match=r"a\.jpg"):
        load_image(tmp_path / "a.jpg", 16)


def test_palette_image_keeps_its_colours(tmp_path):
    picture = Image.new("RGB", (32, 32), RED)
    picture.paste(BLUE, (16, 0, 32, 32))
    picture.quantize(4).save(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as file:
        assert file.mode == "P"
    image = load(tmp_path)
    torch.testing.assert_close(image[:, :, :4], value(RED).expand(3, 16, 4), rtol=0, atol=0.02)
    torch.testing.assert_close(image[:, :, -4:], value(BLUE).expand(3, 16, 4), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "orientation, red_side", [(1, "top"), (3, "bottom"), (6, "right"), (8, "left")]
)
def test_exif_rotation_is_obeyed(tmp_path, orientation, red_side):
    picture = Image.new("RGB", (32, 32), BLUE)
    picture.paste(RED, (0, 0, 32, 16))  # the stored top half
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "image.jpg", exif=exif, quality=95, subsampling=0)
    red = load(tmp_path)[0] > 0
    sides = {"top": red[0], "bottom": red[-1], "left": red[:, 0], "right": red[:, -1]}
    assert sides[red_side].all() and sum(bool(side.all()) for side in sides.values()) == 1


@pytest.mark.parametrize(
    "size, scaled, box",
    [
        ((60, 20), (30, 10), (10, 0, 20, 10)),
        ((20, 60), (10, 30), (0, 10, 10, 20)),
        ((40, 20), (20, 10), (5, 0, 15, 10)),
    ],
)
def test_oblong_image_is_scaled_to_its_shorter_side_and_cropped_to_the_centre(
    tmp_path, size, scaled, box
):
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    )
    picture.save(tmp_path / "image.png")
    expected = np.array(picture.resize(scaled, Image.Resampling.BICUBIC).crop(box), np.float32)
    torch.testing.assert_close(
        load(tmp_path, 10),
        torch.from_numpy(expected).permute(2, 0, 1) / 127.5 - 1,
        rtol=0,
        atol=0.02,
    )


def test_image_of_the_right_size_is_not_resampled(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    torch.testing.assert_close(
        load(tmp_path), torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    )


def test_small_image_is_enlarged(tmp_path):
    Image.new("RGB", (3, 5), RED).save(tmp_path / "image.png")
    torch.testing.assert_close(load(tmp_path), value(RED).expand(3, 16, 16))


def test_files_are_found_in_subfolders_in_order_and_other_files_passed_over(tmp_path):
    (tmp_path / "b").mkdir()
    for name, grey in (("c.PNG", 3), ("a.jpeg", 1), ("b/x.webp", 2)):
        Image.new("L", (16, 16), grey).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    folder = ImageFolder(str(tmp_path), 16)
    assert [file.relative_to(tmp_path).as_posix() for file in folder.files] == [
        "a.jpeg",
        "b/x.webp",
        "c.PNG",
    ]
    batch = folder.__getitems__([2, 0])["image"]
    assert (
        batch.shape == (2, 3, 16, 16)
        and torch.equal(batch[0], folder[2]["image"])
        and torch.equal(batch[1], folder[0]["image"])
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tif"])
@pytest.mark.parametrize("damage", ["truncated", "other bytes", "empty"])
def test_file_that_cannot_be_read_is_refused_by_name(tmp_path, suffix, damage):
    file = tmp_path / f"broken.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        file
    )
    whole = file.read_bytes()
    file.write_bytes(
        {"truncated": whole[: len(whole) // 2], "other bytes": b"hello " * 50, "empty": b""}[damage]
    )
    with pytest.raises(UserError, match=rf"broken\.{suffix}"):
        load(tmp_path)


def test_missing_folder_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="no folder.*nowhere"):
        ImageFolder(str(tmp_path / "nowhere"))
    Image.new("L", (16, 16)).save(tmp_path / "file.png")
    with pytest.raises(UserError, match="no folder.*file.png"):
        ImageFolder(str(tmp_path / "file.png"))


def test_folder_without_an_image_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(UserError, match=r"no image in.*\.png"):
        ImageFolder(str(tmp_path))


@pytest.mark.parametrize("resolution", [0, 4, 2048, 32.5])
def test_impossible_resolution_is_refused(tmp_path, resolution):
    Image.new("L", (16, 16)).save(tmp_path / "image.png")
    with pytest.raises(UserError, match="data.resolution"):
        ImageFolder(str(tmp_path), resolution)
