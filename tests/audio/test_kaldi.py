import math

import kaldi_native_fbank
import numpy as np
import pytest
import torch

from avzoo.audio import kaldi, kaldi_fbank, kaldi_num_frames

FLOOR = math.log(1.1920929e-07)


def speechlike(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise under a slow envelope, with a DC offset: loud and near-silent frames."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return 0.2 * noise * torch.sin(torch.arange(samples) / 3000) ** 4 + 0.05


def kaldi_native(waveform: torch.Tensor, rate=16000, mels=128, length=25.0, shift=10.0, window="hanning", low=20.0):
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0
    options.frame_opts.frame_length_ms = length
    options.frame_opts.frame_shift_ms = shift
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = mels
    options.mel_opts.low_freq = low
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(rate, waveform.numpy())
    computer.input_finished()
    return torch.from_numpy(np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)]))


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize("samples", [400, 559, 560, 16000, 100_003])
@pytest.mark.parametrize("mels", [23, 80, 128])
def test_agrees_with_kaldi_native_fbank_at_any_length(samples, mels):
    waveform = speechlike(samples)
    ours, reference = kaldi_fbank(waveform, num_mel_bins=mels), kaldi_native(waveform, mels=mels)
    assert relative_error(ours, reference) < 1e-5
    # Bins near the floor are differences of nearly equal float32 numbers in both; elsewhere log units agree.
    audible = reference > FLOOR + 3
    assert (ours - reference)[audible].abs().max() < 1e-3 if audible.any() else True


@pytest.mark.parametrize(("window", "theirs"), [("hann", "hanning"), ("hamming", "hamming"), ("povey", "povey")])
@pytest.mark.parametrize(
    ("rate", "length", "shift", "low"), [(16000, 25, 10, 20), (8000, 32, 16, 60), (44100, 25, 12.5, 20)]
)
def test_agrees_with_kaldi_native_fbank_in_other_settings(window, theirs, rate, length, shift, low):
    waveform = speechlike(2 * rate)
    ours = kaldi_fbank(
        waveform,
        sampling_rate=rate,
        num_mel_bins=40,
        frame_length_ms=length,
        frame_shift_ms=shift,
        low_frequency=low,
        window=window,
    )
    assert relative_error(ours, kaldi_native(waveform, rate, 40, length, shift, theirs, low)) < 1e-5


def test_one_frame_by_hand():
    samples = np.random.default_rng(1).standard_normal(400)
    centred = samples - samples.mean()
    emphasised = centred - 0.97 * np.concatenate([centred[:1], centred[:-1]])
    power = np.abs(np.fft.rfft(emphasised * np.hanning(400), 512)) ** 2
    mel = 1127 * np.log(1 + np.arange(257) * 31.25 / 700)
    left, right = 1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700)
    step = (right - left) / 11
    expected = [  # triangle 4 of 10 peaks five steps above 20 Hz
        np.log(np.sum(power * np.maximum(0, 1 - np.abs(mel - (left + (i + 1) * step)) / step))) for i in range(10)
    ]
    ours = kaldi_fbank(torch.from_numpy(samples), num_mel_bins=10)
    np.testing.assert_allclose(ours.numpy(), [expected], rtol=1e-5)


def test_the_fourth_of_128_mel_bins_is_empty_and_stays_at_the_floor():
    log_mel = kaldi_fbank(speechlike(16000))
    assert torch.all(log_mel[:, 3] == log_mel[0, 3])
    assert log_mel[0, 3] == pytest.approx(FLOOR, abs=1e-5)


def test_silence_with_an_offset_is_at_the_floor():
    torch.testing.assert_close(kaldi_fbank(torch.full((800,), 0.3)), torch.full((3, 128), FLOOR))


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2), (160_000, 998)])
def test_frames_are_whole(samples, frames):
    assert kaldi_num_frames(samples) == frames
    if frames:
        assert len(kaldi_fbank(torch.zeros(samples))) == frames


def test_a_batch_equals_its_singles():
    batch = torch.stack([speechlike(20_000, seed) for seed in range(5)])
    singles = torch.stack([kaldi_fbank(waveform) for waveform in batch])
    assert relative_error(kaldi_fbank(batch), singles) < 1e-6


@pytest.mark.parametrize("lengths", [[400], [16000, 400, 5000], [500] * 40, [800_000, 401, 90_000]])
def test_a_list_of_any_lengths_equals_its_singles(lengths):
    clips = [speechlike(length, seed) for seed, length in enumerate(lengths)]
    features = kaldi_fbank(clips)
    assert [len(f) for f in features] == [kaldi_num_frames(length) for length in lengths]
    for one, clip in zip(features, clips, strict=True):
        assert relative_error(one, kaldi_fbank(clip)) < 1e-6


