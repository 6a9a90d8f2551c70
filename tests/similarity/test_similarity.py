"""What alike means: every term against its formula and a gradient written out, and how they add."""

import pytest
import torch
import torch.nn.functional as F

from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.models.stages import Encoded
from sdg.similarity import (
    Class,
    Content,
    Pairs,
    Similarity,
    Structure,
    Style,
    Term,
    Text,
    matched_levels,
)
from sdg.similarity.references import References
from sdg.similarity.style import gram, log_energies

SCHEDULE = Schedule("cosine", 100)
CLASSES = {
    "shape": {"ring": "a ring", "star": "a big star"},
    "colour": {"red": "a red one", "blue": "b", "green": "cc"},
}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Encoder:
    """Linear maps for stages and a fixed matrix for the embedding; notes every pass."""

    calibrated = False

    def __init__(self, logit_scale=20.0):
        self.cosine_scale, self.encoded, self.passes = float(torch.tensor(logit_scale)), [], []
        self.weight, self.mix = normal(12, 5), normal(4, 3, seed=1)

    def encode(self, x, t, stages=()):
        self.passes.append((len(x), t.tolist()))
        mixed = torch.einsum("dc,bchw->bdhw", self.mix.to(x), x)
        return Encoded(
            F.normalize(x.flatten(1) @ self.weight.to(x), dim=-1),
            {name: (k + 1) * mixed for k, name in enumerate(stages)},
        )

    def encode_text(self, sentences):
        self.encoded += sentences
        return F.normalize(
            torch.stack([normal(5, seed=len(sentence)) for sentence in sentences]), dim=-1
        )


def bound(terms, conditions, encoder=None, references=None):
    """sim of a batch; `conditions` gives each sample's targets as {term: [(target, weight), …]}."""
    per_term = {}
    for name in terms:
        per_term[name] = [condition[name] for condition in conditions]
    similarity = Similarity(encoder or Encoder(), terms, torch.arange(100), references)
    return similarity.condition(per_term)


def references(**images):
    return References(
        images or {"a": normal(3, 2, 2, seed=5), "b": normal(3, 2, 2, seed=6)}, SCHEDULE, seed=0
    )


def like(*targets):
    return [(target, 1.0) for target in targets]


# --- text ---------------------------------------------------------------------------------------


def test_text_is_the_weighted_cosine_of_each_image_with_its_own_sentence():
    encoder, x, sentences = Encoder(), normal(3, 3, 2, 2), ["a", "bb", "a"]
    found = bound(
        {"text": Text(encoder, encoder, sentences, weight=7)},
        [{"text": like(s)} for s in sentences],
        encoder,
    )(x, 40)
    text = torch.stack([normal(5, seed=len(sentence)) for sentence in sentences])
    torch.testing.assert_close(found, 7 * F.cosine_similarity(x.flatten(1) @ encoder.weight, text))


def test_gradient_of_a_cosine():
    # ∇cos(z, y) = Wᵀ (y − cos ẑ)/|z| for z = W x and unit y.
    encoder, x = Encoder(), normal(2, 3, 2, 2).requires_grad_()
    similarity = bound(
        {"text": Text(encoder, encoder, ["a"], weight=1)}, [{"text": like("a")}] * 2, encoder
    )
    (found,) = torch.autograd.grad(similarity(x, 40).sum(), x)
    z, y = x.detach().flatten(1) @ encoder.weight, F.normalize(normal(5, seed=1), dim=0)
    unit = F.normalize(z, dim=1)
    expected = ((y - (unit @ y)[:, None] * unit) / z.norm(dim=1, keepdim=True)) @ encoder.weight.T
    torch.testing.assert_close(found.flatten(1), expected)


