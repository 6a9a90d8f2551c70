"""What a call of a pipeline asks for: sentences, pictures, terms and functions of one's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from sdg.data.image import load_image, pixels
from sdg.data.prompts import escape_prompt
from sdg.errors import UserError
from sdg.similarity import Term

__all__ = ["Conditions", "Picture", "Similar", "SimilarityFunction", "as_tensor"]

Picture = str | Path | Image.Image | Tensor
# sim(x, level) of images (B, 3, H, W) in [-1, 1] at one of the denoiser's levels, −1 for clean
# ones: (B,), differentiable in x.
SimilarityFunction = Callable[[Tensor, int], Tensor]
Similar = Term | SimilarityFunction
Similarities = Similar | Sequence[Similar] | Mapping[Term, Picture | str | None]


@dataclass
class Conditions:
    """What all samples of a call shall be like.

    Attributes:
        prompts: the sentences; [None] for none.
        pictures: {similarity: picture}.
        terms: {similarity: term} of one's own.
        words: {similarity: condition} of one's own terms that read words.
        functions: of one's own.
    """

    prompts: list[str | None]
    pictures: dict[str, Picture]
    terms: dict[str, Term] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    functions: list[SimilarityFunction] = field(default_factory=list)

    @classmethod
    def from_arguments(
        cls,
        prompt: str | Sequence[str] | None,
        pictures: Mapping[str, Picture | None],
        similarity: Similarities,
    ) -> "Conditions":
        """From what `Pipeline.__call__` is given.

        Raises:
            UserError: there is no sentence in a list, or no picture for a term by reference.
        """
        prompts: list[str | None] = []
        prompts += [prompt] if isinstance(prompt, str) or prompt is None else prompt
        if not prompts:
            raise UserError("prompt is an empty list; name at least one sentence, or leave it out.")
        given = {name: picture for name, picture in pictures.items() if picture is not None}
        conditions = cls(prompts, given)
        for one, condition in with_conditions(similarity):
            if isinstance(one, Term):
                conditions.add_term(one, condition)
            else:
                conditions.functions.append(one)
        return conditions

    def add_term(self, term: Term, condition: Picture | str | None) -> None:
        """Adds a term of one's own."""
        kind = type(term).__name__
        name = f"{kind} {len(self.terms)}"
        self.terms[name] = term
        if term.by_reference:
            if condition is None:
                raise UserError(f"{kind} compares with a picture: similarity={{term: picture}}.")
            self.pictures[name] = condition
        elif condition is not None:
            self.words[name] = escape_prompt(str(condition))

    @property
    def by_prompt(self) -> list[dict[str, str]]:
        """{similarity: condition} of every prompt; a picture's condition is its similarity."""
        shared = {name: name for name in self.pictures} | self.words
        texts = [{} if prompt is None else {"text": prompt} for prompt in self.prompts]
        return [text | shared for text in texts]


def with_conditions(similarity: Similarities) -> list[tuple[Similar, Picture | str | None]]:
    """Each term or function with its condition."""
    if isinstance(similarity, Mapping):
        return list(similarity.items())
    several = [similarity] if isinstance(similarity, Term) or callable(similarity) else similarity
    return [(one, None) for one in several]


def as_tensor(picture: Picture, shape: tuple[int, int, int]) -> Tensor:
    """A picture of any kind in [-1, 1], with this shape (3, H, W).

    Raises:
        UserError: a tensor of another shape, or a file that cannot be read.
    """
    if isinstance(picture, Tensor):
        if tuple(picture.shape) != shape:
            raise UserError(
                f"a picture as a tensor must have the shape {shape}, not {tuple(picture.shape)}."
            )
        return picture.float().cpu()
    if isinstance(picture, Image.Image):
        return pixels(picture, shape[-1])
    return load_image(picture, shape[-1])
