"""Active speaker detection: a video in; for each face, when it is the one that is heard."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.checks import check_number, check_whole_number
from avzoo.models.talknce.audio_encoders import ROWS_PER_FRAME
from avzoo.models.talknce.processing_talknce import check_durations
from avzoo.pipelines.active_speaker_detection.segments import find_segments, speaking_frames
from avzoo.pipelines.active_speaker_detection.streaming import LiveFace, LiveScene, average_scores
from avzoo.pipelines.shared.face_videos import FaceVideoPipeline, open_face_video
from avzoo.rates import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, SAMPLING_RATE
from avzoo.video import Track, iter_track_crops
from avzoo.video.sound_chunks import SoundChunks

_CHUNK_FRAMES = 1500  # a minute of a track is scored at once
_MAX_CHUNK_FRAMES = 15000


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter out of range."""
    for name in ("every", "smoothing"):
        if name in parameters:
            check_whole_number(name, parameters[name], at_least=1)
    for name in ("max_faces", "batch_size"):
        if parameters.get(name) is not None:
            check_whole_number(name, parameters[name], at_least=1)
    if parameters.get("smoothing", 1) % 2 == 0:
        raise ValueError(f"`smoothing` must be an odd number of frames, got {parameters['smoothing']}.")
    if parameters.get("threshold") is not None:
        check_number("threshold", parameters["threshold"])
    for name in ("min_segment", "max_gap"):
        if name in parameters:
            check_number(name, parameters[name], at_least=0, unit="seconds")
    if parameters.get("durations") is not None:
        check_durations(parameters["durations"])


class ActiveSpeakerDetectionPipeline(FaceVideoPipeline):
    """`transformers.pipeline("active-speaker-detection")`: which of the faces is speaking, and when?

        detect = pipeline("active-speaker-detection", model=folder)
        for face in detect("meeting.mp4"):
            print(face["track_id"], face["label"], face["segments"])

    Shots and faces are found first, then every face is scored by what it does and what is heard, with LoCoNet also by
    what the faces beside it do. Each frame of a face goes through the network's large part once, whatever windows and
    contexts it is in.

    The video is read twice, block by block. A track is scored in chunks of a minute, counted from its first frame;
    a chunk, and what overlaps it, is let go of when it is scored. So memory grows with the faces that are seen at the
    same time, about 25 MB each, and not with the video's length. Windows lie in chunks as they lie in whole tracks,
    as long as a minute, or another time of up to ten, is a multiple of all `durations`; elsewhere windows begin anew
    with each chunk. Any frame rate is brought to 25 per second by its time stamps. Where a sound track ends before
    the picture, silence follows; silence is scored as it is.

    The pipeline calls the processor's crops and features and a [`LiveScene`] instead of `processor(...)` and `forward`:
    those take a whole scene at once, and would encode each face frame once per window and per face it is context of.

    Takes a path, the bytes of a file, an `avzoo.video.Video`, a row of `datasets`, or a list of these; frames in memory
    need their rate, so wrap them in a `Video`.

    Parameters, at construction or at each call:
        faces: who to look at: None (toyworld's drawn faces in its videos, YuNet elsewhere), "yunet", "s3fd", "drawn",
            "frame" (the video is already cropped to one face), a path of boxes (.csv, .json), `FaceTracks`, or a
            detector.
        detector_model: YuNet's ONNX file or the folder of a converted S3FD.
        max_faces: keep only as many tracks, the largest and longest.
        every: look for faces in every n-th frame only; boxes between are interpolated.
        durations: seconds of the windows whose scores are averaged. None: what the processor says of the weights.
        threshold: minimum score that counts as speaking. None: 0.5 for probabilities, 0 for logits.
        smoothing: frames over which scores are averaged before they are compared, odd; 1: none.
        min_segment: seconds; shorter segments are left out.
        max_gap: seconds; pauses up to it do not end a segment.
        batch_size: face frames per forward pass.
        return_scores: with boxes, scores and decisions of each frame.
        progress: bars on stderr.

    Returns, per video, a list of one dict per face track (empty if nobody was seen):
        track_id, start, end: seconds.
        label: "speaking" if it has a segment, else "not speaking".
        score: mean over the frames in which it speaks, or over all if it doesn't; a probability or a logit, as the
            processor's `score` says.
        segments: [{start, end, score}] in which it speaks, seconds; score: mean over the segment.
        boxes: (frames, 4), x1, y1, x2, y2 in pixels, 25 per second from `start` on.
        scores: (frames,). speaking: (frames,), whether the smoothed score reaches the threshold.
    """

    task_name = "active-speaker-detection"
    steps = (
        ("faces", "detector_model", "max_faces", "every", "progress"),
        ("durations", "batch_size", "progress"),
        ("threshold", "smoothing", "min_segment", "max_gap", "return_scores"),
    )
    check_parameters = staticmethod(check_parameters)

    def preprocess(
        self,
        video: Any,
        faces: Any = None,
        detector_model: str | os.PathLike | None = None,
        max_faces: int | None = None,
        every: int = 1,
        progress: bool = False,
    ) -> dict[str, Any]:
        options = {"max_faces": max_faces, "every": every, "progress": progress}
        reader, tracks = open_face_video(
            video, faces, detector_model, FRAMES_PER_SECOND, "nobody in it can be heard", **options
        )
        return {"reader": reader, "tracks": tracks}

    def _forward(
        self,
        model_inputs: dict[str, Any],
        durations: Sequence[float] | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> dict[str, Any]:
        reader, tracks = model_inputs["reader"], model_inputs["tracks"]
        durations = self.processor.durations if durations is None else durations
        scorer = _ChunkScorer(
            LiveScene(self.model, batch_size or self._batch_size or 128),
            self.processor,
            SoundChunks(reader, SAMPLING_RATE, FRAMES_PER_SECOND),
            tracks.tracks,
            durations,
        )

        def read_blocks() -> Iterator[np.ndarray]:
            position = 0
            with tqdm(total=tracks.num_frames, unit="frame", desc="speakers", disable=not progress) as bar:
                for block in reader.frames(FRAMES_PER_SECOND):
                    yield block  # and when the next is asked for, all faces in it were added
                    position += len(block)
                    scorer.advance(position)
                    bar.update(len(block))

        if tracks.tracks:
            for place, _, crops in iter_track_crops(read_blocks(), tracks.tracks, self.processor.convention):
                scorer.add(place, torch.from_numpy(crops))
        return {"tracks": tracks, "scores": [np.concatenate(parts) for parts in scorer.scores]}

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        threshold: float | None = None,
        smoothing: int = 5,
        min_segment: float = 0.0,
        max_gap: float = 0.2,
        return_scores: bool = True,
    ) -> list[dict[str, Any]]:
        if threshold is None:
            threshold = 0.5 if self.processor.score == "probability" else 0.0
        records = []
        for track, scores in zip(model_outputs["tracks"].tracks, model_outputs["scores"], strict=True):
            segments = find_segments(
                scores,
                threshold,
                smoothing=smoothing,
                min_duration=min_segment,
                max_gap=max_gap,
                first_frame=track.start_frame,
            )
            speaking = speaking_frames(scores, threshold, smoothing)
            meant = scores[speaking] if segments and speaking.any() else scores  # what the label is about
            record = {
                "track_id": track.track_id,
                "start": track.start_frame / FRAMES_PER_SECOND,
                "end": track.stop_frame / FRAMES_PER_SECOND,
                "label": "speaking" if segments else "not speaking",
                "score": float(meant.mean()),
                "segments": segments,
            }
            if return_scores:
                record["boxes"] = track.boxes.tolist()
                record["scores"] = scores.tolist()
                record["speaking"] = speaking.tolist()
            records.append(record)
        return records


