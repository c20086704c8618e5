"""Golden cases: what the authors' code computes, stored small.

A case is a folder `<method>/<case>/` of
    case.json        kind, config (constructor arguments), seed, tolerance, notes, and expectations that are no tensors
    keys.json        [[key, shape, dtype], ...] of the released checkpoint, in its order
    io.safetensors   "in.<name>" inputs, "out.<name>" expected outputs, "buf.<key>" tensors stored as they are; a case
                     of tables or keys alone can do without

Other weights are not stored. Both sides draw them from the key's name, its shape and the seed.

What a case expects (`GoldenCase.outputs`), and under which name its runner gives it:
    <name>                      the tensor "out.<name>"
    expected.<name>             a table of case.json: numbers, text, and lists and dicts of them; likewise values.<name>
                                and statistics.<name>
    text.<name>                 the same, unless "inputs" of case.json describes it
    mapping, not_in_pickle, parameters     the same, under the name of the whole field
    keys                        {key: [shape, dtype]} of a checkpoint, for a case that expects no tensor

How they are compared (`golden_comparison.py`): pixels and numbers with a fraction by the relative error of the tensor,
or of each entry of a table; whole numbers, truth values and text have to be equal. The bound is the case's `tolerance`,
or an output's own in `tolerance_by_output` or `tolerance_per_output`. Where a case asks for another comparison, the
runners of its method hold it in `RULES`.

A runner sees no expected value (`GoldenCase.question`), and a field of case.json that this file does not know is an
error: nothing that a case expects is passed over.
"""

import json
import math
import shutil
import zlib
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

TABLES = ("expected", "values", "statistics")  # {name: expectation}
SINGLE = ("mapping", "not_in_pickle", "parameters")  # one expectation each
READ = {"kind", "config", "seed", "seed_ema", "gain", "dtype", "container", "call", "text", "inputs", "outputs"}
READ |= {"tolerance", "tolerance_by_output", "tolerance_per_output"}
# Where the numbers come from, and what was measured when they were made.
BACKGROUND = {"source", "method", "notes", "meaning", "made_with", "released_checkpoint", "sensitivity"}
BACKGROUND |= {"float32_noise", "noise_float32_vs_float64", "noise_floor", "noise_floor_float32_vs_float64"}
BACKGROUND |= {"roundtrip_float32", "roundtrip_float64", "padding_effect", "agreement_with_kaldi_native_fbank_1_22_4"}

HEAVY = 12_000_000  # weights

Table = dict | list | str | float | int | bool | None
Expected = dict[str, torch.Tensor | Table]


@dataclass(frozen=True)
class GoldenCase:
    folder: Path
    kind: str
    config: dict
    tolerance: float
    inputs: dict[str, torch.Tensor]
    outputs: Expected
    description: dict

    @classmethod
    def load(cls, folder: Path) -> "GoldenCase":
        description = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        if unknown := description.keys() - READ - BACKGROUND - {*TABLES, *SINGLE}:
            raise ValueError(f"{folder}/case.json has fields that golden_case.py does not know: {sorted(unknown)}")
        tensors = stored_tensors(folder)
        case = cls(
            folder,
            description["kind"],
            description["config"],
            description["tolerance"],
            {name[3:]: value for name, value in tensors.items() if name.startswith("in.")},
            {name[4:]: value for name, value in tensors.items() if name.startswith("out.") and name != "out.unused"},
            description,
        )
        if not case.outputs and (keys := stored_keys(folder)):
            case.outputs["keys"] = {key: [shape, dtype] for key, shape, dtype in keys}
        case.outputs.update(case.tables())
        bounded = {*case.outputs, *(name.rpartition(".")[0] for name in case.outputs)}
        if unknown := case.own_tolerances.keys() - bounded:
            raise ValueError(f"{folder}/case.json bounds the error of outputs that it has not: {sorted(unknown)}")
        return case

    def tables(self) -> dict[str, Table]:
        """What case.json itself expects."""
        tables = {
            f"{field}.{name}": table for field in TABLES for name, table in self.description.get(field, {}).items()
        }
        tables |= {field: self.description[field] for field in SINGLE if field in self.description}
        given = self.description.get("inputs", {})
        texts = {f"text.{name}": text for name, text in self.description.get("text", {}).items()}
        return tables | {
            name: text for name, text in texts.items() if not any(fnmatchcase(name, pattern) for pattern in given)
        }

    def question(self, folder: Path) -> "GoldenCase":
        """The case as its runner gets it, written to `folder`: of expected tensors shape and type, but no value."""
        hidden = {
            name: torch.empty_like(value, device="meta") if isinstance(value, torch.Tensor) else None
            for name, value in self.outputs.items()
        }
        description = {name: value for name, value in self.description.items() if name not in TABLES + SINGLE}
        if "text" in description:
            texts = description["text"].items()
            description["text"] = {name: text for name, text in texts if f"text.{name}" not in hidden}
        copy_case(self.folder, folder)
        (folder / "case.json").write_text(json.dumps(description), encoding="utf-8")
        tensors = {name: value for name, value in stored_tensors(folder).items() if not name.startswith("out.")}
        (folder / "io.safetensors").write_bytes(save(tensors))
        return replace(self, folder=folder, outputs=hidden, description=description)

    @cached_property
    def own_tolerances(self) -> dict[str, float]:
        fields = ("tolerance_by_output", "tolerance_per_output")
        return {name: bound for field in fields for name, bound in self.description.get(field, {}).items()}

    def tolerance_of(self, output: str) -> float:
        """The bound on the relative error of one output; some cases give outputs, or "<name>.<i>", one of their own."""
        own = self.own_tolerances
        return own.get(output, own.get(output.rpartition(".")[0], self.tolerance))

    def checkpoint(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """{key: tensor} exactly as the released file holds it, of all keys or of those that begin with `prefix`."""
        stored = stored_tensors(self.folder)
        seed, gain = self.description["seed"], self.description.get("gain", 1.0)
        container = self.description.get("container")
        aliases = container.get("aliases", {}) if isinstance(container, dict) else {}  # one parameter under two names
        values, weights = {}, {}
        for key, shape, dtype in stored_keys(self.folder):
            if key.startswith(prefix):
                name = aliases.get(key, key)
                if name not in values:
                    own = f"buf.{name}"
                    values[name] = stored[own] if own in stored else drawn(name, shape, dtype, seed, gain)
                weights[key] = values[name]
        return weights


def copy_case(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copyfile(file, target / file.name)


def stored_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "io.safetensors") if (folder / "io.safetensors").is_file() else {}


def stored_keys(folder: Path) -> list[tuple[str, list[int], str]]:
    return json.loads((folder / "keys.json").read_text(encoding="utf-8"))


def is_full_size(folder: Path) -> bool:
    """Whether the case is of a released network's size: its name says so, or its weights are many."""
    weights = sum(math.prod(shape) for _, shape, _ in stored_keys(folder))
    return "full" in folder.name.split("_") or weights > HEAVY


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
    return torch.from_numpy(np.asarray(value, dtype=np.float32).reshape(shape)).to(torch_dtype)
