"""Portraits: the same for a seed, true to their factors, in any style whose options have names."""

import hashlib
import re

import numpy as np
import pytest
import torch

from sdg.app.requested import factors_to_name
from sdg.data.class_names import class_names
from sdg.data.colour_names import basic_colour, skin_tone
from sdg.data.dicebear import definition, render
from sdg.data.dicebear_style import EXAMPLES, DiceBearStyle
from sdg.data.image_set import NoImages
from sdg.data.portrait_factors import CHOICES, FACTORS, HELD_OUT_PAIRS, factors_of, options_of
from sdg.data.portrait_styles import portrait_style, print_credits
from sdg.data.portraits import Portraits
from sdg.data.portraits_data import PortraitsData
from sdg.errors import UserError

SEVERAL = ("avataaars", "micah", "toon-head")
DIGESTS = {  # of the first 16 of seed 0: a training and its cache rely on them
    "images": "b6a988207fe2acd17ac33886d05eeaabf74b174e2b4fb691fa9f2d20bc593d84",
    "choices": "bbfef2d62114a6156d7cd2c9d29103cb483fda296e2cf17079a56fd3188502c2",
    "factors": "f2f4b5b1544c081e2c3c10843b1ab6c8ec84da69356e66193bedac75378a30e2",
    "captions": "fffa2f87c464f5dab3b4c8e9929034afd3603f4d300d0ae02288520c8086124a",
}


def named_exactly(style, row, factors) -> dict[str, set[int]]:
    """What a caption of those factors names: the values of those that are there."""
    there = dict(zip(style.factors, row, strict=True))
    return {factor: {int(there[factor])} for factor in factors if there[factor] >= 0}


def some_names(style, rng) -> list[str]:
    names = list(style.factors)
    return [names[i] for i in rng.permutation(len(names))[: rng.integers(1, len(names) + 1)]]


# --- the curated style --------------------------------------------------------------------------


def test_avataaars_of_a_seed_are_what_a_training_was_begun_on():
    data = Portraits(16, 0)
    captions = "\n".join(data.caption(i, k) for i in range(16) for k in range(4))
    arrays = {"images": data.images, "choices": data.choices, "factors": data.factors}
    digests = {
        name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        for name, array in arrays.items()
    }
    digests["captions"] = hashlib.sha256(captions.encode()).hexdigest()
    assert digests == DIGESTS


def test_the_cache_of_avataaars_keeps_its_name_and_others_have_their_own(tmp_path):
    for style in ("avataaars", "toon-head", ["micah", "toon-head"]):
        images = Portraits(2, 0, 16, str(tmp_path), style=style).images
        assert np.array_equal(images, Portraits(2, 0, 16, str(tmp_path), style=style).images)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert "portraits-1-16px-seed0-2.npy" in names and len(names) == 3
    keys = [portrait_style(style).key for style in ("toon-head", ("micah", "toon-head"))]
    assert {f"portraits-1-{key}-16px-seed0-2.npy" for key in keys} < set(names)


@pytest.mark.parametrize("style", ["avataaars", "toon-head", SEVERAL])
def test_a_data_set_is_a_prefix_of_every_larger_one_and_another_seed_another_one(style):
    small, large = Portraits(40, 3, style=style), Portraits(700, 3, style=style)
    assert np.array_equal(small.choices, large.choices[:40])
    assert np.array_equal(small.factors, large.factors[:40])
    assert small.caption(7, 2) == large.caption(7, 2)
    assert not np.array_equal(Portraits(40, 4, style=style).choices, small.choices)
    assert len({tuple(row) for row in large.choices}) > 690


