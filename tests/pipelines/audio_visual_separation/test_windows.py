"""Long recordings: windows, the frames and the noise of each, and how they are joined."""

import copy
import math

import numpy as np
import pytest
import torch
from tiny_separation import (
    BINS,
    COLUMNS,
    HOP,
    NEAR,
    PER_FRAME,
    WINDOW,
    differ,
    face,
    seeded,
    separated,
    sound,
    watched,
)

from avzoo.models.avdiffuss.windows import CrossFade, Windows


def test_one_window_is_the_whole(pipe):
    voice = separated(pipe)
    assert torch.equal(voice, separated(pipe, window_length_in_s=math.inf))
    assert torch.equal(voice, separated(pipe, window_length_in_s=10.0))
    longer = sound(2 * WINDOW)
    assert differ(separated(pipe, longer), separated(pipe, longer, window_length_in_s=math.inf))


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_the_batch_size_changes_nothing(pipe, overlap):
    audio, options = sound(2 * WINDOW + 100), {"window_overlap": overlap, "num_inference_steps": 1}
    expected = separated(pipe, audio, batch_size=1, **options)
    assert expected.shape == audio.shape
    for batch_size in (2, 100):
        torch.testing.assert_close(separated(pipe, audio, batch_size=batch_size, **options), expected, **NEAR)


def test_no_more_windows_are_computed_at_once_than_asked_for(pipe):
    """Whatever the length: memory is bounded."""
    sizes = []

    def count(pipe, step, time, tensors):
        sizes.append(tuple(tensors["sample"].shape))

    separated(pipe, sound(5 * WINDOW), batch_size=3, num_inference_steps=1, callback_on_step_end=count)
    assert set(sizes[:-1]) == {(3, 1, BINS, COLUMNS)}
    assert sizes[-1][0] <= 3
    assert sum(size[0] for size in sizes) == 1 + 4 * WINDOW // PER_FRAME


def test_each_window_sees_the_frames_that_belong_to_it(pipe):
    pictures, options = face(6), {"batch_size": 1, "denoiser_only": True}
    audio = sound(6 * PER_FRAME)
    calls = watched(pipe.denoiser_visual_encoder, lambda: separated(pipe, audio, pictures, **options))
    assert len(calls) == 5
    for start, (seen,) in enumerate(calls):
        np.testing.assert_array_equal(seen[0].numpy(), pictures[start : start + 2])


def test_where_the_video_ends_early_windows_see_its_last_frame(pipe):
    """By less, and by more than is tolerated without a word."""
    pictures, options = face(3), {"batch_size": 1, "denoiser_only": True}
    for length in (6, 9):
        audio = sound(length * PER_FRAME)
        calls = watched(pipe.denoiser_visual_encoder, lambda audio=audio: separated(pipe, audio, pictures, **options))
        shown = [[0, 1], [1, 2], *[[2, 2]] * (length - 3)]
        for (seen,), frames in zip(calls, shown, strict=True):
            np.testing.assert_array_equal(seen[0].numpy(), pictures[frames], err_msg=f"{length} frames of sound")


def test_overlapping_windows_get_the_same_noise_where_they_overlap(pipe):
    pipe.scheduler = copy.deepcopy(pipe.scheduler)
    drawn = []
    init_sample = pipe.scheduler.init_sample
    pipe.scheduler.init_sample = lambda mean, noise: drawn.append(noise) or init_sample(mean, noise)
    separated(pipe, sound(4 * PER_FRAME), batch_size=1, num_inference_steps=1)
    first, second, third = drawn
    columns = PER_FRAME // HOP  # from one window to the next
    assert first.abs().min() > 0
    assert torch.equal(first[..., columns:], second[..., :-columns])
    assert torch.equal(second[..., columns:], third[..., :-columns])
    assert not torch.equal(first[..., :-columns], second[..., :-columns])


@pytest.mark.parametrize(
    ("num_samples", "overlap", "starts"),
    [
        (3200, 0.5, [0]),
        (10, 0.5, [0]),
        (3201, 0.5, [0, 640]),
        (3840, 0.5, [0, 640]),
        (4481, 0.5, [0, 1280, 1920]),
        (9600, 0.0, [0, 3200, 6400]),
        (9601, 0.0, [0, 3200, 6400, 7040]),
        (5000, 0.99, [0, 640, 1280, 1920]),
    ],
)
def test_windows_lie_where_columns_and_frames_begin_together(num_samples, overlap, starts):
    windows = Windows.with_overlap(num_samples, 3200, overlap, 640)
    assert windows.starts == starts
    covered = np.zeros(num_samples, bool)
    for start in windows.starts:
        covered[start : start + 3200] = True
    assert covered.all()


@pytest.mark.parametrize("num_samples", [10, 3200, 3201, 4481, 9000, 12345])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.8])
def test_windows_that_agree_are_joined_without_a_trace(num_samples, overlap):
    windows = Windows.with_overlap(num_samples, 3200, overlap, 640)
    whole, fade = torch.randn(num_samples, generator=seeded(0)), CrossFade(windows)
    for start in reversed(windows.starts):
        fade.add(start, whole[start : start + 3200])
    torch.testing.assert_close(fade.result(), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_samples", [3201, 4481, 9000, 12345])
@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.8])
def test_windows_that_do_not_agree_are_joined_without_a_jump(num_samples, overlap):
    """One window of ones among zeros: its part rises and falls by little steps."""
    windows = Windows.with_overlap(num_samples, 3200, overlap, 640)
    for chosen in windows.starts:
        fade = CrossFade(windows)
        for start in windows.starts:
            length = min(3200, num_samples - start)
            fade.add(start, torch.full((length,), float(start == chosen)))
        part = fade.result()
        assert part.diff().abs().max() < 0.01
        assert 0 <= part.min() <= part.max() <= 1 + 1e-6
        assert part.max() > 0.3
