"""Files of the authors' AVDiffuSS layout, of any size."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from golden.golden_case import drawn

from avzoo.conversion import convert_checkpoint

CASES = Path(__file__).parents[1] / "golden/cases/avdiffuss"
NETWORKS = ("denoiser", "denoiser_visual_encoder", "score_model", "score_visual_encoder")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
SETTINGS = {  # of the authors' training command, and what else lies beside it
    "backbone_score": "ncsnpp_crossatt",
    "lr": 1e-4,
    "t_eps": 0.03,
    "theta": 1.5,
    "sigma_min": 0.05,
    "sigma_max": 0.5,
    "condition": "post_denoiser",
    "num_frames": 256,
    "window": "hann",
    "spec_factor": 0.33,
    "spec_abs_exponent": 0.5,
    "discriminative": False,
    "—": None,
}


# --- files of the authors' layout, of any size ------------------------------------------------------------------------


def official_network(
    channels: int,
    is_score: bool,
    base: int = 8,
    multipliers: tuple[int, ...] = (1, 4),
    layers: int = 1,
    sizes: tuple[int, ...] = (0, 16),
    inner: int = 16,
    context: int = 8,
    depth: int = 1,
) -> dict[str, list[int]]:
    """{key: shape} of one network without its visual encoder, in the order in which the authors' code builds it."""
    shapes: dict[str, list[int]] = {"output_layer.weight": [2, channels, 1, 1], "output_layer.bias": [2]}
    number = 0

    def add(leaves: dict[str, list[int]]) -> None:
        nonlocal number
        shapes.update({f"all_modules.{number}.{leaf}": shape for leaf, shape in leaves.items()})
        number += 1

    def affine(name: str, *weight: int) -> dict[str, list[int]]:
        return {f"{name}weight": list(weight), f"{name}bias": [weight[0]]}

    def residual(source: int, width: int, resamples: bool = False) -> None:
        add(
            affine("GroupNorm_0.", source)
            | affine("Conv_0.", width, source, 3, 3)
            | affine("Dense_0.", width, 4 * base)
            | affine("GroupNorm_1.", width)
            | affine("Conv_1.", width, width, 3, 3)
            | (affine("Conv_2.", width, source, 1, 1) if source != width or resamples else {})
        )

    def fusion(width: int, size: int) -> None:
        leaves = affine("norm.", width) | affine("proj1.", size, width)
        for layer in range(depth):
            block = f"transformer_blocks.{layer}."
            for name, source in (("attn1.", inner), ("attn2.", context)):
                leaves |= {f"{block}{name}to_q.weight": [inner, size]}
                leaves |= {f"{block}{name}{part}.weight": [inner, source] for part in ("to_k", "to_v")}
                leaves |= affine(f"{block}{name}to_out.0.", size, inner)
            leaves |= affine(f"{block}ff.net.0.proj.", 8 * size, size) | affine(f"{block}ff.net.2.", size, 4 * size)
            for norm in (1, 2, 3):
                leaves |= affine(f"{block}norm{norm}.", size)
        add(leaves | affine("proj2.", width, size))

    add({"W": [base]})
    if is_score:
        add(affine("", 4 * base, 2 * base))
        add(affine("", 4 * base, 4 * base))
    add(affine("", base, channels, 3, 3))
    widths, skips, width = [base * multiplier for multiplier in multipliers], [base], base
    for level, target in enumerate(widths):
        for _ in range(layers):
            residual(width, target)
            width = target
            if sizes[level]:
                fusion(width, sizes[level])
            skips.append(width)
        if level < len(widths) - 1:
            residual(width, width, resamples=True)
            add(affine("Conv_0.", width, channels, 1, 1))
            skips.append(width)
    residual(width, width)
    add(
        affine("GroupNorm_0.", width)
        | {f"NIN_{part}.{leaf}": [width] * (2 if leaf == "W" else 1) for part in range(4) for leaf in "Wb"}
    )
    residual(width, width)
    for level, target in reversed(list(enumerate(widths))):
        for _ in range(layers + 1):
            residual(width + skips.pop(), target)
            width = target
        if sizes[level]:
            fusion(width, sizes[level])
        add(affine("", width))
        add(affine("", channels, width, 3, 3))
        if level:
            residual(width, width, resamples=True)
    return shapes


def official_eyes(width: int, layers: int) -> dict[str, list[int]]:
    """{key: shape} of a visual encoder: the released one's, narrower and with another number of temporal layers."""
    prefix, shapes = "score_net.visual_encoder.", {}
    for key, shape, _ in json.loads((CASES / "visual/keys.json").read_text()):
        key = key.removeprefix(prefix)
        if not key.startswith("visualTCN.net.") or int(key.split(".")[2]) < layers:
            shapes[key] = [size * width // 64 if size in (64, 128) else size for size in shape]
    return shapes


def official_shapes(score_channels: int = 4, context: int = 8, eyes: int = 2, **sizes: Any) -> dict[str, list[int]]:
    shapes = {}
    for network, channels in (("denoiser_net.", 2), ("score_net.", score_channels)):
        own = official_network(channels, network == "score_net.", context=context, **sizes)
        own |= {f"visual_encoder.{key}": shape for key, shape in official_eyes(context, eyes).items()}
        shapes |= {network + key: shape for key, shape in own.items()}
    return shapes


def filled(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, torch.Tensor]:
    kinds = {True: "int64", False: "float32"}
    return {key: drawn(key, shape, kinds["tracked" in key], seed, 1.0) for key, shape in shapes.items()}


@functools.cache
def _small_weights(seed: int) -> dict[str, torch.Tensor]:
    return filled(official_shapes(), seed)


def small_weights(seed: int = 0, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """A flat file of the released layout, narrow: two levels, 8 and 32 channels."""
    return {**_small_weights(seed), **changes}


def without(*parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in small_weights().items() if not any(part in key for part in parts)}


def averages_of(weights: dict[str, torch.Tensor], left_out: str = "\0") -> dict[str, torch.Tensor]:
    """What torch_ema keeps of these weights, with other values."""
    names = [key for key in weights if not key.endswith(STATISTICS) and not key.endswith(left_out)]
    others = small_weights(seed=1)
    return {name: others[name] for name in names}


def container(averages: Any = None, **hyper: Any) -> dict[str, Any]:
    """What Lightning saved, without references to classes."""
    averages = list(averages_of(small_weights()).values()) if averages is None else averages
    return {
        "epoch": 29,
        "global_step": 10,
        "pytorch-lightning_version": "1.8.3",
        "state_dict": small_weights(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"step": 1}}}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {**SETTINGS, **hyper},
        "ema": {"decay": 0.999, "num_updates": 1, "shadow_params": averages, "collected_params": None},
    }


def convert(checkpoint: Any, **config: Any):
    pipe = convert_checkpoint("avdiffuss", checkpoint, config=config)
    pipe.set_progress_bar_config(disable=True)
    return pipe
