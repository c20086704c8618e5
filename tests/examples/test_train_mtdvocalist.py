"""The training and evaluation examples, run as they say: on LRS2's layout, with a teacher, and on the toy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from avzoo import (
    MTDVocaLiSTConfig,
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTConfig,
    VocaLiSTForSequenceClassification,
    VocaLiSTProcessor,
)
from avzoo.audio import write_wav

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
SMALL = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": (8, 16),
    "visual_stages": ((3, 4, 4, 1, 0), (3, 2, 4, 1, 0)),
    "audio_stages": ((3, 9, 1, 0), (3, 9, 1, 0)),
}


@pytest.fixture
def lrs2(tmp_path) -> Path:
    """Six clips of face boxes with sound, as Wav2Lip's script leaves them, and their list."""
    random = np.random.default_rng(0)
    names = [f"video{index // 2}/0000{index}" for index in range(6)]
    for name in names:
        folder = tmp_path / "lrs2" / name
        folder.mkdir(parents=True)
        for frame in range(30):
            Image.fromarray(random.integers(0, 256, (20, 18, 3), dtype=np.uint8)).save(folder / f"{frame}.jpg")
        write_wav(folder / "audio.wav", (0.2 * random.standard_normal(30 * 640)).astype(np.float32), 16000)
    (tmp_path / "clips.txt").write_text("\n".join(names) + "\n")
    return tmp_path / "lrs2"


@pytest.fixture
def networks(tmp_path) -> tuple[Path, Path]:
    """A student, and a wider teacher that wants other pixels."""
    torch.manual_seed(0)
    student = MTDVocaLiSTConfig(hidden_size=8, conv_channels=(4, 8), **SMALL)
    MTDVocaLiSTForSequenceClassification(student).save_pretrained(tmp_path / "student")
    VocaLiSTProcessor(face_size=16).save_pretrained(tmp_path / "student")
    teacher = VocaLiSTConfig(hidden_size=16, conv_channels=(4, 16), **SMALL)
    VocaLiSTForSequenceClassification(teacher).save_pretrained(tmp_path / "teacher")
    VocaLiSTProcessor("bgr", 1 / 255, "opencv", face_size=16).save_pretrained(tmp_path / "teacher")
    return tmp_path / "student", tmp_path / "teacher"


LAUNCH_TWO = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 --mixed_precision no"
LAUNCH_TWO = [*LAUNCH_TWO.split(), "--dynamo_backend", "no", "--num_machines", "1"]


def run(script: str, *options: object, launch: list[str] = ()) -> str:
    command = [sys.executable, *launch, str(EXAMPLES / script), *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def training(lrs2: Path, model: Path, output: Path) -> list[object]:
    lists = ["--train_list", lrs2.parent / "clips.txt", "--val_list", lrs2.parent / "clips.txt"]
    places = ["--model", model, "--data_dir", lrs2, *lists, "--output_dir", output]
    return [*places, "--num_epochs", 2, "--batch_size", 2, "--no_warmup", "--learning_rate", "0.01"]


def test_two_processes_train_a_student_with_a_teacher_whose_targets_are_kept(lrs2, networks, tmp_path):
    student, teacher = networks
    options = ["--teacher", teacher, "--swap_windows", "--fixed_windows", "--cache_teacher", tmp_path / "cache"]
    # `--cpu` makes two launched processes one run where there is no GPU; without it each would train alone.
    run("train_mtdvocalist.py", *training(lrs2, student, tmp_path / "out"), *options, "--cpu", launch=LAUNCH_TWO)
    trained, before = AutoModel.from_pretrained(tmp_path / "out"), AutoModel.from_pretrained(student)
    assert trained.config.distillation == {"target": "attention", "temperature": 1.0}
    assert not torch.equal(trained.mtd_loss.weights, torch.ones_like(trained.mtd_loss.weights))  # they learned, too
    assert not torch.equal(trained.classifier.weight, before.classifier.weight)
    assert AutoProcessor.from_pretrained(tmp_path / "out").face_size == 16
    kept = np.memmap(tmp_path / "cache" / "filled.u8", np.bool_)
    assert len(kept) == 6 * 4  # four pairs of each clip
    assert kept.sum() in (16, 20, 24)  # both processes' own: four clips in an epoch of one step, others in the next


def test_a_teacher_is_trained_as_the_authors_draw_and_evaluated(lrs2, networks, run_main, tmp_path):
    options = ["--network", "teacher"]
    status, _, stderr = run_main("train_mtdvocalist.py", *training(lrs2, networks[1], tmp_path / "out"), *options)
    assert status == 0, stderr
    assert isinstance(AutoModel.from_pretrained(tmp_path / "out"), VocaLiSTForSequenceClassification)
    places = ["--model", tmp_path / "out", "--data_dir", lrs2, "--list", tmp_path / "clips.txt", "--device", "cpu"]
    status, printed, stderr = run_main("evaluate_mtdvocalist.py", *places)
    assert status == 0, stderr
    assert printed.startswith("6 clips\n")
    shares = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in printed.splitlines()[2:]}
    assert {name: len(values) for name, values in shares.items()} == {"official": 6, "exact": 6}
    assert all(0 <= value <= 100 for values in shares.values() for value in values)


def test_the_toy_prints_its_table_and_saves_a_model(tmp_path):
    small = "--toy --toy_seeds 0 --toy_clips 32 --toy_test_clips 2 2 --toy_steps 2 1"
    printed = run("train_mtdvocalist.py", *small.split(), "--output_dir", tmp_path / "toy")
    assert re.findall(r"^(teacher|labels|logits|attention) +\d", printed, re.MULTILINE) == [
        "teacher",
        "labels",
        "logits",
        "attention",
    ]
    assert "attention against labels alone: loss" in printed
    folder = tmp_path / "toy"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "processor_config.json",
    }  # fmt: skip
    model = AutoModel.from_pretrained(folder)
    assert (model.config.distillation, model.mtd_loss) == (None, None)
    assert "synthetic data" in (folder / "README.md").read_text()
