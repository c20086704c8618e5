"""Audio-visual synchronisation: a video in; for each face, by how many frames its voice is early or late."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.files import written_whole
from avzoo.metrics.synchronization import average_over_context, clip_offset, estimate_offsets
from avzoo.models.mtdvocalist.offsets import OffsetScorer
from avzoo.models.mtdvocalist.processing_vocalist import FRAMES_PER_SECOND, SAMPLING_RATE
from avzoo.pipelines.shared.face_videos import FaceVideoPipeline
from avzoo.video import Track, iter_track_crops
from avzoo.video.reading import VideoReader

_SOUND_BLOCK_FRAMES = 1500  # a minute of sound is read at once
_SILENCE = 1e-4  # a track whose loudest sample stays below has no voice to compare with


def check_parameters(parameters: dict[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter which cannot work."""
    least = {"max_shift": 1, "stride": 1, "context": 1, "tolerance": 0, "windows_at_once": 1, "max_faces": 1}
    for name, bound in least.items():
        value = parameters.get(name)
        shown = "batch_size" if name == "windows_at_once" else name
        if value is None and (name in ("max_faces", "windows_at_once") or name not in parameters):
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"`{shown}` must be a whole number, got {value!r}.")
        if value < bound:
            raise ValueError(f"`{shown}` must be at least {bound}, got {value}.")


class AudioVisualSynchronizationPipeline(FaceVideoPipeline):
    """`transformers.pipeline("audio-visual-synchronization")`: by how much is the sound out of time with the lips?

        sync = pipeline("audio-visual-synchronization", model=folder)
        for face in sync("clip.mp4"):
            print(face["track_id"], face["meaning"], face["confidence"])

    Shots and faces are found first, then every window of each face is compared with the sound up to `max_shift` frames
    away. The video is read twice, block by block, so memory does not grow with its length, and any frame rate is
    brought to 25 per second by its time stamps. Where a sound track ends before the picture, silence follows.

    Takes a path, the bytes of a file, an `avzoo.video.Video`, a row of `datasets`, or a list of these; frames in memory
    need their rate, so wrap them in a `Video`.

    Parameters, at construction or at each call:
        faces: who to look at: None (toyworld's drawn faces in its videos, YuNet elsewhere), "yunet", "s3fd", "drawn",
            "frame" (the frame shows one face box and nothing else, as in prepared data), a path of boxes (.csv, .json),
            `FaceTracks`, or a detector.
        detector_model: YuNet's ONNX file or the folder of a converted S3FD.
        max_faces: keep only as many tracks, the largest and longest.
        max_shift: frames to both sides; 15 is 0.6 s.
        stride: compare every stride-th window only, which is as many times faster.
        context: frames over which a window's scores are averaged for `windows`.
        tolerance: frames up to which a track is called in sync.
        min_confidence: below it, `in_sync` is None: the offset is not told by these lips. None: what the model's config
            says of its weights.
        return_windows: with what each window says.
        batch_size: windows per forward pass of the visual encoder.
        progress: bars on stderr.

    Returns, per video, a list of one dict per face track (empty if nobody was seen):
        track_id, start, end: seconds.
        offset_frames: positive: the sound comes early. offset_seconds: the same in seconds. None where nothing tells.
        meaning: the offset in words, and what to do.
        label: "in sync", "sound early", "sound late" or "unknown". in_sync: True, False or None.
        confidence, also as score: how far the mean logit at the best shift lies above the median over shifts.
        curve: {offset in frames: mean logit} over all shifts.
        windows: [{start, end, offset_frames, confidence, logit}], logit: in sync as it is (above 0) or not.
    """

    task_name = "audio-visual-synchronization"
    at_once = "windows_at_once"
    steps = (
        ("faces", "detector_model", "max_faces", "progress"),
        ("max_shift", "stride", "windows_at_once", "progress"),
        ("context", "tolerance", "min_confidence", "return_windows"),
    )
    check_parameters = staticmethod(check_parameters)

    def preprocess(
        self,
        video: Any,
        faces: Any = None,
        detector_model: str | os.PathLike | None = None,
        max_faces: int | None = None,
        progress: bool = False,
    ) -> dict[str, Any]:
        options = {"max_faces": max_faces, "progress": progress}
        reader, tracks = self.faces_of(
            video, faces, detector_model, FRAMES_PER_SECOND, "there is nothing to compare its lips with", **options
        )
        return {"reader": reader, "tracks": tracks}

    def _forward(
        self,
        model_inputs: dict[str, Any],
        max_shift: int = 15,
        stride: int = 1,
        windows_at_once: int | None = None,
        progress: bool = False,
    ) -> dict[str, Any]:
        reader, tracks = model_inputs["reader"], model_inputs["tracks"]
        options = {"stride": stride, "windows_at_once": windows_at_once or self._batch_size or 8}
        at_work = []
        for track in tracks.tracks:
            scorer = OffsetScorer(self.model, max_shift, **options)
            at_work.append(_TrackScores(scorer, self.processor, reader, track, tracks.num_frames))
        with tqdm(total=tracks.num_frames, unit="frame", desc="offsets", disable=not progress) as bar:
            frames = _counted(reader.frames(FRAMES_PER_SECOND), bar)
            for place, _, mouths in iter_track_crops(frames, tracks.tracks, self.processor.convention):
                at_work[place].add(self.processor.pixels(mouths))
        return {
            "tracks": tracks,
            "scores": [track.finish() for track in at_work],
            "loudest": [track.loudest for track in at_work],
            "stride": stride,
        }

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        context: int = 15,
        tolerance: int = 1,
        min_confidence: float | None = None,
        return_windows: bool = True,
    ) -> list[dict[str, Any]]:
        if min_confidence is None:
            min_confidence = self.model.config.min_confidence
        stride, window = model_outputs["stride"], self.processor.context_frames
        records = []
        for track, scores, loudest in zip(
            model_outputs["tracks"].tracks, model_outputs["scores"], model_outputs["loudest"], strict=True
        ):
            record = {
                "track_id": track.track_id,
                "start": track.start_frame / FRAMES_PER_SECOND,
                "end": track.stop_frame / FRAMES_PER_SECOND,
            }
            if not len(scores):
                record |= unknown(f"{len(track)} frames are less than one window of {window}")
            elif loudest < _SILENCE:
                record |= unknown("its sound is silent")
            else:
                record |= judged(scores.numpy(), tolerance, min_confidence)
                if return_windows:
                    record["windows"] = judged_windows(scores.numpy(), track.start_frame, stride, context, window)
            records.append(record)
        return records


