"""`pipeline("audio-classification")` with BEATs, whose inputs are as long as the recording."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from avzoo import AudioClassificationPipeline
from avzoo.audio import write_wav
from avzoo.cli import main
from avzoo.conversion import convert_checkpoint, save_converted

sys.path.insert(0, str(Path(__file__).parents[2] / "conversion"))
import small_beats

RATE = 16000
LABELS = {0: "rain", 1: "dog", 2: "siren", 3: "bell", 4: "speech"}


def make_sound(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (0.1 * noise * np.sin(np.arange(len(noise)) / 4000) ** 2).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    model = convert_checkpoint("beats", small_beats.small_file(LABELS))
    with torch.no_grad():
        model.classifier.weight.mul_(5)  # scores that differ
    return save_converted(model, tmp_path_factory.mktemp("models") / "beats")


@pytest.fixture(scope="module")
def tag(folder):
    return transformers.pipeline("audio-classification", model=str(folder))


def test_a_recording_gets_the_files_labels_with_probabilities(tag):
    sound = make_sound(3.0)
    answers = tag({"array": sound, "sampling_rate": RATE})
    assert isinstance(tag, AudioClassificationPipeline)
    with torch.no_grad():
        logits = tag.model(**tag.feature_extractor(sound, sampling_rate=RATE)).logits[0]
    expected = {LABELS[index]: score for index, score in enumerate(logits.sigmoid().tolist())}  # each on its own
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(expected, abs=1e-5)
    assert max(expected.values()) - min(expected.values()) > 0.01


def test_a_short_recording_is_not_padded_to_ten_seconds(tag):
    """Silence behind it would change its scores."""
    sound = make_sound(1.0)
    answers = {answer["label"]: answer["score"] for answer in tag({"array": sound, "sampling_rate": RATE})}
    padded = {
        answer["label"]: answer["score"]
        for answer in tag({"array": np.pad(sound, (0, 9 * RATE)), "sampling_rate": RATE})
    }
    assert max(abs(answers[label] - padded[label]) for label in answers) > 1e-3


def test_long_recordings_are_windows_of_ten_seconds(tag):
    answers = tag({"array": make_sound(23.0), "sampling_rate": RATE}, return_windows=True, top_k=1)
    assert [(answer["start"], answer["end"]) for answer in answers] == [(0, 10), (5, 15), (10, 20), (13, 23)]


def test_recordings_of_several_lengths_share_a_batch(tag):
    """The shorter one is padded there, and its mask hides the padding."""
    sounds = [{"array": make_sound(seconds, 1), "sampling_rate": RATE} for seconds in (0.5, 2.0, 1.3)]
    together = tag([dict(sound) for sound in sounds], batch_size=3)
    for sound, answers in zip(sounds, together, strict=True):
        alone = {answer["label"]: answer["score"] for answer in tag(dict(sound))}
        assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(alone, abs=1e-5)


def test_a_patch_size_is_refused(tag):
    with pytest.raises(ValueError, match="`patch_size` is 8, but BEATsForAudioClassification runs at one patch size"):
        tag({"array": make_sound(1.0), "sampling_rate": RATE}, patch_size=8)


def test_a_recording_under_16_frames_is_refused(tag):
    with pytest.raises(ValueError, match="`audio` is too short: 2799 samples at 16000 Hz, the model needs 2800"):
        tag({"array": make_sound(1.0)[:2799], "sampling_rate": RATE})


def test_the_command_tags_a_file(folder, tmp_path, capsys):
    write_wav(tmp_path / "x.wav", make_sound(2.0), RATE)
    assert main(["run", "audio-classification", str(tmp_path / "x.wav"), "--model", str(folder), "--top-k", "2"]) == 0
    out = capsys.readouterr().out
    assert sum(label in out for label in LABELS.values()) == 2


def test_the_command_refuses_a_patch_size_in_one_line(folder, tmp_path, capsys):
    write_wav(tmp_path / "x.wav", make_sound(2.0), RATE)
    command = ["run", "audio-classification", str(tmp_path / "x.wav"), "--model", str(folder), "--patch-size", "8"]
    assert main(command) == 1
    assert "runs at one patch size; leave it out" in capsys.readouterr().err
