import numpy as np
import pytest
import torch

from avzoo.audio import normalize_peak


def test_each_waveform_gets_its_own_peak():
    normalized, factor = normalize_peak(torch.tensor([[1.0, -4.0, 0.0], [0.25, 0.1, 0.0]]), 0.5)
    torch.testing.assert_close(normalized, torch.tensor([[0.125, -0.5, 0.0], [0.5, 0.2, 0.0]]))
    assert factor.tolist() == [[8.0], [0.5]]


def test_silence_stays_silence():
    normalized, factor = normalize_peak(torch.zeros(2, 5))
    assert (normalized == 0).all()
    assert (factor == 1).all()


@pytest.mark.parametrize(
    ("waveforms", "peak", "error", "message"),
    [
        (np.zeros(5), 1.0, TypeError, r"`waveforms` must be a floating-point tensor, got ndarray"),
        (torch.zeros(5, dtype=torch.int16), 1.0, TypeError, r"got torch.int16"),
        (torch.zeros(2, 0), 1.0, ValueError, r"`waveforms` must be \(..., samples\) with samples, got \(2, 0\)"),
        (torch.zeros(5), 0.0, ValueError, r"`peak` must be positive, got 0.0"),
    ],
)
def test_a_bad_waveform_or_peak_is_refused(waveforms, peak, error, message):
    with pytest.raises(error, match=message):
        normalize_peak(waveforms, peak)
