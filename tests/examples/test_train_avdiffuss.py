"""The training and evaluation examples: on VoxCeleb2, in two processes, on pairs, on the toy."""

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.tiny.avdiffuss import tiny_separation_parts

from avzoo import AVDiffuSSPipeline
from avzoo.audio import write_wav
from avzoo.training.reports import read_metrics
from avzoo.video import write_video

SCRIPT = "train_avdiffuss.py"


@pytest.fixture(scope="module")
def voxceleb2(tmp_path_factory) -> Path:
    """Utterances of 2.2 s: of four people to train on, of two for testing."""
    root, random = tmp_path_factory.mktemp("voxceleb2"), np.random.default_rng(0)
    for split, speakers in (("dev", ("id1", "id2", "id3", "id4")), ("test", ("id1", "id2"))):
        for speaker in speakers:
            for kind in ("wav", "mp4"):
                (root / split / kind / speaker / "video").mkdir(parents=True)
            sound = 0.1 * random.standard_normal(35200).astype(np.float32)
            write_wav(root / split / "wav" / speaker / "video" / "1.wav", sound, 16000)
            frames = random.integers(0, 256, (55, 32, 32, 3), dtype=np.uint8)
            write_video(root / split / "mp4" / speaker / "video" / "1.mp4", frames, 25)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    AVDiffuSSPipeline(**tiny_separation_parts()).save_pretrained(folder)
    return folder


def training(voxceleb2: Path, model: Path, output: Path) -> list[object]:
    steps = ["--max_steps", 1, "--batch_size", 1, "--learning_rate", 0.01, "--no_progress_bar"]
    return ["--model", model, "--data_dir", voxceleb2, "--output_dir", output, *steps]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    pipe = AVDiffuSSPipeline.from_pretrained(folder)
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    return {f"{name}.{key}": value for name, part in networks.items() for key, value in part.state_dict().items()}


def changed(before: Path, after: Path) -> set[str]:
    """The networks of two folders that differ."""
    old, new = weights(before), weights(after)
    return {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}


def test_all_four_networks_learn(voxceleb2, model, run_main, tmp_path):
    options = ["--snr_range", -6, 12]
    status, _, stderr = run_main(SCRIPT, *training(voxceleb2, model, tmp_path / "out"), *options)
    assert status == 0, stderr
    networks = {"denoiser", "denoiser_visual_encoder", "score_model", "score_visual_encoder"}
    assert changed(model, tmp_path / "out") == networks
    pipe = AVDiffuSSPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    noise = np.random.default_rng(1).standard_normal(16000).astype(np.float32)
    face = voxceleb2 / "dev/mp4/id1/video/1.mp4"
    assert np.isfinite(pipe(noise, face, num_inference_steps=2).audios[0]).all()


def test_a_frozen_denoiser_stays_as_it_is(voxceleb2, model, run_main, tmp_path):
    options = ["--freeze_denoiser", "--misaligned", "--reduction", "mean", "--ema_decay", "none"]
    status, _, stderr = run_main(SCRIPT, *training(voxceleb2, model, tmp_path / "out"), *options)
    assert status == 0, stderr
    assert changed(model, tmp_path / "out") == {"score_model", "score_visual_encoder"}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(voxceleb2, model, check_resumed_run):
    options = training(voxceleb2, model, Path("overridden"))
    folder = check_resumed_run(SCRIPT, *options, "--max_steps", 4, "--log_every_steps", 1)
    assert [row["step"] for row in read_metrics(folder)] == [1, 2, 3, 4]
    assert "`voxceleb2`: mixtures of 4 utterances." in (folder / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--loss_type", "mae"], "`loss_type`: checkpoint-000002 was written with 'mse', this run has 'mae'; "),
        (["--misaligned"], "`misaligned`: checkpoint-000002 was written with False, this run has True; "),
        (["--dataset", "folder"], "`dataset`: checkpoint-000002 was written with 'voxceleb2', this run has 'folder'; "),
    ],
)
def test_a_changed_option_is_refused_when_a_run_resumes(
    changed, message, voxceleb2, model, kill_main, run_main, tmp_path
):
    options = [*training(voxceleb2, model, tmp_path), "--max_steps", 3, "--checkpoint_every_steps", 2]
    kill_main(2, SCRIPT, *options)
    status, _, stderr = run_main(SCRIPT, *options, *changed)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{SCRIPT}: {message}")


