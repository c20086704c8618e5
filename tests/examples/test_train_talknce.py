"""The training example, run as its docstring says: on AVA's layout, on two processes, and on the toy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from avzoo import ActiveSpeakerProcessor, LoCoNetConfig, LoCoNetForActiveSpeakerDetection
from avzoo.audio import write_wav

SCRIPT = Path(__file__).parents[2] / "examples" / "train_talknce.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}


@pytest.fixture
def ava(tmp_path) -> Path:
    """The layout of the authors' scripts: two training tracks that are seen together, one of validation."""
    root = tmp_path / "AVADataPath"
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


@pytest.fixture
def start(tmp_path) -> Path:
    """A small LoCoNet for two faces."""
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
    LoCoNetForActiveSpeakerDetection(config).save_pretrained(tmp_path / "start")
    ActiveSpeakerProcessor(num_bins=16, frame_size=32, num_speakers=2).save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def run(command: list[str]) -> subprocess.CompletedProcess:
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def test_two_processes_train_on_avas_layout(ava, start, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_machines", "1"]
    places = ["--data_dir", str(ava), "--model", str(start), "--output_dir", str(tmp_path / "out")]
    run([*launch, str(SCRIPT), *places, "--num_epochs", "2", "--nce_frames", "all", "--cpu"])
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert model.config.nce_frames == "all"
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(np.zeros((5, 32, 32), np.uint8), np.zeros(3200, np.float32))
    assert model(inputs.pixel_values, inputs.input_features).logits.isfinite().all()
    assert (tmp_path / "out" / "best").is_dir()


def test_the_toy_prints_its_table_and_saves_a_model(tmp_path):
    small = "--toy_seeds 0 --toy_clips 4 --toy_test_clips 2 --toy_steps 2"
    result = run([sys.executable, str(SCRIPT), "--toy", "--output_dir", str(tmp_path / "toy"), *small.split()])
    assert "speaking frames against all:" in result.stdout
    assert {"without", "speaking", "all"} <= {line.split()[0] for line in result.stdout.splitlines() if line}
    assert "synthetic data" in (tmp_path / "toy" / "README.md").read_text()
    assert AutoModel.from_pretrained(tmp_path / "toy").config.talknce_weight == 0.3


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_the_toy_trains_talknet_too(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from toy import talknce

    data = talknce.prepare_data(tmp_path, "talknet", 4, 2)
    job = talknce.Job("speaking frames", "talknet", 0, 1, 0.3, tmp_path / "out", data)
    assert 0 <= talknce.run(job) <= 100
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert (type(model).__name__, model.config.talknce_weight) == ("TalkNetForActiveSpeakerDetection", 0.3)
