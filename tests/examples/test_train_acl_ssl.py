"""The training of ACL-SSL on small files: what is trained, kept, resumed, refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from small_acl import small_config
from transformers import AutoModel

from avzoo import ACLForSoundLocalization, ACLProcessor
from avzoo.audio import write_wav
from avzoo.training.reports import read_metrics

SCRIPT = "train_acl_ssl.py"
FAST = ["--batch_size", 3, "--val_share", 0.3, "--learning_rate", 0.01, "--no_progress_bar"]
NUMBER = 10


@pytest.fixture(scope="module")
def vggsound(tmp_path_factory) -> Path:
    """Ten clips in the authors' layout, of half a second."""
    root, generator = tmp_path_factory.mktemp("vggsound"), np.random.default_rng(0)
    (root / "audio").mkdir()
    names = [f"video{number}_{1000 * number}_{1000 * number + 10000}" for number in range(NUMBER)]
    for name in names:
        (root / "frames" / name).mkdir(parents=True)
        pixels = generator.integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(root / "frames" / name / "image_050.jpg")
        write_wav(root / "audio" / f"{name}.wav", generator.normal(0, 0.1, 8000).astype(np.float32), 16000)
    (root / "train.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Folder of a small network with random weights, and its processor."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = ACLForSoundLocalization(small_config(confidence_threshold=0.5))
    network.mask_scale.data.fill_(8.0)  # as after a training
    network.save_pretrained(folder)
    ACLProcessor(image_size=32, clip_seconds=0.4).save_pretrained(folder)
    return folder


def training(root: Path, model: Path, output: Path) -> list[object]:
    places = ["--dataset", "vggsound", "--data_dir", root, "--list", root / "train.txt", "--model", model]
    return [*places, "--output_dir", output, *FAST]


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModel.from_pretrained(folder).named_parameters())


def test_the_embedder_is_trained_and_the_encoders_are_not(vggsound, model, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), "--num_epochs", 1)
    assert status == 0, stderr
    before, after = read_weights(model), read_weights(tmp_path)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"audio_embedder", "mask_scale", "mask_shift"}
    assert float(after["mask_scale"].detach()) == pytest.approx(10, abs=0.1)  # begun anew, not at 8
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.config.confidence_threshold is None  # of other weights
    assert ACLProcessor.from_pretrained(tmp_path).image_size == 32


def test_the_run_is_measured_on_clips_that_it_does_not_train_on(vggsound, model, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), "--num_epochs", 1)
    assert status == 0, stderr
    (evaluation,) = [row for row in read_metrics(tmp_path) if row["split"] == "evaluation"]
    assert evaluation["step"] == 2  # seven clips in batches of three: the last, smaller batch is left out
    assert {"loss", "image", "feature", "area", "R@1 image to sound", "R@1 sound to image"} <= evaluation.keys()
    card = (tmp_path / "README.md").read_text()
    assert "`vggsound`: 7 clips for training, 3 held out for evaluation" in card


def test_a_run_can_go_on_with_trained_weights_and_expect_larger_objects(vggsound, model, run_main, tmp_path):
    options = ["--keep_trained", "--positive_area", 0.25, "--max_steps", 1]
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), *options)
    assert status == 0, stderr
    assert float(read_weights(tmp_path)["mask_scale"].detach()) == pytest.approx(8, abs=0.1)
    assert AutoModel.from_pretrained(tmp_path).config.positive_area == 0.25


def test_a_checkpoint_holds_trained_weights_alone(vggsound, model, run_main, tmp_path):
    options = ["--max_steps", 1, "--checkpoint_every_steps", 1]
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), *options)
    assert status == 0, stderr
    with safe_open(tmp_path / "checkpoint-000001" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {name.split(".")[1] for name in names} == {"audio_embedder", "mask_scale", "mask_shift"}


def test_batches_of_one_clip_are_refused(vggsound, model, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), "--batch_size", 1)
    assert status != 0
    assert "--batch_size must be 2 or more: a clip is told from the others of its batch" in stderr


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(vggsound, model, check_resumed_run):
    options = training(vggsound, model, Path("overridden"))
    folder = check_resumed_run(SCRIPT, *options, "--max_steps", 4, "--log_every_steps", 1)
    assert [row["step"] for row in read_metrics(folder) if row["split"] == "train"] == [1, 2, 3, 4]


@pytest.mark.slow
def test_two_processes_train_together(vggsound, model, run_script, tmp_path):
    run_script(SCRIPT, *training(vggsound, model, tmp_path), "--max_steps", 2, ranks="forked")
    before, after = read_weights(model), read_weights(tmp_path)
    assert not torch.equal(before["audio_embedder.fc1.weight"], after["audio_embedder.fc1.weight"])
    assert torch.equal(before["audio_encoder.layers.0.fc1.weight"], after["audio_encoder.layers.0.fc1.weight"])


def test_what_is_missing_is_told(vggsound, model, run_main, tmp_path):
    data = ["--dataset", "vggsound", "--data_dir", vggsound, "--output_dir", tmp_path / "out"]
    listed = [*data, "--list", vggsound / "train.txt"]
    for options, status, message in (
        (listed, 2, "--model is needed: a folder that `avzoo convert acl_ssl` wrote"),
        ([*data, "--model", model], 1, "`list` must be given with --dataset vggsound"),
        ([*listed, "--model", model, "--positive_area", 1.5], 1, "`positive_area` must be"),
        ([*listed, "--model", model, "--val_share", 0.9], 1, "`val_share` (0.9) leaves 1 of 10 clips to train on"),
    ):
        found, _, stderr = run_main(SCRIPT, *options)
        assert (found, message in stderr) == (status, True), stderr
