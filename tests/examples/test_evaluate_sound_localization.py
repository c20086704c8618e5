"""A public test set in its owners' layout, by a small network with random weights."""

import json

import pytest
import torch
from contract.tiny import TINY, tiny_model
from localization_sets import write_set

from avzoo import ACLProcessor, SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.metrics import consensus_iou, draw_truth, success_rate, to_pixel_boxes
from avzoo.pipelines.sound_source_localization.evaluation import evaluate_localization
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS, read_test_set
from avzoo.zoo import find_row

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


@torch.no_grad()
def test_acl_ssl_is_scored_by_its_own_protocol_too(run_main, tmp_path):
    """cIoU at 0.8 is that of each pair by itself, its map made at 224 x 224 and cut by >=."""
    hears_128_bands = {**TINY["ACLForSoundLocalization"].config["audio_config"], "num_mel_bins": 128, "patch_size": 16}
    model = tiny_model(find_row("acl_ssl"), audio_config=hears_128_bands)
    processor, root = ACLProcessor(image_size=32), write_set(tmp_path / "set", "vggss")
    model.save_pretrained(tmp_path / "acl")
    processor.save_pretrained(tmp_path / "acl")
    words = ["--model", tmp_path / "acl", "--dataset", "vggss", "--root", root, "--device", "cpu", "--fixed_thresholds"]
    status, out, err = run_main(SCRIPT, *words, "--report", tmp_path / "report.json")
    assert status == 0, err
    assert "cut at fixed thresholds" in out
    found = json.loads((tmp_path / "report.json").read_text())["at_thresholds"]
    assert len(found) == 19
    ious = []
    for sample in read_test_set("vggss", root):
        inputs = processor(images=sample["image"], audio=sample["audio"])
        heat = model.make_heatmap(model(**inputs).logits, (224, 224)).numpy()
        truth = draw_truth([to_pixel_boxes(sample["boxes"], sample["box_format"], 224)], 224)
        ious += consensus_iou(heat, truth, 0.8, inclusive=True).tolist()
    assert found["0.8"]["mean_iou"] == pytest.approx(sum(ious) / len(ious), abs=1e-3)
    assert found["0.8"]["ciou"] == pytest.approx(success_rate(ious))
