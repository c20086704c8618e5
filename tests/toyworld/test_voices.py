import itertools

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from avzoo.toyworld.sound.sentences import LANGUAGES
from avzoo.toyworld.sound.voices import VOICES, Voice, say, sentence

TEXT = "Seven fish swim out of the sea, papa."


def band_power(audio, start, end):
    part = audio[int(start * 16000) : int(end * 16000)]
    return np.mean(part**2), np.mean(np.diff(part) ** 2)


def median_pitch_hz(audio, rate):
    """Of the frames that repeat themselves: the first high peak of their auto-correlation."""
    size = rate // 25
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[:: rate // 50] * np.hanning(size)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 4 * size)) ** 2)[:, :size]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 4 * size)) ** 2)[:size]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) * window[0] / (window + 1e-3 * window[0])
    lags = correlation[:, rate // 500 : rate // 60]
    voiced = lags[lags.max(axis=1) > 0.6]
    inner = voiced[:, 1:-1]
    peaks = (inner >= voiced[:, :-2]) & (inner >= voiced[:, 2:]) & (inner > 0.9 * voiced.max(axis=1, keepdims=True))
    return float(np.median(rate / (np.argmax(peaks[peaks.any(axis=1)], axis=1) + rate // 500 + 1)))


# ------------------------------------------------------------------------------------------------ voices


def test_there_are_enough_different_people():
    assert len(VOICES) == len({voice.name for voice in VOICES}) == 96
    assert len({(voice.language, voice.variant, voice.pitch_hz, voice.formant_scale) for voice in VOICES}) == 96
    for people in (VOICES, VOICES[:16]):
        assert {voice.person for voice in people} == {"woman", "man", "child"}
        assert len({voice.language for voice in people}) == 12


def test_a_voice_is_as_high_as_it_says():
    ratios = {}
    for voice in VOICES[::7]:
        utterance = say(sentence(np.random.default_rng(5), voice.language, 9), voice)
        ratios[voice.name] = median_pitch_hz(utterance.audio, 16000) / voice.pitch_hz
    # The pitch of a phrase depends on its melody: a fifth up or down.
    assert {name: ratio for name, ratio in ratios.items() if not 0.8 < ratio < 1.25} == {}


def test_a_shorter_vocal_tract_moves_the_resonances_and_neither_pitch_nor_pace():
    small, large = (
        say("Mama may remain in the yellow room now.", Voice("test", "en-us", "man", "m3", 120, 20, 160, scale))
        for scale in (1.25, 0.9)
    )
    assert small.seconds == pytest.approx(large.seconds, rel=0.1)
    assert median_pitch_hz(small.audio, 16000) == pytest.approx(median_pitch_hz(large.audio, 16000), rel=0.06)

    def centroid(audio):
        power = np.abs(np.fft.rfft(audio)) ** 2
        return np.average(np.arange(len(power)), weights=power) / len(power)

    assert centroid(small.audio) > 1.15 * centroid(large.audio)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"`variant` must be one of f1, .*; got 'nobody'"):
        Voice("test", "en-us", "man", "nobody", 100)


# -------------------------------------------------------------------------------------------- utterances


def test_the_same_call_gives_the_same_utterance():
    first, second = say(TEXT, VOICES[0]), say(TEXT, VOICES[0])
    np.testing.assert_array_equal(first.audio, second.audio)
    assert (first.words, first.phonemes) == (second.words, second.phonemes)


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
def test_an_utterance_is_as_loud_and_as_long_at_any_rate(sampling_rate):
    utterance, reference = say(TEXT, VOICES[2], sampling_rate), say(TEXT, VOICES[2])
    assert utterance.audio.dtype == np.float64
    assert np.sqrt(np.mean(utterance.audio**2)) == pytest.approx(0.1)
    assert utterance.seconds == pytest.approx(reference.seconds, abs=0.001)
    assert [word["word"] for word in utterance.words] == [word["word"] for word in reference.words]
    np.testing.assert_allclose(
        [word["start"] for word in utterance.words], [word["start"] for word in reference.words], atol=0.001
    )


def test_every_written_word_has_its_time():
    for voice in VOICES[:16]:
        generator = np.random.default_rng(3)
        for _ in range(2):
            text = sentence(generator, voice.language)
            utterance = say(text, voice)
            assert [word["word"] for word in utterance.words] == [word.strip(".,") for word in text.split()], voice
            times = [time for word in utterance.words for time in (word["start"], word["end"])]
            assert times == sorted(times), voice
            assert 0 <= times[0] < times[-1] <= utterance.seconds + 1e-4, voice
            assert {type(time) for time in times} == {float}, voice
            for one, other in itertools.pairwise(utterance.phonemes):
                assert one["end"] == other["start"], voice


def test_words_that_are_run_together_keep_their_own_times():
    words = say("The door of the house is out of it.", VOICES[0]).words
    assert [word["word"] for word in words] == ["The", "door", "of", "the", "house", "is", "out", "of", "it"]
    assert min(word["end"] - word["start"] for word in words) > 0.03


def test_numbers_and_apostrophes_are_one_word_each_and_dashes_none():
    words = say("It's 1234 - isn't it (really)?", VOICES[0]).words
    assert [word["word"] for word in words] == ["It's", "1234", "isn't", "it", "really"]
    assert words[1]["end"] - words[1]["start"] > 1


def test_silence_at_the_ends_is_cut_and_the_times_with_it():
    for voice in VOICES[:8]:
        utterance = say(sentence(np.random.default_rng(0), voice.language), voice)
        loud = np.flatnonzero(np.abs(utterance.audio) > 0.002 * np.abs(utterance.audio).max())
        assert loud[0] < 0.005 * 16000
        assert len(utterance.audio) - loud[-1] < 0.005 * 16000
        spoken = [phoneme for phoneme in utterance.phonemes if phoneme["ipa"]]
        assert spoken[0]["start"] < 0.03
        assert utterance.seconds - spoken[-1]["end"] < 0.06


def shifted_levels(shift):
    """Mean level in dB of (vowels, pauses) and treble of hisses, where the labels say, moved by `shift` seconds."""
    levels = {"vowel": [], "pause": [], "hiss": []}
    for voice in VOICES[3:60:8]:  # large and small vocal tracts
        utterance = say(sentence(np.random.default_rng(1), voice.language, 12), voice)
        for phoneme in utterance.phonemes:
            start, end = phoneme["start"] + shift, phoneme["end"] + shift
            sound = phoneme["ipa"].lstrip("ˈˌ")[:1]
            kind = "pause" if not sound else "vowel" if sound in "aeiouɑæɐʌɔəɛɪʊ" else "hiss" if sound in "sʃ" else ""
            if kind and start > 0.1 and end < utterance.seconds - 0.1 and end - start > 0.03:
                power, treble = band_power(utterance.audio, start, end)
                levels[kind].append(10 * np.log10((treble / max(power, 1e-9) if kind == "hiss" else power) + 1e-9))
    return {kind: np.mean(values) for kind, values in levels.items()}


def test_the_times_of_phonemes_are_those_of_the_sound():
    there, early, late = shifted_levels(0.0), shifted_levels(-0.04), shifted_levels(0.04)
    assert there["vowel"] > there["pause"] + 25
    for elsewhere in (early, late):
        assert there["vowel"] > elsewhere["vowel"]
        assert there["pause"] < elsewhere["pause"] - 5
        assert there["hiss"] > elsewhere["hiss"] + 2


def test_a_stop_starts_with_its_burst():
    rises = []
    for voice in VOICES[:12]:
        utterance = say(sentence(np.random.default_rng(2), voice.language, 12), voice)
        for phoneme in utterance.phonemes:
            if phoneme["ipa"] in ("p", "t", "k") and phoneme["start"] > 0.1:
                closure, _ = band_power(utterance.audio, phoneme["start"] - 0.015, phoneme["start"] - 0.002)
                burst, _ = band_power(utterance.audio, phoneme["start"] - 0.002, phoneme["start"] + 0.02)
                rises.append(10 * np.log10((burst + 1e-7) / (closure + 1e-7)))
    assert len(rises) > 20
    assert np.median(rises) > 15


@pytest.mark.parametrize(
    ("text", "message"),
    [("  ", "`text` must hold words"), ("- -", "`text` must hold words that 'en-us' can speak, got '- -'")],
)
def test_a_text_without_words_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        say(text, VOICES[0])


# --------------------------------------------------------------------------------------------- sentences


def test_a_sentence_has_as_many_words_as_asked():
    for language in LANGUAGES:
        generator = np.random.default_rng(0)
        for num_words in (*range(1, 13), 40):
            text = sentence(generator, language, num_words)
            assert len(text.split()) == num_words, (language, text)
            assert text[0].isupper(), (language, text)
            assert text.endswith("."), (language, text)


def test_a_grammar_leaves_no_name_of_a_rule_behind():
    for language in LANGUAGES:
        generator = np.random.default_rng(0)
        texts = [sentence(generator, language) for _ in range(400)]
        left = [text for text in texts if any(word.isupper() and len(word) > 1 for word in text.split())]
        assert not left, language
        assert len(set(texts)) > 350, language


def test_sentences_hold_many_words_and_depend_on_the_generator_alone():
    words = {
        word.strip(".,").lower()
        for language in LANGUAGES
        for index in range(300)
        for word in sentence(np.random.default_rng(index), language).split()
    }
    assert len(words) > 900
    assert sentence(np.random.default_rng(4), "en-gb") == sentence(np.random.default_rng(4), "en-us")


def test_a_wrong_language_or_length_is_refused():
    with pytest.raises(ValueError, match=r"`language` must begin with one of en, de, .*; got 'xx'"):
        sentence(np.random.default_rng(0), "xx")
    with pytest.raises(ValueError, match="`num_words` must be 1 or more, got 0"):
        sentence(np.random.default_rng(0), "de", 0)
