"""A command of the shell, and a folder of a tiny model."""

import sys
from pathlib import Path

import pytest
from contract.tiny import TINY, tiny_model

from avzoo import zoo
from avzoo.cli import main

sys.path.insert(0, str(Path(__file__).parent))  # refusals.py lies beside this file


@pytest.fixture
def avzoo_command(capfd):
    """Run one command: (exit status, stdout, stderr), as the shell would see them."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A tiny FlexiAST, to be looked at only."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    row = zoo.find_row("flexiast")
    tiny_model(row).save_pretrained(folder)
    row.load(row.processor_class)(
        num_mel_bins=TINY["FlexiASTForAudioClassification"].config["num_mel_bins"], max_length=48
    ).save_pretrained(folder)
    return folder
