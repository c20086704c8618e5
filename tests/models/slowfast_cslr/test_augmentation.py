import numpy as np
import pytest
import torch

from avzoo.models.slowfast_cslr.augmentation_slowfast_cslr import (
    ClipChanges,
    draw_clip_changes,
    draw_frames,
    rescale_length,
)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("num_frames", "draw", "length"),
    [
        (100, 0.0, 80),
        (100, 0.5, 100),
        (100, 0.999, 120),
        (30, 0.2, 32),
        (41, 0.05, 36),
        (300, 0.9, 232),
        (180, 0.83, 204),
    ],
)
def test_a_clip_gets_a_length_that_is_a_multiple_of_4(num_frames, draw, length):
    assert rescale_length(num_frames, draw) == length


def test_a_clip_keeps_the_frames_that_its_labels_need():
    assert rescale_length(48, 0.0) == 40
    assert rescale_length(48, 0.0, at_least=45) == 48
    assert rescale_length(300, 0.0, at_least=240) == 240


def test_a_draw_outside_of_its_range_is_refused():
    with pytest.raises(ValueError, match="`draw` must be at least 0 and below 1, got 1"):
        rescale_length(10, 1.0)
    with pytest.raises(ValueError, match="`num_frames` must be at least 1, got 0"):
        rescale_length(0, 0.5)


def test_a_shorter_clip_has_each_frame_once_at_most():
    frames = draw_frames(100, 80, make_generator())
    assert len(frames) == len(set(frames.tolist())) == 80
    assert frames.tolist() == sorted(frames.tolist())


def test_a_longer_clip_repeats_frames_in_order():
    frames = draw_frames(10, 40, make_generator())
    assert len(frames) == 40
    assert frames.tolist() == sorted(frames.tolist())
    assert set(frames.tolist()) <= set(range(10))


def test_all_frames_are_cut_alike():
    clip = np.arange(2 * 5 * 6 * 3, dtype=np.int64).reshape(2, 5, 6, 3)
    plain = ClipChanges(torch.tensor([1, 1, 0]), top=1, left=2, height=3, width=4, mirror=False).apply(clip)
    assert np.array_equal(plain, clip[[1, 1, 0], 1:4, 2:6])
    mirrored = ClipChanges(torch.tensor([1, 1, 0]), top=1, left=2, height=3, width=4, mirror=True).apply(clip)
    assert np.array_equal(mirrored, plain[:, :, ::-1])


def test_cuts_reach_every_place_and_half_are_mirrored():
    draws = [draw_clip_changes(40, 226, 225, make_generator(seed)) for seed in range(200)]
    assert {(draw.top, draw.left) for draw in draws} == {(top, left) for top in range(3) for left in range(2)}
    assert 70 < sum(draw.mirror for draw in draws) < 130
    assert all((draw.height, draw.width) == (224, 224) for draw in draws)


def test_one_seed_draws_one_clip():
    first, second = (draw_clip_changes(100, 256, 256, make_generator(3)) for _ in range(2))
    assert torch.equal(first.frames, second.frames)
    assert (first.top, first.left, first.mirror) == (second.top, second.left, second.mirror)


def test_a_side_shorter_than_the_cut_is_kept():
    draw = draw_clip_changes(40, 100, 300, make_generator())
    assert (draw.top, draw.height, draw.width) == (0, 100, 224)


def test_without_strength_all_frames_are_kept():
    assert draw_clip_changes(41, 10, 10, make_generator(), strength=0).frames.tolist() == list(range(41))
