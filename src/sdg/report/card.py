"""The model card that stands beside every weight file."""

import os
import platform
import time
from pathlib import Path

__all__ = ["processor", "write_card"]

TITLES = {
    "denoiser": "Denoiser: the unconditional diffusion model",
    "clip": "Clean CLIP: image and text tower",
    "clip_noisy": "Noise-aware encoder: the CLIP's image tower, told t",
    "classifier_noisy": "Noise-aware classifier",
    "judge": "Judge: reads the factors off an image; never guides",
}


def write_card(folder: Path, kind: str, command: str, seconds: float, parameters: int, device: str, figures: dict[str, float]) -> Path:
    """Writes `<kind>.md` into a finished training run's folder, from its `config.yaml` and `versions.json`.

    Arguments:
        folder: of the run.
        kind: of the weights.
        command: that was run.
        seconds: of training.
        parameters: number of trained parameters.
        device: that it ran on.
        figures: of the last validation.
    """
    table = "\n".join(f"| {name} | {value:.4g} |" for name, value in figures.items())
    card = folder / f"{kind}.md"
    card.write_text(f"""# {TITLES[kind]}

- command: `{command}`
- parameters: {parameters / 1e6:.2f} M
- hardware: {device}, {seconds / 60:.0f} minutes, {time.strftime("%Y-%m-%d")}

Figures at the end of training, on held-out data:

| figure | value |
|---|---|
{table}

## Config

```yaml
{(folder / "config.yaml").read_text().replace(str(folder), ".").strip()}
```

## Versions

```json
{(folder / "versions.json").read_text().strip()}
```
""")
    return card


def processor() -> str:
    """The processor in words."""
    names = Path("/proc/cpuinfo")
    model = next((line.split(":")[1].strip() for line in names.read_text().splitlines() if line.startswith("model name")), "") if names.is_file() else ""
    return f"{os.cpu_count()} CPU cores ({model or platform.processor() or platform.machine()})"
