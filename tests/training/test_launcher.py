"""What the launcher or the environment chooses counts, unless an argument says otherwise."""

import os
import subprocess
import sys

import pytest
import torch
from training.launch_script import Points, tiny_model

from avzoo.training import TrainingArguments, train

PROGRAM = """
import json, sys
from avzoo.training import TrainingArguments, train
from training.launch_script import Points, tiny_model
train(tiny_model(), Points(), TrainingArguments(output_dir=sys.argv[1], max_steps=1, progress_bar=False))
"""

pytestmark = pytest.mark.usefixtures("fresh_accelerate_state")


def run(folder, **arguments):
    """The arguments that one step was trained with, and the dtype of the outputs in it."""
    dtypes, batches = [], []

    def loss(model, batch, step):
        outputs = model(**batch)
        dtypes.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        batches.append(len(batch["target"]))
        return outputs.loss

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = tiny_model()

        def forward(self, **batch):
            dtypes.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
            return self.model(**batch)

    arguments = TrainingArguments(output_dir=str(folder), max_steps=1, progress_bar=False, **arguments)
    train(Wrapped(), Points(), arguments, compute_loss=loss)
    return dtypes[0], len(batches)


@pytest.mark.parametrize(
    ("given", "dtype"), [({}, torch.bfloat16), ({"mixed_precision": "no"}, torch.float32)], ids=["open", "given"]
)
def test_mixed_precision_is_the_launchers_unless_it_is_given(tmp_path, monkeypatch, given, dtype):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert run(tmp_path, **given)[0] == dtype


@pytest.mark.parametrize(
    ("given", "batches"), [({}, 3), ({"gradient_accumulation_steps": 2}, 2)], ids=["open", "given"]
)
def test_accumulated_batches_are_the_launchers_unless_they_are_given(tmp_path, monkeypatch, given, batches):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "3")
    assert run(tmp_path, cpu=True, **given)[1] == batches


def test_the_environment_keeps_a_run_on_the_cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert TrainingArguments(output_dir="out").fill_from_launcher().cpu
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    assert not TrainingArguments(output_dir="out").fill_from_launcher().cpu


@pytest.mark.parametrize(("name", "value"), [("MIXED_PRECISION", "fp8"), ("GRADIENT_ACCUMULATION_STEPS", "many")])
def test_a_choice_of_the_launcher_that_cannot_be_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    with pytest.raises(ValueError, match=rf"ACCELERATE_{name}={value}, from the launcher or the environment: "):
        TrainingArguments(output_dir="out").fill_from_launcher()


def test_processes_that_are_no_single_run_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.PartialState.num_processes", 1, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="`cpu`: 2 processes were launched, but they are not one run"):
        train(tiny_model(), Points(), TrainingArguments(output_dir=str(tmp_path), max_steps=1))


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "saved"), [(["--mixed_precision", "bf16"], "bf16"), ([], "no")])
def test_accelerate_launch_chooses_the_precision(tmp_path, flags, saved):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", *flags, script]
    tests = os.path.dirname(os.path.dirname(__file__))
    environment = os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([*command, tmp_path / "out"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'"mixed_precision": "{saved}"' in (tmp_path / "out" / "training_arguments.json").read_text()
