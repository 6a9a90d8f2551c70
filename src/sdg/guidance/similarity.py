"""WHAT is alike: sim(x, y) = Σ_i w_i sim_i(x, y_i), one value per sample, differentiable in x.

Every term compares pairs: a sample may have several sentences or references, each with a weight of its own, negative ones too.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.encoders.stages import Encoded
from sdg.errors import UserError, choice, near, number
from sdg.guidance.references import References

__all__ = ["Class", "Content", "Similarity", "Structure", "Style", "Term", "Text", "gram", "matched_levels"]

CLEAN = -1  # the level of an image without noise
Targets = Sequence[tuple[str, float]]  # what one sample shall be like, each with its weight


class Pairs:
    """Which sample is compared with which target, and how much that counts.

    Arguments:
        wishes: targets and weights of every sample of a batch.
        order: the targets' places.
    """

    def __init__(self, wishes: Sequence[Targets], order: Sequence[str]):
        place = {target: k for k, target in enumerate(order)}
        flat = [(row, place[target], weight) for row, targets in enumerate(wishes) for target, weight in targets]
        self.samples, self.targets = (torch.tensor([pair[k] for pair in flat], dtype=torch.long) for k in (0, 1))
        self.weights, self.batch = torch.tensor([pair[2] for pair in flat]), len(wishes)

    def to(self, device) -> "Pairs":
        self.samples, self.targets, self.weights = self.samples.to(device), self.targets.to(device), self.weights.to(device)
        return self

    def add_up(self, values: Tensor) -> Tensor:
        """Σ of weight · value over the pairs of each sample, (B,), from one value a pair."""
        return torch.zeros(self.batch, device=values.device, dtype=values.dtype).index_add(0, self.samples, self.weights.to(values.dtype) * values)


class Term(ABC):
    """One way of being alike.

    Arguments:
        weight: w.
        stages: whose maps the term reads, by name.
    """

    by_reference = False  # whether its targets are images
    noised = True  # whether it reads them at the level of x, or as they are

    def __init__(self, weight: float, stages: Sequence[str] = ()):
        self.weight, self.stages = weight, tuple(stages)

    @abstractmethod
    def compare(self, x: Encoded, pairs: Pairs, references: Encoded | None) -> Tensor:
        """sim_i of every pair, (P,)."""

    def targets(self, wishes: Sequence[Targets]) -> list[str]:
        """The batch's distinct targets, in the order that `Pairs` numbers them."""
        return list(dict.fromkeys(target for targets in wishes for target, _ in targets))


class Text(Term):
    """cos(E(x, s), E_text(y)), the seed's text guidance (Liu et al. 2022, arXiv 2112.05744, eq. 7), or with rivals y_k

        cos(E(x, s), E_text(y)) − 1/c log mean_k exp(c · cos(E(x, s), E_text(y_k)))

    CLIP's training (van den Oord et al. 2018, arXiv 1807.03748, eq. 5) makes c · cos estimate log p(y | x) − log p(y) up to a term of x
    alone. That term says nothing of y, but its gradient moves x; where the rivals are draws of p(y), what is subtracted is just it.

    Arguments:
        encoder: E, with CLIP's learned `logit_scale` c.
        text_encoder: E_text, with `encode_text(sentences)`; every sentence is encoded once.
        sentences: all that will be asked for.
        weight: w; None takes c, with which γ = 1 is roughly Bayes' rule and the same γ means the same for every encoder.
        rivals: other sentences y_k; none gives the bare cosine.
    """

    def __init__(self, encoder, text_encoder, sentences: Sequence[str], weight: float | None = None, rivals: Sequence[str] = ()):
        self.scale = float(encoder.logit_scale)
        super().__init__(self.scale if weight is None else number("similarity.text.weight", weight))
        self.order = list(dict.fromkeys(sentences))
        with torch.no_grad():
            self.embeddings = text_encoder.encode_text(self.order)
            self.rivals = text_encoder.encode_text(list(rivals)) if rivals else None

    def targets(self, wishes):
        return self.order

    def compare(self, x, pairs, references):
        cosine = (x.z[pairs.samples] * self.embeddings.to(x.z)[pairs.targets]).sum(-1)
        if self.rivals is None:
            return cosine
        mean = (self.scale * x.z @ self.rivals.to(x.z).T).logsumexp(1) - math.log(len(self.rivals))
        return cosine - mean[pairs.samples] / self.scale


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

    @staticmethod
    @abstractmethod
    def read(maps: Tensor) -> Tensor:
        """What is compared of a stage's maps."""

    def compare(self, x, pairs, references):
        d = torch.stack([(self.read(x.maps[name])[pairs.samples] - self.read(references.maps[name])[pairs.targets]).square().flatten(1).mean(1)
                         for name in self.stages])
        return -(d.clamp(min=torch.finfo(d.dtype).tiny).log() if self.form == "log" else d).sum(0)


