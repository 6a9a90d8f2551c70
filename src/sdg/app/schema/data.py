"""The data: where it is, its parts, and how it is read."""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Called, Choice, Flag, Integer, Kind, ListOf, Number, Section, Text
from sdg.app.schema.shared import COUNT, FILE, FOLDER

__all__ = ["BY_CLASS", "DATA"]

SHARDS = Called(
    "a path, a pattern or a URL of tar files, or a list of such", Text() | ListOf(Text())
)

DATA: Mapping[str, Kind] = {
    "data.resolution": Integer(1),
    "data.size": COUNT,
    "data.held_out": COUNT | Number(0.001, 0.5),
    "data.seed": Integer(0),
    "data.cache": FOLDER | NULL,
    "data.captions": Flag,
    "data.masks": Flag,
    "data.batch_size": COUNT,
    "data.num_workers": Integer(0, 256),
    "data.name": Text(),
    "data.root": FOLDER,
    "data.category": Text(),
    "data.download": Flag,
    "data.crop": Choice(("centre", "random")),
    "data.flip": Flag,
    "data.max_broken": Integer(0),
    "data.labels": Choice(("folders", "names", False, True)),
    "data.font": FILE | NULL,
    "data.cldr": FOLDER,
    "data.style": Text() | ListOf(Text()),
    "data.split": Text(),
    "data.hard_negatives": Integer(0),
    "data.held_out_split": Text() | NULL,
    "data.streaming": Flag,
    "data.options": Section(),
    "data.buffer": COUNT,
    "data.urls": SHARDS,
    "data.allow_pipe": Flag,
    "data.held_out_urls": SHARDS | NULL,
}

# Narrower ones, by the class whose option it is.
FRACTION = Number(0.001, 0.5)
BY_CLASS: Mapping[str, Mapping[str, Kind]] = {
    "sdg.data.folder_data.FolderData": {
        "root": Text("a folder of images"),
        "held_out": FRACTION,
        "resolution": Integer(8, 1024),
    },
    "sdg.data.emoji_data.EmojiData": {"held_out": FRACTION, "resolution": Integer(8, 128)},
    "sdg.data.torchvision_data.TorchvisionData": {
        "name": Choice(("cifar10", "celeba", "lsun")),
        "resolution": Integer(8, 1024),
    },
    "sdg.data.shapes_data.ShapesData": {"held_out": COUNT, "resolution": Integer(8, 1024)},
    "sdg.data.portraits_data.PortraitsData": {
        "held_out": COUNT,
        "resolution": Integer(16, 1024),
        "split": Choice(("held_out", "combinations")),
    },
    "sdg.data.streamed.HubData": {"name": Text("the name of a data set"), "held_out": COUNT},
    "sdg.data.streamed.TarData": {"held_out": COUNT},
}
