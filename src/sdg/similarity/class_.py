"""A class among those of its kind."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sdg.data.class_names import names_in, unknown_class
from sdg.errors import UserError, choice, number
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.encoding import check_spaces, encode_sentences, name_of
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.run_context import RunContext
from sdg.similarity.term import Pairs, Targets, Term

__all__ = ["Class"]

FORMS = ("cosine", "contrastive", "classifier")


class Class(Term):
    """A class among those of its factor, in one of three forms.

        cosine       cos(E(x, s), E_text(caption of y))                           (the paper's)
        contrastive  log softmax_k c · cos(E(x, s), E_text(caption_k)),
                     of a calibrated encoder log softmax_k z · E_text(caption_k)
        classifier   log p(y | x_s) of a noisy classifier (Dhariwal & Nichol 2021, arXiv 2105.05233)

    Arguments:
        encoder: E; for `classifier`, one that gives the logits of `encoder.classes`.
        text_encoder: E_text; not for `classifier`.
        classes: {factor: {class: caption}}, of `classifier` those of the encoder, whose captions
            are not read. A class that several factors have is asked for as "FACTOR: CLASS".
        form: `cosine`, `contrastive` or `classifier`.
        weight: w; None takes the logit scale for `cosine`, else 1, since these are
            log-probabilities already.

    Raises:
        UserError: there is no such form, there is no text encoder, or `classes` are not those that
            the classifier knows.
    """

    condition_option = "name"

    def __init__(
        self,
        encoder: ImageEncoder,
        text_encoder: TextEncoder | None,
        classes: Mapping[str, Mapping[str, str]],
        form: str = "contrastive",
        weight: float | None = None,
    ):
        self.calibrated = encoder.calibrated
        self.form = choice("form", form, FORMS)
        self.scale = 1.0 if form == "classifier" else encoder.cosine_scale
        own_weight = self.scale if form == "cosine" else 1.0
        super().__init__(own_weight if weight is None else number("weight", weight))
        factors: Mapping[str, Collection[str]] = classes
        if form == "classifier":
            factors = getattr(encoder, "classes", {})  # in the order of the logits
            check_known(classes, factors)
        self.order = names_in(factors)
        sizes = [len(names) for names in factors.values()]
        # Which factor each class belongs to: a class competes with those of its own factor only.
        self.factor = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        if form != "classifier":
            if text_encoder is None:
                raise UserError(f"form={form} needs a text encoder; only classifier has none.")
            self.names = name_of(encoder), name_of(text_encoder)
            captions = [caption for names in classes.values() for caption in names.values()]
            with torch.no_grad():
                self.embeddings = encode_sentences(text_encoder, captions)

    @classmethod
    def from_config(  # type: ignore[override]  # a term's own options
        cls, run: RunContext, form: str = "contrastive", weight: float | None = None
    ) -> "Class":
        choice("form", form, FORMS)
        if form == "classifier":
            encoder = run.any_encoder
            if not encoder.classes:
                raise UserError(
                    "similarity.class.form=classifier needs encoder=classifier_noisy, not "
                    f"encoder={run.encoder_name}."
                )
            known = {factor: dict.fromkeys(names, "") for factor, names in encoder.classes.items()}
            term = cls(encoder, None, known, form, weight)
        else:
            encoder, text_encoder = run.image_encoder, run.text_encoder
            if not run.held_out.classes:
                raise UserError(
                    "this data has no classes; use similarity=[text], or data=folder with "
                    "data.labels=folders."
                )
            term = cls(encoder, text_encoder, run.held_out.classes, form, weight)
        term.targets(run.targets)  # says at once which class is unknown
        return term

    def targets(self, conditions: Sequence[Targets]) -> list[str]:
        for targets in conditions:
            for target, _ in targets:
                if target not in self.order:
                    raise unknown_class(target, self.order)
        return self.order

    def compare(self, x: NoisyImages, pairs: Pairs, references: NoisyImages | None) -> Tensor:
        if self.form == "cosine":
            check_spaces(self.names, x.z, self.embeddings)
            return (x.z[pairs.samples] * self.embeddings.to(x.z)[pairs.targets]).sum(-1)
        logits = self.logits(x)
        factor = self.factor.to(logits.device)
        same_factor = factor == factor[pairs.targets, None]
        competing = torch.where(same_factor, logits[pairs.samples], -torch.inf)
        return logits[pairs.samples, pairs.targets] - competing.logsumexp(1)

    def logits(self, x: NoisyImages) -> Tensor:
        """Of all classes, (B, K).

        Raises:
            UserError: the encoder is no classifier, and the form is `classifier`.
        """
        if self.form != "classifier":
            z = x.scaled if self.calibrated else self.scale * x.z
            check_spaces(self.names, z, self.embeddings)
            return z @ self.embeddings.to(z).T
        if x.logits is None:
            raise UserError("form=classifier needs a classifier, whose `encode` gives logits.")
        return x.logits


def check_known(
    classes: Mapping[str, Iterable[str]], known: Mapping[str, Iterable[str]] | None
) -> None:
    """Refuses classes that are not those of the classifier.

    Raises:
        UserError: they are others, or the encoder is no classifier.
    """
    if not known:
        raise UserError("form=classifier needs a classifier, an encoder that has `classes`.")
    given, own = sorted(names_in(classes)), sorted(names_in(known))
    if given != own:
        raise UserError(
            f"classes: the classifier knows {', '.join(own)}, not {', '.join(given) or 'none'}; "
            "give its own, encoder.classes."
        )
