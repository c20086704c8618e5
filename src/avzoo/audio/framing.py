"""Shared parts of frame-wise features: input checks, framing, batches of bounded size, power spectra.

A feature cuts its clips into frames by `Tensor.unfold`, which copies nothing, and hands them to [`map_frames`] with the
function that turns frames into rows. Tables (windows, filter banks) are cached as float64 numpy: a tensor made while a
model is traced or on the meta device must not outlive that.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

Waveforms = torch.Tensor | Sequence[torch.Tensor]  # (samples,), (batch, samples), or a list of (samples,)
Features = torch.Tensor | list[torch.Tensor]  # ([batch,] frames, features), or a list of (frames, features)

# Frames worked on at once. On a CPU about two megabytes per thread, which stay in cache through all passes: twice as
# fast as one pass over everything. Smaller parts gain nothing and make threads that share a busy core wait for each
# other more often. Elsewhere a bound on memory, about half a gigabyte.
_FRAMES_PER_CPU_THREAD = 1024
_FRAMES_AT_ONCE = 65536

LOUDEST = 16.0  # 24 dB above full scale: no recording in [-1, 1] gets there, 16-bit numbers do at once


def check_clips(
    waveforms: Waveforms,
    fewest_samples: int,
    needed_for: str = "one frame needs",
    *,
    loudest: float | None = None,
) -> tuple[list[torch.Tensor], bool]:
    """Check waveforms; return them as a list, float32 or float64, and whether they were a single tensor.

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of any lengths.
        fewest_samples: least length of a clip; `needed_for` says why.
        loudest: largest magnitude allowed. Checked on a CPU only: elsewhere it would make the device wait.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: an empty list or batch, a wrong shape, a clip too short or too loud.
    """
    single = isinstance(waveforms, torch.Tensor)
    clips = [waveforms] if single else list(waveforms)
    if not clips:
        raise ValueError("`waveforms` is an empty list.")
    for index, clip in enumerate(clips):
        name = "`waveforms`" if single else f"`waveforms[{index}]`"
        if not isinstance(clip, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(clip).__name__}; wrap arrays with `torch.from_numpy`.")
        if not clip.is_floating_point():
            raise TypeError(
                f"{name} must be floating point, got {clip.dtype}; scale integer PCM to [-1, 1] first (int16 / 32768)."
            )
        if clip.ndim != 1 and not (single and clip.ndim == 2):
            expected = "(samples,) or (batch, samples)" if single else "(samples,)"
            raise ValueError(f"{name} must be {expected}, got {tuple(clip.shape)}.")
        if clip.ndim == 2 and clip.shape[0] == 0:
            raise ValueError(f"{name} is an empty batch, {tuple(clip.shape)}.")
        if clip.shape[-1] < fewest_samples:
            raise ValueError(
                f"{name} has {clip.shape[-1]} samples, {needed_for} {fewest_samples}: the recording is too short; "
                "drop it or pad it with zeros."
            )
        if loudest is not None and clip.device.type == "cpu" and not torch.compiler.is_compiling():
            peak = max(abs(extreme) for extreme in torch.stack(clip.detach().aminmax()).tolist())
            if peak > loudest:
                raise ValueError(
                    f"{name} reaches {peak:g}, full scale is 1: it seems to hold integer PCM as floats; "
                    "divide it by its full scale (32768 for 16 bits)."
                )
    return [clip if clip.dtype == torch.float64 else clip.float() for clip in clips], single


def frame_with_reflection(
    waveforms: Waveforms,
    reflected: int,
    fft_size: int,
    window_size: int,
    hop_size: int,
    *,
    preemphasis: float = 0.0,
    loudest: float | None = None,
) -> tuple[list[torch.Tensor], bool]:
    """Cut clips, `reflected` samples mirrored at both ends, into frames of the window's size for [`map_frames`].

    frames = 1 + (samples + 2 * reflected - fft_size) // hop_size. The window belongs in the middle of the FFT; frames
    start where it starts, and zeros up to the FFT's size come behind: that changes phases, no magnitudes.

    Raises:
        TypeError, ValueError: as [`check_clips`], or sizes that don't fit.
    """
    if not (0 < hop_size <= fft_size and 1 < window_size <= fft_size):
        raise ValueError(
            f"`hop_size` ({hop_size}) must be at least 1, `window_size` ({window_size}) at least 2, neither above "
            f"`fft_size` ({fft_size})."
        )
    fewest = max(reflected + 1, fft_size - 2 * reflected)
    reason = f"one frame, with {reflected} samples reflected at both ends, needs"
    clips, single = check_clips(waveforms, fewest, reason, loudest=loudest)
    before = (fft_size - window_size) // 2
    after = fft_size - window_size - before
    frames = []
    for clip in clips:
        if preemphasis:
            clip = apply_preemphasis(clip, preemphasis)
        rows = clip.reshape(-1, 1, clip.shape[-1])  # the form in which torch reflects
        padded = torch.nn.functional.pad(rows, (reflected, reflected), mode="reflect").reshape(*clip.shape[:-1], -1)
        frames.append(padded[..., before : padded.shape[-1] - after].unfold(-1, window_size, hop_size))
    return frames, single


def map_frames(
    compute_rows: Callable[[torch.Tensor], torch.Tensor], frames: list[torch.Tensor], single: bool
) -> Features:
    """Apply `compute_rows` to the frames of all clips, a bounded number at a time, across clips.

    Args:
        compute_rows: (..., size) to (..., features), each frame for itself.
        frames: (frames, size) per clip; for a single tensor one entry, ([batch,] frames, size).
        single: see [`check_clips`].

    Returns:
        ([batch,] frames, features) for a single tensor, else a list of (frames, features).
    """
    # Autocast would run the mel sums in half precision.
    device = frames[0].device.type
    with torch.autocast(device if torch.amp.is_autocast_available(device) else "cpu", enabled=False):
        on_cpu = device == "cpu"
        if single and (torch.compiler.is_compiling() or not on_cpu):
            return compute_rows(frames[0])
        leading = frames[0].shape[:-1]  # ([batch,] frames), for a single tensor
        clips = list(frames[0]) if single and frames[0].ndim == 3 else frames
        limit = _FRAMES_PER_CPU_THREAD * torch.get_num_threads() if on_cpu else _FRAMES_AT_ONCE
        parts = (compute_rows(part) for part in _batch_frames(clips, limit))
        rows = _concatenate(parts, sum(len(clip) for clip in clips))  # (all frames, features)
    return rows.view(*leading, *rows.shape[1:]) if single else list(rows.split([len(clip) for clip in clips]))


def _batch_frames(clips: list[torch.Tensor], limit: int) -> Iterator[torch.Tensor]:
    """Batches of at most `limit` frames, in order; short clips share a batch."""
    waiting, count = [], 0
    for clip in clips:
        for chunk in clip.split(limit):
            if waiting and count + len(chunk) > limit:
                yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]
                waiting, count = [], 0
            waiting.append(chunk)
            count += len(chunk)
    yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]


def _concatenate(parts: Iterator[torch.Tensor], total: int) -> torch.Tensor:
    """Concatenate all rows; without gradients each part is freed once copied, so that rows exist once."""
    first = next(parts)
    if first.requires_grad:
        return torch.cat([first, *parts])
    rows, filled = first.new_empty(total, *first.shape[1:]), 0
    for part in itertools.chain([first], parts):
        rows[filled : filled + len(part)] = part
        filled += len(part)
    return rows


def power_spectrum(frames: torch.Tensor, fft_size: int) -> torch.Tensor:
    """(..., size) to (..., fft_size // 2 + 1): squared magnitudes of frames zero-padded or cut to the FFT size."""
    spectrum = torch.view_as_real(torch.fft.rfft(frames, n=fft_size))  # (..., bins, 2)
    # Multiply, then add the two parts: on a CPU twice as fast as `abs() ** 2` or a sum over the last axis.
    squares = spectrum * spectrum
    return squares[..., 0] + squares[..., 1]


def magnitude_spectrum(frames: torch.Tensor, fft_size: int) -> torch.Tensor:
    """(..., size) to (..., fft_size // 2 + 1). The gradient of a silent bin is zero, not infinite."""
    power = power_spectrum(frames, fft_size)
    return power.clamp_min_(torch.finfo(power.dtype).tiny).sqrt_()


def apply_preemphasis(clip: torch.Tensor, coefficient: float, zeros_after: int = 0) -> torch.Tensor:
    """x[n] - coefficient * x[n - 1] of a clip, (..., samples); the first sample is kept, zeros are appended."""
    rest = torch.sub(clip[..., 1:], clip[..., :-1], alpha=coefficient)
    return torch.cat([clip[..., :1], rest, clip.new_zeros(*clip.shape[:-1], zeros_after)], -1)


def cache_table(table: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Cache the last 32 tables. `torch.compile` traces the plain function instead, without the cache's warning."""
    keeping = functools.lru_cache(maxsize=32)(table)

    @functools.wraps(table)
    def look_up(*settings):
        return (table if torch.compiler.is_compiling() else keeping)(*settings)

    look_up.cache_clear = keeping.cache_clear
    return look_up


@cache_table
def periodic_hann(size: int) -> np.ndarray:
    """(size,), float64: one period of a raised cosine, zero at the first sample only."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
