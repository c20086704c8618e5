"""What a run prints and writes beside the model: evaluations, metrics.jsonl, its arguments."""

import json

import pytest
from training.launch_script import Interrupt, Points, arguments, hard_run, tiny_model

from avzoo.training import train
from avzoo.training.reports import read_metrics

RUN = {"batch_size": 8, "num_epochs": 2, "log_every_steps": 2, "evaluate_every_epochs": 1}


def error(model, accelerator):
    return {"error": 0.25, "samples": 24}


def test_every_evaluation_is_a_line_on_stderr(tmp_path, capfd):
    changes = RUN | {"metric_for_best_model": "error", "progress_bar": False}
    train(tiny_model(), Points(), arguments(tmp_path, **changes), evaluate=error)
    assert capfd.readouterr().err.splitlines() == [
        "step 3 (epoch 1): error 0.25, samples 24 (best so far)",
        "step 6 (epoch 2): error 0.25, samples 24",
    ]


def test_evaluations_are_not_printed_where_that_is_asked_for(tmp_path, capfd):
    quiet = {"print_metrics": False, "progress_bar": False}
    train(tiny_model(), Points(), arguments(tmp_path, **RUN, **quiet), evaluate=error)
    assert capfd.readouterr().err == ""


def test_metrics_have_a_row_for_every_logged_mean_and_every_evaluation(tmp_path):
    result = train(tiny_model(), Points(), arguments(tmp_path, **RUN), evaluate=error)
    rows = read_metrics(tmp_path)
    assert [(row["split"], row["step"], row["epoch"]) for row in rows] == [
        ("train", 2, round(2 / 3, 6)), ("evaluation", 3, 1.0),
        ("train", 4, round(4 / 3, 6)), ("train", 6, 2.0), ("evaluation", 6, 2.0),
    ]  # fmt: skip
    assert [row["loss"] for row in rows if row["split"] == "train"] == [loss for _, loss in result.train_loss]
    assert all(row["learning_rate"] == 1e-2 and row["gradient_norm"] > 0 for row in rows if row["split"] == "train")
    assert [row["error"] for row in rows if row["split"] == "evaluation"] == [0.25, 0.25]


def test_a_metric_that_is_not_a_number_is_null(tmp_path):
    train(tiny_model(), Points(), arguments(tmp_path, max_steps=1), evaluate=lambda *_: {"mAP": float("nan")})
    assert '"mAP": null' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("step", [3, 5])
def test_a_resumed_run_has_the_rows_of_an_uninterrupted_one(tmp_path, step):
    hard_run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        hard_run(tmp_path / "cut", callbacks=[Interrupt(step)])
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "epo')  # what a kill leaves of the row it interrupts
    hard_run(tmp_path / "cut")
    rows = read_metrics(tmp_path / "whole")
    assert len(rows) == 4
    assert read_metrics(tmp_path / "cut") == rows


def test_what_a_run_resumes_from_is_a_line_on_stderr(tmp_path, capfd):
    for max_steps in (2, 3):
        changes = {"max_steps": max_steps, "checkpoint_every_steps": 2, "progress_bar": False}
        train(tiny_model(), Points(), arguments(tmp_path, **changes))
    assert capfd.readouterr().err == f"resuming from {tmp_path}/checkpoint-000002, step 2 of 3\n"


def test_a_new_run_in_the_same_folder_begins_a_new_list(tmp_path):
    for _ in range(2):
        train(tiny_model(), Points(), arguments(tmp_path, max_steps=2, log_every_steps=1))
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_arguments_and_options_are_saved(tmp_path):
    train(tiny_model(), Points(), arguments(tmp_path, max_steps=1), options={"mixup": 0.5, "labels": ["a", "b"]})
    saved = json.loads((tmp_path / "training_arguments.json").read_text())
    assert saved["options"] == {"mixup": 0.5, "labels": ["a", "b"]}
    assert saved["arguments"]["learning_rate"] == 1e-2
    assert saved["arguments"]["mixed_precision"] == "no"  # as it was, not as it was left open


def test_a_warm_up_longer_than_the_run_is_told(tmp_path, caplog):
    train(tiny_model(), Points(), arguments(tmp_path, max_steps=2, warmup_steps=2))
    assert "`warmup_steps` (2) is not less than the run's 2 steps" in caplog.text
