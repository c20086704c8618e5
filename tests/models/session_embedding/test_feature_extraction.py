"""SpeakerFeatureExtractor: 16 kHz, one channel, from anything that is a recording."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from avzoo import SpeakerFeatureExtractor
from avzoo.audio import resample, write_wav

RATE = 16000


def tone(seconds: float, rate: int = RATE, hertz: float = 300.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def waveforms_of(audio, rate=None, **options) -> torch.Tensor:
    return SpeakerFeatureExtractor(**options)(audio, rate).input_values


# --- kinds of recordings ----------------------------------------------------------------------------------------------


def test_every_form_of_a_recording_gives_the_same(tmp_path):
    samples = tone(0.5)
    write_wav(tmp_path / "a.wav", samples, RATE)
    row = {"array": samples, "sampling_rate": RATE}
    for audio in (tmp_path / "a.wav", str(tmp_path / "a.wav"), (tmp_path / "a.wav").read_bytes(), row):
        torch.testing.assert_close(waveforms_of(audio), torch.from_numpy(samples)[None], rtol=0, atol=0)
    for audio in (samples, torch.from_numpy(samples), samples.tolist(), samples.astype(np.float64)):
        torch.testing.assert_close(waveforms_of(audio, RATE), torch.from_numpy(samples)[None], rtol=0, atol=0)


def test_an_array_of_two_axes_is_a_batch():
    batch = np.stack([tone(0.5), tone(0.5, hertz=500)])
    for audio in (batch, torch.from_numpy(batch), list(batch)):
        inputs = SpeakerFeatureExtractor()(audio, RATE)
        torch.testing.assert_close(inputs.input_values, torch.from_numpy(batch), rtol=0, atol=0)
        assert "attention_mask" not in inputs


def test_shorter_recordings_are_padded_behind_their_end_and_masked():
    inputs = SpeakerFeatureExtractor()([tone(0.3), tone(0.5), tone(0.2)], RATE)
    assert inputs.input_values.shape == inputs.attention_mask.shape == (3, 8000)
    assert inputs.attention_mask.sum(1).tolist() == [4800, 8000, 3200]
    assert inputs.attention_mask[0, :4800].all()
    assert not inputs.input_values[~inputs.attention_mask.bool()].any()
    torch.testing.assert_close(inputs.input_values[2, :3200], torch.from_numpy(tone(0.2)), rtol=0, atol=0)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_are_resampled(rate, tmp_path):
    samples = tone(0.5, rate)
    expected = torch.from_numpy(resample(samples, rate, RATE))[None]
    assert expected.shape == (1, 8000)
    torch.testing.assert_close(waveforms_of(samples, rate), expected, rtol=0, atol=1e-6)
    write_wav(tmp_path / "a.wav", samples, rate)
    torch.testing.assert_close(waveforms_of(tmp_path / "a.wav"), expected, rtol=0, atol=1e-6)
    inside = slice(800, -800)
    torch.testing.assert_close(expected[0, inside], torch.from_numpy(tone(0.5))[inside], rtol=0, atol=2e-3)


@pytest.mark.parametrize(("channels", "weights"), [("mean", (0.5, 0.5)), ("first", (1.0, 0.0))])
def test_channels_become_one(channels, weights, tmp_path):
    left, right = tone(0.5), tone(0.5, hertz=700)
    write_wav(tmp_path / "a.wav", np.stack([left, right]), RATE)
    expected = torch.from_numpy(weights[0] * left + weights[1] * right)[None]
    torch.testing.assert_close(waveforms_of(tmp_path / "a.wav", channels=channels), expected, rtol=0, atol=1e-6)


def test_a_file_of_16_bits_is_divided_by_32768(tmp_path):
    write_wav(tmp_path / "a.wav", tone(0.5), RATE, encoding="pcm16")
    samples = waveforms_of(tmp_path / "a.wav") * 32768
    assert torch.equal(samples, samples.round())
    assert samples.abs().max() == pytest.approx(0.4 * 32768, abs=2)


def test_silence_is_a_recording():
    assert not waveforms_of(np.zeros(4000, np.float32), RATE).any()


def test_arrays_come_out_as_numpy_if_wanted():
    inputs = SpeakerFeatureExtractor()([tone(0.3), tone(0.5)], RATE, return_tensors="np")
    assert isinstance(inputs["input_values"], np.ndarray)
    assert isinstance(inputs["attention_mask"], np.ndarray)


def test_it_is_saved_and_found_by_transformers(tmp_path):
    SpeakerFeatureExtractor(channels="first", min_seconds=0.5).save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(loaded, SpeakerFeatureExtractor)
    assert (loaded.channels, loaded.min_seconds, loaded.sampling_rate) == ("first", 0.5, RATE)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "rate", "error", "message"),
    [
        ([], RATE, ValueError, "`audio` is an empty list"),
        (np.zeros(0, np.float32), RATE, ValueError, r"`audio`.* 0 seconds of audio"),
        (
            tone(0.104),
            RATE,
            ValueError,
            r"`audio` is too short: 0\.104 s \(1664 samples at 16000 Hz\), at least 0\.105 s",
        ),
        ([tone(0.5), tone(0.05)], RATE, ValueError, r"`audio\[1\]` is too short: 0\.050 s"),
        (tone(0.5), None, ValueError, "`audio` is an array, which doesn't tell its sampling rate"),
        (
            (tone(0.5) * 32767).astype(np.int16),
            RATE,
            TypeError,
            r"`audio` holds integers \(int16\); scale PCM to floats",
        ),
        (np.full(4000, np.nan, np.float32), RATE, ValueError, "4000 samples are NaN or infinite"),
        ([tone(0.5), tone(0.5) / 0], RATE, ValueError, r"`audio\[1\]`.* NaN or infinite"),
        ({"path": None}, None, ValueError, "`audio`"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered in divide")
def test_no_recording_is_refused_by_name(audio, rate, error, message):
    with pytest.raises(error, match=message):
        SpeakerFeatureExtractor()(audio, rate)


def test_a_short_file_is_named(tmp_path):
    write_wav(tmp_path / "short.wav", tone(0.05), RATE)
    with pytest.raises(ValueError, match=r"`audio` \(short\.wav\) is too short: 0\.050 s"):
        SpeakerFeatureExtractor()(tmp_path / "short.wav")
    with pytest.raises(OSError, match=r"absent\.wav"):
        SpeakerFeatureExtractor()(tmp_path / "absent.wav")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("channels", "all", "`channels` must be"),
        ("min_seconds", 0.05, "`min_seconds` must be"),
        ("sampling_rate", 8000, "`sampling_rate` must be 16000"),
    ],
)
def test_impossible_settings_are_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        SpeakerFeatureExtractor(**{field: value})
