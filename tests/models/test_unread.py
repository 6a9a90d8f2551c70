"""The end of a sentence that a text tower does not read is named."""

import warnings
from types import SimpleNamespace

import pytest
from open_clip.tokenizer import SimpleTokenizer

from sdg.models.unread import warn_of_unread_words
from sdg.pipeline.deterministic import OneByOne

TOWER = SimpleNamespace(tokenizer=SimpleTokenizer(context_length=6))


@pytest.mark.parametrize("tower", [TOWER, OneByOne(TOWER)])
def test_a_sentence_that_is_cut_is_named_with_what_is_not_read(tower):
    with pytest.warns(UserWarning, match="reads 4 tokens .* the last 2 of .*: 'red hat'"):
        warn_of_unread_words(tower, ["a man with a red hat"])


@pytest.mark.parametrize(
    "tower",
    [TOWER, SimpleNamespace(), SimpleNamespace(tokenizer=None), OneByOne(SimpleNamespace())],
)
def test_nothing_is_said_of_what_is_read_whole_or_by_another_tokenizer(tower):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unread_words(tower, ["a man with a"])
