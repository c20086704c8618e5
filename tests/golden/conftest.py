"""Finds the golden cases under `--golden` and makes one test of each."""

import sys
from pathlib import Path

import pytest

from avzoo import zoo

sys.path.insert(0, str(Path(__file__).parent))  # the runners and the case loader lie beside this file


def pytest_generate_tests(metafunc):
    if "case_folder" in metafunc.fixturenames:
        root = metafunc.config.getoption("--golden").resolve()
        folders = [path.parent for row in zoo.METHODS for path in sorted((root / row.name).glob("*/case.json"))]
        if not folders:
            raise pytest.UsageError(f"--golden {root} holds no case of a method in the zoo")
        ids = [f"{folder.parent.name}/{folder.name}" for folder in folders]
        metafunc.parametrize("case_folder", folders, ids=ids)
