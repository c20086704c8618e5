"""Golden cases: what the authors' code computes, stored small.

A case is a folder `<method>/<case>/` of
    case.json        kind, config (constructor arguments), seed, tolerance, notes
    keys.json        [[key, shape, dtype], ...] of the released checkpoint, in its order
    io.safetensors   "in.<name>" inputs, "out.<name>" expected outputs, "buf.<key>" tensors stored as they are

Other weights are not stored. Both sides draw them from the key's name, its shape and the seed.
"""

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file


@dataclass(frozen=True)
class GoldenCase:
    folder: Path
    kind: str
    config: dict
    tolerance: float
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    description: dict

    @classmethod
    def load(cls, folder: Path) -> "GoldenCase":
        description = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "io.safetensors")
        return cls(
            folder,
            description["kind"],
            description["config"],
            description["tolerance"],
            {name[3:]: value for name, value in tensors.items() if name.startswith("in.")},
            {name[4:]: value for name, value in tensors.items() if name.startswith("out.")},
            description,
        )

    def tolerance_of(self, output: str) -> float:
        """The bound on the relative error of one output; some cases give outputs, or "<name>.<i>", one of their own."""
        own = self.description.get("tolerance_by_output") or self.description.get("tolerance_per_output") or {}
        return own.get(output, own.get(output.rpartition(".")[0], self.tolerance))

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """{key: tensor} exactly as the released file holds it."""
        stored = load_file(self.folder / "io.safetensors")
        seed, gain = self.description["seed"], self.description.get("gain", 1.0)
        weights = {}
        for key, shape, dtype in json.loads((self.folder / "keys.json").read_text(encoding="utf-8")):
            weights[key] = stored[f"buf.{key}"] if f"buf.{key}" in stored else drawn(key, shape, dtype, seed, gain)
        container = self.description.get("container")
        aliases = container.get("aliases", {}) if isinstance(container, dict) else {}
        return weights | {alias: weights[key] for alias, key in aliases.items() if key in weights}


def drawn(key: str, shape: list[int], dtype: str, seed: int, gain: float) -> torch.Tensor:
    """The value of one weight. Any change here breaks every stored case: both sides must agree on it."""
    torch_dtype = getattr(torch, dtype)
    if not (torch_dtype.is_floating_point or torch_dtype.is_complex):
        return torch.zeros(shape, dtype=torch_dtype)
    generator = np.random.Generator(np.random.PCG64((seed << 32) + zlib.crc32(key.encode())))
    normal = generator.standard_normal(tuple(shape), dtype=np.float32)
    leaf = key.split(".")[-1]
    if leaf == "running_var":
        value = np.abs(normal) + 0.5
    elif leaf == "running_mean":
        value = normal * 0.1
    elif leaf in ("weight_g", "original0"):  # magnitudes of weight norm
        value = np.abs(normal) * 0.1 + 1.0
    elif len(shape) < 2:
        is_scale = leaf.endswith(("weight", "gamma", "scale", "weight_g", "original0"))
        value = normal * 0.1 + (1.0 if is_scale else 0.0)
    elif shape[0] == 1 or "embed" in key.lower() or "token" in key.lower():
        value = normal * 0.5
    else:  # keep the variance of what passes through
        value = normal * (gain / math.sqrt(max(1, math.prod(shape[1:]))))
    return torch.from_numpy(np.asarray(value, dtype=np.float32).reshape(shape).copy()).to(torch_dtype)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """|actual - expected| / |expected| in float64; infinite when the shapes differ."""
    if actual.shape != expected.shape:
        return math.inf
    dtype = torch.complex128 if expected.is_complex() else torch.float64
    actual, expected = actual.detach().cpu().to(dtype), expected.to(dtype)
    norm = torch.linalg.vector_norm(expected).clamp_min(1e-30)
    return (torch.linalg.vector_norm(actual - expected) / norm).item()
