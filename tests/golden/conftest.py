"""Finds the golden cases under `--golden`; what a case computes is computed once for all tests of it."""

import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the runners, the case loader and the comparison lie beside this file

from golden_case import GoldenCase, is_full_size  # noqa: E402
from golden_comparison import compute  # noqa: E402


def pytest_generate_tests(metafunc):
    if "case_folder" in metafunc.fixturenames:
        root = metafunc.config.getoption("--golden").resolve()
        methods = sorted(path.stem.removeprefix("runners_") for path in HERE.glob("runners_*.py"))
        folders = [path.parent for method in methods for path in sorted((root / method).glob("*/case.json"))]
        if not folders:
            raise pytest.UsageError(f"--golden {root} holds no case of {', '.join(methods)}")
        cases = [
            pytest.param(
                folder,
                id=f"{folder.parent.name}/{folder.name}",
                marks=[pytest.mark.slow] if is_full_size(folder) else [],
            )
            for folder in folders
        ]
        metafunc.parametrize("case_folder", cases, scope="session")


@pytest.fixture(scope="session")
def computed(case_folder):
    """A function that gives the case and what its runner computes, in each form."""

    @cache
    def load_and_compute():
        case = GoldenCase.load(case_folder)
        return case, compute(case)

    return load_and_compute
