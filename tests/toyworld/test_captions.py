import collections
import json
import re
import sys

import numpy as np
import pytest
from toyworld.probes import audio_statistics, linear_probe_accuracy, spectral_statistics

pytest.importorskip("espeakng_loader")

from avzoo.audio import read_audio
from avzoo.toyworld import captions
from avzoo.toyworld.captions import (
    KINDS,
    SCENES,
    SOUNDS,
    WORDS,
    Captions,
    SceneWords,
    caption_clip,
    scene_word_clip,
)
from avzoo.toyworld.sound.voices import VOICES


@pytest.fixture(scope="module")
def clips():
    return list(Captions(200, seconds=3.0))


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
def test_a_clip_is_float32_of_the_asked_length(seconds, sampling_rate):
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


def test_a_clip_holds_what_its_kind_says(clips):
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
    for seed in range(12):
        clip = caption_clip(seed, kind="speech", seconds=4.0)
        inside = np.zeros(len(clip["audio"]), bool)
        inside[int(clip["words"][0]["start"] * 16000) : int(clip["words"][-1]["end"] * 16000)] = True
        power = [np.mean(clip["audio"][part] ** 2) for part in (inside, ~inside)]
        if clip["place"] != "hall":
            differences.append(10 * np.log10(power[0] / power[1]))
    assert np.median(differences) > 12


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_lies_where_its_label_says(name):
    for seed in range(3):
        generator = np.random.default_rng(seed)
        track, first, stop = captions._place(generator, captions._SOUNDS[name], 64000, (0, 64000))
        assert stop - first > 400
        assert np.isfinite(track).all()
        loudest = np.max(np.abs(track))
        assert np.max(np.abs(track[:first]), initial=0) <= 0.03 * loudest
        assert np.max(np.abs(track[stop:]), initial=0) <= 0.03 * loudest


def test_levels_are_what_the_labels_say():
    seen = collections.Counter()
    for seed in range(60):
        total, events = captions._surroundings(np.random.default_rng(seed), "speech and sounds", 48000, (9000, 30000))
        if len(events) == 1:
            event = events[0]
            part = total[round(event["onset"] * 16000) : round(event["offset"] * 16000)]
            assert 20 * np.log10(np.sqrt(np.mean(part**2))) == pytest.approx(event["level_db"], abs=0.05)
            low, high = captions._LEVELS_DB[event["level"]]
            assert low <= event["level_db"] <= high
            seen[event["level"]] += 1
        assert {"distant", "loud"} - {event["level"] for event in events}  # not both
    assert set(seen) == {"distant", "normal", "loud"}


def test_the_signal_to_noise_ratio_is_that_of_the_mixture():
    for seed in range(6):
        clip = caption_clip(seed, kind="speech and sounds")
        assert -15 < clip["snr_db"] < 35
        levels = {event["level"] for event in clip["events"]}
        assert clip["snr_db"] < 6 if "loud" in levels else clip["snr_db"] > -3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"kind": "noise"}, r"`kind` must be one of 'speech and sounds', 'speech', 'sounds'; got 'noise'"),
        ({"seconds": 1.0}, r"`seconds` must be from 2 to 60, got 1\.0"),
        ({"seconds": float("nan")}, r"`seconds` must be from 2 to 60, got nan"),
        ({"sampling_rate": 4000}, r"`sampling_rate` must be 8000 Hz or more, got 4000"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        caption_clip(**{"seed": 0, **arguments})


def test_without_espeak_sounds_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert len(caption_clip(0, kind="sounds", seconds=2.0)["audio"]) == 32000
    with pytest.raises(ImportError, match=r"pip install avzoo\[toy\]"):
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
            for name, sound in captions._SOUNDS.items()
            if count(rf"\b{sound.noun} ({sound.verb}|{sound.participle})\b", caption)
        }
        assert named == {event["sound"] for event in clip["events"]}, caption


def test_a_caption_tells_the_truth_about_levels(clips):
    for clip in clips:
        for level, pattern in LEVELS.items():
            assert count(pattern, clip["caption"]) == sum(event["level"] == level for event in clip["events"])


def test_a_caption_tells_the_truth_about_the_voice(clips):
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


