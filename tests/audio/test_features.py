"""What every feature made frame by frame promises, whatever it computes."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from avzoo import audio
from avzoo.audio import framing, mel_banks, mfcc


class Feature(NamedTuple):
    name: str
    settings: dict
    small: dict  # settings for a gradient check on a few hundred samples
    fewest_samples: int
    num_rows: object  # of a number of samples
    num_features: int | None

    def __call__(self, waveforms, **settings):
        return getattr(audio, self.name)(waveforms, **(self.settings | settings))


SMALL_STFT = {"fft_size": 32, "window_size": 24, "hop_size": 10}
SMALL_MEL = {**SMALL_STFT, "num_mel_bins": 5, "low_frequency": 0, "high_frequency": 8000}
FEATURES = [
    Feature("wav2lip_log_mel", {}, {**SMALL_MEL, "range_db": 200.0}, 401, lambda n: 1 + n // 200, 80),
    Feature("tacotron_log_mel", {}, SMALL_MEL, 513, lambda n: 1 + n // 160, 80),
    Feature("hifigan_log_mel", {}, SMALL_MEL, 433, lambda n: n // 160, 80),
    Feature("stft_energy", {}, SMALL_STFT, 513, lambda n: 1 + n // 160, None),
    Feature("vggish_log_mel", {"fps": 30}, {"fps": 400, "num_mel_bins": 3}, 333, lambda n: 1 + (n - 333) // 133, 64),
    Feature("speech_features_mfcc", {}, {"fps": 400}, 1, lambda n: 1 + max(0, -((400 - n) // 160)), 13),
]


@pytest.fixture(params=FEATURES, ids=lambda feature: feature.name)
def feature(request):
    return request.param


def speechlike(samples: int, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return 0.2 * noise * torch.sin(torch.arange(samples) / 3000 + 1) ** 4


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).norm() / reference.norm())


def shape(feature: Feature, *leading: int) -> tuple[int, ...]:
    return leading if feature.num_features is None else (*leading, feature.num_features)


@pytest.mark.parametrize("extra", [0, 1, 159, 160, 5000])
def test_the_number_of_rows_is_the_one_documented(feature, extra):
    samples = feature.fewest_samples + extra
    assert feature(speechlike(samples)).shape == shape(feature, feature.num_rows(samples))


def test_a_batch_equals_its_singles(feature):
    batch = torch.stack([speechlike(7000, seed) for seed in range(4)])
    singles = torch.stack([feature(waveform) for waveform in batch])
    assert relative_error(feature(batch), singles) < 1e-6


@pytest.mark.parametrize("lengths", [[16000, 1000, 5000], [700] * 30, [400_000, 700, 90_000]])
def test_a_list_of_any_lengths_equals_its_singles(feature, lengths):
    clips = [speechlike(length, seed) for seed, length in enumerate(lengths)]
    rows = feature(clips)
    assert [len(row) for row in rows] == [feature.num_rows(length) for length in lengths]
    for one, clip in zip(rows, clips, strict=True):
        assert relative_error(one, feature(clip)) < 1e-6


def test_gradients_are_right(feature):
    waveform = speechlike(120).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: feature(w, **feature.small), waveform)


def test_the_gradient_of_silence_is_finite(feature):
    silence = torch.zeros(2, 1500, requires_grad=True)
    feature(silence).sum().backward()
    assert torch.isfinite(silence.grad).all()


def test_gradients_reach_one_clip_of_many(feature):
    clips = [speechlike(2000, seed).requires_grad_(seed == 1) for seed in range(3)]
    torch.cat(feature(clips)).sum().backward()
    alone = clips[1].detach().clone().requires_grad_()
    feature(alone).sum().backward()
    assert clips[0].grad is None
    assert relative_error(clips[1].grad, alone.grad) < 1e-5


def test_a_whole_batch_in_one_piece_computes_the_same(feature, monkeypatch):
    batch = torch.stack([speechlike(20_000, seed) for seed in range(3)])
    in_parts = feature(batch)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # the way taken on a GPU and when compiled
    assert relative_error(feature(batch), in_parts) < 1e-6


def test_export_takes_other_batch_sizes_and_lengths(feature):
    class Frontend(torch.nn.Module):
        def forward(self, waveforms):
            return feature(waveforms)

    auto = torch.export.Dim.AUTO
    exported = torch.export.export(Frontend(), (torch.zeros(2, 4000),), dynamic_shapes={"waveforms": (auto, auto)})
    batch = torch.stack([speechlike(7777, seed) for seed in range(3)])
    torch.testing.assert_close(exported.module()(batch), feature(batch), rtol=1e-4, atol=1e-4)


def test_it_compiles_to_one_graph(feature):
    torch.compiler.reset()
    batch = torch.stack([speechlike(3000, seed) for seed in range(2)])
    compiled = torch.compile(feature, backend="eager", fullgraph=True)
    assert relative_error(compiled(batch), feature(batch)) < 1e-5


def test_no_table_made_on_the_meta_device_is_reused(feature):
    for module in (framing, mel_banks, mfcc):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    assert feature(torch.zeros(2, 1000, device="meta")).shape == shape(feature, 2, feature.num_rows(1000))
    with torch.device("meta"):
        assert feature(torch.zeros(1000)).is_meta
    assert torch.isfinite(feature(torch.zeros(1000))).all()


def test_half_precision_and_autocast_are_computed_in_float32(feature):
    waveform = speechlike(4000).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(feature(waveform), feature(waveform.float()), rtol=0, atol=0)


def test_float64_stays_float64(feature):
    waveform = speechlike(4000)
    assert feature(waveform).dtype == torch.float32
    precise = feature(waveform.double())
    assert precise.dtype == torch.float64
    assert relative_error(feature(waveform).double(), precise) < 2e-6


def test_nan_stays_where_it_is_heard(feature):
    waveform = speechlike(16000)
    waveform[8000] = torch.nan
    rows = feature.num_rows(16000)
    broken = feature(waveform).isnan().reshape(rows, -1).any(-1).nonzero()
    assert 1 <= len(broken) <= 7
    assert (broken / rows - 0.5).abs().max() < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_the_same(feature):
    clips = [speechlike(length, length) for length in (16_000, 700, 9000)]
    for ours, reference in zip(feature([clip.cuda() for clip in clips]), feature(clips), strict=True):
        assert relative_error(ours.cpu(), reference) < 1e-5


@pytest.mark.parametrize(
    ("waveforms", "error", "message"),
    [
        ([], ValueError, r"`waveforms` is an empty list"),
        (torch.zeros(0, 800), ValueError, r"empty batch"),
        (torch.zeros(0), ValueError, r"`waveforms` has 0 samples, .* needs? \d+|at least 1"),
        (torch.zeros(1, 2, 800), ValueError, r"\(samples,\) or \(batch, samples\), got \(1, 2, 800\)"),
        ([torch.zeros(1, 800)], ValueError, r"`waveforms\[0\]` must be \(samples,\), got \(1, 800\)"),
        (torch.zeros(800, dtype=torch.int16), TypeError, r"floating point, got torch.int16; .*int16 / 32768"),
        ([np.zeros(800)], TypeError, r"`waveforms\[0\]` must be a tensor, got ndarray; .*from_numpy"),
        (
            [torch.zeros(800), -12000 * torch.ones(800)],
            ValueError,
            r"`waveforms\[1\]` reaches 12000, full scale is 1: .*integer PCM as floats; divide it .*32768 for 16 bits",
        ),
    ],
)
def test_a_bad_waveform_is_refused(feature, waveforms, error, message):
    with pytest.raises(error, match=message):
        feature(waveforms)


def test_a_clip_one_sample_too_short_is_refused(feature):
    fewest = feature.fewest_samples
    with pytest.raises(ValueError, match=rf"has {fewest - 1} samples, .* {fewest}: the recording is too short"):
        feature(torch.zeros(fewest - 1))
