"""Levels of waveforms."""

import torch


def normalize_peak(waveforms: torch.Tensor, peak: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Each waveform scaled so that its loudest sample is `peak`, and the factors that undo it.

    Zeros after a shorter clip of a batch change nothing. Silence stays silence, its factor is 1.

    Args:
        waveforms: (..., samples), floating point, at least one sample.

    Returns:
        (..., samples), and (..., 1): the product of the two is `waveforms`.

    Raises:
        TypeError: not floating point.
        ValueError: no samples, or a `peak` that isn't positive.
    """
    if not isinstance(waveforms, torch.Tensor) or not waveforms.is_floating_point():
        got = waveforms.dtype if isinstance(waveforms, torch.Tensor) else type(waveforms).__name__
        raise TypeError(f"`waveforms` must be a floating-point tensor, got {got}.")
    if waveforms.ndim == 0 or waveforms.shape[-1] == 0:
        raise ValueError(f"`waveforms` must be (..., samples) with samples, got {tuple(waveforms.shape)}.")
    if not peak > 0:
        raise ValueError(f"`peak` must be positive, got {peak}.")
    loudest = waveforms.abs().amax(dim=-1, keepdim=True)
    factor = torch.where(loudest == 0, 1.0, loudest / peak)
    return waveforms / factor, factor
