"""A public test set in its owners' layout, by a small network with random weights."""

import json

import pytest
import torch
from localization_sets import write_set

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.pipelines.sound_source_localization.evaluation import evaluate_localization
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS, read_test_set

SCRIPT = "evaluate_sound_localization.py"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = SSLAlignmentConfig(hidden_sizes=(4, 6, 8, 12), depths=(1, 1, 1, 1), projection_dim=10, use_objectness=True)
    SSLAlignmentForSoundLocalization(config).save_pretrained(folder)
    SSLAlignmentProcessor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dataset", PROTOCOLS)
def test_the_report_is_that_of_the_evaluation(run_main, model_folder, tmp_path, dataset):
    root = write_set(tmp_path / dataset, dataset)
    status, out, err = run_main(
        SCRIPT, "--model", model_folder, "--dataset", dataset, "--root", root, "--device", "cpu"
    )
    assert status == 0, err
    model = SSLAlignmentForSoundLocalization.from_pretrained(model_folder)
    processor = SSLAlignmentProcessor.from_pretrained(model_folder)
    report = evaluate_localization(model, processor, read_test_set(dataset, root), dataset)
    assert report.describe() in out
    assert "multiply-adds: " in out


def test_missing_media_are_reported_and_the_iou_of_each_sample_is_kept(run_main, model_folder, tmp_path):
    root = write_set(tmp_path / "is3", "is3")
    (root / "images/red_green_0_red.jpg").unlink()
    words = ["--model", model_folder, "--dataset", "is3", "--root", root, "--device", "cpu"]
    status, out, err = run_main(SCRIPT, *words, "--report", tmp_path / "report.json")
    assert status == 0, err
    assert "IS3: 5 of 6 samples" in out
    assert "1 missing: red_green_0_red" in out
    assert len(json.loads((tmp_path / "report.json").read_text())["samples"]) == 5


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_computed(run_main, model_folder, tmp_path):
    root = write_set(tmp_path / "is3", "is3")
    words = ["--model", model_folder, "--dataset", "is3", "--root", root, "--device", "cpu"]
    status, out, err = run_main(SCRIPT, *words, "--report", tmp_path / "none" / "report.json")
    assert (status, out) == (1, "")
    assert "none/report.json` cannot be written" in err


def test_errors_are_one_line(run_main, model_folder, tmp_path):
    words = ["--model", model_folder, "--dataset", "is3", "--device", "cpu"]
    status, _, err = run_main(SCRIPT, *words, "--root", tmp_path)
    assert status == 1
    assert err.strip().splitlines()[-1].startswith(f"{SCRIPT}: {tmp_path}/IS3_annotation.json is not there")
    root = write_set(tmp_path / "is3", "is3")
    (root / "audio_wav/red_green_0_red.wav").write_bytes(b"no sound")
    status, _, err = run_main(SCRIPT, *words, "--root", root)
    assert status == 1
    assert err.strip().splitlines()[-1].startswith(f"{SCRIPT}: `samples`: red_green_0_red: ")
