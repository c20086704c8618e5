import numpy as np
import pytest
import torch

from avzoo.audio import compressed_stft, inverse_compressed_stft

SMALL = {"fft_size": 30, "hop_size": 8}


def sound(*shape: int, dtype=torch.float32) -> torch.Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("window", ["hann", "sqrthann"])
@pytest.mark.parametrize(("exponent", "factor"), [(0.5, 0.33), (1, 1), (0.3, 0.15), (1.5, 2.0)])
@pytest.mark.parametrize("samples", [16, 500, 504])
def test_each_bin_is_the_one_worked_out_by_hand(window, exponent, factor, samples):
    waveform = sound(samples, dtype=torch.float64)
    padded = np.pad(waveform.numpy(), 15, mode="reflect")
    weighting = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(30) / 30)
    if window == "sqrthann":
        weighting = np.sqrt(weighting)
    frames = [np.fft.rfft(weighting * padded[at : at + 30]) for at in range(0, len(padded) - 29, 8)]
    spectrum = np.array(frames).T
    expected = factor * np.abs(spectrum) ** exponent * np.exp(1j * np.angle(spectrum))
    assert expected.shape == (16, 1 + samples // 8)
    settings = {"window": window, "exponent": exponent, "factor": factor, **SMALL}
    ours = compressed_stft(waveform, **settings)
    assert ours.dtype == torch.complex128
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)
    ours = compressed_stft(waveform.float(), **settings)
    assert ours.dtype == torch.complex64
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"window": "sqrthann"}, {"exponent": 1, "factor": 1}, {"exponent": 0.3}])
@pytest.mark.parametrize("samples", [300, 4999, 5119, 5120])
def test_the_inverse_gives_the_sound_back(settings, samples):
    waveform = sound(2, samples)
    back = inverse_compressed_stft(compressed_stft(waveform, **settings), samples, **settings)
    torch.testing.assert_close(back, waveform, rtol=0, atol=1e-5)


