"""The training example: the head streamed and from stored copies, the encoder, on two processes, and on the toy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector
from avzoo.audio import write_wav

SCRIPT = "train_session_embedding.py"
SMALL = {"hidden_size": 8, "aggregation_size": 12, "squeeze_size": 4, "attention_size": 4, "embedding_size": 6}
FAST = ["--crop_seconds", 0.3, "--validation_speakers", 2, "--batch_size", 2, "--num_epochs", 1]


@pytest.fixture(scope="module")
def voxceleb(tmp_path_factory) -> Path:
    """Six speakers of two videos of two files, and one of a single video; tones that differ by speaker and video."""
    root = tmp_path_factory.mktemp("voxceleb")
    generator, time = np.random.default_rng(0), np.arange(6400) / 16000
    for speaker in range(7):
        for video in range(2 if speaker < 6 else 1):
            folder = root / f"id{speaker:05d}" / f"video{video}"
            folder.mkdir(parents=True)
            for file in range(2):
                tone = np.sin(2 * np.pi * (200 + 150 * speaker + file) * time) * 0.1
                noise = generator.normal(0, 0.02 + 0.02 * video, len(time))
                write_wav(folder / f"{file:05d}.wav", (tone + noise).astype(np.float32), 16000)
    return root


@pytest.fixture(scope="module")
def musan(tmp_path_factory) -> Path:
    """MUSAN's layout with the fewest files that do."""
    root = tmp_path_factory.mktemp("musan")
    for category, count in (("music", 1), ("noise", 1), ("speech", 7)):
        (root / category).mkdir()
        for number in range(count):
            sound = np.random.default_rng(number).normal(0, 0.1, 8000).astype(np.float32)
            write_wav(root / category / f"{number}.wav", sound, 16000)
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """Folder of a small encoder with random weights."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    SpeakerEncoderForXVector(SpeakerEncoderConfig(num_mel_bins=16, **SMALL)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trials(tmp_path_factory, voxceleb) -> Path:
    """A list of targets across and non-targets within a kind of video."""
    path = tmp_path_factory.mktemp("lists") / "development.txt"
    lines = [f"1 id0000{s}/video0/00000.wav id0000{s}/video1/00001.wav" for s in range(6)]
    lines += [f"0 id0000{s}/video0/00000.wav id0000{s + 1}/video0/00001.wav" for s in range(5)]
    path.write_text("\n".join(lines) + "\n")
    return path


def assert_same_encoder(folder: Path, encoder: Path) -> torch.nn.Module:
    model, start = (AutoModelForAudioXVector.from_pretrained(place) for place in (folder, encoder))
    state = model.encoder.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in start.state_dict().items())
    assert AutoFeatureExtractor.from_pretrained(folder).sampling_rate == 16000
    return model


def test_the_head_is_trained_and_its_compensation_fitted(run_main, voxceleb, musan, trials, encoder, tmp_path):
    places = ["--data_dir", voxceleb, "--model", encoder, "--output_dir", tmp_path, "--musan", musan]
    development = ["--trials", trials, "--trials_dir", voxceleb, "--session_source", "pooled"]
    status, _, stderr = run_main(SCRIPT, *places, *development, *FAST)
    assert status == 0, stderr
    assert "1 speakers have one session only" in stderr
    model = assert_same_encoder(tmp_path, encoder)
    assert model.config.session_source == "pooled"
    assert model.config.compensation["development"]["name"] == "development.txt"
    assert model.config.threshold is not None


@pytest.mark.slow
def test_the_head_is_trained_from_stored_copies_and_goes_on(run_main, voxceleb, musan, encoder, tmp_path):
    shared = ["--data_dir", voxceleb, *FAST, "--stored_copies", 2, "--musan", musan]
    status, _, stderr = run_main(SCRIPT, *shared, "--model", encoder, "--output_dir", tmp_path / "first")
    assert status == 0, stderr
    first = assert_same_encoder(tmp_path / "first", encoder)
    status, _, stderr = run_main(SCRIPT, *shared, "--model", tmp_path / "first", "--output_dir", tmp_path / "second")
    assert status == 0, stderr
    second = assert_same_encoder(tmp_path / "second", encoder)
    assert not torch.equal(first.session_head.layers[0].weight, second.session_head.layers[0].weight)
    other = ["--model", tmp_path / "first", "--output_dir", tmp_path / "third", "--session_source", "pooled"]
    status, _, stderr = run_main(SCRIPT, *shared, *other)
    assert status == 1
    assert "has a session network of its own" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["aam_softmax", "softmax_prototypical"])
def test_the_encoder_is_trained(run_main, voxceleb, encoder, loss, tmp_path):
    places = ["--train", "encoder", "--data_dir", voxceleb, "--model", encoder, "--output_dir", tmp_path]
    status, _, stderr = run_main(SCRIPT, *places, *FAST, "--speaker_loss", loss)
    assert status == 0, stderr
    trained, start = (AutoModelForAudioXVector.from_pretrained(place) for place in (tmp_path, encoder))
    assert not torch.equal(trained.embedding.weight, start.embedding.weight)
    assert not torch.equal(trained.pooled_norm.running_mean, start.pooled_norm.running_mean)


@pytest.mark.slow
@pytest.mark.parametrize("stored", [0, 2])
def test_two_processes_train_the_head(run_script, voxceleb, encoder, stored, tmp_path):
    places = ["--data_dir", voxceleb, "--model", encoder, "--output_dir", tmp_path, "--stored_copies", stored]
    run_script(SCRIPT, *places, *FAST, ranks="forked")
    assert_same_encoder(tmp_path, encoder)


def test_what_is_missing_is_told(run_main, voxceleb, encoder, tmp_path):
    for options, message in (
        ([], "--data_dir must be given, or --toy"),
        (["--data_dir", voxceleb], "--model must be given: a session network stands on a trained encoder"),
        (["--data_dir", voxceleb, "--model", encoder, "--trials", "list"], "--trials and --trials_dir belong together"),
    ):
        status, _, stderr = run_main(SCRIPT, *options, "--output_dir", tmp_path)
        assert status == 2
        assert message in stderr
    status, _, stderr = run_main(SCRIPT, "--data_dir", voxceleb, "--model", encoder, "--output_dir", tmp_path)
    assert status == 1
    assert "must be from 2 to 4, which leaves two of the 6 speakers to train on; got 40" in stderr


@pytest.mark.slow
def test_the_toy_prints_its_tables_and_saves_a_model(run_toy, monkeypatch, tmp_path):
    sizes = {"GROUPS": 1, "GROUP_SPEAKERS": 4, "HEAD_SESSIONS": 4, "ENCODER_UTTERANCES": 2}
    sizes |= {"DEVELOPMENT_SPEAKERS": 3, "TEST_SPEAKERS": 3, "HELD_OUT_SESSIONS": 3, "HELD_OUT_UTTERANCES": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(f"toy.session_embedding.{name}", value)
    small = "--toy_seeds 0 --toy_encoder_steps 2 --toy_head_steps 2 --toy_trials 24"
    printed = run_toy(SCRIPT, tmp_path, small)
    assert "synthetic data" in printed
    rows = [line.split() for line in printed.splitlines()]
    for kind in ("hard", "mixed", "easy"):
        assert sum("->" in row and kind in row[:3] for row in rows) == 3  # of each session network
    assert "synthetic development, seed 0, mixed" in printed
    assert all(word in printed for word in ("shipped", "calibrated", "the hard list falls by"))
    model = AutoModelForAudioXVector.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    assert model.config.compensation["development"]["name"] == "synthetic development, seed 0, mixed"
    assert model.config.threshold is not None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2e6