class _TrackScores:
    """The scores of one face, its mouths and its sound coming block by block."""

    def __init__(self, scorer: OffsetScorer, processor: Any, reader: VideoReader, track: Track, num_frames: int):
        self.scorer, self.processor = scorer, processor
        first = max(0, track.start_frame - scorer.max_shift)  # sound from before the face came counts, too
        stop = min(num_frames, track.stop_frame + scorer.max_shift)
        scorer.lead(track.start_frame - first)
        self.sound = sound_blocks(reader, processor, first, stop, num_frames)
        self.held: torch.Tensor | None = None  # frames that later windows need
        self.rows: list[torch.Tensor] = []
        self.loudest = 0.0

    def add(self, pixels: torch.Tensor) -> None:
        pixels = pixels if self.held is None else torch.cat([self.held, pixels])
        context = self.processor.context_frames
        self.held = pixels[-(context - 1) :] if context > 1 else pixels[:0]
        if len(pixels) >= context:
            windows = self.processor.video_windows(pixels)
            self._hear(self.scorer.num_video + len(windows) + self.scorer.max_shift)
            self.rows.append(self.scorer.add(windows))

    def finish(self) -> torch.Tensor:
        """(windows, 2 * max_shift + 1); (0, ...) for a face that was there for less than a window."""
        return torch.cat([*self.rows, self.scorer.finish()])

    def _hear(self, upto: int) -> None:
        """Give the scorer the sound up to a window, as far as there is any."""
        while self.scorer.num_audio < upto and (block := next(self.sound, None)) is not None:
            windows, loudest = block
            self.loudest = max(self.loudest, loudest)
            self.rows.append(self.scorer.add(audio_windows=windows))


