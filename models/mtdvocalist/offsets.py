"""Scores of every window of a video against the sound around it, from which offsets are estimated.

Each video window and each audio window is encoded once. Only the cross-modal encoders, a fiftieth of the work, run on
pairs of windows, and only on pairs that exist. Encoding every pair anew, as the authors' evaluation does, takes twenty
times the arithmetic for the same numbers.
"""

import torch
from torch import nn
from tqdm import tqdm

from avzoo.checks import check_choice, check_whole_number
from avzoo.metrics.synchronization import clip_offset, mask_impossible_pairs

from .windows import check_audio_windows, check_video_windows

DEFAULT_BATCH_SIZE = 8  # windows; the feature maps of the visual encoder need 10 MB for each
DEFAULT_PAIR_BATCH_SIZE = 64


class OffsetScorer:
    """Score a clip that may still be growing: add windows as they arrive, get the rows of scores that are complete.

        scorer = OffsetScorer(model)
        for video_windows, audio_windows in stream:
            rows = scorer.add(video_windows, audio_windows)
        rows = scorer.finish()

    Row i compares window i of the video with windows i - max_shift ... i + max_shift of the sound; it is complete when
    the last of these has arrived. Only features of the last few windows are kept, whatever the length of the clip.

    Args:
        model: [`VocaLiSTForSequenceClassification`] in evaluation mode.
        max_shift: frames to both sides.
        stride: score every stride-th window only; the work shrinks accordingly.
        batch_size: windows per forward pass of the visual encoder.
        pair_batch_size: pairs of windows per forward pass of the cross-modal encoders.

    Raises:
        ValueError: a number out of range, or a model in training mode (its batch norms would mix windows).
    """

    def __init__(
        self,
        model: nn.Module,
        max_shift: int = 15,
        *,
        stride: int = 1,
        batch_size: int = DEFAULT_BATCH_SIZE,
        pair_batch_size: int = DEFAULT_PAIR_BATCH_SIZE,
    ):
        check_arguments(model, max_shift, stride, batch_size, pair_batch_size)
        self.model, self.max_shift, self.stride = model, max_shift, stride
        self.batch_size, self.pair_batch_size = batch_size, pair_batch_size
        self.num_video = self.num_audio = 0  # windows added so far, which is the index of the next one
        self._video: dict[int, torch.Tensor] = {}  # window -> features, for rows still waiting for sound
        self._audio: dict[int, torch.Tensor] = {}  # window -> features, for waiting and later rows

    def set_audio_lead(self, num_windows: int) -> None:
        """Announce audio windows before the one that belongs to the first video window; call it before `add`.

        A face that appears in the middle of a recording may belong to sound that starts before it.
        """
        check_whole_number("num_windows", num_windows, at_least=0)
        if self.num_video or self.num_audio:
            raise ValueError("`set_audio_lead` must be called before the first `add`.")
        self.num_audio = -num_windows

    def add(self, video_windows: torch.Tensor | None = None, audio_windows: torch.Tensor | None = None) -> torch.Tensor:
        """Add the next windows of one stream or of both, in any number.

        Args:
            video_windows: (n, frames, 3, rows, columns).
            audio_windows: (m, 1, num_mel_bins, columns).

        Returns:
            (rows, 2 * max_shift + 1) float32 on the CPU: logits of the rows completed by this call, in order; -inf
            where there is no audio window. Column j is audio window i + j - max_shift.
        """
        if video_windows is not None and len(video_windows):
            check_video_windows(video_windows, self.model.config, "video_windows")
            first = -self.num_video % self.stride
            wanted = video_windows[first :: self.stride]
            if len(wanted):
                features = encode_video(self.model, wanted, self.batch_size)
                numbers = range(self.num_video + first, self.num_video + len(video_windows), self.stride)
                self._video.update(zip(numbers, features, strict=True))
            self.num_video += len(video_windows)
        if audio_windows is not None and len(audio_windows):
            check_audio_windows(audio_windows, self.model.config, "audio_windows")
            features = encode_audio(self.model, audio_windows)
            self._audio.update(enumerate(features, start=self.num_audio))
            self.num_audio += len(audio_windows)
        return self._pop_rows([row for row in self._video if row + self.max_shift < self.num_audio])

    def finish(self) -> torch.Tensor:
        """Return the rows still waiting for sound, with -inf for the audio windows that did not arrive."""
        return self._pop_rows(list(self._video))

    def _pop_rows(self, ready: list[int]) -> torch.Tensor:
        """Score the rows of these video windows and forget features that no later row needs."""
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
            scores[list(places), list(columns)] = score_pairs(
                self.model, video, audio, list(places), [position[window] for window in partners], self.pair_batch_size
            )
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
    batch_size: int = DEFAULT_BATCH_SIZE,
    pair_batch_size: int = DEFAULT_PAIR_BATCH_SIZE,
    progress: bool = False,
) -> torch.Tensor:
    """Implementation of [`VocaLiSTForSequenceClassification.score_offsets`], which documents it."""
    check_arguments(model, max_shift, stride, batch_size, pair_batch_size)
    check_choice("protocol", protocol, ("exact", "official"))
    if protocol == "official" and (stride, coarse_step) != (1, 1):
        raise ValueError('`protocol`="official" scores every pair; leave `stride` and `coarse_step` at 1.')
    check_whole_number("coarse_step", coarse_step, at_least=1, at_most=max(max_shift, 1))
    if len(video_windows) != len(audio_windows) or not len(video_windows):
        raise ValueError(
            f"`video_windows` and `audio_windows` must be the same windows of a clip, at least one, got "
            f"{len(video_windows)} and {len(audio_windows)}."
        )
    if coarse_step > 1:
        video_windows = video_windows[::stride]
        settings = batch_size, pair_batch_size, progress
        return _score_coarse_to_fine(model, video_windows, audio_windows, max_shift, stride, coarse_step, *settings)
    num_windows = len(video_windows)
    if protocol == "official":
        # The published numbers pad the sound with windows of zeros, and count their scores in short clips.
        padding = audio_windows.new_zeros(max_shift, *audio_windows.shape[1:])
        audio_windows = torch.cat([audio_windows, padding])
    scorer = OffsetScorer(model, max_shift, stride=stride, batch_size=batch_size, pair_batch_size=pair_batch_size)
    rows, block = [], 4 * batch_size
    with tqdm(total=num_windows, unit="window", desc="offsets", disable=not progress) as bar:
        for start in range(0, num_windows, block):
            stop = min(start + block, num_windows)
            # Sound is added max_shift windows ahead of the picture, as rows need it, so that few rows wait.
            ahead = audio_windows[scorer.num_audio : max(stop + max_shift, scorer.num_audio)]
            rows.append(scorer.add(video_windows[start:stop], ahead))
            bar.update(stop - start)
    scores = torch.cat([*rows, scorer.finish()])
    if protocol == "official":
        return torch.from_numpy(mask_impossible_pairs(scores.numpy(), protocol="official")).float()
    return scores


