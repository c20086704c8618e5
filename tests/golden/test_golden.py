"""Every golden case: what the authors' code computes, computed here, within the case's tolerance."""

import importlib

import pytest
from golden_case import GoldenCase, relative_error


def check(case_folder, scratch):
    case = GoldenCase.load(case_folder)
    module = importlib.import_module(f"runners_{case_folder.parent.name}")
    runners, compared_as = module.RUNNERS, getattr(module, "COMPARED_AS", {}).get(case.kind, lambda output: output)
    if case.kind not in runners:
        pytest.fail(f"no runner for kind {case.kind!r}; there are: {', '.join(sorted(runners))}")
    for attempt, outputs in enumerate(runners[case.kind](case, scratch)):
        assert outputs.keys() == case.outputs.keys()
        errors = {
            name: relative_error(compared_as(outputs[name]), compared_as(expected))
            for name, expected in case.outputs.items()
        }
        bad = {name: error for name, error in errors.items() if not error <= case.tolerance_of(name)}
        form = "as converted" if attempt == 0 else "saved and loaded"
        assert not bad, f"relative errors above the case's tolerance ({form}): {bad}"


def test_outputs_are_those_of_the_authors_code(case_folder, tmp_path):
    check(case_folder, tmp_path)
