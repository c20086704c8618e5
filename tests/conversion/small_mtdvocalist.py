"""A file of the authors' MTDVocaLiST layout, small."""

import functools
import json
from pathlib import Path

import torch

CASES = Path(__file__).parents[1] / "golden/cases/mtdvocalist"
SMALLER = {16: 2, 32: 3, 64: 4, 128: 6, 200: 8, 600: 24, 800: 16}
JUNK = [
    f"{name}_transformer.{leaf}"
    for name in ("av", "va", "mem")
    for leaf in ("version", "embed_positions._float_tensor")
]
STUDENT = {"channel_order": "rgb", "rescale_factor": 1.0, "resize": "torch"}
TEACHER = {"channel_order": "bgr", "rescale_factor": 1 / 255, "resize": "opencv"}


def keys_of(case: str) -> list[tuple[str, list[int], str]]:
    return json.loads((CASES / case / "keys.json").read_text())


def small_file(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """The student's keys, narrow, with one layer per encoder. What lies there uninitialised is NaN."""
    return {**_small_file(), **changes}


@functools.cache
def _small_file() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape, dtype in keys_of("student_full"):
        if any(f".layers.{layer}." in key for layer in (1, 2, 3)):
            continue
        sizes = [SMALLER.get(size, size) for size in shape]
        if not getattr(torch, dtype).is_floating_point:
            weights[key] = torch.tensor(123)  # training batches
        elif key in JUNK:
            weights[key] = torch.full(sizes, float("nan"))
        else:
            weights[key] = torch.randn(sizes, generator=generator) * 0.3
            if key.endswith("running_var"):
                weights[key] = weights[key].abs() + 0.5
    return weights


def without(*parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in small_file().items() if not any(part in key for part in parts)}


def released(case: str) -> dict[str, dict[str, torch.Tensor]]:
    """A file of full size, without values."""
    shapes = {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in keys_of(case)
    }
    return {"state_dict": shapes}


def windows() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": torch.randint(0, 256, (2, 5, 3, 48, 96), dtype=torch.uint8, generator=generator),
        "input_features": 8 * torch.rand(2, 1, 80, 16, generator=generator) - 4,
    }


@torch.no_grad()
def logits_of(model) -> torch.Tensor:
    return model(**windows()).logits
