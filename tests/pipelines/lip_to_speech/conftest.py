"""A tiny model as a fixture."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tiny_lips.py lies beside this file

from tiny_lips import load, write_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Of a tiny model that knows no speakers; to be looked at only."""
    return write_model(tmp_path_factory.mktemp("lips"))


@pytest.fixture
def speak(folder):
    return load(folder)
