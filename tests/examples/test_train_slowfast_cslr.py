"""The training of SlowFastSign on small clips of every layout."""

from pathlib import Path

import pytest
import torch
from sign_clips import GLOSSES, WRITERS, save_sign_model, write_own_clips
from transformers import AutoModelForCTC

from avzoo import SlowFastSignProcessor
from avzoo.training.reports import read_metrics

SCRIPT = "train_slowfast_cslr.py"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_own_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    """A start that knows no gloss."""
    return save_sign_model(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def sign_model(tmp_path_factory) -> Path:
    return save_sign_model(tmp_path_factory.mktemp("sign_model"), GLOSSES)


def training(clips: Path, model: Path, output: Path, *options: object) -> list[object]:
    places = ["--dataset", "folder", "--data_dir", clips, "--model", model, "--output_dir", output]
    return [*places, "--no_progress_bar", *options]


def read_classifier(folder: Path, name: str) -> torch.Tensor:
    return getattr(AutoModelForCTC.from_pretrained(folder), name).weight.detach()


def test_a_network_learns_the_vocabulary_of_its_clips(clips, backbone, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(clips, backbone, tmp_path), "--num_epochs", 1)
    assert status == 0, stderr
    processor = SlowFastSignProcessor.from_pretrained(tmp_path)
    assert processor.glosses == GLOSSES
    model = AutoModelForCTC.from_pretrained(tmp_path)
    assert model.config.vocab_size == 5
    before = AutoModelForCTC.from_pretrained(backbone).state_dict()
    same = [
        name
        for name, value in model.named_parameters()
        if "classifier" not in name and torch.equal(value, before[name])
    ]
    assert same == []
    (evaluation,) = [row for row in read_metrics(tmp_path) if row["split"] == "evaluation"]
    assert evaluation["step"] == 2  # four clips, two at a time
    assert {"WER", "WER conv"} <= evaluation.keys()
    (logged,) = [row for row in read_metrics(tmp_path) if row["split"] == "train"]
    assert {"loss", "sequence", "conv", "distillation", "slow_sequence", "fast_conv"} <= logged.keys()
    card = (tmp_path / "README.md").read_text()
    assert "`folder`: 4 clips for training, 2 for validation, 4 glosses" in card


@pytest.mark.parametrize("dataset", ["phoenix14", "phoenix14t", "csl_daily"])
def test_the_public_data_sets_are_trained_on(dataset, sign_model, run_main, tmp_path):
    root = WRITERS[dataset](tmp_path / "data")
    options = ["--dataset", dataset, "--data_dir", root, "--model", sign_model, "--output_dir", tmp_path / "out"]
    status, _, stderr = run_main(SCRIPT, *options, "--max_steps", 1, "--no_progress_bar")
    assert status == 0, stderr
    processor = SlowFastSignProcessor.from_pretrained(tmp_path / "out")
    assert processor.glosses == GLOSSES  # the model's, which has all of the data set's
    assert processor.top_rows == (6 if dataset == "csl_daily" else 0)
    assert processor.aspect_ratio == (1.0 if dataset == "csl_daily" else 210 / 260)


def test_glosses_that_the_model_knows_keep_their_weights(clips, run_main, tmp_path, caplog):
    start = save_sign_model(tmp_path / "start", ["REGEN", "WOLKE", "KLAR"])
    options = training(clips, start, tmp_path / "out", "--max_steps", 1, "--learning_rate", 0)
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    assert "4 classes before, 5 now; 2 of 4 glosses keep their weights, 2 are new, 1 go." in caplog.text
    for name in ("classifier", "slow_classifier", "fast_classifier"):
        before, after = read_classifier(start, name), read_classifier(tmp_path / "out", name)
        assert torch.equal(after[:, [0, 1, 4]], before[:, [0, 3, 1]])  # the blank, KLAR and REGEN


def test_a_backbone_gets_a_new_classifier(clips, backbone, run_main, tmp_path, caplog):
    options = training(clips, backbone, tmp_path, "--max_steps", 1, "--learning_rate", 0)
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    assert "9 classes before, 5 now; 0 of 4 glosses keep their weights, 4 are new, 0 go." in caplog.text


def test_a_model_that_knows_all_glosses_keeps_its_vocabulary(clips, run_main, tmp_path, caplog):
    start = save_sign_model(tmp_path / "start", [*GLOSSES, "WOLKE"])
    status, _, stderr = run_main(SCRIPT, *training(clips, start, tmp_path / "out", "--max_steps", 1))
    assert status == 0, stderr
    assert "classifier is replaced" not in caplog.text
    assert SlowFastSignProcessor.from_pretrained(tmp_path / "out").glosses == [*GLOSSES, "WOLKE"]


def test_a_model_saved_for_inference_gets_new_auxiliary_heads(clips, run_main, tmp_path, caplog):
    start = save_sign_model(tmp_path / "start", GLOSSES, auxiliary_branches=False)
    status, _, stderr = run_main(SCRIPT, *training(clips, start, tmp_path / "out", "--max_steps", 1))
    assert status == 0, stderr
    assert "The model was saved for inference; its auxiliary heads are new." in caplog.text
    assert AutoModelForCTC.from_pretrained(tmp_path / "out").config.auxiliary_branches


def test_parts_of_the_recipe_can_be_left_out(clips, sign_model, run_main, tmp_path):
    parts = ["--no_auxiliary_branches", "--mask_padded_rows", "--distillation_weight", 0, "--rescaling", 0]
    options = training(clips, sign_model, tmp_path, "--max_steps", 1, *parts, "--mirror_share", 0)
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    config = AutoModelForCTC.from_pretrained(tmp_path).config
    assert (config.auxiliary_branches, config.count_padded_rows, config.distillation_weight) == (False, False, 0)


def test_a_clip_too_short_for_its_glosses_is_named_before_training(backbone, run_main, tmp_path):
    clips = write_own_clips(tmp_path / "clips")
    table = (clips / "glosses.csv").read_text()
    (clips / "glosses.csv").write_text(table.replace("clip0,MORGEN REGEN", "clip0,REGEN REGEN REGEN"))
    status, _, stderr = run_main(SCRIPT, *training(clips, backbone, tmp_path / "out"))
    assert status == 1
    assert stderr.splitlines()[-1] == (
        f"{SCRIPT}: 1 of the 4 clips are too short to be trained on by CTC: clip0 (14 frames give 4 steps, its 3 "
        "glosses need 5). Correct their glosses. Pass --skip_short to leave them out."
    )
    assert not (tmp_path / "out").exists()


def test_clips_too_short_can_be_left_out(backbone, run_main, tmp_path, caplog):
    clips = write_own_clips(tmp_path / "clips")
    table = (clips / "glosses.csv").read_text()
    (clips / "glosses.csv").write_text(table.replace("clip0,MORGEN REGEN", "clip0,REGEN REGEN REGEN"))
    status, _, stderr = run_main(SCRIPT, *training(clips, backbone, tmp_path / "out", "--skip_short", "--max_steps", 1))
    assert status == 0, stderr
    assert "1 of the 4 clips are too short for their glosses and left out, the first is clip0 (14 frames" in caplog.text
    assert "3 clips for training" in (tmp_path / "out" / "README.md").read_text()


def test_damaged_clips_can_be_left_out(backbone, run_main, tmp_path, caplog):
    clips = write_own_clips(tmp_path / "clips")
    content = (clips / "clip1.mp4").read_bytes()
    (clips / "clip1.mp4").write_bytes(content[: len(content) // 2])
    options = training(clips, backbone, tmp_path / "out", "--max_steps", 1)
    status, _, stderr = run_main(SCRIPT, *options, "--skip_damaged")
    assert status == 0, stderr
    assert "1 of the 4 clips can't be read and left out" in caplog.text
    assert "3 clips for training" in (tmp_path / "out" / "README.md").read_text()


def test_an_empty_file_is_named_at_once(backbone, run_main, tmp_path):
    clips = write_own_clips(tmp_path / "clips")
    (clips / "clip5.mp4").write_bytes(b"")
    status, _, stderr = run_main(SCRIPT, *training(clips, backbone, tmp_path / "out"))
    assert status == 1
    assert "1 of the 1 files are empty, the first is" in stderr
    assert "clip5.mp4" in stderr


def test_a_gloss_that_the_vocabulary_file_lacks_is_named(clips, backbone, run_main, tmp_path):
    (tmp_path / "glosses.txt").write_text("KLAR\nMORGN\nNACHT\nREGEN\n")
    options = training(clips, backbone, tmp_path / "out", "--vocabulary_file", tmp_path / "glosses.txt")
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 1
    assert "`glosses of clip clip0` hold 'MORGEN', which the vocabulary of 4 glosses lacks; similar are MORGN" in stderr
    status, _, stderr = run_main(SCRIPT, *options, "--unknown_glosses", "drop", "--max_steps", 1)
    assert status == 0, stderr
    assert SlowFastSignProcessor.from_pretrained(tmp_path / "out").glosses == ["KLAR", "MORGN", "NACHT", "REGEN"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "folder"], "`data_dir` must be given with --dataset folder"),
        ([], "`dataset` must be given, one of phoenix14, phoenix14t, csl_daily, folder"),
        (["--dataset", "phoenix14", "--data_dir", ".", "--list", "x.csv"], "`list` (x.csv) has no use for --dataset"),
        (["--dataset", "folder", "--data_dir", "none"], "`data_dir` (none) is no folder"),
    ],
)
def test_options_that_name_no_data_are_refused(options, message, sign_model, run_main):
    status, _, stderr = run_main(SCRIPT, "--model", sign_model, *options)
    assert status == 1
    assert message in stderr


def test_a_model_is_needed(clips, run_main):
    status, _, stderr = run_main(SCRIPT, "--dataset", "folder", "--data_dir", clips)
    assert status == 2
    assert "--model is needed: a folder that `avzoo convert slowfast_cslr` wrote" in stderr


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(clips, sign_model, check_resumed_run):
    options = training(clips, sign_model, Path("overridden"), "--ema_decay", 0.9)
    folder = check_resumed_run(SCRIPT, *options, "--max_steps", 4, "--log_every_steps", 1)
    assert [row["step"] for row in read_metrics(folder) if row["split"] == "train"] == [1, 2, 3, 4]


@pytest.mark.slow
def test_two_processes_share_clips_and_validation(clips, sign_model, run_script, tmp_path):
    options = training(clips, sign_model, tmp_path, "--batch_size", 1, "--max_steps", 2)
    run_script(SCRIPT, *options, ranks="forked")
    (evaluation,) = [row for row in read_metrics(tmp_path) if row["split"] == "evaluation"]
    assert evaluation["epoch"] == 1.0
    assert "WER" in evaluation
