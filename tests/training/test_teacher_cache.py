"""The teacher's embeddings are those that it would give, and each image is encoded once."""

import pytest
import torch

from sdg.data.shapes_data import ShapesData
from sdg.models.registry import load_clip
from sdg.training import NoiseAwareFinetuning
from sdg.training.teacher_cache import TeacherCache


class Teacher:
    """Sums over quadrants; it counts the images that it sees."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def test_each_image_is_encoded_once_and_its_row_is_its_own():
    torch.manual_seed(0)
    images = torch.rand(50, 3, 8, 8) * 2 - 1
    images[7] = images[3].flip(-1)
    images[11] = images[4]
    images[11, 2, 7, 7] += 1 / 127.5  # one level of one pixel
    images[12] = images[5].roll(1, -1)  # the same values in other places
    teacher, exact = Teacher(), Teacher()
    cache = TeacherCache(teacher)
    for _ in range(5):
        order = torch.randint(50, (32,))  # some twice in a batch
        torch.testing.assert_close(cache(images[order]), exact(images[order]))
    torch.testing.assert_close(cache(images), exact(images))
    assert teacher.seen == 50


def test_what_is_beyond_its_size_is_encoded_each_time():
    teacher = Teacher()
    cache = TeacherCache(teacher, rows=4)
    images = torch.rand(6, 3, 8, 8)
    cache(images[:4])
    for _ in range(2):
        torch.testing.assert_close(cache(images[2:]), Teacher()(images[2:]))
    torch.testing.assert_close(cache(images[:4]), Teacher()(images[:4]))
    assert teacher.seen == 4 + 2 * 4


def test_images_of_another_size_are_others():
    cache = TeacherCache(Teacher())
    for side in (8, 16, 8):
        images = torch.rand(3, 3, side, side)
        torch.testing.assert_close(cache(images), Teacher()(images))


def test_a_training_with_the_cache_is_that_without(weights):
    data = ShapesData(size=20, held_out=4, cache=None, batch_size=8, num_workers=0)
    data.setup("fit")
    clip = load_clip(weights / "clip.safetensors")
    losses = []
    for cached in (False, True):
        torch.manual_seed(0)
        module = NoiseAwareFinetuning(
            clip,
            32,
            {"kind": "cosine", "T": 100},
            width=8,
            hidden=8,
            scale=10.0,
            cosine_weight=1.0,
            contrastive_weight=0.0,
            levels=[0],
            cache_teacher=cached,
            optimizer=torch.optim.SGD,
            lr_schedule=None,
        )
        module.log_dict = lambda *_, **__: None
        for number in range(3):
            for batch in data.train_dataloader():
                torch.manual_seed(number)
                losses.append(module.training_step(batch, 0).item())
    half = len(losses) // 2
    assert half == 6
    assert losses[half:] == pytest.approx(losses[:half], rel=1e-5)
