"""Doubling and halving pictures through a filter of four taps, [1, 3, 3, 1] / 8, so that nothing aliases.

Zeros stand beyond the borders, which therefore fade. Written as convolutions of each channel by itself, no compiled
extension is needed. Source: kaistmm/AVDiffuSS@86d8203 (sgmse/backbones/ncsnpp_utils), after arXiv 1912.04958.
"""

import torch
from torch.nn.functional import conv2d, conv_transpose2d

_TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_downsample(images: torch.Tensor) -> torch.Tensor:
    """(batch, channels, rows, columns) to half as many rows and columns; both must be even."""
    return conv2d(images, _kernel(images, 64), stride=2, padding=1, groups=images.shape[1])


def fir_upsample(images: torch.Tensor) -> torch.Tensor:
    """(batch, channels, rows, columns) to twice as many rows and columns."""
    # On CPUs this convolution is many times slower in half precision.
    values = images.float() if images.device.type == "cpu" else images
    with torch.autocast(images.device.type, enabled=False):
        result = conv_transpose2d(values, _kernel(values, 16), stride=2, padding=1, groups=images.shape[1])
    return result.to(images.dtype)


def _kernel(images: torch.Tensor, divisor: float) -> torch.Tensor:
    """(channels, 1, 4, 4)."""
    taps = torch.tensor(_TAPS, dtype=images.dtype, device=images.device)
    return (torch.outer(taps, taps) / divisor).expand(images.shape[1], 1, 4, 4)


__all__ = ["fir_downsample", "fir_upsample"]
