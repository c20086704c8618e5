"""Augmentation hides what it says, and nothing else."""

import pytest
import torch

from avzoo.models.ltbs.augmentation_ltbs import augment_mouths, draw_rectangle

GREY = 107
PLAIN = {"flip_probability": 0.0, "most_masked": 0, "erase_probability": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mouths(frames: int = 50) -> torch.Tensor:
    """Each pixel tells its place; 107 is none of them."""
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    return ((rows + 2 * columns) % 100).to(torch.uint8).expand(frames, 96, 96).clone()


def test_a_cut_is_taken_from_everywhere_and_is_the_same_in_all_frames():
    places = set()
    for seed in range(300):
        clip = augment_mouths(mouths(2), seeded(seed), **PLAIN)
        assert torch.equal(clip[0], clip[1])
        found = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.equal(clip[0], mouths(1)[0, top : top + 88, left : left + 88])
        ]
        places.update(found)
    assert {top for top, _ in places} == {left for _, left in places} == set(range(9))


def test_half_of_the_clips_are_mirrored():
    options = PLAIN | {"flip_probability": 0.5}
    flipped = sum(
        torch.equal(
            augment_mouths(mouths(1), seeded(seed), **options),
            augment_mouths(mouths(1), seeded(seed), **PLAIN).flip(-1),
        )
        for seed in range(200)
    )
    assert 70 <= flipped <= 130


def test_at_most_ten_frames_of_each_second_are_hidden_whole():
    counts = []
    for seed in range(100):
        clip = augment_mouths(mouths(50), seeded(seed), **PLAIN | {"most_masked": 10})
        hidden = (clip == GREY).flatten(1)
        assert torch.equal(hidden.any(1), hidden.all(1))
        counts.append(int(hidden.any(1).sum()))
    assert max(counts) <= 20
    assert 7 <= sum(counts) / len(counts) <= 11  # 10 are drawn in the mean, some of them twice


def test_a_rectangle_is_hidden_and_what_lies_right_of_and_below_it_is_seen():
    shares = []
    for seed in range(200):
        clip = augment_mouths(mouths(3), seeded(seed), **PLAIN | {"erase_probability": 1.0})
        hidden = clip == GREY
        assert torch.equal(hidden[0], hidden[2])
        rows, columns = hidden[0].any(1), hidden[0].any(0)
        assert torch.equal(hidden[0], rows[:, None] & columns)
        height, width = int(rows.sum()), int(columns.sum())
        assert 0.28 <= height / width <= 3.6
        shares.append(float(hidden[0].float().mean()))
    assert 0.015 <= min(shares) < 0.06
    assert 0.28 < max(shares) <= 0.345


def test_a_rectangle_lies_in_its_square():
    for seed in range(200):
        top, left, rows, columns = draw_rectangle(20, seeded(seed))
        assert min(top, left) >= 0
        assert min(rows, columns) >= 1
        assert max(top + rows, left + columns) <= 20


def test_the_seed_decides_and_the_clip_itself_stays():
    clip = mouths(30)
    first, second, other = (augment_mouths(clip, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(clip, mouths(30))


@pytest.mark.parametrize("frames", [1, 3])
def test_clips_shorter_than_a_span_are_taken(frames):
    for seed in range(20):
        assert augment_mouths(mouths(frames), seeded(seed)).shape == (frames, 88, 88)


@pytest.mark.parametrize(
    ("clip", "error", "message"),
    [
        (mouths(2).float(), TypeError, "`mouths` must be a uint8 tensor, got torch.float32"),
        (mouths(2)[:, :80], ValueError, r"`mouths` must be \(frames, 88 or more, as many\), got \(2, 80, 96\)"),
        (mouths(0), ValueError, r"got \(0, 96, 96\)"),
    ],
)
def test_what_is_no_clip_of_mouths_is_refused(clip, error, message):
    with pytest.raises(error, match=message):
        augment_mouths(clip, seeded())