def test_combinations_show_a_held_out_pair_and_no_other_image_does():
    plain, pairs = Portraits(2000, 0), Portraits(300, 2, combinations=True)
    columns = {name: k for k, name in enumerate(FACTORS)}

    def shows(row, pair) -> bool:
        return all(row[columns[name]] == FACTORS[name].index(value) for name, value in pair)

    def table(rows):
        """Which row shows which held-out pair."""
        return np.array(list(map(pairs_shown, rows)))

    def pairs_shown(row) -> list[bool]:
        return [shows(row, pair) for pair in HELD_OUT_PAIRS]

    assert not table(plain.factors).any()
    seen = table(pairs.factors)
    assert seen.any(1).all() and seen.any(0).all()
    for index in range(20):
        factors = pairs.prompt_factors(index)
        values = pairs.all_named(pairs.caption(index, 0, factors))
        named = {(f, FACTORS[f][v]) for f in factors for v in values[f]}
        assert any(named >= set(pair) for pair in HELD_OUT_PAIRS)


def test_headwear_covers_hair_and_a_colour_needs_what_it_colours():
    rows = Portraits(1000, 1).factors
    column = {name: rows[:, k] for k, name in enumerate(FACTORS)}
    assert ((column["hair"] < 0) == (column["headwear"] >= 0)).all()
    assert ((column["headwear_colour"] >= 0) == (column["headwear"] >= 0)).all()
    hairy = (column["hair"] > 0) | (column["facial_hair"] > 0)
    assert ((column["hair_colour"] >= 0) == hairy).all()


def test_options_are_those_of_the_choices():
    row = Portraits(1, 0).choices[0]
    for choice, value in zip(CHOICES, row, strict=True):
        assert choice.values[value].options.items() <= options_of(row).items()


# --- captions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["avataaars", *EXAMPLES, SEVERAL])
def test_a_caption_names_what_it_should_and_nothing_else(style):
    style, rng = portrait_style(style), np.random.default_rng(0)
    for row in style.factors_of(style.draw(100, rng)):
        factors = some_names(style, rng)
        caption, named = style.describe(row, rng, factors), named_exactly(style, row, factors)
        read = style.all_named(caption)
        if "hair_colour" in named and style.name.startswith("avataaars"):
            read.setdefault("facial_hair", set())  # a beard's colour names the beard too
            named.setdefault("facial_hair", read["facial_hair"])
        if len(style.name.split("+")) > 1 and "artist" not in factors:
            # Another style may give the same words other factors.
            missed = [f for f, values in named.items() if not read.get(f, set()) >= values]
            assert not missed, caption
        else:
            assert read == named, caption
        assert "," not in caption and "  " not in caption and "_" not in caption
        assert not any(f" a {vowel}" in f" {caption}" for vowel in "aeio"), caption
        assert not re.search(" an [bcdfgjklmnpqrstvwxyz]", f" {caption}"), caption


@pytest.mark.parametrize("style", ["avataaars", *EXAMPLES])
def test_every_value_has_a_caption_of_its_own_that_names_it(style):
    style = portrait_style(style)
    for factor, values in style.factors.items():
        captions = [style.zero_shot_caption(factor, value) for value in values]
        assert len(set(captions)) == len(values)
        for index, caption in enumerate(captions):
            assert style.all_named(caption)[factor] == {index}, caption


def test_words_that_a_style_never_uses_are_refused_with_the_nearest():
    style = portrait_style("toon-head")
    with pytest.raises(UserError, match="'spikey', which this data never .* did you mean 'spiky'"):
        style.all_named("a person with spikey hair")
    with pytest.raises(UserError, match="'happy' may be of several parts; write 'happy e"):
        style.all_named("a happy person")
    with pytest.raises(UserError, match="'spikey'.*did you mean 'spiky'"):
        portrait_style("avataaars").all_named("a person with spikey hair")


def test_a_word_of_one_part_alone_needs_no_noun_and_spellings_are_read():
    style = portrait_style("toon-head")
    value = style.factors["hair"].index("spiky")
    assert style.all_named("a spiky person") == {"hair": {value}}
    grey = style.factors["clothes_colour"].index("grey")
    assert style.all_named("gray clothes") == {"clothes_colour": {grey}}
    assert style.all_named("spiky hair without facial hair")["facial_hair"] == {0}


# --- styles from their definitions --------------------------------------------------------------


def shows_factor(choice, factor: str) -> bool:
    return any(factor in value.shows for value in choice.values)


