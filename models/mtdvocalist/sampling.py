"""Which windows VocaLiST and its student train on: where in a clip, with which sound, and what to do about silence.

The rules are those of xjchenGit/MTDVocaLiST@5795416, train_MTD.py. A draw goes wrong (None) where a clip is quiet; the
caller takes another clip then, as the authors do:

    starts = num_window_starts(len(faces))
    pair = draw_window_pair(starts, lambda start: window_loudness(window_samples(start)), generator)

All draws come from the `torch.Generator` that is passed in, so a draw is a function of its state.
"""

import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

FEWEST_FRAMES = 26  # the authors skip clips of 25 frames or fewer (their 25-frame models: of 250)
WINDOW_FRAMES = 5
LOUD_FROM = 0.01  # RMS that a window has to exceed, full scale being 1: -40 dB
DRAWS_AMONG_QUIET = 11

SWAPPED_PAIRS = ((0, 0), (1, 1), (0, 1), (1, 0))  # of two windows: video, sound; the first two are in sync
SWAPPED_LABELS = (1.0, 1.0, 0.0, 0.0)


def num_window_starts(
    num_frames: int, *, window_frames: int = WINDOW_FRAMES, fewest_frames: int = FEWEST_FRAMES
) -> int:
    """How many windows a clip offers to training; 0 where it is left out for being short.

    The last whole window counts. (The authors' evaluation leaves that one out.)

    Args:
        num_frames: pictures of the clip that have sound.
        window_frames: pictures per window.
        fewest_frames: clips of fewer are left out.

    Raises:
        ValueError: a window without a frame.
    """
    if window_frames < 1:
        raise ValueError(f"`window_frames` must be at least 1, got {window_frames}.")
    return max(0, num_frames - window_frames + 1) if num_frames >= fewest_frames else 0


