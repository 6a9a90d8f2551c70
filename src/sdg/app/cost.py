"""What a sample would cost, in calls of its networks, before a run begins."""

from omegaconf import DictConfig

from sdg.errors import UserError

__all__ = ["check_cost", "cost_note"]

# More calls of networks for one sample are a slip: at 10 ms each, which no denoiser here is below
# on a CPU, it would take three hours.
MOST_CALLS = 10**6
MULTIPLIERS = ("recurrence", "candidates", "draws", "iterations")
# Calls of the denoiser in a step of samplers that make more than one. The class is not asked:
# importing it would import torch, and this is said before.
CALLS_PER_STEP = {"sdg.diffusion.samplers.Heun": 2}
MUCH = 10  # times an ordinary run, from which on it is said


def calls(config: DictConfig) -> tuple[int, int]:
    """Calls of the denoiser and of the similarity for one sample; at most so many.

    Heun's method calls both twice in each step but the last. Every guided step is taken
    `recurrence` times, by each candidate; in it a smoothed similarity has `draws` values, and once
    more in each of `iterations` steps at x̂_0.
    """
    steps = config.sampler.get("steps")
    if config.guidance.get("gamma") == 0 or not isinstance(steps, int):
        return 0, 0

    def count(name: str) -> int:
        value = config.guidance.get(name)
        return value if isinstance(value, int) and value > 0 else 1

    per_step = CALLS_PER_STEP.get(config.sampler.get("_target_"), 1)
    evaluations = (steps - 1) * per_step + 1
    predictions = evaluations * count("recurrence") * count("candidates")
    # Each evaluation is one gradient at x_t; `mu` adds those at x̂_0.
    shifts = count("iterations") if config.guidance.get("mu") else 0
    return predictions * passes(config), predictions * count("draws") * (1 + shifts)


def passes(config: DictConfig) -> int:
    """Calls of a network for one prediction: classifier-free guidance and autoguidance add one."""
    scales = (config.denoiser.get(name) for name in ("guidance_scale", "autoguidance_scale"))
    return 1 + sum(scale not in (None, 1) for scale in scales)


def check_cost(config: DictConfig) -> None:
    """Refuses a run whose every sample would take more than `MOST_CALLS` calls of a network.

    Raises:
        UserError: it would; the message names the setting that asks for most.
    """
    most = max(calls(config))
    if most <= MOST_CALLS:
        return
    sizes = {f"guidance.{name}": config.guidance.get(name) for name in MULTIPLIERS}
    sizes["sampler.steps"] = config.sampler.get("steps")
    if not config.guidance.get("mu"):
        del sizes["guidance.iterations"]
    numbers = {key: value for key, value in sizes.items() if isinstance(value, int)}
    key = max(numbers, key=lambda name: numbers[name])
    raise UserError(
        f"{key}={numbers[key]}: every sample would take {most:,} calls of a network, more than "
        f"the {MOST_CALLS:,} that are allowed (hours for one sample); lower it."
    )


def cost_note(config: DictConfig) -> list[str]:
    """A line on what a run costs that costs much more than an ordinary one."""
    denoiser, similarity = calls(config)
    usual = config.preset.steps
    times = max(denoiser, similarity) / usual
    if times < MUCH:
        return []
    note = (
        f"note: this asks for up to {denoiser:,} calls of the denoiser and {similarity:,} of the "
        f"similarity a sample, about {times:,.0f} times an ordinary run of {usual} steps."
    )
    candidates = config.guidance.get("candidates")
    size = config.batch_size
    if isinstance(candidates, int) and candidates >= MUCH and isinstance(size, int):
        note += f" A batch holds {candidates * size:,} images until they are chosen."
    return [note]
