"""The golden runners see what is wrong: each fails on a case that was spoiled."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from golden_case import GoldenCase
from safetensors.torch import load_file, save_file
from test_golden import check

CASES = Path(__file__).parent / "cases"
SMALLEST_OF_KIND: dict[tuple[str, str], Path] = {}
for _path in sorted(CASES.glob("*/*/case.json"), key=lambda path: -(path.parent / "io.safetensors").stat().st_size):
    if not _path.parent.name.startswith("full"):
        SMALLEST_OF_KIND[_path.parent.parent.name, json.loads(_path.read_text())["kind"]] = _path.parent


@pytest.fixture(params=SMALLEST_OF_KIND.values(), ids=["/".join(kind) for kind in SMALLEST_OF_KIND])
def spoilable(request, tmp_path):
    """A copy of the smallest case of one kind, under the name of its method."""
    return Path(shutil.copytree(request.param, tmp_path / request.param.parent.name / request.param.name))


def test_every_output_counts(spoilable, tmp_path):
    good = load_file(spoilable / "io.safetensors")
    case = GoldenCase.load(spoilable)
    names = [name for name in good if name.startswith("out.")]
    for name in {names[0], names[-1]}:
        save_file({**good, name: spoiled(good[name], case.tolerance_of(name[4:]))}, spoilable / "io.safetensors")
        with pytest.raises(AssertionError, match=f"relative errors above .*{name[4:]}"):
            check(spoilable, tmp_path)


def spoiled(expected: torch.Tensor, tolerance: float) -> torch.Tensor:
    """A little more off than the tolerance allows; whole numbers that do not change otherwise are all inverted."""
    if expected.is_floating_point() or expected.is_complex():
        return expected * (1 + 10 * tolerance) + 10 * tolerance
    return ~expected


def test_an_output_without_a_computation_fails(spoilable, tmp_path):
    tensors = load_file(spoilable / "io.safetensors")
    name = next(name for name in tensors if name.startswith("out."))
    save_file({**tensors, "out.unheard_of_99": tensors[name].clone()}, spoilable / "io.safetensors")
    with pytest.raises((AssertionError, KeyError, ValueError)):
        check(spoilable, tmp_path)


def test_a_kind_without_a_runner_fails(tmp_path):
    source = next(iter(SMALLEST_OF_KIND.values()))
    folder = Path(shutil.copytree(source, tmp_path / source.parent.name / "novel"))
    description = json.loads((folder / "case.json").read_text())
    (folder / "case.json").write_text(json.dumps(description | {"kind": "novel"}))
    with pytest.raises(pytest.fail.Exception, match="no runner for kind 'novel'"):
        check(folder, tmp_path)
