"""Cuts are found, and what only looks like one is not."""

import itertools

import cv2
import numpy as np
import pytest

from avzoo.video import detect_shots
from avzoo.video.shots import frame_differences


def scene(seed, num_frames, height=54, width=96):
    """A still picture of large patches with some motion and noise."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (6, 8, 3)).repeat(height // 6, axis=0).repeat(width // 8, axis=1)
    moved = np.stack([np.roll(picture, index // 3, axis=1) for index in range(num_frames)])
    return np.clip(moved + rng.normal(0, 3, moved.shape), 0, 255).astype(np.uint8)


def test_a_cut_is_found_at_its_frame():
    frames = np.concatenate([scene(1, 30), scene(2, 21), scene(3, 40)])
    assert detect_shots(frames) == [(0, 30), (30, 51), (51, 91)]


def test_blocks_make_no_difference():
    frames = np.concatenate([scene(1, 30), scene(2, 21)])
    for size in (1, 15, 30):
        assert detect_shots(frames[start : start + size] for start in range(0, 51, size)) == [(0, 30), (30, 51)]


def test_a_scene_without_a_cut_is_one_shot():
    assert detect_shots(scene(1, 60)) == [(0, 60)]


def test_one_frame_is_one_shot_and_none_is_none():
    assert detect_shots(scene(1, 1)) == [(0, 1)]
    assert detect_shots(iter([])) == []
    assert detect_shots(np.zeros((0, 8, 8, 3), np.uint8)) == []


def test_a_slow_fade_is_no_cut():
    mix = np.linspace(0, 1, 50).reshape(-1, 1, 1, 1)
    one, other = scene(1, 1).astype(float), scene(2, 1).astype(float)
    fade = (one * (1 - mix) + other * mix).round().astype(np.uint8)
    still = fade[:1].repeat(20, axis=0)
    assert detect_shots(np.concatenate([still, fade])) == [(0, 70)]
    assert len(detect_shots(np.concatenate([still, fade[::16]]))) == 2  # a fast one is


def test_changes_soon_after_a_cut_are_none():
    frames = np.concatenate([scene(1, 20), scene(2, 5), scene(3, 30)])
    assert detect_shots(frames) == [(0, 20), (20, 55)]
    assert detect_shots(frames, min_frames=5) == [(0, 20), (20, 25), (25, 55)]


def test_a_flash_in_the_first_frames_is_no_cut():
    frames = scene(1, 40)
    frames[8] = 255
    assert detect_shots(frames) == [(0, 40)]


def test_the_threshold_is_the_mean_difference_of_hue_saturation_and_value():
    frames = np.concatenate([scene(1, 20), scene(2, 20)])
    differences = list(frame_differences(frames))
    hsv = [cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).astype(int) for frame in frames]
    expected = [0.0] + [np.mean(np.abs(b - a)) for a, b in itertools.pairwise(hsv)]
    np.testing.assert_allclose(differences, expected, rtol=1e-12)
    peak = max(differences)
    assert detect_shots(frames, threshold=peak) == [(0, 20), (20, 40)]
    assert detect_shots(frames, threshold=np.nextafter(peak, 300)) == [(0, 40)]


def test_wide_frames_are_compared_small():
    wide = np.concatenate([scene(1, 16, 180, 320), scene(2, 16, 180, 320)])
    small = np.stack([cv2.resize(frame, (256, 144)) for frame in wide])
    assert list(frame_differences(wide)) == list(frame_differences(small))
    assert detect_shots(wide) == [(0, 16), (16, 32)]


def test_frames_that_change_size_are_refused():
    with pytest.raises(ValueError, match="`blocks` change size from 96 x 54 to 48 x 54"):
        detect_shots([scene(1, 3), scene(1, 3, 54, 48)])


def test_bad_frames_or_options_are_refused():
    with pytest.raises(ValueError, match="`min_frames` must be at least 1, got 0"):
        detect_shots(scene(1, 3), min_frames=0)
    with pytest.raises(TypeError, match="got float64"):
        detect_shots(scene(1, 3) / 255)
