"""HiFi-GAN's discriminators: their sizes, and what each sees of a waveform."""

import pytest
import torch

from avzoo.models.hifigan import Discriminators, PeriodDiscriminator, ScaleDiscriminator


def test_they_have_the_published_numbers_of_parameters():
    """41.1 and 29.6 million, as is known of the authors' code with weight norms."""
    parts = Discriminators()
    counts = [sum(weight.numel() for weight in part.parameters()) for part in (parts.of_periods, parts.of_scales)]
    assert counts == [41_105_770, 29_618_821]


def test_a_period_lays_samples_in_rows():
    torch.manual_seed(0)
    maps = PeriodDiscriminator(3, divisor=32)(torch.randn(2, 100))
    assert [tuple(one.shape) for one in maps] == [
        (2, 1, 12, 3),  # 34 rows of three samples, every third
        (2, 4, 4, 3),
        (2, 16, 2, 3),
        (2, 32, 1, 3),
        (2, 32, 1, 3),
        (2, 1, 1, 3),
    ]


def test_what_is_in_one_column_does_not_reach_another():
    torch.manual_seed(0)
    discriminator, waveform = PeriodDiscriminator(2, divisor=32), torch.randn(1, 64)
    changed = waveform.clone()
    changed[0, ::2] += 1  # the first column
    before, after = (discriminator(samples)[-1] for samples in (waveform, changed))
    assert torch.equal(before[..., 1], after[..., 1])
    assert not torch.equal(before[..., 0], after[..., 0])


def test_a_row_that_is_not_full_is_reflected():
    torch.manual_seed(0)
    discriminator, waveform = PeriodDiscriminator(5, divisor=32), torch.randn(1, 63)
    reflected = torch.cat([waveform, waveform[:, [-2, -3]]], dim=1)
    assert torch.equal(discriminator(waveform)[-1], discriminator(reflected)[-1])


def test_a_scale_is_64_samples_a_place():
    torch.manual_seed(0)
    maps = ScaleDiscriminator(divisor=32)(torch.randn(2, 640))
    assert [one.shape[2] for one in maps] == [640, 320, 160, 40, 10, 10, 10, 10]


def test_each_scale_hears_half_the_rate_of_the_one_before():
    torch.manual_seed(0)
    maps = Discriminators(periods=(), num_scales=3, divisor=32)(torch.randn(1, 640))
    assert [scale[0].shape[2] for scale in maps] == [640, 321, 161]


def test_a_period_of_zero_is_refused():
    with pytest.raises(ValueError, match="`period` must be"):
        PeriodDiscriminator(0)
