"""Mel spectrograms back to sound without a network: Griffin and Lim's search for phases that fit the magnitudes.

A vocoder that was trained sounds better. This one needs no training, knows any voice and noise, and is what the small
checkpoints of this package use.
"""

import torch

from avzoo.audio.framing import periodic_hann
from avzoo.audio.mel_banks import slaney_bank


def mel_to_magnitude(
    mel: torch.Tensor,
    *,
    sampling_rate: int = 16000,
    fft_size: int = 1024,
    low_frequency: float = 0.0,
    high_frequency: float = 8000.0,
    num_iterations: int = 20,
) -> torch.Tensor:
    """Magnitudes, none negative, whose mel bands are nearly `mel`: multiplicative updates for least squares (Lee and
    Seung, 2001), from the flattest start.

    Args:
        mel: (..., frames, num_mel_bins), magnitudes in Slaney's bands, not their logarithm.

    Returns:
        (..., frames, fft_size // 2 + 1).
    """
    bank = torch.as_tensor(
        slaney_bank(mel.shape[-1], fft_size, sampling_rate, low_frequency, high_frequency), dtype=mel.dtype
    ).to(mel.device)
    tiny = torch.finfo(mel.dtype).tiny
    magnitude = (mel / (bank.sum(0) + tiny)) @ bank.mT
    magnitude = magnitude / (bank.sum(1) + 1e-3 * bank.max())
    wanted, gram = mel @ bank.mT, bank @ bank.mT
    for _ in range(num_iterations):
        magnitude = magnitude * wanted / (magnitude @ gram + 1e-12)
    return magnitude


def griffin_lim(
    magnitude: torch.Tensor,
    *,
    fft_size: int = 1024,
    window_size: int | None = None,
    hop_size: int = 160,
    num_iterations: int = 32,
    momentum: float = 0.99,
    seed: int = 0,
) -> torch.Tensor:
    """A waveform whose short-time spectra have nearly these magnitudes.

    The fast form with momentum (Perraudin, Balazs and Sondergaard, 2013), from phases drawn with `seed`. Frame i is
    centred at sample i * hop_size, as in the log-mel features of this package; the window is Hann's.

    Args:
        magnitude: (batch, frames, fft_size // 2 + 1), not negative.
        window_size: samples, in the middle of the FFT. None: `fft_size`.

    Returns:
        (batch, frames * hop_size), float32 or float64 as `magnitude`.

    Raises:
        ValueError: a wrong shape.
    """
    if magnitude.ndim != 3 or magnitude.shape[-1] != fft_size // 2 + 1 or not magnitude.shape[1]:
        raise ValueError(f"`magnitude` must be (batch, frames, {fft_size // 2 + 1}), got {tuple(magnitude.shape)}.")
    magnitude = magnitude.mT  # (batch, bins, frames), as torch.stft has them
    num_frames = magnitude.shape[-1]
    window_size = fft_size if window_size is None else window_size
    window = torch.as_tensor(periodic_hann(window_size), dtype=magnitude.dtype).to(magnitude.device)
    # One draw for all items, so that each comes out as it would alone; on the CPU, so that devices agree.
    generator = torch.Generator().manual_seed(seed)
    phases = torch.rand(magnitude.shape[1:], generator=generator, dtype=magnitude.dtype).to(magnitude.device)
    directions = torch.polar(torch.ones_like(phases), 2 * torch.pi * phases)
    settings = {"n_fft": fft_size, "hop_length": hop_size, "win_length": window_size, "window": window, "center": True}

    def invert(spectra: torch.Tensor) -> torch.Tensor:
        # Silence after the last frame lets its half of the window end where frames * hop ends.
        spectra = torch.nn.functional.pad(spectra, (0, -(-fft_size // hop_size)))
        return torch.istft(spectra, length=num_frames * hop_size, **settings)

    previous = torch.zeros_like(magnitude * directions)
    for _ in range(num_iterations):
        fitted = torch.stft(invert(magnitude * directions), pad_mode="constant", return_complex=True, **settings)[
            ..., :num_frames
        ]
        moved = fitted - momentum / (1 + momentum) * previous
        directions = moved / (moved.abs() + 1e-12)
        previous = fitted
    return invert(magnitude * directions)


__all__ = ["griffin_lim", "mel_to_magnitude"]