def _score_coarse_to_fine(
    model: nn.Module,
    video_windows: torch.Tensor,
    audio_windows: torch.Tensor,
    max_shift: int,
    stride: int,
    coarse_step: int,
    batch_size: int,
    pair_batch_size: int,
    progress: bool,
) -> torch.Tensor:
    """Score shifts that are multiples of the step, then all shifts around the best one; -inf elsewhere."""
    check_video_windows(video_windows, model.config, "video_windows")
    check_audio_windows(audio_windows, model.config, "audio_windows")
    video = encode_video(model, video_windows, batch_size, progress)
    audio = encode_audio(model, audio_windows)
    scores = torch.full((len(video), 2 * max_shift + 1), -torch.inf)

    def score_shifts(shifts: range) -> None:
        pairs = [
            (row, shift)
            for row in range(len(video))
            for shift in shifts
            if abs(shift) <= max_shift and 0 <= row * stride + shift < len(audio)
        ]
        if pairs:
            rows, columns = [row for row, _ in pairs], [shift + max_shift for _, shift in pairs]
            partners = [row * stride + shift for row, shift in pairs]
            scores[rows, columns] = score_pairs(model, video, audio, rows, partners, pair_batch_size)

    edge = max_shift // coarse_step * coarse_step
    score_shifts(range(-edge, edge + 1, coarse_step))
    best = -clip_offset(scores).offset_frames
    score_shifts(range(best - coarse_step + 1, best))
    score_shifts(range(best + 1, best + coarse_step))
    return scores


@torch.no_grad()
def encode_video(
    model: nn.Module, windows: torch.Tensor, batch_size: int = DEFAULT_BATCH_SIZE, progress: bool = False
) -> torch.Tensor:
    """(n, frames, 3, rows, columns) to features (n, frames, hidden_size) on the model's device."""
    encode, batches = model.vocalist.embed_video, windows.split(batch_size)
    return torch.cat([encode(batch.to(model.device)) for batch in tqdm(batches, desc="windows", disable=not progress)])


@torch.no_grad()
def encode_audio(model: nn.Module, windows: torch.Tensor) -> torch.Tensor:
    """(n, 1, num_mel_bins, columns) to features (n, columns, hidden_size) on the model's device."""
    encode = model.vocalist.embed_audio
    return torch.cat([encode(batch.to(model.device)) for batch in windows.split(64)])


@torch.no_grad()
def score_pairs(
    model: nn.Module,
    video: torch.Tensor,
    audio: torch.Tensor,
    rows: list[int],
    partners: list[int],
    pair_batch_size: int = DEFAULT_PAIR_BATCH_SIZE,
) -> torch.Tensor:
    """Logits (pairs,), float32 on the CPU, of features `video[rows]` against `audio[partners]`."""
    batches = [slice(start, start + pair_batch_size) for start in range(0, len(rows), pair_batch_size)]
    return torch.cat([model.score(video[rows[batch]], audio[partners[batch]]).float().cpu() for batch in batches])


def check_arguments(model: nn.Module, max_shift: int, stride: int, batch_size: int, pair_batch_size: int) -> None:
    """Raise a ValueError or TypeError for a number out of range, or a model in training mode."""
    check_whole_number("max_shift", max_shift, at_least=0)
    check_whole_number("stride", stride, at_least=1)
    check_whole_number("batch_size", batch_size, at_least=1)
    check_whole_number("pair_batch_size", pair_batch_size, at_least=1)
    if model.training:
        raise ValueError("`model` is in training mode, where batch norms mix windows; call model.eval().")
