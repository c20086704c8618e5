"""The two tagging examples on own recordings: what a user sees, and what is refused before the first step."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, pipeline

from avzoo import FlexiASTForAudioClassification
from avzoo.audio import write_wav
from avzoo.training.reports import read_metrics

EXAMPLES = Path(__file__).parents[2] / "examples"
FLEXIAST, COARSE_TO_FINE = "train_flexiast.py", "train_coarse_to_fine_ast.py"
RECIPES = {
    FLEXIAST: "--num_epochs 2 --schedule constant --schedule_milestones --max_length 48 --patch_sizes 8 16",
    COARSE_TO_FINE: "--phases 3:1 1:1 --max_length 48",
}
COMMON = "--warmup_steps 0 --optimizer adamw --learning_rate 0.01 --batch_size 2 --mixup 0.5"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder for each of three classes, with four recordings each, and tables of them."""
    root = tmp_path_factory.mktemp("own")
    rows = []
    for pitch, name in enumerate(("bell", "dog", "rain")):
        (root / "sounds" / name).mkdir(parents=True)
        for index in range(4):
            tone = 0.3 * np.sin(2 * np.pi * (300 + 1500 * pitch + 10 * index) * np.arange(8000) / 16000)
            write_wav(root / "sounds" / name / f"{index}.wav", tone.astype(np.float32), 16000)
            rows.append([f"{name}/{index}.wav", name, "train" if index else "validation"])
    several = [[path, f"{label};bell" if label != "bell" else label, split] for path, label, split in rows]
    for name, column, table in (("one.csv", "label", rows), ("several.csv", "labels", several)):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows([["path", column, "split"], *table])
    return root


@pytest.fixture(scope="module")
def four_classes(small_ast, tmp_path_factory):
    """An AST that tells three of the classes and a fourth."""
    folder = tmp_path_factory.mktemp("four")
    model = FlexiASTForAudioClassification.from_pretrained(small_ast)
    torch.manual_seed(0)
    model = model.adapt_to_labels(["dog", "car", "bell", "rain"])
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text((small_ast / "preprocessor_config.json").read_text())
    return folder


def options(script, recordings, model, *more):
    data = ["--data_dir", recordings / "sounds", "--model", model]
    return [script, *data, *RECIPES[script].split(), *COMMON.split(), *more]


@pytest.mark.parametrize("script", RECIPES)
def test_a_folder_of_recordings_is_trained_on_and_the_user_sees_it(
    script, recordings, four_classes, run_main, caplog, tmp_path
):
    more = ["--dataset", "folder", "--val_share", 0.25, "--output_dir", tmp_path / "out", "--no_progress_bar"]
    status, _, stderr = run_main(*options(script, recordings, four_classes, *more))
    assert status == 0, stderr
    assert "the head changes from 4 classes to 3: 1 dropped (car)." in caplog.text
    lines = [line for line in stderr.splitlines() if line.startswith("step ")]
    assert len(lines) == 2
    rows = [row for row in read_metrics(tmp_path / "out") if row["split"] == "evaluation"]
    name = "mean" if script == FLEXIAST else "accuracy"
    assert [f"{name} {row[name]:.4g}" in line for row, line in zip(rows, lines, strict=True)] == [True, True]
    saved = json.loads((tmp_path / "out" / "training_arguments.json").read_text())
    assert saved["options"]["labels"] == ["bell", "dog", "rain"]
    assert saved["options"]["mixup"] == 0.5
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`folder`: 9 recordings for training, 3 for evaluation, 3 classes." in card
    assert f"{rows[-1][name]:.4g} |" in card
    assert f"--data_dir {recordings / 'sounds'}" in card
    guesses = pipeline("audio-classification", model=str(tmp_path / "out"))(str(recordings / "sounds/dog/0.wav"))
    assert {guess["label"] for guess in guesses} == {"bell", "dog", "rain"}


