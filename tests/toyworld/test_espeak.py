import hashlib
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from avzoo.toyworld.sound.espeak import list_variants, list_voices, speak, speak_with_phonemes, speak_with_words

TEXT = "Hello there, seven fish swim."


def test_speech_is_float32_and_loud_enough():
    samples, sampling_rate = speak(TEXT)
    assert samples.dtype == np.float32
    assert sampling_rate == 22050
    assert 1.0 < len(samples) / sampling_rate < 4.0
    assert 0.1 < np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("variant", [None, "f3", "klatt", "whisper", "anika"])
def test_the_same_call_gives_the_same_samples_whatever_was_said_before(variant):
    first, _ = speak(TEXT, variant=variant)
    speak("etwas ganz anderes", voice="de", variant="klatt4", rate_wpm=300)
    second, _ = speak(TEXT, variant=variant)
    np.testing.assert_array_equal(first, second)


def test_every_variant_says_the_same_again():
    changing = [
        name
        for name in list_variants()
        if (speak("She sells.", variant=name)[0] != speak("She sells.", variant=name)[0]).any()
    ]
    assert changing == []


def test_another_process_gives_the_same_samples():
    program = (
        "import hashlib; from avzoo.toyworld.sound.espeak import speak; "
        f"print(hashlib.sha256(speak({TEXT!r}, variant='whisper')[0].tobytes()).hexdigest())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == hashlib.sha256(speak(TEXT, variant="whisper")[0].tobytes()).hexdigest() + "\n"


def test_threads_do_not_disturb_each_other():
    expected, results = speak(TEXT, variant="klatt")[0], {}

    def run(name):
        results[name] = speak(TEXT, variant="klatt")[0] if name % 2 else speak("noise", variant="f2")[0]

    threads = [threading.Thread(target=run, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(1, 8, 2):
        np.testing.assert_array_equal(results[name], expected)


def test_phonemes_cover_the_audio_in_order():
    samples, sampling_rate, events = speak_with_phonemes("Mama, papa.")
    assert next(event.ipa.lstrip("ˈˌ")[0] for event in events if event.ipa) == "m"
    assert "p" in [event.ipa for event in events]
    assert any(event.ipa == "" for event in events)  # the comma
    ends = [event.start_seconds + event.duration_seconds for event in events]
    np.testing.assert_allclose(ends[:-1], [event.start_seconds for event in events[1:]], atol=1e-9)
    assert ends[-1] == pytest.approx(len(samples) / sampling_rate)


def test_pauses_are_quiet_and_vowels_are_not():
    samples, rate, events = speak_with_phonemes("Mama, papa.")
    loudness = {True: [], False: []}
    for event in events:
        part = samples[int(event.start_seconds * rate) : int((event.start_seconds + event.duration_seconds) * rate)]
        if event.duration_seconds > 0.05:
            loudness[event.ipa == ""].append(np.sqrt(np.mean(part**2)))
    assert max(loudness[True]) < 0.1 * max(loudness[False])


def test_words_that_are_read_as_one_get_a_time_each():
    samples, rate, phonemes, words = speak_with_words("Out of the house - at 35.")
    assert [word.text for word in words] == ["Out", "of", "the", "house", "at", "35."]
    starts = [event.start_seconds for event in phonemes if event.ipa]
    assert all(word.start_seconds in starts for word in words)
    assert 0.4 < words[-1].duration_seconds < len(samples) / rate - words[-1].start_seconds


def test_faster_speech_is_shorter_and_higher_speech_is_higher():
    assert len(speak(TEXT, rate_wpm=300)[0]) < 0.8 * len(speak(TEXT, rate_wpm=150)[0])

    def pitch_hz(samples, rate):
        middle = samples[len(samples) // 3 :][: rate // 10]
        correlation = np.correlate(middle, middle, "full")[len(middle) :]
        lags = slice(rate // 500, rate // 60)
        return rate / (np.argmax(correlation[lags]) + lags.start + 1)

    low, high = (pitch_hz(*speak("aaaaaaa", pitch=pitch, pitch_range=0)) for pitch in (10, 90))
    assert high > 1.5 * low


def test_every_listed_voice_speaks():
    voices = list_voices()
    assert {"en-us", "de", "fr-fr", "en-gb", "ja"} <= {voice.language for voice in voices}
    for voice in voices:
        assert np.abs(speak("nana 3", voice.language)[0]).max() > 0.01, voice


def test_variants_are_listed():
    assert {"f3", "klatt", "whisper"} <= set(list_variants())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voice": "xx"}, r"`voice` 'xx' is not one of espeak-ng's; `list_voices\(\)`"),
        ({"voice": ""}, r"`voice` '' is not"),
        ({"variant": "nobody"}, r"`variant` 'nobody' is not one of espeak-ng's; `list_variants\(\)`"),
        ({"rate_wpm": 20}, r"`rate_wpm` must be from 80 to 450, got 20"),
        ({"pitch": 100}, r"`pitch` must be from 0 to 99, got 100"),
        ({"pitch_range": -1}, r"`pitch_range` must be from 0 to 99, got -1"),
        ({"text": "  "}, r"`text` must hold words"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        speak(**{"text": "hello", **arguments})
