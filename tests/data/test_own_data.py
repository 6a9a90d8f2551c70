"""A data set of one's own: what it may give, and one line for what it may not."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from sdg.data.own_data import DatasetData
from sdg.errors import UserError


class Own(Dataset):
    """Items that a function of the index makes."""

    def __init__(self, item, size=8):
        self.item, self.size = item, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return self.item(index)


def noise(*shape):
    return torch.rand(shape or (3, 4, 4)) * 2 - 1


def batch(item, **options):
    return next(iter(DatasetData(Own(item), batch_size=4, **options).train_dataloader()))


def test_doubles_are_cast(capsys):
    image = noise().double()
    given = batch(lambda i: {"image": image})["image"]
    assert given.dtype == torch.float32 and torch.equal(given[0], image.float())
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "image, says",
    [
        ({"img": noise(), "label": "a"}, r"in \[-1, 1\]; the keys img, label came\.$"),
        (noise().byte(), r"torch.uint8 of shape \(3, 4, 4\) came: give image / 127.5 - 1"),
        (np.zeros((3, 4, 4)), r"float64 of shape \(3, 4, 4\) came: give torch.from_numpy\(image"),
        (
            np.zeros((4, 4, 3), np.uint8),
            r"uint8 of shape \(4, 4, 3\) came: .*to_tensor\(image\) \*",
        ),
        (Image.new("RGB", (4, 4)), r"a PIL.Image.Image came: .*to_tensor\(image\) \* 2 - 1"),
        (noise(4, 4, 3), r"shape \(4, 4, 3\).*: give image.permute\(2, 0, 1\)\.$"),
        (noise(1, 4, 4), r"shape \(1, 4, 4\).*: give image.expand\(3, -1, -1\)\.$"),
        (torch.full((3, 4, 4), 200.0), r"up to 200; .*: give image / 127.5 - 1\.$"),
        (torch.full((3, 4, 4), float("nan")), r"up to nan; "),
    ],
)
def test_an_image_of_another_kind_is_named_with_its_conversion(image, says):
    item = image if isinstance(image, dict) else {"image": image}
    with pytest.raises(UserError, match=says):
        DatasetData(Own(lambda i: item))


def test_the_conversions_that_are_named_give_what_is_needed():
    from torchvision.transforms.functional import to_tensor

    grey = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for image in (
        torch.from_numpy(grey).permute(2, 0, 1) / 127.5 - 1,
        to_tensor(grey) * 2 - 1,
        to_tensor(Image.fromarray(grey)) * 2 - 1,
    ):
        given = batch(lambda i, image=image: {"image": image})["image"][0]
        np.testing.assert_allclose(given.permute(1, 2, 0), grey / 127.5 - 1, atol=1e-6)


def test_images_of_two_sizes_are_named():
    odd = {"image": noise(3, 6, 6)}
    images = Own(lambda i: odd if i == 5 else {"image": noise()})
    data = DatasetData(images, held_out=Own(lambda i: {"image": noise()}), batch_size=8)
    with pytest.raises(UserError, match=r"image 5 of .* shape \(3, 6, 6\), the first one \(3, 4"):
        next(iter(data.train_dataloader()))


def test_images_are_named_by_their_index_in_the_user_s_data_set():
    data = DatasetData(Own(lambda i: {"image": noise()}), held_out=0.25)
    names = [part.name(i) for part in (data.train, data.held_out) for i in range(len(part))]
    assert names[:6] == sorted(names[:6]) and sorted(names) == [str(i) for i in range(8)]


@pytest.mark.parametrize("size", [0, 1])
def test_too_few_images_are_named(size):
    with pytest.raises(UserError, match=rf"Own gives 0 images to train on and {size} held-out"):
        DatasetData(Own(lambda i: {"image": noise()}, size))


@pytest.mark.parametrize("caption", [7, None, [], [7]])
def test_a_caption_that_is_no_sentence_is_named(caption):
    item = {"image": noise(), "caption": caption}
    with pytest.raises(UserError, match=r"must give `caption`, a sentence or a list of sentences"):
        batch(lambda i: item)
    with pytest.raises(UserError, match="must give `caption`"):
        _ = DatasetData(Own(lambda i: item)).captions


@pytest.mark.parametrize("low, lines", [(0.0, 1), (-0.01, 0)])
def test_images_in_0_1_are_warned_of_once(capsys, low, lines):
    images = [noise().abs() for _ in range(80)]
    images[40][0, 0, 0] = low
    data = DatasetData(
        Own(lambda i: {"image": images[i]}, 80), held_out=Own(lambda i: {"image": images[0]})
    )
    list(data.train_dataloader()), list(data.val_dataloader())
    out = capsys.readouterr().out
    assert (
        out.count("if these are in [0, 1], give image * 2 - 1.") == len(out.splitlines()) == lines
    )