def test_appended_frames_fade_the_end_unless_they_are_cut_off():
    waveform = sound(5000)
    spectrogram = compressed_stft(waveform, frame_multiple=64)
    faded = inverse_compressed_stft(spectrogram, 5000)
    torch.testing.assert_close(faded[:-255], waveform[:-255], rtol=0, atol=1e-5)
    assert faded[-20:].norm() < 0.9 * waveform[-20:].norm()
    whole = inverse_compressed_stft(spectrogram[:, : 1 + 5000 // 128], 5000)
    torch.testing.assert_close(whole, waveform, rtol=0, atol=1e-5)


def test_appended_frames_are_zero_and_no_more_than_needed():
    waveform = sound(128 * 63)
    assert compressed_stft(waveform).shape == (256, 64)
    assert torch.equal(compressed_stft(waveform, frame_multiple=64), compressed_stft(waveform))
    longer = compressed_stft(sound(128 * 64), frame_multiple=64)
    assert longer.shape == (256, 128)
    assert torch.equal(longer[:, :65], compressed_stft(sound(128 * 64)))
    assert (longer[:, 65:] == 0).all()


def test_a_batch_equals_its_singles():
    batch = sound(3, 4000)
    spectrograms = compressed_stft(batch)
    singles = torch.stack([compressed_stft(waveform) for waveform in batch])
    torch.testing.assert_close(spectrograms, singles, rtol=0, atol=1e-7)
    back = torch.stack([inverse_compressed_stft(one, 4000) for one in spectrograms])
    torch.testing.assert_close(inverse_compressed_stft(spectrograms, 4000), back, rtol=0, atol=1e-7)


def test_a_list_of_any_lengths_equals_its_singles():
    clips = [sound(samples) for samples in (4000, 300, 200_000)]
    for frame_multiple in (1, 64):
        for one, clip in zip(compressed_stft(clips, frame_multiple=frame_multiple), clips, strict=True):
            torch.testing.assert_close(one, compressed_stft(clip, frame_multiple=frame_multiple), rtol=0, atol=1e-7)


@pytest.mark.parametrize("exponent", [0.5, 1, 1.5])
def test_gradients_are_right(exponent):
    waveform = sound(44, dtype=torch.float64).requires_grad_()
    spectrogram = compressed_stft(waveform.detach(), exponent=exponent, **SMALL).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: compressed_stft(w, exponent=exponent, **SMALL), waveform)
    assert torch.autograd.gradcheck(lambda s: inverse_compressed_stft(s, 44, exponent=exponent, **SMALL), spectrogram)


@pytest.mark.parametrize("exponent", [0.5, 1.5])
@pytest.mark.parametrize("level", [1e-30, 1e-19, 1e-12])
def test_the_gradient_of_a_near_silent_signal_is_finite(exponent, level):
    waveform = (level * sound(1000)).requires_grad_()
    back = inverse_compressed_stft(compressed_stft(waveform, exponent=exponent), 1000, exponent=exponent)
    back.sum().backward()
    assert torch.isfinite(back).all()
    assert torch.isfinite(waveform.grad).all()


@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_silence_stays_silence_and_its_gradient_finite(exponent):
    silence = torch.zeros(1000, requires_grad=True)
    spectrogram = compressed_stft(silence, exponent=exponent)
    back = inverse_compressed_stft(spectrogram, 1000, exponent=exponent)
    assert (spectrogram == 0).all()
    assert (back == 0).all()
    (spectrogram.real.sum() + spectrogram.imag.sum() + back.sum()).backward()
    assert torch.isfinite(silence.grad).all()


def test_nan_stays_nan():
    waveform = sound(4000)
    waveform[2000] = torch.nan
    broken = compressed_stft(waveform).isnan().any(0)
    assert broken.nonzero().ravel().tolist() == [14, 15, 16, 17]


def test_half_precision_is_computed_in_float32():
    waveform = sound(1000).half()
    assert torch.equal(compressed_stft(waveform), compressed_stft(waveform.float()))


def test_it_compiles_to_one_graph_and_runs_on_the_meta_device():
    torch.compiler.reset()
    batch = sound(2, 3000)
    compiled = torch.compile(lambda w: compressed_stft(w, frame_multiple=64), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(batch), compressed_stft(batch, frame_multiple=64))
    assert compressed_stft(batch.to("meta")).shape == (2, 256, 24)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_the_same():
    batch = sound(2, 3000)
    spectrograms = compressed_stft(batch.cuda())
    torch.testing.assert_close(spectrograms.cpu(), compressed_stft(batch), rtol=0, atol=1e-4)
    torch.testing.assert_close(inverse_compressed_stft(spectrograms, 3000).cpu(), batch, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("waveforms", "settings", "error", "message"),
    [
        ([np.zeros(800)], {}, TypeError, r"`waveforms\[0\]` must be a tensor, got ndarray"),
        (torch.zeros(800, dtype=torch.int16), {}, TypeError, r"floating point, got torch.int16"),
        (torch.zeros(255), {}, ValueError, r"has 255 samples, one frame, with 255 samples reflected .* needs 256"),
        (torch.zeros(1, 1, 800), {}, ValueError, r"\(samples,\) or \(batch, samples\), got \(1, 1, 800\)"),
        (torch.zeros(800), {"window": "kaiser"}, ValueError, r"`window` must be hann or sqrthann, got 'kaiser'"),
        (
            torch.zeros(800),
            {"hop_size": 510},
            ValueError,
            r"`hop_size` \(510\) must be at least 1 and below `fft_size` \(510\)",
        ),
        (torch.zeros(800), {"exponent": 0}, ValueError, r"`exponent` must be positive, got 0"),
        (torch.zeros(800), {"factor": -1}, ValueError, r"`factor` must be positive, got -1"),
        (torch.zeros(800), {"frame_multiple": 0}, ValueError, r"`frame_multiple` must be at least 1, got 0"),
    ],
)
def test_a_bad_waveform_or_setting_is_refused(waveforms, settings, error, message):
    with pytest.raises(error, match=message):
        compressed_stft(waveforms, **settings)


@pytest.mark.parametrize(
    ("spectrogram", "num_samples", "error", "message"),
    [
        (torch.zeros(256, 5), 500, TypeError, r"`spectrogram` must be a complex tensor, got torch.float32"),
        (np.zeros((256, 5)), 500, TypeError, r"`spectrogram` must be a complex tensor, got ndarray"),
        (torch.zeros(255, 5) * 1j, 500, ValueError, r"must be \(256, frames\) or .*, got \(255, 5\)"),
        (torch.zeros(256, 0) * 1j, 500, ValueError, r"got \(256, 0\)"),
        (torch.zeros(256, 5) * 1j, 640, ValueError, r"`num_samples` must lie between 1 and 639, what 5 frames cover"),
        (torch.zeros(256, 5) * 1j, 0, ValueError, r"`num_samples` must lie between 1 and 639.*got 0"),
    ],
)
def test_a_bad_spectrogram_or_length_is_refused(spectrogram, num_samples, error, message):
    with pytest.raises(error, match=message):
        inverse_compressed_stft(spectrogram, num_samples)
