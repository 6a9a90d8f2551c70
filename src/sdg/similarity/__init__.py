"""What is alike: sim(x, y) and its terms, a file each."""

from sdg.similarity.class_ import Class
from sdg.similarity.content import Content
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.run_context import RunContext
from sdg.similarity.similarity import Similarity, matched_levels
from sdg.similarity.structure import Structure
from sdg.similarity.style import Style
from sdg.similarity.term import Pairs, Term
from sdg.similarity.text import Text

__all__ = [
    "Class",
    "Content",
    "NoisyImages",
    "Pairs",
    "RunContext",
    "Similarity",
    "Structure",
    "Style",
    "Term",
    "Text",
    "matched_levels",
]
