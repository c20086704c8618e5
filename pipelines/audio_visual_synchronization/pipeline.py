"""Audio-visual synchronization: for each face of a video, the offset between its lips and the sound."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.checks import check_whole_number
from avzoo.models.mtdvocalist.offsets import DEFAULT_BATCH_SIZE, OffsetScorer
from avzoo.pipelines.audio_visual_synchronization.records import (
    describe_missing_offset,
    describe_offset,
    describe_windows,
)
from avzoo.pipelines.shared.face_videos import FaceVideoPipeline, open_face_video
from avzoo.rates import FRAMES_PER_SECOND, SAMPLING_RATE
from avzoo.video import Track, iter_track_crops
from avzoo.video.reading import VideoReader

_SOUND_BLOCK_FRAMES = 1500  # one minute
_SILENCE = 1e-4  # highest absolute sample below which a track has no voice to compare with


def check_parameters(parameters: dict[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter out of range."""
    for name, at_least in {"max_shift": 1, "stride": 1, "context": 1, "tolerance": 0}.items():
        if name in parameters:
            check_whole_number(name, parameters[name], at_least=at_least)
    for name in ("batch_size", "max_faces"):
        if parameters.get(name) is not None:
            check_whole_number(name, parameters[name], at_least=1)


class AudioVisualSynchronizationPipeline(FaceVideoPipeline):
    """`transformers.pipeline("audio-visual-synchronization")`: offset between the sound and the lips of each face.

        sync = pipeline("audio-visual-synchronization", model=folder)
        for face in sync("clip.mp4"):
            print(face["track_id"], face["meaning"], face["confidence"])

    Shots and faces are detected first, then every window of each face is compared with the sound up to `max_shift`
    frames away. The video is read twice, block by block, so memory does not grow with its length; any frame rate is
    resampled to 25 per second by its time stamps. If a sound track ends before the picture, silence follows.

    The pipeline calls the steps of the processor and an [`OffsetScorer`] instead of `processor(...)` and `forward`:
    these would encode each window again for each of its 2 * max_shift + 1 pairs, and hold the whole clip in memory.

    Takes a path, the bytes of a file, an `avzoo.video.Video`, a row of `datasets`, or a list of these; frames in memory
    need their rate, so wrap them in a `Video`.

    Parameters, at construction or at each call:
        faces: None (the detector for drawn faces in videos of toyworld, YuNet in others), "yunet", "s3fd", "drawn",
            "frame" (the video is already cropped to one face; skip detection), a path of boxes (.csv, .json),
            `FaceTracks`, or a detector.
        detector_model: YuNet's ONNX file or the folder of a converted S3FD.
        max_faces: keep only the so many largest and longest tracks.
        max_shift: frames to both sides; 15 is 0.6 s.
        stride: compare every stride-th window only, which is stride times faster.
        context: frames over which a window's scores are averaged for `windows`.
        tolerance: frames up to which a track counts as in sync.
        min_confidence: below it, the offset and `in_sync` are None. None: the value in the model's config.
        return_windows: include the offset of each window.
        batch_size: windows per forward pass of the visual encoder.
        progress: show bars on stderr.

    Returns, per video, a list of one dict per face track (empty if no face was found):
        track_id, start, end: seconds.
        offset_frames: positive: the sound is early. None if the offset is unknown, or changes.
        offset_seconds: the same in seconds.
        meaning: the offset in words, and how to repair it.
        label: "in sync", "sound early", "sound late", "changing" or "unknown".
        in_sync: True, False or None.
        segments: where the offset changes, its parts: [{start, end, offset_frames, offset_seconds, confidence}].
        drift: seconds by which the sound gets later each second, where it does so steadily; else None.
        confidence, also as score: the highest mean logit over shifts minus the median.
        curve: {offset in frames: mean logit} over all shifts.
        windows: [{start, end, offset_frames, confidence, logit}]; logit: of being in sync at offset 0 (above 0: yes).
    """

    task_name = "audio-visual-synchronization"
    steps = (
        ("faces", "detector_model", "max_faces", "progress"),
        ("max_shift", "stride", "batch_size", "progress"),
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
        reader, tracks = open_face_video(
            video, faces, detector_model, FRAMES_PER_SECOND, "there is nothing to compare its lips with", **options
        )
        return {"reader": reader, "tracks": tracks}

    def _forward(
        self,
        model_inputs: dict[str, Any],
        max_shift: int = 15,
        stride: int = 1,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> dict[str, Any]:
        reader, tracks = model_inputs["reader"], model_inputs["tracks"]
        options = {"stride": stride, "batch_size": batch_size or self._batch_size or DEFAULT_BATCH_SIZE}
        scorers = []
        for track in tracks.tracks:
            scorer = OffsetScorer(self.model, max_shift, **options)
            scorers.append(_TrackScorer(scorer, self.processor, reader, track, tracks.num_frames))
        with tqdm(total=tracks.num_frames, unit="frame", desc="offsets", disable=not progress) as bar:
            frames = _count_frames(reader.frames(FRAMES_PER_SECOND), bar)
            for index, _, mouths in iter_track_crops(frames, tracks.tracks, self.processor.convention):
                scorers[index].add(self.processor.to_pixel_values(mouths))
        return {
            "tracks": tracks,
            "scores": [scorer.finish() for scorer in scorers],
            "peak_levels": [scorer.peak_level for scorer in scorers],
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
        for track, scores, peak_level in zip(
            model_outputs["tracks"].tracks, model_outputs["scores"], model_outputs["peak_levels"], strict=True
        ):
            record = {
                "track_id": track.track_id,
                "start": track.start_frame / FRAMES_PER_SECOND,
                "end": track.stop_frame / FRAMES_PER_SECOND,
            }
            if not len(scores):
                record |= describe_missing_offset(f"{len(track)} frames, a window needs {window}")
            elif peak_level < _SILENCE:
                record |= describe_missing_offset("the sound is silent")
            else:
                record |= describe_offset(scores.numpy(), tolerance, min_confidence, track.start_frame, stride)
                if return_windows:
                    record["windows"] = describe_windows(scores.numpy(), track.start_frame, stride, context, window)
            records.append(record)
        return records


class _TrackScorer:
    """Scores of one face from mouth images that arrive block by block; reads the sound they are compared with."""

    def __init__(self, scorer: OffsetScorer, processor: Any, reader: VideoReader, track: Track, num_frames: int):
        self.scorer, self.processor = scorer, processor
        first = max(0, track.start_frame - scorer.max_shift)  # sound before the face appears is compared, too
        stop = min(num_frames, track.stop_frame + scorer.max_shift)
        scorer.set_audio_lead(track.start_frame - first)
        self.audio = iter_audio_windows(reader, processor, first, stop, num_frames)
        self.last_pixels: torch.Tensor | None = None  # frames that windows of the next block begin with
        self.rows: list[torch.Tensor] = []
        self.peak_level = 0.0

    def add(self, pixels: torch.Tensor) -> None:
        """Score the windows that end in this block, (frames, 3, rows, columns)."""
        pixels = pixels if self.last_pixels is None else torch.cat([self.last_pixels, pixels])
        context = self.processor.context_frames
        self.last_pixels = pixels[-(context - 1) :] if context > 1 else pixels[:0]
        if len(pixels) >= context:
            windows = self.processor.video_windows(pixels)
            self._add_audio(self.scorer.num_video + len(windows) + self.scorer.max_shift)
            self.rows.append(self.scorer.add(windows))

    def finish(self) -> torch.Tensor:
        """(windows, 2 * max_shift + 1); (0, ...) for a track shorter than a window."""
        return torch.cat([*self.rows, self.scorer.finish()])

    def _add_audio(self, stop_window: int) -> None:
        """Pass sound to the scorer up to a window, or to the end of the sound."""
        while self.scorer.num_audio < stop_window and (block := next(self.audio, None)) is not None:
            windows, peak_level = block
            self.peak_level = max(self.peak_level, peak_level)
            self.rows.append(self.scorer.add(audio_windows=windows))


def iter_audio_windows(
    reader: VideoReader,
    processor: Any,
    first_frame: int,
    stop_frame: int,
    num_frames: int,
    block_frames: int = _SOUND_BLOCK_FRAMES,
) -> Iterator[tuple[torch.Tensor, float]]:
    """Read the audio windows that begin with consecutive frames in blocks, equal to those of the whole sound.

    A mel column covers 400 samples to both sides, so each block is read with a margin; at the beginning and the end of
    the video the sound is mirrored, as for the whole.

    Args:
        first_frame: the video's frame that the first window begins with.
        stop_frame: the last window ends before it.
        num_frames: of the video.
        block_frames: windows per block.

    Yields:
        (windows, 1, num_mel_bins, context_columns), and the highest absolute sample of the block.
    """
    context = processor.context_frames
    margin = 5  # frames: more than a mel column covers, and a whole number of columns
    for start in range(first_frame, stop_frame - context + 1, block_frames):
        stop = min(start + block_frames, stop_frame - context + 1)  # of windows
        begin = max(0, start // 5 * 5 - margin)  # every fifth frame begins with a column
        end = min(stop - 1 + context + margin, num_frames)
        samples, _ = reader.soundtrack(SAMPLING_RATE, start=begin / FRAMES_PER_SECOND, end=end / FRAMES_PER_SECOND)
        log_mel = processor.log_mel(torch.from_numpy(samples))
        windows = processor.audio_windows(log_mel, stop - start, first_frame=start - begin)
        yield windows, float(np.abs(samples).max())


def _count_frames(blocks: Iterator[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block
        bar.update(len(block))


__all__ = ["AudioVisualSynchronizationPipeline"]
