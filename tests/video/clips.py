"""Small video files for tests, written with PyAV alone, so that reader and writer don't prove each other."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH = 48, 64


def noise(frames: int = 50, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(frames, height, width, 3): frame i is fine noise on the grey level 10 + 4 i."""
    grain = np.random.default_rng(0).integers(0, 9, (frames, height, width, 1), dtype=np.uint8)
    levels = 10 + 4 * np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(levels + grain, (frames, height, width, 3)).copy()


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames of [`noise`] these are."""
    return np.rint((frames.mean(axis=(1, 2, 3)) - 14) / 4).astype(int).tolist()


def chirp(rate: int, seconds: float = 2.0) -> np.ndarray:
    """A rising tone: any shift of it shows."""
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * (300 * time + 400 * time**2))).astype(np.float32)


def lag(samples: np.ndarray, expected: np.ndarray) -> int:
    """By how many samples `samples` comes later than `expected`, from the peak of their cross-correlation."""
    length = 2 * max(len(samples), len(expected))
    spectrum = np.fft.rfft(samples, length) * np.conj(np.fft.rfft(expected, length))
    shift = int(np.argmax(np.fft.irfft(spectrum, length)))
    return shift - length if shift > length // 2 else shift


def write_clip(
    path: Path,
    frames: np.ndarray,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 48000,
    sound_codec: str = "aac",
    sound_format: str = "flt",
    sound_stamps: Sequence[int] | None = None,
    codec_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Encode frames (frames, height, width, 3) and sound (channels, samples).

    Args:
        stamps: of the frames, in `time_base`; None: 0, 1, ... in 1 / rate.
        sound_stamps: of each 1024 samples, in 1 / sound_rate; None: without a gap from 0.
        options: of the container.
    """
    with av.open(str(path), "w", options=options) as container:
        fast = {"preset": "superfast"} if codec.startswith("libx26") else {}
        stream = container.add_stream(codec, rate=rate, options={**fast, **(codec_options or {})})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
        stream.bit_rate = 4_000_000  # of codecs without a quality of their own: enough to tell the numbers
        time_base = time_base or 1 / Fraction(rate)
        stream.codec_context.time_base = time_base
        track = None
        if sound is not None:
            options = {"strict": "-2"} | ({"aac_coder": "fast"} if sound_codec == "aac" else {})
            layout = {1: "mono", 2: "stereo"}[len(sound)]
            track = container.add_stream(sound_codec, rate=sound_rate, layout=layout, options=options)
        packets = []
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = (index if stamps is None else stamps[index]), time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if track is not None:
            for index, start in enumerate(range(0, sound.shape[1], 1024)):
                interleaved = np.ascontiguousarray(sound[:, start : start + 1024].T).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(interleaved, format=sound_format, layout=track.layout.name)
                frame.sample_rate, frame.time_base = sound_rate, Fraction(1, sound_rate)
                frame.pts = start if sound_stamps is None else sound_stamps[index]
                packets += track.encode(frame)
            packets += track.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def selected_by_ffmpeg(path: Path, fps: Fraction) -> np.ndarray:
    """What FFmpeg's own filter `fps` makes of a file, on time stamps that begin at 0."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        ends = [
            graph.add_buffer(template=stream),
            graph.add("setpts", "PTS-STARTPTS"),
            graph.add("fps", f"fps={fps}"),
            graph.add("buffersink"),
        ]
        for first, second in itertools.pairwise(ends):
            first.link_to(second)
        graph.configure()
        frames = []
        for frame in [*container.decode(stream), None]:
            graph.vpush(frame)
            while True:
                try:
                    frames.append(graph.vpull().to_ndarray(format="rgb24").copy())
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
    return np.stack(frames)
