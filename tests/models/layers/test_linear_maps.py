import pytest
import torch
from torch import nn

from avzoo.models.layers import linear_maps
from avzoo.models.layers.linear_maps import apply_linear, apply_pointwise, map_channels


@pytest.fixture(autouse=True)
def _detour(monkeypatch):
    """The detour is taken whatever the CPU."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(linear_maps, "_LEAST_PRODUCTS", 1)


@pytest.fixture
def detours(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of what is multiplied by the detour."""
    shapes, multiply = [], linear_maps.multiply_rows

    def record(rows, *arguments):
        shapes.append(tuple(rows.shape))
        return multiply(rows, *arguments)

    monkeypatch.setattr(linear_maps, "multiply_rows", record)
    return shapes


@torch.no_grad()
def test_a_linear_layer_gives_the_same_by_the_detour(detours):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(48, 40), torch.randn(2, 70, 48)
    torch.testing.assert_close(apply_linear(layer, inputs), layer(inputs), rtol=1e-5, atol=1e-5)
    assert detours == [(1, 140, 48)]


@torch.no_grad()
def test_a_pointwise_convolution_gives_the_same_by_the_detour(detours):
    torch.manual_seed(0)
    layer, inputs = nn.Conv1d(48, 40, 1), torch.randn(2, 70, 48)
    torch.testing.assert_close(apply_pointwise(layer, inputs), layer(inputs.mT).mT, rtol=1e-5, atol=1e-5)
    assert detours == [(1, 140, 48)]


@torch.no_grad()
def test_a_convolution_of_three_frames_is_called_as_it_is(detours):
    torch.manual_seed(0)
    layer, inputs = nn.Conv1d(48, 40, 3, padding=1), torch.randn(2, 70, 48)
    torch.testing.assert_close(apply_pointwise(layer, inputs), layer(inputs.mT).mT, rtol=0, atol=0)
    assert detours == []


@torch.no_grad()
@pytest.mark.parametrize("out_channels", [40, 300], ids=["fewer than frames", "more than frames"])
def test_channels_are_mapped_frame_by_frame(out_channels):
    torch.manual_seed(0)
    weight, inputs = torch.randn(out_channels, 48), torch.randn(2, 48, 70)
    torch.testing.assert_close(map_channels(inputs, weight), weight @ inputs, rtol=1e-5, atol=1e-5)


def test_gradients_take_torchs_own_way(detours):
    layer, inputs = nn.Linear(48, 40), torch.randn(2, 70, 48)
    apply_linear(layer, inputs).sum().backward()
    assert detours == []
    assert layer.weight.grad is not None


@torch.no_grad()
def test_a_layer_with_a_hook_is_called(detours):
    layer, called = nn.Linear(48, 40), []
    layer.register_forward_hook(lambda *_: called.append(True))
    apply_linear(layer, torch.randn(2, 70, 48))
    assert called == [True]
    assert detours == []


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_torchs_own_way(detours, dtype):
    layer = nn.Linear(48, 40, dtype=dtype)
    apply_linear(layer, torch.randn(2, 70, 48, dtype=dtype))
    assert detours == []


@torch.no_grad()
def test_few_frames_take_torchs_own_way(detours):
    apply_linear(nn.Linear(48, 40), torch.randn(1, 63, 48))
    assert detours == []
