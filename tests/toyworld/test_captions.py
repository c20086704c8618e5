import collections
import itertools
import json
import re
import sys

import numpy as np
import pytest
from toyworld.probes import audio_statistics, linear_probe_accuracy, spectral_statistics

pytest.importorskip("espeakng_loader")

from avzoo.audio import read_audio
from avzoo.toyworld import captions
from avzoo.toyworld.caption_words import DESCRIBED_SOUNDS, write_caption
from avzoo.toyworld.captions import KINDS, SOUNDS, Captions, caption_clip
from avzoo.toyworld.sound.voices import VOICES


@pytest.fixture(scope="module")
def clips():
    return list(Captions(100, seconds=3.0))


@pytest.fixture(scope="module")
def many_clips(clips):
    data = Captions(200, seconds=3.0)
    return clips + [data[index] for index in range(100, 200)]


# -------------------------------------------------------------------------------------------------- clip


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_a_pure_function_of_its_seed(kind):
    first = caption_clip(3, kind=kind, seconds=2.0)
    caption_clip(4, seconds=2.0)
    second = caption_clip(3, kind=kind, seconds=2.0)
    np.testing.assert_array_equal(first.pop("audio"), second.pop("audio"))
    assert first == second
    assert not np.array_equal(caption_clip(5, kind=kind)["audio"], caption_clip(6, kind=kind)["audio"])


@pytest.mark.parametrize(("seconds", "sampling_rate"), [(2.0, 16000), (2.3, 8000), (2.5, 44100), (11.0, 16000)])
def test_a_clip_is_float32_of_the_requested_length(seconds, sampling_rate):
    for kind in KINDS:
        clip = caption_clip(1, kind=kind, seconds=seconds, sampling_rate=sampling_rate)
        assert clip["audio"].shape == (round(seconds * sampling_rate),)
        assert clip["audio"].dtype == np.float32
        assert 0.05 < np.abs(clip["audio"]).max() <= 1.0
        assert (clip["kind"], clip["sampling_rate"]) == (kind, sampling_rate)


def test_labels_fit_into_json(clips):
    for clip in clips[:12]:
        labels = {name: value for name, value in clip.items() if name != "audio"}
        assert json.loads(json.dumps(labels, allow_nan=False)) == labels


def test_a_clip_holds_the_sources_of_its_kind(clips):
    for clip in clips:
        spoken = clip["kind"] != "sounds"
        assert (clip["transcript"] is not None) == bool(clip["words"]) == (clip["voice"] is not None) == spoken
        assert (clip["snr_db"] is not None) == spoken
        assert bool(clip["events"]) == (clip["kind"] != "speech")
        assert len({event["sound"] for event in clip["events"]}) == len(clip["events"])


def test_the_whole_transcript_is_spoken_within_the_clip(clips):
    for clip in clips:
        if clip["transcript"]:
            words = [word.strip(".,") for word in clip["transcript"].split()]
            assert [word["word"] for word in clip["words"]] == words
            assert 0 <= clip["words"][0]["start"] < clip["words"][-1]["end"] <= 3.0
            assert VOICES[clip["voice"]["speaker"]].language.startswith("en")


def test_words_are_louder_than_the_time_around_them():
    differences = []
    for seed in range(8):
        clip = caption_clip(seed, kind="speech", seconds=4.0)
        inside = np.zeros(len(clip["audio"]), bool)
        inside[int(clip["words"][0]["start"] * 16000) : int(clip["words"][-1]["end"] * 16000)] = True
        power = [np.mean(clip["audio"][part] ** 2) for part in (inside, ~inside)]
        if clip["place"] != "hall":
            differences.append(10 * np.log10(power[0] / power[1]))
    assert np.median(differences) > 12


def test_a_sound_lies_between_onset_and_offset():
    for name, seed in itertools.product(SOUNDS, range(3)):
        generator = np.random.default_rng(seed)
        track, first, stop = captions._place_sound(generator, DESCRIBED_SOUNDS[name], 64000, (0, 64000))
        assert stop - first > 400, name
        assert np.isfinite(track).all(), name
        loudest = np.max(np.abs(track))
        assert np.max(np.abs(track[:first]), initial=0) <= 0.03 * loudest, name
        assert np.max(np.abs(track[stop:]), initial=0) <= 0.03 * loudest, name


