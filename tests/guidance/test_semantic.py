"""γ∇sim: where it is evaluated, which level the encoder is told, what is refused; and what the text similarity is."""

import math

import pytest
import torch
import torch.nn.functional as F

from sdg.diffusion.samplers import DDIM, DDPM
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.guidance.semantic import SemanticGuidance, matched_levels, similarity_gradient
from sdg.guidance.similarity import Text, total

EVERY = torch.arange(100)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recording(seen):
    """The similarity −|x|²/2, whose gradient is −x; notes where and at which levels it is asked."""
    def similarity(x, t):
        seen.append((x.detach().clone(), t.tolist()))
        return -x.square().flatten(1).sum(1) / 2
    return similarity


class Encoder:
    """Embeddings by a fixed matrix; counts the sentences that it encodes."""

    def __init__(self, logit_scale=20.0):
        self.logit_scale, self.encoded, self.weight = torch.tensor(logit_scale), [], normal(12, 5)

    def encode_image(self, x, t):
        return F.normalize(x.flatten(1) @ self.weight, dim=-1)

    def encode_text(self, sentences):
        self.encoded += sentences
        return F.normalize(torch.stack([normal(5, seed=len(sentence)) for sentence in sentences]), dim=-1)


@pytest.mark.parametrize("gradient_at, has_mean, where, level", [
    ("mean", True, "mean", 40), ("x_t", True, "x_t", 50), (None, True, "mean", 40), ("x_t", False, "x_t", 50), (None, False, "x_t", 50)])
def test_gradient_is_taken_at_the_point_and_told_its_level(gradient_at, has_mean, where, level):
    seen, points = [], {"x_t": normal(3, 1, 2, 2), "mean": normal(3, 1, 2, 2, seed=1)}
    guide = SemanticGuidance(2.5, gradient_at).guide(recording(seen), EVERY)
    result = guide(points["x_t"], 50, points["mean"] if has_mean else None, 40)
    torch.testing.assert_close(result, -2.5 * points[where])
    ((x, levels),) = seen
    assert torch.equal(x, points[where]) and levels == [level] * 3


def test_encoder_is_told_its_own_level_not_the_denoisers_index():
    seen = []
    guide = SemanticGuidance(1.0).guide(recording(seen), EVERY * 10 + 3)
    guide(normal(2, 1, 2, 2), 50, normal(2, 1, 2, 2), 40)
    assert seen[0][1] == [403, 403]


def test_gradient_of_a_sample_does_not_depend_on_its_batch():
    similarity = lambda x, t: x.sin().flatten(1).prod(1)  # noqa: E731
    x = normal(4, 1, 2, 2)
    together = similarity_gradient(similarity, x, torch.tensor(3))
    alone = torch.cat([similarity_gradient(similarity, one[None], torch.tensor(3)) for one in x])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_gradient_is_taken_in_fp32_whatever_surrounds_it(dtype):
    weight = normal(4, 4)

    def similarity(x, t):
        assert x.dtype == torch.float32
        product = x.flatten(1) @ weight
        assert product.dtype == torch.float32  # autocast would have made it bfloat16
        return product.square().sum(1)
    x = normal(2, 1, 2, 2).to(dtype)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        gradient = similarity_gradient(similarity, x, torch.tensor(0))
    torch.testing.assert_close(gradient.flatten(1), 2 * x.float().flatten(1) @ weight @ weight.T)


def test_gradient_leaves_no_graph_behind():
    x = normal(2, 1, 2, 2).requires_grad_()
    gradient = SemanticGuidance(1.0).guide(recording([]), EVERY)(x, 50, x * 2, 40)
    assert not gradient.requires_grad and x.grad is None


def test_gradient_at_the_mean_is_refused_where_the_sampler_has_no_variance():
    with pytest.raises(UserError, match=r"gradient_at=x_t.*sampler=ddpm"):
        SemanticGuidance(1.0, "mean").check(DDIM(10))
    SemanticGuidance(1.0, "mean").check(DDPM(10))
    for allowed in (SemanticGuidance(1.0), SemanticGuidance(1.0, "x_t"), SemanticGuidance(0.0, "mean")):
        allowed.check(DDIM(10))


@pytest.mark.parametrize("options, knob", [({"gamma": math.inf}, "gamma"), ({"gamma": "5"}, "gamma"), ({"gamma": True}, "gamma"),
                                           ({"gradient_at": "x_s"}, "gradient_at"), ({"recurrence": 0}, "recurrence")])
def test_impossible_guidance_is_refused_by_name(options, knob):
    with pytest.raises(UserError, match=rf"guidance\.{knob}"):
        SemanticGuidance(**options)


# --- levels ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("encoder", [None, {"kind": "cosine", "T": 1000}])
def test_clean_encoder_and_own_schedule_keep_the_denoisers_levels(encoder):
    assert torch.equal(matched_levels(Schedule("cosine", 1000), encoder), torch.arange(1000))


def test_encoder_of_another_schedule_is_asked_for_the_same_alpha_bar():
    denoiser, encoder = Schedule("linear", 1000), Schedule("cosine", 4000)
    levels = matched_levels(denoiser, encoder.config)
    asked, found = denoiser.alpha_bar(torch.arange(1000)), encoder.alpha_bar(levels)
    assert (asked - found).abs().max() < 1e-3 and (levels.diff() >= 0).all()


def test_encoder_of_too_coarse_a_schedule_is_refused():
    with pytest.raises(UserError, match="fine-tune the encoder with the denoiser's schedule"):
        matched_levels(Schedule("cosine", 1000), {"kind": "cosine", "T": 5})


# --- text --------------------------------------------------------------------------------------------------------------------

def test_text_similarity_is_the_weighted_cosine_of_each_image_with_its_own_sentence():
    encoder, x, sentences = Encoder(), normal(3, 3, 2, 2), ["a", "bb", "a"]
    found = Text(encoder, encoder, sentences, weight=7).to(sentences)(x, torch.zeros(3))
    text = torch.stack([normal(5, seed=len(sentence)) for sentence in sentences])
    torch.testing.assert_close(found, 7 * F.cosine_similarity(x.flatten(1) @ encoder.weight, text))


def test_text_weight_defaults_to_the_image_encoders_logit_scale():
    image, text, x = Encoder(logit_scale=31.0), Encoder(logit_scale=3.0), normal(1, 3, 2, 2)
    default, unit = (Text(image, text, ["a"], weight).to(["a"])(x, torch.zeros(1)) for weight in (None, 1.0))
    torch.testing.assert_close(default, 31 * unit)


def test_every_sentence_is_encoded_once():
    encoder = Encoder()
    text = Text(encoder, encoder, ["a", "bb", "a", "bb"])
    for _ in range(3):
        text.to(["bb", "a", "a"])(normal(3, 3, 2, 2), torch.zeros(3))
    assert encoder.encoded == ["a", "bb"]


def test_similarities_add():
    x, t = normal(3, 1, 2, 2), torch.arange(3)
    one, two = (lambda x, t: x.flatten(1).sum(1)), (lambda x, t: t * 10.0)
    torch.testing.assert_close(total([one, two, one])(x, t), 2 * x.flatten(1).sum(1) + 10 * t)
