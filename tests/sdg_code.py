"""State dicts in the layout of the SDG authors' noisy CLIPs."""

import math

import torch

DEPTHS = {
    "visual_frozen.10": 6,
    "visual_frozen.11": 8,
    "visual_frozen.12": 18,
    "layer4": 8,
}  # RN50x16's


def shapes(width, embedding, size, depths):
    """{name: shape} of their state dict."""
    found = {}

    def norm(name, channels):
        found.update(
            {
                f"{name}.{part}": (channels,)
                for part in ("weight", "bias", "running_mean", "running_var")
            }
            | {f"{name}.num_batches_tracked": ()}
        )

    stem = ((3, width // 2), (width // 2, width // 2), (width // 2, width))
    for place, (inside, outside) in zip((0, 3, 6), stem, strict=True):
        found[f"visual_frozen.{place}.weight"] = (outside, inside, 3, 3)
        norm(f"visual_frozen.{place + 1}", outside)
    modulated, inside = 2 * width, width
    for k, (layer, depth) in enumerate(depths.items()):
        planes = width * 2**k
        for block in range(depth):
            name = f"{layer}.{block}"
            for i, shape in enumerate(
                ((planes, inside, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1)), 1
            ):
                found[f"{name}.conv{i}.weight"] = shape
                norm(f"{name}.bn{i}", shape[0])
            if block == 0:
                found[f"{name}.downsample.0.weight"] = (4 * planes, inside, 1, 1)
                norm(f"{name}.downsample.1", 4 * planes)
            inside = 4 * planes
            modulated += 6 * planes
    found["attn_pool.positional_embedding"] = ((size // 32) ** 2 + 1, inside)
    for part, outside in (
        ("k_proj", inside),
        ("q_proj", inside),
        ("v_proj", inside),
        ("c_proj", embedding),
    ):
        found[f"attn_pool.{part}.weight"], found[f"attn_pool.{part}.bias"] = (
            (outside, inside),
            (outside,),
        )
    for name, shape in (
        ("time_embed.0", (512, 128)),
        ("time_embed.2", (512, 512)),
        ("emb_layers.1", (2 * modulated, 512)),
    ):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]
    return found


def random_weights(*sizes):
    generator = torch.Generator().manual_seed(0)

    def value(name, shape):
        draw = torch.randn(shape, generator=generator)
        if name.endswith("tracked"):
            return torch.tensor(7)
        if len(shape) < 2:
            return (
                1 + 0.2 * draw.abs()
                if name.endswith(("bn1.weight", "bn2.weight", "running_var"))
                else 0.3 + 0.2 * draw
            )
        return draw / math.prod(shape[1:]) ** 0.5 * (0.2 if name.startswith("emb_layers") else 1)

    return {name: value(name, shape) for name, shape in shapes(*sizes).items()}
