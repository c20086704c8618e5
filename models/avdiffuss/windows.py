"""Recordings of any length in windows of the length that networks were trained on.

[`Windows`] is how [`AVDiffuSSPipeline`] cuts: half of each window lies in the next, and they are cross-faded.
[`average_over_windows`] is the authors' protocol for whole recordings, a window for every 0.04 s.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

COLUMNS_AT_ONCE = 64  # of a noise field, drawn together


@dataclass(frozen=True)
class Windows:
    """Where the windows of one recording lie, in samples.

    Args:
        num_samples: of the recording.
        length: of a window.
        step: from one window to the next.
        unit: every window starts with a multiple of it.
    """

    num_samples: int
    length: int
    step: int
    unit: int

    @classmethod
    def with_overlap(cls, num_samples: int, length: int, overlap: float, unit: int) -> "Windows":
        """Windows of `length` of which each shares about the part `overlap` with the next."""
        step = max(int(length * (1 - overlap)) // unit, 1) * unit
        return cls(num_samples, length, step, unit)

    @property
    def starts(self) -> list[int]:
        """First samples. The last window ends with the recording, up to `unit` - 1 samples shorter than others."""
        if self.num_samples <= self.length:
            return [0]
        last = -(-(self.num_samples - self.length) // self.unit) * self.unit
        return [*range(0, last, self.step), last]

    def fade(self, start: int) -> torch.Tensor:
        """Weights of the samples of one window: rising and falling over what it shares with others, never 0."""
        length = min(self.length, self.num_samples - start)
        shared = max(self.length - self.step, 1)
        ramp = torch.sin(math.pi / 2 * (torch.arange(shared) + 0.5) / shared).square()
        weights = torch.ones(length)
        if start > 0:
            weights[:shared] *= ramp[:length]
        if start + length < self.num_samples:
            weights[-shared:] *= ramp.flip(0)[-length:]
        return weights


class CrossFade:
    """The sum of windows of one recording, in which each fades into the next."""

    def __init__(self, windows: Windows):
        self.windows = windows
        self.total = torch.zeros(windows.num_samples)
        self.weight = torch.zeros(windows.num_samples)

    def add(self, start: int, samples: torch.Tensor) -> None:
        """One window, at most `length` samples from `start` on."""
        weights = self.windows.fade(start)
        self.total[start : start + len(weights)] += weights * samples
        self.weight[start : start + len(weights)] += weights

    def result(self) -> torch.Tensor:
        return self.total / self.weight


class NoiseField:
    """Noise for every step of one recording, of which any part can be had at any time.

    Overlapping windows so begin from the same noise, and take the same steps, where they overlap, however many of them
    are computed at once; nothing is kept. Complex with a variance of 1.

    Args:
        seed: of the field; the same seed gives the same noise on every device.
        bins: of frequency.
    """

    def __init__(self, seed: int, bins: int):
        self.seed, self.bins = seed, bins

    def columns(self, draw: int, first: int, count: int) -> torch.Tensor:
        """(bins, count): the noise of one draw, from column `first` of the recording on."""
        blocks = range(first // COLUMNS_AT_ONCE, -(-(first + count) // COLUMNS_AT_ONCE))
        field = torch.cat([self._block(draw, block) for block in blocks], dim=1)
        start = first - blocks[0] * COLUMNS_AT_ONCE
        return field[:, start : start + count]

    def _block(self, draw: int, block: int) -> torch.Tensor:
        seed = int(np.random.SeedSequence((self.seed, draw, block)).generate_state(1, np.uint64)[0]) >> 1
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.bins, COLUMNS_AT_ONCE, dtype=torch.complex64, generator=generator)


def protocol_starts(num_samples: int, window: int = 32640, hop: int = 640) -> list[int]:
    """First samples of the authors' windows: one per hop while it ends before the recording, then one for the rest.

    A rest of less than one video frame (640 samples) gets no window.
    """
    starts = list(range(0, max(num_samples - window, 0), hop))
    rest = len(starts) * hop
    return starts + [rest] * (num_samples - rest >= 640)


def average_over_windows(
    separate: Callable[[np.ndarray, int], np.ndarray], mixture: np.ndarray, *, window: int = 32640, hop: int = 640
) -> np.ndarray:
    """The authors' way through a whole recording: the plain mean of all windows that cover a sample, in [-1, 1].

    Samples that no window covers stay 0. Source: kaistmm/AVDiffuSS@86d8203 (test_whole.py).

    Args:
        separate: (samples of one window, first sample of it) -> the voice in it. The first frame of its video is
            int(first / 16000 * 25). A window at the end is filled up by repeating what there is of it.
        mixture: (samples,) at 16 kHz.
        window, hop: samples; the authors take 2.04 s and 0.04 s.
    """
    total, count = np.zeros(len(mixture)), np.zeros(len(mixture))
    for start in protocol_starts(len(mixture), window, hop):
        samples = mixture[start : start + window]
        result = separate(np.pad(samples, (0, window - len(samples)), mode="wrap"), start)[: len(samples)]
        total[start : start + len(samples)] += result
        count[start : start + len(samples)] += 1
    return np.clip(total / np.maximum(count, 1), -1, 1).astype(np.float32)


__all__ = ["CrossFade", "NoiseField", "Windows", "average_over_windows", "protocol_starts"]
