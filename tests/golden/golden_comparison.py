"""Outputs computed here against those that a golden case expects, and expectations spoiled to see that it matters."""

import copy
import importlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from golden_case import Expected, GoldenCase, Table, copy_case, stored_keys

# (actual, expected, tolerance) to what is wrong, "" if nothing is.
Rule = Callable[[torch.Tensor | Table, torch.Tensor | Table, float], str]


def compute(case: GoldenCase) -> list[Expected]:
    """What the case's runner computes, one dict per form: as converted, then (where it can be) saved and loaded.

    The runners of a method are `RUNNERS` of `runners_<method>.py`: {kind: runner}. A runner takes the case and an empty
    folder and yields {output name: tensor or table} for each form.
    """
    runners = runners_of(case).RUNNERS
    if case.kind not in runners:
        pytest.fail(f"no runner for kind {case.kind!r}; there are: {', '.join(sorted(runners))}")
    forms = []
    with TemporaryDirectory() as question, TemporaryDirectory() as scratch:
        for form in runners[case.kind](case.question(Path(question)), Path(scratch)):
            tensors = {name: value for name, value in form.items() if isinstance(value, torch.Tensor)}
            forms.append(form | {name: value.detach().cpu().clone() for name, value in tensors.items()})
    assert forms, "the runner computes nothing"
    return forms


def runners_of(case: GoldenCase):
    return importlib.import_module(f"runners_{case.folder.parent.name}")


def compare(case: GoldenCase, outputs: Expected) -> dict[str, str]:
    """{output name: what is wrong with it}, empty if everything is as expected.

    Runners may hold `RULES`: {kind: {output name, or a pattern of names: rule}} in place of `difference`. A rule gets
    two tensors of one shape, or else two tables.
    """
    rules = getattr(runners_of(case), "RULES", {}).get(case.kind, {})
    wrong = {name: "not computed" for name in case.outputs.keys() - outputs.keys()}
    wrong |= {name: "not expected" for name in outputs.keys() - case.outputs.keys()}
    for name in case.outputs.keys() & outputs.keys():
        actual, expected = outputs[name], case.outputs[name]
        rule = next((rule for pattern, rule in rules.items() if fnmatchcase(name, pattern)), difference)
        forms = [list(side.shape) if isinstance(side, torch.Tensor) else "no tensor" for side in (actual, expected)]
        if forms[0] != forms[1]:
            wrong[name] = f"{forms[0]} where {forms[1]} is expected"
        elif text := rule(actual, expected, case.tolerance_of(name)):
            wrong[name] = text
    return dict(sorted(wrong.items()))


def difference(actual: torch.Tensor | Table, expected: torch.Tensor | Table, tolerance: float) -> str:
    """The rule of all outputs that have none of their own."""
    if not isinstance(expected, torch.Tensor):
        return table_difference(actual, expected, tolerance)
    if not (is_fractional(expected) or expected.dtype == torch.uint8):  # bytes are pixels
        return inequality(actual, expected)
    error = relative_error(actual, expected)
    return "" if error <= tolerance else f"relative error {error:.3g} above {tolerance:g}"


