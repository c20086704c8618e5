"""transformers' Trainer: eight items give one gradient, whatever the batches and processes that share them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.conftest import find_networks
from contract.tiny import TINY, tiny_model
from contract.trainer_gradients import NUM_ITEMS, collate, compute_gradients, split_items
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

SCRIPT = Path(__file__).with_name("trainer_gradients.py")


def expected_gradients(row, model_class):
    model, tiny = tiny_model(row, model_class), TINY[model_class.__name__]
    model(**collate(split_items(tiny))).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same(gradients, expected):
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        bound = 1e-6 + 1e-4 * torch.linalg.vector_norm(gradient)
        assert torch.linalg.vector_norm(gradients[name] - gradient) <= bound, name


@pytest.mark.needs("loss")
@pytest.mark.parametrize(
    ("batch_size", "accumulation_steps"), [pytest.param(NUM_ITEMS, 1, marks=pytest.mark.slow), (NUM_ITEMS // 2, 2)]
)
def test_the_trainer_takes_the_gradient_of_all_items(
    row, model_class, model, tiny, tmp_path, batch_size, accumulation_steps
):
    gradients = compute_gradients(model, tiny, tmp_path, batch_size, accumulation_steps)
    assert_same(gradients, expected_gradients(row, model_class))


@pytest.mark.needs("loss")
def test_the_trainer_evaluates_to_the_loss_and_the_answers_of_all_items(model, tiny, tmp_path):
    def measure(prediction):
        boxes = isinstance(prediction.predictions, tuple)
        seen.append(prediction.predictions[0] if boxes else prediction.predictions)
        return {"items": len(seen[-1])}

    seen = []
    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, per_device_eval_batch_size=NUM_ITEMS // 2, report_to="none", disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip
    items = split_items(tiny)
    trainer = Trainer(model, arguments, data_collator=collate, compute_metrics=measure, eval_dataset=items)
    metrics = trainer.evaluate()
    with torch.no_grad():
        halves = [model(**collate(part)) for part in (items[: NUM_ITEMS // 2], items[NUM_ITEMS // 2 :])]
    assert metrics["eval_items"] == NUM_ITEMS
    assert metrics["eval_loss"] == pytest.approx(sum(float(half.loss) for half in halves) / 2, rel=1e-5)
    np.testing.assert_allclose(seen[0], torch.cat([half.logits for half in halves]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one_batch(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, SCRIPT, tmp_path], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for row, model_class in find_networks():
        if "loss" in TINY[model_class.__name__].without:
            continue
        first, second = (load_file(tmp_path / f"{model_class.__name__}-{rank}.safetensors") for rank in (0, 1))
        assert_same(first, second)
        assert_same(first, expected_gradients(row, model_class))
