"""The training example, run as its docstring says: on a dataset's own layout, on two processes, and on the toy."""

import json
import os
import subprocess
import sys
from pathlib import Path

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from avzoo import FlexiASTForAudioClassification

SCRIPT = Path(__file__).parents[2] / "examples" / "train_coarse_to_fine_ast.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
RECIPE = "--schedule one_cycle --warmup_steps 0 --optimizer adamw --learning_rate 0.01 --batch_size 2"


def run(command: list[str]) -> subprocess.CompletedProcess:
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def arguments(esc50: Path, model: Path, output: Path, *more: str) -> list[str]:
    places = ["--dataset", "esc50", "--data_dir", str(esc50), "--model", str(model), "--output_dir", str(output)]
    return [str(SCRIPT), *places, *RECIPE.split(), *more]


def test_two_processes_train_in_phases_on_a_dataset_layout(esc50, small_ast, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_machines", "1"]
    plan = "--phases 3:1x3 1:1 --phase_statistics 4 --mixup 0.5 --max_length 96 --cpu"
    result = run([*launch, *arguments(esc50, small_ast, tmp_path / "two", *plan.split())])
    assert "the plan costs" in result.stdout
    assert "in all" in result.stdout
    for folder, frames in (("two/phase-1", 32), ("two/phase-2", 96), ("two", 96)):
        model = AutoModelForAudioClassification.from_pretrained(tmp_path / folder)
        extractor = AutoFeatureExtractor.from_pretrained(tmp_path / folder)
        features = extractor(next((esc50 / "audio").iterdir()), return_tensors="pt")
        assert features.input_values.shape == (1, frames, 128)
        assert model(**features).logits.isfinite().all()
    assert sorted(model.config.id2label.values()) == ["high", "low"]
    assert set(extractor.phase_statistics) == {"max pooling 1", "max pooling 3"}
    trained = FlexiASTForAudioClassification.from_pretrained(tmp_path / "two")
    assert trained.config.position_grid == (8, 6)


def test_a_phase_that_cannot_be_read_is_named(esc50, small_ast, run_main, tmp_path):
    options = arguments(esc50, small_ast, tmp_path / "out", "--phases", "4-7")[1:]
    status, _, stderr = run_main(SCRIPT.name, *options)
    assert status == 1
    assert stderr.splitlines()[-1].startswith("--phases: '4-7' is not FACTOR:EPOCHS")


def test_the_toy_prints_its_table_and_saves_a_model(tmp_path):
    small = "--toy_seeds 0 --toy_clips 64 --toy_test_clips 32 --toy_epochs 2 --toy_width 32 1"
    result = run([sys.executable, str(SCRIPT), "--toy", "--output_dir", str(tmp_path / "toy"), *small.split()])
    rows = [line.split()[0] for line in result.stdout.splitlines() if line]
    assert {"straight", "frame_shift", "pooling", "patchify", "control"} <= set(rows)
    folder = tmp_path / "toy"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json", "curves.json",
        "accuracy_against_flops.png",
    }  # fmt: skip
    curves = json.loads((folder / "curves.json").read_text())
    assert curves["pooling"][0]["flops"] < curves["straight"][0]["flops"]
    assert "synthetic data" in (folder / "README.md").read_text()
