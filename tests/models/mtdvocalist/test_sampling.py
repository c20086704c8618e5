from collections import Counter

import numpy as np
import pytest
import torch

from avzoo.models.mtdvocalist.sampling import draw_window_pair, num_window_starts, window_loudness

LOUD, QUIET = 0.1, 0.005


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(times, num_windows, loudness, seed=0, **options):
    generator = seeded(seed)
    return [draw_window_pair(num_windows, loudness, generator, **options) for _ in range(times)]


def all_loud(num_windows):
    return np.full(num_windows, LOUD)


def close(count, expected_share, times):
    """Within four standard deviations of a binomial count."""
    return abs(count - expected_share * times) < 4 * (times * expected_share * (1 - expected_share)) ** 0.5


# Loudness.


def test_loudness_is_the_rms():
    assert window_loudness(np.array([0.3, -0.4, 0.0, 0.0])) == pytest.approx(0.25)
    assert window_loudness(np.full((1, 3200), 0.01, np.float32)) == pytest.approx(0.01)


def test_exact_silence_counts_as_loud_and_the_faintest_noise_does_not():
    silence = np.zeros(3200, np.float32)
    assert window_loudness(silence) == 1.0
    silence[7] = 2**-15  # one step of 16-bit sound
    assert 0 < window_loudness(silence) < 1e-6


def test_loudness_refuses_integers():
    with pytest.raises(TypeError, match=r"`samples` must be floating point in \[-1, 1\], got int16"):
        window_loudness(np.zeros(3200, np.int16))


