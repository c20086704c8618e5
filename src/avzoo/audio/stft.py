"""The complex spectrogram that diffusion models of the SGMSE family work on, and the way back to sound.

Compressed: magnitudes to the power `exponent`, phases kept, all times `factor`. Settings travel with the weights
(AVDiffuSS: 0.5 and 0.33); the levels those models expect need [`normalize_peak`] first, and its factor afterwards.
Source: kaistmm/AVDiffuSS@86d8203 (`sgmse/data_module_vi.py`, `sgmse/util/other.py`).
"""

from typing import Literal

import torch

from avzoo.audio.framing import checked_clips, periodic_hann

StftWindow = Literal["hann", "sqrthann"]


def compressed_stft(
    waveforms: torch.Tensor,
    *,
    fft_size: int = 510,
    hop_size: int = 128,
    window: StftWindow = "hann",
    exponent: float = 0.5,
    factor: float = 0.33,
    frame_multiple: int = 1,
) -> torch.Tensor:
    """factor * |S|^exponent * exp(i angle S) of the STFT S; exponent 1 and factor 1 give S itself.

    Frames are centred on multiples of the hop, fft_size // 2 samples reflected at both ends; the window is periodic
    and as long as the FFT. Bins of exactly zero stay zero, and the gradient there is finite.

    Args:
        waveforms: (samples,) or (batch, samples), floating point, in [-1, 1] (at peak 1 for AVDiffuSS).
        fft_size, hop_size: samples.
        window: "hann", or "sqrthann", its square root.
        frame_multiple: frames of zeros are appended until their number is a multiple of this: 64 for NCSN++.

    Returns:
        (bins, frames) or (batch, bins, frames), complex64, complex128 for float64; bins = fft_size // 2 + 1,
        frames = 1 + samples // hop_size for even `fft_size`, rounded up to `frame_multiple`.

    Raises:
        TypeError: no floating-point tensor.
        ValueError: at most fft_size // 2 samples, another shape, or an impossible setting.
    """
    _check_settings(fft_size, hop_size, exponent, factor)
    if frame_multiple < 1:
        raise ValueError(f"`frame_multiple` must be at least 1, got {frame_multiple}.")
    if not isinstance(waveforms, torch.Tensor):
        raise TypeError(f"`waveforms` must be a tensor, got {type(waveforms).__name__}.")
    reflected = fft_size // 2
    reason = f"one frame, with {reflected} samples reflected at both ends, needs"
    (clip,), _ = checked_clips(waveforms, reflected + 1, reason)
    weighting = _window(window, fft_size, clip)
    spectrum = torch.stft(clip, fft_size, hop_size, window=weighting, return_complex=True)  # reflects by itself
    spectrum = _to_the_power(spectrum, exponent) * factor
    return torch.nn.functional.pad(spectrum, (0, -spectrum.shape[-1] % frame_multiple))


def inverse_compressed_stft(
    spectrogram: torch.Tensor,
    num_samples: int,
    *,
    fft_size: int = 510,
    hop_size: int = 128,
    window: StftWindow = "hann",
    exponent: float = 0.5,
    factor: float = 0.33,
) -> torch.Tensor:
    """The waveform whose [`compressed_stft`], with the same settings, is nearest to `spectrogram`.

    Overlap-add, divided by the summed squares of all windows. Frames of silence appended by `frame_multiple` count
    like any others: with them the last fft_size // 2 samples fade, as in the authors' code. Without them,
    `spectrogram[..., : 1 + num_samples // hop_size]`, the end comes back as it was.

    Args:
        spectrogram: (bins, frames) or (batch, bins, frames), complex, bins = fft_size // 2 + 1.
        num_samples: length of the waveform, below frames * hop_size: longer ones have more frames.

    Returns:
        (num_samples,) or (batch, num_samples), float32; float64 for complex128.

    Raises:
        TypeError: no complex tensor.
        ValueError: another shape, a length the frames don't cover, or an impossible setting.
    """
    _check_settings(fft_size, hop_size, exponent, factor)
    if not isinstance(spectrogram, torch.Tensor) or not spectrogram.is_complex():
        got = spectrogram.dtype if isinstance(spectrogram, torch.Tensor) else type(spectrogram).__name__
        raise TypeError(f"`spectrogram` must be a complex tensor, got {got}.")
    bins = fft_size // 2 + 1
    if spectrogram.ndim not in (2, 3) or spectrogram.shape[-2] != bins or 0 in spectrogram.shape:
        raise ValueError(
            f"`spectrogram` must be ({bins}, frames) or (batch, {bins}, frames), got {tuple(spectrogram.shape)}."
        )
    longest = spectrogram.shape[-1] * hop_size - 1
    if not 1 <= num_samples <= longest:
        raise ValueError(
            f"`num_samples` must lie between 1 and {longest}, what {spectrogram.shape[-1]} frames cover; "
            f"got {num_samples}."
        )
    if spectrogram.dtype != torch.complex128:
        spectrogram = spectrogram.to(torch.complex64)
    spectrum = _to_the_power(spectrogram / factor, 1 / exponent)
    weighting = _window(window, fft_size, spectrum.real)
    return torch.istft(spectrum, fft_size, hop_size, window=weighting, length=num_samples)


def _to_the_power(spectrum: torch.Tensor, exponent: float) -> torch.Tensor:
    """Magnitudes to the power, phases kept; a zero stays zero, without the infinite slope of a root."""
    if exponent == 1:
        return spectrum
    magnitude = spectrum.abs()
    return spectrum * torch.where(magnitude == 0, 1.0, magnitude) ** (exponent - 1)


def _window(name: str, size: int, like: torch.Tensor) -> torch.Tensor:
    if name not in ("hann", "sqrthann"):
        raise ValueError(f"`window` must be hann or sqrthann, got {name!r}.")
    values = torch.from_numpy(periodic_hann(size))
    return (values if name == "hann" else values.sqrt()).to(like)


def _check_settings(fft_size: int, hop_size: int, exponent: float, factor: float) -> None:
    if not (fft_size >= 2 and 1 <= hop_size <= fft_size // 2):
        raise ValueError(
            f"`hop_size` ({hop_size}) must lie between 1 and half of `fft_size` ({fft_size}), or sound is lost."
        )
    for name, value in (("exponent", exponent), ("factor", factor)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")
