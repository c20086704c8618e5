"""Features of BEATs beside a plain Kaldi spectrogram; masks, channels, short recordings."""

import math

import numpy as np
import pytest
import torch

from avzoo import BEATsFeatureExtractor
from avzoo.audio import write_wav

SILENCE = (math.log(1.1920929e-07) - 15.41663) / (2 * 6.55582)


def make_sound(samples: int, seed: int = 0) -> np.ndarray:
    """Noise under a slow envelope, with an offset that Kaldi removes."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.2 * noise * np.sin(np.arange(samples) / 3000) ** 2 + 0.05).astype(np.float32)


def plain_features(samples: np.ndarray) -> np.ndarray:
    """Frame by frame and band by band, as Kaldi's documentation has it."""
    samples = samples.astype(np.float64) * 32768
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    mel = 1127 * np.log(1 + np.arange(257) * 31.25 / 700)
    edges = np.linspace(1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + 8000 / 700), 130)
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400] - samples[start : start + 400].mean()
        frame = (frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])) * window
        power = np.abs(np.fft.rfft(frame, 512)) ** 2
        bands = [
            sum(
                power[line] * min((mel[line] - low) / (middle - low), (high - mel[line]) / (high - middle))
                for line in np.flatnonzero((mel > low) & (mel < high))
            )
            for low, middle, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True)
        ]
        rows.append(np.log(np.maximum(bands, 1.1920929e-07)))
    return (np.array(rows) - 15.41663) / (2 * 6.55582)


def test_features_are_those_of_a_plain_spectrogram():
    samples = make_sound(4000)
    features = BEATsFeatureExtractor()(samples, sampling_rate=16000).input_values
    expected = plain_features(samples)
    assert features.shape == (1, 23, 128)
    assert expected[:, 3].max() == pytest.approx(SILENCE)  # no line of the transform falls into the fourth band
    # float32 has less left of the lowest bands, where the pre-emphasis takes most away.
    np.testing.assert_allclose(features[0], expected, atol=5e-4)


def test_silence_is_the_floor_in_every_band():
    features = BEATsFeatureExtractor()(np.zeros(16000, np.float32), sampling_rate=16000).input_values
    assert pytest.approx(-2.392, abs=1e-3) == SILENCE
    torch.testing.assert_close(features, torch.full((1, 98, 128), SILENCE), rtol=0, atol=1e-5)


def test_ten_seconds_have_998_frames_and_fill_the_models_input():
    extractor = BEATsFeatureExtractor()
    assert extractor(make_sound(160_000), sampling_rate=16000).input_values.shape == (1, 998, 128)
    assert extractor.max_samples == 160_000


def test_longer_recordings_are_not_cut():
    assert BEATsFeatureExtractor()(make_sound(200_000), sampling_rate=16000).input_values.shape == (1, 1248, 128)


def test_two_channels_become_their_mean_or_the_first(tmp_path):
    left, right = make_sound(8000, 1), make_sound(8000, 2)
    write_wav(tmp_path / "two.wav", np.stack([left, right]), 16000)
    read = {channels: BEATsFeatureExtractor(channels=channels)(tmp_path / "two.wav") for channels in ("mean", "first")}
    expected = {"mean": (left + right) / 2, "first": left}
    for channels, batch in read.items():
        wanted = BEATsFeatureExtractor()(expected[channels], sampling_rate=16000).input_values
        torch.testing.assert_close(batch.input_values, wanted, rtol=0, atol=0.05)  # 16 bits


# --- masks ------------------------------------------------------------------------------------------------------------


def test_frames_that_hold_no_padding_count():
    extractor = BEATsFeatureExtractor()
    batch = extractor([make_sound(16000), make_sound(8000, 1)], sampling_rate=16000)
    # 98 frames; the 48th begins at sample 7520 and ends at 7920, the 49th would end at 8080.
    assert batch.attention_mask.sum(1).tolist() == [98, 48]
    alone = extractor(make_sound(8000, 1), sampling_rate=16000).input_values
    assert torch.equal(batch.input_values[1, :48], alone[0])


def test_the_official_rule_cuts_the_clip_into_as_many_parts_as_frames():
    extractor = BEATsFeatureExtractor(mask="official")
    batch = extractor([make_sound(16000), make_sound(8000, 1)], sampling_rate=16000)
    # 16000 // 98 = 163 samples each; the 50th part begins at sample 7987 and holds the last 13 samples of the sound.
    assert batch.attention_mask.sum(1).tolist() == [98, 50]


def test_equal_lengths_have_a_mask_only_on_request():
    extractor, sounds = BEATsFeatureExtractor(), [make_sound(8000), make_sound(8000, 1)]
    assert "attention_mask" not in extractor(sounds, sampling_rate=16000)
    asked = extractor(sounds, sampling_rate=16000, return_attention_mask=True)
    assert asked.attention_mask.tolist() == [[1] * 48] * 2


# --- what is refused --------------------------------------------------------------------------------------------------


def test_the_shortest_recording_has_16_frames():
    features = BEATsFeatureExtractor()(make_sound(2800), sampling_rate=16000).input_values
    assert features.shape == (1, 16, 128)


def test_a_recording_under_16_frames_is_refused_by_name(tmp_path):
    write_wav(tmp_path / "click.wav", make_sound(2799), 16000)
    message = r"`audio\[1\]` \(click.wav\) is too short: 0.175 s \(2799 samples at 16000 Hz\), 16 frames need 2800"
    with pytest.raises(ValueError, match=message):
        BEATsFeatureExtractor()([make_sound(16000), tmp_path / "click.wav"], sampling_rate=16000)


def test_bare_samples_without_their_rate_are_refused():
    with pytest.raises(ValueError, match="`audio` is an array, which doesn't tell its sampling rate"):
        BEATsFeatureExtractor()(make_sound(16000))


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match="`audio` is an empty list"):
        BEATsFeatureExtractor()([], sampling_rate=16000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling_rate": 8000}, "`sampling_rate` must be 16000, which BEATs hears; got 8000"),
        ({"std": 0}, "`std` must be above 0, got 0"),
        ({"channels": "left"}, "`channels` must be one of mean, first, got 'left'"),
        ({"mask": "patches"}, "`mask` must be one of frames, official, got 'patches'"),
        ({"max_length": 15}, "`max_length` must be at least 16"),
    ],
)
def test_impossible_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BEATsFeatureExtractor(**arguments)


def test_a_saved_extractor_is_the_same(tmp_path):
    extractor = BEATsFeatureExtractor(channels="first", mask="official", max_length=500)
    extractor.save_pretrained(tmp_path)
    assert BEATsFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()
