import collections
import itertools
import json

import numpy as np
import pytest
from toyworld.probes import audio_statistics, linear_probe_accuracy, spectral_statistics

pytest.importorskip("espeakng_loader")

from avzoo.audio import read_audio
from avzoo.toyworld import sessions
from avzoo.toyworld.sessions import (
    CODECS,
    SESSION_NOISES,
    RecordingSession,
    Sessions,
    Trial,
    recording_session,
    session_clip,
    write_trials,
)
from avzoo.toyworld.sound.voices import VOICES

# -------------------------------------------------------------------------------------------------- clip


def test_a_clip_is_a_pure_function_of_its_seed():
    first = session_clip(3, seconds=1.0)
    session_clip(4, seconds=0.5)
    sessions._draw_equipment.cache_clear()
    second = session_clip(3, seconds=1.0)
    np.testing.assert_array_equal(first.pop("audio"), second.pop("audio"))
    assert first == second
    assert not np.array_equal(session_clip(5, seconds=1.0)["audio"], session_clip(6, seconds=1.0)["audio"])


@pytest.mark.parametrize(("seconds", "sampling_rate"), [(0.5, 16000), (1.3, 8000), (0.7, 22050), (7.0, 16000)])
def test_a_clip_is_float32_of_the_asked_length(seconds, sampling_rate):
    for seed in range(4):
        clip = session_clip(seed, seconds=seconds, sampling_rate=sampling_rate)
        assert clip["audio"].shape == (round(seconds * sampling_rate),)
        assert clip["audio"].dtype == np.float32
        assert 0.05 < np.abs(clip["audio"]).max() <= 1.0
        assert clip["sampling_rate"] == sampling_rate


def test_the_labels_are_those_of_the_speaker_and_fit_into_json():
    clip = session_clip(8, speaker=11, session=6, seconds=2.0)
    assert (clip["speaker"], clip["speaker_name"], clip["session"]) == (11, VOICES[11].name, 6)
    assert (clip["language"], clip["person"]) == (VOICES[11].language, VOICES[11].person)
    clip.pop("audio")
    assert json.loads(json.dumps(clip)) == clip


