import re

import numpy as np
import pytest
from toyworld.probes import audio_statistics, linear_probe_accuracy, spectral_statistics

pytest.importorskip("espeakng_loader")

from avzoo.toyworld.caption_words import DESCRIBED_SOUNDS
from avzoo.toyworld.scene_words import SCENES, WORDS, SceneWords, scene_word_clip
from avzoo.toyworld.sound.voices import VOICES


def count(pattern, text):
    return len(re.findall(pattern, text))


@pytest.fixture(scope="module")
def scene_words():
    """Every word in every scene twice."""
    return list(SceneWords(128))


@pytest.fixture(scope="module")
def many_scene_words(scene_words):
    data = SceneWords(640)
    return scene_words + [data[index] for index in range(128, 640)]


def test_a_clip_is_a_pure_function_of_its_seed():
    first = scene_word_clip(3)
    scene_word_clip(4)
    second = scene_word_clip(3)
    np.testing.assert_array_equal(first.pop("audio"), second.pop("audio"))
    assert first == second
    assert not np.array_equal(scene_word_clip(5, word="go")["audio"], scene_word_clip(6, word="go")["audio"])


def test_passing_the_drawn_word_and_scene_gives_the_same_clip():
    drawn = scene_word_clip(9)
    named = scene_word_clip(9, word=drawn["word"], scene=drawn["scene"])
    np.testing.assert_array_equal(drawn["audio"], named["audio"])
    other = next(scene for scene in SCENES if scene != drawn["scene"])
    changed = scene_word_clip(9, scene=other)
    assert (changed["word"], changed["words"], changed["voice"]) == (drawn["word"], drawn["words"], drawn["voice"])


@pytest.mark.parametrize(("seconds", "sampling_rate"), [(1.25, 16000), (1.28, 16000), (1.3, 8000), (2.0, 44100)])
def test_a_clip_is_float32_of_the_requested_length(seconds, sampling_rate):
    clip = scene_word_clip(1, seconds=seconds, sampling_rate=sampling_rate)
    assert clip["audio"].shape == (round(seconds * sampling_rate),)
    assert clip["audio"].dtype == np.float32
    assert 0.3 < np.abs(clip["audio"]).max() <= 1.0


def test_64_clips_hold_every_word_in_every_scene_once(scene_words):
    data = SceneWords(128)
    assert [(clip["word"], clip["scene"]) for clip in scene_words] == [data.label(index) for index in range(128)]
    for start in range(0, 128, 64):
        pairs = {(clip["word"], clip["scene"]) for clip in scene_words[start : start + 64]}
        assert len(pairs) == len(WORDS) * len(SCENES) == 64


def test_the_whole_word_lies_in_the_clip(scene_words):
    starts = []
    for clip in scene_words:
        [spoken] = clip["words"]
        assert clip["transcript"] == clip["word"] == spoken["word"]
        assert 0 <= spoken["start"] < spoken["end"] <= 1.25 + 1e-4
        assert VOICES[clip["voice"]["speaker"]].language.startswith("en")
        starts.append(spoken["start"])
    assert min(starts) < 0.05
    assert max(starts) > 0.7


def test_the_scene_quiet_holds_only_the_word(scene_words):
    for clip in scene_words:
        assert (clip["snr_db"] is None) == (clip["scene"] == "quiet")
        if clip["scene"] == "quiet":
            [spoken] = clip["words"]
            inside = np.zeros(len(clip["audio"]), bool)
            inside[int(spoken["start"] * 16000) : int(spoken["end"] * 16000) + 1] = True
            power = [np.mean(clip["audio"][part] ** 2) for part in (inside, ~inside)]
            assert 10 * np.log10(power[0] / power[1]) > 35


def test_the_scene_has_the_level_of_its_label():
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


def test_a_caption_names_the_scene_and_the_speaker_and_not_the_word(scene_words):
    for clip in scene_words:
        caption = clip["caption"].lower()
        named = {
            name
            for name, sound in DESCRIBED_SOUNDS.items()
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
        captions = [clip["caption"] for clip in scene_words if clip["scene"] == scene]
        assert len(set(captions)) > len(captions) / 2


def test_labels_fit_into_json_and_the_cache(tmp_path):
    data = SceneWords(2, cache_dir=tmp_path)
    rendered, cached = data[1], data[1]
    np.testing.assert_array_equal(rendered.pop("audio"), cached["audio"])
    assert rendered == {name: value for name, value in cached.items() if name != "audio"}


@pytest.mark.slow
def test_audio_statistics_do_not_predict_the_word(many_scene_words):
    words, scenes = (np.array([clip[name] for clip in many_scene_words]) for name in ("word", "scene"))
    accuracy = {}
    for kind, features in (("loudness", audio_statistics), ("spectrum", spectral_statistics)):
        rows = np.stack([features(clip["audio"]) for clip in many_scene_words])
        for name, labels in (("word", words), ("scene", scenes)):
            accuracy[kind, name] = linear_probe_accuracy(rows[:320], labels[:320], rows[320:], labels[320:])
    print(f"of eight words and eight scenes: {accuracy}, chance 0.125")
    assert accuracy["loudness", "word"] < 0.25
    assert accuracy["loudness", "scene"] < 0.75
    assert accuracy["spectrum", "word"] < 0.5
    assert accuracy["spectrum", "scene"] > 0.7


def test_settings_limit_speakers_position_and_ratio():
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
        ({"num_speakers": 0}, r"`num_speakers` must be at least 1 and at most \d+, got 0"),
        ({"snr_db": [9.0, 3.0]}, r"`snr_db` must be two numbers from -20 to 40, the lower first, got \[9\.0, 3\.0\]"),
        ({"centred": 1.5}, r"`centred` must be at least 0 and at most 1, got 1\.5"),
        ({"word": "hello"}, r"`word` must be one of banana, .*two, got 'hello'"),
        ({"scene": "cat"}, r"`scene` must be one of quiet, .*siren, got 'cat'"),
        ({"seconds": 1.0}, r"`seconds` must be at least 1\.25 and at most 10, got 1\.0"),
        ({"sampling_rate": 4000}, r"`sampling_rate` must be at least 8000 Hz, got 4000"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        scene_word_clip(**{"seed": 0, **arguments})
