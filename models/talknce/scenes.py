"""Scoring the faces of a scene, window by window; each face frame is encoded once and reused by all windows.

A window is scored as if it were a clip of its own, and scores of several window lengths are averaged, as TalkNet's demo
does. Computed anew for each window, and for each face that is another's context, nearly all work would be done over and
over. Here the features of each frame are kept; only the two frames on each side of a cut, whose neighbours differ, are
computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from avzoo.rates import FRAMES_PER_SECOND

from .audio_encoders import ROWS_PER_FRAME
from .modeling_talknce import ActiveSpeakerDetector
from .visual_encoder import REACH

DURATIONS = (1, 2, 3, 4, 5, 6)  # seconds; those of TalkNet's demo


@dataclass
class FaceTrack:
    """One face of a scene.

    Args:
        start: the scene's frame in which it begins.
        pixel_values: (frames, rows, columns) uint8, grey.
        input_features: (4 * frames, bins), what is heard meanwhile.
        features: (frames + 4, channels), what [`encode_frames`] gives for the track and the two frames before and
            after it. None: computed anew.
    """

    start: int
    pixel_values: torch.Tensor
    input_features: torch.Tensor
    features: torch.Tensor | None = None

    @property
    def stop(self) -> int:
        """The scene's frame after its last."""
        return self.start + len(self.pixel_values)


