"""Faces and their sound to what LoCoNet and TalkNet read.

What belongs to the weights, the features of the sound, the cut of the faces and the meaning of a score, is saved beside
them. Facts: kaistmm/TalkNCE@8666642 (dataLoader_multiperson.py), TaoRuijie/TalkNet-ASD@6d68214 (demoTalkNet.py).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from transformers import BatchFeature

from avzoo.audio import align_to_video, read_audio, speech_features_mfcc, vggish_log_mel
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import SavedProcessorMixin
from avzoo.rates import FRAMES_PER_SECOND, SAMPLING_RATE
from avzoo.video import Track, VideoReader, crop_track, grey_face, resize_as_opencv
from avzoo.video.crops import CropConvention, LowerFace, TightFace

from .audio_encoders import ROWS_PER_FRAME


class ActiveSpeakerProcessor(SavedProcessorMixin):
    """A video and the tracks of its faces to `pixel_values` and `input_features`.

        inputs = processor("meeting.mp4", tracks=[track])  # of avzoo.video.find_face_tracks
        inputs.pixel_values, inputs.input_features  # (1, tracks, frames, 112, 112), (1, 4 * frames, bins)

    Args:
        audio_features: "log_mel" (LoCoNet) or "mfcc" (TalkNet).
        crop: "tight", the face box as it is (AVA-ActiveSpeaker), or "lower_face", nose to chin, steadied over time
            (TalkNet's demo).
        score: what a score of the task pipeline is: "probability" of speaking, told from half, or the "logit", from 0.
        durations: seconds of the windows whose scores are averaged.
        frame_size: side of the crops, pixels.
        num_bins: of the sound's features; None: 64 of log-mel, 13 of MFCC.
        num_speakers: faces of a clip. Fewer are filled up by the others in turn, or by the first if it is alone.
    """

    model_input_names = ["pixel_values", "input_features", "face_mask"]

    def __init__(
        self,
        audio_features: Literal["log_mel", "mfcc"] = "log_mel",
        crop: Literal["tight", "lower_face"] = "tight",
        score: Literal["probability", "logit"] = "probability",
        durations: Sequence[float] = (6,),
        frame_size: int = 112,
        num_bins: int | None = None,
        num_speakers: int = 3,
    ):
        check_choice("audio_features", audio_features, ("log_mel", "mfcc"))
        check_choice("crop", crop, ("tight", "lower_face"))
        check_choice("score", score, ("probability", "logit"))
        check_durations(durations)
        num_bins = {"log_mel": 64, "mfcc": 13}[audio_features] if num_bins is None else num_bins
        for name, value in {"frame_size": frame_size, "num_bins": num_bins, "num_speakers": num_speakers}.items():
            check_whole_number(name, value, at_least=1)
        super().__init__()
        self.audio_features = audio_features
        self.crop = crop
        self.score = score
        self.durations = list(durations)
        self.frame_size = frame_size
        self.num_bins = num_bins
        self.num_speakers = num_speakers

    @property
    def convention(self) -> CropConvention:
        """How faces are cut out of frames, for [`avzoo.video.crop_tracks`]."""
        return TightFace(self.frame_size) if self.crop == "tight" else LowerFace(size=self.frame_size)

    def __call__(
        self,
        video: Any,
        audio: Any = None,
        sampling_rate: int | None = None,
        *,
        tracks: Sequence[Track] | None = None,
        source_fps: float | None = None,
        return_tensors: Literal["pt", "np"] | None = "pt",
    ) -> BatchFeature:
        """One clip: the frames of the first track, and of the others what falls into them.

        Args:
            video: what [`avzoo.video.read_video`] takes; or grey pictures of one face, (frames, rows, columns) uint8.
            audio: the sound, if it is not the video's own: what [`audio`] takes; its first sample belongs to the
                video's first frame.
            sampling_rate: of bare samples, Hz.
            tracks: faces at 25 frames per second, the one to score first. None: the frames show one face and nothing
                else.
            source_fps: rate of frames in memory; 25 for grey pictures.
            return_tensors: "pt" for torch's tensors, "np" for NumPy's arrays.

        Returns:
            pixel_values (1, num_speakers, frames, frame_size, frame_size) uint8, a missing face all 0; input_features
            (1, 4 * frames, num_bins) float32; face_mask (1, num_speakers, frames).

        Raises:
            ValueError: no frame, no sound, pictures that aren't uint8, unknown `return_tensors`; and what `read_video`
                and `read_audio` raise.
        """
        if tracks is not None and not len(tracks):
            raise ValueError("`tracks` holds no face; at least the one to score is needed.")
        faces, mask, start = self._faces(video, tracks, source_fps)
        frames = faces.shape[1]
        if audio is None:
            waveform = torch.from_numpy(VideoReader(video, source_fps=source_fps).soundtrack(SAMPLING_RATE)[0])
        else:
            waveform = self.audio(audio, sampling_rate)
        first = start * SAMPLING_RATE // FRAMES_PER_SECOND
        waveform = waveform[first : first + frames * SAMPLING_RATE // FRAMES_PER_SECOND]
        features = self.audio_rows(waveform, frames)
        order = self.fill_speakers(len(faces))
        inputs = {
            "pixel_values": torch.from_numpy(faces[order])[None],
            "input_features": features[None],
            "face_mask": torch.from_numpy(mask[order])[None],
        }
        return make_batch(inputs, return_tensors)

    def fill_speakers(self, num_faces: int) -> list[int]:
        """Choose `num_speakers` of a clip's faces by number, the first one first; too few are repeated in turn."""
        others = list(range(1, num_faces)) or [0]
        return [0, *(others[i % len(others)] for i in range(self.num_speakers - 1))]

    def audio(self, audio: Any, sampling_rate: int | None = None) -> torch.Tensor:
        """(samples,) float32, mono at 16 kHz, of what [`avzoo.audio.read_audio`] takes.

        16-bit samples are told from others by their type: whole numbers are divided by 32768, and the networks' own
        features multiply again. Floating-point samples beyond full scale are refused, because 16-bit numbers as floats
        would change every score without a word.
        """
        bare = isinstance(audio, np.ndarray | torch.Tensor | list | tuple)
        if isinstance(audio, np.ndarray | torch.Tensor) and str(audio.dtype) in ("int16", "torch.int16"):
            audio = np.asarray(audio, dtype=np.float32) / 32768
        samples, _ = read_audio(audio, SAMPLING_RATE, source_rate=(sampling_rate or SAMPLING_RATE) if bare else None)
        return torch.from_numpy(samples)

    def audio_rows(self, waveform: torch.Tensor, frames: int, fps: float = FRAMES_PER_SECOND) -> torch.Tensor:
        """(4 * frames, num_bins) of a clip's sound, (samples,) at 16 kHz in [-1, 1].

        Rows that lack at the end are repeated from the beginning, as the authors' code does. Sound of less than one
        window is filled up with silence first. At another frame rate than 25, window and hop are scaled.
        """
        window = math.ceil(SAMPLING_RATE / 40 * FRAMES_PER_SECOND / fps)
        waveform = torch.nn.functional.pad(waveform, (0, max(0, window - len(waveform))))
        if self.audio_features == "log_mel":
            rows = vggish_log_mel(waveform, fps=fps, num_mel_bins=self.num_bins)
        else:
            rows = speech_features_mfcc(waveform, fps=fps, num_coefficients=self.num_bins)
        return align_to_video(rows, frames, ROWS_PER_FRAME)

    def _faces(
        self, video: Any, tracks: Sequence[Track] | None, source_fps: float | None
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """(faces, frames, frame_size, frame_size) of a clip, where each is there, and the clip's first frame."""
        size = self.frame_size
        if isinstance(video, torch.Tensor):
            video = video.numpy(force=True)
        if isinstance(video, np.ndarray) and video.dtype != np.uint8:
            raise ValueError(f"`video` must be uint8 pictures of 0..255, got {video.dtype}.")
        if isinstance(video, np.ndarray) and video.ndim == 3:
            if tracks is not None or source_fps not in (None, FRAMES_PER_SECOND):
                raise ValueError("`video` is grey pictures of one face at 25 frames per second: no `tracks`, no rate.")
            if 0 in video.shape:
                raise ValueError(f"`video` holds no picture, its shape is {video.shape}.")
            same = video.shape[1:] == (size, size)
            faces = video if same else resize_as_opencv(video[..., None], size, size)[..., 0]
            return faces[None], np.ones((1, len(faces)), np.int64), 0
        reader = VideoReader(video, source_fps=source_fps)
        if tracks is None:
            blocks = [grey_face(block, size) for block in reader.frames(FRAMES_PER_SECOND)]
            if not blocks:
                raise ValueError("`video` has no frame; at least one is needed.")
            faces = np.concatenate(blocks)
            return faces[None], np.ones((1, len(faces)), np.int64), 0
        target = tracks[0]
        faces = np.zeros((len(tracks), len(target), size, size), np.uint8)
        mask = np.zeros((len(tracks), len(target)), np.int64)
        for row, track in enumerate(tracks):
            first, stop = max(track.start_frame, target.start_frame), min(track.stop_frame, target.stop_frame)
            if first >= stop:
                continue
            times = {"start": track.start_frame / FRAMES_PER_SECOND, "end": track.stop_frame / FRAMES_PER_SECOND}
            blocks = reader.frames(FRAMES_PER_SECOND, **times)
            crops = crop_track(blocks, track, self.convention, first_frame=track.start_frame)
            there = slice(first - target.start_frame, stop - target.start_frame)
            faces[row, there] = crops[first - track.start_frame : stop - track.start_frame]
            mask[row, there] = 1
        return faces, mask, target.start_frame


def check_durations(durations: Sequence[float]) -> None:
    """Raise a ValueError or TypeError unless these are lengths of windows, seconds, each at least one frame."""
    if isinstance(durations, str) or not isinstance(durations, Sequence):
        raise TypeError(f"`durations` must be a list of seconds, got {durations!r}.")
    if not durations:
        raise ValueError(f"`durations` must hold at least one number of seconds, got {durations!r}.")
    for duration in durations:
        check_number("durations", duration, at_least=1 / FRAMES_PER_SECOND, unit="seconds")


__all__ = ["ActiveSpeakerProcessor"]
