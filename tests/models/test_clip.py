"""Both towers on one unit sphere, and the words that the text tower knows."""

import pytest
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from sdg.data.captions import WORDS
from sdg.errors import UserError
from sdg.models.clip import CLIP, Normalise
from sdg.models.tokenizer import WordTokenizer

VISION = {
    "timm_model_name": "resnet_tiny",
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 32,
}
TEXT = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}


def images(n):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return CLIP({"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}, list(WORDS)).eval()


def test_normalisation_is_clips_own_from_minus_one_to_one():
    x = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    mean, std = torch.tensor(OPENAI_DATASET_MEAN), torch.tensor(OPENAI_DATASET_STD)
    expected = torch.stack([(0.0 - mean) / std, (1.0 - mean) / std])
    torch.testing.assert_close(Normalise()(x).flatten(1), expected)


def test_embeddings_of_both_towers_lie_on_one_unit_sphere(clip):
    image = clip.encode_image(images(3))
    text = clip.encode_text(["a red heart", "a ring"])
    assert image.shape == (3, 16) and text.shape == (2, 16)
    torch.testing.assert_close(torch.cat([image, text]).norm(dim=1), torch.ones(5))


def test_clean_encoder_pays_no_heed_to_the_level(clip):
    x = images(2)
    assert torch.equal(clip.encode_image(x, torch.tensor([3, 900])), clip.encode_image(x))


def test_gradient_passes_through_the_normalisation_to_the_image(clip):
    x = images(2).requires_grad_()
    clip.encode_image(x)[:, 0].sum().backward()
    assert x.grad.isfinite().all() and (x.grad.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize(
    "one, other", [("a red heart", "a red ring"), ("a heart on white", "a heart on grey")]
)
def test_last_word_changes_the_embedding(clip, one, other):
    a, b = clip.encode_text([one, other])
    assert (a - b).norm() > 1e-3


def test_embedding_is_read_at_the_end_token_so_padding_does_not_matter(clip):
    with torch.no_grad():
        alone = clip.encode_text(["a red heart"])
        tokens = clip.tokenizer(["a red heart"])
        end = tokens.argmax().item()
        padded = tokens.clone()
        padded[0, end + 1 :] = 1  # other words after the end
        changed = torch.nn.functional.normalize(clip.towers.text(padded), dim=-1)
    assert tokens[0, end] == len(WORDS) + 2 and (tokens[0, end + 1 :] == 0).all()
    torch.testing.assert_close(changed, alone)


def test_sentence_does_not_depend_on_its_batch(clip):
    sentences = ["a red heart", "a small blue ring on white", "circle"]
    with torch.no_grad():
        alone = torch.cat([clip.encode_text([sentence]) for sentence in sentences])
        torch.testing.assert_close(clip.encode_text(sentences), alone, rtol=0, atol=1e-6)


def test_logit_scale_is_at_most_a_hundred():
    clip = CLIP({"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}, ["a"])
    for stored, scale in ((0.0, 1.0), (3.0, 20.0855), (7.0, 100.0)):
        clip.towers.logit_scale.data.fill_(stored)
        assert clip.logit_scale.item() == pytest.approx(scale, rel=1e-4)


def test_config_rebuilds_the_model(clip):
    other = CLIP(**clip.config).eval()
    other.load_state_dict(clip.state_dict())
    assert (
        torch.equal(other.encode_text(["a red heart"]), clip.encode_text(["a red heart"]))
        and other.resolution == 32
    )


# --- words --------------------------------------------------------------------------------------

TOKENIZER = WordTokenizer(["a", "circle", "red"], context_length=5)  # 1 2 3; 4 starts, 5 ends


def test_sentence_becomes_start_words_end_and_padding():
    tokens = TOKENIZER(["a red circle", "red"])
    assert tokens.tolist() == [[4, 1, 3, 2, 5], [4, 3, 5, 0, 0]] and tokens.dtype == torch.int64


def test_case_commas_and_full_stops_do_not_matter():
    assert torch.equal(TOKENIZER(["A  Red, circle."]), TOKENIZER(["a red circle"]))


def test_end_token_is_the_largest_of_every_sentence():
    assert TOKENIZER(["a red circle", "red", "a a"]).argmax(1).tolist() == [4, 2, 3]


def test_unknown_word_is_named_with_its_nearest():
    with pytest.raises(UserError, match=r"'cirle'.*did you mean 'circle'\?.*a circle red"):
        TOKENIZER(["a red cirle"])
    with pytest.raises(UserError, match="'zebra'") as error:
        TOKENIZER(["zebra"])
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize("sentence", ["", "   ", " , . "])
def test_empty_prompt_is_refused(sentence):
    with pytest.raises(UserError, match="empty"):
        TOKENIZER(["a", sentence])


def test_too_long_a_prompt_is_refused_with_both_lengths():
    with pytest.raises(UserError, match="4 words.*at most 3"):
        TOKENIZER(["a red red circle"])
