"""Log-mels of speaker encoders and their filter banks, against formulas written out."""

import math

import numpy as np
import pytest
import torch

from avzoo.audio.mel_banks import htk_bank, speechbrain_bank
from avzoo.audio.speaker_mel import count_mel_frames, reflect_ends, speechbrain_mel_db, voxceleb_log_mel

RATE = 16000


def noise(*lengths: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [(0.1 * torch.randn(length, generator=draw, dtype=torch.float64)).to(dtype) for length in lengths]


def to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def points(count: int) -> list[float]:
    top = to_mel(8000)
    return [700 * (10 ** (top * index / (count - 1) / 2595) - 1) for index in range(count)]


# --- banks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [24, 40, 64, 80])
def test_htks_triangles_by_hand(bands):
    edges, bank = points(bands + 2), htk_bank(bands, 512, RATE, 0.0, 8000.0)
    assert bank.shape == (257, bands)
    for band in range(bands):
        left, peak, right = edges[band : band + 3]
        for index in range(257):
            hertz = index * RATE / 512
            height = (hertz - left) / (peak - left) if hertz <= peak else (right - hertz) / (right - peak)
            assert bank[index, band] == pytest.approx(max(0.0, height), abs=1e-12)
    assert (bank.max(0) > 0).all()  # no band is dead


@pytest.mark.parametrize("bands", [24, 40, 80])
def test_speechbrains_triangles_are_symmetric(bands):
    edges, bank = points(bands + 2), speechbrain_bank(bands, 400, RATE, 0.0, 8000.0)
    assert bank.shape == (201, bands)
    for band in range(bands):
        width = edges[band + 1] - edges[band]
        for index in range(201):
            expected = max(0.0, 1 - abs(index * 40.0 - edges[band + 1]) / width)
            assert bank[index, band] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("make_bank", [htk_bank, speechbrain_bank])
@pytest.mark.parametrize(("low", "high"), [(0.0, 9000.0), (5000.0, 400.0), (-1.0, 8000.0)])
def test_a_band_that_is_none_is_refused(make_bank, low, high):
    with pytest.raises(ValueError, match="`low_frequency`"):
        make_bank(40, 512, RATE, low, high)
    with pytest.raises(ValueError, match="`num_mel_bins` must be at least 1"):
        make_bank(0, 512, RATE, 0.0, 8000.0)


# --- log-mels, by torch's own transform in double precision ----------------------------------------------------------


def window() -> torch.Tensor:
    position = torch.arange(400, dtype=torch.float64)
    return 0.54 - 0.46 * torch.cos(2 * math.pi * position / 400)


def expected_voxceleb(clip: torch.Tensor, bands: int, preemphasis: float, use_log: bool) -> torch.Tensor:
    clip = clip.double()
    clip = clip - preemphasis * torch.cat([clip[1:2], clip[:-1]])
    power = torch.stft(clip, 512, 160, 400, window(), pad_mode="reflect", return_complex=True).abs() ** 2
    mel = power.T @ torch.from_numpy(htk_bank(bands, 512, RATE, 0.0, 8000.0)) + 1e-6
    return mel.log() if use_log else mel


def expected_speechbrain(clip: torch.Tensor, bands: int, dynamic_range: float = 80.0) -> torch.Tensor:
    power = torch.stft(clip.double(), 400, 160, 400, window(), pad_mode="constant", return_complex=True).abs() ** 2
    mel = power.T @ torch.from_numpy(speechbrain_bank(bands, 400, RATE, 0.0, 8000.0))
    decibels = 10 * torch.log10(mel.clamp_min(1e-10))
    return decibels.clamp_min(float(decibels.max()) - dynamic_range)


@pytest.mark.parametrize("samples", [257, 1600, 4000, 4001, 16159, 16160])
@pytest.mark.parametrize(("bands", "preemphasis", "use_log"), [(40, 0.0, True), (64, 0.97, True), (80, 0.97, False)])
def test_voxceleb_log_mels_are_torchs(samples, bands, preemphasis, use_log):
    (clip,) = noise(samples)
    ours = voxceleb_log_mel(clip[None], num_mel_bins=bands, preemphasis=preemphasis, use_log=use_log)
    expected = expected_voxceleb(clip, bands, preemphasis, use_log)
    assert ours.shape == (1, 1 + samples // 160, bands)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours[0].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [200, 1600, 4001, 16160])
@pytest.mark.parametrize("bands", [24, 80])
def test_speechbrain_decibels_are_torchs(samples, bands):
    (clip,) = noise(samples)
    ours = speechbrain_mel_db(clip[None], num_mel_bins=bands)
    assert ours.shape == (1, 1 + samples // 160, bands)
    torch.testing.assert_close(ours[0].double(), expected_speechbrain(clip, bands), rtol=1e-4, atol=1e-3)


def test_decibels_are_at_most_80_below_the_loudest_of_the_clip():
    (clip,) = noise(8000)
    clip[:4000] *= 1e-6
    for dynamic_range in (80.0, 30.0):
        ours = speechbrain_mel_db(clip[None], dynamic_range=dynamic_range)
        assert float(ours.max() - ours.min()) == pytest.approx(dynamic_range, abs=1e-3)
        expected = expected_speechbrain(clip, 80, dynamic_range)
        torch.testing.assert_close(ours[0].double(), expected, rtol=1e-4, atol=1e-3)


def test_silence_is_the_floor():
    silence = torch.zeros(1, 1600)
    assert torch.equal(speechbrain_mel_db(silence), torch.full((1, 11, 80), -100.0))
    torch.testing.assert_close(voxceleb_log_mel(silence), torch.full((1, 11, 80), math.log(1e-6)))


# --- batches, precision, gradients ------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("compute", [voxceleb_log_mel, speechbrain_mel_db])


@BOTH
def test_a_padded_clip_ends_where_it_ends_alone(compute):
    clips = noise(4000, 1600, 1601, 1759, 1760, 3999)
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = torch.stack([torch.nn.functional.pad(clip, (0, 4000 - len(clip)), value=9.0) for clip in clips])
    rows = compute(padded, lengths)
    for index, clip in enumerate(clips):
        alone = compute(clip[None])[0]
        assert len(alone) == int(count_mel_frames(lengths)[index])
        torch.testing.assert_close(rows[index, : len(alone)], alone, rtol=1e-5, atol=1e-5)
        assert not rows[index, len(alone) :].any()


@BOTH
def test_double_precision_is_kept(compute):
    (clip,) = noise(4000, dtype=torch.float64)
    rows = compute(clip[None])
    assert rows.dtype == torch.float64
    expected = (
        expected_voxceleb(clip, 80, 0.97, True) if compute is voxceleb_log_mel else expected_speechbrain(clip, 80)
    )
    torch.testing.assert_close(rows[0], expected, rtol=1e-9, atol=1e-9)


@BOTH
def test_gradients_are_those_of_differences(compute):
    (clip,) = noise(400, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda part: compute(part[None], num_mel_bins=6), clip.requires_grad_(), fast_mode=True
    )


@BOTH
def test_gradients_reach_no_sample_behind_the_end(compute):
    clips = torch.stack(noise(4000, 4000)).requires_grad_()
    compute(clips, torch.tensor([4000, 2000])).square().sum().backward()
    assert clips.grad.isfinite().all()
    assert clips.grad[1, :2000].any()
    assert not clips.grad[1, 2000:].any()


def test_each_clip_is_mirrored_at_its_own_end():
    clips = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 0.0, 0.0]])
    expected = np.pad([1, 2, 3, 4, 5], 2, mode="reflect").tolist(), np.pad([6, 7, 8], 2, mode="reflect").tolist()
    mirrored = reflect_ends(clips, torch.tensor([5, 3]), 2)
    assert mirrored[0].tolist() == expected[0]
    assert mirrored[1, :7].tolist() == expected[1]
    assert torch.equal(reflect_ends(clips[:1], None, 2)[0], mirrored[0])
