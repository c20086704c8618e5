"""Linear layers on a CPU as convolutions of one frame, which oneDNN computes with the widest instructions there are.

torch gives matrix products to MKL, which takes narrow instructions on processors that are not its maker's: about half
of the speed for large layers on an AMD EPYC with AVX-512, measured. Convolutions go to oneDNN, except those of one
frame on one thread, unless they are dilated; a dilation changes nothing about one frame. Weights stay as they are,
and sums are taken in another order.
"""

import torch
from torch import nn

from .normed_convolution import has_hooks, has_values

_LEAST_FRAMES = 64
_LEAST_PRODUCTS = 1 << 23  # below, the call costs more than is won


def apply_linear(layer: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """`layer(hidden_states)` of a linear layer: (..., in_features) to (..., out_features).

    A layer that somebody replaced (adapters, quantised layers) or listens to (hooks) is called.
    """
    if type(layer) is not nn.Linear or has_hooks(layer):
        return layer(hidden_states)
    if not is_worthwhile(layer.weight, hidden_states):
        return layer(hidden_states)
    flat = hidden_states.reshape(1, -1, hidden_states.shape[-1])
    return multiply_rows(flat, layer.weight, layer.bias).view(*hidden_states.shape[:-1], -1)


def apply_pointwise(layer: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """The same of a convolution along time that looks at one frame: (clips, frames, in_channels or out_channels)."""
    is_plain = type(layer) is nn.Conv1d and layer.kernel_size == layer.stride == (1,) and layer.groups == 1
    is_plain = is_plain and layer.padding == (0,) and not has_hooks(layer)
    if not is_plain or not is_worthwhile(layer.weight, hidden_states):
        return layer(hidden_states.mT).mT
    flat = hidden_states.reshape(1, -1, hidden_states.shape[-1])
    return multiply_rows(flat, layer.weight[..., 0], layer.bias).view(*hidden_states.shape[:-1], -1)


def map_channels(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(clips, in_channels, frames) to (clips, out_channels, frames), each frame by itself.

    Args:
        weight: (out_channels, in_channels).
    """
    if not is_worthwhile(weight, inputs):
        return nn.functional.conv1d(inputs, weight[..., None])
    clips, _, frames = inputs.shape
    if len(weight) <= frames:
        return nn.functional.conv1d(inputs, weight[..., None], dilation=2)
    # The weight takes the place of the frames: the smaller factor is what oneDNN rearranges.
    mapped = inputs.new_empty(clips, len(weight), frames)
    for result, clip in zip(mapped, inputs, strict=True):
        result.copy_(multiply_rows(weight[None], clip.mT.contiguous())[0])
    return mapped


def multiply_rows(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(1, rows, in_features) to (1, rows, out_features), by a convolution of 1 x 1 with channels last."""
    pictures = rows.mT[:, :, None]  # (1, in_features, 1, rows)
    return nn.functional.conv2d(pictures, weight[:, :, None, None], bias, dilation=2)[:, :, 0].mT


def is_worthwhile(weight: torch.Tensor, inputs: torch.Tensor) -> bool:
    """Whether the detour is open and pays: evaluation without gradients, float32, a CPU with AVX-512, large factors."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False  # and sizes, which may be symbols here, stay unknown
    frames = inputs.numel() // weight.shape[1]
    return (
        frames >= _LEAST_FRAMES
        and frames * weight.numel() >= _LEAST_PRODUCTS
        and inputs.device.type == "cpu"
        and weight.device.type == "cpu"
        and inputs.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and has_values(inputs)
        and has_values(weight)
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    )


__all__ = ["apply_linear", "apply_pointwise", "map_channels"]