def test_loudness_refuses_an_empty_window():
    with pytest.raises(ValueError, match="`samples` is empty"):
        window_loudness(np.zeros(0, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loudness_refuses_what_is_no_number(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        window_loudness(np.array([0.1, bad]))


# Starts.


def test_clips_of_25_frames_or_fewer_are_left_out():
    assert [num_window_starts(frames) for frames in (0, 5, 25)] == [0, 0, 0]
    assert num_window_starts(26) == 22


def test_the_last_whole_window_counts():
    assert num_window_starts(10, min_frames=0) == 6  # starts 0 to 5, the last one shows frames 5 to 9
    assert num_window_starts(4, min_frames=0) == 0


def test_longer_windows_can_ask_for_longer_clips():
    assert num_window_starts(250, window_frames=25, min_frames=251) == 0
    assert num_window_starts(251, window_frames=25, min_frames=251) == 227


def test_a_window_without_frames_is_refused():
    with pytest.raises(ValueError, match="`window_frames` must be at least 1, got 0"):
        num_window_starts(100, window_frames=0)


# Pairs.


def test_half_of_the_pairs_are_in_sync():
    pairs = drawn(4000, 22, all_loud(22))
    assert close(sum(in_sync for _, _, in_sync in pairs), 0.5, 4000)
    assert all((video == audio) == in_sync for video, audio, in_sync in pairs)


def test_every_start_of_the_pictures_is_equally_likely():
    counts = Counter(video for video, _, _ in drawn(4000, 8, all_loud(8)))
    assert all(close(counts[start], 1 / 8, 4000) for start in range(8))


def test_every_other_start_is_equally_likely_out_of_sync():
    pairs = Counter((video, audio) for video, audio, in_sync in drawn(12000, 5, all_loud(5)) if not in_sync)
    others = [(video, audio) for video in range(5) for audio in range(5) if video != audio]
    assert set(pairs) == set(others)
    assert all(close(pairs[pair], 0.5 / 20, 12000) for pair in others)


@pytest.mark.parametrize(("num_windows", "gap"), [(9, 3), (7, 4), (6, 5), (2, 1)])
def test_starts_out_of_sync_are_at_least_the_gap_apart(num_windows, gap):
    pairs = drawn(3000, num_windows, all_loud(num_windows), min_gap=gap)
    apart = {(video, audio) for video, audio, in_sync in pairs if not in_sync}
    starts = range(num_windows)
    assert apart == {(video, audio) for video in starts for audio in starts if abs(video - audio) >= gap}


def test_a_start_without_a_distant_other_is_drawn_for_no_pair():
    # Of seven starts, 3 has none four away. Drawn for pairs in sync only, it would give them away.
    counts = Counter((video, in_sync) for video, _, in_sync in drawn(6000, 7, all_loud(7), min_gap=4))
    assert set(counts) == {(video, in_sync) for video in (0, 1, 2, 4, 5, 6) for in_sync in (True, False)}
    assert all(close(count, 1 / 12, 6000) for count in counts.values())


def test_a_loud_window_takes_quiet_sound_as_out_of_sync():
    loudness = np.full(6, QUIET)
    loudness[2] = LOUD
    pairs = drawn(6000, 6, loudness)
    with_loud_video = Counter(pair[1] for pair in pairs if pair and pair[0] == 2 and not pair[2])
    assert set(with_loud_video) == {0, 1, 3, 4, 5}


def test_a_quiet_window_takes_only_loud_sound_as_out_of_sync():
    loudness = np.array([LOUD, QUIET, LOUD, QUIET, QUIET])
    pairs = drawn(6000, 5, loudness)
    with_quiet_video = {pair[1] for pair in pairs if pair and pair[0] in (1, 3, 4) and not pair[2]}
    assert with_quiet_video == {0, 2}


def test_a_pair_in_sync_may_be_quiet():
    pairs = drawn(2000, 22, np.full(22, QUIET))
    assert {pair[0] for pair in pairs if pair} == set(range(22))
    assert all(pair[2] for pair in pairs if pair)


def test_a_quiet_clip_fails_by_every_pair_out_of_sync():
    pairs = drawn(2000, 22, np.full(22, QUIET))
    assert close(pairs.count(None), 0.5, 2000)


def test_the_threshold_itself_is_quiet():
    assert drawn(200, 4, np.full(4, 0.01)).count(None) > 0
    assert drawn(200, 4, np.full(4, 0.0100001)).count(None) == 0
    assert drawn(200, 4, np.full(4, 0.0100001), loudness_threshold=0.02).count(None) > 0


def test_digital_silence_is_no_quiet_sound():
    silent = window_loudness(np.zeros(3200))
    assert None not in drawn(500, 22, np.full(22, silent))


def pair_out_of_sync(loudness, num_windows=50):
    """The first pair that the coin wants out of sync: until then nobody asks how loud anything is."""
    calls, generator = [], seeded()

    def counted(start):
        calls.append(start)
        return loudness(len(calls))

    for _ in range(50):
        pair = draw_window_pair(num_windows, counted, generator)
        if calls:
            return pair, calls
    pytest.fail("in 50 draws the coin wanted no pair out of sync, or nobody asked how loud the pictures' own sound is")


def test_a_quiet_window_gives_up_after_eleven_draws():
    pair, calls = pair_out_of_sync(lambda call: QUIET)
    assert pair is None
    assert len(calls) == 1 + 11  # the pictures' own sound, then the draws
    assert calls[0] not in calls[1:]


def test_the_eleventh_draw_still_counts():
    pair, calls = pair_out_of_sync(lambda call: LOUD if call == 12 else QUIET)
    assert pair == (calls[0], calls[-1], False)
    assert len(calls) == 12


def test_the_number_of_draws_can_be_chosen():
    # One of eleven other starts is loud: one draw finds it in one of eleven cases, and half of all draws are in sync.
    loudness = np.full(12, QUIET)
    loudness[0] = LOUD
    once = drawn(4000, 12, loudness, max_quiet_draws=1).count(None)
    assert close(once, 0.5 * 11 / 12 * 10 / 11, 4000)
    often = drawn(4000, 12, loudness, max_quiet_draws=11).count(None)
    assert close(often, 0.5 * 11 / 12 * (10 / 11) ** 11, 4000)


def test_a_loud_window_is_listened_to_once():
    calls = []
    generator = seeded()
    for _ in range(100):
        calls.clear()
        _, _, in_sync = draw_window_pair(22, lambda start: calls.append(start) or LOUD, generator)
        assert len(calls) == (0 if in_sync else 1)


def test_a_function_and_an_array_of_loudness_give_the_same_pairs():
    loudness = np.where(np.arange(22) % 3, QUIET, LOUD)
    assert drawn(200, 22, loudness) == drawn(200, 22, lambda start: float(loudness[start]))


def test_a_seed_gives_the_same_pairs_whatever_the_global_generators():
    first = drawn(100, 22, all_loud(22), seed=3)
    torch.manual_seed(99)
    np.random.seed(99)
    state = torch.get_rng_state()
    assert drawn(100, 22, all_loud(22), seed=3) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn(100, 22, all_loud(22), seed=4) != first


def test_pairs_are_plain_numbers():
    pair = draw_window_pair(22, all_loud(22), seeded())
    assert [type(part) for part in pair] == [int, int, bool]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_windows": 1}, r"`num_windows` \(1\) must be above `min_gap` \(1\).*leave such a clip out"),
        ({"num_windows": 0}, r"`num_windows` \(0\) must be above"),
        ({"min_gap": 22}, r"`num_windows` \(22\) must be above `min_gap` \(22\)"),
        ({"min_gap": 0}, r"`min_gap` must be at least 1, got 0"),
        ({"max_quiet_draws": 0}, r"`max_quiet_draws` must be at least 1, got 0"),
        ({"loudness": np.ones(21)}, r"`loudness` must have the shape \(22,\), got \(21,\)"),
    ],
)
def test_invalid_arguments_of_a_draw_are_refused(options, message):
    settings = {"num_windows": 22, "loudness": np.ones(22), "generator": seeded(), **options}
    with pytest.raises(ValueError, match=message):
        draw_window_pair(**settings)
