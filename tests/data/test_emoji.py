"""Emoji as data: which there are, what they look like, what they are called."""

import csv
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from sdg.data.emoji import CLDR, FONTS, Emoji, NamedEmoji, named_emoji
from sdg.data.emoji_data import EmojiData
from sdg.errors import UserError
from sdg.models.registry import load_clip
from sdg.models.tokenizer import WordTokenizer
from sdg.models.words import vocabulary

installed = pytest.mark.skipif(
    not any(Path(font).is_file() for font in FONTS) or not Path(CLDR).is_dir(),
    reason="no colour-emoji font or no CLDR: apt install fonts-noto-color-emoji unicode-cldr-core",
)


@pytest.fixture(scope="module")
def cldr(tmp_path_factory):
    """A CLDR of a few words."""
    folder = tmp_path_factory.mktemp("cldr")
    said = {
        "annotations": {
            "😀": ("grinning face", "face | grin | grinning face"),
            "🐍": ("snake", "bearer | snake"),
            "∞": ("infinity", "infinity"),
            "👋": ("waving hand", "hand"),
        },
        "annotationsDerived": {
            "👋🏿": ("waving hand: dark skin tone", "dark skin tone | hand"),
            "👋🏻": ("waving hand: light skin tone", "hand"),
            "🧑‍🚀": ("astronaut", "rocket"),
        },
    }
    for part, annotations in said.items():
        (folder / part).mkdir()
        (folder / part / "en.xml").write_text(
            "<ldml><annotations>"
            + "".join(
                f'<annotation cp="{text}">{keywords}</annotation><annotation cp="{text}" '
                f'type="tts">{name}</annotation>'
                for text, (name, keywords) in annotations.items()
            )
            + "</annotations></ldml>"
        )
    return str(folder)


def test_a_font_without_colour_is_refused(cldr):
    plain = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    with pytest.raises(UserError, match="DejaVuSans.ttf draws no emoji in colour"):
        Emoji(16, font=str(plain), cldr=cldr)


def test_names_and_keywords_become_captions(cldr):
    found = {emoji.name: emoji for emoji in named_emoji(Path(cldr))}
    assert found["grinning face"].captions() == [
        "grinning face",
        "face",
        "grin",
        "grinning face, face, grin",
    ]
    assert found["infinity"].captions() == ["infinity"]
    assert found["waving hand: dark skin tone"].base == found["waving hand"].base == "waving hand"
    toned = [
        NamedEmoji("", name, ()).base
        for name in (
            "women holding hands: light skin tone, dark skin tone",
            "kiss: man, man, dark skin tone",
            "man: dark skin tone, beard",
            "man: beard",
        )
    ]
    assert toned == ["women holding hands", "kiss, man, man", "man, beard", "man, beard"]


@installed
def test_the_font_draws_emoji_whole_and_no_letters(cldr, tmp_path):
    emoji = Emoji(32, cldr=cldr, cache=str(tmp_path))
    assert [one.name for one in emoji.emoji] == [
        "grinning face",
        "snake",
        "waving hand",
        "waving hand: dark skin tone",
        "waving hand: light skin tone",
        "astronaut",
    ]
    face, snake = emoji[0]["image"], emoji[1]["image"]
    assert face.shape == (3, 32, 32) and face.dtype == torch.float32
    for image in (face, snake):  # white around, colour within
        torch.testing.assert_close(image[:, [0, 0, -1, -1], [0, -1, 0, -1]], torch.ones(3, 4))
    assert face[0, 16, 10] > 0.8 and face[2, 16, 10] < 0.2  # yellow
    assert snake[1].mean() > snake[0].mean() > snake[2].mean()  # green
    dark, light = (emoji[i]["image"].mean() for i in (3, 4))
    assert dark < light
    again = Emoji(32, cldr=cldr, cache=str(tmp_path))
    assert isinstance(again.images, np.memmap) and np.array_equal(
        again.images, Emoji(32, cldr=cldr).images
    )


@installed
def test_a_batch_brings_any_caption_and_mirrors_every_other_picture(cldr):
    emoji = Emoji(32, captions=True, flip=True, cldr=cldr)
    torch.manual_seed(0)
    batch = emoji.__getitems__([0] * 200)
    counts = {caption: batch["caption"].count(caption) for caption in set(batch["caption"])}
    assert (
        set(counts) == {"grinning face", "face", "grin", "grinning face, face, grin"}
        and 70 < counts["grinning face"] < 130
    )
    plain = emoji.plain()[0]["image"]
    same, mirrored = (
        (batch["image"] == image).flatten(1).all(1) for image in (plain, plain.flip(2))
    )
    assert (same | mirrored).all() and 70 < int(mirrored.sum()) < 130


def bases(part) -> set[str]:
    """The emoji of a part, without their tones of skin."""
    return {part.dataset.emoji[i].base for i in part.indices}


@installed
def test_tones_of_skin_stand_on_one_side(cldr):
    for share in (0.2, 0.4, 0.5):
        data = EmojiData(32, share, cldr=cldr)
        assert not bases(data.train) & bases(data.held_out)
        assert len(data.train) + len(data.held_out) == 6
    assert data.held_out.caption(0) in {emoji.name for emoji in data.images.emoji}
    assert not data.held_out.classes


@installed
def test_emoji_train_and_are_drawn(cldr, tiny, run, tmp_path):
    data = ["data=emoji", f"data.cldr={cldr}", "data.cache=null", "data.resolution=32"]
    run(
        "train.py",
        "encoder=clip",
        *data,
        "data.batch_size=2",
        "trainer.max_steps=1",
        "logger=none",
        f"hydra.run.dir={tmp_path}/clip",
    )
    assert "snake" in load_clip(tmp_path / "clip" / "clip").config["words"]
    kept = [option for option in tiny if not option.startswith(("data.", "num_samples"))]
    run(
        "sample.py",
        *kept,
        *data,
        "data.held_out=0.5",
        "num_samples=2",
        "guidance.gamma=0",
        "eval.clip=null",
    )
    held_out = EmojiData(32, 0.5, cldr=cldr).held_out
    assert [row["prompt"] for row in csv.DictReader((tmp_path / "run" / "samples.csv").open())] == [
        held_out.caption(0),
        held_out.caption(1),
    ]


@installed
@pytest.mark.slow
def test_debians_font_draws_more_than_three_thousand_and_a_tokenizer_takes_their_captions(tmp_path):
    emoji = Emoji(16, cache=str(tmp_path))
    captions = [caption for i in range(len(emoji)) for caption in emoji.captions_of(i)]
    assert len(emoji) > 3000 and len(WordTokenizer(vocabulary(captions), 20)(captions)) == len(
        captions
    )


def test_what_is_missing_is_said_with_the_remedy(tmp_path, cldr, monkeypatch):
    with pytest.raises(UserError, match="data.font: there is no file /nowhere.ttf"):
        Emoji(32, font="/nowhere.ttf", cldr=cldr)
    (tmp_path / "no.ttf").write_bytes(b"no font")
    with pytest.raises(UserError, match="is no font that can be opened"):
        Emoji(32, font=str(tmp_path / "no.ttf"), cldr=cldr)
    monkeypatch.setattr("sdg.data.emoji.FONTS", ())
    with pytest.raises(UserError, match="apt install fonts-noto-color-emoji"):
        Emoji(32, cldr=cldr)
    with pytest.raises(UserError, match="apt install unicode-cldr-core"):
        named_emoji(tmp_path)
