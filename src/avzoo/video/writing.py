"""Video out: H.264 and AAC in an mp4 that plays everywhere, or without loss."""

import math
import numbers
import os
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soxr
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from avzoo.audio.resampling import QUALITY, check_rate
from avzoo.files import write_atomically
from avzoo.video.sources import make_frame_getter
from avzoo.video.video import check_fps

# What mp4 keeps, of the tags FFmpeg can write.
_TAGS = ("title", "artist", "album", "comment", "genre", "date", "copyright", "description", "synopsis")
_AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_BITS_PER_CHANNEL = 96_000  # per second, of AAC
_SOUND_FRAME = 1024  # samples, of a codec that doesn't say
_THREADS = "4"  # what x264 writes depends on it, so it must not follow the machine
_KEY_SECONDS = 2  # between pictures that are stored whole, which a seek decodes from
_BT601 = 6  # SMPTE 170M in FFmpeg's lists of matrices, primaries and transfer functions
# Accurate rounding and whole chroma of the input, as swscale calls it.
_SUBSAMPLING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


class VideoWriter:
    """Writes a video frame by frame, atomically: the file appears once it is complete.

        with VideoWriter("answer.mp4", fps=25, sampling_rate=16000) as writer:
            for frames, samples in blocks:
                writer.write(frames)
                writer.write_audio(samples)

    Frames and sound both begin at 0; who runs ahead does not matter. Leaving the `with` by an error leaves no file,
    and an existing one as it was. Equal input gives equal bytes, whatever the number of cores.

    Colours are stored as BT.601 in limited range and say so: readers that look get them right, and so do those that
    don't, since that is FFmpeg's and OpenCV's guess. Chroma has half the resolution, hence an odd height or width is
    padded by repeating the last row or column.

    Args:
        path: where to, ending in .mp4, .m4v or .mov; an existing file is replaced.
        fps: frames per second, a number or `Fraction`.
        sampling_rate: of the sound that will be written, Hz. None: a video without sound. AAC knows some rates only,
            others are stored at the next higher one.
        channels: of the sound, 1 or 2.
        crf: quality of H.264, from 0 (best, very large) to 51; 18 is hard to tell from the original.
        lossless: every pixel as it is (H.264 in RGB) and sound to 24 bits (ALAC). Such files are for programs: this
            reader and FFmpeg take them, browsers don't.
        metadata: tags to store, such as {"title": ..., "comment": ...}.

    Raises:
        TypeError, ValueError: an argument is not as described above.
        OSError: the folder is missing or can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float,
        sampling_rate: int | None = None,
        *,
        channels: int = 1,
        crf: float = 18,
        lossless: bool = False,
        metadata: Mapping[str, str] | None = None,
    ):
        ending = os.path.splitext(os.fspath(path))[1]
        if ending.lower() not in (".mp4", ".m4v", ".mov"):
            raise ValueError(f"`path` must end in .mp4, .m4v or .mov, got {os.fspath(path)!r}.")
        if isinstance(crf, bool) or not isinstance(crf, numbers.Real) or not 0 <= crf <= 51:
            raise ValueError(f"`crf` must be a number from 0 (best) to 51, got {crf!r}.")
        if channels not in (1, 2):
            raise ValueError(f"`channels` must be 1 or 2, got {channels!r}.")
        self._fps = check_fps(fps, "fps")
        self._crf, self._lossless = crf, lossless
        self._sampling_rate = None if sampling_rate is None else check_rate(sampling_rate, "sampling_rate")
        self._channels = channels
        self._metadata = _check_tags(metadata or {})
        self._path = os.fspath(path)
        self._open = ExitStack()
        self._container: av.container.OutputContainer | None = None
        self._pictures: _PictureTrack | None = None
        self._sound: _SoundTrack | None = None
        self._waiting: deque[np.ndarray] = deque()  # sound whose frames aren't there yet
        self._fed = 0

    def __enter__(self) -> "VideoWriter":
        if os.path.isdir(self._path):
            raise IsADirectoryError(f"`path` ({self._path}) is a folder; name a file in it.")
        with ExitStack() as opened:
            unfinished = opened.enter_context(write_atomically(self._path))
            open(unfinished, "xb").close()  # says, as an OSError, when the folder is missing or can't be written
            # "file:" keeps a colon in the name from being read as a protocol; bitexact leaves out versions and dates.
            options = {"movflags": "+faststart", "fflags": "+bitexact"}
            self._container = opened.enter_context(av.open(f"file:{unfinished}", "w", format="mp4", options=options))
            self._container.metadata.update(self._metadata)
            opened.push(self._finish)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        try:
            return self._open.__exit__(*error)
        finally:
            self._container = self._pictures = self._sound = None

    def write(self, frames: Any) -> None:
        """Append frames.

        Args:
            frames: (frames, height, width, 3) or one frame (height, width, 3), uint8 RGB, all of one size: an array, a
                tensor, or a list of frames or PIL images.
        """
        self._check_open()
        if getattr(frames, "ndim", 0) == 3 and frames.shape[-1] == 3:
            frames = frames[None]
        count, frame = make_frame_getter(frames, "`frames`")
        for index in range(count):
            picture = frame(index)
            if self._pictures is None:
                self._begin(*picture.shape[:2])
            self._pictures.write(picture)
            self._encode_sound(self._pictures.count / self._fps)

    def write_audio(self, samples: Any) -> None:
        """Append sound.

        Args:
            samples: (samples,) or (channels, samples), floating point, an array or tensor; beyond [-1, 1] is clipped.
        """
        self._check_open()
        if self._sampling_rate is None:
            raise ValueError("`samples` have no track to go to; make the writer with a `sampling_rate`.")
        self._waiting.append(self._check_sound(samples))
        if self._pictures is not None:
            self._encode_sound(self._pictures.count / self._fps)

    def _check_open(self) -> None:
        if self._container is None:
            raise ValueError("The writer isn't open; use it in a `with` statement.")

    def _check_sound(self, samples: Any) -> np.ndarray:
        if hasattr(samples, "detach") and hasattr(samples, "cpu"):  # a torch tensor, told without importing torch
            samples = samples.detach().cpu().float().numpy()
        samples = np.asarray(samples)
        if not np.issubdtype(samples.dtype, np.floating):
            raise TypeError(f"`samples` must be floating point in [-1, 1], got {samples.dtype}.")
        expected = "(samples,)" if self._channels == 1 else f"({self._channels}, samples)"
        if samples.ndim == 1:
            samples = samples[None]
        if samples.ndim != 2 or samples.shape[0] != self._channels:
            raise ValueError(f"`samples` must be {expected} for {self._channels} channels, got {samples.shape}.")
        bad = samples.size - np.count_nonzero(np.isfinite(samples))
        if bad:
            raise ValueError(f"`samples`: {bad} are NaN or infinite; repair them first.")
        return np.clip(samples, -1, 1).astype(np.float32)

    def _begin(self, height: int, width: int) -> None:
        self._pictures = _PictureTrack(self._container, self._fps, height, width, self._crf, self._lossless)
        if self._sampling_rate is not None:
            self._sound = _SoundTrack(self._container, self._sampling_rate, self._channels, self._lossless)

    def _encode_sound(self, end: Fraction | None) -> None:
        """Encode sound up to `end`, seconds, so that it lies beside its frames in the file; None: all of it."""
        while self._waiting:
            samples = self._waiting.popleft()
            count = samples.shape[1] if end is None else math.ceil(end * self._sampling_rate) - self._fed
            self._sound.write(samples[:, : max(count, 0)])
            self._fed += min(max(count, 0), samples.shape[1])
            if count < samples.shape[1]:
                self._waiting.appendleft(samples[:, max(count, 0) :])
                return

    def _finish(self, error_type: type | None, error: BaseException | None, traceback: Any) -> None:
        if error_type is None:
            if self._pictures is None:
                raise ValueError(f"`path` ({self._path}): no frames were written, and a video needs at least one.")
            self._pictures.finish()
            if self._sound is not None:
                self._encode_sound(None)
                self._sound.finish()


def write_video(
    path: str | os.PathLike,
    frames: Any,
    fps: float,
    *,
    audio: Any = None,
    sampling_rate: int | None = None,
    crf: float = 18,
    lossless: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a video in one step, atomically: on failure an existing file is unchanged.

    Args:
        path, fps, crf, lossless, metadata: as for [`VideoWriter`].
        frames: (frames, height, width, 3), uint8 RGB, an array, a tensor or a list; or an iterator of frames or of
            blocks of frames, such as `iter_video` gives.
        audio: (samples,) or (2, samples), floating point in [-1, 1], beginning with the first frame. None: no sound.
        sampling_rate: of `audio`, Hz.

    Raises:
        TypeError, ValueError: an argument is not as described; no frames; NaN or infinite samples; sound without its
            rate.
        OSError: the folder is missing or can't be written.
    """
    if (audio is None) != (sampling_rate is None):
        raise ValueError("`audio` and `sampling_rate` (Hz) belong together; pass both, or neither.")
    channels = 1 if audio is None or np.ndim(audio) < 2 else len(audio)
    with VideoWriter(
        path, fps, sampling_rate, channels=channels, crf=crf, lossless=lossless, metadata=metadata
    ) as writer:
        if audio is not None:
            writer.write_audio(audio)
        if hasattr(frames, "ndim") or isinstance(frames, list | tuple):
            writer.write(frames)
        elif isinstance(frames, Iterable):
            for block in frames:
                writer.write([block] if hasattr(block, "convert") else block)
        else:
            raise TypeError(f"`frames` must be frames or an iterator of them, got {type(frames).__name__}.")


