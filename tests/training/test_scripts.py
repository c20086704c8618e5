"""What a training script prints when it fails."""

import sys

import pytest
import torch

from avzoo import FlexiASTConfig
from avzoo.training import report_errors


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ValueError("`a.wav` breaks off:\n0.1 s could be decoded.")


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["somewhere/train_it.py"])

    def run(main):
        with pytest.raises(SystemExit) as stopped:
            report_errors(main)()
        assert stopped.value.code == 1
        return capsys.readouterr().err

    return run


def fail_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("`mixup` must be\nat most 1."), "`mixup` must be at most 1."),
        (FileNotFoundError("3 are missing. Pass skip_missing=True."), "3 are missing. Pass --skip_missing."),
        (ValueError("number 2 is coarser. Pass coarse=True."), "number 2 is coarser. Pass --coarse."),
        (FloatingPointError("loss is nan at step 3"), "loss is nan at step 3"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_of_the_input_is_one_line(run, error, line):
    assert run(fail_with(error)) == f"train_it.py: {line}\n"


def test_an_error_of_a_config_is_what_its_check_says(run):
    def main():
        FlexiASTConfig(patch_sizes=[0])

    assert run(main).startswith("train_it.py: `patch_sizes[0]` must be at least 1, got 0.")


@pytest.mark.slow
def test_an_error_in_a_process_that_loads_data_is_the_same_line(run):
    def main():
        next(iter(torch.utils.data.DataLoader(Broken(), num_workers=1)))

    assert run(main).startswith("train_it.py: `a.wav` breaks off:")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError):
        report_errors(fail_with(KeyError("oops")))()