def sound_blocks(
    reader: VideoReader,
    processor: Any,
    first_frame: int,
    stop_frame: int,
    num_frames: int,
    block_frames: int = _SOUND_BLOCK_FRAMES,
) -> Iterator[tuple[torch.Tensor, float]]:
    """The audio windows that begin with consecutive frames, some at a time, equal to those of the whole sound.

    A mel column sees 400 samples to both sides, so a little more is read around each block; at the very beginning and
    end of the video the sound is mirrored, as for the whole.

    Args:
        first_frame, stop_frame: the video's frames whose sound is wanted; the last window ends before `stop_frame`.
        num_frames: of the video.

    Yields:
        (windows, 1, num_mel_bins, context_columns), and the loudest sample's level.
    """
    context = processor.context_frames
    margin = 5  # frames: more than a mel column sees, and a whole number of columns
    for start in range(first_frame, stop_frame - context + 1, block_frames):
        stop = min(start + block_frames, stop_frame - context + 1)  # of windows
        begin = max(0, start // 5 * 5 - margin)  # where a column begins with a frame
        end = min(stop - 1 + context + margin, num_frames)
        samples, _ = reader.soundtrack(SAMPLING_RATE, start=begin / FRAMES_PER_SECOND, end=end / FRAMES_PER_SECOND)
        log_mel = processor.log_mel(torch.from_numpy(samples))
        windows = processor.audio_windows(log_mel, stop - start, first_frame=start - begin)
        yield windows, float(np.abs(samples).max())


def judged(scores: np.ndarray, tolerance: int, min_confidence: float) -> dict[str, Any]:
    """What the scores of a track say of it: offset, confidence, both in words, and the curve they are read off."""
    found = clip_offset(scores)
    offset, sure = found.offset_frames, found.confidence >= min_confidence
    max_shift = len(found.curve) // 2
    seconds = offset / FRAMES_PER_SECOND
    if not sure:
        label, meaning = "unknown", f"these lips do not tell: the confidence is below {min_confidence:g}"
    elif offset == 0:
        label, meaning = "in sync", "the sound is in time"
    else:
        label = "in sync" if abs(offset) <= tolerance else "sound early" if offset > 0 else "sound late"
        early, delay = ("early", "delay") if offset > 0 else ("late", "advance")
        frames = f"{abs(offset)} frame{'s' if abs(offset) > 1 else ''} ({abs(seconds):.2f} s)"
        meaning = f"the sound comes {frames} {early}; {delay} it by {abs(seconds):.2f} s to repair"
    return {
        "label": label,
        "score": found.confidence,
        "offset_frames": offset if sure else None,
        "offset_seconds": seconds if sure else None,
        "meaning": meaning,
        "confidence": found.confidence,
        "in_sync": abs(offset) <= tolerance if sure else None,
        "curve": {
            max_shift - column: None if np.isnan(value) else float(value)
            for column, value in reversed(list(enumerate(found.curve)))
        },
    }


def unknown(why: str) -> dict[str, Any]:
    """A record's judgement where nothing could be compared."""
    return {
        "label": "unknown",
        "score": 0.0,
        "offset_frames": None,
        "offset_seconds": None,
        "meaning": f"nothing can be said: {why}",
        "confidence": 0.0,
        "in_sync": None,
        "curve": {},
        "windows": [],
    }


def judged_windows(
    scores: np.ndarray, first_frame: int, stride: int, context: int, window_frames: int
) -> list[dict[str, Any]]:
    """What each window says, its scores averaged with its neighbours' over `context` frames."""
    max_shift = scores.shape[1] // 2
    # With a stride, neighbours lie further apart and fewer of them fill the context.
    neighbours = window_frames + (max(context, window_frames) - window_frames) // stride
    averaged = average_over_context(scores, neighbours, window_frames=window_frames)
    windows = []
    for index, (row, offset) in enumerate(zip(averaged, estimate_offsets(averaged), strict=True)):
        possible = row[np.isfinite(row)]
        start = first_frame + index * stride
        windows.append(
            {
                "start": start / FRAMES_PER_SECOND,
                "end": (start + window_frames) / FRAMES_PER_SECOND,
                "offset_frames": int(offset),
                "confidence": float(possible.max() - np.median(possible)),
                "logit": float(scores[index, max_shift]),
            }
        )
    return windows


def most_confident(records: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record whose offset is to be believed for the whole file: of those that tell one, the surest."""
    return max(
        (record for record in records if record["offset_frames"] is not None),
        key=lambda record: record["confidence"],
        default=None,
    )


def plot_offsets(records: list[Mapping[str, Any]], path: str | os.PathLike) -> Path:
    """Draw the curve of each face over the offsets, and below it offset and confidence over time.

    Args:
        records: of one video, with windows.
        path: of the picture, .png, .pdf or .svg; it appears whole or not at all.

    Raises:
        ImportError: matplotlib is not there. ValueError: no record has a curve.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the picture is drawn with matplotlib: pip install 'avzoo[demo]'.") from error
    drawn = [record for record in records if record["curve"]]
    if not drawn:
        raise ValueError("there is no curve to draw: no face was compared with sound.")
    figure = Figure(figsize=(9, 8), layout="constrained")
    curves, offsets, confidences = figure.subplots(3, 1, height_ratios=[2, 1, 1])
    for number, record in enumerate(drawn):
        colour, name = f"C{number % 10}", f"face {record['track_id']}: {record['label']}"
        points = [(offset, value) for offset, value in record["curve"].items() if value is not None]
        curves.plot(*zip(*points, strict=True), color=colour, marker=".", label=name)
        if record["offset_frames"] is not None:
            curves.axvline(record["offset_frames"], color=colour, linestyle=":")
        windows = record.get("windows", [])
        times = [window["start"] for window in windows]
        offsets.plot(times, [window["offset_frames"] for window in windows], ".", color=colour)
        confidences.plot(times, [window["confidence"] for window in windows], color=colour)
    curves.set(xlabel="offset in frames of 40 ms: right of 0 the sound comes early", ylabel="mean logit")
    curves.legend()
    offsets.set(ylabel="offset (frames)")
    confidences.set(ylabel="confidence", xlabel="time (s)")
    for axis in (curves, offsets, confidences):
        axis.grid(alpha=0.3)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    return Path(path)


def _counted(blocks: Iterator[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block
        bar.update(len(block))


__all__ = ["AudioVisualSynchronizationPipeline", "most_confident", "plot_offsets"]
