"""What a call of a pipeline asks for: sentences, pictures, terms and functions of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sdg.data.image import load_image, pixels
from sdg.data.prompts import escape_prompt
from sdg.errors import UserError
from sdg.guidance.guidance import SimilarityFn
from sdg.models.autoencoder import Autoencoder
from sdg.pipeline.argument_checks import checked_function
from sdg.similarity import Term

__all__ = [
    "CallConditions",
    "Picture",
    "Pictures",
    "SimilarityArgument",
    "as_tensor",
    "as_tensors",
    "sampled_pictures",
]

Picture = str | Path | Image.Image | Tensor
Pictures = Picture | Sequence[Picture]  # one for all samples, or one for each condition
ROUNDING = 1e-3  # that a tensor may go beyond [-1, 1]
TermOrFunction = Term | SimilarityFn
SimilarityArgument = TermOrFunction | Sequence[TermOrFunction] | Mapping[Term, Pictures | None]


@dataclass
class CallConditions:
    """What the samples of a call shall be like.

    Attributes:
        columns: {similarity: its conditions}, one for all samples or one each; a picture's is its
            name.
        pictures: {name: picture}.
        terms: {similarity: term} of one's own.
        functions: of one's own.
    """

    columns: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    terms: dict[str, Term] = field(default_factory=dict)
    functions: list[SimilarityFn] = field(default_factory=list)

    @classmethod
    def from_arguments(
        cls,
        prompt: str | Sequence[str] | None,
        pictures: Mapping[str, Pictures | None],
        similarity: SimilarityArgument,
    ) -> "CallConditions":
        """From what `Pipeline.__call__` is given.

        Raises:
            UserError: there is nothing in a list, lists of several lengths, no picture for a term
                by reference, or something that is no similarity.
        """
        conditions = cls()
        if prompt is not None:
            conditions.columns["text"] = as_prompt_list(prompt)
        for name, given in pictures.items():
            if given is not None:
                conditions.add_pictures(name, given)
        for one, condition in with_conditions(similarity):
            if isinstance(one, Term):
                conditions.add_term(one, condition)
            elif condition is None and callable(one) and not isinstance(one, type):
                name = getattr(one, "__name__", type(one).__name__)
                checked_function(f"similarity {name!r}", one, "x", "level")
                conditions.functions.append(one)
            else:
                raise UserError(
                    "similarity must be a term, such as sdg.Text(encoder, clip), a function of "
                    f"images and their level, or {{term: condition}}, not {one!r}."
                )
        conditions.check_lengths()
        return conditions

    def add_pictures(self, name: str, given: Pictures) -> None:
        """Adds what a similarity by reference compares with."""
        several: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
        if not several:
            raise UserError(f"{name} is an empty list; give a picture, or leave it out.")
        names = [name] if len(several) == 1 else [f"{name} {i}" for i in range(len(several))]
        self.columns[name] = names
        self.pictures |= dict(zip(names, several, strict=True))

    def add_term(self, term: Term, condition: Pictures | None) -> None:
        """Adds a term of one's own."""
        kind = type(term).__name__
        name = f"{kind} {len(self.terms)}"
        self.terms[name] = term
        if term.by_reference:
            if condition is None:
                raise UserError(f"{kind} compares with a picture: similarity={{term: picture}}.")
            self.add_pictures(name, condition)
        elif condition is not None:
            words = condition if isinstance(condition, (list, tuple)) else [condition]
            self.columns[name] = [escape_prompt(str(word)) for word in words]

    def check_lengths(self) -> None:
        """Raises a `UserError` for two lists of different lengths, or an empty one."""
        several = {name: len(column) for name, column in self.columns.items() if len(column) != 1}
        if len(set(several.values())) > 1 or 0 in several.values():
            counts = ", ".join(f"{count} for {name}" for name, count in several.items())
            raise UserError(f"{counts}: give as many of each, or one for all samples.")

    @property
    def rows(self) -> list[dict[str, str]]:
        """{similarity: condition} of every condition, in order; one, without any, for none."""
        count = max((len(column) for column in self.columns.values()), default=1)
        rows = []
        for i in range(count):
            rows.append({name: column[i % len(column)] for name, column in self.columns.items()})
        return rows

    @property
    def kinds(self) -> list[str]:
        """The pipeline's own similarities that are asked for."""
        return [name for name in self.columns if name not in self.terms]

    @property
    def any(self) -> bool:
        """Whether samples shall be like anything."""
        return bool(self.columns or self.terms or self.functions)


def as_prompt_list(prompt: str | Sequence[str]) -> list[str]:
    """One prompt or several.

    Raises:
        UserError: there is none, or one that is no sentence.
    """
    several = prompt if isinstance(prompt, (list, tuple)) else [prompt]
    if not several:
        raise UserError("prompt is an empty list; name at least one sentence, or leave it out.")
    for one in several:
        if not isinstance(one, str):
            raise UserError(f"prompt must be a sentence, or a list of sentences, not {one!r}.")
    return list(several)


def with_conditions(similarity: SimilarityArgument) -> list[tuple[TermOrFunction, Pictures | None]]:
    """Each term or function with its condition."""
    if isinstance(similarity, Mapping):
        return list(similarity.items())
    several: Sequence[Any] = similarity if isinstance(similarity, (list, tuple)) else [similarity]
    return [(one, None) for one in several]


def as_tensor(picture: Picture, shape: tuple[int, int, int]) -> Tensor:
    """A picture of any kind in [-1, 1], with this shape (3, H, W).

    Arguments:
        picture: a file, an image of pillow, or a tensor of this shape in [-1, 1].

    Raises:
        UserError: a tensor of another shape or range, or a file that cannot be read.
    """
    if isinstance(picture, Tensor):
        if tuple(picture.shape) != shape:
            raise UserError(
                f"a picture as a tensor must have the shape {shape}, not {tuple(picture.shape)}."
            )
        values = picture.float().cpu()
        if not (values.abs() <= 1 + ROUNDING).all():
            low, high = values.min().item(), values.max().item()
            raise UserError(
                f"a picture as a tensor must have values in [-1, 1], not from {low:g} to {high:g}; "
                "of 8-bit pixels, pixels / 127.5 - 1."
            )
        return values
    if isinstance(picture, Image.Image):
        return pixels(picture, shape[-1])
    if not isinstance(picture, (str, Path)):
        raise UserError(
            f"a picture must be a file, an image of pillow or a tensor, not {picture!r}."
        )
    return load_image(picture, shape[-1])


def as_tensors(pictures: Mapping[str, Picture], shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """{name: picture} as `as_tensor` gives each."""
    return {name: as_tensor(picture, shape) for name, picture in pictures.items()}


def sampled_pictures(
    pictures: Mapping[str, Picture], x: Tensor, autoencoder: Autoencoder | None, latent: bool
) -> dict[str, Tensor]:
    """{name: what a network that is called with x sees of a picture}.

    Arguments:
        latent: whether these are latents, and not images.

    Raises:
        UserError: they are, and the autoencoder is missing.
    """
    if not pictures:
        return {}
    if not latent:
        return as_tensors(pictures, (3, x.shape[-1], x.shape[-1]))
    if autoencoder is None:
        raise UserError(
            "to compare latents with pictures, give the pipeline's autoencoder: "
            "SemanticGuider(…, autoencoder=pipe.vae)."
        )
    side = x.shape[-1] * autoencoder.factor
    encoded = {}
    with torch.no_grad():
        for name, image in as_tensors(pictures, (3, side, side)).items():
            encoded[name] = autoencoder.encode(image[None].to(x.device))[0].cpu()
    return encoded