@pytest.mark.slow
def test_a_validation_loss_is_of_the_same_mixtures_in_every_run(voxceleb2, model, run_main, tmp_path):
    found = []
    for name in ("one", "other"):
        options = [*training(voxceleb2, model, tmp_path / name), "--val_split", "test", "--max_steps", 2]
        status, _, stderr = run_main(SCRIPT, *options, "--evaluate_every_steps", 1)
        assert status == 0, stderr
        found.append([row for row in read_metrics(tmp_path / name) if row["split"] == "evaluation"])
    assert found[0] == found[1]
    assert [row["step"] for row in found[0]] == [1, 2]
    assert all(row["loss"] == pytest.approx((row["loss_denoiser"] + row["loss_score"]) / 2) for row in found[0])
    assert "| loss_score, after 2 steps" in (tmp_path / "one" / "README.md").read_text()


@pytest.mark.slow
def test_own_clips_are_trained_on(voxceleb2, model, run_main, caplog, tmp_path):
    clips = tmp_path / "clips"
    for speaker in ("id1", "id2", "id3"):
        (clips / speaker).mkdir(parents=True)
        for kind, suffix in (("wav", "wav"), ("mp4", "mp4")):
            shutil.copy(voxceleb2 / "dev" / kind / speaker / "video" / f"1.{suffix}", clips / speaker)
    (clips / "id3" / "1.mp4").write_bytes(b"no video")
    options = [*training(clips, model, tmp_path / "out"), "--dataset", "folder", "--skip_damaged"]
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    assert "1 of the 3 utterances can't be read and left out" in caplog.text
    assert "`folder`: mixtures of 2 utterances." in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data_dir", "nowhere"], "`data_dir` (nowhere) is no folder."),
        (["--dataset", "folder", "--data_dir", "{empty}"], "There is no {empty}/*/**/*.mp4; is `root` the dataset's"),
        (
            ["--data_dir", "{data}", "--kind", "noise", "--noise", "{empty}"],
            "`noise` ({empty}) is no folder of WAV",
        ),
    ],
)
def test_data_that_is_not_there_is_told(options, message, voxceleb2, model, run_main, tmp_path):
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "data": voxceleb2}
    options = [option.format(**places) for option in options]
    status, _, stderr = run_main(SCRIPT, "--model", model, *options, "--output_dir", tmp_path / "out")
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{SCRIPT}: {message.format(**places)}")


@pytest.mark.slow
def test_two_processes_train_together(voxceleb2, model, run_script, tmp_path):
    run_script(SCRIPT, *training(voxceleb2, model, tmp_path / "out"), ranks="forked")
    assert len(changed(model, tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--data_dir must be given, or --toy"),
        (["--data_dir", "x", "--denoiser_only", "--freeze_denoiser"], "leave nothing to train"),
        (["--data_dir", "x", "--model", "y", "--share_visual_encoder"], "are for a new pipeline; --model has its own"),
        (["--data_dir", "x", "--dataset", "folder", "--split", "dev"], "--dataset folder has no splits"),
    ],
)
def test_options_that_say_too_little_are_named(run_main, options, message):
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 2
    assert message in stderr


def test_pairs_are_evaluated(voxceleb2, model, run_main, tmp_path):
    pairs = [{"identifier1": "id1/video/1", "identifier2": "id2/video/1"}]
    (tmp_path / "pairs.pckl").write_bytes(pickle.dumps(pairs))
    options = ["--model", model, "--data_dir", voxceleb2, "--pairs", tmp_path / "pairs.pckl", "--dataset", "voxceleb2"]
    options += ["--denoiser_only", "--whole", "--metrics", "si_sdr"]
    status, stdout, stderr = run_main("evaluate_avdiffuss.py", *options)
    assert status == 0, stderr
    assert re.search(r"2 voices of pairs.pckl\nsi_sdr +-?\d+\.\d{3}\n", stdout), stdout


@pytest.mark.slow
def test_the_toy_prints_its_table_and_saves_a_pipeline(run_toy, monkeypatch, tmp_path):
    for name, value in {"BATCH_SIZE": 2, "TRAIN_SECONDS": 1.04, "TEST_SECONDS": 1.04}.items():
        monkeypatch.setattr(f"toy.avdiffuss.{name}", value)
    folder, small = tmp_path / "toy", "--toy_clips 1 --toy_test_clips 1 --toy_steps 1 1 --toy_sampling_steps 1"
    printed = run_toy(SCRIPT, folder, f"{small} --toy_seeds 0")
    assert "follows the face" in printed
    assert re.search(r"^fast +-?\d+\.\d{3} ", printed, re.MULTILINE), printed
    assert {"README.md", "model_index.json"} <= {path.name for path in folder.iterdir()}
    pipe = AVDiffuSSPipeline.from_pretrained(folder)
    assert pipe.sampling_rate == 8000
    assert pipe.denoiser.dtype == torch.float32
