"""Finds the golden cases under `--golden` and makes one test of each."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the runners and the case loader lie beside this file


def pytest_generate_tests(metafunc):
    if "case_folder" in metafunc.fixturenames:
        root = metafunc.config.getoption("--golden").resolve()
        methods = sorted(path.stem.removeprefix("runners_") for path in HERE.glob("runners_*.py"))
        folders = [path.parent for method in methods for path in sorted((root / method).glob("*/case.json"))]
        if not folders:
            raise pytest.UsageError(f"--golden {root} holds no case of {', '.join(methods)}")
        ids = [f"{folder.parent.name}/{folder.name}" for folder in folders]
        metafunc.parametrize("case_folder", folders, ids=ids)
