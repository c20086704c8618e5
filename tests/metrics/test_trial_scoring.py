"""Crops and trials as voxceleb_trainer has them, against its loop written out."""

import numpy as np
import pytest
import torch

from avzoo.metrics import cut_crops, score_trials


def trainer_score(first: torch.Tensor, second: torch.Tensor) -> float:
    """Minus the mean distance of all pairs of crops, (crops, size) each."""
    first, second = (torch.nn.functional.normalize(crops, dim=1) for crops in (first, second))
    return -torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").mean().item()


def make_recordings(num_recordings: int = 30, spread: float = 0.5, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num_recordings, 1, 64, generator=generator, dtype=dtype)
    return centres + spread * torch.randn(num_recordings, 10, 64, generator=generator, dtype=dtype)


def make_pairs(num_recordings: int, num_pairs: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, num_recordings, (num_pairs, 2))


def test_crops_are_spread_from_the_beginning_to_the_end_at_truncated_starts():
    assert cut_crops(np.arange(10), crop_samples=3, num_crops=4)[:, 0].tolist() == [0, 2, 4, 7]  # 0, 2.33, 4.67, 7
    assert cut_crops(np.arange(10), crop_samples=3, num_crops=1).tolist() == [[0, 1, 2]]


def test_a_recording_of_a_crops_length_is_repeated_to_one_sample_more():
    assert cut_crops(np.arange(4), crop_samples=4, num_crops=2).tolist() == [[0, 1, 2, 3], [1, 2, 3, 0]]
    assert cut_crops(np.arange(3), crop_samples=7, num_crops=1).tolist() == [[0, 1, 2, 0, 1, 2, 0]]


def test_the_default_crops_are_ten_of_four_seconds():
    assert cut_crops(np.zeros(200_000, np.float32)).shape == (10, 64_240)


@pytest.mark.parametrize("spread", [0.5, 0.01, 1e-4])
def test_scores_are_those_of_the_trainers_loop(spread):
    recordings = make_recordings(spread=spread, dtype=torch.float64)
    pairs = make_pairs(30, 200)
    pairs[:30] = np.arange(30)[:, None]  # every recording against itself, too
    expected = [trainer_score(recordings[first], recordings[second]) for first, second in pairs]
    np.testing.assert_allclose(score_trials(recordings.float(), pairs), expected, rtol=0, atol=1e-6)


def test_a_recording_of_equal_crops_has_no_distance_from_itself():
    crops = make_recordings()[:, :1].expand(-1, 10, -1)
    assert score_trials(crops, [[row, row] for row in range(30)]).tolist() == [0] * 30


def test_the_mean_cosine_is_that_of_all_pairs_of_crops():
    recordings, pairs = make_recordings(), make_pairs(30, 5000)
    cosines = torch.nn.functional.cosine_similarity(recordings[:, None, :, None], recordings[None, :, None], dim=-1)
    expected = cosines.mean((2, 3))[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(score_trials(recordings, pairs, "crops-cosine"), expected, rtol=0, atol=1e-6)


def test_whole_recordings_are_scored_by_cosine():
    assert score_trials([[3, 0], [1, 1], [0, 2]], [[0, 1], [0, 2], [2, 2]], "full") == pytest.approx([0.5**0.5, 0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_trials(np.ones((2, 10, 4)), [[0, 1]], "full"), r"\(recordings, size\) for 'full'.*\(2, 10, 4\)"),
        (lambda: score_trials(np.ones((2, 4)), [[0, 1]]), r"\(recordings, crops, size\) for 'crops-distance'"),
        (lambda: score_trials(np.zeros((2, 10, 4)), [[0, 1]]), r"`embeddings\[0, 0\]` has no direction"),
        (lambda: score_trials(np.full((2, 4), np.nan), [[0, 1]], "full"), "zero, NaN or infinite"),
        (lambda: score_trials(np.ones((2, 10, 4)), [[0, 2]]), "recordings from 0 to 1, got 0 to 2"),
        (lambda: score_trials(np.ones((2, 10, 4)), []), "at least one row"),
        (lambda: score_trials(np.ones((2, 10, 4)), [[0, 1]], "crops"), "`protocol` must be one of crops-distance"),
        (lambda: cut_crops([]), "not empty"),
        (lambda: cut_crops(np.zeros((2, 9))), r"\(samples,\).*\(2, 9\)"),
        (lambda: cut_crops(np.zeros(9), num_crops=0), "`num_crops` must be at least 1"),
    ],
)
def test_wrong_shapes_and_empty_inputs_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