@pytest.mark.parametrize("weight", [None, 1.0])
def test_negative_captions_turn_the_cosine_into_a_log_probability(weight):
    # With the default weight c: c·cos − log mean_k exp c·cos_k, whose exponentials have mean 1 over
    # the negative captions themselves.
    encoder, x, names = Encoder(logit_scale=4.0), normal(3, 3, 2, 2), ["a", "bb", "ccc", "dddd"]
    cosines = F.normalize(x.flatten(1) @ encoder.weight, dim=1) @ encoder.encode_text(names).T
    every = [
        bound(
            {"text": Text(encoder, encoder, [name], weight, names)},
            [{"text": like(name)}] * 3,
            encoder,
        )(x, 40)
        for name in names
    ]
    expected = 4 * cosines - (4 * cosines).exp().mean(1, keepdim=True).log()
    torch.testing.assert_close(
        torch.stack(every, 1), expected * (1 if weight is None else weight / 4)
    )
    if weight is None:
        torch.testing.assert_close(
            torch.stack(every, 1).exp().mean(1), torch.ones(3, dtype=every[0].dtype)
        )


class Calibrated(Encoder):
    """Embeddings at their own length."""

    calibrated = True

    def encode(self, x, t, stages=()):
        z, seen = x.flatten(1) @ self.weight.to(x), super().encode(x, t, stages)
        return seen._replace(scaled=z)


class Classifier(Encoder):
    """Logits beside the embeddings, of the classes in this order."""

    classes = {factor: tuple(names) for factor, names in CLASSES.items()}

    def encode(self, x, t, stages=()):
        logits = x.flatten(1) @ self.weight.to(x)
        return super().encode(x, t, stages)._replace(logits=logits)


