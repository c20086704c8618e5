"""Frames that come block by block to what the network makes of the whole clip, in bounded memory.

What the pathways make of a frame depends on some frames around it only, so a long clip is cut into chunks that overlap
by as many: the features are those of the whole. At the true ends of a clip a chunk has no more frames than the clip,
since the network's zero border there is not the same as frames. The temporal convolutions follow chunk by chunk; only
their steps, a quarter of the frames, are kept for the LSTM, which reads the whole clip in both directions.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from avzoo.checks import check_whole_number

MAX_FRAMES = 312  # that go through the network at once: all clips of PHOENIX14 fit


def count_context_frames(config: Any) -> tuple[int, int]:
    """How many frames before and behind a frame its features depend on at most: (before, behind).

    52 and 47 for the released network. Each number follows one pathway through all layers: what either sees grows by
    half a kernel at each convolution along time, in the slow pathway times `alpha`; a fusion makes of the two the
    larger. A fast frame hears of the slow frame at its own place or up to alpha - 1 before it.
    """
    alpha, reaches = config.alpha, []
    for lag in (alpha - 1, 0):
        slow, fast = 0, 2  # the stems
        for depth, blocks, slow_kernel, fast_kernel in zip(
            config.depths, config.temporal_blocks, config.slow_kernels, config.fast_kernels, strict=True
        ):
            sent = fast if config.fusion == "fast_to_slow" else slow + lag
            slow, fast = max(slow, fast + config.fusion_kernel // 2), max(fast, sent)
            slow += alpha * (slow_kernel // 2) * min(depth, blocks)
            fast += fast_kernel // 2 * min(depth, blocks)
        reaches.append(max(fast, slow + lag))
    return reaches[0], reaches[1]


class GrowingRows:
    """Rows that are added at the end and dropped at the beginning, in one block of memory that doubles when it is full.

    Many small blocks between the large ones that a network takes and gives back would keep these from being joined
    again: the memory of a process would creep up with the length of a video.
    """

    def __init__(self):
        self._block: torch.Tensor | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: torch.Tensor) -> None:
        """Add (n, ...), of the first's size and type."""
        if not len(rows):
            return
        count = self._count + len(rows)
        if self._block is None or count > len(self._block):
            block = rows.new_empty(max(64, 2 * count), *rows.shape[1:])
            if self._block is not None:
                block[: self._count] = self.rows()
            self._block = block
        self._block[self._count : count] = rows
        self._count = count

    def drop(self, count: int) -> None:
        """Forget the first rows."""
        kept = self._count - count
        if count and kept:
            self._block[:kept] = self.rows()[count:].clone()
        self._count = kept

    def rows(self) -> torch.Tensor:
        """(n, ...), a view that holds until the next change."""
        return self._block[: self._count]


