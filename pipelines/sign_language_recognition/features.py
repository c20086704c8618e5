"""Frames that come block by block to what the network makes of the whole clip, in bounded memory.

What the pathways make of a frame depends on some frames around it only, so a long clip is cut into chunks that overlap
by as many: the features are those of the whole. At the true ends of a clip a chunk has no more frames than the clip,
since the network's zero border there is not the same as frames. The temporal convolutions follow chunk by chunk; only
their steps, a quarter of the frames, are kept for the LSTM, which reads the whole clip in both directions.
"""

from collections.abc import Iterator
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
        self._first = 0  # padded frame that is the first of `_frames`
        self._frames = np.zeros((0, 0, 0, 3), np.uint8)
        self._last: np.ndarray | None = None
        self._is_finished = False

    def add(self, frames: np.ndarray) -> torch.Tensor:
        """The next frames, (frames, crop_size, crop_size, 3) uint8; returns (frames, channels), padding included."""
        if self._is_finished:
            raise ValueError(f"the clip was finished after {self.num_frames} frames; make another stream.")
        if not len(frames):
            return self._empty()
        if self._last is None:
            self._frames = np.repeat(frames[:1], self.edge, axis=0)
        self._frames = np.concatenate([self._frames, frames])
        self._last = frames[-1:].copy()
        self.num_frames += len(frames)
        return self._run_chunks()

    def finish(self) -> torch.Tensor:
        """The clip ends here: the features that were waiting for frames behind it; none the second time.

        Raises:
            ValueError: there was no frame.
        """
        if self._last is None:
            raise ValueError("`video` has no frames.")
        total = self.processor.count_padded(self.num_frames)
        if self._is_finished:
            return self._empty()
        self._is_finished = True
        missing = total - self._first - len(self._frames)
        self._frames = np.concatenate([self._frames, np.repeat(self._last, missing, axis=0)])
        parts = [self._run_chunks()]
        if self.done < total:
            parts.append(self._run(total, total))
        return torch.cat(parts)

    def _run_chunks(self) -> torch.Tensor:
        """All chunks that are not the last."""
        parts = []
        while True:
            there = self._first + len(self._frames)
            if self.hop is None:
                stop, is_ready = self._first + self.max_frames - self.behind, len(self._frames) > self.max_frames
            else:
                stop = self.done + self.hop
                is_ready = there >= stop + self.reach
            if not is_ready:
                return torch.cat(parts) if parts else self._empty()
            parts.append(self._run(stop, stop + self.behind))

    def _run(self, stop: int, seen: int) -> torch.Tensor:
        """Features of the frames from `done` to `stop`, looking at what is held of those before `seen`."""
        frames = self._frames[: seen - self._first]
        lacking, mask = -len(frames) % self.alpha, None
        if lacking:  # they fill a slow frame, as in a batch
            frames = np.concatenate([frames, np.repeat(frames[-1:], lacking, axis=0)])
            mask = torch.ones(1, len(frames), dtype=torch.long, device=self.model.device)
            mask[:, -lacking:] = 0
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
        features = self.model.get_frame_features(pixels[None].to(self.model.device), mask)[0]
        features = features[self.done - self._first : stop - self._first].cpu()
        self.done = stop
        forgotten = max(0, stop - self.before - self._first)
        self._frames, self._first = self._frames[forgotten:].copy(), self._first + forgotten
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
        self._features = torch.zeros(0, config.slow_size + config.fast_size)

    def add(self, features: torch.Tensor) -> torch.Tensor:
        """(frames, channels) to (steps, hidden_size), the steps that have all their frames now."""
        self._features = torch.cat([self._features, features])
        count = (len(self._features) - self.seen_frames) // self.step_frames + 1
        if count < 1:
            return torch.zeros(0, self.model.config.hidden_size)
        seen = (count - 1) * self.step_frames + self.seen_frames
        steps = self.model.head.convolve(self._features[None, :seen].to(self.model.device, self.model.dtype))[0].cpu()
        self._features = self._features[count * self.step_frames :].clone()
        return steps


def compute_steps(
    model: Any, processor: Any, blocks: Iterator[np.ndarray], max_frames: int = MAX_FRAMES
) -> tuple[torch.Tensor, int]:
    """Steps of a clip, (steps, hidden_size), and the number of its frames; args as of [`FeatureStream`]."""
    features, steps = FeatureStream(model, processor, max_frames), StepStream(model)
    parts = [steps.add(features.add(block)) for block in blocks]
    parts.append(steps.add(features.finish()))
    return torch.cat(parts), features.num_frames


def recognize_steps(model: Any, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(steps, hidden_size) to the logits behind the LSTM and before it, (steps, vocab_size) each, float32."""
    hidden_states = steps[None].to(model.device, model.dtype)
    lengths = torch.tensor([len(steps)], device=model.device)
    sequence = model.head.lstm(hidden_states, lengths)
    return tuple(model.classifier(states)[0].float().cpu() for states in (sequence, hidden_states))


__all__ = ["FeatureStream", "StepStream", "compute_steps", "count_context_frames", "recognize_steps"]