@pytest.mark.parametrize("name", EXAMPLES[:4])
def test_every_factor_that_is_there_is_seen(name):
    """A row and the same row with one factor changed differ in their pixels."""
    style, rng = DiceBearStyle(name), np.random.default_rng(1)
    rows = style.draw(1000, rng)
    before = style.factors_of(rows)
    for k, factor in enumerate(style.factors):
        at = next(j for j, choice in enumerate(style.choices) if shows_factor(choice, factor))
        others = rows.copy()
        others[:, at] = rng.integers(len(style.choices[at].values), size=len(rows))
        after = style.factors_of(others)
        there = (before[:, k] >= 0) & (after[:, k] >= 0) & (before[:, k] != after[:, k])
        pairs = np.flatnonzero(there)[:2]
        assert len(pairs), factor
        images = [style.render(of[pairs], 64).astype(int) for of in (rows, others)]
        changed = (np.abs(images[0] - images[1]).max(-1) > 8).sum((1, 2))
        assert changed.min() >= 4, (factor, before[pairs, k], after[pairs, k])


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_image_is_blank_and_every_value_comes_up(name):
    style = DiceBearStyle(name)
    rows = style.draw(2000, np.random.default_rng(0))
    shown = style.factors_of(rows)
    for column, (factor, values) in zip(shown.T, style.factors.items(), strict=True):
        assert set(column) - {-1} == set(range(len(values))), factor
    assert style.render(rows[:4], 32).reshape(4, -1).std(1).min() > 15
    held_out = style.shows_held_out(shown)
    assert shown[:, list(style.factors).index(style.class_factor)].min() >= 0
    assert len(style.held_out_pairs) >= 5 and 0.02 < held_out.mean() < 0.5


def test_factors_are_those_of_the_definition():
    style, full = DiceBearStyle("toon-head"), definition("toon-head")
    assert set(style.factors["hair"]) == {"bun", "side combed", "spiky", "undercut"}
    assert style.factors["rear_hair"][0] == "none" and "none" not in style.factors["hair"]
    clothes = full["colors"]["clothes"]["values"]
    assert set(style.factors["clothes_colour"]) == set(map(basic_colour, clothes))
    assert "nose" not in DiceBearStyle("micah").factors


def test_what_is_behind_something_else_is_not_there():
    style = DiceBearStyle("voxel-art")
    shown = style.factors_of(style.draw(1000, np.random.default_rng(0)))
    column = {name: shown[:, k] for k, name in enumerate(style.factors)}
    shades = column["glasses"] == style.factors["glasses"].index("shades")
    assert (column["eyes"][shades] == -1).all()
    assert ((column["headwear"] >= 0) != (column["hair"] >= 0)).all()
    assert ((column["headwear_colour"] >= 0) <= (column["headwear"] >= 0)).all()
    assert (column["hair_colour"][column["hair"] <= 0] == -1).all()  # "none" is its first value


@pytest.mark.parametrize(
    "colour, name",
    [
        ("#ff0000", "red"),
        ("#ffa500", "orange"),
        ("#ffff00", "yellow"),
        ("#008000", "green"),
        ("#0000ff", "blue"),
        ("#800080", "purple"),
        ("#ffc0cb", "pink"),
        ("#654321", "brown"),
        ("#000000", "black"),
        ("#808080", "grey"),
        ("#ffffff", "white"),
    ],
)
def test_colours_have_the_name_that_everybody_gives_them(colour, name):
    assert basic_colour(colour) == name


def test_skin_is_named_by_its_lightness():
    tones = [skin_tone(f"#{v:02x}{int(v * 0.8):02x}{int(v * 0.65):02x}") for v in range(40, 256, 5)]
    assert list(dict.fromkeys(tones)) == ["dark", "brown", "tan", "light"]


@pytest.mark.parametrize(
    "style, message",
    [
        ("avatars", "data.style: 'avatars' is none of .* did you mean 'avataaars'"),
        ("thumbs", "data.style=thumbs: .*have no names.*styles that work: toon-head"),
        ([], "data.style is empty"),
        (["micah", "micah"], "has a style twice"),
    ],
)
def test_a_style_that_does_not_serve_is_refused(style, message):
    with pytest.raises(UserError, match=message):
        Portraits(1, 0, style=style)