class SceneScorer:
    """The faces of a scene, each frame encoded once, to be scored in any windows and contexts.

        scorer = SceneScorer(model, tracks)
        scores = scorer.scores(0, durations=(1, 2, 3, 4, 5, 6)).mean(0)  # logits of "speaking", one per frame

    Args:
        model: LoCoNet or TalkNet, in evaluation mode.
        tracks: all faces of the scene; one that LoCoNet scores has the others as its context.
        batch_size: face frames that go through the network together; bounds memory.
    """

    def __init__(self, model: ActiveSpeakerDetector, tracks: Sequence[FaceTrack], batch_size: int = 128):
        for index, track in enumerate(tracks):
            expected = (ROWS_PER_FRAME * len(track.pixel_values), model.num_bins)
            if track.pixel_values.ndim != 3 or not len(track.pixel_values):
                raise ValueError(
                    f"`tracks[{index}]`: `pixel_values` must be (frames, rows, columns) with at least one frame, got "
                    f"{tuple(track.pixel_values.shape)}."
                )
            if not model.accepts_size(track.pixel_values.shape[1:]):
                raise ValueError(
                    f"`tracks[{index}]`: pictures must be as large as the model's, {model.config.frame_size} pixels, "
                    f"got {tuple(track.pixel_values.shape[1:])}."
                )
            if tuple(track.input_features.shape) != expected:
                raise ValueError(
                    f"`tracks[{index}]`: `input_features` must be {expected} for {len(track.pixel_values)} frames, got "
                    f"{tuple(track.input_features.shape)}."
                )
        self.model, self.tracks, self.batch_size = model, list(tracks), batch_size
        self._features = [
            self._encode_track(track) if track.features is None else track.features for track in self.tracks
        ]

    def scores(self, target: int, durations: Sequence[float] = DURATIONS) -> torch.Tensor:
        """(durations, frames): the logit of "speaking" alone; see `logits`."""
        return self.logits(target, durations)[..., 1]

    @torch.no_grad()
    def logits(self, target: int, durations: Sequence[float] = DURATIONS) -> torch.Tensor:
        """(durations, frames, 2): logits of each frame of a track by windows of each duration; class 1 is speaking.

        Windows lie back to back from the track's first frame; the last one is shorter.

        Args:
            target: index of the track.
            durations: seconds.

        Raises:
            ValueError: a duration of less than a frame.
        """
        track, rows = self.tracks[target], []
        for duration in durations:
            length = round(duration * FRAMES_PER_SECOND)
            if length < 1:
                raise ValueError(f"`durations` must be at least a frame long, 0.04 s, got {duration}.")
            starts = range(track.start, track.stop, length)
            windows = [(start, min(start + length, track.stop)) for start in starts]
            # What comes after the trunk is a hundred times cheaper, and takes as much less memory.
            windows_per_batch = max(1, 16 * self.batch_size // (length * self.num_speakers))
            batches = [windows[i : i + windows_per_batch] for i in range(0, len(windows), windows_per_batch)]
            rows.append(torch.cat([self._score_windows(target, batch) for batch in batches]))
        return torch.stack(rows)

    @property
    def num_speakers(self) -> int:
        """Faces of a clip that the model takes."""
        return getattr(self.model.config, "num_speakers", 1)

    def context(self, target: int, start: int, stop: int) -> list[int]:
        """The tracks of a clip of the scene's frames from `start` to before `stop`, the target first.

        Others must be there in the middle frame; those that are there longest come first, then those with the lower
        index. Too few are repeated in turn; the target alone is repeated itself. (The authors draw at random.)
        """
        middle = (start + stop) // 2
        others = [
            (min(other.stop, stop) - max(other.start, start), index)
            for index, other in enumerate(self.tracks)
            if index != target and other.start <= middle < other.stop
        ]
        chosen = [index for _, index in sorted(others, key=lambda pair: (-pair[0], pair[1]))] or [target]
        return [target, *(chosen[i % len(chosen)] for i in range(self.num_speakers - 1))]

    def _score_windows(self, target: int, windows: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Logits of the target in windows of the scene, joined."""
        device, track = self.model.device, self.tracks[target]
        lengths = [stop - start for start, stop in windows]
        longest = max(lengths)
        faces = [self.context(target, start, stop) for start, stop in windows]
        features = torch.stack(
            [
                torch.stack([self._slice_features(index, start, start + longest) for index in chosen])
                for chosen, (start, stop) in zip(faces, windows, strict=True)
            ]
        )  # (windows, tracks, frames, channels); what lies behind a window's end is masked
        self._recompute_edges(features, faces, windows)
        audio = []
        for start, stop in windows:
            first, last = (ROWS_PER_FRAME * (frame - track.start) for frame in (start, stop))
            rows = track.input_features[first:last].to(device)
            audio.append(torch.nn.functional.pad(rows, (0, 0, 0, ROWS_PER_FRAME * longest - len(rows))))
        padded = None if min(lengths) == longest else torch.tensor(lengths, device=device)
        visual = self.model.visual.embed_features(features, padded)
        output = self.model.classify(self.model.embed_audio(torch.stack(audio), padded), visual, padded)
        logits = output.logits[:, 0].float()
        return torch.cat([row[:length] for row, length in zip(logits, lengths, strict=True)]).cpu()

    def _recompute_edges(
        self, features: torch.Tensor, faces: Sequence[Sequence[int]], windows: Sequence[tuple[int, int]]
    ) -> None:
        """Replace the features of frames whose neighbours in a clip are not those in their track."""
        joined = self.model.config.join_tracks
        places, runs = [], []
        for window, (chosen, (start, stop)) in enumerate(zip(faces, windows, strict=True)):
            length = stop - start
            edges = sorted({*range(min(REACH, length)), *range(max(0, length - REACH), length)})
            for place, index in enumerate(chosen):
                for offset in edges:
                    places.append((window, place, offset))
                    neighbours = []
                    for position in range(offset - REACH, offset + REACH + 1):
                        track, frame = divmod(place * length + position, length) if joined else (place, position)
                        beyond = not 0 <= track < len(chosen) or not 0 <= frame < length
                        neighbours.append(None if beyond else (chosen[track] if joined else index, start + frame))
                    runs.append(neighbours)
        for first in range(0, len(runs), self.batch_size):
            part = runs[first : first + self.batch_size]
            pixels = torch.stack([torch.stack([self._get_pixels(frame) for frame in run]) for run in part])
            face_mask = torch.tensor([[frame is not None for frame in run] for run in part], device=features.device)
            values = self.model.visual.normalize(pixels.to(features.device))
            values = values * face_mask[..., None, None].to(values.dtype)
            edge_features = self.model.visual.compute_inner_features(values)[:, 0]
            window, place, offset = torch.tensor(places[first : first + len(part)], device=features.device).T
            features[window, place, offset] = edge_features

    def _get_pixels(self, frame: tuple[int, int] | None) -> torch.Tensor:
        """One frame of a track, all 0 where the face is missing (and where nothing is, which is masked later)."""
        track = self.tracks[0 if frame is None else frame[0]]
        if frame is None or not track.start <= frame[1] < track.stop:
            return torch.zeros_like(track.pixel_values[0])
        return track.pixel_values[frame[1] - track.start]

    @torch.no_grad()
    def _encode_track(self, track: FaceTrack) -> torch.Tensor:
        """Features of a track and of the two frames before and after it, as it is among missing faces."""
        blank = torch.zeros_like(track.pixel_values[:1]).expand(2 * REACH, -1, -1)
        return encode_frames(self.model, torch.cat([blank, track.pixel_values, blank]), self.batch_size)

    def _slice_features(self, index: int, start: int, stop: int) -> torch.Tensor:
        """Kept features of the scene's frames from `start` to before `stop`."""
        track, kept = self.tracks[index], self._features[index]
        first = track.start - REACH  # the scene's frame of the first that is kept
        begin, end = max(start, first), min(stop, first + len(kept))
        if begin <= start and stop <= end:
            return kept[start - first : stop - first]
        result = self._missing_speaker.expand(stop - start, -1).clone()
        if begin < end:
            result[begin - start : end - start] = kept[begin - first : end - first]
        return result

    @cached_property
    def _missing_speaker(self) -> torch.Tensor:
        """Features of a missing face among missing ones, (channels,)."""
        blank = torch.zeros_like(self.tracks[0].pixel_values[:1]).expand(2 * REACH + 1, -1, -1)
        return encode_frames(self.model, blank)[0]


@torch.no_grad()
def encode_frames(model: ActiveSpeakerDetector, pixels: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Features of the frames of a face that have two neighbours on both sides.

    Args:
        pixels: (frames, rows, columns) uint8, grey.

    Returns:
        (frames - 4, channels), on the model's device.
    """
    parts = []
    for first in range(0, len(pixels) - 2 * REACH, batch_size):
        part = pixels[first : first + batch_size + 2 * REACH].to(model.device)
        parts.append(model.visual.compute_inner_features(model.visual.normalize(part)[None])[0])
    return torch.cat(parts)