def test_text_of_a_calibrated_encoder_is_the_log_posterior_over_the_bank():
    # z·y − log mean_k exp(z·y_k) for z = W x; ∇ = Wᵀ (y − Σ_k q(k) y_k), q = softmax of z·y_k.
    encoder, x, names = (
        Calibrated(),
        normal(2, 3, 2, 2).requires_grad_(),
        ["a", "bb", "ccc", "dddd"],
    )
    term = Text(encoder, encoder, ["a"], negative_captions=names)
    value = bound({"text": term}, [{"text": like("a")}] * 2, encoder)(x, 40)
    text = F.normalize(torch.stack([normal(5, seed=len(name)) for name in names]), dim=1)
    logits = x.detach().flatten(1) @ encoder.weight @ text.T
    torch.testing.assert_close(value.detach(), logits[:, 0] - logits.exp().mean(1).log())
    (found,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(
        found.flatten(1), (text[0] - logits.softmax(1) @ text) @ encoder.weight.T
    )
    assert term.weight == 1  # γ = 1 is Bayes' rule


def test_of_a_calibrated_encoder_content_is_a_cosine_still_and_classes_compete_by_their_logits():
    encoder, x, others = Calibrated(), normal(2, 3, 2, 2), references()
    found = bound(
        {"content": Content(encoder, 2.0)}, [{"content": like("a")}] * 2, encoder, others
    )(x, 60)
    expected = F.cosine_similarity(
        x.flatten(1) @ encoder.weight, others.at(["a"], 60).flatten(1) @ encoder.weight
    )
    torch.testing.assert_close(found, 2 * expected)

    found = bound(
        {"class": Class(encoder, encoder, CLASSES)}, [{"class": like("star")}] * 2, encoder
    )(x, 60)
    captions = encoder.encode_text(list(CLASSES["shape"].values()))
    torch.testing.assert_close(
        found, (x.flatten(1) @ encoder.weight @ captions.T).log_softmax(1)[:, 1]
    )


def test_text_weight_defaults_to_the_image_encoders_logit_scale():
    image, text = Encoder(logit_scale=31.0), Encoder(logit_scale=3.0)
    assert Text(image, text, ["a"]).weight == 31 and Content(image).weight == 31


def test_every_sentence_is_encoded_once():
    encoder = Encoder()
    similarity = bound(
        {"text": Text(encoder, encoder, ["a", "bb", "a"])},
        [{"text": like(s)} for s in ("bb", "a", "a")],
        encoder,
    )
    for level in (3, 2, 1):
        similarity(normal(3, 3, 2, 2), level)
    assert encoder.encoded == ["a", "bb"]


def test_sentences_that_come_later_are_encoded_when_they_are_asked_for():
    encoder, x, late = Encoder(), normal(2, 3, 2, 2), Text(Encoder(), Encoder(), ["a"])
    conditions = [{"text": like("bb")}, {"text": like("a")}]
    early = bound({"text": Text(encoder, encoder, ["a", "bb"])}, conditions, encoder)(x, 40)
    torch.testing.assert_close(bound({"text": late}, conditions, encoder)(x, 40), early)
    torch.testing.assert_close(bound({"text": late}, conditions, encoder)(x, 40), early)
    assert late.text_encoder.encoded == ["a", "bb"]
    torch.testing.assert_close(
        bound({"text": Text(encoder, encoder)}, conditions, encoder)(x, 40), early
    )


def test_a_target_that_a_term_does_not_know_is_named():
    with pytest.raises(UserError, match="'rong' is none of the targets.*did you mean 'ring'"):
        Pairs([like("rong")], ["ring", "star"])


def test_a_calibrated_encoder_needs_negative_captions():
    with pytest.raises(UserError, match="give negative_captions"):
        Text(Calibrated(), Calibrated(), ["a"])


# --- references ---------------------------------------------------------------------------------


def test_content_is_the_cosine_with_the_reference_noised_to_the_same_level():
    encoder, x, others = Encoder(), normal(2, 3, 2, 2), references()
    found = bound(
        {"content": Content(encoder, 2.0)},
        [{"content": like("b")}, {"content": like("a")}],
        encoder,
        others,
    )(x, 60)
    expected = F.cosine_similarity(
        x.flatten(1) @ encoder.weight, others.at(["b", "a"], 60).flatten(1) @ encoder.weight
    )
    torch.testing.assert_close(found, 2 * expected)


def test_content_of_a_reference_as_it_is():
    encoder, x, others = Encoder(), normal(2, 3, 2, 2), references()
    similarity = bound(
        {"content": Content(encoder, 2.0, noised=False), "style": Style(0.0, ["one"], "log")},
        [{"content": like("b"), "style": like("a")}] * 2,
        encoder,
        others,
    )
    expected = 2 * F.cosine_similarity(
        x.flatten(1) @ encoder.weight, others.at(["b"], -1).flatten(1) @ encoder.weight
    )
    for level in (60, 50):
        torch.testing.assert_close(similarity(x, level), expected)
    # The image as it is passes once, told the least noise there is; the noised ones once a level.
    assert encoder.passes == [
        (2, [60] * 2),
        (2, [0] * 2),
        (2, [60] * 2),
        (2, [50] * 2),
        (2, [50] * 2),
    ]


def test_structure_is_minus_the_mean_square_of_the_difference_and_its_gradient_the_difference():
    encoder, x, others = Encoder(), normal(2, 3, 2, 2).requires_grad_(), references()
    similarity = bound(
        {"structure": Structure(3.0, ["one", "two"], "squared")},
        [{"structure": like("a")}] * 2,
        encoder,
        others,
    )
    difference = torch.einsum("dc,bchw->bdhw", encoder.mix, x.detach() - others.at(["a"], 60))
    value = similarity(x, 60)
    torch.testing.assert_close(
        value.detach(), -3 * (1 + 4) * difference.square().flatten(1).mean(1)
    )
    (found,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(
        found, -3 * (1 + 4) * 2 / 16 * torch.einsum("dc,bdhw->bchw", encoder.mix, difference)
    )


def test_log_form_has_no_unit_and_its_gradient_falls_with_the_distance():
    # −Σ_j log d_j: a stage c times as large adds a constant, and ∇ = −Σ_j ∇d_j/d_j; here both
    # stages have the same ∇d_j/d_j.
    encoder, x, others = Encoder(), normal(2, 3, 2, 2).requires_grad_(), references()
    similarity = bound(
        {"structure": Structure(3.0, ["one", "two"], "log")},
        [{"structure": like("a")}] * 2,
        encoder,
        others,
    )
    difference = torch.einsum("dc,bchw->bdhw", encoder.mix, x.detach() - others.at(["a"], 60))
    d = difference.square().flatten(1).mean(1)
    value = similarity(x, 60)
    torch.testing.assert_close(
        value.detach(), -3 * (2 * d.log() + torch.tensor(4.0, dtype=d.dtype).log())
    )
    (found,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(
        found,
        -3
        * 2
        * 2
        / 16
        * torch.einsum("dc,bdhw->bchw", encoder.mix, difference / d.view(-1, 1, 1, 1)),
    )


def test_log_form_of_the_reference_itself_is_finite():
    x, others = references().at(["a"], -1).clone().requires_grad_(), references()
    value = bound(
        {"structure": Structure(1.0, ["one"], "log")}, [{"structure": like("a")}], references=others
    )(x, -1)
    (found,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all() and not found.any()


def test_gram_is_of_each_image_by_itself_and_forgets_places():
    maps = normal(3, 4, 2, 5)
    for one, whole in zip(maps, gram(maps), strict=True):
        flat = one.reshape(4, 10)
        torch.testing.assert_close(whole, flat @ flat.T / 40)
    shuffled = maps.flatten(2)[:, :, torch.randperm(10, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(gram(shuffled), gram(maps))


def test_style_is_minus_the_mean_square_of_the_difference_of_grams():
    encoder, x, others = Encoder(), normal(2, 3, 2, 2), references()
    found = bound(
        {"style": Style(5.0, "one", "squared")},
        [{"style": like("a")}, {"style": like("b")}],
        encoder,
        others,
    )(x, 60)
    maps = encoder.encode(x, torch.zeros(2), ["one"]).maps["one"]
    theirs = encoder.encode(others.at(["a", "b"], 60), torch.zeros(2), ["one"]).maps["one"]
    torch.testing.assert_close(found, -5 * (gram(maps) - gram(theirs)).square().flatten(1).mean(1))


@pytest.mark.parametrize("form", ["squared", "log"])
def test_gradient_of_style(form):
    # G = F Fᵀ/N is symmetric, so ∇_F mean (G − G')² = 4/(C² N) (G − G') F; in log form that over
    # the mean itself.
    encoder, x, others = Encoder(), normal(2, 3, 2, 2).requires_grad_(), references()
    similarity = bound(
        {"style": Style(5.0, ["one"], form)},
        [{"style": like("a")}, {"style": like("b")}],
        encoder,
        others,
    )
    (found,) = torch.autograd.grad(similarity(x, 60).sum(), x)
    f = torch.einsum("dc,bchw->bdhw", encoder.mix, x.detach())
    difference = gram(f) - gram(
        torch.einsum("dc,bchw->bdhw", encoder.mix, others.at(["a", "b"], 60))
    )
    by_map = 4 / (16 * 16) * (difference @ f.flatten(2)).view_as(f)
    if form == "log":
        by_map = by_map / difference.square().flatten(1).mean(1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, -5 * torch.einsum("dc,bdhw->bchw", encoder.mix, by_map))


def test_gradient_of_style_by_energies():
    # With e_c = Σ F_c²/P and r_c = log(e_c + ε ē): ∂r_c/∂F_k = (1[c = k] + ε/C) 2 F_k / (P (e_c + ε
    # ē)).
    encoder, x, others = Encoder(), normal(2, 3, 2, 2).requires_grad_(), references()
    similarity = bound(
        {"style": Style(5.0, ["one"], "squared", "energies")},
        [{"style": like("a")}, {"style": like("b")}],
        encoder,
        others,
    )
    value = similarity(x, 60)
    (found,) = torch.autograd.grad(value.sum(), x)
    f, theirs = (
        torch.einsum("dc,bchw->bdhw", encoder.mix, image)
        for image in (x.detach(), others.at(["a", "b"], 60))
    )

    def raised_energies(maps):
        energies = maps.square().sum((2, 3)) / 4
        return energies + 0.01 * energies.mean(1, keepdim=True)

    raised, other = raised_energies(f), raised_energies(theirs)
    difference = raised.log() - other.log()
    torch.testing.assert_close(value.detach(), -5 * difference.square().mean(1))
    share = torch.einsum(
        "bc,bck->bk", difference / raised, torch.eye(4, dtype=f.dtype).expand(2, 4, 4) + 0.01 / 4
    )
    by_map = 2 / 4 * share[..., None, None] * 2 / 4 * f
    torch.testing.assert_close(found, -5 * torch.einsum("dc,bdhw->bchw", encoder.mix, by_map))


def test_energies_of_tokens_are_those_of_a_map():
    maps = normal(3, 4, 2, 5)
    e = maps.square().sum((2, 3)) / 10
    expected = (e + 0.01 * e.mean(1, keepdim=True)).log()
    for shaped in (maps, maps.flatten(2)):
        torch.testing.assert_close(log_energies(shaped), expected)


@pytest.mark.parametrize("form", ["cosine", "contrastive"])
def test_gradient_of_class(form):
    # With p_k = softmax_k c·cos(z, y_k): ∇ log p_y = c Σ_k (1[k = y] − p_k) ∇cos(z, y_k).
    encoder, x = Encoder(logit_scale=4.0), normal(2, 3, 2, 2).requires_grad_()
    similarity = bound(
        {"class": Class(encoder, encoder, CLASSES, form)}, [{"class": like("blue")}] * 2, encoder
    )
    (found,) = torch.autograd.grad(similarity(x, 40).sum(), x)
    z = x.detach().flatten(1) @ encoder.weight
    unit, y = F.normalize(z, dim=1), encoder.encode_text(list(CLASSES["colour"].values()))
    of_cosine = (y - (unit @ y.T)[..., None] * unit[:, None]) / z.norm(dim=1)[
        :, None, None
    ]  # (B, K, D)
    target = torch.tensor([0.0, 1.0, 0.0], dtype=z.dtype)
    share = target if form == "cosine" else target - (4 * unit @ y.T).softmax(1)
    expected = 4 * (share.expand(2, 3)[..., None] * of_cosine).sum(1) @ encoder.weight.T
    torch.testing.assert_close(found.flatten(1), expected)


@pytest.mark.parametrize(
    "term",
    [Content(Encoder(), 1.0), Structure(1.0, ["one"], "squared"), Style(1.0, ["one"], "log")],
)
def test_two_references_in_one_batch_give_what_each_alone_gives(term):
    x, conditions = normal(4, 3, 2, 2), [{"it": like(name)} for name in "abba"]
    together = bound({"it": term}, conditions, references=references())(x, 60)
    alone = torch.cat(
        [
            bound({"it": term}, [condition], references=references())(one[None], 60)
            for one, condition in zip(x, conditions, strict=True)
        ]
    )
    torch.testing.assert_close(together, alone)


def test_references_share_one_pass_a_step_and_none_takes_another_for_a_repeated_one():
    encoder = Encoder()
    similarity = bound(
        {"content": Content(encoder), "style": Style(1.0, ["one"], "log")},
        [{"content": like(c), "style": like(s)} for c, s in ("aa", "ab", "ba")],
        encoder,
        references(),
    )
    for level in (60, 60, 50):
        similarity(normal(3, 3, 2, 2), level)
    # Three samples each time; both references together, once for level 60 and once for 50.
    assert encoder.passes == [
        (3, [60] * 3),
        (2, [60] * 2),
        (3, [60] * 3),
        (3, [50] * 3),
        (2, [50] * 2),
    ]


def test_a_references_noise_hangs_on_seed_image_and_level_alone():
    image, other = normal(3, 2, 2).float(), normal(3, 2, 2, seed=1).float()
    one = References({"x": image}, SCHEDULE, 7).noise("x", 30)
    assert torch.equal(References({"y": other, "z": image}, SCHEDULE, 7).noise("z", 30), one)
    for different in (
        References({"x": image}, SCHEDULE, 8).noise("x", 30),
        References({"x": other}, SCHEDULE, 7).noise("x", 30),
        References({"x": image}, SCHEDULE, 7).noise("x", 31),
    ):
        assert not torch.equal(different, one)
    assert torch.equal(References({"x": image}, SCHEDULE, 7).at(["x"], -1)[0], image)


# --- classes ------------------------------------------------------------------------------------


def test_the_three_forms_of_class():
    encoder, x = Encoder(logit_scale=4.0), normal(2, 3, 2, 2)
    cosines = (
        F.normalize(x.flatten(1) @ encoder.weight, dim=1)
        @ encoder.encode_text([c for names in CLASSES.values() for c in names.values()]).T
    )
    conditions = [{"class": like("star")}, {"class": like("green")}]

    def found(form, **options):
        return bound(
            {"class": Class(encoder, encoder, CLASSES, form, **options)}, conditions, encoder
        )(x, 40)

    torch.testing.assert_close(found("cosine"), 4 * torch.stack([cosines[0, 1], cosines[1, 4]]))
    # A class competes with those of its own factor only.
    contrastive = torch.stack(
        [torch.log_softmax(4 * cosines[0, :2], 0)[1], torch.log_softmax(4 * cosines[1, 2:], 0)[2]]
    )
    torch.testing.assert_close(found("contrastive"), contrastive)
    torch.testing.assert_close(found("contrastive", weight=2.0), 2 * contrastive)
    logits = x.flatten(1) @ encoder.weight
    expected = torch.stack(
        [torch.log_softmax(logits[0, :2], 0)[1], torch.log_softmax(logits[1, 2:], 0)[2]]
    )
    with pytest.raises(UserError, match="needs a classifier"):
        found("classifier")
    encoder = Classifier()
    torch.testing.assert_close(found("classifier"), expected)


def test_a_classifiers_logits_are_its_own_classes_in_whatever_order_they_are_given():
    encoder, x = Classifier(), normal(1, 3, 2, 2)
    turned = {
        factor: dict.fromkeys(reversed(list(CLASSES[factor])), "") for factor in reversed(CLASSES)
    }
    conditions = [{"class": like("star")}]

    def log_probability(classes):
        term = Class(encoder, None, classes, "classifier")
        return bound({"class": term}, conditions, encoder)(x, 40)

    torch.testing.assert_close(log_probability(turned), log_probability(CLASSES))
    with pytest.raises(UserError, match="the classifier knows blue, green, red, ring, star, not"):
        log_probability({"shape": {"ring": ""}})
    with pytest.raises(UserError, match="form=contrastive needs a text encoder"):
        Class(encoder, None, CLASSES)


def test_a_class_of_several_factors_is_named_with_its_factor():
    encoder, x = Encoder(logit_scale=4.0), normal(1, 3, 2, 2)
    classes = {
        "hair": {"red": "red hair", "black": "black hair there"},
        "hat": {"red": "a red hat", "none": "no hat at all"},
    }
    term = Class(encoder, encoder, classes)
    captions = [caption for names in classes.values() for caption in names.values()]
    cosines = (F.normalize(x.flatten(1) @ encoder.weight) @ encoder.encode_text(captions).T)[0]
    for name, logits in (("hair: red", cosines[:2]), ("hat: red", cosines[2:])):
        found = bound({"class": term}, [{"class": like(name)}], encoder)(x, 40)
        torch.testing.assert_close(found, torch.log_softmax(4 * logits, 0)[:1])
    with pytest.raises(UserError, match='class \'red\'; write "hair: red" or "hat: red"'):
        bound({"class": term}, [{"class": like("red")}], encoder)


def test_unknown_class_names_the_nearest():
    encoder = Encoder()
    with pytest.raises(UserError, match="no class 'rong', did you mean 'ring'"):
        bound({"class": Class(encoder, encoder, CLASSES)}, [{"class": like("rong")}], encoder)


# --- composition --------------------------------------------------------------------------------


def test_terms_and_weighted_targets_add():
    encoder, x, others = Encoder(), normal(2, 3, 2, 2), references()
    text, content = Text(encoder, encoder, ["a", "bb"], 3.0), Content(encoder, 2.0)
    conditions = [
        {"text": [("a", 1.0), ("bb", -0.5)], "content": [("a", 2.0), ("b", 0.25)]},
        {"text": like("bb"), "content": like("a")},
    ]
    whole = bound({"text": text, "content": content}, conditions, encoder, others)(x, 60)

    def only(name, term, targets, row):
        return bound({name: term}, [{name: targets}], encoder, others)(x[row : row + 1], 60)[0]

    first = (
        only("text", text, like("a"), 0)
        - 0.5 * only("text", text, like("bb"), 0)
        + 2 * only("content", content, like("a"), 0)
        + 0.25 * only("content", content, like("b"), 0)
    )
    second = only("text", text, like("bb"), 1) + only("content", content, like("a"), 1)
    torch.testing.assert_close(whole, torch.stack([first, second]))


def test_one_pass_serves_all_terms_and_a_clean_image_is_told_the_least_noise():
    encoder = Encoder()
    similarity = bound(
        {"text": Text(encoder, encoder, ["a"]), "class": Class(encoder, encoder, CLASSES)},
        [{"text": like("a"), "class": like("red")}],
        encoder,
    )
    similarity(normal(1, 3, 2, 2), 40)
    similarity(normal(1, 3, 2, 2), -1)
    assert encoder.passes == [(1, [40]), (1, [0])]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Structure("x", ["one"], "log"),
        lambda: Style(1.0, [], "log"),
        lambda: Style(1.0, ["one"], "logg"),
        lambda: Style(1.0, ["one"], "log", "grams"),
        lambda: Content(Encoder(), float("nan")),
        lambda: Text(Encoder(), Encoder(), ["a"], True),
    ],
)
def test_impossible_terms_are_refused_by_name(make):
    with pytest.raises(
        UserError,
        match=r"^(weight|stages|form|statistics) (must be|is empty)",
    ):
        make()


def test_the_encoder_is_told_its_own_level_for_the_denoisers():
    encoder = Encoder()
    terms = {"text": Text(encoder, encoder, ["a"]), "content": Content(encoder)}
    similarity = Similarity(encoder, terms, torch.arange(100).flip(0), references()).condition(
        {"text": [like("a")] * 2, "content": [like("b")] * 2}
    )
    for level in (40, 3):
        similarity(normal(2, 3, 2, 2), level)
    assert encoder.passes == [(2, [59, 59]), (1, [59]), (2, [96, 96]), (1, [96])]


# --- levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [None, {"kind": "cosine", "T": 1000}])
def test_clean_encoder_and_own_schedule_keep_the_denoisers_levels(encoder):
    assert torch.equal(matched_levels(Schedule("cosine", 1000), encoder), torch.arange(1000))


def test_encoder_of_another_schedule_is_asked_for_the_same_alpha_bar():
    denoiser, encoder = Schedule("linear", 1000), Schedule("cosine", 4000)
    levels = matched_levels(denoiser, encoder.config)
    asked, found = denoiser.alpha_bar(torch.arange(1000)), encoder.alpha_bar(levels)
    assert (asked - found).abs().max() < 1e-3 and (levels.diff() >= 0).all()


def test_encoder_of_too_coarse_a_schedule_is_refused():
    with pytest.raises(
        UserError,
        match="the encoder's schedule .cosine, T=5. has no level .* the denoiser's schedule has",
    ):
        matched_levels(Schedule("cosine", 1000), {"kind": "cosine", "T": 5})


# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, enabled", [(torch.bfloat16, True), (torch.float16, False)])
def test_the_encoder_runs_in_bfloat16_and_the_terms_in_float32(dtype, enabled):
    seen = []

    class Watched(Encoder):
        def encode(self, x, t, stages=()):
            seen.append(torch.is_autocast_enabled("cpu"))
            z = F.normalize(x.flatten(1) @ self.weight.to(x), dim=-1)
            seen.append(z.dtype)
            return Encoded(z.to(dtype), {})

    encoder, dtypes = Watched(), []

    class Squared(Content):
        def compare(self, x, pairs, references):
            dtypes.extend((x.z.dtype, references.z.dtype, (x.z @ x.z.T).dtype))
            return super().compare(x, pairs, references)

    total = bound({"content": Squared(encoder)}, [{"content": [("a", 1)]}], encoder, references())
    x = normal(1, 3, 2, 2).float().requires_grad_()
    with torch.autocast("cpu", dtype):
        value = total(x, 3)
    assert seen[0::2] == [enabled] * 2 and value.dtype == torch.float32
    assert dtypes == [torch.float32] * 3
    assert torch.autograd.grad(value.sum(), x)[0].dtype == torch.float32


@pytest.mark.parametrize(
    "gives, says",
    [
        (lambda z: z, r"a tensor of shape \(2, 5\); it must give an Encoded\(z, maps\)"),
        (lambda z: (z, {}), "tuple; it must give an Encoded"),
        (lambda z: Encoded(z[:, :, None, None], {}), r"shape \(2, 5, 1, 1\) for 2 inputs"),
        (lambda z: Encoded(z[:1], {}), r"shape \(1, 5\) for 2 inputs; .* shape \(2, D\)"),
        (lambda z: Encoded(50 * z, {}), "an embedding of length 50; it must be 1: torch"),
        (lambda z: Encoded(z[:, :3], {}), "of length 0"),
    ],
)
def test_an_encoder_that_gives_something_else_is_named(gives, says):
    class Own(Encoder):
        def encode(self, x, t, stages=()):
            return gives(super().encode(x, t).z)

    sim = bound({"text": Text(Own(), Own(), ["a ring"])}, [{"text": [("a ring", 1.0)]}] * 2, Own())
    with pytest.raises(UserError, match=f"encoder Own: its encode gave .*{says}"):
        sim(normal(2, 3, 2, 2, seed=3), 5)


def test_an_encoder_without_a_stage_that_it_was_asked_for_is_named():
    class Own(Encoder):
        def encode(self, x, t, stages=()):
            return super().encode(x, t)

    condition = {"style": [("a", 1.0)]}
    sim = bound({"style": Style(1.0, ["s"], "log")}, [condition], Own(), references())
    with pytest.raises(UserError, match="encoder Own: its encode gave no map of 's'"):
        sim(normal(1, 3, 2, 2, seed=3), 5)


@pytest.mark.parametrize("kind", ["text", "cosine", "contrastive"])
def test_encoders_of_two_spaces_are_named(kind):
    class Words(Encoder):
        def encode_text(self, sentences):
            return F.normalize(super().encode_text(sentences)[:, :1], dim=-1)

    classes = {"text": None, "cosine": CLASSES, "contrastive": CLASSES}[kind]
    term = Class(Encoder(), Words(), classes, kind) if classes else Text(Encoder(), Words())
    sim = bound({"it": term}, [{"it": [("ring", 1.0)]}])
    with pytest.raises(UserError, match="Encoder embeds in 5 dim.* text encoder Words in 1; they"):
        sim(normal(1, 3, 2, 2, seed=3), 5)


def test_a_text_encoder_that_gives_something_else_is_named():
    class Words(Encoder):
        def encode_text(self, sentences):
            return [len(sentence) for sentence in sentences]

    with pytest.raises(UserError, match="encoder Words: its encode_text gave list for 1 inputs"):
        Text(Encoder(), Words(), ["a ring"])
    Words.encode_text = lambda self, sentences: torch.full((len(sentences), 5), 2.0)
    with pytest.raises(UserError, match="Words: its encode_text gave an embedding of length 4.47"):
        Text(Encoder(), Words(), ["a ring"])


@pytest.mark.parametrize("weight", ["two", None, float("nan"), float("inf"), True])
def test_a_weight_that_is_no_number_is_refused_where_a_term_of_ones_own_is_made(weight):
    class Own(Term):
        def compare(self, x, pairs, references):
            return x.pixels.mean((1, 2, 3))[pairs.samples]

    with pytest.raises(UserError, match=f"weight must be a finite number, not {weight!r}"):
        Own(weight)
    assert Own(2).weight == 2.0
