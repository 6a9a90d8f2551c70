"""Sentences about the shapes can be read back."""

from itertools import chain, combinations

import numpy as np
import pytest

from sdg.data.captions import FACTORS, MEANING, WORDS, describe, named_factors
from sdg.errors import UserError

NAMES = list(FACTORS)
SUBSETS = list(chain.from_iterable(combinations(NAMES, k) for k in range(6)))


def some(n):
    """Random rows of factor indices."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(len(values), size=n) for values in FACTORS.values()], 1)


@pytest.mark.parametrize("named", SUBSETS, ids=lambda names: "+".join(names) or "nothing")
def test_caption_can_be_read_back_for_every_choice_of_named_factors(named):
    rng = np.random.default_rng(len(named))
    for row in some(40):
        caption = describe(row, rng, list(named))
        assert named_factors(caption) == {name: row[NAMES.index(name)] for name in named}, caption


def test_caption_can_be_read_back_when_chance_names_the_factors():
    rng, counts, numbers = np.random.default_rng(0), np.zeros(5), np.zeros(5)
    for row in some(600):
        caption = describe(row, rng)
        found = named_factors(caption)
        assert found and all(row[NAMES.index(name)] == value for name, value in found.items()), (
            caption
        )
        counts += [name in found for name in NAMES]
        numbers[len(found) - 1] += 1
    assert (np.abs(counts / 600 - 0.6) < 0.08).all()  # (1 + 2 + 3 + 4 + 5) / 5 of five
    assert (np.abs(numbers / 600 - 0.2) < 0.08).all()


def test_captions_use_an_before_a_vowel_only():
    rng = np.random.default_rng(0)
    for row in some(300):
        words = describe(row, rng).split()
        for article, word in zip(words, words[1:], strict=False):
            assert article not in ("a", "an") or (article == "an") == (word[0] in "aeiou"), words


def test_captions_vary_in_wording():
    rng, row = np.random.default_rng(0), [0, 1, 1, 0, 1]
    assert len({describe(row, rng, NAMES) for _ in range(200)}) > 50


def test_every_word_of_every_caption_is_known_and_every_meaning_used():
    rng, used = np.random.default_rng(0), set()
    for row in some(2000):
        used |= set(describe(row, rng).split())
    assert used <= set(WORDS) and set(MEANING) <= used


@pytest.mark.parametrize(
    "caption, found",
    [
        ("a red heart", {"colour": 0, "shape": 4}),
        ("A Red, HEART.", {"colour": 0, "shape": 4}),
        ("an orange figure", {"colour": 1}),
        ("a disc with dots on gray", {"shape": 0, "pattern": 2, "background": 1}),
        ("a little object", {"size": 0}),
        ("a shape", {}),
    ],
)
def test_sentences_mean_what_they_say(caption, found):
    assert named_factors(caption) == found


def test_unknown_word_is_refused_with_its_nearest():
    with pytest.raises(UserError, match=r"'hart'.*did you mean 'heart'\?"):
        named_factors("a red hart")


def test_contradiction_is_refused_and_repetition_is_not():
    with pytest.raises(UserError, match="two values of colour"):
        named_factors("a red blue heart")
    assert named_factors("a red red heart") == {"colour": 0, "shape": 4}


@pytest.mark.parametrize(
    "caption", ["a red heart!", "a (red) heart", '"a red heart"', "a red, heart.", "A red heart?"]
)
def test_punctuation_is_no_part_of_a_word(caption):
    assert named_factors(caption) == named_factors("a red heart")
