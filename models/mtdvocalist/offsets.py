"""Every window of a video against the sound around it: the scores that an offset is read off.

Each video window and each audio window goes through its encoder once; only the cross-modal encoders, a fiftieth of the
work, run on the pairs, and only on pairs that exist. Encoding every pair anew, as the authors' evaluation does, takes
twenty times the arithmetic for the same numbers.
"""

from collections.abc import Iterator

import torch
from torch import nn
from tqdm import tqdm

from avzoo.metrics.synchronization import clip_offset, mask_impossible_pairs

from .windows import check_audio_windows, check_video_windows

WINDOWS_AT_ONCE = 8  # through the visual encoder; its feature maps are what needs memory, 10 MB for each window
PAIRS_AT_ONCE = 64


class OffsetScorer:
    """Scores of a clip that may still be growing: windows go in as they come, rows come out as soon as they can.

        scorer = OffsetScorer(model)
        for video_windows, audio_windows in live:
            rows = scorer.add(video_windows, audio_windows)
        rows = scorer.finish()

    Row i holds window i of the video against windows i - max_shift ... i + max_shift of the sound; it is ready when the
    last of these is there. What is kept is features of the last few windows, whatever the length of the clip.

    Args:
        model: [`VocaLiSTForSequenceClassification`] in evaluation mode.
        max_shift: frames to both sides.
        stride: rows of every stride-th window only: the work shrinks accordingly.
        windows_at_once, pairs_at_once: per forward pass.

    Raises:
        ValueError: a number out of its range, a model in training mode (its batch norms would mix windows).
    """

    def __init__(
        self,
        model: nn.Module,
        max_shift: int = 15,
        *,
        stride: int = 1,
        windows_at_once: int = WINDOWS_AT_ONCE,
        pairs_at_once: int = PAIRS_AT_ONCE,
    ):
        check_scoring(model, max_shift, stride, windows_at_once, pairs_at_once)
        self.model, self.max_shift, self.stride = model, max_shift, stride
        self.windows_at_once, self.pairs_at_once = windows_at_once, pairs_at_once
        self.num_video = self.num_audio = 0  # windows that came so far: the number of the next one
        self._video: dict[int, torch.Tensor] = {}  # features of rows that wait, by window
        self._audio: dict[int, torch.Tensor] = {}  # features that a waiting or later row needs, by window

    def lead(self, num_windows: int) -> None:
        """Say that so many windows of sound come before the one that belongs to the first window of video.

        A face that appears in the middle of a recording has sound before it, which may be the sound of its lips.
        """
        if num_windows < 0 or self.num_video or self.num_audio:
            raise ValueError("`num_windows` must be at least 0 and be told before the first window comes.")
        self.num_audio = -num_windows

    def add(self, video_windows: torch.Tensor | None = None, audio_windows: torch.Tensor | None = None) -> torch.Tensor:
        """Take the next windows of either stream or of both, as many as there are.

        Args:
            video_windows: (n, frames, 3, rows, columns). audio_windows: (m, 1, num_mel_bins, columns).

        Returns:
            (rows, 2 * max_shift + 1) float32 on the CPU: the rows that are complete now, in order; logits, -inf where
            there is no such window. Column j is audio window i + j - max_shift.
        """
        if video_windows is not None and len(video_windows):
            check_video_windows(video_windows, self.model.config, "video_windows")
            first = -self.num_video % self.stride
            wanted = video_windows[first :: self.stride]
            if len(wanted):
                features = encoded_video(self.model, wanted, self.windows_at_once)
                numbers = range(self.num_video + first, self.num_video + len(video_windows), self.stride)
                self._video.update(zip(numbers, features, strict=True))
            self.num_video += len(video_windows)
        if audio_windows is not None and len(audio_windows):
            check_audio_windows(audio_windows, self.model.config, "audio_windows")
            features = encoded_audio(self.model, audio_windows)
            self._audio.update(enumerate(features, start=self.num_audio))
            self.num_audio += len(audio_windows)
        return self._rows([row for row in self._video if row + self.max_shift < self.num_audio])

    def finish(self) -> torch.Tensor:
        """The rows that were still waiting for sound; what does not come any more is -inf in them."""
        return self._rows(list(self._video))

    def _rows(self, ready: list[int]) -> torch.Tensor:
        video = torch.stack([self._video.pop(row) for row in ready]) if ready else None
        shifts = range(-self.max_shift, self.max_shift + 1)
        scores = torch.full((len(ready), len(shifts)), -torch.inf)
        pairs = [
            (place, column, row + shift)
            for place, row in enumerate(ready)
            for column, shift in enumerate(shifts)
            if row + shift in self._audio
        ]
        if pairs:
            places, columns, partners = zip(*pairs, strict=True)
            needed = sorted(set(partners))
            audio = torch.stack([self._audio[window] for window in needed])
            position = {window: place for place, window in enumerate(needed)}
            of_pairs = scored_pairs(
                self.model, video, audio, list(places), [position[window] for window in partners], self.pairs_at_once
            )
            scores[list(places), list(columns)] = of_pairs
        oldest = min(self._video, default=self.num_video) - self.max_shift
        self._audio = {window: features for window, features in self._audio.items() if window >= oldest}
        return scores