class _PictureTrack:
    def __init__(self, container, fps: Fraction, height: int, width: int, crf: float, lossless: bool):
        self._container, self._lossless, self._shape = container, lossless, (height, width, 3)
        self._padding = None if lossless else ((0, height % 2), (0, width % 2), (0, 0))
        options = {"threads": _THREADS, "g": str(max(1, round(_KEY_SECONDS * fps)))}
        # Without macroblock trees: x264's AVX-512 code for them gives other bytes from one call to the next.
        options |= {"qp": "0"} if lossless else {"crf": str(float(crf)), "mbtree": "0"}
        self._stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=fps, options=options)
        self._stream.height = height + (0 if lossless else height % 2)
        self._stream.width = width + (0 if lossless else width % 2)
        self._stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        if not lossless:
            context = self._stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT601
            context.color_range = ColorRange.MPEG
        self._time_base, self.count = 1 / fps, 0
        self._reformatter = VideoReformatter()

    def write(self, picture: np.ndarray) -> None:
        if picture.shape != self._shape:
            raise ValueError(
                f"`frames`: frame {self.count} is {picture.shape[:2]}, the first {self._shape[:2]}; all must have one "
                "size."
            )
        if self._padding and self._padding != ((0, 0), (0, 0), (0, 0)):
            picture = np.pad(picture, self._padding, mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if not self._lossless:
            frame = self._reformatter.reformat(
                frame,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
                interpolation=_SUBSAMPLING,
            )
        frame.pts, frame.time_base = self.count, self._time_base
        self.count += 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))


