"""Audio-visual separation of whole files: a video of people in, for each face its voice alone."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.audio import write_wav
from avzoo.pipelines.audio_visual_separation.pipeline import AVDiffuSSPipeline
from avzoo.pipelines.shared.face_detectors import WHOLE_FRAME
from avzoo.pipelines.shared.face_videos import open_face_video
from avzoo.pipelines.shared.recordings import read_once
from avzoo.video import FaceTracks, Track, crop_tracks, draw_boxes, render_video, track_colour
from avzoo.video.reading import VideoReader

QUIETEST_DB = -120.0


@dataclass(frozen=True)
class SeparatedVoice:
    """The voice of one face of a video.

    Args:
        track: where the face is, at 25 frames per second.
        audio: (samples,) float32, as long as the video's sound; silent where the face is not seen.
        initial_estimate: the same before the diffusion.
        mixture: (samples,), what is heard while the face is seen, and silence.
        sampling_rate: Hz.
    """

    track: Track
    audio: np.ndarray
    initial_estimate: np.ndarray
    mixture: np.ndarray
    sampling_rate: int

    @property
    def level_db(self) -> float:
        """Energy of the voice in dB of what is heard while the face is seen; a person who is silent is far below 0.

        -120 dB and less is -120 dB, which also stands for silence.
        """
        voice, mixture = (float(np.sum(np.square(part, dtype=np.float64))) for part in (self.audio, self.mixture))
        return 10 * float(np.log10(max(voice / mixture, 1e-12))) if mixture else QUIETEST_DB


def separate_faces(
    pipe: AVDiffuSSPipeline,
    video: Any,
    *,
    faces: Any = None,
    detector_model: str | os.PathLike | None = None,
    max_faces: int | None = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> tuple[list[SeparatedVoice], FaceTracks]:
    """Every face of a video, and what it says.

        voices, tracks = separate_faces(pipe, "interview.mp4", denoiser_only=True)
        write_wav("first.wav", voices[0].audio, voices[0].sampling_rate)

    The video is read twice, block by block; what is kept of it are its sound and small grey pictures of the faces.

    Args:
        pipe: the pipeline.
        video: a path, the bytes of a file, or an [`avzoo.video.Video`] with sound.
        faces: who to look at: None (toyworld's drawn faces in its videos, YuNet elsewhere), "yunet", "s3fd", "drawn",
            "frame" (the video is already cropped to one face), a path of boxes (.csv, .json), `FaceTracks`, or a
            detector.
        detector_model: YuNet's ONNX file or the folder of a converted S3FD.
        max_faces: keep only as many tracks, the largest and longest.
        seed: of the noise.
        progress: bars on stderr.
        options: of the pipeline's call, such as `num_inference_steps` or `batch_size`.

    Returns:
        A voice for each track, none if nobody was seen; and the tracks.

    Raises:
        ValueError: no sound; and what reading, detection and the pipeline raise.
    """
    video, processor = read_once(video), pipe.processor
    fps = processor.frames_per_second
    reader, tracks = open_face_video(
        video, faces, detector_model, fps, "there is nothing to separate", max_faces=max_faces, progress=progress
    )
    if isinstance(faces, str) and faces == WHOLE_FRAME:
        crops = [processor.video(video).numpy()]
    else:
        crops = crop_tracks(reader.frames(fps), tracks.tracks, processor.convention)
    sound, rate = reader.soundtrack(processor.sampling_rate)
    voices = []
    for track, pictures in tqdm(
        list(zip(tracks.tracks, crops, strict=True)), unit="face", desc="voices", disable=not progress
    ):
        first, stop = (frame * processor.samples_per_frame for frame in (track.start_frame, track.stop_frame))
        span = slice(first, min(stop, len(sound)))
        heard = sound[span]
        parts = [np.zeros_like(sound) for _ in range(3)]
        parts[2][span] = heard
        if len(heard) > processor.n_fft // 2:  # where the sound ended before the face came there is nothing
            generator = torch.Generator().manual_seed(seed)
            pictures = pictures[
                : -(-len(heard) // processor.samples_per_frame)
            ]  # the sound may end before the face goes
            output = pipe(heard, torch.from_numpy(pictures), generator=generator, **options)
            parts[0][span], parts[1][span] = output.audios[0], output.initial_estimates[0]
        voices.append(SeparatedVoice(track, *parts, sampling_rate=rate))
    return voices, tracks


def write_voices(
    voices: Sequence[SeparatedVoice],
    video: Any,
    folder: str | os.PathLike,
    *,
    frames_per_second: int = 25,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """A WAV file for each voice, and the video with a box around the face and its voice for a sound.

    Args:
        voices: of [`separate_faces`].
        video: that they are from.
        folder: existing; files are called face-<track>.wav and face-<track>.mp4, those of a person who comes back
            face-<track>-2. The WAV files begin where the video's file does, the videos with its first picture.
        frames_per_second: at which the tracks count.

    Returns:
        A record for each voice: track_id, start, end (seconds), label, score (its level in dB of what is heard), audio
        and video (names of the files).

    Raises:
        OSError: the folder cannot be written.
    """
    folder, reader, records = Path(folder), VideoReader(video), []
    times_seen = Counter()
    for voice in voices:
        track, rate = voice.track, voice.sampling_rate
        times_seen[track.track_id] += 1
        again = times_seen[track.track_id]
        name = f"face-{track.track_id}" if again == 1 else f"face-{track.track_id}-{again}"
        before = np.zeros(round(reader.info.origin * rate), np.float32)
        write_wav(folder / f"{name}.wav", np.concatenate([before, voice.audio]), rate)
        render_video(
            reader,
            folder / f"{name}.mp4",
            partial(_draw_track, track),
            fps=frames_per_second,
            audio=voice.audio,
            sampling_rate=rate,
            progress=progress,
            desc=name,
        )
        records.append(
            {
                "track_id": track.track_id,
                "start": track.start_frame / frames_per_second,
                "end": track.stop_frame / frames_per_second,
                "label": "voice",
                "score": voice.level_db,
                "audio": f"{name}.wav",
                "video": f"{name}.mp4",
            }
        )
    return records


def _draw_track(track: Track, frame: np.ndarray, index: int) -> np.ndarray:
    if not track.start_frame <= index < track.stop_frame:
        return frame
    return draw_boxes(frame, [track.boxes[index - track.start_frame]], colours=[track_colour(track.track_id)])


__all__ = ["SeparatedVoice", "separate_faces", "write_voices"]
