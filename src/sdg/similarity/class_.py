"""A class among those of its kind."""

from collections.abc import Mapping

import torch

from sdg.errors import UserError, choice, near, number
from sdg.similarity.term import Term, is_calibrated

__all__ = ["Class"]


class Class(Term):
    """A class among those of its factor, in one of three forms.

        cosine       cos(E(x, s), E_text(caption of y))                           (the paper's)
        contrastive  log softmax_k c · cos(E(x, s), E_text(caption_k)),
                     of a calibrated encoder log softmax_k z · E_text(caption_k)
        classifier   log p(y | x_s) of a noisy classifier (Dhariwal & Nichol 2021, arXiv 2105.05233)

    Arguments:
        encoder: E; for `classifier`, one whose embedding is the logits of `encoder.classes`.
        text_encoder: E_text; not for `classifier`.
        classes: {factor: {class: caption}}.
        form: of the three.
        weight: w; None takes the logit scale for `cosine`, else 1, since these are
            log-probabilities already.
    """

    def __init__(
        self,
        encoder,
        text_encoder,
        classes: Mapping[str, Mapping[str, str]],
        form: str = "contrastive",
        weight: float | None = None,
    ):
        self.calibrated = is_calibrated(encoder)
        scale = float(encoder.logit_scale) if form != "classifier" else 1.0
        super().__init__(
            (scale if form == "cosine" else 1.0)
            if weight is None
            else number("similarity.class.weight", weight)
        )
        self.form, self.scale = (
            choice("similarity.class.form", form, ("cosine", "contrastive", "classifier")),
            scale,
        )
        self.order = [name for names in classes.values() for name in names]
        sizes = [len(names) for names in classes.values()]
        # Which factor each class belongs to: a class competes with those of its own factor only.
        self.factor = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        if form != "classifier":
            with torch.no_grad():
                self.embeddings = text_encoder.encode_text(
                    [caption for captions in classes.values() for caption in captions.values()]
                )

    def targets(self, conditions):
        for targets in conditions:
            for target, _ in targets:
                if target not in self.order:
                    raise UserError(
                        "similarity.class.name: there is no class "
                        f"'{target}'{near(target, self.order) or '.'} There are: "
                        f"{', '.join(self.order)}."
                    )
        return self.order

    def compare(self, x, pairs, references):
        if self.form == "cosine":
            return (x.z[pairs.samples] * self.embeddings.to(x.z)[pairs.targets]).sum(-1)
        if self.form == "classifier":
            logits = x.z
        else:
            z = x.scaled if self.calibrated else self.scale * x.z
            logits = z @ self.embeddings.to(z).T
        factor = self.factor.to(logits.device)
        rivals = torch.where(
            factor == factor[pairs.targets, None], logits[pairs.samples], -torch.inf
        )
        return logits[pairs.samples, pairs.targets] - rivals.logsumexp(1)