class FeatureStream:
    """Features of each frame of a clip whose frames come block by block, padded as the processor pads a whole clip.

        stream = FeatureStream(model, processor)
        for block in processor.iter_frames("news.mp4"):
            features = stream.add(block)  # (frames, channels), what is known by now
        features = stream.finish()

    Args:
        model: [`SlowFastSignForCTC`]. processor: the [`SlowFastSignProcessor`] that belongs to it.
        max_frames: that go through the network at once. A clip of no more, padding included, goes through it whole.
        hop: None: as few chunks as `max_frames` allows. Else frames from one chunk to the next, which is looked at as
            soon as the frames are there that it depends on; `max_frames` is not used.

    Raises:
        ValueError: `max_frames` has no room for the context of a chunk, or `hop` is no multiple of `alpha`.
    """

    def __init__(self, model: Any, processor: Any, max_frames: int = MAX_FRAMES, hop: int | None = None):
        self.model, self.processor = model, processor
        self.alpha, self.edge = model.config.alpha, processor.edge_frames
        before, self.reach = count_context_frames(model.config)
        self.before, self.behind = (-(-count // self.alpha) * self.alpha for count in (before, self.reach))
        if hop is None:
            least = self.before + self.behind + self.alpha
            if max_frames < least:
                raise ValueError(
                    f"`max_frames` must be at least {least}, got {max_frames}: a chunk needs {self.before} frames "
                    f"before it and {self.behind} behind it."
                )
            max_frames -= max_frames % self.alpha
        else:
            check_whole_number("hop", hop, at_least=1)
            if hop % self.alpha:
                raise ValueError(f"`hop` must be a multiple of {self.alpha} frames, got {hop}.")
        self.max_frames, self.hop = max_frames, hop
        self.num_frames = 0  # that came
        self.done = 0  # padded frames whose features are known
        self._first = 0  # padded frame that is the first of those held
        self._held = GrowingRows()
        self._is_finished = False

    def add(self, frames: np.ndarray) -> torch.Tensor:
        """The next frames, (frames, crop_size, crop_size, 3) uint8; returns (frames, channels), padding included."""
        if self._is_finished:
            raise ValueError(f"the clip was finished after {self.num_frames} frames; make another stream.")
        if not len(frames):
            return self._empty()
        values = torch.from_numpy(np.ascontiguousarray(frames))
        if not self.num_frames:
            self._held.append(values[:1].expand(self.edge, *values.shape[1:]))
        self._held.append(values)
        self.num_frames += len(frames)
        return self._run_chunks()

    def finish(self) -> torch.Tensor:
        """The clip ends here: the features that were waiting for frames behind it; none the second time.

        Raises:
            ValueError: there was no frame.
        """
        if not self.num_frames:
            raise ValueError("`video` has no frames.")
        total = self.processor.count_padded(self.num_frames)
        if self._is_finished:
            return self._empty()
        self._is_finished = True
        last = self._held.rows()[-1:]
        missing = total - self._first - len(self._held)
        self._held.append(last.clone().expand(missing, *last.shape[1:]))
        parts = [self._run_chunks()]
        if self.done < total:
            parts.append(self._run(total, total))
        return torch.cat(parts)

    def _run_chunks(self) -> torch.Tensor:
        """All chunks that are not the last."""
        parts = []
        while True:
            if self.hop is None:
                stop = self._first + self.max_frames - self.behind
                seen, is_ready = stop + self.behind, len(self._held) > self.max_frames
            else:
                stop = self.done + self.hop
                seen, is_ready = stop + self.reach, self._first + len(self._held) >= stop + self.reach
            if not is_ready:
                return torch.cat(parts) if parts else self._empty()
            parts.append(self._run(stop, seen))

    def _run(self, stop: int, seen: int) -> torch.Tensor:
        """Features of the frames from `done` to `stop`, looking at what is held of those before `seen`."""
        frames = self._held.rows()[: seen - self._first]
        lacking, mask = -len(frames) % self.alpha, None
        if lacking:  # they fill a slow frame, as in a batch
            frames = torch.cat([frames, frames[-1:].expand(lacking, *frames.shape[1:])])
            mask = torch.ones(1, len(frames), dtype=torch.long, device=self.model.device)
            mask[:, -lacking:] = 0
        pixels = frames[None].permute(0, 1, 4, 2, 3)
        features = self.model.get_frame_features(pixels.to(self.model.device), mask)[0]
        features = features[self.done - self._first : stop - self._first].cpu()
        self.done = stop
        forgotten = max(0, stop - self.before - self._first)
        self._held.drop(forgotten)
        self._first += forgotten
        return features

    def _empty(self) -> torch.Tensor:
        config = self.model.config
        return torch.zeros(0, config.slow_size + config.fast_size)


class StepStream:
    """The temporal convolutions' steps of frames whose features come block by block.

    Args:
        model: [`SlowFastSignForCTC`].
    """

    def __init__(self, model: Any):
        self.model, config = model, model.config
        self.step_frames, self.seen_frames = config.step_frames, config.step_frames + 2 * config.edge_frames
        self._features = GrowingRows()

    def add(self, features: torch.Tensor) -> torch.Tensor:
        """(frames, channels) to (steps, hidden_size), the steps that have all their frames now."""
        self._features.append(features)
        count = (len(self._features) - self.seen_frames) // self.step_frames + 1
        if count < 1:
            return torch.zeros(0, self.model.config.hidden_size)
        seen = self._features.rows()[None, : (count - 1) * self.step_frames + self.seen_frames]
        steps = self.model.head.convolve(seen.to(self.model.device, self.model.dtype))[0].cpu()
        self._features.drop(count * self.step_frames)
        return steps


def compute_steps(
    model: Any,
    processor: Any,
    blocks: Iterator[np.ndarray],
    max_frames: int = MAX_FRAMES,
    keep_features: Callable[[torch.Tensor], Any] | None = None,
) -> tuple[torch.Tensor, int]:
    """Steps of a clip, (steps, hidden_size), and the number of its frames.

    Args:
        model, processor, max_frames: of [`FeatureStream`].
        blocks: the frames of the clip, as the processor's `iter_frames` gives them.
        keep_features: is called with the features of each part, (frames, channels), padding included. None: they are
            forgotten once the steps that see them are computed.
    """
    features, stream, steps = FeatureStream(model, processor, max_frames), StepStream(model), GrowingRows()
    for part in itertools.chain(map(features.add, blocks), (features.finish() for _ in range(1))):
        steps.append(stream.add(part))
        if keep_features is not None:
            keep_features(part)
    return steps.rows(), features.num_frames


def recognize_steps(model: Any, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(steps, hidden_size) to the logits behind the LSTM and before it, (steps, vocab_size) each, float32."""
    hidden_states = steps[None].to(model.device, model.dtype)
    lengths = torch.tensor([len(steps)], device=model.device)
    sequence = model.head.lstm(hidden_states, lengths)
    return tuple(model.classifier(states)[0].float().cpu() for states in (sequence, hidden_states))


__all__ = ["FeatureStream", "GrowingRows", "StepStream", "compute_steps", "count_context_frames", "recognize_steps"]
