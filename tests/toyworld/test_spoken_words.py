from dataclasses import replace

import numpy as np
import pytest
from toyworld.probes import audio_statistics, frame_statistics, linear_probe_accuracy

pytest.importorskip("espeakng_loader")

from avzoo.toyworld.caption_words import ENGLISH_SPEAKERS
from avzoo.toyworld.drawing.visemes import viseme_segments
from avzoo.toyworld.sound.voices import VOICES, say
from avzoo.toyworld.spoken_words import (
    HOMOPHENES,
    LIP_CLASSES,
    WORDS,
    SpokenWords,
    english_identities,
    spoken_word_clip,
)
from avzoo.toyworld.talkers import lip_crops


def list_visemes(word, voice):
    """The lips of a word in order; 0, silence, is left out."""
    return [index for index, *_ in viseme_segments(say(word, VOICES[voice]).phonemes) if index]


@pytest.fixture(scope="module")
def clips():
    """Each word twice."""
    return list(SpokenWords(24, size=64))


def test_a_clip_is_a_pure_function_of_its_seed():
    first, second = spoken_word_clip(3, size=48), spoken_word_clip(3, size=48)
    for name in ("frames", "audio", "boxes"):
        np.testing.assert_array_equal(first[name], second[name])
    assert first["word"] == second["word"]
    assert not np.array_equal(first["audio"], spoken_word_clip(4, word=first["word"], size=48)["audio"])


def test_passing_the_drawn_word_gives_the_same_clip():
    drawn = spoken_word_clip(9, size=48)
    named = spoken_word_clip(9, word=drawn["word"], size=48)
    np.testing.assert_array_equal(drawn["frames"], named["frames"])
    np.testing.assert_array_equal(drawn["audio"], named["audio"])


def test_a_clip_is_one_second_of_picture_and_sound(clips):
    assert (clips[0]["frames"].shape, clips[0]["frames"].dtype) == ((25, 64, 64, 3), np.uint8)
    assert (clips[0]["audio"].shape, clips[0]["audio"].dtype) == ((16000,), np.float32)
    assert lip_crops(clips[0], 0, 48).shape == (25, 48, 48, 3)


def test_twelve_clips_hold_every_word_once(clips):
    data = SpokenWords(24, size=64)
    assert [clip["word"] for clip in clips] == [data.label(index) for index in range(24)]
    for start in (0, 12):
        assert {clip["word"] for clip in clips[start : start + 12]} == set(WORDS)
    assert len(WORDS) == 12


def test_the_word_that_is_heard_lies_in_the_clip_and_moves_the_lips(clips):
    for clip in clips:
        (spoken,) = clip["faces"][0]["words"]
        assert spoken["word"] == clip["word"]
        assert 0 <= spoken["start"] < spoken["end"] <= 1.0
        moving = np.flatnonzero(clip["visemes"][0])
        assert spoken["start"] - 0.1 <= moving[0] / 25 <= moving[-1] / 25 <= spoken["end"] + 0.1


def test_utterances_have_one_level_and_noise_is_50_db_below():
    for seed in range(6):
        clip = spoken_word_clip(seed, size=16)
        speech = clip["voices"][0].astype(float)
        heard = np.flatnonzero(speech)
        level = np.sqrt(np.mean(speech[heard[0] : heard[-1] + 1] ** 2))
        noise = clip["audio"] - speech
        assert level == pytest.approx(0.1, rel=0.01)
        assert 20 * np.log10(0.1 / np.sqrt(np.mean(noise**2))) == pytest.approx(50, abs=0.5)


@pytest.mark.parametrize("pair", HOMOPHENES, ids="/".join)
def test_both_words_of_a_pair_have_the_same_lips(pair):
    for voice in ENGLISH_SPEAKERS[::6]:
        assert list_visemes(pair[0], voice) == list_visemes(pair[1], voice)


def test_words_of_different_lip_classes_have_different_lips():
    words = {lip_class.split("/")[0] for lip_class in LIP_CLASSES}
    for voice in ENGLISH_SPEAKERS[::6]:
        assert len({tuple(list_visemes(word, voice)) for word in words}) == len(LIP_CLASSES) == 10


def test_people_are_voices_with_faces():
    people = english_identities(faces=(4, 5), voices=(0, 2))
    assert people == [4 * 96, 4 * 96 + 2, 5 * 96, 5 * 96 + 2]
    drawn = {clip["identity"] for clip in SpokenWords(24, identities=people, size=16)}
    assert drawn == set(people)


def test_the_voice_is_the_persons():
    clip = spoken_word_clip(2, identities=[4 * 96 + 7], size=16)
    assert clip["faces"][0]["voice"] == VOICES[7].name


def test_every_word_fits_into_a_second_at_the_slowest_pace():
    voices = [replace(VOICES[voice], rate_wpm=0.95 * VOICES[voice].rate_wpm) for voice in ENGLISH_SPEAKERS]
    assert max(say(word, voice).seconds for word in ("banana", "seven") for voice in voices) < 1.0


def test_a_voice_says_a_word_at_several_paces():
    clips = [spoken_word_clip(seed, word="go", identities=[0], size=16) for seed in range(6)]
    lengths = [clip["faces"][0]["words"][0]["end"] - clip["faces"][0]["words"][0]["start"] for clip in clips]
    assert max(lengths) > 1.08 * min(lengths)


def test_clips_are_written_as_video_with_their_word(tmp_path):
    video, labels = SpokenWords(1, size=48).write(SpokenWords(1, size=48)[0], tmp_path)
    assert video.name == "spoken_words-train-0000000.mp4"
    assert f'"word": "{SpokenWords(1).label(0)}"' in labels.read_text("utf-8")


@pytest.mark.slow
def test_levels_and_brightness_hardly_predict_the_word():
    """Those of the sound do a little: a word's length and hiss show in its level and its crossings of zero."""
    many = list(SpokenWords(480, size=32))
    words = np.array([clip["word"] for clip in many])
    for features, part, most in ((audio_statistics, "audio", 0.45), (frame_statistics, "frames", 0.17)):
        rows = np.stack([features(clip[part]) for clip in many])
        accuracy = linear_probe_accuracy(rows[:240], words[:240], rows[240:], words[240:])
        print(f"twelve words by statistics of {part}: {accuracy:.3f}, chance 0.083")
        assert accuracy < most


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"word": "hello"}, r"`word` must be one of banana, .*van, got 'hello'"),
        ({"size": 8}, r"`size` must be \[height, width\], each from 16 to 4096 pixels"),
        ({"identities": []}, r"`identities` must hold at least one person, got none"),
        ({"identities": [1]}, r"`identities` must be people with English voices, got 1, whose voice is de-man-1"),
        ({"identities": [-1]}, r"`identities` must be at least 0, got -1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        spoken_word_clip(**{"seed": 0, **arguments})