def test_artist_and_licence_are_printed_once(capsys):
    print_credits.cache_clear()
    for _ in range(2):
        assert len(Portraits(1, 0, 16, style=["avataaars", "micah"]).images) == 1
    said = capsys.readouterr().out
    assert said.count("the style micah by Micah Lanier, licence: CC BY 4.0") == 1
    assert said.count("the style avataaars by Pablo Stanley, licence: Free for") == 1


@pytest.mark.parametrize("style", ["fun-emoji", "micah", "avataaars"])
def test_the_class_of_an_image_is_one_of_those_that_can_be_asked_for(style):
    data = Portraits(24, 0, 16, style=style)
    known = class_names({"_target_": "sdg.data.portraits_data.PortraitsData", "style": style})
    assert {data.class_name(index) for index in range(24)} <= set(known)


# --- several styles -----------------------------------------------------------------------------


def test_several_styles_have_an_artist_and_the_union_of_their_factors():
    data = Portraits(60, 0, 32, style=SEVERAL)
    assert data.attributes["artist"] == SEVERAL and data.class_name(0) in SEVERAL
    parts = [portrait_style(name) for name in SEVERAL]
    assert set(data.attributes) == {"artist"}.union(*(part.factors for part in parts))
    for index, row in enumerate(data.choices[:12]):
        part = parts[row[0]]
        own = row[None, 1 : 1 + len(part.choices)]
        words = dict(zip(part.factors, part.factors_of(own)[0], strict=True))
        for factor, value in zip(data.attributes, data.factors[index], strict=True):
            values = SEVERAL if factor == "artist" else part.factors.get(factor, ())
            mine = row[0] if factor == "artist" else words.get(factor, -1)
            assert (mine < 0) == (value < 0)
            assert mine < 0 or values[mine] == data.attributes[factor][value]
        assert np.array_equal(data.images[index], part.render(own, 32)[0])


def test_the_artist_is_named_in_words_and_read_again():
    style = portrait_style(SEVERAL)
    assert style.all_named("a person in the style of toon-head") == {"artist": {2}}
    spiky = style.factors["hair"].index("spiky")
    assert style.all_named("a person with spiky hair by micah") == {"artist": {1}, "hair": {spiky}}
    with pytest.raises(UserError, match="by 'mica', which this data does not .* mean 'micah'"):
        style.all_named("a person drawn by mica")


# --- new images of wanted factors ---------------------------------------------------------------


@pytest.mark.parametrize("style", ["avataaars", "voxel-art", SEVERAL])
def test_rows_that_match_show_what_is_wanted(style):
    style, rng = portrait_style(style), np.random.default_rng(0)
    for row in style.factors_of(style.draw(40, rng)):
        free = rng.random(len(row)) < rng.random()
        wanted = np.where(free, -1, row)
        shown = style.factors_of(style.matching(wanted, rng)[None])[0]
        assert np.array_equal(shown[wanted >= 0], wanted[wanted >= 0])


def test_matching_images_follow_from_their_key_alone():
    data = Portraits(4, 0, 32)
    wanted = np.where(np.arange(11) < 6, data.factors, -1)
    images = data.render_matching(wanted, [5, 6, 7, 8])
    assert images.shape == (4, 3, 32, 32) and -1 <= images.min() < images.max() <= 1
    assert torch.equal(images[[2]], data.render_matching(wanted[[2]], [7]))
    assert len(data.render_matching(wanted[[0] * 4], range(4)).unique(dim=0)) == 4


@pytest.mark.parametrize("style", ["avataaars", ["avataaars", "micah"]])
def test_hair_under_a_hat_cannot_be_matched(style):
    data = Portraits(1, 0, style=style)
    wanted = np.full(len(data.attributes), -1)
    wanted[list(data.attributes).index("hair")] = data.attributes["hair"].index("curly")
    wanted[list(data.attributes).index("headwear")] = data.attributes["headwear"].index("beanie")
    with pytest.raises(UserError, match="hair=curly, headwear=beanie together"):
        data.render_matching(wanted[None], [0])


