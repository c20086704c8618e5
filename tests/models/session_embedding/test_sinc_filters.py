"""RawNet3's filters: tap by tap, and always those of the frequencies as they are."""

import copy
import math
import pickle

import pytest
import torch

from avzoo.models.session_embedding.rawnet3 import RawNet3, SincFilters


def make_filters(kernel_size: int = 51, stride: int = 10) -> SincFilters:
    filters = SincFilters(6, kernel_size, stride)
    with torch.no_grad():
        filters.low_hz.copy_(torch.tensor([[30.0], [-700.0], [6500.0]]))
        filters.band_hz.copy_(torch.tensor([[100.0], [-50.0], [4000.0]]))  # the last one reaches beyond 8000 Hz
    return filters.eval()


def design(low_hz: list[float], band_hz: list[float], taps: int) -> torch.Tensor:
    """Cosines of all bands, then their sines, tap by tap in double precision."""
    half, rows = taps // 2, [[], []]
    for low, band in zip(low_hz, band_hz, strict=True):
        low = 50 + abs(low)
        high = min(low + 50 + abs(band), 8000)
        for kind in (0, 1):
            row = [0.0] * taps
            row[half] = 2 * (high - low) if kind == 0 else 0.0
            for tap in range(half):
                time = 2 * math.pi * (tap - half) / 16000
                window = 0.54 - 0.46 * math.cos(2 * math.pi * tap / (taps - 1))
                if kind == 0:
                    row[tap] = row[-1 - tap] = (math.sin(high * time) - math.sin(low * time)) / (time / 2) * window
                else:
                    row[tap] = (math.cos(low * time) - math.cos(high * time)) / (time / 2) * window
                    row[-1 - tap] = -row[tap]
            rows[kind].append([value / (2 * (high - low)) for value in row])
    return torch.tensor(rows[0] + rows[1], dtype=torch.float64)


def expected_of(filters: SincFilters) -> torch.Tensor:
    return design(filters.low_hz.flatten().tolist(), filters.band_hz.flatten().tolist(), filters.kernel_size)


def is_right(filters: SincFilters) -> bool:
    return torch.allclose(filters.compute_filters().double(), expected_of(filters), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("taps", [3, 51, 251])
def test_filters_are_exact_but_for_one_rounding(taps):
    filters = make_filters(taps)
    torch.testing.assert_close(filters.compute_filters().double(), expected_of(filters), rtol=1e-7, atol=1e-9)


def test_frames_are_products_with_the_waveform():
    filters, waveform = make_filters(51, 7), torch.randn(2, 200, generator=torch.Generator().manual_seed(0))
    windows = waveform.double().unfold(1, 51, 7)  # (2, frames, 51)
    expected = (windows @ expected_of(filters).T).mT
    torch.testing.assert_close(filters(waveform).double(), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_changed_frequencies_have_new_filters():
    filters = make_filters()
    assert is_right(filters)
    filters.low_hz.mul_(1.5)
    assert is_right(filters)
    filters.band_hz[1] = 300.0
    assert is_right(filters)
    filters.low_hz.data = filters.low_hz.data + 7
    assert is_right(filters)
    filters.load_state_dict({"low_hz": torch.full((3, 1), 400.0), "band_hz": torch.full((3, 1), 90.0)})
    assert is_right(filters)
    loaded = {"low_hz": torch.full((3, 1), 500.0), "band_hz": torch.full((3, 1), 80.0)}
    filters.load_state_dict(loaded, assign=True)
    assert is_right(filters)


@torch.no_grad()
def test_frequencies_changed_through_their_data_have_new_filters():
    """Such a change is seen by no version counter."""
    filters = make_filters()
    assert is_right(filters)
    filters.low_hz.data.mul_(1.5)
    assert is_right(filters)


@torch.no_grad()
def test_copies_have_filters_of_their_own():
    filters = make_filters()
    assert is_right(filters)
    for other in (copy.deepcopy(filters), pickle.loads(pickle.dumps(filters))):
        other.low_hz.add_(100)
        assert is_right(other)
        assert is_right(filters)


@torch.no_grad()
def test_filters_follow_a_move_to_another_precision_and_back():
    filters = make_filters()
    assert is_right(filters)
    for move in (filters.double, filters.float, filters.half, filters.bfloat16):
        move()
        assert is_right(filters)
        assert filters(torch.zeros(1, 100, dtype=torch.float64)).dtype == torch.float64


def test_filters_are_right_under_inference_mode():
    with torch.inference_mode():
        filters = make_filters()  # its frequencies are inference tensors, which count no versions
        assert is_right(filters)
        filters.low_hz.mul_(1.5)
        assert is_right(filters)
    other = make_filters()
    with torch.inference_mode():
        assert is_right(other)
    other(torch.randn(1, 100)).sum().backward()
    assert other.low_hz.grad.abs().min() > 0


def test_gradients_reach_the_frequencies():
    filters = make_filters()
    waveform = torch.randn(1, 200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        filters(waveform)
    filters(waveform).square().sum().backward()
    with torch.no_grad():
        step, before = 1e-2, filters(waveform).square().sum()
        filters.low_hz[0] += step
        difference = (filters(waveform).square().sum() - before) / step
    assert filters.low_hz.grad[0].item() == pytest.approx(float(difference), rel=0.02)


def test_frozen_frequencies_let_gradients_through_to_the_waveform():
    filters = make_filters().requires_grad_(False)
    waveform = torch.randn(1, 200, generator=torch.Generator().manual_seed(0)).requires_grad_()
    filters(waveform).sum().backward()
    expected = torch.zeros(200, dtype=torch.float64)
    for start in range(0, 150, 10):
        expected[start : start + 51] += expected_of(filters).sum(0)
    torch.testing.assert_close(waveform.grad[0].double(), expected, rtol=1e-4, atol=1e-5)


def test_filters_are_not_saved():
    assert set(make_filters().state_dict()) == {"low_hz", "band_hz"}


@torch.no_grad()
def test_features_do_not_depend_on_loudness_or_an_offset():
    """Pre-emphasis leaves 3 % of an offset, and the norm of the waveform takes it away."""
    trunk = RawNet3(16, 24, 8, 51, 10, 8).eval()
    trunk.stem.init_frequencies()
    waveform = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    expected, _ = trunk.compute_features(waveform, None)
    torch.testing.assert_close(trunk.compute_features(3 * waveform, None)[0], expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(expected.mean(-1), torch.zeros(1, 8), rtol=0, atol=1e-5)
