"""The training example: on a dataset's own layout, on two processes, and on the toy."""

import json
from pathlib import Path

import pytest
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from avzoo import FlexiASTForAudioClassification

SCRIPT = "train_coarse_to_fine_ast.py"
PLAN = "--phases 3:1x3 1:1 --phase_statistics 4 --mixup 0.5 --max_length 96"


def arguments(esc50: Path, model: Path, output: Path, options: str) -> list[object]:
    recipe = "--schedule one_cycle --warmup_steps 0 --optimizer adamw --learning_rate 0.01 --batch_size 2"
    places = ["--dataset", "esc50", "--data_dir", esc50, "--model", model, "--output_dir", output]
    return [*places, *recipe.split(), *options.split()]


def assert_trained_in_phases(folder: Path, printed: str, esc50: Path) -> None:
    assert "the plan costs" in printed
    assert "in all" in printed
    for end, frames in ((folder / "phase-1", 32), (folder / "phase-2", 96), (folder, 96)):
        model = AutoModelForAudioClassification.from_pretrained(end)
        extractor = AutoFeatureExtractor.from_pretrained(end)
        features = extractor(next((esc50 / "audio").iterdir()), return_tensors="pt")
        assert features.input_values.shape == (1, frames, 128)
        assert model(**features).logits.isfinite().all()
    assert sorted(model.config.id2label.values()) == ["high", "low"]
    assert set(extractor.phase_statistics) == {"max pooling 1", "max pooling 3"}
    trained = FlexiASTForAudioClassification.from_pretrained(folder)
    assert trained.config.position_grid == (8, 6)


def test_it_trains_in_phases_on_a_dataset_layout(esc50, small_ast, run_main, tmp_path):
    status, stdout, stderr = run_main(SCRIPT, *arguments(esc50, small_ast, tmp_path / "out", PLAN))
    assert status == 0, stderr
    assert_trained_in_phases(tmp_path / "out", stdout, esc50)


@pytest.mark.slow
def test_two_processes_train_in_phases_on_a_dataset_layout(esc50, small_ast, run_script, tmp_path):
    options = arguments(esc50, small_ast, tmp_path / "two", PLAN)
    assert_trained_in_phases(tmp_path / "two", run_script(SCRIPT, *options, ranks="forked"), esc50)


def test_a_phase_that_cannot_be_read_is_named(esc50, small_ast, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *arguments(esc50, small_ast, tmp_path / "out", "--phases 4-7"))
    assert status == 1
    assert stderr.splitlines()[-1].startswith("--phases: '4-7' is not FACTOR:EPOCHS")


def test_the_toy_prints_its_table_and_saves_a_model(run_toy, tmp_path):
    folder, small = tmp_path / "toy", "--toy_seeds 0 --toy_clips 32 --toy_test_clips 16 --toy_epochs 2 --toy_width 32 1"
    rows = [line.split()[0] for line in run_toy(SCRIPT, folder, small).splitlines() if line]
    assert {"straight", "frame_shift", "pooling", "patchify", "control"} <= set(rows)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json", "curves.json",
        "accuracy_against_flops.png",
    }  # fmt: skip
    curves = json.loads((folder / "curves.json").read_text())
    assert curves["pooling"][0]["flops"] < curves["straight"][0]["flops"]
