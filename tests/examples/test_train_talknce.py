"""The training example: on AVA's layout, on two processes, and on the toy."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from avzoo import ActiveSpeakerProcessor, LoCoNetConfig, LoCoNetForActiveSpeakerDetection
from avzoo.audio import write_wav
from avzoo.training.reports import read_metrics

SCRIPT = "train_talknce.py"


@pytest.fixture(scope="module")
def ava(tmp_path_factory) -> Path:
    """The layout of the authors' scripts: two training tracks that are seen together, one of validation."""
    root = tmp_path_factory.mktemp("data") / "AVADataPath"
    generator = np.random.default_rng(0)
    (root / "csv").mkdir(parents=True)
    for split, names, frames in (("train", ("a", "b"), (9, 6)), ("val", ("a",), (8,))):
        rows = [
            "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id,label_id,"
            "instance_id"
        ]
        for name, count in zip(names, frames, strict=True):
            video = f"{split:_<11}"
            entity = f"{video}_{name}"
            faces = root / "clips_videos" / split / video / entity
            faces.mkdir(parents=True)
            sounds = root / "clips_audios" / split / video
            sounds.mkdir(parents=True, exist_ok=True)
            write_wav(sounds / f"{entity}.wav", generator.normal(0, 0.1, count * 640).astype(np.float32), 16000)
            for frame in range(count):
                time = round(900 + frame * 0.04, 2)
                speaks = frame % 4 > 1
                label = "SPEAKING_AUDIBLE" if speaks else "NOT_SPEAKING"
                rows.append(f"{video},{time},0.1,0.1,0.4,0.5,{label},{entity},{int(speaks)},{entity}:0")
                picture = generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)
                Image.fromarray(picture).save(faces / f"{time:.2f}.jpg")
        (root / "csv" / f"{split}_orig.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A small LoCoNet for two faces."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    config = LoCoNetConfig(
        embedding_size=8,
        trunk_channels=(4, 4, 6, 8),
        num_temporal_layers=1,
        num_attention_heads=2,
        num_context_layers=1,
        num_speakers=2,
        audio_channels=(4, 4, 6, 8),
        num_mel_bins=16,
        frame_size=32,
    )
    LoCoNetForActiveSpeakerDetection(config).save_pretrained(folder)
    ActiveSpeakerProcessor(num_bins=16, frame_size=32, num_speakers=2).save_pretrained(folder)
    return folder


def arguments(ava: Path, start: Path, output: Path) -> list[object]:
    places = ["--data_dir", ava, "--model", start, "--output_dir", output]
    return [*places, "--num_epochs", 1, "--nce_frames", "all"]


def assert_trained(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder)
    assert model.config.nce_frames == "all"
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(np.zeros((5, 32, 32), np.uint8), np.zeros(3200, np.float32))
    assert model(inputs.pixel_values, inputs.input_features).logits.isfinite().all()
    assert (folder / "best").is_dir()


def test_it_trains_on_avas_layout(ava, start, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *arguments(ava, start, tmp_path / "out"))
    assert status == 0, stderr
    assert_trained(tmp_path / "out")


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(ava, start, check_resumed_run):
    options = arguments(ava, start, Path("overridden"))
    folder = check_resumed_run(SCRIPT, *options, "--num_epochs", 3)  # of two steps
    rows = read_metrics(folder)
    assert [row["step"] for row in rows if row["split"] == "evaluation"] == [2, 4, 6]
    assert f"| mAP, after 6 steps, 3 epochs | {rows[-1]['mAP']:.4g} |" in (folder / "README.md").read_text()
    assert "2 face tracks for training, 1 for evaluation." in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--max_frames", 5], "`max_frames`: checkpoint-000002 was written with 200, this run has 5; "),
        (["--talknce_weight", 0], "`talknce_weight`: checkpoint-000002 was written with 0.3, this run has 0.0; "),
        (["--no-augment"], "`augment`: checkpoint-000002 was written with True, this run has False; "),
    ],
)
def test_a_changed_option_is_refused_when_a_run_resumes(changed, message, ava, start, kill_main, run_main, tmp_path):
    options = [*arguments(ava, start, tmp_path), "--num_epochs", 2, "--checkpoint_every_steps", 2]
    kill_main(3, SCRIPT, *options)
    status, _, stderr = run_main(SCRIPT, *options, *changed)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{SCRIPT}: {message}")


def test_a_model_of_another_host_is_refused(ava, start, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *arguments(ava, start, tmp_path / "out"), "--host", "talknet")
    assert status == 1
    assert stderr.splitlines()[-1] == f"{SCRIPT}: `host` is talknet, but `model` ({start}) is a loconet."


def test_tracks_in_which_nobody_speaks_are_refused(ava, start, run_main, tmp_path):
    root = shutil.copytree(ava, tmp_path / "ava")
    table = root / "csv" / "val_orig.csv"
    table.write_text(table.read_text().replace("SPEAKING_AUDIBLE", "NOT_SPEAKING"))
    status, _, stderr = run_main(SCRIPT, *arguments(root, start, tmp_path / "out"))
    assert status == 1
    assert stderr.splitlines()[-1] == f"{SCRIPT}: {table}: in none of the 1 tracks that can be used a face speaks."


def test_a_damaged_track_may_be_skipped(ava, start, run_main, caplog, tmp_path):
    root = shutil.copytree(ava, tmp_path / "ava")
    sound = next((root / "clips_audios" / "train").rglob("*_b.wav"))
    sound.write_bytes(sound.read_bytes()[:100])
    status, _, stderr = run_main(SCRIPT, *arguments(root, start, tmp_path / "out"), "--skip_damaged")
    assert status == 0, stderr
    assert "1 of the 2 tracks can't be read and left out" in caplog.text


@pytest.mark.slow
def test_two_processes_train_on_avas_layout(ava, start, run_script, tmp_path):
    run_script(SCRIPT, *arguments(ava, start, tmp_path / "out"), ranks="forked")
    assert_trained(tmp_path / "out")


def test_the_toy_prints_its_table_and_saves_a_model(run_toy, monkeypatch, tmp_path):
    monkeypatch.setattr("toy.talknce.CLIPS_PER_BATCH", 2)
    folder, small = tmp_path / "toy", "--toy_seeds 0 --toy_clips 2 --toy_test_clips 1 --toy_steps 1"
    printed = run_toy(SCRIPT, folder, small)
    assert "speaking frames against all:" in printed
    assert {"without", "speaking", "all"} <= {line.split()[0] for line in printed.splitlines() if line}
    assert AutoModel.from_pretrained(folder).config.talknce_weight == 0.3


def test_the_toy_trains_talknet_too(run_toy, monkeypatch, tmp_path):
    monkeypatch.setattr("toy.talknce.CLIPS_PER_BATCH", 2)
    folder, small = tmp_path / "toy", "--host talknet --toy_seeds 0 --toy_clips 2 --toy_test_clips 1 --toy_steps 1"
    run_toy(SCRIPT, folder, small)
    model = AutoModel.from_pretrained(folder)
    assert (type(model).__name__, model.config.talknce_weight) == ("TalkNetForActiveSpeakerDetection", 0.3)
