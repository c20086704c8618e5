"""Log power spectral density, as `scipy.signal.spectrogram` computes it: what sound source localisation hears.

Source: kaistmm/SSLalignment@e7ae3c5 (`datasets_lvs.py`), which EZ-VSL, SLAVC and FNAC share but for the hop.
"""

import math

import numpy as np
import torch

from avzoo.audio.framing import Waveforms, cache_table, check_clips
from avzoo.checks import check_number, check_whole_number


def log_power_density(
    waveforms: Waveforms,
    *,
    sampling_rate: int = 16000,
    fft_size: int = 512,
    hop_size: int = 159,
    log_floor: float = 1e-7,
    size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """ln(density + log_floor) of frames with their mean removed, under a Tukey window (a quarter of it tapered).

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of one length; floating point, in [-1, 1].
        sampling_rate: Hz; densities are per Hz.
        fft_size, hop_size: samples; a frame is as long as the FFT, and no end is padded.
        log_floor: added to densities; silence gives its logarithm.
        size: average the densities over cells to (bins, frames) before the logarithm; None: leave them.

    Returns:
        float64, (bins, frames) or (batch, bins, frames): fft_size / 2 + 1 bins from 0 Hz up, and
        (samples - fft_size) // hop_size + 1 frames.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: an empty list, clips of several lengths, one shorter than a frame, samples beyond [-16, 16], or a
            setting out of its range.
    """
    for name, value, least in (
        ("sampling_rate", sampling_rate, 1),
        ("fft_size", fft_size, 4),
        ("hop_size", hop_size, 1),
    ):
        check_whole_number(name, value, at_least=least)
    check_number("log_floor", log_floor, above=0)
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"`size` must be (bins, frames) from 1 on, got {tuple(size)}.")
    clips, single = check_clips(waveforms, fft_size, loudest=16.0)
    if len({clip.shape[-1] for clip in clips}) > 1:
        raise ValueError("`waveforms` must all have one length; cut or repeat them first.")
    samples = clips[0] if single else torch.stack(clips)
    frames = samples.double().unfold(-1, fft_size, hop_size)  # (..., frames, fft_size)
    window = torch.from_numpy(periodic_tukey(fft_size)).to(samples.device)
    spectrum = torch.fft.rfft((frames - frames.mean(-1, keepdim=True)) * window)
    density = spectrum.real.square() + spectrum.imag.square()
    density = density / (sampling_rate * window.square().sum())
    last = -1 if fft_size % 2 == 0 else None
    density[..., 1:last] *= 2  # negative frequencies; 0 Hz and the highest have none
    density = density.transpose(-1, -2)  # (..., bins, frames)
    if size is not None:
        batch = density.reshape(-1, 1, *density.shape[-2:])
        density = torch.nn.functional.adaptive_avg_pool2d(batch, size).reshape(*density.shape[:-2], *size)
    return torch.log(density + log_floor)


@cache_table
def periodic_tukey(size: int, tapered: float = 0.25) -> np.ndarray:
    """A window that is flat but for cosines at both ends, together `tapered` of it: float64, (size,)."""
    positions = np.arange(size, dtype=np.float64)
    ramp = math.floor(tapered * size / 2)
    window = np.ones(size)
    rising = positions <= ramp
    window[rising] = 0.5 * (1 + np.cos(np.pi * (2 * positions[rising] / tapered / size - 1)))
    falling = positions >= size - ramp
    window[falling] = 0.5 * (1 + np.cos(np.pi * (2 * positions[falling] / tapered / size - 2 / tapered + 1)))
    return window


__all__ = ["log_power_density", "periodic_tukey"]