def test_sounds_have_the_levels_of_their_labels():
    seen = collections.Counter()
    for seed in range(40):
        total, events = captions._render_sounds(np.random.default_rng(seed), "speech and sounds", 48000, (9000, 30000))
        if len(events) == 1:
            event = events[0]
            part = total[round(event["onset"] * 16000) : round(event["offset"] * 16000)]
            assert 20 * np.log10(np.sqrt(np.mean(part**2))) == pytest.approx(event["level_db"], abs=0.05)
            low, high = captions._LEVELS_DB[event["level"]]
            assert low <= event["level_db"] <= high
            seen[event["level"]] += 1
        assert {"distant", "loud"} - {event["level"] for event in events}  # not both
    assert set(seen) == {"distant", "normal", "loud"}


def test_the_signal_to_noise_ratio_matches_the_mixture():
    for seed in range(6):
        clip = caption_clip(seed, kind="speech and sounds")
        assert -15 < clip["snr_db"] < 35
        levels = {event["level"] for event in clip["events"]}
        assert clip["snr_db"] < 6 if "loud" in levels else clip["snr_db"] > -3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"kind": "noise"}, r"`kind` must be one of speech and sounds, speech, sounds, got 'noise'"),
        ({"seconds": 1.0}, r"`seconds` must be at least 2 and at most 60, got 1\.0"),
        ({"seconds": float("nan")}, r"`seconds` must be at least 2 and at most 60, got nan"),
        ({"sampling_rate": 4000}, r"`sampling_rate` must be at least 8000 Hz, got 4000"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        caption_clip(**{"seed": 0, **arguments})


def test_without_espeak_sounds_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert len(caption_clip(0, kind="sounds", seconds=2.0)["audio"]) == 32000
    with pytest.raises(ImportError, match=r"pip install espeakng-loader"):
        caption_clip(0, kind="speech", seconds=2.0)


# ----------------------------------------------------------------------------------------------- caption

PACES = {"slow": r"slowly|at a slow pace", "fast": r"quickly|\bfast\b"}
LEVELS = {"distant": r"in the distance|far away|faintly", "loud": "loudly"}


def count(pattern, text):
    return len(re.findall(pattern, text))


def test_a_caption_names_every_sound_and_no_other(clips):
    for clip in clips:
        caption = clip["caption"].lower()
        named = {
            name
            for name, sound in DESCRIBED_SOUNDS.items()
            if count(rf"\b{sound.noun} ({sound.verb}|{sound.participle})\b", caption)
        }
        assert named == {event["sound"] for event in clip["events"]}, caption


def test_a_caption_states_levels_as_labelled(clips):
    for clip in clips:
        for level, pattern in LEVELS.items():
            assert count(pattern, clip["caption"]) == sum(event["level"] == level for event in clip["events"])


def test_a_caption_states_the_voice_as_labelled(clips):
    for clip in clips:
        caption, voice = clip["caption"].lower(), clip["voice"]
        person = re.findall(r"\ba (woman|man|child) (?:is )?(?:speak|talk)", caption)
        if voice is None:
            assert not person
            assert not count(r"voice|accent|speak|talk", caption)
            continue
        assert person == [voice["person"]] == [VOICES[voice["speaker"]].person]
        for pace, pattern in PACES.items():
            assert count(pattern, caption) == (voice["pace"] == pace), caption
        assert re.findall(r"in a (deep|high) voice", caption) == [voice["pitch"]] * (voice["pitch"] != "normal")
        accent = re.findall(r"with an? (American|British) accent", clip["caption"])
        assert accent in ([], ["American" if voice["accent"] == "en-us" else "British"])


def test_slow_voices_speak_slower_than_fast_ones(clips):
    rates = collections.defaultdict(list)
    for clip in clips:
        if clip["voice"]:
            seconds = clip["words"][-1]["end"] - clip["words"][0]["start"]
            rates[clip["voice"]["pace"]].append(sum(len(word["word"]) for word in clip["words"]) / seconds)
    slow, normal, fast = (np.array(rates[pace]) for pace in ("slow", "normal", "fast"))
    assert np.percentile(slow, 90) < np.percentile(fast, 10)
    assert np.median(slow) * 1.2 < np.median(normal) < np.median(fast) / 1.2


def test_a_caption_states_times_as_labelled(clips):
    """Of what stands on both sides of a "then", a "while" or an "at another time"."""
    found = collections.Counter()
    for clip in clips:
        caption = clip["caption"].lower()
        spans = [(DESCRIBED_SOUNDS[event["sound"]].noun, event["onset"], event["offset"]) for event in clip["events"]]
        if clip["voice"]:
            spans.append((f"a {clip['voice']['person']} ", clip["words"][0]["start"], clip["words"][-1]["end"]))
        if len({noun for noun, _, _ in spans}) < len(spans):
            continue  # someone claps while someone knocks

        def named(part, spans=spans):
            return [(start, end) for noun, start, end in spans if noun in part]

        for match in re.finditer(", then ", caption):
            before, after = named(caption[: match.start()]), named(caption[match.end() :])
            assert max(end for _, end in before) <= min(start for start, _ in after), caption
            found["then"] += 1
        if caption.count(" while ") == 1 and ", then " not in caption and "another time" not in caption:
            before, after = map(named, caption.split(" while "))
            assert all(start < end for start, _ in after for _, end in before), caption
            assert all(start < end for start, _ in before for _, end in after) or clip["voice"] is None, caption
            found["while"] += 1
        if " at another time " in caption:
            [(start, end)] = named(caption.split(" at another time ")[1])
            spoken = clip["words"][0]["start"], clip["words"][-1]["end"]
            assert end <= spoken[0] or start >= spoken[1], caption
            found["apart"] += 1
    assert found["then"] > 5
    assert found["while"] > 10


def test_overlapping_sounds_are_not_put_in_order():
    voice = {"person": "man", "pace": "normal", "pitch": "normal", "accent": "en-us"}
    words = [{"word": "Hello", "start": 2.0, "end": 3.0}]

    def caption(*events):
        labels = [{"sound": name, "onset": on, "offset": off, "level": "normal"} for name, on, off in events]
        return write_caption(np.random.default_rng(0), voice, words, labels, "room").lower()

    assert ", then a dog barks" in caption(("rain", 0.0, 3.5), ("dog", 3.6, 4.0))
    assert caption(("dog", 0.0, 1.0), ("rain", 1.5, 4.0)).startswith("a dog barks, then ")
    assert "and at another time a dog barks" in caption(("rain", 0.0, 4.0), ("dog", 3.5, 4.0))
    assert "and at another time a dog barks" in caption(("rain", 0.0, 4.0), ("dog", 0.5, 1.0))
    assert caption(("dog", 0.0, 1.0), ("cat", 0.5, 1.5)).startswith("a dog barks and a cat meows, then ")


def test_a_caption_states_the_place_as_labelled(clips):
    places = collections.Counter()
    for clip in clips:
        echo = bool(count("a large hall|a hall that echoes|a long echo", clip["caption"].lower()))
        assert echo == (clip["place"] == "hall") == (clip["reverberation_seconds"] >= 1)
        if count("quiet room|nothing else", clip["caption"]):
            assert clip["place"] == "quiet room"
            assert clip["snr_db"] > 35
        places[clip["place"]] += 1
    assert min(places[place] for place in ("hall", "room", "quiet room")) > 5


def test_a_hall_reverberates_after_the_last_word():
    def level_after(seed):
        clip = caption_clip(seed, kind="speech", seconds=4.0)
        stop = int(clip["words"][-1]["end"] * 16000)
        if stop > 56000:
            return None
        voice = clip["audio"][int(clip["words"][0]["start"] * 16000) : stop]
        after = clip["audio"][stop + 1600 : stop + 4800]
        return clip["place"], 10 * np.log10(np.mean(after**2) / np.mean(voice**2))

    levels = collections.defaultdict(list)
    for found in filter(None, map(level_after, range(24))):
        levels[found[0]].append(found[1])
    assert np.median(levels["hall"]) > np.median(levels["room"] + levels["quiet room"]) + 6


def test_captions_are_varied(clips):
    assert len({clip["caption"] for clip in clips}) > 90
    first_words = collections.Counter(clip["caption"].split()[0] for clip in clips)
    assert len(first_words) >= 5
    assert max(first_words.values()) < 75
    assert all(clip["caption"][0].isupper() and "  " not in clip["caption"] for clip in clips)


# ---------------------------------------------------------------------------------------------- data set


def test_every_run_of_four_clips_holds_each_kind():
    data = Captions(40, seed=2)
    kinds = [data.label(index) for index in range(40)]
    for start in range(0, 40, 4):
        assert sorted(kinds[start : start + 4]) == sorted([*KINDS, "speech and sounds"])
    assert len({tuple(kinds[start : start + 4]) for start in range(0, 40, 4)}) > 2


def test_a_label_is_that_of_the_rendered_clip_and_splits_differ(clips):
    data = Captions(100, seconds=3.0)
    assert [clip["kind"] for clip in clips] == [data.label(index) for index in range(100)]
    assert Captions(1, split="test", seconds=3.0)[0]["caption"] != clips[0]["caption"]


def test_a_clip_comes_back_from_the_cache_and_from_its_files(tmp_path):
    data = Captions(2, seconds=2.0, cache_dir=tmp_path / "cache")
    rendered, cached = data[1], data[1]
    np.testing.assert_array_equal(rendered.pop("audio"), cached["audio"])
    assert rendered == {name: value for name, value in cached.items() if name != "audio"}
    sound, labels = data.write(cached, tmp_path)
    np.testing.assert_allclose(read_audio(sound)[0], cached["audio"], atol=1e-4)
    assert json.loads(labels.read_text("utf-8"))["caption"] == cached["caption"]


# ------------------------------------------------------------------------------------------- difficulty


def balanced_halves(labels):
    """Indices of two halves, in each of which the classes are equally frequent."""
    classes, counts = np.unique(labels, return_counts=True)
    chosen = [np.flatnonzero(labels == name)[: counts.min() // 2 * 2] for name in classes]
    return np.concatenate([each[::2] for each in chosen]), np.concatenate([each[1::2] for each in chosen])


@pytest.mark.slow
def test_audio_statistics_predict_neither_speech_nor_the_sound(many_clips):
    features = np.stack([audio_statistics(clip["audio"]) for clip in many_clips])
    spoken = np.array([clip["voice"] is not None for clip in many_clips])
    train, test = balanced_halves(spoken)
    speech = linear_probe_accuracy(features[train], spoken[train], features[test], spoken[test])
    heard = np.array([bool(clip["events"]) for clip in many_clips])
    train, test = balanced_halves(heard)
    sounds = linear_probe_accuracy(features[train], heard[train], features[test], heard[test])
    single = np.array([index for index, clip in enumerate(many_clips) if clip["events"]])
    names = np.array([many_clips[index]["events"][0]["sound"] for index in single])
    half = len(single) // 2
    event = linear_probe_accuracy(features[single[:half]], names[:half], features[single[half:]], names[half:])
    print(f"from trivial statistics: speech {speech:.3f}, sounds {sounds:.3f}, chance 0.5; event {event:.3f}, 1/22")
    assert speech < 0.68
    assert sounds < 0.68
    assert event < 0.2


@pytest.mark.slow
def test_spectra_predict_speech(many_clips):
    features = np.stack([spectral_statistics(clip["audio"]) for clip in many_clips])
    alone = np.array([index for index, clip in enumerate(many_clips) if clip["kind"] != "speech and sounds"])
    kinds = np.array([many_clips[index]["kind"] for index in alone])
    train, test = balanced_halves(kinds)
    accuracy = linear_probe_accuracy(features[alone[train]], kinds[train], features[alone[test]], kinds[test])
    print(f"speech or sounds from spectra: {accuracy:.3f}, chance 0.5")
    assert accuracy > 0.75
