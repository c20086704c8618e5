"""The training and evaluation examples: on LRS2's layout, with a teacher, and on the toy."""

import re
import shutil
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
from avzoo.training.reports import read_metrics

SCRIPT = "train_mtdvocalist.py"
SMALL = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": (8, 16),
    "visual_stages": ((3, 4, 4, 1, 0), (3, 2, 4, 1, 0)),
    "audio_stages": ((3, 9, 1, 0), (3, 9, 1, 0)),
}


@pytest.fixture(scope="module")
def lrs2(tmp_path_factory) -> Path:
    """Six clips of face boxes with sound, as Wav2Lip's script leaves them; their list lies beside the folder."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    names = [f"video{index // 2}/0000{index}" for index in range(6)]
    for name in names:
        folder = root / "lrs2" / name
        folder.mkdir(parents=True)
        for frame in range(30):
            Image.fromarray(random.integers(0, 256, (20, 18, 3), dtype=np.uint8)).save(folder / f"{frame}.jpg")
        write_wav(folder / "audio.wav", (0.2 * random.standard_normal(30 * 640)).astype(np.float32), 16000)
    (root / "clips.txt").write_text("\n".join(names) + "\n")
    return root / "lrs2"


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> tuple[Path, Path]:
    """A student, and a wider teacher that wants other pixels."""
    root = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    student = MTDVocaLiSTConfig(hidden_size=8, conv_channels=(4, 8), **SMALL)
    MTDVocaLiSTForSequenceClassification(student).save_pretrained(root / "student")
    VocaLiSTProcessor(face_size=16).save_pretrained(root / "student")
    teacher = VocaLiSTConfig(hidden_size=16, conv_channels=(4, 16), **SMALL)
    VocaLiSTForSequenceClassification(teacher).save_pretrained(root / "teacher")
    VocaLiSTProcessor("bgr", 1 / 255, "opencv", face_size=16).save_pretrained(root / "teacher")
    return root / "student", root / "teacher"


def training(lrs2: Path, model: Path, output: Path) -> list[object]:
    lists = ["--train_list", lrs2.parent / "clips.txt", "--val_list", lrs2.parent / "clips.txt"]
    places = ["--model", model, "--data_dir", lrs2, *lists, "--output_dir", output]
    return [*places, "--num_epochs", 1, "--batch_size", 2, "--no_warmup", "--learning_rate", "0.01"]


def list_distillation_options(teacher: Path, cache: Path) -> list[object]:
    return ["--teacher", teacher, "--swap_windows", "--fixed_windows", "--cache_teacher", cache]


def assert_distilled(folder: Path, student: Path, cache: Path) -> int:
    """The student learned; number of pairs whose targets are kept."""
    trained, before = AutoModel.from_pretrained(folder), AutoModel.from_pretrained(student)
    assert trained.config.distillation == {"target": "attention", "temperature": 1.0}
    assert not torch.equal(trained.mtd_loss.weights, torch.ones_like(trained.mtd_loss.weights))  # they learned, too
    assert not torch.equal(trained.classifier.weight, before.classifier.weight)
    assert AutoProcessor.from_pretrained(folder).face_size == 16
    kept = np.memmap(cache / "filled.u8", np.bool_)
    assert len(kept) == 6 * 4  # four pairs of each clip
    return int(kept.sum())


def test_a_student_trains_with_a_teacher_whose_targets_are_kept(lrs2, networks, run_main, tmp_path):
    (student, teacher), folder, cache = networks, tmp_path / "out", tmp_path / "cache"
    status, _, stderr = run_main(SCRIPT, *training(lrs2, student, folder), *list_distillation_options(teacher, cache))
    assert status == 0, stderr
    assert assert_distilled(folder, student, cache) == 24


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(lrs2, networks, check_resumed_run):
    student, teacher = networks
    options = [*training(lrs2, student, Path("overridden")), "--teacher", teacher, "--num_epochs", 2]
    folder = check_resumed_run(SCRIPT, *options, step=4, every=3)
    rows = read_metrics(folder)
    assert [row["step"] for row in rows if row["split"] == "evaluation"] == [3, 6]
    assert f"| accuracy, after 6 steps, 2 epochs | {rows[-1]['accuracy']:.4g} |" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--min_gap", 2], "`min_gap`: checkpoint-000002 was written with 1, this run has 2; "),
        (["--swap_windows"], "`swap_windows`: checkpoint-000002 was written with False, this run has True; "),
    ],
)
def test_a_changed_option_is_refused_when_a_run_resumes(
    changed, message, lrs2, networks, kill_main, run_main, tmp_path
):
    options = [*training(lrs2, networks[0], tmp_path), "--checkpoint_every_steps", 2]
    kill_main(2, SCRIPT, *options)
    status, _, stderr = run_main(SCRIPT, *options, *changed)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{SCRIPT}: {message}")


@pytest.mark.parametrize(("network", "place", "found"), [("teacher", 0, "student"), ("student", 1, "teacher")])
def test_a_model_of_the_other_network_is_refused(network, place, found, lrs2, networks, run_main, tmp_path):
    options = [*training(lrs2, networks[place], tmp_path / "out"), "--network", network]
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 1
    message = f"{SCRIPT}: `network` is {network}, but `model` ({networks[place]}) is a {found}."
    assert stderr.splitlines()[-1] == message


def test_a_target_without_a_teacher_is_refused(lrs2, networks, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(lrs2, networks[0], tmp_path), "--distill", "logits")
    assert (status, "--distill needs --teacher" in stderr) == (2, True)


def test_targets_of_another_draw_are_refused(lrs2, networks, run_main, tmp_path):
    (student, teacher), cache = networks, tmp_path / "cache"
    options = list_distillation_options(teacher, cache)
    for seed, status in ((1, 0), (2, 1)):
        command = [*training(lrs2, student, tmp_path / str(seed)), *options, "--seed", seed]
        assert (found := run_main(SCRIPT, *command))[0] == status, found
    message = f"{SCRIPT}: the cache {cache} was written with `seed` 1, this run has 2; choose another folder."
    assert found[2].splitlines()[-1] == message


def test_a_damaged_clip_may_be_skipped(lrs2, networks, run_main, caplog, tmp_path):
    root = shutil.copytree(lrs2, tmp_path / "lrs2")
    shutil.copy(lrs2.parent / "clips.txt", tmp_path)
    picture = root / "video0" / "00000" / "3.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    status, _, stderr = run_main(SCRIPT, *training(root, networks[0], tmp_path / "out"), "--skip_damaged")
    assert status == 0, stderr
    assert f"1 of the 6 clips can't be read and left out, the first is {picture}" in caplog.text


@pytest.mark.slow
def test_two_processes_train_a_student_with_a_teacher_whose_targets_are_kept(lrs2, networks, run_script, tmp_path):
    (student, teacher), folder, cache = networks, tmp_path / "out", tmp_path / "cache"
    options = [*training(lrs2, student, folder), "--num_epochs", 2, *list_distillation_options(teacher, cache)]
    run_script(SCRIPT, *options, ranks="forked")
    # Both processes' own: four clips in an epoch of one step, others in the next.
    assert assert_distilled(folder, student, cache) in (16, 20, 24)


def test_a_teacher_is_trained_as_the_authors_draw_and_evaluated(lrs2, networks, run_main, tmp_path):
    options = ["--network", "teacher"]
    status, _, stderr = run_main(SCRIPT, *training(lrs2, networks[1], tmp_path / "out"), *options)
    assert status == 0, stderr
    assert isinstance(AutoModel.from_pretrained(tmp_path / "out"), VocaLiSTForSequenceClassification)
    places = ["--model", tmp_path / "out", "--data_dir", lrs2, "--list", lrs2.parent / "clips.txt", "--device", "cpu"]
    status, printed, stderr = run_main("evaluate_mtdvocalist.py", *places)
    assert status == 0, stderr
    assert printed.startswith("6 clips\n")
    shares = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in printed.splitlines()[2:]}
    assert {name: len(values) for name, values in shares.items()} == {"official": 6, "exact": 6}
    assert all(0 <= value <= 100 for values in shares.values() for value in values)


@pytest.mark.slow
def test_the_toy_prints_its_table_and_saves_a_model(run_toy, monkeypatch, tmp_path):
    monkeypatch.setattr("toy.mtdvocalist.CLIPS_PER_BATCH", 2)
    monkeypatch.setattr("toy.mtdvocalist.MAX_SHIFT", 3)
    folder, small = tmp_path / "toy", "--toy_seeds 0 --toy_clips 2 --toy_test_clips 1 1 --toy_steps 1 1"
    printed = run_toy(SCRIPT, folder, small)
    assert re.findall(r"^(teacher|labels|logits|attention) +\d", printed, re.MULTILINE) == [
        "teacher",
        "labels",
        "logits",
        "attention",
    ]
    assert "attention against labels alone: loss" in printed
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "processor_config.json",
    }  # fmt: skip
    model = AutoModel.from_pretrained(folder)
    assert (model.config.distillation, model.mtd_loss) == (None, None)