def test_a_caption_tells_the_truth_about_time(clips):
    """Of what stands on both sides of a "then", a "while" or an "at another time"."""
    found = collections.Counter()
    for clip in clips:
        caption = clip["caption"].lower()
        spans = [(captions._SOUNDS[event["sound"]].noun, event["onset"], event["offset"]) for event in clip["events"]]
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
    assert found["then"] > 10
    assert found["while"] > 20


def test_what_cannot_be_ordered_is_not():
    voice = {"person": "man", "pace": "normal", "pitch": "normal", "accent": "en-us"}
    words = [{"word": "Hello", "start": 2.0, "end": 3.0}]

    def caption(*events):
        labels = [{"sound": name, "onset": on, "offset": off, "level": "normal"} for name, on, off in events]
        return captions._caption(np.random.default_rng(0), voice, words, labels, "room").lower()

    assert ", then a dog barks" in caption(("rain", 0.0, 3.5), ("dog", 3.6, 4.0))
    assert caption(("dog", 0.0, 1.0), ("rain", 1.5, 4.0)).startswith("a dog barks, then ")
    assert "and at another time a dog barks" in caption(("rain", 0.0, 4.0), ("dog", 3.5, 4.0))
    assert "and at another time a dog barks" in caption(("rain", 0.0, 4.0), ("dog", 0.5, 1.0))
    assert caption(("dog", 0.0, 1.0), ("cat", 0.5, 1.5)).startswith("a dog barks and a cat meows, then ")


def test_a_caption_tells_the_truth_about_the_place(clips):
    places = collections.Counter()
    for clip in clips:
        echo = bool(count("a large hall|a hall that echoes|a long echo", clip["caption"].lower()))
        assert echo == (clip["place"] == "hall") == (clip["reverberation_seconds"] >= 1)
        if count("quiet room|nothing else", clip["caption"]):
            assert clip["place"] == "quiet room"
            assert clip["snr_db"] > 35
        places[clip["place"]] += 1
    assert min(places[place] for place in ("hall", "room", "quiet room")) > 5


def test_a_hall_rings_on_after_the_last_word():
    def level_after(seed):
        clip = caption_clip(seed, kind="speech", seconds=5.0)
        stop = int(clip["words"][-1]["end"] * 16000)
        if stop > 72000:
            return None
        voice = clip["audio"][int(clip["words"][0]["start"] * 16000) : stop]
        after = clip["audio"][stop + 1600 : stop + 4800]
        return clip["place"], 10 * np.log10(np.mean(after**2) / np.mean(voice**2))

    levels = collections.defaultdict(list)
    for found in filter(None, map(level_after, range(60))):
        levels[found[0]].append(found[1])
    assert np.median(levels["hall"]) > np.median(levels["room"] + levels["quiet room"]) + 6


def test_captions_are_varied(clips):
    assert len({clip["caption"] for clip in clips}) > 180
    first_words = collections.Counter(clip["caption"].split()[0] for clip in clips)
    assert len(first_words) >= 5
    assert max(first_words.values()) < 150
    assert all(clip["caption"][0].isupper() and "  " not in clip["caption"] for clip in clips)


# ---------------------------------------------------------------------------------------------- data set


def test_every_run_of_four_clips_holds_each_kind():
    data = Captions(40, seed=2)
    kinds = [data.label(index) for index in range(40)]
    for start in range(0, 40, 4):
        assert sorted(kinds[start : start + 4]) == sorted([*KINDS, "speech and sounds"])
    assert len({tuple(kinds[start : start + 4]) for start in range(0, 40, 4)}) > 2


def test_a_label_is_that_of_the_rendered_clip_and_splits_differ(clips):
    data = Captions(200, seconds=3.0)
    assert [clip["kind"] for clip in clips] == [data.label(index) for index in range(200)]
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


def test_loudness_and_the_like_tell_neither_speech_nor_the_sound(clips):
    features = np.stack([audio_statistics(clip["audio"]) for clip in clips])
    spoken = np.array([clip["voice"] is not None for clip in clips])
    train, test = balanced_halves(spoken)
    speech = linear_probe_accuracy(features[train], spoken[train], features[test], spoken[test])
    heard = np.array([bool(clip["events"]) for clip in clips])
    train, test = balanced_halves(heard)
    sounds = linear_probe_accuracy(features[train], heard[train], features[test], heard[test])
    single = np.array([index for index, clip in enumerate(clips) if clip["events"]])
    names = np.array([clips[index]["events"][0]["sound"] for index in single])
    half = len(single) // 2
    event = linear_probe_accuracy(features[single[:half]], names[:half], features[single[half:]], names[half:])
    print(f"from trivial statistics: speech {speech:.3f}, sounds {sounds:.3f}, chance 0.5; event {event:.3f}, 1/22")
    assert speech < 0.68
    assert sounds < 0.68
    assert event < 0.2


