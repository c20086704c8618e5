"""Magnitudes to sound and back: what was put in is heard again."""

import numpy as np
import pytest
import torch

from avzoo.audio import griffin_lim, mel_to_magnitude, tacotron_log_mel
from avzoo.audio.mel_banks import slaney_bank
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.layers.vocoding import vocode, vocoder_hop, vocoder_samples
from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram

RATE = 16000


def chirp(seconds: float = 1.0) -> torch.Tensor:
    """A gliding tone with overtones, and a little noise."""
    time = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    phase = 2 * torch.pi * (150 * time + 100 * time**2)
    sound = sum(torch.sin(k * phase) / k for k in range(1, 8))
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (0.1 * sound + 0.003 * noise).float()


def magnitudes(sound: torch.Tensor) -> torch.Tensor:
    spectra = torch.stft(sound, 1024, 160, window=torch.hann_window(1024), pad_mode="constant", return_complex=True)
    return spectra.abs().mT[..., : sound.shape[-1] // 160, :]


def test_the_sound_has_the_magnitudes_it_was_made_of():
    wanted = magnitudes(chirp()[None])
    errors = []
    for iterations in (1, 8, 32):
        sound = griffin_lim(wanted, num_iterations=iterations)
        assert sound.shape == (1, wanted.shape[1] * 160)
        errors.append(float((magnitudes(sound) - wanted).norm() / wanted.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1
    assert errors[0] > 0.3  # drawn phases fit badly


def test_a_magnitude_of_mel_bands_has_those_bands():
    wanted = tacotron_log_mel(chirp(0.5), num_mel_bins=64).exp().double()
    magnitude = mel_to_magnitude(wanted, num_iterations=200)
    assert (magnitude >= 0).all()
    bank = torch.from_numpy(slaney_bank(64, 1024, RATE, 0.0, 8000.0))
    assert (magnitude @ bank - wanted).norm() < 0.01 * wanted.norm()


def test_a_log_mel_comes_back_from_the_vocoder():
    vocoder = GriffinLimVocoder(GriffinLimVocoderConfig())
    log_mel = log_mel_spectrogram(chirp()[None], 100)
    sound = vocode(vocoder, log_mel)
    assert sound.shape == (1, 100 * 160)
    inner = slice(4, 96)  # the clip is cut off at its ends
    assert (log_mel_spectrogram(sound, 100) - log_mel)[:, inner].abs().mean() < 0.25


def test_silence_stays_silent():
    silence = torch.full((1, 30, 64), float(np.log(1e-5)))
    assert GriffinLimVocoder(GriffinLimVocoderConfig())(silence).abs().max() < 1e-3


def test_a_batch_equals_its_items_and_two_runs_agree():
    wanted = magnitudes(torch.stack([chirp(0.3), chirp(0.3).flip(0)]))
    together = griffin_lim(wanted)
    torch.testing.assert_close(griffin_lim(wanted), together, rtol=0, atol=0)
    # In double precision: the iterations amplify the last bits, in which batches and items may differ on some CPUs.
    exact = griffin_lim(wanted.double())
    for index in range(2):
        torch.testing.assert_close(griffin_lim(wanted[index : index + 1].double())[0], exact[index], rtol=0, atol=1e-10)
    assert not torch.equal(griffin_lim(wanted, seed=1), together)


@pytest.mark.parametrize("shape", [(513, 10), (1, 10, 512), (1, 0, 513)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`magnitude` must be \(batch, frames, 513\), got"):
        griffin_lim(torch.ones(shape))


def test_the_vocoder_is_saved_like_any_network(tmp_path):
    config = GriffinLimVocoderConfig(hop_length=200, num_iterations=4)
    vocoder = GriffinLimVocoder(config)
    vocoder.save_pretrained(tmp_path)
    loaded = GriffinLimVocoder.from_pretrained(tmp_path)
    assert (vocoder_hop(loaded.config), vocoder_samples(loaded.config, 7)) == (200, 1400)
    log_mel = log_mel_spectrogram(chirp(0.2)[None])
    torch.testing.assert_close(loaded(log_mel), vocoder(log_mel), rtol=0, atol=0)
    with pytest.raises(Exception, match=r"`num_iterations` must be at least 1, got 0"):
        GriffinLimVocoderConfig(num_iterations=0)