def test_a_list_does_no_work_on_padding(monkeypatch):
    worked_on, original = [], kaldi._log_mel

    def counting(frames, *settings):
        worked_on.append(len(frames))
        return original(frames, *settings)

    monkeypatch.setattr(kaldi, "_log_mel", counting)
    lengths = [160_000, 400, 700, 16_000]
    kaldi_fbank([torch.zeros(length) for length in lengths])
    assert sum(worked_on) == sum(kaldi_num_frames(length) for length in lengths)


def test_gradients_are_right_and_finite():
    waveform = speechlike(200).double().requires_grad_()
    settings = {"num_mel_bins": 5, "frame_length_ms": 5.0, "frame_shift_ms": 2.0}
    assert torch.autograd.gradcheck(lambda w: kaldi_fbank(w, **settings), waveform)
    silence = torch.zeros(2, 800, requires_grad=True)
    kaldi_fbank(silence).sum().backward()
    assert torch.isfinite(silence.grad).all()


def test_a_whole_batch_in_one_piece_computes_the_same(monkeypatch):
    batch = torch.stack([speechlike(20_000, seed) for seed in range(3)])
    in_parts = kaldi_fbank(batch)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # the way taken on a GPU and when compiled
    assert relative_error(kaldi_fbank(batch), in_parts) < 1e-6


def test_export_takes_other_batch_sizes_and_lengths():
    class Frontend(torch.nn.Module):
        def forward(self, waveforms):
            return kaldi_fbank(waveforms)

    auto = torch.export.Dim.AUTO
    exported = torch.export.export(Frontend(), (torch.zeros(2, 4000),), dynamic_shapes={"waveforms": (auto, auto)})
    batch = torch.stack([speechlike(7777, seed) for seed in range(3)])
    torch.testing.assert_close(exported.module()(batch), kaldi_fbank(batch), rtol=1e-5, atol=1e-4)


def test_nothing_made_under_a_fake_mode_survives_it():
    for cached in (kaldi._window, kaldi.mel_linear_bank):
        cached.cache_clear()
    assert kaldi_fbank(torch.zeros(2, 800, device="meta")).shape == (2, 3, 128)
    with torch.device("meta"):
        assert kaldi_fbank(torch.zeros(800)).is_meta
    assert torch.isfinite(kaldi_fbank(torch.zeros(800))).all()


def test_half_precision_and_autocast_are_computed_in_float32():
    waveform = speechlike(4000).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(kaldi_fbank(waveform), kaldi_fbank(waveform.float()), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_the_same():
    clips = [speechlike(length, length) for length in (16_000, 400, 9000)]
    for ours, reference in zip(kaldi_fbank([clip.cuda() for clip in clips]), kaldi_fbank(clips), strict=True):
        assert relative_error(ours.cpu(), reference) < 1e-5


@pytest.mark.parametrize(
    ("waveforms", "settings", "error", "message"),
    [
        (torch.zeros(399), {}, ValueError, r"`waveforms` has 399 samples, one frame needs 400"),
        ([torch.zeros(400), torch.zeros(7)], {}, ValueError, r"`waveforms\[1\]` has 7 samples, one frame needs 400"),
        (torch.zeros(2, 0), {}, ValueError, r"`waveforms` has 0 samples"),
        (torch.zeros(0, 800), {}, ValueError, r"empty batch"),
        ([], {}, ValueError, r"`waveforms` is an empty list"),
        (torch.zeros(1, 2, 800), {}, ValueError, r"\(samples,\) or \(batch, samples\), got \(1, 2, 800\)"),
        ([torch.zeros(1, 800)], {}, ValueError, r"`waveforms\[0\]` must be \(samples,\), got \(1, 800\)"),
        (torch.zeros(800, dtype=torch.int16), {}, TypeError, r"floating point, got torch.int16; .*int16 / 32768"),
        (torch.zeros(800, dtype=torch.complex64), {}, TypeError, r"floating point, got torch.complex64"),
        ([np.zeros(800)], {}, TypeError, r"`waveforms\[0\]` must be a tensor, got ndarray; .*from_numpy"),
        (torch.zeros(800), {"window": "kaiser"}, ValueError, r"`window` must be one of hann, .* got 'kaiser'"),
        (torch.zeros(800), {"low_frequency": 9000}, ValueError, r"`low_frequency` \(9000 Hz\) must lie below"),
        (torch.zeros(800), {"high_frequency": 8001}, ValueError, r"half of `sampling_rate` \(8000.0 Hz\)"),
        (torch.zeros(800), {"num_mel_bins": 0}, ValueError, r"`num_mel_bins` must be at least 1, got 0"),
        (torch.zeros(800), {"log_floor": 0.0}, ValueError, r"`log_floor` must be positive, got 0.0"),
        (torch.zeros(800), {"frame_shift_ms": 0.01}, ValueError, r"`frame_shift_ms` \(0.01\)"),
    ],
)
def test_a_bad_waveform_or_setting_is_refused(waveforms, settings, error, message):
    with pytest.raises(error, match=message):
        kaldi_fbank(waveforms, **settings)