def test_spectra_tell_whether_somebody_speaks(clips):
    features = np.stack([spectral_statistics(clip["audio"]) for clip in clips])
    alone = np.array([index for index, clip in enumerate(clips) if clip["kind"] != "speech and sounds"])
    kinds = np.array([clips[index]["kind"] for index in alone])
    train, test = balanced_halves(kinds)
    accuracy = linear_probe_accuracy(features[alone[train]], kinds[train], features[alone[test]], kinds[test])
    print(f"speech or sounds from spectra: {accuracy:.3f}, chance 0.5")
    assert accuracy > 0.75


# --------------------------------------------------------------------------------------- a word in a scene


@pytest.fixture(scope="module")
def scene_words():
    return list(SceneWords(640))


def test_a_word_in_a_scene_is_a_pure_function_of_its_seed():
    first = scene_word_clip(3)
    scene_word_clip(4)
    second = scene_word_clip(3)
    np.testing.assert_array_equal(first.pop("audio"), second.pop("audio"))
    assert first == second
    assert not np.array_equal(scene_word_clip(5, word="go")["audio"], scene_word_clip(6, word="go")["audio"])


def test_naming_the_drawn_word_and_scene_changes_nothing():
    drawn = scene_word_clip(9)
    named = scene_word_clip(9, word=drawn["word"], scene=drawn["scene"])
    np.testing.assert_array_equal(drawn["audio"], named["audio"])
    other = next(scene for scene in SCENES if scene != drawn["scene"])
    changed = scene_word_clip(9, scene=other)
    assert (changed["word"], changed["words"], changed["voice"]) == (drawn["word"], drawn["words"], drawn["voice"])


@pytest.mark.parametrize(("seconds", "sampling_rate"), [(1.25, 16000), (1.28, 16000), (1.3, 8000), (2.0, 44100)])
def test_a_word_in_a_scene_is_float32_of_the_asked_length(seconds, sampling_rate):
    clip = scene_word_clip(1, seconds=seconds, sampling_rate=sampling_rate)
    assert clip["audio"].shape == (round(seconds * sampling_rate),)
    assert clip["audio"].dtype == np.float32
    assert 0.3 < np.abs(clip["audio"]).max() <= 1.0


def test_every_word_in_every_scene_comes_once_in_64_clips(scene_words):
    data = SceneWords(640)
    assert [(clip["word"], clip["scene"]) for clip in scene_words] == [data.label(index) for index in range(640)]
    for start in range(0, 640, 64):
        pairs = {(clip["word"], clip["scene"]) for clip in scene_words[start : start + 64]}
        assert len(pairs) == len(WORDS) * len(SCENES) == 64


def test_the_word_lies_in_the_clip_as_a_whole(scene_words):
    starts = []
    for clip in scene_words:
        [spoken] = clip["words"]
        assert clip["transcript"] == clip["word"] == spoken["word"]
        assert 0 <= spoken["start"] < spoken["end"] <= 1.25 + 1e-4
        assert VOICES[clip["voice"]["speaker"]].language.startswith("en")
        starts.append(spoken["start"])
    assert min(starts) < 0.05
    assert max(starts) > 0.7


def test_in_the_quiet_all_that_is_heard_is_the_word(scene_words):
    for clip in scene_words:
        assert (clip["snr_db"] is None) == (clip["scene"] == "quiet")
        if clip["scene"] == "quiet":
            [spoken] = clip["words"]
            inside = np.zeros(len(clip["audio"]), bool)
            inside[int(spoken["start"] * 16000) : int(spoken["end"] * 16000) + 1] = True
            power = [np.mean(clip["audio"][part] ** 2) for part in (inside, ~inside)]
            assert 10 * np.log10(power[0] / power[1]) > 35


