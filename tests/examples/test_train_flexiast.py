"""The training example, run as its docstring says: on a dataset's own layout, on two processes, and on the toy."""

import json
import os
import subprocess
import sys
from pathlib import Path

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

SCRIPT = Path(__file__).parents[2] / "examples" / "train_flexiast.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}


def arguments(esc50: Path, start: Path, output: Path, *more: str) -> list[str]:
    recipe = "--num_epochs 2 --schedule constant --schedule_milestones --warmup_steps 0 --optimizer adamw"
    sizes = "--learning_rate 0.01 --max_length 48 --patch_sizes 8 16 24 --batch_size 2"
    places = ["--dataset", "esc50", "--data_dir", str(esc50), "--model", str(start), "--output_dir", str(output)]
    return [str(SCRIPT), *places, *recipe.split(), *sizes.split(), *more]


def run(command: list[str]) -> subprocess.CompletedProcess:
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def test_two_processes_train_on_a_dataset_layout(esc50, small_ast, tmp_path):
    """Ranks draw one patch size per step; were they to disagree, gradients would not match and weights would part."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_machines", "1"]
    # `--cpu` makes two launched processes one run where there is no GPU; without it each would train alone.
    run([*launch, *arguments(esc50, small_ast, tmp_path / "two", "--mixup", "0.5", "--cpu")])
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "two")
    assert sorted(model.config.id2label.values()) == ["high", "low"]
    assert model.config.patch_sizes == [(8, 8), (16, 16), (24, 24)]
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "two")
    assert extractor.max_length == 48
    clip = next((esc50 / "audio").iterdir())
    assert model(**extractor(clip, return_tensors="pt")).logits.isfinite().all()


def test_the_toy_prints_its_table_and_saves_a_model(tmp_path):
    small = "--toy_seeds 0 --toy_clips 32 --toy_test_clips 32 --toy_epochs 1 1 --toy_width 32 1 --no-toy_controls"
    result = run([sys.executable, str(SCRIPT), "--toy", "--output_dir", str(tmp_path / "toy"), *small.split()])
    assert "flexified" in result.stdout
    assert "sizes other than 16 rise by" in result.stdout
    folder = tmp_path / "toy"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip
    assert "speech" in json.loads((folder / "config.json").read_text())["label2id"]
    assert "synthetic data" in (folder / "README.md").read_text()
