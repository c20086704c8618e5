"""Faces that come block by block: each frame is encoded once, scored among the others, and forgotten."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from avzoo.checks import check_number
from avzoo.models.talknce.audio_encoders import ROWS_PER_FRAME
from avzoo.models.talknce.scenes import FaceTrack, SceneScorer, encode_frames
from avzoo.models.talknce.visual_encoder import REACH
from avzoo.rates import FRAMES_PER_SECOND, SAMPLES_PER_FRAME


def average_scores(logits: torch.Tensor, meaning: str) -> np.ndarray:
    """Average (durations, frames, 2) logits of [`SceneScorer`] over durations, to (frames,) scores.

    Args:
        meaning: "probability" of speaking, or "logit", of the class "speaking" alone as in TalkNet's demo.
    """
    scores = logits.softmax(-1)[..., 1] if meaning == "probability" else logits[..., 1]
    return scores.double().mean(0).numpy()


class LiveScene:
    """The faces of a video as they come. What is held of them can be scored; the rest is forgotten.

    Any run of frames gives the scores of a clip that ends there: the scorer encodes frames at its ends again, all
    others are encoded once, when they come.

    Args:
        model: LoCoNet or TalkNet.
        batch_size: face frames that go through the network together.
    """

    def __init__(self, model: Any, batch_size: int = 128):
        self.model, self.batch_size = model, batch_size
        self.faces: list[LiveFace] = []

    def enter(self, start: int, number: int) -> "LiveFace":
        """A face whose first frame is `start`. Of faces that fit equally as context, the lowest number goes first."""
        face = LiveFace(self.model, start, number, self.batch_size)
        self.faces.append(face)
        self.faces.sort(key=lambda face: (face.number, face.start))
        return face

    def logits(
        self, face: "LiveFace", start: int, stop: int, input_features: torch.Tensor, durations: Sequence[float]
    ) -> torch.Tensor:
        """(durations, frames, 2) of one face from `start` to before `stop`, the other faces being its context.

        Args:
            input_features: (4 * frames, bins), what is heard meanwhile.
            durations: seconds of the windows, which lie back to back from `start` on.
        """
        # Only the target's sound is listened to.
        silence = input_features.new_zeros(1, 1)
        parts = [face.part(start, stop, input_features)]
        for other in self.faces:
            first, last = max(start, other.start), min(stop, other.stop)
            if other is not face and first < last:
                rows = silence.expand(ROWS_PER_FRAME * (last - first), input_features.shape[1])
                parts.append(other.part(first, last, rows))
        return SceneScorer(self.model, parts, self.batch_size).logits(0, durations)

    def forget(self, frame: int) -> None:
        """Let go of what lies before a frame."""
        self.faces = [face for face in self.faces if not face.ended or face.stop > frame]
        for face in self.faces:
            face.forget(frame)


class LiveFace:
    """One face of a [`LiveScene`], from `start` to before `stop` so far."""

    def __init__(self, model: Any, start: int, number: int, batch_size: int):
        self.model, self.number, self.batch_size = model, number, batch_size
        self.start = self.stop = start
        self.ended = False
        self.pixels = _FrameBuffer(start)
        self.features = _FrameBuffer(start - REACH)
        self.waiting: list[torch.Tensor] = []  # pixels not encoded yet, and four frames before them

    def add(self, pixels: torch.Tensor) -> None:
        """(frames, rows, columns) uint8, the next frames."""
        if not self.waiting:
            self.waiting = [torch.zeros_like(pixels[:1]).expand(2 * REACH, -1, -1)]
        self.pixels.append(pixels)
        self.stop += len(pixels)
        self._queue(pixels)

    def end(self) -> None:
        """The face is gone: what its last frames look like beside a missing face is known now."""
        self.ended = True
        self._queue(torch.zeros_like(self.waiting[0][:1]).expand(2 * REACH, -1, -1))

    def part(self, start: int, stop: int, input_features: torch.Tensor) -> FaceTrack:
        """The face from `start` to before `stop`, frames that are still held."""
        self._encode_waiting()
        features = self.features.between(start - REACH, stop + REACH)
        return FaceTrack(start, self.pixels.between(start, stop), input_features, features)

    def forget(self, frame: int) -> None:
        self.pixels.drop_before(frame)
        self.features.drop_before(frame - REACH)

    def _queue(self, pixels: torch.Tensor) -> None:
        self.waiting.append(pixels)
        if self.ended or sum(map(len, self.waiting)) - 2 * REACH >= self.batch_size:
            self._encode_waiting()

    def _encode_waiting(self) -> None:
        pixels = torch.cat(self.waiting)
        if len(pixels) > 2 * REACH:
            self.features.append(encode_frames(self.model, pixels, self.batch_size))
            self.waiting = [pixels[-2 * REACH :].clone()]


class _FrameBuffer:
    """Values of consecutive frames: new ones come at the end, old ones are dropped at the beginning."""

    def __init__(self, first: int):
        self.first, self.pieces = first, []  # the frame of the first value

    def append(self, values: torch.Tensor) -> None:
        self.pieces.append(values)

    def drop_before(self, frame: int) -> None:
        while self.pieces and self.first + len(self.pieces[0]) <= frame:
            self.first += len(self.pieces.pop(0))

    def between(self, start: int, stop: int) -> torch.Tensor:
        """Values of the frames from `start` to before `stop`; 0 for those that are not held."""
        result = self.pieces[0].new_zeros(stop - start, *self.pieces[0].shape[1:])
        first = self.first
        for piece in self.pieces:
            begin, end = max(start, first), min(stop, first + len(piece))
            if begin < end:
                result[begin - start : end - start] = piece[begin - first : end - first]
            first += len(piece)
        return result


class StreamedScores(NamedTuple):
    """Scores (frames,) of one face, its first frame counted from the beginning of the stream."""

    track_id: int
    start_frame: int
    scores: np.ndarray


class StreamingActiveSpeaker:
    """Who is speaking, while it is said.

        stream = StreamingActiveSpeaker(model, processor)
        for faces, samples in camera:                      # {track_id: (frames, 112, 112)}, (640 * frames,)
            for track_id, start_frame, scores in stream.add(faces, samples):
                ...
        rest = stream.finish()

    Every `hop` seconds the last `window` seconds are scored as a clip, as long as the face is in it, and the scores of
    the frames that were not scored yet are, except for the last `lookahead` seconds, which the next clip can judge
    better. So a frame is scored at most `hop` + `lookahead` seconds after it was shown, plus the time to compute: each
    face frame is encoded once, and about 4 more per face and hop. What comes is cut to blocks in no way that matters:
    any blocks give the same scores.

    Args:
        model: LoCoNet or TalkNet. processor: the [`ActiveSpeakerProcessor`] that belongs to it.
        window: seconds, what a frame is judged by.
        hop: seconds from one clip to the next.
        lookahead: seconds of the future that a frame is judged by at least. The networks were trained with all of it;
            frames at the end of a clip are the least certain.
        batch_size: face frames that go through the network together.

    Raises:
        ValueError: a time below a frame (`lookahead`: below 0), or a window that does not hold a hop and the lookahead.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        window: float = 2.0,
        hop: float = 0.4,
        lookahead: float = 0.2,
        batch_size: int = 128,
    ):
        for name, value, least in (("window", window, 0.04), ("hop", hop, 0.04), ("lookahead", lookahead, 0)):
            check_number(name, value, at_least=least, unit="seconds")
        self.window, self.hop, self.lookahead = (round(x * FRAMES_PER_SECOND) for x in (window, hop, lookahead))
        if self.window < self.hop + self.lookahead:
            raise ValueError(f"`window` ({window}) must hold `hop` ({hop}) and `lookahead` ({lookahead}).")
        self.processor, self.scene = processor, LiveScene(model, batch_size)
        self.position = self.num_scored = 0  # frames that came, and that were scored
        self.due = self.hop  # where the next clip ends
        self._seen: dict[int, LiveFace] = {}
        self._names: dict[LiveFace, int] = {}
        self._sound, self._sound_start = np.zeros(0, np.float32), 0

    @property
    def latency(self) -> float:
        """Seconds after which a frame is scored at the latest, without the time to compute."""
        return (self.hop + self.lookahead) / FRAMES_PER_SECOND

    def add(self, faces: Mapping[int, Any], audio: Any) -> list[StreamedScores]:
        """The next frames.

        Args:
            faces: {track_id: (frames, size, size) uint8}, grey crops of the processor's convention, of the faces that
                are there in all of these frames. One that is missing here has gone, and may come back.
            audio: (samples,), 640 per frame: mono at 16 kHz in [-1, 1].

        Returns:
            What could be scored now, in order of frames.

        Raises:
            ValueError: samples that aren't whole frames, crops of another number of frames, size or type.
        """
        audio = np.asarray(audio, np.float32)
        frames, rest = divmod(audio.size, SAMPLES_PER_FRAME)
        if audio.ndim != 1 or rest:
            raise ValueError(f"`audio` must be (samples,), {SAMPLES_PER_FRAME} for each frame, got {audio.shape}.")
        size = self.processor.frame_size
        crops = {track_id: torch.as_tensor(values) for track_id, values in faces.items()}
        for track_id, values in crops.items():
            if values.shape != (frames, size, size) or values.dtype != torch.uint8:
                raise ValueError(
                    f"`faces[{track_id}]` must be {(frames, size, size)} uint8, as many frames as `audio` has, got "
                    f"{tuple(values.shape)} {values.dtype}."
                )
        if not frames:
            return []
        for track_id in self._seen.keys() - crops.keys():
            self._seen.pop(track_id).end()
        for track_id, values in crops.items():
            if track_id not in self._seen:
                face = self._seen[track_id] = self.scene.enter(self.position, track_id)
                self._names[face] = track_id
            self._seen[track_id].add(values)
        self._sound = np.concatenate([self._sound, audio])
        self.position += frames
        scored = []
        while self.due <= self.position:
            scored += self._score_clip(self.due, self.due - self.lookahead)
            self.due += self.hop
            self._forget(max(0, min(self.due, self.position) - self.window))  # the stream may end here
        return scored

    def finish(self) -> list[StreamedScores]:
        """What was not scored yet, judged by the last clip."""
        for track_id in list(self._seen):
            self._seen.pop(track_id).end()
        return self._score_clip(self.position, self.position)

    def _score_clip(self, clip_stop: int, stop: int) -> list[StreamedScores]:
        """Scores up to before `stop`, of the clip that ends at `clip_stop`."""
        clip_start, scored = max(0, clip_stop - self.window), []
        for face in self.scene.faces:
            first, last = max(clip_start, face.start), min(clip_stop, face.stop)
            begin, end = max(self.num_scored, first), min(stop, last)
            if begin >= end:
                continue
            samples = [(frame - self._sound_start) * SAMPLES_PER_FRAME for frame in (first, last)]
            rows = self.processor.audio_rows(torch.from_numpy(self._sound[slice(*samples)]), last - first)
            logits = self.scene.logits(face, first, last, rows, [(last - first) / FRAMES_PER_SECOND])
            scores = average_scores(logits, self.processor.score)[begin - first : end - first]
            scored.append(StreamedScores(self._names[face], begin, scores))
        self.num_scored = max(self.num_scored, stop)
        return sorted(scored, key=lambda one: (one.start_frame, one.track_id))

    def _forget(self, frame: int) -> None:
        self.scene.forget(frame)
        self._names = {face: self._names[face] for face in self.scene.faces}
        self._sound = self._sound[(frame - self._sound_start) * SAMPLES_PER_FRAME :]
        self._sound_start = frame


__all__ = ["LiveScene", "StreamedScores", "StreamingActiveSpeaker", "average_scores"]