def test_the_words_are_those_heard_in_the_clip():
    quiet = next(n for n in range(64) if recording_session(n).snr_db > 27 and recording_session(n).noise != "babble")
    inside, outside = [], []
    for seed in range(10):
        clip = session_clip(seed, session=quiet, seconds=3.0)
        assert clip["text"].split() == [word["word"] for word in clip["words"]]
        assert 2 < len(clip["words"]) < 20
        spoken = np.zeros(len(clip["audio"]), bool)
        for word in clip["words"]:
            assert 0 <= word["start"] < word["end"] <= 3.0
            spoken[int(word["start"] * 16000) : int(word["end"] * 16000)] = True
        inside.append(np.mean(clip["audio"][spoken] ** 2))
        outside.append(np.mean(clip["audio"][~spoken] ** 2) if (~spoken).sum() > 1600 else np.nan)
    assert np.sum(np.isfinite(outside)) >= 4
    assert np.nanmean(np.array(outside) / np.array(inside)) < 0.25  # echoes, and halves of words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"speaker": 96}, r"`speaker` must be from 0 to 95, got 96"),
        ({"session": -2}, r"`number` of a session must be 0 or more, got -2"),
        (
            {"num_speakers": 90, "first_speaker": 10},
            r"`num_speakers` \(90\) from `first_speaker` \(10\) on .*96 voices",
        ),
        ({"num_speakers": 0}, r"`num_speakers` \(0\)"),
        ({"num_sessions": 0}, r"`num_sessions` must be 1 or more and `first_session` 0 or more, got 0 and 0"),
        ({"seconds": 0.1}, r"`seconds` must be from 0\.5 to 60, got 0\.1"),
        ({"seconds": float("nan")}, r"`seconds` must be from 0\.5 to 60, got nan"),
        ({"sampling_rate": 4000}, r"`sampling_rate` must be 8000 Hz or more, got 4000"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        session_clip(**{"seed": 0, **arguments})


# ----------------------------------------------------------------------------------------------- session


def test_a_session_is_the_same_wherever_its_number_occurs():
    assert recording_session(5) == recording_session(5)
    assert len({recording_session(number) for number in range(100)}) == 100
    eight = [recording_session(number) for number in range(8)]
    assert {session.noise for session in eight} == set(SESSION_NOISES)
    assert collections.Counter(session.codec for session in eight) == dict.fromkeys(CODECS, 2)


def test_the_echo_of_a_room_decays_as_fast_as_it_says():
    numbers = [number for number in range(40) if 0.15 < recording_session(number).reverberation_seconds < 0.7]
    ratios = []
    for number in numbers[:8]:
        power = np.square(sessions._draw_equipment(number).room)[800:]  # without the direct sound and early reflections
        left = 10 * np.log10(np.cumsum(power[::-1])[::-1] / power.sum())
        decay = (np.argmax(left < -25) - np.argmax(left < -5)) / 16000
        ratios.append(60 / 20 * decay / recording_session(number).reverberation_seconds)
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
    assert 0.7 < min(ratios) <= max(ratios) < 1.4


def plain_session(monkeypatch, **settings):
    """Session 0 without anything that colours, echoes or bends."""
    plain = {"reverberation_seconds": 0.1, "noise": "air", "low_cut_hz": 1.0, "high_cut_hz": 8000.0}
    session = RecordingSession(0, **{**plain, "overdrive": 0.0, "codec": "none", "snr_db": 20.0, **settings})
    noise = np.random.default_rng(0).standard_normal(160000)
    equipment = sessions._Equipment(np.array([1.0]), noise, lambda frequencies: 1.0)
    monkeypatch.setattr(sessions, "recording_session", lambda number: session)
    monkeypatch.setattr(sessions, "_draw_equipment", lambda number: equipment)


@pytest.mark.parametrize("snr_db", [6.0, 14.0])
def test_the_noise_is_as_loud_as_the_label_says(monkeypatch, snr_db):
    plain_session(monkeypatch, snr_db=snr_db)
    generator = np.random.default_rng(3)
    talk = np.where(np.arange(64000) % 32000 < 16000, generator.standard_normal(64000), 0.0)  # a second on, one off
    measured, said = [], []
    for seed in range(5):
        audio, label = sessions._mix(np.random.default_rng(seed), talk, 0, 64000, 0)
        on, off = (np.mean(audio[start : start + 12000] ** 2) for start in (34000, 50000))
        measured.append(10 * np.log10((on - off) / 2 / off))  # half of the time on: half the power
        said.append(label)
    np.testing.assert_allclose(measured, said, atol=0.3)


def share_above(audio, cutoff_hz):
    power = np.abs(np.fft.rfft(audio)) ** 2
    return power[np.fft.rfftfreq(len(audio), 1 / 16000) > cutoff_hz].sum() / power.sum()


def test_a_telephone_lets_nothing_through_above_4_khz(monkeypatch):
    talk = np.random.default_rng(3).standard_normal(32000)
    shares = {}
    for codec in CODECS:
        plain_session(monkeypatch, codec=codec)
        shares[codec] = share_above(sessions._transmit(np.random.default_rng(0), talk, 0), 4000)
    assert shares.pop("telephone") < 1e-5
    assert min(shares.values()) > 0.3


# ---------------------------------------------------------------------------------------------- data set


def test_every_speaker_visits_every_session_equally_often():
    data = Sessions(60, seed=1, num_speakers=5, num_sessions=4, first_speaker=10, first_session=7)
    labels = [data.label(index) for index in range(60)]
    everyone = sorted(itertools.product(range(10, 15), range(7, 11)))
    for start in (0, 20, 40):
        assert sorted(labels[start : start + 20]) == everyone
    assert labels[:20] != labels[20:40]


def test_a_label_is_that_of_the_rendered_clip():
    data = Sessions(40, num_speakers=6, num_sessions=3, seconds=0.5)
    for index in (0, 17, 39):
        assert (data[index]["speaker"], data[index]["session"]) == data.label(index)


def test_a_larger_data_set_begins_with_the_smaller_one_and_splits_share_no_clip():
    small, large = Sessions(3, seconds=0.5), Sessions(900, seconds=0.5)
    other = Sessions(3, seconds=0.5, split="test")
    for index in range(3):
        np.testing.assert_array_equal(small[index]["audio"], large[index]["audio"])
        assert not np.array_equal(small[index]["audio"], other[index]["audio"])


def test_speakers_and_sessions_can_be_held_out():
    train = Sessions(200, num_speakers=10, num_sessions=5)
    test = Sessions(200, split="test", num_speakers=8, first_speaker=10, num_sessions=4, first_session=5)
    seen, unseen = ({data.label(index) for index in range(200)} for data in (train, test))
    for position in (0, 1):
        assert not {label[position] for label in seen} & {label[position] for label in unseen}


def test_a_clip_comes_back_from_the_cache_and_from_its_files(tmp_path):
    data = Sessions(2, seconds=0.5, cache_dir=tmp_path / "cache")
    rendered, cached = data[1], data[1]
    np.testing.assert_array_equal(rendered["audio"], cached["audio"])
    assert list(rendered) == list(cached)
    sound, labels = data.write(rendered, tmp_path)
    np.testing.assert_allclose(read_audio(sound)[0], rendered["audio"], atol=1e-4)
    assert json.loads(labels.read_text("utf-8"))["speaker"] == data.label(1)[0]


# ----------------------------------------------------------------------------------------------- trials


@pytest.fixture(scope="module")
def data():
    return Sessions(120, num_speakers=6, num_sessions=5, split="test")


def test_a_list_is_balanced_and_says_the_truth(data):
    trials = data.trials(80, seed=3)
    kinds = collections.Counter((trial.same_speaker, trial.same_session) for trial in trials)
    assert kinds == dict.fromkeys(itertools.product((0, 1), (0, 1)), 20)
    for trial in trials:
        (speaker, session), (other_speaker, other_session) = (
            data.label(int(clip.removeprefix("sessions-test-"))) for clip in (trial.first, trial.second)
        )
        assert trial.same_speaker == (speaker == other_speaker)
        assert trial.same_session == (session == other_session)
    assert data[7]["id"] == "sessions-test-0000007"  # as the list calls it


def test_no_clip_meets_itself_and_no_pair_occurs_twice(data):
    trials = data.trials(720)  # every one of the 180 pairs that share speaker and session
    pairs = {frozenset((trial.first, trial.second)) for trial in trials}
    assert len(pairs) == 720
    assert all(len(pair) == 2 for pair in pairs)


def test_the_order_within_and_of_pairs_is_random(data):
    trials = data.trials(400)
    assert 150 < sum(trial.first < trial.second for trial in trials) < 250
    assert 60 < sum(trial.same_speaker for trial in trials[:200]) < 140


def test_a_list_depends_on_its_seed_alone(data):
    assert data.trials(40, seed=1) == data.trials(40, seed=1) != data.trials(40, seed=2)


def test_a_list_is_written_as_voxceleb_writes_it(tmp_path):
    write_trials([Trial(1, "test-0000004", "test-0000013", 0), Trial(0, "a", "b", 1)], tmp_path / "list.txt")
    assert (tmp_path / "list.txt").read_text() == "1 test-0000004.wav test-0000013.wav\n0 a.wav b.wav\n"


@pytest.mark.parametrize(
    ("num_clips", "num_trials", "message"),
    [
        (120, 10, r"`num_trials` must be a positive multiple of 4, got 10"),
        (120, 0, r"`num_trials` must be a positive multiple of 4, got 0"),
        (120, 724, r"`num_trials` asks for 181 pairs with one speaker in one session, but 120 clips have 180"),
        (0, 4, r"asks for 1 pairs with one speaker in one session, but 0 clips have 0"),
    ],
)
def test_an_impossible_list_is_refused(num_clips, num_trials, message):
    with pytest.raises(ValueError, match=message):
        Sessions(num_clips, num_speakers=6, num_sessions=5).trials(num_trials)


# ------------------------------------------------------------------------------------------- difficulty


@pytest.fixture(scope="module")
def clips():
    return list(Sessions(240, num_speakers=8, num_sessions=3, seconds=1.2))


@pytest.fixture(scope="module")
def speaker(clips):
    return np.array([clip["speaker"] for clip in clips])


@pytest.fixture(scope="module")
def session(clips):
    return np.array([clip["session"] for clip in clips])


@pytest.mark.slow
def test_loudness_and_the_like_do_not_tell_the_speaker(clips, speaker):
    features = np.stack([audio_statistics(clip["audio"]) for clip in clips])
    accuracy = linear_probe_accuracy(features[:120], speaker[:120], features[120:], speaker[120:])
    print(f"speaker from trivial statistics: {accuracy:.3f}, chance {1 / 8:.3f}")
    assert accuracy < 0.3


@pytest.mark.slow
def test_spectra_tell_the_speaker_within_a_session_and_less_across(clips, speaker, session):
    features = np.stack([spectral_statistics(clip["audio"]) for clip in clips])
    within = []
    for number in range(3):
        here = np.flatnonzero(session == number)
        train, test = here[: len(here) // 2], here[len(here) // 2 :]
        within.append(linear_probe_accuracy(features[train], speaker[train], features[test], speaker[test]))
    across = []
    for number in range(3):
        train, test = session != number, session == number
        across.append(linear_probe_accuracy(features[train], speaker[train], features[test], speaker[test]))
    print(f"speaker from spectra: {np.mean(within):.3f} within, {np.mean(across):.3f} across, chance {1 / 8:.3f}")
    assert np.mean(within) > 0.6
    assert 0.2 < np.mean(across) < np.mean(within) - 0.1


@pytest.mark.slow
def test_the_session_is_a_confound_of_a_naive_comparison(clips, speaker, session):
    features = np.stack([spectral_statistics(clip["audio"]) for clip in clips])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    first, second = np.triu_indices(len(clips), 1)
    similarity = (features @ features.T)[first, second]
    same_speaker, same_session = speaker[first] == speaker[second], session[first] == session[second]

    def error(targets, others):
        """Share of (target, non-target) pairs in the wrong order."""
        targets, others = np.sort(similarity[targets]), similarity[others]
        return np.mean(np.searchsorted(targets, others) / len(targets))

    hard = error(same_speaker & ~same_session, ~same_speaker & same_session)
    easy = error(same_speaker & same_session, ~same_speaker & ~same_session)
    print(f"pairs in the wrong order: {hard:.3f} hard, {easy:.3f} easy")
    assert hard > 0.5  # another speaker in the same session sounds nearer than the same speaker in another
    assert easy < 0.1