# --- items and the data module ------------------------------------------------------------------


def test_items_are_images_factors_and_captions():
    data = Portraits(3, 0, 32, captions=True)
    batch = data.__getitems__([0, 2])
    assert batch["image"].shape == (2, 3, 32, 32) and batch["image"].dtype == torch.float32
    assert torch.equal(batch["factors"], torch.from_numpy(data.factors[[0, 2]]))
    assert len(batch["caption"]) == 2 and np.array_equal(factors_of(data.choices), data.factors)
    assert np.array_equal(data.images[0], render("avataaars", options_of(data.choices[0]), 32))
    with pytest.raises(UserError, match="named must be one of hair"):
        data.caption(0, 0, ["shape"])


def test_hard_negatives_are_wrong_in_one_value_of_what_the_caption_names():
    data = Portraits(50, 0, 16, captions=True, hard_negatives=4)
    data._images = np.zeros((50, 16, 16, 3), np.uint8)
    batch = data.__getitems__(list(range(50)))
    for caption, negatives in zip(batch["caption"], batch["negatives"], strict=True):
        named = data.all_named(caption)
        assert len(negatives) == 4
        for negative in negatives:
            said = data.all_named(negative)
            wrong = [factor for factor in named if factor in said and said[factor] != named[factor]]
            unsaid = set(named) - set(said)  # no beard has no colour
            assert len(wrong) == 1 and unsaid <= {"hair_colour"}, (caption, negative)


def test_the_split_decides_what_sampling_asks_for():
    for split, seed, size in (("held_out", 1, 8), ("combinations", 2, 2)):
        data = PortraitsData(16, size=4, held_out=8, split=split)
        data.setup("predict")
        assert (data.held_out.seed, len(data.held_out)) == (seed, size)
        assert data.held_out.combinations == (split == "combinations")
    training = PortraitsData(16, size=32, held_out=8, split="combinations")
    training.setup("fit")
    assert training.train.seed == 0 and not training.held_out.combinations
    assert training.combinations.combinations and len(training.combinations) == 2
    with pytest.raises(UserError, match="data.split must be one of held_out, combinations"):
        PortraitsData(split="train")


@pytest.mark.parametrize("style", ["avataaars", "toon-head", SEVERAL])
def test_a_caption_names_as_many_factors_as_are_asked_for(style):
    data = Portraits(20, 3, 64, style=style)
    for i in range(20):
        # A colour needs what it colours: "a blond moustache" names both.
        assert 2 <= len(data.all_named(data.caption(i, 0, 2))) <= 3
    assert data.caption(0, 0, 4) == data.caption(0, 0, data.prompt_factors(0))
    with pytest.raises(UserError, match="named must be an integer from 1 to"):
        data.caption(0, 0, 99)


def test_real_images_of_a_prompt_show_no_held_out_pair_unless_it_names_one():
    data = Portraits(4, 5, 64)
    free = np.full((300, len(data.attributes)), -1)
    rows = np.stack([data.matching(wanted, k, False) for k, wanted in enumerate(free)])
    assert not data.style.shows_held_out(data.style.factors_of(rows)).any()
    for factor, value in HELD_OUT_PAIRS[0]:
        free[:, list(data.attributes).index(factor)] = data.attributes[factor].index(value)
    assert data.style.shows_held_out(free).all()
    assert len(data.render_matching(free[:2], [0, 1])) == 2


def test_prompts_name_what_the_config_says_or_what_the_data_would():
    pairs = Portraits(2, 0, combinations=True)
    assert factors_to_name("auto", pairs, 1) == pairs.prompt_factors(1)
    assert len(pairs.prompt_factors(1)) == 2
    assert len(Portraits(2, 0).prompt_factors(1)) == 4
    assert factors_to_name(["hair", "skin"], pairs, 1) == ["hair", "skin"]
    assert (
        factors_to_name(None, pairs, 1) is None and factors_to_name("auto", NoImages(), 1) is None
    )
    with pytest.raises(UserError, match="named must be one of hair.*did you mean 'headwear'"):
        factors_to_name(["headware"], pairs, 1)
