"""Glosses while they are signed, from the logits before the LSTM, which need no end of the video."""

from typing import Any, NamedTuple

import numpy as np
import torch

from avzoo.checks import check_whole_number
from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import GlossSpan, locate_glosses
from avzoo.pipelines.sign_language_recognition.features import FeatureStream, StepStream, count_context_frames


class StreamedGloss(NamedTuple):
    """A gloss that is over.

    Args:
        label: its name. start, end: seconds from the beginning of the stream, as the pipeline's, but for the end, which
            the next gloss can't cut since it is not known.
        score: its probability where it is largest, in [0, 1].
        frame: how many frames had come when it was told.
    """

    label: str
    start: float
    end: float
    score: float
    frame: int


class StreamingSignRecognizer:
    """Glosses of a camera's frames, in bounded memory however long it runs.

        recognizer = StreamingSignRecognizer(model, processor)
        for frames in camera:                        # (frames, height, width, 3) uint8, 25 per second
            for gloss in recognizer.add(frames):
                print(gloss.label)
        rest = recognizer.finish()

    Step k of the answer is of the frames 4k to 4k + 3. It needs the 6 frames behind these that its convolutions see,
    and the 47 behind those that the features depend on: `delay`, 53 frames, 2.1 s. Features are computed for `hop`
    frames at a time, so a step is known 53 to 53 + `hop` frames after its last frame. A gloss is told when the step
    behind its last one is known, by the most probable class of each step; adjacent equal glosses are one. What comes
    is the greedy answer of the head before the LSTM to the whole video, whatever blocks it comes in. The head behind
    the LSTM, which the pipeline asks, knows the whole sentence and makes fewer errors.

    Each hop costs the network `hop` + 100 frames.

    Args:
        model: [`SlowFastSignForCTC`]. processor: the [`SlowFastSignProcessor`] that belongs to it.
        hop: frames, a multiple of four.

    Attributes:
        delay: frames after a step's last one until it can be known.
        latency: seconds after which it is known at the latest, without the time to compute.
    """

    def __init__(self, model: Any, processor: Any, hop: int = 32):
        check_whole_number("hop", hop, at_least=1)
        self.model, self.processor = model, processor
        self._features, self._steps = FeatureStream(model, processor, hop=hop), StepStream(model)
        self.delay = count_context_frames(model.config)[1] + processor.edge_frames
        self.latency = (self.delay + hop) / processor.frame_rate
        self.num_steps = 0
        self._run: list[tuple[int, float]] = []  # steps of the gloss that goes on, and its probability in them
        self._label = model.config.pad_token_id  # of those steps
        self._told: tuple[int, GlossSpan] | None = None  # the last gloss

    def add(self, frames: Any) -> list[StreamedGloss]:
        """The next frames, (frames, height, width, 3) uint8 of any size; the glosses that ended."""
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"`frames` must be (frames, height, width, 3) uint8, got {frames.shape} {frames.dtype}.")
        return self.add_prepared(self.processor.prepare_frames(frames)) if len(frames) else []

    def add_prepared(self, frames: np.ndarray) -> list[StreamedGloss]:
        """The same of frames as the processor's `iter_frames` gives them."""
        with torch.no_grad():
            return self._read(self._steps.add(self._features.add(frames)))

    def finish(self) -> list[StreamedGloss]:
        """The video ends here; the glosses that were not told yet."""
        if not self._features.num_frames:
            return []
        with torch.no_grad():
            glosses = self._read(self._steps.add(self._features.finish()))
        return glosses + self._end_run()

    def _read(self, steps: torch.Tensor) -> list[StreamedGloss]:
        """Most probable classes of (steps, hidden_size), as glosses."""
        if not len(steps):
            return []
        logits = self.model.classifier(steps.to(self.model.device, self.model.dtype))
        scores, labels = logits.double().softmax(-1).max(-1)
        glosses = []
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
            if label != self._label:
                glosses += self._end_run()
                self._label = label
            if label != self.model.config.pad_token_id:
                self._run.append((self.num_steps, score))
            self.num_steps += 1
        return glosses

    def _end_run(self) -> list[StreamedGloss]:
        if not self._run:
            return []
        span = GlossSpan(self._run[0][0], self._run[-1][0], max(score for _, score in self._run))
        label, before = self._label, self._told
        self._run = []
        self._told = (label, span)
        if before is not None and before[0] == label:
            return []  # one with the last, which was told
        spans = [span] if before is None else [before[1], span]
        start, end = locate_glosses(
            spans,
            self._features.num_frames,
            self.processor.frame_rate,
            step_frames=self.processor.step_frames,
            edge_frames=self.processor.edge_frames,
        )[-1]
        return [StreamedGloss(self.processor.name_gloss(label), start, end, span.score, self._features.num_frames)]


__all__ = ["StreamedGloss", "StreamingSignRecognizer"]