class _SoundTrack:
    def __init__(self, container, rate: int, channels: int, lossless: bool):
        stored = rate
        if not lossless:
            stored = next((known for known in _AAC_RATES if known >= rate), _AAC_RATES[-1])
        self._resampling = None if stored == rate else soxr.ResampleStream(rate, stored, channels, "float32", QUALITY)
        self._container, self._rate, self._lossless = container, stored, lossless
        self._layout = "mono" if channels == 1 else "stereo"
        self._stream = container.add_stream("alac" if lossless else "aac", rate=stored, layout=self._layout)
        if not lossless:
            self._stream.bit_rate = _BITS_PER_CHANNEL * channels
        self._waiting = np.zeros((channels, 0), np.float32)
        self._count = 0

    def write(self, samples: np.ndarray, last: bool = False) -> None:
        if self._resampling is not None:
            columns = self._resampling.resample_chunk(np.ascontiguousarray(samples.T), last=last)
            samples = columns.reshape(-1, len(samples)).T
        self._waiting = np.concatenate([self._waiting, samples], axis=1)
        size = self._stream.codec_context.frame_size or _SOUND_FRAME
        whole = self._waiting.shape[1] if last else self._waiting.shape[1] // size * size
        for start in range(0, whole, size):
            self._encode(self._waiting[:, start : min(start + size, whole)])
        self._waiting = self._waiting[:, whole:]

    def _encode(self, samples: np.ndarray) -> None:
        if self._lossless:
            levels = np.clip(np.rint(samples.astype(np.float64) * 2**23), -(2**23), 2**23 - 1)
            frame = av.AudioFrame.from_ndarray(levels.astype(np.int32) << 8, format="s32p", layout=self._layout)
        else:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._count, Fraction(1, self._rate)
        self._count += samples.shape[1]
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self.write(np.zeros((len(self._waiting), 0), np.float32), last=True)
        self._container.mux(self._stream.encode(None))


def _check_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    for tag, text in metadata.items():
        if tag not in _TAGS:
            raise ValueError(f"`metadata` has the tag {tag!r}, which mp4 doesn't keep; it keeps {', '.join(_TAGS)}.")
        if not isinstance(text, str):
            raise TypeError(f"`metadata` must hold text, got {type(text).__name__} for {tag!r}.")
    return dict(metadata)