def window_loudness(samples: np.ndarray) -> float:
    """RMS of a window's sound; 1.0 for exact digital silence, which so counts as loud.

    The authors' code replaces an RMS of 0 by 1, and both uses of it (see [`draw_window_pair`]) are comparisons, so a
    muted stretch is taken for sound while faint noise is not.

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
        raise ValueError("`samples` are NaN or infinite somewhere; repair or drop the clip.")
    return loudness or 1.0


def draw_window_pair(
    num_windows: int,
    loudness: Callable[[int], float] | np.ndarray,
    generator: torch.Generator,
    *,
    least_gap: int = 1,
    loud_from: float = LOUD_FROM,
    draws_among_quiet: int = DRAWS_AMONG_QUIET,
) -> tuple[int, int, bool] | None:
    """A window of pictures and one of sound from the same clip, in sync or not.

    As the authors draw: the start of the pictures, each equally likely; a fair coin; then, in sync, the sound of the
    same start, loud or not, or, out of sync, the sound of another start, each equally likely. Where the pictures' own
    sound is louder than `loud_from`, any other start will do. Otherwise other starts are drawn, perhaps one of them
    more than once, until one is louder; after `draws_among_quiet` the clip is given up.

    So a pair in sync may be silent, and half of the pairs are in sync only among clips that are loud: a quiet clip
    fails by its negatives alone, never by its positives.

    Ours is `least_gap`. With it the pictures start only where some other start is far enough away, whatever the coin
    says: else a place in the clip could give the answer away.

    Args:
        num_windows: starts in the clip, see [`num_window_starts`].
        loudness: of the sound of each start, see [`window_loudness`]: (num_windows,), or a function of the start, which
            is called as rarely as possible (in sync: never).
        generator: on the CPU.
        least_gap: frames between the two starts of a pair out of sync, at least. 1 is the authors' choice: neighbours
            count as out of sync.
        loud_from: RMS that counts as sound when exceeded.
        draws_among_quiet: of starts, before a quiet clip is given up.

    Returns:
        The start of the pictures, the start of the sound, and whether they are in sync. None: take another clip.

    Raises:
        ValueError: no two starts are `least_gap` apart, a `least_gap` or `draws_among_quiet` below 1, or a `loudness`
            of another shape.
    """
    num_windows, least_gap = operator.index(num_windows), operator.index(least_gap)
    if least_gap < 1:
        raise ValueError(f"`least_gap` must be at least 1 frame, got {least_gap}.")
    if num_windows <= least_gap:
        raise ValueError(
            f"`num_windows` ({num_windows}) must be above `least_gap` ({least_gap}): no two starts are so far apart; "
            "leave such a clip out."
        )
    if draws_among_quiet < 1:
        raise ValueError(f"`draws_among_quiet` must be at least 1, got {draws_among_quiet}.")
    if not callable(loudness):
        values = np.asarray(loudness)
        if values.shape != (num_windows,):
            raise ValueError(f"`loudness` must have the shape ({num_windows},), got {values.shape}.")
        loudness = values.__getitem__

    # Starts with another one `least_gap` away: those at both ends, or all where the ends overlap.
    at_each_end = num_windows - least_gap
    if 2 * at_each_end >= num_windows:
        video_start = _draw(num_windows, generator)
    else:
        video_start = _draw(2 * at_each_end, generator)
        video_start += (video_start >= at_each_end) * (num_windows - 2 * at_each_end)

    if _draw(2, generator):
        return video_start, video_start, True

    before = max(0, video_start - least_gap + 1)  # starts that are early enough, from 0 on
    after = max(0, num_windows - video_start - least_gap)  # and late enough, from video_start + least_gap on
    own_sound_is_loud = loudness(video_start) > loud_from
    for _ in range(draws_among_quiet):
        audio_start = _draw(before + after, generator)
        if audio_start >= before:
            audio_start += video_start + least_gap - before
        if own_sound_is_loud or loudness(audio_start) > loud_from:
            return video_start, audio_start, False
    return None


def draw_two_windows(
    num_windows: int,
    loudness: Callable[[int], float] | np.ndarray,
    generator: torch.Generator,
    *,
    least_gap: int = 1,
) -> tuple[int, int] | None:
    """The starts of two windows of one clip, both loud, to be compared each with its own sound and with the other's.

    This is not how the authors draw. Each picture and each sound is in sync as often as not in every batch, so nothing
    but how they go together tells the label, and a network leaves the plateau at a loss of 0.69 many times sooner.
    Compare them by `pairs=SWAPPED_PAIRS`.

    Args: as [`draw_window_pair`].

    Returns:
        Two starts, at least `least_gap` frames apart. None: none were found; take another clip.

    Raises:
        ValueError: as [`draw_window_pair`].
    """
    value_of = loudness if callable(loudness) else np.asarray(loudness).__getitem__
    for _ in range(4 * DRAWS_AMONG_QUIET):  # half of them are in sync, which is one window only
        drawn = draw_window_pair(num_windows, loudness, generator, least_gap=least_gap, draws_among_quiet=1)
        if drawn is not None and not drawn[2] and min(value_of(drawn[0]), value_of(drawn[1])) > LOUD_FROM:
            return drawn[:2]
    return None


def join_windows(items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Samples that hold some windows and the pairs among them to one batch, the data collator of both ways to draw.

    Every entry is joined along its first axis; `pairs`, which count within a sample, count within the batch then.

    Args:
        items: each with `pixel_values` (windows, ...), `input_features` (windows, ...), `pairs` (pairs, 2) and whatever
            else has an entry per window or pair.
    """
    batch = {name: torch.cat([item[name] for item in items]) for name in items[0] if name != "pairs"}
    pairs, first = [], torch.zeros(2, dtype=torch.long)
    for item in items:
        pairs.append(item["pairs"] + first)
        first = first + torch.tensor([len(item["pixel_values"]), len(item["input_features"])])
    return {**batch, "pairs": torch.cat(pairs)}


def _draw(count: int, generator: torch.Generator) -> int:
    """A whole number from 0 to count - 1."""
    return int(torch.randint(count, (), generator=generator))
