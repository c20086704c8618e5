"""Mixtures of recordings at known levels, for training and testing separation.

numpy in, numpy out, sums in float64: the same samples give the same mixture on any machine.
Source: kaistmm/AVDiffuSS@86d8203 (`test_whole.py`, `sgmse/data_module_vi.py`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def mix_at_equal_level(voices: Sequence[ArrayLike], peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Voices of equal standard deviation, added; then one gain for all, so that nothing exceeds `peak`.

    All are cut to the shortest first. The loudest sample of the mixture or of any voice is then exactly `peak`.
    AVDiffuSS draws it from N(0.9, 0.5), and from U(0.3, 0.99) where that falls outside of [0.3, 0.99].

    Args:
        voices: one or more of (samples,), floating point; their own levels and means don't matter and stay.
        peak: largest magnitude wanted, full scale is 1.

    Returns:
        The mixture, (samples,), and its parts, (voices, samples), which add up to it; float32.

    Raises:
        TypeError: a voice that isn't floating point.
        ValueError: no voices, a wrong shape, a constant (silent) voice, NaN, or a `peak` that isn't positive.
    """
    if not 0 < peak < np.inf:
        raise ValueError(f"`peak` must be positive and finite, got {peak}.")
    voices = [_signal(voice, f"voices[{index}]") for index, voice in enumerate(voices)]
    if not voices:
        raise ValueError("`voices` is empty; give at least one.")
    shortest = min(len(voice) for voice in voices)
    parts = np.stack([voice[:shortest] for voice in voices])
    for index, part in enumerate(parts):
        if part.min() == part.max():
            raise ValueError(f"`voices[{index}]` is silent in its first {shortest} samples: it has no level to equal.")
    parts /= parts.std(axis=1, keepdims=True)
    mixture = parts.sum(axis=0)
    gain = peak / max(np.abs(parts).max(), np.abs(mixture).max())
    return (gain * mixture).astype(np.float32), (gain * parts).astype(np.float32)


def mix_at_snr(voice: ArrayLike, noise: ArrayLike, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
    """a * voice + b * noise at the wanted ratio of energies, with a^2 + b^2 = 1: neither is left as it was.

    g = sqrt(10^(-snr_db / 10) E_voice / E_noise), a = 1 / sqrt(1 + g^2), b = g / sqrt(1 + g^2). Two signals of
    equal energy so give a mixture of that energy.

    Args:
        voice, noise: (samples,) of equal length, floating point; energies are sums of squares over all of it.
        snr_db: 10 log10 of the ratio of the two energies in the mixture.

    Returns:
        The mixture, (samples,), and its parts, (2, samples), voice first, which add up to it; float32.

    Raises:
        TypeError: a signal that isn't floating point.
        ValueError: a wrong shape, unequal lengths, silence, NaN.
    """
    voice, noise = _signal(voice, "voice"), _signal(noise, "noise")
    if len(voice) != len(noise):
        raise ValueError(
            f"`voice` has {len(voice)} samples, `noise` {len(noise)}; cut both to the same, or repeat the noise."
        )
    if not np.isfinite(snr_db):
        raise ValueError(f"`snr_db` must be finite, got {snr_db}.")
    energies = {"voice": voice @ voice, "noise": noise @ noise}
    for name, energy in energies.items():
        if energy == 0:
            raise ValueError(f"`{name}` is silent: no gain gives {snr_db} dB.")
    gain = 10 ** (-snr_db / 20) * np.sqrt(energies["voice"] / energies["noise"])
    parts = np.stack([voice, gain * noise]) / np.sqrt(1 + gain**2)
    return parts.sum(axis=0).astype(np.float32), parts.astype(np.float32)


def _signal(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f"`{name}` must be floating point, got {values.dtype}; scale integer PCM to [-1, 1] first.")
    if values.ndim != 1 or not values.size:
        raise ValueError(f"`{name}` must be (samples,) with at least one sample, got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` holds {np.count_nonzero(~np.isfinite(values))} samples that are NaN or infinite.")
    return values.astype(np.float64)