def test_the_scene_is_as_loud_as_its_label_says():
    """The same voice and onset without the scene, scaled to the same level, leave the scene when taken away."""
    for seed in range(8):
        noisy, quiet = scene_word_clip(seed, scene="rain"), scene_word_clip(seed, scene="quiet")
        [spoken] = noisy["words"]
        inside = slice(int(spoken["start"] * 16000), int(spoken["end"] * 16000))
        mixture, speech = (clip["audio"].astype(np.float64) for clip in (noisy, quiet))
        scale = mixture[inside] @ speech[inside] / (speech[inside] @ speech[inside])
        scene = mixture - scale * speech
        levels = [np.sqrt(np.mean(part**2)) for part in (scale * speech[inside], scene)]
        assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(noisy["snr_db"], abs=1.0)
        assert -3 <= noisy["snr_db"] <= 9


def test_a_scene_caption_names_the_scene_and_the_speaker_and_not_the_word(scene_words):
    for clip in scene_words:
        caption = clip["caption"].lower()
        named = {
            name
            for name, sound in captions._SOUNDS.items()
            if count(rf"\b{sound.noun} ({sound.verb}|{sound.participle})\b", caption)
        }
        assert named == {clip["scene"]} - {"quiet"}, caption
        assert count("in a quiet room|in silence|nothing else is heard", caption) == (clip["scene"] == "quiet"), caption
        assert re.findall(r"\ba (woman|man|child) (?:is )?(?:speak|talk)", caption) == [clip["voice"]["person"]]
        assert re.findall(r"in a (deep|high) voice", caption) == [clip["voice"]["pitch"]] * (
            clip["voice"]["pitch"] != "normal"
        )
        assert not count(rf"\b{clip['word']}\b", caption), caption
    for scene in SCENES:
        assert len({clip["caption"] for clip in scene_words if clip["scene"] == scene}) > 20


def test_a_word_in_a_scene_fits_into_json_and_the_cache(tmp_path):
    data = SceneWords(2, cache_dir=tmp_path)
    rendered, cached = data[1], data[1]
    np.testing.assert_array_equal(rendered.pop("audio"), cached["audio"])
    assert rendered == {name: value for name, value in cached.items() if name != "audio"}


def test_loudness_and_the_like_do_not_tell_the_word(scene_words):
    words, scenes = (np.array([clip[name] for clip in scene_words]) for name in ("word", "scene"))
    accuracy = {}
    for kind, features in (("loudness", audio_statistics), ("spectrum", spectral_statistics)):
        rows = np.stack([features(clip["audio"]) for clip in scene_words])
        for name, labels in (("word", words), ("scene", scenes)):
            accuracy[kind, name] = linear_probe_accuracy(rows[:320], labels[:320], rows[320:], labels[320:])
    print(f"of eight words and eight scenes: {accuracy}, chance 0.125")
    assert accuracy["loudness", "word"] < 0.25
    assert accuracy["loudness", "scene"] < 0.75
    assert accuracy["spectrum", "word"] < 0.5
    assert accuracy["spectrum", "scene"] > 0.7


def test_few_speakers_say_their_word_in_the_middle_at_the_ratio_that_is_asked_for():
    settings = {"num_speakers": 3, "snr_db": [10.0, 12.0], "centred": 1.0, "scene": "rain"}
    clips = [scene_word_clip(seed, **settings) for seed in range(24)]
    assert len({clip["voice"]["speaker"] for clip in clips}) == 3
    for clip in clips:
        (word,) = clip["words"]
        assert word["start"] == pytest.approx(1.25 - word["end"], abs=1e-3)
        assert 10 <= clip["snr_db"] <= 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"num_speakers": 0}, r"`num_speakers` must be from 1 to \d+, got 0"),
        ({"snr_db": [9.0, 3.0]}, r"`snr_db` must be two numbers from -20 to 40, the lower first, got \[9\.0, 3\.0\]"),
        ({"centred": 1.5}, r"`centred` must be from 0 to 1, got 1\.5"),
        ({"word": "hello"}, r"`word` must be one of 'banana', .*'two'; got 'hello'"),
        ({"scene": "cat"}, r"`scene` must be one of 'quiet', .*'siren'; got 'cat'"),
        ({"seconds": 1.0}, r"`seconds` must be from 1\.25 to 10, got 1\.0"),
        ({"sampling_rate": 4000}, r"`sampling_rate` must be 8000 Hz or more, got 4000"),
    ],
)
def test_a_wrong_argument_of_a_word_in_a_scene_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scene_word_clip(**{"seed": 0, **arguments})
