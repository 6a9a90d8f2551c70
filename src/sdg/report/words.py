"""Figures in words: what each number of `metrics.json` says."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["COLUMNS", "Sentence", "figures_in_words", "report"]

# {} stands for the figure.
SHARES = {
    "alignment": "all named attributes shown in {} of samples",
    "against": "the attributes of negative prompts, all of them, shown in {} of samples",
    "alignment_judge": "by the judge, a trained classifier, all of them shown in {} of samples",
    "judge_ceiling": "the judge reads all these attributes right in {} of real images",
}
SINGLE = {
    "shows": "prompt shown, and the picture without a visible flaw, in {} of samples",
    "shows_real": "the same of real images of these prompts: {}",
    "residual": "median difference to the renderer's nearest picture: {} of the pixels' range",
    "similarity": "mean cosine of sample and prompt, by a CLIP that did not guide: {}",
    "position_spread": "spread of the object's place among samples of one prompt: {} of the side",
    "diversity_lpips": "mean LPIPS between samples of one prompt: {}",
    "seconds_per_sample": "{} seconds a sample",
}
GUIDED_COSINE = "mean cosine of sample and prompt, by the CLIP that guided, which favours them: {}"
READERS = {
    "judge": "in the judge's features",
    "clip": "in CLIP's features",
    "imagenet": "in the features of a network trained on ImageNet",
    "inception": "in Inception's features",
}
KINDS = {
    "frechet": "Fréchet distance to real images",
    "kernel": "kernel distance to real images",
    "precision": "share of samples that lie near real images",
    "recall": "share of real images that lie near samples",
    "diversity": "spread of the samples of one prompt",
}
OF_REAL = {
    "_prompts_real": " of the same prompts, of as many other real images",
    "_prompts": " of the same prompts",
    "_real": ", of as many other real images",
}
SPECIAL = {
    "fid": "FID: {}",
    "kid": "KID: {}",
    "fid_prompts": "FID to real images of the same prompts: {}",
}

# Heads of a sweep's table.
COLUMNS = {
    "all": "all named attributes shown",
    "shows": "prompt shown, no visible flaw",
    "residual": "difference to the renderer",
    "similarity": "cosine to the prompt",
    "mask_iou": "overlap with the reference",
    "seconds_per_sample": "seconds a sample",
    "gflops_per_sample": "GFLOP a sample",
}


class Sentence(NamedTuple):
    """A figure in words, taken apart so that a page can stress the number."""

    before: str
    value: str = ""
    after: str = ""
    interval: str = ""

    def __str__(self) -> str:
        beside = f" ({self.interval})" if self.interval else ""
        return f"{self.before}{self.value}{self.after}{beside}"


def figures_in_words(metrics: Mapping) -> Iterator[Sentence]:
    """The figures of a run, the most telling first; what has no words here is left out."""
    several = metrics["num_prompts"] > 1  # an interval is over prompts: of one there is none
    for name, words in SHARES.items():
        values = metrics.get(name) or {}
        if values.get("all") is not None:
            yield sentence(words, values["all"], several and metrics.get(f"{name}_all_interval"))
        parts = {key: v for key, v in values.items() if key != "all" and v is not None}
        if parts and name != "judge_ceiling":
            yield Sentence(f"each attribute, where a prompt names it: {named_values(parts)}")
    retrieval = metrics.get("retrieval_judge")
    if retrieval and retrieval["among"] > 1:
        among = retrieval["among"]
        words = f"the judge finds the own prompt the likeliest of {among} for {{}} of samples"
        yield sentence(words, retrieval["top1"])
    yield from by_reference(metrics)
    for name in sorted(metrics, key=place):
        value, template = metrics[name], figure_template(name)
        if name == "similarity" and metrics.get("clip_guided"):
            template = GUIDED_COSINE
        if template and value is not None:
            yield sentence(template, value, several and metrics.get(f"{name}_interval"))


def place(name: str) -> int:
    """Where a figure stands: what is said of samples, then distances, then the cost."""
    first = list(SINGLE)
    if name == "seconds_per_sample":
        return len(first) + 1
    return first.index(name) if name in first else len(first)


def figure_template(name: str) -> str | None:
    return SINGLE.get(name) or SPECIAL.get(name) or feature_words(name)


def by_reference(metrics: Mapping) -> Iterator[Sentence]:
    """What samples share with the images that they refer to."""
    for kind, values in (metrics.get("agreement") or {}).items():
        if values:
            yield Sentence(
                f"share of samples that agree with the {kind} reference: {named_values(values)}"
            )
    for kind, value in (metrics.get("mask_iou") or {}).items():
        words = f"outline's overlap (IoU) with that of the {kind} reference: {{}}"
        chance = (metrics.get("mask_iou_random") or {}).get(kind)
        beside = "" if chance is None else f", with another one's {chance:.2f}"
        yield sentence(words + beside, value)


def feature_words(name: str) -> str | None:
    """The words of a figure in some network's features, such as `frechet_judge_real`."""
    kind, _, rest = name.partition("_")
    if kind not in KINDS or rest.endswith("_interval"):
        return None
    ending = next((end for end in OF_REAL if rest.endswith(end)), "")
    reader = READERS.get(rest.removesuffix(ending))
    return reader and f"{KINDS[kind]}{OF_REAL.get(ending, '')}, {reader}: {{}}"


def sentence(words: str, value, interval=None) -> Sentence:
    """One figure; of a pair the second number is a deviation."""
    before, after = words.split("{}")
    beside = ""
    if interval and interval[0] < interval[1]:  # where all prompts are alike it says nothing
        beside = f"95 %: {interval[0]:.2f} to {interval[1]:.2f}"
    if isinstance(value, (list, tuple)):
        value, deviation = value
        beside = f"± {deviation:.2g}"
    return Sentence(before, number(value), after, beside)


def number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def named_values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in values.items())


def report(metrics: Mapping) -> None:
    """Prints the figures in words, a line each."""
    for sentence in figures_in_words(metrics):
        print(sentence)
    for name, value in metrics.get("metrics", {}).items():
        if value is not None:
            print(f"{name}: {value:.3f}")