def test_classes_that_the_model_knows_keep_their_weights(recordings, four_classes, run_main, tmp_path):
    more = ["--dataset", "folder", "--learning_rate", 0, "--output_dir", tmp_path / "out"]
    status, _, stderr = run_main(*options(FLEXIAST, recordings, four_classes, *more))
    assert status == 0, stderr
    before, after = (AutoModelForAudioClassification.from_pretrained(folder) for folder in (four_classes, more[-1]))
    for name in ("bell", "dog", "rain"):
        old, new = before.config.label2id[name], after.config.label2id[name]
        assert torch.equal(after.classifier.dense.weight[new], before.classifier.dense.weight[old])


@pytest.mark.parametrize("script", RECIPES)
def test_a_table_with_several_labels_is_trained_on_with_multi_label(script, recordings, small_ast, run_main, tmp_path):
    table = ["--dataset", "csv", "--train_list", recordings / "several.csv", "--output_dir", tmp_path / "out"]
    command = options(script, recordings, small_ast, *table)
    status, _, stderr = run_main(*command)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{script}: `multi_label` is not set, but 8 of the 12 recordings have")
    status, _, stderr = run_main(*command, "--multi_label")
    assert status == 0, stderr
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "out")
    assert model.config.problem_type == "multi_label_classification"
    assert any("mAP" in name for name in read_metrics(tmp_path / "out")[-1])


@pytest.mark.parametrize("script", RECIPES)
def test_one_seed_gives_one_model_and_another_another(script, recordings, small_ast, run_main, tmp_path):
    """The classes are new to the model, so its head is drawn."""
    weights = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        torch.manual_seed(hash(name) % 1000)  # what came before does not matter
        more = ["--dataset", "folder", "--seed", seed, "--learning_rate", 0, "--output_dir", tmp_path / name]
        status, _, stderr = run_main(*options(script, recordings, small_ast, *more))
        assert status == 0, stderr
        weights[name] = load_file(tmp_path / name / "model.safetensors")["classifier.dense.weight"]
    assert torch.equal(weights["first"], weights["again"])
    assert not torch.equal(weights["first"], weights["other"])