def score_offsets(
    model: nn.Module,
    video_windows: torch.Tensor,
    audio_windows: torch.Tensor,
    max_shift: int = 15,
    *,
    stride: int = 1,
    coarse_step: int = 1,
    protocol: str = "exact",
    windows_at_once: int = WINDOWS_AT_ONCE,
    pairs_at_once: int = PAIRS_AT_ONCE,
    progress: bool = False,
) -> torch.Tensor:
    """[`VocaLiSTForSequenceClassification.score_offsets`]; see there."""
    check_scoring(model, max_shift, stride, windows_at_once, pairs_at_once)
    if protocol not in ("exact", "official"):
        raise ValueError(f'`protocol` must be "exact" or "official", got {protocol!r}.')
    if protocol == "official" and (stride, coarse_step) != (1, 1):
        raise ValueError('`protocol`="official" scores every pair; leave `stride` and `coarse_step` at 1.')
    if coarse_step < 1 or coarse_step > max(max_shift, 1):
        raise ValueError(f"`coarse_step` must be from 1 to `max_shift` ({max_shift}), got {coarse_step!r}.")
    if len(video_windows) != len(audio_windows) or not len(video_windows):
        raise ValueError(
            f"`video_windows` and `audio_windows` must be the same windows of a clip, at least one, got "
            f"{len(video_windows)} and {len(audio_windows)}."
        )
    if coarse_step > 1:
        video_windows = video_windows[::stride]
        how = windows_at_once, pairs_at_once, progress
        return _coarse_to_fine(model, video_windows, audio_windows, max_shift, stride, coarse_step, *how)
    num_windows = len(video_windows)
    if protocol == "official":
        # Beyond the end there are windows of zeros, which the published numbers let compete in short clips.
        beyond = audio_windows.new_zeros(max_shift, *audio_windows.shape[1:])
        audio_windows = torch.cat([audio_windows, beyond])
    scorer = OffsetScorer(model, max_shift, stride=stride, windows_at_once=windows_at_once, pairs_at_once=pairs_at_once)
    rows, block = [], 4 * windows_at_once
    with tqdm(total=num_windows, unit="window", desc="offsets", disable=not progress) as bar:
        for start in range(0, num_windows, block):
            stop = min(start + block, num_windows)
            # The sound runs ahead of the picture by as much as a row needs, so that few rows wait.
            ahead = audio_windows[scorer.num_audio : max(stop + max_shift, scorer.num_audio)]
            rows.append(scorer.add(video_windows[start:stop], ahead))
            bar.update(stop - start)
    scores = torch.cat([*rows, scorer.finish()])
    if protocol == "official":
        return torch.from_numpy(mask_impossible_pairs(scores.numpy(), protocol="official")).float()
    return scores


def _coarse_to_fine(
    model: nn.Module,
    video_windows: torch.Tensor,
    audio_windows: torch.Tensor,
    max_shift: int,
    stride: int,
    coarse_step: int,
    windows_at_once: int,
    pairs_at_once: int,
    progress: bool,
) -> torch.Tensor:
    """Shifts that are multiples of the step for all rows, then the neighbours of the best one; -inf elsewhere."""
    check_video_windows(video_windows, model.config, "video_windows")
    check_audio_windows(audio_windows, model.config, "audio_windows")
    video = encoded_video(model, video_windows, windows_at_once, progress)
    audio = encoded_audio(model, audio_windows)
    scores = torch.full((len(video), 2 * max_shift + 1), -torch.inf)

    def fill(shifts: range) -> None:
        pairs = [
            (row, shift)
            for row in range(len(video))
            for shift in shifts
            if abs(shift) <= max_shift and 0 <= row * stride + shift < len(audio)
        ]
        if pairs:
            rows, columns = [row for row, _ in pairs], [shift + max_shift for _, shift in pairs]
            partners = [row * stride + shift for row, shift in pairs]
            scores[rows, columns] = scored_pairs(model, video, audio, rows, partners, pairs_at_once)

    edge = max_shift // coarse_step * coarse_step
    fill(range(-edge, edge + 1, coarse_step))
    best = -clip_offset(scores).offset_frames
    fill(range(best - coarse_step + 1, best))
    fill(range(best + 1, best + coarse_step))
    return scores


@torch.no_grad()
def encoded_video(
    model: nn.Module, windows: torch.Tensor, windows_at_once: int = WINDOWS_AT_ONCE, progress: bool = False
) -> torch.Tensor:
    """(n, frames, 3, rows, columns) to features (n, frames, hidden_size) on the model's device."""
    encode, parts = model.vocalist.get_video_features, windows.split(windows_at_once)
    return torch.cat([encode(part.to(model.device)) for part in tqdm(parts, desc="windows", disable=not progress)])


@torch.no_grad()
def encoded_audio(model: nn.Module, windows: torch.Tensor) -> torch.Tensor:
    """(n, 1, num_mel_bins, columns) to features (n, columns, hidden_size) on the model's device."""
    encode = model.vocalist.get_audio_features
    return torch.cat([encode(part.to(model.device)) for part in windows.split(64)])


@torch.no_grad()
def scored_pairs(
    model: nn.Module,
    video: torch.Tensor,
    audio: torch.Tensor,
    rows: list[int],
    partners: list[int],
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> torch.Tensor:
    """Logits (pairs,), float32 on the CPU, of features `video[rows]` against `audio[partners]`."""

    def parts() -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), pairs_at_once):
            part = slice(start, start + pairs_at_once)
            yield model.score(video[rows[part]], audio[partners[part]]).float().cpu()

    return torch.cat(list(parts()))


def check_scoring(model: nn.Module, max_shift: int, stride: int, windows_at_once: int, pairs_at_once: int) -> None:
    """Raise a ValueError for a number out of its range, or a model in training mode."""
    for name, value, least in (
        ("max_shift", max_shift, 0),
        ("stride", stride, 1),
        ("windows_at_once", windows_at_once, 1),
        ("pairs_at_once", pairs_at_once, 1),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
    if model.training:
        raise ValueError("`model` is in training mode, where windows change each other; call model.eval().")
