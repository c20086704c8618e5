import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from avzoo.audio import hifigan_log_mel, stft_energy, tacotron_log_mel, wav2lip_log_mel
from avzoo.audio.mel_banks import slaney_bank

SETTINGS = [
    dict(sampling_rate=16000, fft_size=800, window_size=800, hop_size=200, low=55, high=7600, bins=80),
    dict(sampling_rate=16000, fft_size=1024, window_size=640, hop_size=160, low=55, high=7500, bins=80),
    dict(sampling_rate=22050, fft_size=1024, window_size=1024, hop_size=256, low=0, high=8000, bins=40),
    dict(sampling_rate=16000, fft_size=801, window_size=600, hop_size=201, low=0, high=4000, bins=20),
]


def arguments(settings: dict) -> dict:
    named = {"low": "low_frequency", "high": "high_frequency", "bins": "num_mel_bins"}
    return {named.get(name, name): value for name, value in settings.items()}


def sound(samples: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 0.2 * random.standard_normal(samples) * np.sin(np.arange(samples) / 2000 + 1) ** 2


def magnitudes_by_hand(samples: np.ndarray, settings: dict, reflected: int, offset: float = 0.0) -> np.ndarray:
    """(frames, fft_size // 2 + 1), one frame after the other, the window in the middle of the FFT."""
    fft, size, hop = settings["fft_size"], settings["window_size"], settings["hop_size"]
    padded = np.pad(samples, reflected, mode="reflect")
    window = np.zeros(fft)
    start = (fft - size) // 2
    window[start : start + size] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    spectra = [np.fft.rfft(window * padded[at : at + fft]) for at in range(0, len(padded) - fft + 1, hop)]
    return np.sqrt(np.abs(np.array(spectra)) ** 2 + offset)


def their_bank(settings: dict) -> np.ndarray:
    return mel_filter_bank(
        num_frequency_bins=settings["fft_size"] // 2 + 1,
        num_mel_filters=settings["bins"],
        min_frequency=settings["low"],
        max_frequency=settings["high"],
        sampling_rate=settings["sampling_rate"],
        norm="slaney",
        mel_scale="slaney",
    )


@pytest.mark.parametrize("settings", SETTINGS[:3])  # theirs spreads the bins of an odd FFT up to half the rate
def test_the_filter_bank_is_that_of_transformers(settings):
    ours = slaney_bank(
        settings["bins"], settings["fft_size"], settings["sampling_rate"], settings["low"], settings["high"]
    )
    np.testing.assert_allclose(ours, their_bank(settings), rtol=0, atol=1e-12)


def test_bands_have_unit_area():
    bank = slaney_bank(10, 1 << 16, 16000, 200.0, 7000.0)
    np.testing.assert_allclose(bank.sum(axis=0) * 16000 / (1 << 16), 1, rtol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("samples", [1300, 9999])
def test_each_mel_is_the_one_worked_out_frame_by_frame(settings, samples):
    waveform = sound(samples)
    bank = slaney_bank(
        settings["bins"], settings["fft_size"], settings["sampling_rate"], settings["low"], settings["high"]
    )
    centred = magnitudes_by_hand(waveform, settings, settings["fft_size"] // 2)
    whole = magnitudes_by_hand(waveform, settings, (settings["fft_size"] - settings["hop_size"]) // 2, offset=1e-9)
    decibels = 20 * np.log10(np.maximum(centred @ bank, 1e-5)) - 20
    expected = {
        tacotron_log_mel: np.log(np.maximum(centred @ bank, 1e-5)),
        hifigan_log_mel: np.log(np.maximum(whole @ bank, 1e-5)),
        wav2lip_log_mel: np.clip(8 * (decibels + 100) / 100 - 4, -4, 4),
    }
    for function, reference in expected.items():
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-4)):
            ours = function(torch.from_numpy(waveform).to(dtype), **arguments(settings))
            np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=tolerance)


def test_the_mel_of_audioldm_is_that_of_transformers_spectrogram():
    settings = dict(sampling_rate=16000, fft_size=1024, bins=64, low=0, high=8000)
    waveform = 3 * sound(12_400)
    theirs = spectrogram(
        np.clip(waveform, -1, 1),
        window_function(1024, "hann"),
        frame_length=1024,
        hop_length=160,
        power=1.0,
        mel_filters=their_bank(settings),
        mel_floor=1e-5,
        log_mel="log",
    )
    ours = tacotron_log_mel(torch.from_numpy(waveform).clamp(-1, 1), num_mel_bins=64)
    assert ours.shape == (78, 64)
    np.testing.assert_allclose(ours.numpy(), theirs.T, rtol=0, atol=1e-4)  # theirs is float32 on the way


def test_digital_silence_is_the_least_value():
    silence = torch.zeros(1600)
    assert (wav2lip_log_mel(silence) == -4).all()
    torch.testing.assert_close(tacotron_log_mel(silence), torch.full((11, 80), float(np.log(1e-5))))
    torch.testing.assert_close(hifigan_log_mel(silence, log_floor=1e-3), torch.full((10, 80), float(np.log(1e-3))))


def test_preemphasis_keeps_the_first_sample():
    waveform = torch.from_numpy(sound(2000))
    emphasized = waveform.clone()
    emphasized[1:] -= 0.97 * waveform[:-1]
    torch.testing.assert_close(wav2lip_log_mel(waveform, preemphasis=0.97), wav2lip_log_mel(emphasized))


def test_the_range_in_decibels_is_spread_over_the_limits():
    waveform = torch.from_numpy(sound(2000))
    plain = wav2lip_log_mel(waveform, range_db=100.0, limit=100.0, reference_db=0.0)  # L = (value + 100) / 2 - 100
    shifted = wav2lip_log_mel(waveform, range_db=200.0, limit=1.0, reference_db=6.0)
    torch.testing.assert_close(((plain + 100) / 2 - 100 - 6 + 200) / 100 - 1, shifted)


def test_a_tone_has_the_energy_of_its_window():
    tone = torch.sin(2 * torch.pi * 1000 / 16000 * torch.arange(16000, dtype=torch.float64))
    # A Hann window of n samples: amplitude 1 falls on three bins of n / 8, n / 4, n / 8.
    expected = 1024 / 4 * (1 + 2 * 0.25) ** 0.5
    torch.testing.assert_close(stft_energy(tone)[4:-4], torch.full((93,), expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (wav2lip_log_mel, {"hop_size": 0}, r"`hop_size` \(0\) must be at least 1"),
        (wav2lip_log_mel, {"window_size": 801}, r"`window_size` \(801\).* neither above `fft_size` \(800\)"),
        (hifigan_log_mel, {"hop_size": 1025}, r"`hop_size` \(1025\).* neither above `fft_size` \(1024\)"),
        (stft_energy, {"window_size": 1}, r"`window_size` \(1\) at least 2"),
        (wav2lip_log_mel, {"magnitude_floor": 0.0}, r"`magnitude_floor` must be positive, got 0.0"),
        (wav2lip_log_mel, {"range_db": -1.0}, r"`range_db` must be positive, got -1.0"),
        (wav2lip_log_mel, {"limit": 0.0}, r"`limit` must be positive, got 0.0"),
        (tacotron_log_mel, {"log_floor": 0.0}, r"`log_floor` must be positive, got 0.0"),
        (hifigan_log_mel, {"high_frequency": 8001.0}, r"half of `sampling_rate` \(8000.0 Hz\)"),
        (tacotron_log_mel, {"low_frequency": 8000.0}, r"`low_frequency` \(8000.0 Hz\) must lie below"),
        (tacotron_log_mel, {"num_mel_bins": 0}, r"`num_mel_bins` must be at least 1, got 0"),
    ],
)
def test_an_impossible_setting_is_refused(function, settings, message):
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(4000), **settings)
