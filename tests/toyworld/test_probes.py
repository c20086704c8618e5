import numpy as np
import pytest
from toyworld.probes import audio_statistics, frame_statistics, linear_probe_accuracy


def probe(features, labels):
    half = len(labels) // 2
    return linear_probe_accuracy(features[:half], labels[:half], features[half:], labels[half:])


@pytest.mark.parametrize(
    "leak",
    [
        lambda audio, label: audio * 10.0 ** -(label / 10),  # level
        lambda audio, label: audio + 0.05 * label,  # offset
        lambda audio, label: audio[: 900 + 30 * label],  # length
        lambda audio, label: np.concatenate([np.zeros(8 * label), audio[8 * label :]]),  # leading zeros
        lambda audio, label: np.where(np.arange(1000) % 10 < label, 0, audio),  # digital silence
        lambda audio, label: np.clip(audio, -1 / (1 + label), 1 / (1 + label)),  # clipping
    ],
)
def test_a_leak_in_the_sound_is_found(leak):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 200)
    audio = [np.clip(generator.normal(0, 0.2, 1000), -1, 1) for _ in labels]
    assert probe([audio_statistics(clip) for clip in audio], labels) < 0.4
    assert probe([audio_statistics(leak(clip, label)) for clip, label in zip(audio, labels, strict=True)], labels) > 0.7


@pytest.mark.parametrize(
    "leak",
    [
        lambda frames, label: frames // (label + 1),  # brightness
        lambda frames, label: frames[: 6 - label],  # number of frames
        lambda frames, label: frames * np.array([1, 0.5 + label / 8, 1]),  # colour
        lambda frames, label: 128 + (frames - 128.0) / (label + 1),  # contrast
    ],
)
def test_a_leak_in_the_picture_is_found(leak):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 200)
    clips = [generator.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8) for _ in labels]
    assert probe([frame_statistics(clip) for clip in clips], labels) < 0.4
    changed = [leak(clip, label).astype(np.uint8) for clip, label in zip(clips, labels, strict=True)]
    assert probe([frame_statistics(clip) for clip in changed], labels) > 0.7


def test_a_rare_class_counts_as_much_as_a_common_one():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    features = np.array([[0.0]] * 90 + [[1.0]] * 10) + np.random.default_rng(0).normal(0, 0.3, (100, 1))
    assert linear_probe_accuracy(features, labels, [[0.0], [1.0]], ["a", "b"]) == 1.0


def test_silence_has_finite_statistics():
    assert np.isfinite(audio_statistics(np.zeros(100))).all()
    assert frame_statistics(np.zeros((4, 4, 3), np.uint8)).shape == frame_statistics(np.ones((2, 4, 4, 3))).shape
