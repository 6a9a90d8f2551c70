"""Semantic guidance against every training-free method at equal FLOPs per sample, each with the same number of tuning trials.

A method's number of steps is the one at which its sample costs what a sample of `guidance=sdg` does. Its γ is the best of `TRIALS` on
captions that the comparison does not use.

    python benchmarks/methods.py FOLDER [steps of sdg=50] [prompts=32] [samples of each=64]
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRIALS = {  # γ tried, from weak to strong; the same number for each
    "sdg": (2, 5, 10, 20, 50), "dps": (2, 5, 10, 20, 50), "lgd": (2, 5, 10, 20, 50), "freedom": (0.1, 0.2, 0.4, 0.8, 1.6),
    "universal": (0.5, 1, 2, 5, 10), "mpgd": (1, 2, 5, 10, 20), "tfg": (1, 2, 5, 10, 20),
}
TUNING = {"num_samples": 64, "samples_per_prompt": 2, "offset": 1000}


def sample(folder: Path, **options) -> dict:
    """The figures of `python sample.py`; a run with the same overrides that is there already is not repeated."""
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in options.items()]
    told = folder / "overrides.json"
    if not (folder / "metrics.json").is_file() or not told.is_file() or json.loads(told.read_text()) != overrides:
        subprocess.run([sys.executable, "sample.py", *overrides, f"hydra.run.dir={folder}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        told.write_text(json.dumps(overrides))
    return json.loads((folder / "metrics.json").read_text())


def affordable_steps(folder: Path, method: str, budget: float) -> int:
    """Steps at which a sample costs at most `budget` FLOPs, from the costs of two short runs, which differ by guided steps only."""
    few, more = (sample(folder / f"{method}-cost-{steps}", guidance=method, sampler__steps=steps, num_samples=1)["cost_per_sample"]["flops"] for steps in (3, 13))
    return max(2, int(13 + (budget - more) / ((more - few) / 10)))


def main(folder: str, steps: int = 50, prompts: int = 32, each: int = 64) -> None:
    folder = Path(folder).resolve()
    budget = sample(folder / "budget", sampler__steps=steps, num_samples=1)["cost_per_sample"]["flops"]
    lines = []
    for method, gammas in TRIALS.items():
        n = affordable_steps(folder, method, budget)
        trials = {gamma: sample(folder / f"{method}-tune-{gamma}", guidance=method, sampler__steps=n, guidance__gamma=gamma, **TUNING) for gamma in gammas}
        gamma = max(trials, key=lambda g: (trials[g]["alignment"]["all"], trials[g]["similarity"]))
        lines.append((method, n, gamma, sample(folder / method, guidance=method, sampler__steps=n, guidance__gamma=gamma, num_samples=prompts * each, samples_per_prompt=each)))
    lines.append(("unguided", steps, 0, sample(folder / "unguided", sampler__steps=steps, guidance__gamma=0, num_samples=prompts * each, samples_per_prompt=each)))
    table = ["| method | steps | γ | shape | colour | pattern | background | all | 95 % interval | kernel distance | diversity | GFLOPs | s | peak MB |", "|---" * 14 + "|"]
    for method, n, gamma, m in lines:
        shares = " | ".join(f"{m['alignment'][f]:.2f}" for f in ("shape", "colour", "pattern", "background", "all"))
        low, high = m["alignment_all_interval"]
        kernel = f"{m['kernel_judge'][0]:.3f} ± {m['kernel_judge'][1]:.3f}" if m["kernel_judge"] else ""
        cost = m["cost_per_sample"]
        table.append(f"| {method} | {n} | {gamma} | {shares} | {low:.2f}–{high:.2f} | {kernel} | {m['diversity_judge']:.2f} | {cost['flops'] / 1e9:.0f} | {m['seconds_per_sample']:.2f} | {cost['peak_memory'] / 1e6:.0f} |")
    (folder / "methods.md").write_text("\n".join(table) + "\n")
    print("\n".join(table), f"\nresults: {folder}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