def table_difference(actual: Table, expected: Table, tolerance: float, place: str = "") -> str:
    """The first place where two tables differ. Numbers with a fraction may, relative to the larger of the two."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        if one_sided := expected.keys() ^ actual.keys():
            return f"{place or 'table'} with or without {', '.join(sorted(map(repr, one_sided))[:5])}"
        pairs = [(f"{place}[{name!r}]", actual[name], expected[name]) for name in expected]
    elif isinstance(expected, list) and isinstance(actual, list | tuple):
        if len(actual) != len(expected):
            return f"{place or 'table'} has {len(actual)} entries where {len(expected)} are expected"
        pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(actual, expected, strict=True))]
    else:
        numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (actual, expected)]
        if isinstance(expected, float) and all(numbers):
            same = math.isclose(actual, expected, rel_tol=tolerance)
        else:
            same = numbers[0] == numbers[1] and actual == expected
        return "" if same else f"{place} {actual!r} where {expected!r} is expected".strip()
    return next((text for place, *pair in pairs if (text := table_difference(*pair, tolerance, place))), "")


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """|actual - expected| / |expected| in float64; infinite when the shapes differ."""
    if actual.shape != expected.shape:
        return math.inf
    dtype = torch.complex128 if expected.is_complex() or actual.is_complex() else torch.float64
    actual, expected = actual.detach().cpu().to(dtype), expected.to(dtype)
    norm = torch.linalg.vector_norm(expected).clamp_min(1e-30)
    return (torch.linalg.vector_norm(actual - expected) / norm).item()


def inequality(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 0) -> str:
    """A rule for `RULES`: no difference at all."""
    differing = int((actual != expected).sum())
    return f"{differing} of {expected.numel()} entries differ" if differing else ""


def beyond(amount: float) -> Rule:
    """A rule for `RULES`: no entry further off than `amount`, e.g. one grey level, or half of the last decimal kept."""

    def rule(actual, expected, tolerance: float = 0) -> str:
        actual, expected = (torch.as_tensor(side, dtype=torch.float64) for side in (actual, expected))
        if actual.shape != expected.shape:
            return f"{list(actual.shape)} where {list(expected.shape)} is expected"
        far = int((~((actual - expected).abs() <= amount)).sum())
        return f"{far} of {expected.numel()} entries are off by more than {amount:g}" if far else ""

    return rule


def difference_after(change: Callable[[torch.Tensor], torch.Tensor]) -> Rule:
    """A rule for `RULES`: both sides go through `change` first."""
    return lambda actual, expected, tolerance: difference(change(actual), change(expected), tolerance)


def is_fractional(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def spoiled(expected: torch.Tensor | Table, tolerance: float) -> Iterator[torch.Tensor | Table]:
    """Expectations that the same outputs must not meet, each a little beside the true one."""
    if isinstance(expected, torch.Tensor):
        yield expected[None]
        if is_fractional(expected):
            step = max(10 * tolerance, 8 * torch.finfo(expected.dtype).eps)
            yield expected + step * (1 + expected.abs())
        elif expected.dtype == torch.uint8:
            yield ~expected
        else:
            for index in {0, expected.numel() - 1}:
                one = expected.clone().flatten()
                one[index] = ~one[index]
                yield one.view_as(expected)
    else:
        places = list(places_of(expected))
        for *path, last in places[:: len(places) // 50 + 1] + places[-1:]:  # of a long table some
            root = copy.deepcopy([expected])
            parent = root
            for step in path:
                parent = parent[step]
            parent[last] = spoiled_entry(parent[last], tolerance)
            yield root[0]
        if isinstance(expected, list) and expected:
            yield expected[:-1]
        if isinstance(expected, dict) and expected:
            yield dict(list(expected.items())[:-1])


def places_of(table: Table, path: tuple = (0,)) -> Iterator[tuple]:
    """The ways to all entries that hold no others."""
    inner = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    inner = list(inner)
    if not inner:
        yield path
    for name, entry in inner:
        yield from places_of(entry, (*path, name))


def spoiled_entry(entry: Table, tolerance: float) -> Table:
    match entry:
        case bool():
            return not entry
        case int():
            return entry + 1
        case float():
            step = max(10 * tolerance, 1e-15)
            return entry + step * (1 + abs(entry))
        case str():
            return entry + "?"
        case list():
            return ["?"]
        case dict():
            return {"?": "?"}
    return "?"


def unnoticed(case: GoldenCase, outputs: Expected) -> list[str]:
    """The spoiled expectations that outputs meet all the same, for a case whose own they meet."""
    found = []
    for name, expected in case.outputs.items():
        for count, other in enumerate(spoiled(expected, case.tolerance_of(name)), start=1):
            if name not in compare(replace(case, outputs={name: other}), {name: outputs[name]}):
                found.append(f"{name}, spoiled in way {count}")
    return found


def takes_any_keys(case: GoldenCase) -> bool:
    """Whether a runner of a checkpoint's keys is content with others: then it has only repeated those of the case."""
    with TemporaryDirectory() as root:
        folder = Path(root) / case.folder.parent.name / case.folder.name
        copy_case(case.folder, folder)
        (key, *row), *rows = stored_keys(folder)
        (folder / "keys.json").write_text(json.dumps([[f"unheard_of.{key}", *row], *rows]), encoding="utf-8")
        renamed = GoldenCase.load(folder)
        try:
            return not any(compare(renamed, outputs) for outputs in compute(renamed))
        except Exception:  # the runner refuses them, in its own way
            return False