class Structure(Maps):
    """read = the maps themselves, mean over C, H, W (ibid., eq. 10): keeps layout and pose."""

    name = "structure"

    @staticmethod
    def read(maps):
        return maps


class Style(Maps):
    """read = their Gram matrices, mean over C² (ibid., eq. 11): keeps texture and colour, frees layout."""

    name = "style"

    @staticmethod
    def read(maps):
        return gram(maps)


def gram(maps: Tensor) -> Tensor:
    """G(F) = F Fᵀ/(C·H·W) of each image by itself, (B, C, C), for maps (B, C, H, W) or (B, C, places)."""
    f = maps.flatten(2)
    return f @ f.transpose(1, 2) / (f.shape[1] * f.shape[2])


class Class(Term):
    """A class among those of its factor, in one of three forms.

        cosine        cos(E(x, s), E_text(caption of y))                           (the seed's)
        contrastive   log softmax_k c · cos(E(x, s), E_text(caption_k))
        classifier    log p(y | x_s) of a noisy classifier (Dhariwal & Nichol 2021, arXiv 2105.05233)

    Arguments:
        encoder: E; for `classifier`, one whose embedding is the logits of `encoder.classes`.
        text_encoder: E_text; not for `classifier`.
        classes: {factor: {class: caption}}.
        form: of the three.
        weight: w; None takes the logit scale for `cosine`, else 1, since these are log-probabilities already.
    """

    def __init__(self, encoder, text_encoder, classes: Mapping[str, Mapping[str, str]], form: str = "contrastive", weight: float | None = None):
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
        logits = x.z if self.form == "classifier" else self.scale * x.z @ self.embeddings.to(x.z).T
        factor = self.factor.to(logits.device)
        rivals = torch.where(factor == factor[pairs.targets, None], logits[pairs.samples], -torch.inf)
        return logits[pairs.samples, pairs.targets] - rivals.logsumexp(1)


class Similarity:
    """Σ_i w_i sim_i, from one pass of the encoder over the samples and one, shared, over the references.

    Arguments:
        encoder: E, with `encode(x, t, stages)`.
        terms: {name: term}.
        levels: the encoder's level for each of the denoiser's, integers (T,), matched by ᾱ.
        references: the images that terms refer to.
    """

    def __init__(self, encoder, terms: Mapping[str, Term], levels: Tensor, references: References | None = None):
        self.encoder, self.terms, self.levels, self.references = encoder, dict(terms), levels, references
        self.stages = tuple(dict.fromkeys(stage for term in self.terms.values() for stage in term.stages))

    def encode(self, x: Tensor, level: int) -> Encoded:
        t = self.levels[max(level, 0)].to(x.device).expand(len(x))  # a clean image is told the least noise there is
        return self.encoder.encode(x, t, self.stages)

    def to(self, wishes: Mapping[str, Sequence[Targets]], device="cpu") -> Callable[[Tensor, int], Tensor]:
        """sim(x, y) of a batch: of samples (B, C, H, W) at one of the denoiser's levels, −1 for clean ones.

        Arguments:
            wishes: {term: what each sample shall be like}.
        """
        images = list(dict.fromkeys(target for name, term in self.terms.items() if term.by_reference for target in term.targets(wishes[name])))
        pairs = {name: Pairs(wishes[name], images if term.by_reference else term.targets(wishes[name])).to(device) for name, term in self.terms.items()}
        kept: dict[int, Encoded] = {}

        def references(level: int) -> Encoded:
            if level not in kept:
                for passed in kept.keys() - {CLEAN}:  # a repeated step has the same references, the next one others
                    del kept[passed]
                with torch.no_grad():
                    kept[level] = self.encode(self.references.at(images, level).to(device), level)
            return kept[level]

        def similarity(x: Tensor, level: int) -> Tensor:
            seen = self.encode(x, level)
            return sum(term.weight * pairs[name].add_up(term.compare(
                seen, pairs[name], references(level if term.noised else CLEAN) if term.by_reference else None)) for name, term in self.terms.items())
        return similarity


def matched_levels(denoiser: Schedule, encoder: Mapping | None) -> Tensor:
    """The encoder's level with the same ᾱ, for each of the denoiser's T levels.

    Arguments:
        denoiser: its schedule.
        encoder: config of the encoder's schedule, or None for a clean encoder, which ignores its level.
    """
    every = torch.arange(denoiser.T)
    return every if encoder is None else Schedule(**encoder).match(denoiser.alpha_bar(every).flatten())


def named(key: str, stages) -> tuple[str, ...]:
    """One stage or several."""
    names = (stages,) if isinstance(stages, str) else tuple(stages or ())
    if not names:
        raise UserError(f"{key} is empty; name at least one stage of the encoder.")
    return names
