"""A mixture and a face to what AVDiffuSS's networks read, and spectrograms back to sound.

Facts: kaistmm/AVDiffuSS@86d8203 (sgmse/data_module_vi.py, test_whole.py). Settings of the spectrogram belong to the
weights and are saved beside them.
"""

from typing import Any, Literal

import numpy as np
import torch
from transformers import BatchFeature
from transformers.utils import logging

from avzoo.audio import compressed_stft, inverse_compressed_stft, read_audio
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import SavedProcessorMixin
from avzoo.video import Track, VideoReader, WholeFace, crop_track, grey_face, resize_as_opencv

logger = logging.get_logger(__name__)

TOLERATED_DIFFERENCE_IN_S = 0.2  # between the lengths of sound and picture; encoders round both


class AVDiffuSSProcessor(SavedProcessorMixin):
    """Any recording and any video to a waveform and grey pictures of a face, at the rates the networks know.

        inputs = processor("interview.mp4", track=track)  # a face of `avzoo.video.find_face_tracks`
        inputs = processor("face.mp4")  # a video that shows the face and nothing else, such as VoxCeleb2's
        inputs.waveform, inputs.pixel_values  # (samples,) and (frames, 112, 112)

    Args:
        sampling_rate: of the sound, Hz.
        frames_per_second: of the video.
        frame_size: side of the grey pictures, pixels.
        face_margin: how much of what is around a face is seen, in units of half its box; see [`avzoo.video.WholeFace`].
        n_fft, hop_length, window: of the spectrogram: samples, and "hann" or "sqrthann".
        spec_abs_exponent, spec_factor: magnitudes to this power, times this.
        frame_multiple: spectrograms are filled up with zeros to a multiple of so many frames.

    Raises:
        ValueError: a size below 1, sizes that don't fit each other, or an unknown window.
    """

    model_input_names = ["waveform", "pixel_values"]

    def __init__(
        self,
        sampling_rate: int = 16000,
        frames_per_second: int = 25,
        frame_size: int = 112,
        face_margin: float = 0.4,
        n_fft: int = 510,
        hop_length: int = 128,
        window: Literal["hann", "sqrthann"] = "hann",
        spec_abs_exponent: float = 0.5,
        spec_factor: float = 0.33,
        frame_multiple: int = 64,
    ):
        sizes = {
            "sampling_rate": sampling_rate,
            "frames_per_second": frames_per_second,
            "frame_size": frame_size,
            "n_fft": n_fft,
            "hop_length": hop_length,
            "frame_multiple": frame_multiple,
        }
        for name, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        if sampling_rate % frames_per_second:
            raise ValueError(
                f"`sampling_rate` ({sampling_rate}) must be a multiple of `frames_per_second` ({frames_per_second})."
            )
        if n_fft % 2 or hop_length >= n_fft:
            raise ValueError(f"`n_fft` ({n_fft}) must be even and larger than `hop_length` ({hop_length}).")
        if window not in ("hann", "sqrthann"):
            raise ValueError(f'`window` must be "hann" or "sqrthann", got {window!r}.')
        if not face_margin >= 0:
            raise ValueError(f"`face_margin` must be 0 or more, got {face_margin!r}.")
        for name, value in {"spec_abs_exponent": spec_abs_exponent, "spec_factor": spec_factor}.items():
            if not value > 0:
                raise ValueError(f"`{name}` must be above 0, got {value!r}.")
        super().__init__()
        self.sampling_rate = sampling_rate
        self.frames_per_second = frames_per_second
        self.frame_size = frame_size
        self.face_margin = face_margin
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.window = window
        self.spec_abs_exponent = spec_abs_exponent
        self.spec_factor = spec_factor
        self.frame_multiple = frame_multiple

    @property
    def convention(self) -> WholeFace:
        """How faces are cut out of frames, for [`avzoo.video.crop_tracks`]."""
        return WholeFace(margin=self.face_margin, size=self.frame_size)

    @property
    def samples_per_frame(self) -> int:
        """Samples of sound that belong to one frame of the video."""
        return self.sampling_rate // self.frames_per_second

    def __call__(
        self,
        video: Any,
        audio: Any = None,
        sampling_rate: int | None = None,
        *,
        track: Track | None = None,
        source_fps: float | None = None,
        return_tensors: Literal["pt", "np"] | None = "pt",
    ) -> BatchFeature:
        """One mixture and one face.

        Args:
            video: what [`video`] takes.
            audio: the mixture, if it is not the video's own sound: what [`audio`] takes; sample 0 belongs to the first
                frame of the video.
            sampling_rate: of bare samples, Hz.
            track: where the face is, at `frames_per_second`; both sound and pictures are then cut to it. None: the
                frames show the face and nothing else.
            source_fps: rate of frames in memory.
            return_tensors: "pt" for torch's tensors, "np" for NumPy's arrays.

        Returns:
            waveform (samples,) float32, pixel_values (frames, frame_size, frame_size) uint8.

        Raises:
            ValueError: no sound, no frame, unknown `return_tensors`, and what [`audio`] and [`video`] raise.
        """
        pixel_values = self.video(video, track=track, source_fps=source_fps)
        waveform = self.audio(video if audio is None else audio, sampling_rate)
        if track is not None:
            first, stop = (frame * self.samples_per_frame for frame in (track.start_frame, track.stop_frame))
            waveform = self._long_enough(waveform[first:stop])
        pixel_values = self.align_to_audio(pixel_values, len(waveform))
        return make_batch({"waveform": waveform, "pixel_values": pixel_values}, return_tensors)

    def audio(self, audio: Any, sampling_rate: int | None = None) -> torch.Tensor:
        """(samples,) float32, mono, at `sampling_rate` of the processor.

        Args:
            audio: whatever [`avzoo.audio.read_audio`] takes: a path, bytes, samples in [-1, 1], a row of `datasets`.
            sampling_rate: of bare samples, Hz; None: the processor's own.

        Raises:
            ValueError: too few samples for a spectrogram, or NaN; and what `read_audio` raises.
        """
        is_bare = isinstance(audio, np.ndarray | torch.Tensor | list | tuple)
        source_rate = (sampling_rate or self.sampling_rate) if is_bare else sampling_rate
        samples, _ = read_audio(audio, self.sampling_rate, source_rate=source_rate, name="audio")
        return self._long_enough(torch.from_numpy(samples))

    def _long_enough(self, waveform: torch.Tensor) -> torch.Tensor:
        least = self.n_fft // 2 + 1
        if len(waveform) < least:
            raise ValueError(
                f"`audio` has {len(waveform)} samples at {self.sampling_rate} Hz; at least {least} are needed."
            )
        return waveform

    def video(self, video: Any, *, track: Track | None = None, source_fps: float | None = None) -> torch.Tensor:
        """(frames, frame_size, frame_size) uint8, grey, at `frames_per_second`.

        Args:
            video: what [`avzoo.video.read_video`] takes, a path for one; or grey pictures in memory, (frames, rows,
                columns) uint8. Frames in memory have the processor's rate unless `source_fps` says otherwise.
            track, source_fps: see the processor's call.

        Raises:
            ValueError: no frame, pictures that aren't uint8, or a track beyond the video; and what `read_video` raises.
        """
        if isinstance(video, list | tuple):
            video = np.stack([np.asarray(frame) for frame in video]) if len(video) else np.zeros((0, 1, 1), np.uint8)
        if isinstance(video, torch.Tensor):
            video = video.numpy(force=True)
        if isinstance(video, np.ndarray):
            if video.dtype != np.uint8:
                raise ValueError(f"`video` must be uint8 pictures of 0..255, got {video.dtype}.")
            if 0 in video.shape:
                raise ValueError(f"`video` holds no picture, its shape is {video.shape}; at least one is needed.")
            if video.ndim == 3 and track is None and source_fps in (None, self.frames_per_second):
                same = video.shape[1:] == (self.frame_size, self.frame_size)
                sized = video if same else resize_as_opencv(video[..., None], self.frame_size, self.frame_size)[..., 0]
                return torch.from_numpy(np.ascontiguousarray(sized))
            source_fps = source_fps or self.frames_per_second
        reader = VideoReader(video, source_fps=source_fps)
        if track is None:
            blocks = [grey_face(block, self.frame_size) for block in reader.frames(self.frames_per_second)]
            faces = np.concatenate(blocks) if blocks else np.zeros((0, 1, 1), np.uint8)
        else:
            start, end = (frame / self.frames_per_second for frame in (track.start_frame, track.stop_frame))
            blocks = reader.frames(self.frames_per_second, start=start, end=end)
            faces = crop_track(blocks, track, self.convention, first_frame=track.start_frame)
        if not len(faces):
            raise ValueError("`video` has no frame; at least one is needed.")
        return torch.from_numpy(faces)

    def align_to_audio(self, pixel_values: torch.Tensor, num_samples: int) -> torch.Tensor:
        """The pictures as long as the sound: later ones are left out, and the last is held where they end early.

        Up to 0.2 s of difference are left as they are, because nothing in the networks asks for equal lengths. More is
        told by a warning.

        Args:
            pixel_values: (frames, rows, columns).
            num_samples: of the sound.
        """
        frames, wanted = len(pixel_values), -(-num_samples // self.samples_per_frame)
        seconds = frames / self.frames_per_second, num_samples / self.sampling_rate
        if abs(seconds[0] - seconds[1]) <= TOLERATED_DIFFERENCE_IN_S:
            return pixel_values
        shorter = frames < wanted
        what = "its last picture is held" if shorter else "what is seen after the sound's end is left out"
        logger.warning(f"`video` lasts {seconds[0]:.2f} s and `audio` {seconds[1]:.2f} s: {what}.")
        if not shorter:
            return pixel_values[:wanted]
        return torch.cat([pixel_values, pixel_values[-1:].expand(wanted - frames, -1, -1)])

    def spectrogram(self, waveforms: torch.Tensor) -> torch.Tensor:
        """([batch,] samples) at peak 1 to ([batch,] bins, frames) complex64, frames a multiple of `frame_multiple`."""
        return compressed_stft(waveforms, frame_multiple=self.frame_multiple, **self._settings)

    def inverse_spectrogram(self, spectrograms: torch.Tensor, num_samples: int) -> torch.Tensor:
        """([batch,] bins, frames) complex back to ([batch,] num_samples) float32."""
        return inverse_compressed_stft(spectrograms, num_samples, **self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "fft_size": self.n_fft,
            "hop_size": self.hop_length,
            "window": self.window,
            "exponent": self.spec_abs_exponent,
            "factor": self.spec_factor,
        }


__all__ = ["AVDiffuSSProcessor"]
