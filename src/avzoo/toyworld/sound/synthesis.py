"""Building blocks of synthetic sound: noise, filters, envelopes, tones, rooms. NumPy only.

Everywhere: signals are float64 (num_samples,), times are in seconds, frequencies in Hz, levels in dB. Every
random draw takes a `numpy.random.Generator`.
"""

from collections.abc import Callable

import numpy as np
import soxr

Generator = np.random.Generator

_TABLE_SIZE = 2048


def decibels_to_gain(decibels: float | np.ndarray) -> float | np.ndarray:
    """Amplitude factor of a level difference: 20 dB are a factor of 10."""
    return 10.0 ** (decibels / 20)


def root_mean_square(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal)))) if len(signal) else 0.0


def log_uniform(generator: Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform: octaves, not hertz, are equally likely."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def fit_length(signal: np.ndarray, num_samples: int) -> np.ndarray:
    """Cut or zero-pad at the end."""
    if len(signal) >= num_samples:
        return signal[:num_samples]
    return np.pad(signal, (0, num_samples - len(signal)))


def resample(signal: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Band-limited resampling; pretending another `from_rate` plays the signal faster or slower."""
    if from_rate == to_rate:
        return signal
    return soxr.resample(signal, from_rate, to_rate, quality="MQ").astype(np.float64)


# ---------------------------------------------------------------------------------------------- filters


def shape_spectrum(signal: np.ndarray, sampling_rate: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Zero-phase filter: `gain` maps frequencies in Hz to amplitude factors."""
    size = -(-(len(signal) + 512) // 4096) * 4096  # padded: the filter's ringing must not wrap around
    spectrum = np.fft.rfft(signal, size)
    spectrum *= gain(np.fft.rfftfreq(size, 1 / sampling_rate))
    return np.fft.irfft(spectrum, size)[: len(signal)]


def low_pass_gain(frequencies: np.ndarray, cutoff_hz: float, order: float = 4) -> np.ndarray:
    """Butterworth magnitude: 1 below the cut-off, falling by 6 dB per octave and order above."""
    return 1 / np.sqrt(1 + (frequencies / cutoff_hz) ** (2 * order))


def high_pass_gain(frequencies: np.ndarray, cutoff_hz: float, order: float = 2) -> np.ndarray:
    return 1 / np.sqrt(1 + (cutoff_hz / np.maximum(frequencies, 1e-3)) ** (2 * order))


def resonance_gain(frequencies: np.ndarray, centre_hz: float, bandwidth_hz: float) -> np.ndarray:
    """One peak of height 1 (a formant, a body resonance)."""
    return 1 / np.sqrt(1 + ((frequencies - centre_hz) / (bandwidth_hz / 2)) ** 2)


def random_equaliser(generator: Generator, spread_db: float, bands_per_octave: float = 1) -> Callable:
    """A smooth random colour: gains drawn at regular points of the octave scale, 60 Hz to 8 kHz and beyond."""
    points = np.linspace(np.log2(60), np.log2(8000), int(7 * bands_per_octave) + 1)
    levels = generator.normal(0, spread_db, len(points))

    def gain(frequencies: np.ndarray) -> np.ndarray:
        return decibels_to_gain(np.interp(np.log2(np.maximum(frequencies, 1)), points, levels))

    return gain


# ------------------------------------------------------------------------------------ noise and envelopes


def coloured_noise(
    generator: Generator, num_samples: int, sampling_rate: int, slope_db_per_octave: float = 0.0
) -> np.ndarray:
    """Gaussian noise of unit power whose spectrum tilts: 0 white, -3 pink, -6 brown."""
    noise = generator.standard_normal(num_samples)
    if slope_db_per_octave:
        exponent = slope_db_per_octave / (20 * np.log10(2))
        noise = shape_spectrum(noise, sampling_rate, lambda f: (np.maximum(f, 20) / 1000) ** exponent)
    return noise / max(root_mean_square(noise), 1e-12)


def slow_curve(generator: Generator, num_samples: int, sampling_rate: int, rate_hz: float) -> np.ndarray:
    """A smooth random curve, about unit variance, that turns around `rate_hz` times per second."""
    num_points = max(int(num_samples / sampling_rate * rate_hz * 2), 1) + 3
    points = generator.standard_normal(num_points)
    blend = (1 - np.cos(np.pi * np.arange(8) / 8)) / 2  # eight straight pieces between two points look smooth
    knots = (points[:-1, None] * (1 - blend) + points[1:, None] * blend).ravel()
    position = np.linspace(0, len(knots) - 16, num_samples, endpoint=False) + generator.uniform(0, 8)
    return np.interp(position, np.arange(len(knots)), knots)


def attack_decay(num_samples: int, sampling_rate: int, attack_seconds: float, decay_seconds: float) -> np.ndarray:
    """Linear rise, then exponential fall by 60 dB within `decay_seconds`."""
    time = np.arange(num_samples) / sampling_rate
    return np.minimum(time / max(attack_seconds, 1e-4), 1) * np.exp(-6.9 * time / decay_seconds)


def fade_edges(signal: np.ndarray, sampling_rate: int, seconds: float) -> np.ndarray:
    """Half-cosine fades at both ends, so that a cut does not click."""
    length = min(int(seconds * sampling_rate), len(signal) // 2)
    if length == 0:
        return signal
    ramp = (1 - np.cos(np.pi * np.arange(length) / length)) / 2
    faded = signal.copy()
    faded[:length] *= ramp
    faded[-length:] *= ramp[::-1]
    return faded


def add_at(target: np.ndarray, signal: np.ndarray, start: int) -> None:
    """Mix `signal` into `target` in place from sample `start` on; what sticks out is dropped."""
    if start < 0:
        signal, start = signal[-start:], 0
    length = min(len(signal), len(target) - start)
    if length > 0:
        target[start : start + length] += signal[:length]


# ------------------------------------------------------------------------------------------------- tones


def harmonic_table(amplitudes: np.ndarray, highest_pitch_hz: float, sampling_rate: int) -> np.ndarray:
    """One period of a sound with these partials (the first is the fundamental), without those that would alias.

    Returns: (table size + 1,), the last sample repeats the first, for [`read_table`].
    """
    count = min(len(amplitudes), int(0.5 * sampling_rate / highest_pitch_hz), _TABLE_SIZE // 2 - 1)
    spectrum = np.zeros(_TABLE_SIZE // 2 + 1, complex)
    # Spread phases: partials that all start at zero make a needle of a waveform.
    order = np.arange(1, count + 1)
    spectrum[1 : count + 1] = amplitudes[:count] * np.exp(1j * np.pi * order * (order + 1) / max(count, 1))
    table = np.fft.irfft(spectrum, _TABLE_SIZE) * _TABLE_SIZE / 2
    return np.append(table, table[0])


def read_table(table: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    """The periodic sound at a phase counted in cycles (linear interpolation)."""
    position = (cycles % 1) * _TABLE_SIZE
    index = np.minimum(position.astype(np.int64), _TABLE_SIZE - 1)
    fraction = position - index
    return table[index] * (1 - fraction) + table[index + 1] * fraction


def accumulate_phase(frequency_hz: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Phase in cycles of a tone whose frequency changes from sample to sample."""
    return np.cumsum(frequency_hz) / sampling_rate


def sum_partials(
    frequencies_hz: np.ndarray, amplitudes: np.ndarray, decays_seconds: np.ndarray, num_samples: int, sampling_rate: int
) -> np.ndarray:
    """Sum of decaying sines (a struck bar, string or bell); those above 0.48 of the sampling rate are left out."""
    block = 256
    total = np.zeros(-(-num_samples // block) * block)
    for frequency, amplitude, decay in zip(frequencies_hz, amplitudes, decays_seconds, strict=True):
        if frequency < 0.48 * sampling_rate:
            audible = min(num_samples, int(decay * 1.2 * sampling_rate) + 1)  # 70 dB down
            num_blocks = -(-audible // block)
            # exp(s (a + b)) = exp(s a) exp(s b): a few hundred exponentials instead of one per sample.
            rate = (2j * np.pi * frequency - 6.9 / decay) / sampling_rate
            coarse = amplitude * np.exp(rate * block * np.arange(num_blocks) + 1j * frequency)  # any fixed phase does
            fine = np.exp(rate * np.arange(block))
            total[: num_blocks * block] += (np.outer(coarse.real, fine.imag) + np.outer(coarse.imag, fine.real)).ravel()
    return total[:num_samples]


# ------------------------------------------------------------------------------------------------- rooms


def room_response(generator: Generator, sampling_rate: int, reverberation_seconds: float, dark: float) -> np.ndarray:
    """Direct sound, a few early reflections and a tail of decaying noise.

    Args:
        reverberation_seconds: time in which the tail falls by 60 dB.
        dark: 0 = the tail is as bright as the direct sound, 1 = walls of carpet.
    """
    num_samples = max(int(min(reverberation_seconds, 0.8) * sampling_rate), 64)
    time = np.arange(num_samples) / sampling_rate
    tail = generator.standard_normal(num_samples) * np.exp(-6.9 * time / reverberation_seconds)
    tail[: int(0.004 * sampling_rate)] = 0
    cutoff_hz = 8000 * (1 - 0.8 * dark)
    tail = shape_spectrum(tail, sampling_rate, lambda f: low_pass_gain(f, cutoff_hz, 1))
    tail *= decibels_to_gain(generator.uniform(-20, 3)) / max(np.sqrt(np.sum(tail**2)), 1e-12)
    for _ in range(generator.integers(0, 6)):
        tail[generator.integers(16, min(num_samples, int(0.05 * sampling_rate)))] += generator.normal(0, 0.3)
    tail[0] = 1
    return tail


def convolve(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Full convolution, (num_samples + len(response) - 1,)."""
    length = len(signal) + len(response) - 1
    size = -(-length // 4096) * 4096
    return np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)[:length]


# ------------------------------------------------------------------------------------------------ codecs


def mu_law(signal: np.ndarray) -> np.ndarray:
    """8-bit telephone coding."""
    compressed = np.sign(signal) * np.log1p(255 * np.abs(signal)) / np.log(256)
    compressed = np.round(compressed * 127) / 127
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256)) / 255


def drop_weak_bands(signal: np.ndarray, depth_db: float, size: int = 512) -> np.ndarray:
    """What perceptual codecs do: in every frame, bins `depth_db` below the strongest become zero."""
    hop = size // 2
    num_frames = -(-len(signal) // hop) + 1
    padded = np.pad(signal, (hop, num_frames * hop + size - hop - len(signal)))
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: num_frames * hop : hop]
    spectrum = np.fft.rfft(frames * window)
    magnitude = np.abs(spectrum)
    # Codecs give the high bands less: 15 dB less from 0 to 8 kHz.
    threshold = magnitude.max(axis=1, keepdims=True) * decibels_to_gain(-depth_db)
    threshold = threshold * decibels_to_gain(np.linspace(-7, 8, magnitude.shape[1]))
    frames = np.fft.irfft(np.where(magnitude < threshold, 0, spectrum), size) * window
    result = np.zeros(len(frames) * hop + hop)
    result[:-hop] += frames[:, :hop].ravel()
    result[hop:] += frames[:, hop:].ravel()
    return result[hop : hop + len(signal)]
