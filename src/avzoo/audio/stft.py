"""The complex spectrogram that diffusion models of the SGMSE family work on, and the way back to sound.

Compressed: magnitudes to the power `exponent`, phases kept, all times `factor`. Settings travel with the weights
(AVDiffuSS: 0.5 and 0.33); the levels those models expect need [`normalize_peak`] first, and its factor afterwards.
Source: kaistmm/AVDiffuSS@86d8203 (`sgmse/data_module_vi.py`, `sgmse/util/other.py`).
"""

from typing import Literal

import torch

from avzoo.audio.framing import Features, Waveforms, frame_with_reflection, map_frames, periodic_hann

StftWindow = Literal["hann", "sqrthann"]

_LEAST_POWER = 1e-20  # squared magnitude; see [`compressed_stft`]


def compressed_stft(
    waveforms: Waveforms,
    *,
    fft_size: int = 510,
    hop_size: int = 128,
    window: StftWindow = "hann",
    exponent: float = 0.5,
    factor: float = 0.33,
    frame_multiple: int = 1,
) -> Features:
    """factor * |S|^exponent * exp(i angle S) of the STFT S; exponent 1 and factor 1 give S itself.

    Frames are centred on multiples of the hop, fft_size // 2 samples reflected at both ends; the window is periodic
    and as long as the FFT. Zero stays zero; below a magnitude of 1e-10 the power law is continued by a straight line,
    so that no gradient is infinite.

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of any lengths; floating point, in [-1, 1]
            (at peak 1 for AVDiffuSS).
        fft_size, hop_size: samples.
        window: "hann", or "sqrthann", its square root.
        frame_multiple: frames of zeros are appended until their number is a multiple of this: 64 for NCSN++.

    Returns:
        (bins, frames), (batch, bins, frames), or a list of (bins, frames), strided as `torch.stft` leaves them;
        complex64, complex128 for float64 waveforms; bins = fft_size // 2 + 1, frames = 1 + samples // hop_size for
        even `fft_size`, rounded up to `frame_multiple`.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: a waveform of at most fft_size // 2 samples, another shape, or an impossible setting.
    """
    _check_settings(fft_size, hop_size, exponent, factor)
    if frame_multiple < 1:
        raise ValueError(f"`frame_multiple` must be at least 1, got {frame_multiple}.")
    frames, single = frame_with_reflection(waveforms, fft_size // 2, fft_size, fft_size, hop_size)
    weighting = _window(window, fft_size, frames[0])

    def spectra(part: torch.Tensor) -> torch.Tensor:
        return _power_law(torch.fft.rfft(part * weighting), exponent, factor)  # (..., frames, bins)

    def pad_frames(rows: torch.Tensor) -> torch.Tensor:
        missing = -rows.shape[-2] % frame_multiple
        return (torch.nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows).mT

    rows = map_frames(spectra, frames, single)
    return pad_frames(rows) if single else [pad_frames(one) for one in rows]


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
    spectrum = _power_law(spectrogram, 1 / exponent, factor ** (-1 / exponent))
    weighting = _window(window, fft_size, spectrum.real)
    return torch.istft(spectrum, fft_size, hop_size, window=weighting, length=num_samples)


def _power_law(spectrum: torch.Tensor, exponent: float, factor: float) -> torch.Tensor:
    """factor * magnitude^exponent, phases kept."""
    if exponent == 1:
        return spectrum * factor
    parts = torch.view_as_real(spectrum)  # a complex number times a real one costs a complex product
    squares = parts * parts
    power = (squares[..., 0] + squares[..., 1]).clamp_min_(_LEAST_POWER)
    return torch.view_as_complex(parts * (factor * power ** ((exponent - 1) / 2)).unsqueeze(-1))


def _window(name: str, size: int, like: torch.Tensor) -> torch.Tensor:
    if name not in ("hann", "sqrthann"):
        raise ValueError(f"`window` must be hann or sqrthann, got {name!r}.")
    values = torch.from_numpy(periodic_hann(size))
    return (values if name == "hann" else values.sqrt()).to(like)


def _check_settings(fft_size: int, hop_size: int, exponent: float, factor: float) -> None:
    if not 1 <= hop_size < fft_size:
        raise ValueError(f"`hop_size` ({hop_size}) must be at least 1 and below `fft_size` ({fft_size}).")
    for name, value in (("exponent", exponent), ("factor", factor)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")