@pytest.mark.parametrize("script", [FLEXIAST, pytest.param(COARSE_TO_FINE, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_files(script, recordings, four_classes, check_resumed_run):
    more = ["--dataset", "csv", "--train_list", recordings / "one.csv"]
    folder = check_resumed_run(*options(script, recordings, four_classes, *more))
    steps = [(row.get("phase"), row["step"]) for row in read_metrics(folder) if row["split"] == "evaluation"]
    assert steps == ([(None, 5), (None, 10)] if script == FLEXIAST else [(1, 5), (2, 5)])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--mixup", 0.25], "`mixup`: checkpoint-000004 was written with 0.5, this run has 0.25; "),
        (["--fixed_patch_size"], "`fixed_patch_size`: checkpoint-000004 was written with False, this run has True; "),
        (["--max_length", 64], "`max_length`: checkpoint-000004 was written with 48, this run has 64; "),
        (["--multi_label"], "`multi_label`: checkpoint-000004 was written with False, this run has True; "),
        (["--patch_sizes", 8, 24], "`patch_sizes`: checkpoint-000004 was written with [8, 16], this run has [8, 24]; "),
    ],
)
def test_a_changed_option_is_refused_when_a_run_resumes(
    changed, message, recordings, four_classes, kill_main, run_main, tmp_path
):
    more = ["--dataset", "csv", "--train_list", recordings / "one.csv", "--checkpoint_every_steps", 4]
    command = options(FLEXIAST, recordings, four_classes, *more, "--output_dir", tmp_path / "out")
    kill_main(5, *command)
    status, _, stderr = run_main(*command, *changed)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{FLEXIAST}: {message}")


def test_other_labels_are_refused_when_a_run_resumes(recordings, four_classes, kill_main, run_main, tmp_path):
    table, text = tmp_path / "labels.csv", (recordings / "one.csv").read_text()
    table.write_text(text)
    more = ["--dataset", "csv", "--train_list", table, "--checkpoint_every_steps", 4]
    command = options(FLEXIAST, recordings, four_classes, *more, "--output_dir", tmp_path / "out")
    kill_main(5, *command)
    for changed, message in (
        (
            text.replace(",dog", ",cat"),
            "`labels`: checkpoint-000004 was written with ['bell', 'dog', 'rain'], this run ",
        ),
        (text.replace("1.wav,dog", "1.wav,rain"), "`train recordings`: checkpoint-000004 was written with '9, digest "),
    ):
        table.write_text(changed)
        status, _, stderr = run_main(*command)
        assert status == 1
        assert stderr.splitlines()[-1].startswith(f"{FLEXIAST}: {message}")


@pytest.mark.parametrize(
    ("script", "more", "message"),
    [
        (COARSE_TO_FINE, ["--max_length", 0], "`max_length` must be at least 16 frames, got 0."),
        (COARSE_TO_FINE, ["--phase_statistics", -1], "`phase_statistics` must be at least 0 clips, got -1."),
        (FLEXIAST, ["--max_length", 15], "`max_length` must be at least 16 frames, got 15."),
        (FLEXIAST, ["--mixup", 2], "`mixup` must be at least 0 and at most 1, got 2.0."),
    ],
)
def test_an_option_out_of_its_range_is_named(script, more, message, recordings, small_ast, run_main, tmp_path):
    command = options(script, recordings, small_ast, "--dataset", "folder", "--output_dir", tmp_path / "out", *more)
    status, _, stderr = run_main(*command)
    assert status == 1
    assert stderr.splitlines()[-1] == f"{script}: {message}"


def test_a_recording_shorter_than_a_frame_is_named(recordings, small_ast, run_main, tmp_path):
    root = Path(shutil.copytree(recordings / "sounds", tmp_path / "sounds"))
    for path in root.glob("dog/*.wav"):
        write_wav(path, np.zeros(80, np.float32), 16000)
    command = options(FLEXIAST, recordings, small_ast, "--dataset", "folder", "--data_dir", root)
    status, _, stderr = run_main(*command, "--output_dir", tmp_path / "out")
    assert status == 1
    assert re.search(rf"`{root}/dog/\d\.wav` is too short: 80 samples at 16000 Hz, one frame needs 400", stderr)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_cut_off_recording_is_one_line_with_its_whole_path(
    workers, recordings, small_ast, run_main, caplog, tmp_path
):
    root = tmp_path / "sounds"
    for name in ("dog", "rain"):
        (root / name).mkdir(parents=True)
        for index in range(4):
            whole = (recordings / "sounds" / name / f"{index}.wav").read_bytes()
            (root / name / f"{index}.wav").write_bytes(whole[:5000] if (name, index) == ("dog", 3) else whole)
    command = [FLEXIAST, "--dataset", "folder", "--data_dir", root, "--model", small_ast]
    command += [*RECIPES[FLEXIAST].split(), *COMMON.split(), "--output_dir", tmp_path / "out", "--num_workers", workers]
    status, _, stderr = run_main(*command)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{FLEXIAST}: `{root}/dog/3.wav`")
    status, _, stderr = run_main(*command, "--skip_damaged")
    assert status == 0, stderr
    assert "1 of the 8 recordings can't be read and left out" in caplog.text


@pytest.mark.slow
def test_what_is_left_out_and_what_changes_is_said_on_stderr(recordings, four_classes, tmp_path):
    """Other tests look into the log, which reaches stderr where nobody handles it."""
    root = shutil.copytree(recordings / "sounds", tmp_path / "sounds")
    (root / "dog" / "3.wav").write_bytes(b"")
    data = ["--dataset", "folder", "--data_dir", root, "--model", four_classes, "--skip_damaged"]
    command = [*data, *RECIPES[FLEXIAST].split(), *COMMON.split(), "--output_dir", tmp_path / "out", "--cpu"]
    command = [sys.executable, *map(str, [EXAMPLES / FLEXIAST, *command])]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "the head changes from 4 classes to 3: 1 dropped (car)." in lines
    assert any(line.startswith("1 of the 12 recordings can't be read and left out, the first is ") for line in lines)
