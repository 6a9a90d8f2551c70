"""The terms of sim: text, content, structure, style, class. Each opens with its formula."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdg.errors import UserError, choice, near, number
from sdg.similarity.similarity import Term

__all__ = ["Class", "Content", "Structure", "Style", "Text", "gram", "log_energies"]

FLOOR = 0.01  # ε of `log_energies`


class Text(Term):
    """cos(E(x, s), E_text(y)), the seed's text guidance (Liu et al. 2022, arXiv 2112.05744, eq. 7), or with rivals y_k

        cos(E(x, s), E_text(y)) − 1/c log mean_k exp(c · cos(E(x, s), E_text(y_k)))

    CLIP's training (van den Oord et al. 2018, arXiv 1807.03748, eq. 5) makes c · cos estimate log p(y | x) − log p(y) up to a term of x
    alone. That term says nothing of y, but its gradient moves x; where the rivals are draws of p(y), what is subtracted is just it.
    A calibrated encoder's z, at its own length, takes the place of c · E, and the value is its estimate of log p(y | x_s) − log p(y):

        z · E_text(y) − log mean_k exp(z · E_text(y_k))

    Arguments:
        encoder: E, with CLIP's learned `logit_scale` c.
        text_encoder: E_text, with `encode_text(sentences)`; every sentence is encoded once.
        sentences: all that will be asked for.
        weight: w; None takes c, with which γ = 1 is roughly Bayes' rule and the same γ means the same for every encoder; for a
            calibrated one, which has no unit left, None takes 1, and γ = 1 is Bayes' rule.
        rivals: other sentences y_k; none gives the bare cosine.
    """

    def __init__(self, encoder, text_encoder, sentences: Sequence[str], weight: float | None = None, rivals: Sequence[str] = ()):
        self.calibrated = is_calibrated(encoder)
        self.scale = 1.0 if self.calibrated else float(encoder.logit_scale)
        super().__init__(self.scale if weight is None else number("similarity.text.weight", weight))
        self.order = list(dict.fromkeys(sentences))
        with torch.no_grad():
            self.embeddings = text_encoder.encode_text(self.order)
            self.rivals = text_encoder.encode_text(list(rivals)) if rivals else None

    def targets(self, wishes):
        return self.order

    def compare(self, x, pairs, references):
        z = x.scaled if self.calibrated else x.z
        value = (z[pairs.samples] * self.embeddings.to(z)[pairs.targets]).sum(-1)
        if self.rivals is None:
            return value
        mean = (self.scale * z @ self.rivals.to(z).T).logsumexp(1) - math.log(len(self.rivals))
        return value - mean[pairs.samples] / self.scale


class Content(Term):
    """cos(E(x, s), E(x'_s, s)), x'_s = the reference noised to the same level (ibid., eq. 9); or cos(E(x, s), E(x', 0)).

    The second is what the encoder was trained to find, E(x_t, t) ≈ E(x_0): the reference's own noise blurs nothing.

    Arguments:
        encoder: E; gives the default weight.
        weight: w; None takes the encoder's logit scale.
        noised: the first, else the second.
    """

    by_reference = True

    def __init__(self, encoder, weight: float | None = None, noised: bool = True):
        super().__init__(float(encoder.logit_scale) if weight is None else number("similarity.content.weight", weight))
        self.noised = choice("similarity.content.noised", noised, (True, False))

    def compare(self, x, pairs, references):
        return (x.z[pairs.samples] * references.z[pairs.targets]).sum(-1)


class Maps(Term):
    """Minus how far what is read off the maps of chosen stages j is from the reference's, in one of two forms.

        squared   −Σ_j d_j,   d_j = mean of (read(E(x, s)_j) − read(E(x'_s, s)_j))²      (the paper's)
        log       −Σ_j log d_j

    The second is, up to a factor, the log-likelihood of a Gaussian around the reference, maximised over its unknown variance. It has no
    unit, so one weight serves every stage and encoder, and its gradient is large near the reference, not far from it, where steps are long.

    Arguments:
        weight: w.
        stages: names.
        form: of the two.
    """

    by_reference, name = True, ""

    def __init__(self, weight: float, stages: Sequence[str], form: str):
        key = f"similarity.{self.name}"
        super().__init__(number(f"{key}.weight", weight), named(f"{key}.stages", stages))
        self.form = choice(f"{key}.form", form, ("squared", "log"))

    @abstractmethod
    def read(self, maps: Tensor) -> Tensor:
        """What is compared of a stage's maps."""

    def compare(self, x, pairs, references):
        d = torch.stack([(self.read(x.maps[name])[pairs.samples] - self.read(references.maps[name])[pairs.targets]).square().flatten(1).mean(1)
                         for name in self.stages])
        return -(d.clamp(min=torch.finfo(d.dtype).tiny).log() if self.form == "log" else d).sum(0)


class Structure(Maps):
    """read = the maps themselves, mean over C, H, W (ibid., eq. 10): keeps layout and pose."""

    name = "structure"

    def read(self, maps):
        return maps


class Style(Maps):
    """Keeps texture and colour, frees layout, by one of two statistics of the maps F.

        gram       read = G(F), mean over C² (ibid., eq. 11)
        energies   read = log(e + ε ē), mean over C, of each channel's energy e_c = mean of F_c² over H, W; ē = mean_c e_c, ε = 0.01

    In the Gram matrix a few strong channels outweigh the others; with the logarithm every channel counts alike.

    Arguments:
        statistics: of the two.
    """

    name = "style"

    def __init__(self, weight: float, stages: Sequence[str], form: str, statistics: str = "gram"):
        super().__init__(weight, stages, form)
        self.statistics = choice("similarity.style.statistics", statistics, ("gram", "energies"))

    def read(self, maps):
        return gram(maps) if self.statistics == "gram" else log_energies(maps)


def log_energies(maps: Tensor) -> Tensor:
    """log(e + ε ē) of each image by itself, (B, C), for maps (B, C, H, W); ε keeps a channel that is all but silent from counting."""
    e = maps.square().mean((2, 3))
    return (e + FLOOR * e.mean(1, keepdim=True)).log()


def gram(maps: Tensor) -> Tensor:
    """G(F) = F Fᵀ/(C·H·W) of each image by itself, (B, C, C), for maps (B, C, H, W) or (B, C, places)."""
    f = maps.flatten(2)
    return f @ f.transpose(1, 2) / (f.shape[1] * f.shape[2])


class Class(Term):
    """A class among those of its factor, in one of three forms.

        cosine        cos(E(x, s), E_text(caption of y))                           (the seed's)
        contrastive   log softmax_k c · cos(E(x, s), E_text(caption_k)), of a calibrated encoder log softmax_k z · E_text(caption_k)
        classifier    log p(y | x_s) of a noisy classifier (Dhariwal & Nichol 2021, arXiv 2105.05233)

    Arguments:
        encoder: E; for `classifier`, one whose embedding is the logits of `encoder.classes`.
        text_encoder: E_text; not for `classifier`.
        classes: {factor: {class: caption}}.
        form: of the three.
        weight: w; None takes the logit scale for `cosine`, else 1, since these are log-probabilities already.
    """

    def __init__(self, encoder, text_encoder, classes: Mapping[str, Mapping[str, str]], form: str = "contrastive", weight: float | None = None):
        self.calibrated = is_calibrated(encoder)
        scale = float(encoder.logit_scale) if form != "classifier" else 1.0
        super().__init__((scale if form == "cosine" else 1.0) if weight is None else number("similarity.class.weight", weight))
        self.form, self.scale = choice("similarity.class.form", form, ("cosine", "contrastive", "classifier")), scale
        self.order = [name for names in classes.values() for name in names]
        sizes = [len(names) for names in classes.values()]
        # Which factor each class belongs to: a class competes with those of its own factor only.
        self.factor = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        if form != "classifier":
            with torch.no_grad():
                self.embeddings = text_encoder.encode_text([caption for captions in classes.values() for caption in captions.values()])

    def targets(self, wishes):
        for targets in wishes:
            for target, _ in targets:
                if target not in self.order:
                    raise UserError(f"similarity.class.name: there is no class '{target}'{near(target, self.order) or '.'} There are: {', '.join(self.order)}.")
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
        rivals = torch.where(factor == factor[pairs.targets, None], logits[pairs.samples], -torch.inf)
        return logits[pairs.samples, pairs.targets] - rivals.logsumexp(1)


def is_calibrated(encoder) -> bool:
    """Whether z · E_text(y) of this encoder is a logit of p(y | x_t); `Encoded.scaled` is there then."""
    return getattr(encoder, "calibrated", False)


def named(key: str, stages) -> tuple[str, ...]:
    """One stage or several."""
    names = (stages,) if isinstance(stages, str) else tuple(stages or ())
    if not names:
        raise UserError(f"{key} is empty; name at least one stage of the encoder.")
    return names
