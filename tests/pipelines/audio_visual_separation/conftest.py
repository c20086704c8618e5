"""A tiny pipeline as a fixture."""

import sys
from pathlib import Path
from typing import Any

import pytest
from contract.tiny.avdiffuss import tiny_separation_parts

from avzoo import AVDiffuSSPipeline

sys.path.insert(0, str(Path(__file__).parent))  # tiny_separation.py lies beside this file

from tiny_separation import assembled


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return tiny_separation_parts()


@pytest.fixture
def pipe(parts) -> AVDiffuSSPipeline:
    return assembled(parts)
