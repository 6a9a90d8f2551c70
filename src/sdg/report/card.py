"""The model card in every folder of weights."""

import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from torch import nn

__all__ = ["CARD", "below_heading", "heading", "processor", "write_card"]

CARD = "README.md"  # its name on the hub

TITLES = {
    "autoencoder": "Autoencoder: images as latents and back",
    "denoiser": "Denoiser: the diffusion model",
    "clip": "Clean CLIP: image and text tower",
    "clip_noisy": "Noise-aware encoder: E(x_t, t) in the space of a CLIP",
    "clip_text": "Text encoder: sentences into the space of a noise-aware encoder",
    "classifier_noisy": "Noise-aware classifier",
    "judge": "Judge: reads the factors off an image; never guides",
}


USES = {
    "autoencoder": "python train.py denoiser.autoencoder=FOLDER",
    "denoiser": "python sample.py denoiser.weights=FOLDER encoder.weights=… encoder.clip=…",
    "clip": "python train.py encoder=clip_noisy encoder.clip=FOLDER",
    "clip_noisy": "python sample.py encoder.weights=FOLDER encoder.clip=… denoiser.weights=…",
    "clip_text": "python sample.py encoder.weights=… encoder.clip=FOLDER denoiser.weights=…",
    "classifier_noisy": "python sample.py encoder=classifier_noisy encoder.weights=FOLDER "
    "similarity=[class] similarity.class.form=classifier similarity.class.name=…",
    "judge": "python sample.py eval.judge=FOLDER",
}

DIFFUSERS = ("model_index.json", "diffusion_pytorch_model.safetensors")  # one in its folders
AUTOENCODER = """
network = AutoencoderKL.from_pretrained("FOLDER")  # with its scaling_factor and shift_factor"""


def heading(folder: Path, kind: str, config: dict) -> str:
    """How a card begins: what the hub reads, a title, and how to use what lies in the folder.

    Arguments:
        config: the model's.
    """
    if kind not in TITLES:
        return own_heading(kind)
    diffusers = any((folder / name).is_file() for name in DIFFUSERS)
    denoiser = config.get("denoiser", {})
    network = denoiser.get("network", {})
    conditional = bool(network.get("num_class_embeds") or network.get("classes"))
    of_latents = denoiser.get("latents") or config.get("latent_channels")
    latents = " denoiser.autoencoder=…" if of_latents else ""
    imports, pipeline = "", ""
    if kind == "autoencoder" and diffusers:
        imports, pipeline = "from diffusers import AutoencoderKL\n", AUTOENCODER
    elif diffusers:
        imports, pipeline = diffusers_code(config["schedule"]["T"], denoiser.get("patch", 1))
    return f"""---
library_name: {"diffusers" if diffusers else "sdg"}
tags: [semantic-diffusion-guidance, {kind.replace("_", "-")}]
---

# {TITLES[kind]}

`FOLDER` is this folder, or its `owner/name` on the hub:

    {USES[kind]}{" denoiser.label=0" if conditional else ""}{latents}

```python
{imports}from sdg import from_pretrained

model = from_pretrained("FOLDER"{", label=0" if conditional else ""}){pipeline}
```
"""


def own_heading(kind: str) -> str:
    """How the card of a training of one's own begins."""
    return f"""---
library_name: sdg
tags: [{kind.replace("_", "-")}]
---

# {kind}

`FOLDER` is this folder. Its config.json holds the model's config, and its tensors are

```python
from sdg.io.tensors import load_tensors

tensors = load_tensors("FOLDER/model.safetensors")
```
"""


def diffusers_code(T: int, patch: int) -> tuple[str, str]:
    """The imports and the lines that draw unguided samples with diffusers.

    Arguments:
        T: number of steps.
        patch: side of the blocks of pixels that are the network's channels.
    """
    call = f"pipeline(batch_size=4, num_inference_steps={T}"
    if patch == 1:
        imports, module, images = "from diffusers import DDPMPipeline\n", "", f"{call}).images"
    else:
        imports, module = "import diffusers\nimport torch\n", "diffusers."
        blocks = f'torch.from_numpy({call}, output_type="np").images).permute(0, 3, 1, 2)'
        images = f"torch.nn.functional.pixel_shuffle({blocks}, {patch})  # (4, 3, H, W) in [0, 1]"
    pipeline = f"""
pipeline = {module}DDPMPipeline.from_pretrained("FOLDER")  # unguided
images = {images}"""
    return imports, pipeline


HEADING = re.compile(
    r"(---\n.*?\n---\n+)?(# [^\n]*\n)?(\n`FOLDER` is this folder.*?```python\n.*?```\n)?",
    re.DOTALL,
)


def below_heading(card: str) -> str:
    """What a card says below its heading, or below its title if its heading is another's."""
    heading = HEADING.match(card)
    return card[heading.end() :] if heading else card


def write_card(
    folder: Path,
    kind: str,
    model: nn.Module,
    command: str,
    device: str,
    seconds: float | None,
    figures: dict[str, float],
) -> Path:
    """Writes the card of a trained part into its folder.

    It is made from the `config.yaml` and `versions.json` of its run, the folder above.

    Arguments:
        kind: of the part.
        command: that was run.
        device: that it ran on.
        seconds: of training; None where they are not known.
        figures: of the last validation.
    """
    table = "\n".join(f"| {name} | {value:.4g} |" for name, value in figures.items())
    run, card = folder.parent, folder / CARD
    config = (run / "config.yaml").read_text(encoding="utf-8").strip()
    for place, short in (
        (run, "."),
        (Path.cwd(), "."),
        (Path(os.path.expanduser("~")), "~"),
    ):  # of no use to others
        if place != place.parent:  # but the root, which all begin with
            config, command = (
                re.sub(rf"{re.escape(str(place))}(?![\w.-])", short, text)
                for text in (config, command)
            )
    took = "" if seconds is None else f"{seconds / 60:.0f} minutes, "
    model_config: Any = model.config  # every model that can be trained has one
    card.write_text(
        f"""{heading(folder, kind, model_config)}
- command: `{command}`
- parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M
- hardware: {device}, {took}{time.strftime("%Y-%m-%d")}

Figures at the end of training, on held-out data:

| figure | value |
|---|---|
{table}

## Config

```yaml
{config}
```

## Versions

```json
{(run / "versions.json").read_text(encoding="utf-8").strip()}
```
""",
        encoding="utf-8",
    )
    return card


def processor() -> str:
    """The processor in words."""
    file, models = Path("/proc/cpuinfo"), []
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = next(iter(models), "") or platform.processor() or platform.machine()
    return f"{os.cpu_count()} CPU cores ({model})"