class _ChunkScorer:
    """Scores all tracks of a video chunk by chunk, their faces coming block by block."""

    def __init__(
        self, scene: LiveScene, processor: Any, sound: SoundChunks, tracks: Sequence[Track], durations: Sequence[float]
    ):
        self.scene, self.processor, self.sound, self.tracks, self.durations = scene, processor, sound, tracks, durations
        length = choose_chunk_frames(durations)
        sound.keep = 2 + -(-length // sound.chunk_frames)
        # (frame after its last, place of the track, first frame): in the order in which they can be scored
        self.chunks = sorted(
            (min(start + length, track.stop_frame), place, start)
            for place, track in enumerate(tracks)
            for start in range(track.start_frame, track.stop_frame, length)
        )
        starts = np.array([start for _, _, start in self.chunks], dtype=np.int64)
        self.oldest = np.minimum.accumulate(starts[::-1])[::-1]  # first frame that this chunk or a later one needs
        self.done = 0
        self.live: dict[int, LiveFace] = {}
        self.seen: dict[int, LiveFace] = {}
        self.beginnings: dict[int, np.ndarray] = {}
        self.scores: list[list[np.ndarray]] = [[] for _ in tracks]

    def add(self, place: int, pixels: torch.Tensor) -> None:
        """The next crops of a track."""
        if place not in self.live:
            self.live[place] = self.seen[place] = self.scene.enter(self.tracks[place].start_frame, place)
        self.live[place].add(pixels)

    def advance(self, position: int) -> None:
        """All faces of the frames before `position` were added: score what is whole, forget what nothing needs."""
        for place in [place for place in self.live if self.tracks[place].stop_frame <= position]:
            self.live.pop(place).end()
        while self.done < len(self.chunks) and self.chunks[self.done][0] <= position:
            stop, place, start = self.chunks[self.done]
            logits = self.scene.logits(self.seen[place], start, stop, self._rows(place, start, stop), self.durations)
            self.scores[place].append(average_scores(logits, self.processor.score))
            if stop == self.tracks[place].stop_frame:
                del self.seen[place]
                self.beginnings.pop(place, None)
            self.done += 1
        self.scene.forget(position if self.done == len(self.chunks) else min(position, self.oldest[self.done]))

    def _rows(self, place: int, start: int, stop: int) -> torch.Tensor:
        """(4 * frames, bins) of a chunk, equal to those of the whole track's sound.

        Rows reach over the ends of a frame, so a frame more is heard on each side that the track has. At a track's end
        rows are missing, and are taken from its beginning: that is laid before the sound, and its rows are cut off.
        """
        track = self.tracks[place]
        before, after = int(start > track.start_frame), int(stop < track.stop_frame)
        samples = self.sound.between(start - before, stop + after)
        if before:
            samples = np.concatenate([self.beginnings[place], samples])
        elif after:
            self.beginnings[place] = samples[:SAMPLES_PER_FRAME].copy()
        skipped = 2 * before
        rows = self.processor.audio_rows(torch.from_numpy(samples), skipped + stop - start + after)
        return rows[ROWS_PER_FRAME * skipped : ROWS_PER_FRAME * (skipped + stop - start)]


def choose_chunk_frames(durations: Sequence[float]) -> int:
    """Choose the length of the chunks a track is scored in so that windows of all durations end with them, if possible.

    The most up to a minute, else the fewest up to ten minutes; else as many as whole windows of the longest duration
    fit into a minute, at least one.
    """
    lengths = [round(duration * FRAMES_PER_SECOND) for duration in durations]
    step = math.lcm(*lengths)
    if step > _MAX_CHUNK_FRAMES:
        step = max(lengths)
    return step * max(1, _CHUNK_FRAMES // step)


__all__ = ["ActiveSpeakerDetectionPipeline"]
