"""Random training windows of VocaLiST and its student.

The rules are those of xjchenGit/MTDVocaLiST@5795416, train_MTD.py. A draw fails (None) in quiet clips; the caller then
takes another clip, as the authors do:

    starts = num_window_starts(len(faces))
    pair = draw_window_pair(starts, lambda start: window_loudness(window_samples(start)), generator)

All random numbers come from the `torch.Generator` that is passed in.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from avzoo.checks import check_whole_number

MIN_FRAMES = 26  # the authors skip clips of 25 frames or fewer (their 25-frame models: of 250 or fewer)
WINDOW_FRAMES = 5
LOUDNESS_THRESHOLD = 0.01  # RMS that a window must exceed: -40 dB of full scale
MAX_QUIET_DRAWS = 11

SWAPPED_PAIRS = ((0, 0), (1, 1), (0, 1), (1, 0))  # of two windows: video, sound; the first two are in sync
SWAPPED_LABELS = (1.0, 1.0, 0.0, 0.0)


def num_window_starts(num_frames: int, *, window_frames: int = WINDOW_FRAMES, min_frames: int = MIN_FRAMES) -> int:
    """Number of training windows of a clip; 0 if it is too short.

    The last whole window counts, unlike in the authors' evaluation.

    Args:
        num_frames: frames of the clip that have sound.
        window_frames: frames per window.
        min_frames: clips of fewer frames have no window.

    Raises:
        ValueError: `window_frames` below 1.
    """
    check_whole_number("window_frames", window_frames, at_least=1)
    return max(0, num_frames - window_frames + 1) if num_frames >= min_frames else 0


def window_loudness(samples: np.ndarray) -> float:
    """RMS of a window's sound; 1.0 for exact digital silence, which therefore counts as loud.

    The authors' code replaces an RMS of 0 by 1 and only compares it (see [`draw_window_pair`]), so muted sound counts
    as loud while faint noise does not.

    Args:
        samples: floating point, full scale [-1, 1], any shape.

    Raises:
        TypeError: integers; scale PCM to [-1, 1] first.
        ValueError: no samples, or NaN or infinite ones.
    """
    samples = np.asarray(samples)
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(f"`samples` must be floating point in [-1, 1], got {samples.dtype}.")
    if not samples.size:
        raise ValueError("`samples` is empty; a window needs sound.")
    loudness = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if not np.isfinite(loudness):
        raise ValueError("`samples` holds NaN or infinite values; repair or drop the clip.")
    return loudness or 1.0


def draw_window_pair(
    num_windows: int,
    loudness: Callable[[int], float] | np.ndarray,
    generator: torch.Generator,
    *,
    min_gap: int = 1,
    loudness_threshold: float = LOUDNESS_THRESHOLD,
    max_quiet_draws: int = MAX_QUIET_DRAWS,
) -> tuple[int, int, bool] | None:
    """Draw a video window and an audio window of one clip, in sync or not.

    The authors' procedure: draw the start of the video window uniformly, then toss a fair coin. In sync, the sound has
    the same start, loud or not. Out of sync, its start is drawn uniformly among the others: once if the sound at the
    start of the video window exceeds `loudness_threshold`, else repeatedly, with replacement, until the drawn sound
    exceeds it; after `max_quiet_draws` the draw fails.

    So a pair in sync may be silent, and half of the pairs are in sync only in loud clips: a quiet clip fails only when
    the pair is out of sync.

    `min_gap` is our addition. With it, the video window starts only where some other start is far enough away, whatever
    the coin says: otherwise the position in the clip could reveal the label.

    Args:
        num_windows: starts in the clip, see [`num_window_starts`].
        loudness: of the sound at each start, see [`window_loudness`]: (num_windows,), or a function of the start, which
            is called as rarely as possible (in sync: never).
        generator: on the CPU.
        min_gap: minimum distance of the two starts of a pair out of sync, frames. The authors' value is 1: neighbours
            count as out of sync.
        loudness_threshold: RMS above which sound counts as loud.
        max_quiet_draws: number of starts to draw before the draw fails.

    Returns:
        Start of the video window, start of the audio window, and whether they are in sync. None: take another clip.

    Raises:
        ValueError: no two starts are `min_gap` apart, `min_gap` or `max_quiet_draws` below 1, `loudness` of another
            shape.
    """
    check_whole_number("num_windows", num_windows)
    check_whole_number("min_gap", min_gap, at_least=1)
    check_whole_number("max_quiet_draws", max_quiet_draws, at_least=1)
    num_windows, min_gap = int(num_windows), int(min_gap)
    if num_windows <= min_gap:
        raise ValueError(
            f"`num_windows` ({num_windows}) must be above `min_gap` ({min_gap}): no two starts are that far apart; "
            "leave such a clip out."
        )
    if not callable(loudness):
        values = np.asarray(loudness)
        if values.shape != (num_windows,):
            raise ValueError(f"`loudness` must have the shape ({num_windows},), got {values.shape}.")
        loudness = values.__getitem__

    # Starts that have another one `min_gap` away: those at both ends of the clip, or all if the ends overlap.
    at_each_end = num_windows - min_gap
    if 2 * at_each_end >= num_windows:
        video_start = _draw(num_windows, generator)
    else:
        video_start = _draw(2 * at_each_end, generator)
        video_start += (video_start >= at_each_end) * (num_windows - 2 * at_each_end)

    if _draw(2, generator):
        return video_start, video_start, True

    before = max(0, video_start - min_gap + 1)  # number of starts early enough, from 0 on
    after = max(0, num_windows - video_start - min_gap)  # and late enough, from video_start + min_gap on
    is_loud = loudness(video_start) > loudness_threshold
    for _ in range(max_quiet_draws):
        audio_start = _draw(before + after, generator)
        if audio_start >= before:
            audio_start += video_start + min_gap - before
        if is_loud or loudness(audio_start) > loudness_threshold:
            return video_start, audio_start, False
    return None


def draw_two_windows(
    num_windows: int,
    loudness: Callable[[int], float] | np.ndarray,
    generator: torch.Generator,
    *,
    min_gap: int = 1,
) -> tuple[int, int] | None:
    """Draw the starts of two loud windows of one clip, each to be compared with its own sound and with the other's.

    The authors draw single pairs instead. Here every video window and every audio window occurs in sync and out of sync
    in the same batch, so neither alone reveals the label, and training leaves the plateau at a loss of 0.69 many times
    sooner. Compare them with `pairs=SWAPPED_PAIRS`.

    Args: as [`draw_window_pair`].

    Returns:
        Two starts, at least `min_gap` frames apart. None: take another clip.

    Raises:
        ValueError: as [`draw_window_pair`].
    """
    measure = loudness if callable(loudness) else np.asarray(loudness).__getitem__
    for _ in range(4 * MAX_QUIET_DRAWS):  # half of the draws are in sync, which is one window only
        drawn = draw_window_pair(num_windows, loudness, generator, min_gap=min_gap, max_quiet_draws=1)
        if drawn is not None and not drawn[2] and min(measure(drawn[0]), measure(drawn[1])) > LOUDNESS_THRESHOLD:
            return drawn[:2]
    return None


def join_windows(items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Collate samples of several windows and pairs into one batch.

    Entries are concatenated along the first axis; indices in `pairs`, relative to a sample, become relative to the
    batch.

    Args:
        items: each with `pixel_values` (windows, ...), `input_features` (windows, ...), `pairs` (pairs, 2), and other
            entries with one row per window or pair.
    """
    batch = {name: torch.cat([item[name] for item in items]) for name in items[0] if name != "pairs"}
    pairs, first = [], torch.zeros(2, dtype=torch.long)
    for item in items:
        pairs.append(item["pairs"] + first)
        first = first + torch.tensor([len(item["pixel_values"]), len(item["input_features"])])
    return {**batch, "pairs": torch.cat(pairs)}


def _draw(count: int, generator: torch.Generator) -> int:
    """Draw a whole number from 0 to count - 1."""
    return int(torch.randint(count, (), generator=generator))
