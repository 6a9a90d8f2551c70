"""What the rest of the framework may ask of a set of images."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

__all__ = ["ImageSet", "NoImages"]


class ImageSet(Dataset):
    """Images, a batch at a time, with what is known of them.

    Attributes:
        has_captions: whether `caption` can be asked.
        classes: {factor: {class: its caption}}; empty where images have no classes.
        attributes: {factor: its values}, where every image's are known and every sentence can be
            read; empty elsewhere.
    """

    has_captions = False
    classes: Mapping[str, Mapping[str, str]] = {}
    attributes: Mapping[str, Sequence[str]] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """{`image`: (B, 3, H, W) in [-1, 1]}, and where they are known {`caption`: B sentences}."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def name(self, index: int) -> str:
        """What one image is called: its number, where it has no file."""
        return str(index)

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        """A caption of one image.

        Arguments:
            variant: which of its wordings.
            named: the factors that it shall name, where the data has `attributes`.
        """
        raise NotImplementedError

    def prompt_factors(self, index: int) -> list[str]:
        """What a prompt about one image names by default, where the data has `attributes`."""
        raise NotImplementedError

    def class_name(self, index: int) -> str:
        """The class of one image, a key of one of `classes`."""
        raise NotImplementedError


class NoImages(ImageSet):
    """None at all."""

    def __len__(self) -> int:
        return 0

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        raise IndexError("there are no images")
