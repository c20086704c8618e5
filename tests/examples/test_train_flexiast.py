"""The training example: on a dataset's own layout, on two processes, and on the toy."""

import json
from pathlib import Path

import pytest
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

SCRIPT = "train_flexiast.py"
SMALL_TOY = "--toy_seeds 0 --toy_clips 16 --toy_test_clips 16 --toy_epochs 1 1 --toy_width 32 1 --no-toy_controls"


def arguments(esc50: Path, start: Path, output: Path) -> list[object]:
    recipe = "--num_epochs 1 --schedule constant --schedule_milestones --warmup_steps 0 --optimizer adamw"
    sizes = "--learning_rate 0.01 --max_length 48 --patch_sizes 8 16 24 --batch_size 2 --mixup 0.5"
    places = ["--dataset", "esc50", "--data_dir", esc50, "--model", start, "--output_dir", output]
    return [*places, *recipe.split(), *sizes.split()]


def assert_trained(folder: Path, esc50: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(folder)
    assert sorted(model.config.id2label.values()) == ["high", "low"]
    assert model.config.patch_sizes == [(8, 8), (16, 16), (24, 24)]
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert extractor.max_length == 48
    clip = next((esc50 / "audio").iterdir())
    assert model(**extractor(clip, return_tensors="pt")).logits.isfinite().all()


def test_it_trains_on_a_dataset_layout(esc50, small_ast, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *arguments(esc50, small_ast, tmp_path / "out"))
    assert status == 0, stderr
    assert_trained(tmp_path / "out", esc50)


@pytest.mark.slow
def test_two_processes_train_on_a_dataset_layout(esc50, small_ast, run_script, tmp_path):
    """Ranks draw one patch size per step; were they to disagree, gradients would not match and weights would part."""
    run_script(SCRIPT, *arguments(esc50, small_ast, tmp_path / "two"), ranks="accelerate")
    assert_trained(tmp_path / "two", esc50)


def assert_toy(folder: Path, printed: str) -> None:
    assert "flexified" in printed
    assert "sizes other than 16 rise by" in printed
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip
    assert "speech" in json.loads((folder / "config.json").read_text())["label2id"]
    assert "synthetic data" in (folder / "README.md").read_text()


def test_the_toy_prints_its_table_and_saves_a_model(run_toy, tmp_path):
    assert_toy(tmp_path / "toy", run_toy(SCRIPT, tmp_path / "toy", SMALL_TOY))


@pytest.mark.slow
def test_the_toy_trains_in_processes_of_its_own(run_script, tmp_path):
    """The jobs of all toys take this way; the other tests run them in the process of the test."""
    options = [*SMALL_TOY.split(), "--output_dir", tmp_path / "toy"]
    assert_toy(tmp_path / "toy", run_script(SCRIPT, "--toy", *options))
