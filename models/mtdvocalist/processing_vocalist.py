"""Processor of VocaLiST and MTDVocaLiST: faces and sound to windows.

The released networks expect DIFFERENT pixels, and fail silently on wrong ones: the student reads RGB of 0..255, the
original teacher BGR of 0..1. So colour order, range and resizing are settings of the processor, saved with the
weights. Facts: xjchenGit/MTDVocaLiST@5795416 (test_stu.py), vskadandale/vocalist@c265b59 (test_lrs2.py).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from transformers import BatchFeature

from avzoo.audio import read_audio, wav2lip_log_mel
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import SavedProcessorMixin
from avzoo.rates import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, SAMPLING_RATE
from avzoo.video import MouthHalf, Track, VideoReader, crop_track

from .configuration_vocalist import mel_columns

HOP_LENGTH = 200  # samples from one mel column to the next


class VocaLiSTProcessor(SavedProcessorMixin):
    """Turns a face video and its sound into `pixel_values` and `input_features` of windows.

        inputs = processor("face.mp4")  # a video cropped to the face box
        inputs = processor("talk.mp4", track=tracks.tracks[0])  # avzoo.video.find_face_tracks
        logits = model(**inputs).logits  # of each window, (windows, 1)

    Inputs are resampled to 25 frames and 16000 samples per second, mono. A window is `context_frames` frames and their
    sound; one begins with every frame.

    Args:
        channel_order: "rgb" (student) or "bgr" (original teacher).
        rescale_factor: of pixels in 0..255: 1 (student) or 1 / 255 (original teacher).
        resize: method of resizing faces to `face_size`, see [`avzoo.video.MouthHalf`].
        face_size: side of the resized face, pixels; its lower half is the mouth image.
        context_frames: frames of a window.
        num_mel_bins: mel bands.

    Raises:
        ValueError: an unknown option, a size below 1, an odd `face_size`.
        TypeError: a size that is not a whole number.
    """

    model_input_names = ["pixel_values", "input_features"]

    def __init__(
        self,
        channel_order: Literal["rgb", "bgr"] = "rgb",
        rescale_factor: float = 1.0,
        resize: Literal["torch", "torch-antialias", "opencv"] = "torch",
        face_size: int = 96,
        context_frames: int = 5,
        num_mel_bins: int = 80,
    ):
        check_choice("channel_order", channel_order, ("rgb", "bgr"))
        check_number("rescale_factor", rescale_factor, above=0)
        check_whole_number("face_size", face_size, at_least=2)
        if face_size % 2:
            raise ValueError(f"`face_size` must be even, as its lower half is the mouth, got {face_size}.")
        check_whole_number("context_frames", context_frames, at_least=1)
        check_whole_number("num_mel_bins", num_mel_bins, at_least=1)
        super().__init__()
        self.channel_order = channel_order
        self.rescale_factor = rescale_factor
        self.resize = resize
        self.face_size = face_size
        self.context_frames = context_frames
        self.num_mel_bins = num_mel_bins
        self.convention  # noqa: B018 - refuses an unknown `resize`

    @property
    def convention(self) -> MouthHalf:
        """Mouth crop for [`avzoo.video.crop_tracks`]."""
        return MouthHalf(size=self.face_size, resize=self.resize)

    @property
    def context_columns(self) -> int:
        """Mel columns of a window."""
        return mel_columns(self.context_frames)

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
        """Make the windows of one face in one clip.

        Args:
            video: any input of [`avzoo.video.read_video`], or a list of face images, (height, width, 3) uint8 RGB, of
                any sizes.
            audio: sound to use instead of the video's own: a path, bytes, samples in [-1, 1] with `sampling_rate`, or
                a row {"array", "sampling_rate"}; sample 0 belongs to the first frame.
            sampling_rate: of samples in memory, Hz.
            track: position of the face, in frames at 25 per second. None: the video is cropped to the face already.
            source_fps: rate of frames in memory; None: 25.

        Returns:
            pixel_values (windows, context_frames, 3, face_size // 2, face_size), uint8 for a `rescale_factor` of 1,
            else float32; input_features (windows, 1, num_mel_bins, context_columns) float32. Window i begins with frame
            i (of the track). Neighbouring windows share the memory of their pixels.

        Raises:
            ValueError: fewer frames or less sound than one window; no sound; floating-point images; a track beyond
                the video; samples without a rate; unknown `return_tensors`; errors of `read_video` and `read_audio`.
        """
        if sampling_rate is None and isinstance(audio, np.ndarray | torch.Tensor | list | tuple):
            raise ValueError("`audio` is samples in memory, whose rate is unknown; pass it as `sampling_rate`, in Hz.")
        mouths, own_sound = self._read_face_and_sound(video, source_fps, track, wants_sound=audio is None)
        samples = own_sound
        if audio is not None:
            samples, _ = read_audio(audio, SAMPLING_RATE, source_rate=sampling_rate, name="audio")
        # Both streams are cut to the shorter one.
        first = 0 if track is None else track.start_frame
        stop = min(first + len(mouths), len(samples) // SAMPLES_PER_FRAME)
        num_windows, mouths = self.num_windows(stop - first), mouths[: stop - first]
        if track is None:
            samples = samples[: stop * SAMPLES_PER_FRAME]
        log_mel = self.log_mel(torch.from_numpy(np.ascontiguousarray(samples)))
        inputs = {
            "pixel_values": self.video_windows(self.to_pixel_values(mouths)),
            "input_features": self.audio_windows(log_mel, num_windows, first_frame=first),
        }
        return make_batch(inputs, return_tensors)

    def num_windows(self, num_frames: int) -> int:
        """Number of windows of a clip of `num_frames` frames.

        Raises:
            ValueError: the clip is shorter than a window.
        """
        if num_frames < self.context_frames:
            raise ValueError(
                f"`video` and `audio` have {max(num_frames, 0)} frames in common, at {FRAMES_PER_SECOND} frames and "
                f"{SAMPLING_RATE} samples per second; one window needs {self.context_frames}. The clip is too short."
            )
        return num_frames - self.context_frames + 1

    def crop_mouths(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """Images of a face, (height, width, 3) uint8 RGB each, to mouths (n, face_size // 2, face_size, 3) uint8."""
        check_pictures(faces)
        crop = self.convention
        return np.stack([crop.cut_face(face) for face in faces]) if len(faces) else np.zeros((0, *crop.shape), np.uint8)

    def to_pixel_values(self, mouths: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Mouths (..., rows, columns, 3), RGB of 0..255, to (..., 3, rows, columns) in the weights' order and range."""
        mouths = torch.as_tensor(mouths)
        return self.normalize(mouths.movedim(-1, -3))

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Convert RGB images of 0..255, (..., 3, rows, columns), to the weights' colours and range; differentiable.

        uint8 stays uint8 if `rescale_factor` is 1. Gradients of a loss flow back to floating-point images, so a
        generator's frames (times 255 if they are in 0..1) can be passed to the model this way.

        Raises:
            ValueError: floating-point images of at most 1, which seem to be scaled already.
        """
        # Checked on a CPU only: on a GPU it would synchronise in every training step.
        if images.is_floating_point() and images.numel() and images.device.type == "cpu":
            lowest, highest = (extreme.item() for extreme in images.detach().aminmax())
            if highest <= 1 and (highest > 0 or lowest < 0):
                raise ValueError(
                    f"`images` are floating point from {lowest:g} to {highest:g} and seem to be scaled already; this "
                    "method expects 0..255 for all weights. Multiply by 255 first."
                )
        if self.channel_order == "bgr":
            images = images.flip(-3)
        return images if self.rescale_factor == 1 else images * self.rescale_factor

    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Sound at 16 kHz, ([batch,] samples), to log-mel ([batch,] 1, num_mel_bins, columns).

        Values are in [-4, 4], 80 columns per second. Pass a whole clip, so that the edges of a window are computed from
        the sound around it.
        """
        return wav2lip_log_mel(samples, num_mel_bins=self.num_mel_bins, hop_size=HOP_LENGTH).mT.unsqueeze(-3)

    def window_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Sound of single windows, ([batch,] 640 * context_frames), to ([batch,] 1, num_mel_bins, context_columns).

        Each window is mirrored at its ends, as in the authors' training; evaluation uses [`log_mel`] of the clip.
        """
        return self.log_mel(samples)[..., : self.context_columns]

    def video_windows(self, pixels: torch.Tensor) -> torch.Tensor:
        """View frames (n, 3, rows, columns) as (n - context_frames + 1, context_frames, 3, rows, columns)."""
        return pixels.unfold(0, self.context_frames, 1).movedim(-1, 1)

    def audio_windows(self, log_mel: torch.Tensor, num_windows: int, first_frame: int = 0) -> torch.Tensor:
        """Cut windows that begin with consecutive frames: (num_windows, 1, num_mel_bins, context_columns).

        Frame f begins with column floor(3.2 f), which is up to 10 ms before it.

        Args:
            log_mel: (1, num_mel_bins, columns) of the clip.
            first_frame: frame of the clip that the first window begins with.
        """
        starts = torch.tensor([mel_columns(first_frame + index) for index in range(num_windows)])
        windows = log_mel.unfold(-1, self.context_columns, 1)  # (1, num_mel_bins, starts, context_columns)
        return windows[:, :, starts].movedim(2, 0).contiguous()

    def _read_face_and_sound(
        self, video: Any, source_fps: float | None, track: Track | None, wants_sound: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read mouths (n, face_size // 2, face_size, 3) at 25 per second, and the video's own sound at 16 kHz."""
        if isinstance(video, list | tuple) and source_fps is None and track is None:
            faces = [_to_array(face) for face in video]  # of any sizes
            if wants_sound:
                raise ValueError("`video` is a list of images, which has no sound; pass it as `audio`.")
            return self.crop_mouths(faces), None
        if isinstance(video, np.ndarray | torch.Tensor | list | tuple):
            video = np.stack([_to_array(frame) for frame in video]) if isinstance(video, list | tuple) else video
            check_pictures(video)
            source_fps = source_fps or FRAMES_PER_SECOND
        reader = VideoReader(video, source_fps=source_fps)
        if wants_sound and reader.info.sampling_rate is None:
            raise ValueError("`video` has no sound; pass it as `audio`.")
        if track is None:  # read in blocks, of which only the mouths are kept
            mouths = np.concatenate([self.crop_mouths(list(block)) for block in reader.frames(FRAMES_PER_SECOND)])
        else:
            start, end = track.start_frame / FRAMES_PER_SECOND, track.stop_frame / FRAMES_PER_SECOND
            blocks = reader.frames(FRAMES_PER_SECOND, start=start, end=end)
            mouths = crop_track(blocks, track, self.convention, first_frame=track.start_frame)
        return mouths, reader.soundtrack(SAMPLING_RATE)[0] if wants_sound else None


def check_pictures(pictures: Any) -> None:
    """Raise a ValueError unless these are uint8 images; those of a list must be RGB."""
    one_by_one = isinstance(pictures, list | tuple)
    for index, picture in enumerate(pictures if one_by_one else [pictures]):
        name = f"`video[{index}]`" if one_by_one else "`video`"
        dtype = str(getattr(picture, "dtype", type(picture).__name__)).removeprefix("torch.")
        if dtype != "uint8":
            seems = ""
            if "float" in dtype and 0 not in picture.shape and float(picture.max()) <= 1:
                seems = "; values of at most 1 seem to be scaled, so multiply them by 255"
            raise ValueError(f"{name} must be uint8 pictures, RGB of 0..255, got {dtype}{seems}.")
        fits = picture.ndim == 3 and picture.shape[-1] == 3 if one_by_one else picture.ndim in (3, 4)
        if not fits or 0 in picture.shape:
            raise ValueError(f"{name} must be (height, width, 3) pictures of a face, got {tuple(picture.shape)}.")


def _to_array(picture: Any) -> Any:
    """Convert a tensor or a PIL image to an array; leave anything else as it is."""
    if isinstance(picture, torch.Tensor):
        return picture.numpy(force=True)
    return np.asarray(picture) if hasattr(picture, "convert") else picture


__all__ = ["VocaLiSTProcessor"]
