import io
import itertools
import os
import struct
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from video.clips import HEIGHT, WIDTH, chirp, lag, noise, numbers, selected_by_ffmpeg, write_clip

from avzoo.video import Video, VideoReader, iter_video, probe_video, read_video

OPEN_GOP = {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3:scenecut=0"}
KINDS = {
    "mp4": {},
    "mov": {"codec": "mpeg4"},
    "mkv": {"codec_options": OPEN_GOP},
    "ts": {"codec_options": OPEN_GOP},
    "webm": {"codec": "libvpx-vp9", "codec_options": {"deadline": "realtime", "cpu-used": "8"}},
    "avi": {"codec": "mpeg4"},
    "flv": {},
    "wmv": {"codec": "wmv2"},
    "gif": {"codec": "gif", "pixel_format": "gray"},
    "h264": {},  # bare: no time stamps at all
}


@pytest.fixture(scope="module", params=KINDS)
def clip(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / f"clip.{request.param}"
    return write_clip(path, noise(), **KINDS[request.param])


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> Path:
    sound = np.stack([chirp(48000), np.zeros(96000, np.float32)])
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    return write_clip(path, noise(), sound=sound, codec_options=OPEN_GOP, movflags="faststart")


# Frames on the clock.


def test_a_file_of_any_kind_gives_each_frame_once(clip):
    video = read_video(clip)
    assert video.frames.shape == (50, HEIGHT, WIDTH, 3)
    assert video.frames.dtype == np.uint8
    assert video.fps == 25
    assert (video.audio, video.sampling_rate) == (None, None)
    assert numbers(video.frames) == list(range(50))


def test_random_access_equals_reading_from_the_beginning(clip):
    reader = VideoReader(clip)
    frames = reader.read()
    for first in [0, 1, 10, 24, 39, 41, 49]:
        np.testing.assert_array_equal(reader.read(start=first / 25), frames[first:])
        np.testing.assert_array_equal(reader.read(start=first / 25, end=(first + 2) / 25), frames[first : first + 2])
        np.testing.assert_array_equal(reader.frame_at(first / 25), frames[first])
        np.testing.assert_array_equal(reader.frame_at((first + 0.99) / 25), frames[first])


@pytest.mark.parametrize("block_frames", [1, 7, 50, 1000])
@pytest.mark.parametrize("fps", [None, 60, 10])
def test_blocks_put_together_are_the_whole(mp4, block_frames, fps):
    blocks = list(iter_video(mp4, fps, (24, 32), block_frames=block_frames, start=0.2, end=1.6))
    assert {len(block) for block in blocks[:-1]} <= {block_frames}
    assert 0 < len(blocks[-1]) <= block_frames
    together = np.concatenate(blocks)
    np.testing.assert_array_equal(together, read_video(mp4, fps, (24, 32), start=0.2, end=1.6).frames)
    every = np.concatenate(list(VideoReader(mp4).frames(fps, (24, 32))))
    np.testing.assert_array_equal(together, every[round(0.2 * (fps or 25)) : round(1.6 * (fps or 25))])


def test_a_block_is_the_callers_own(mp4):
    expected = read_video(mp4, 100).frames
    kept = []
    for block in iter_video(mp4, 100, block_frames=3):  # every frame four times: across the ends of blocks
        kept.append(block.copy())
        block[:] = 0
    np.testing.assert_array_equal(np.concatenate(kept), expected)


RATES = [(25, 30), (30, 25), (Fraction(30000, 1001), 25), (25, Fraction(25, 2)), (50, 25), (24, Fraction(30000, 1001))]


@pytest.mark.parametrize(("source_rate", "fps"), RATES)
def test_frames_are_chosen_as_by_ffmpegs_fps_filter(tmp_path, source_rate, fps):
    path = write_clip(tmp_path / "a.mp4", noise(), source_rate)
    expected = selected_by_ffmpeg(path, Fraction(fps))
    frames = read_video(path, fps).frames
    assert len(frames) == round(50 / source_rate * fps)
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_array_equal(read_video(path, float(fps)).frames, expected)


def test_a_variable_rate_comes_out_right_by_its_time_stamps(tmp_path):
    stamps = np.cumsum(np.random.default_rng(0).integers(5, 200, 50)).tolist()  # milliseconds
    path = write_clip(tmp_path / "a.mkv", noise(), stamps=stamps, time_base=Fraction(1, 1000))
    for fps in (25, 10, 100):
        frames = read_video(path, fps).frames
        np.testing.assert_array_equal(frames, selected_by_ffmpeg(path, Fraction(fps)))
        begins = [int((stamp - stamps[0]) * fps / 1000 + 0.5) for stamp in stamps]
        shown = [max(i for i, begin in enumerate(begins) if begin <= frame) for frame in range(len(frames))]
        assert numbers(frames) == shown
        np.testing.assert_array_equal(read_video(path, fps, start=1.2).frames, frames[round(1.2 * fps) :])
    reader = VideoReader(path)
    for index in (0, 20, 48):
        during = (stamps[index] + stamps[index + 1]) / 2 - stamps[0]
        assert numbers(reader.frame_at(during / 1000)[None]) == [index]


def test_without_a_rate_a_variable_one_becomes_its_average(tmp_path):
    stamps = [0, 1, 2, 10, 11, 12, 30, 31, 32, 39]  # of 60 per second, and the last is shown for one
    path = write_clip(tmp_path / "a.mp4", noise(10), 60, "mpeg4", stamps=stamps)
    video = read_video(path)
    assert video.fps == 15
    assert numbers(video.frames) == [1, 2, 2, 5, 5, 5, 5, 5, 8, 8]  # at 0, 1, 2, 10 ... quarters of a frame, rounded


def test_frames_in_memory_are_resampled_like_a_file(mp4):
    whole = read_video(mp4)
    for fps in (30, 12.5, Fraction(60000, 1001)):
        np.testing.assert_array_equal(
            read_video(whole.frames, fps, source_fps=25, start=0.4).frames, read_video(mp4, fps, start=0.4).frames
        )


def test_the_clock_begins_at_the_first_frame(tmp_path):
    sound = chirp(48000)[None]
    stamps = 4800 + 1024 * np.arange(len(range(0, 96000, 1024)))
    late = write_clip(
        tmp_path / "a.mkv", noise(), stamps=list(range(25, 75)), sound=sound, sound_stamps=(48000 + stamps).tolist()
    )
    video = read_video(late, sampling_rate=16000)
    assert numbers(video.frames) == list(range(50))
    assert abs(lag(video.audio, np.pad(chirp(16000), (1600, 0)))) <= 16
    assert numbers(read_video(late, start=1.0).frames) == list(range(25, 50))


def test_a_start_and_an_end_snap_to_frames_and_ranges_tile(mp4):
    frames = read_video(mp4, 30).frames
    edges = [0, 0.31, 0.777, 1.5, 1.9]
    parts = [read_video(mp4, 30, start=a, end=b).frames for a, b in itertools.pairwise(edges)]
    assert [len(part) for part in parts] == [9, 14, 22, 12]
    np.testing.assert_array_equal(np.concatenate(parts), frames[:57])
    assert len(read_video(mp4, 30, start=1.9, end=1000).frames) == 3


def test_a_video_shorter_than_half_a_frame_still_has_one():
    assert len(read_video(noise(1), 1, source_fps=25).frames) == 1
    assert len(read_video(noise(2), Fraction(1, 100), source_fps=25).frames) == 1


# Sound on the same clock.


@pytest.mark.parametrize(
    ("file_name", "how"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"sound_codec": "libmp3lame"}),
        ("a.mov", {"sound_codec": "pcm_s16le"}),
        ("a.mkv", {}),
        ("a.ts", {}),
        ("a.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus"}),
    ],
)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_sound_lies_on_the_clock_of_the_frames(tmp_path, file_name, how, rate):
    path = write_clip(tmp_path / file_name, noise(), sound=chirp(48000)[None], **how)
    video = read_video(path, sampling_rate=rate)
    assert video.audio.dtype == np.float32
    assert video.audio.shape == (2 * rate,)
    assert abs(lag(video.audio, chirp(rate))) <= rate / 1000
    part = read_video(path, start=1.2, end=1.6, sampling_rate=rate)
    assert len(part.audio) == round(0.4 * rate)
    np.testing.assert_allclose(part.audio, video.audio[round(1.2 * rate) : round(1.6 * rate)], atol=1e-4)


def test_a_late_track_is_preceded_by_zeros_and_an_early_one_cut(tmp_path):
    sound = chirp(48000)[None]
    stamps = (12000 + 1024 * np.arange(len(range(0, 96000, 1024)))).tolist()
    late = write_clip(tmp_path / "late.mov", noise(), sound=sound, sound_codec="pcm_s16le", sound_stamps=stamps)
    late = read_video(late)
    assert len(late.audio) == 96000
    assert not late.audio[:11990].any()
    np.testing.assert_allclose(late.audio[12048:], sound[0, 48:84000], atol=0.02)  # mov keeps starts in milliseconds
    early = write_clip(tmp_path / "early.mkv", noise(), sound=sound, sound_codec="pcm_s16le", stamps=range(10, 60))
    np.testing.assert_allclose(read_video(early).audio[:76800], sound[0, 19200:], atol=1e-4)
    assert not read_video(early).audio[76800:].any()


def test_gaps_in_the_time_stamps_of_sound_are_zeros(tmp_path):
    stamps = [1024 * index + (24000 if index > 30 else 0) for index in range(len(range(0, 48000, 1024)))]
    sound = chirp(48000, 1.0)[None]
    path = write_clip(tmp_path / "a.mkv", noise(), sound=sound, sound_codec="pcm_s16le", sound_stamps=stamps)
    audio = read_video(path).audio
    np.testing.assert_allclose(audio[: 31 * 1024], sound[0, : 31 * 1024], atol=1e-4)
    after = 31 * 1024 + 24000
    assert not audio[31 * 1024 + 50 : after - 50].any()
    assert abs(lag(audio[after : after + 16000], sound[0, 31 * 1024 : 31 * 1024 + 16000])) <= 48


def test_sound_covers_the_frames_however_long_its_track_is(tmp_path):
    for seconds in (1.0, 3.0):
        sound = chirp(48000, seconds)[None]
        path = write_clip(tmp_path / "a.mkv", noise(), sound=sound, sound_codec="pcm_f32le")
        audio = read_video(path).audio
        assert len(audio) == 96000
        expected = np.zeros(96000, np.float32)
        expected[: min(96000, sound.shape[1])] = sound[0, :96000]
        np.testing.assert_array_equal(audio, expected)
        track, rate = VideoReader(path).soundtrack()
        assert rate == 48000
        np.testing.assert_array_equal(track, sound[0])
        padded, _ = VideoReader(path).soundtrack(start=0.5, end=4.0)
        assert len(padded) == 3.5 * 48000
        np.testing.assert_array_equal(padded[: sound.shape[1] - 24000], sound[0, 24000:])


def test_frames_after_the_end_of_the_sound_are_silent(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(), sound=chirp(48000, 0.5)[None])
    for start in (0.6, 1.6):
        video = read_video(path, start=start, sampling_rate=16000)
        assert video.audio.shape == (round((2 - start) * 16000),)
        assert not video.audio.any()
        assert VideoReader(path).soundtrack(16000, start=start)[0].shape == (0,)


def test_a_sound_track_without_sound_is_silent(tmp_path):
    path = write_clip(tmp_path / "a.mkv", noise(5), sound=np.zeros((1, 0), np.float32), sound_codec="pcm_s16le")
    assert read_video(path).audio.tolist() == [0] * 9600


def test_channels_are_averaged(mp4):
    assert probe_video(mp4).channels == 2
    audio = read_video(mp4, sampling_rate=16000).audio
    np.testing.assert_allclose(audio[2000:-2000], 0.5 * chirp(16000)[2000:-2000], atol=0.03)


def test_asking_for_sound_that_is_not_there(tmp_path):
    path = write_clip(tmp_path / "silent.mp4", noise(5))
    video = read_video(path, sampling_rate=16000)
    assert (video.audio, video.sampling_rate) == (None, None)
    with pytest.raises(
        ValueError, match=r"`clip` \(silent.mp4\) has no audio stream that can be decoded \(streams: video\)"
    ):
        VideoReader(path, name="clip").soundtrack()
    with pytest.raises(ValueError, match=r"`video` has no sound, only frames"):
        VideoReader(noise(5), source_fps=25).soundtrack()


def test_nan_in_the_sound_is_refused(tmp_path):
    sound = chirp(48000)[None]
    sound[0, 50_000:50_003] = np.nan
    path = write_clip(tmp_path / "a.mkv", noise(), sound=sound, sound_codec="pcm_f32le")
    with pytest.raises(ValueError, match=r"\(a.mkv\): 3 samples of its sound are NaN or infinite"):
        read_video(path)


# Pictures: orientation, size, colour.


def quarters() -> np.ndarray:
    """Red, green; blue, black."""
    frames = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, : HEIGHT // 2, : WIDTH // 2, 0] = 255
    frames[:, : HEIGHT // 2, WIDTH // 2 :, 1] = 255
    frames[:, HEIGHT // 2 :, : WIDTH // 2, 2] = 255
    return frames


MATRICES = {  # (a, b, c, d) of the track header: x' = a x + c y, y' = b x + d y, y downwards
    "upright": ((1, 0, 0, 1), 0, lambda frame: frame),
    "90": ((0, 1, -1, 0), 90, lambda frame: np.rot90(frame, -1)),
    "180": ((-1, 0, 0, -1), 180, lambda frame: np.rot90(frame, 2)),
    "270": ((0, -1, 1, 0), 270, lambda frame: np.rot90(frame)),
    "mirrored": ((-1, 0, 0, 1), 0, lambda frame: frame[:, ::-1]),
    "upside down": ((1, 0, 0, -1), 180, lambda frame: frame[::-1]),
    "transposed": ((0, 1, 1, 0), 270, lambda frame: frame.swapaxes(0, 1)),
}


@pytest.mark.parametrize("case", MATRICES)
def test_frames_are_upright(tmp_path, case):
    matrix, rotation, upright = MATRICES[case]
    frames = quarters()
    content = write_clip(
        tmp_path / "a.mp4", frames, codec="libx264rgb", pixel_format="rgb24", codec_options={"qp": "0"}
    ).read_bytes()
    at = content.index(b"tkhd") + 44  # the matrix, 16.16 fixed point but for its last column
    a, b, c, d = (value << 16 for value in matrix)
    content = content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :]
    info = probe_video(content)
    expected = upright(frames[0])
    assert (info.rotation, info.height, info.width) == (rotation, *expected.shape[:2])
    np.testing.assert_array_equal(read_video(content).frames, np.stack([expected] * 3))
    scaled = read_video(content, size=(20, 30)).frames[0]
    assert scaled.shape == (20, 30, 3)
    corners = scaled[[[2, 2], [-3, -3]], [[2, -3], [2, -3]]]
    np.testing.assert_allclose(corners, expected[[[2, 2], [-3, -3]], [[2, -3], [2, -3]]], atol=2)


def test_a_photo_is_upright(tmp_path):
    frame = quarters()[0]
    tags = Image.Exif()
    for tag, upright in ((1, frame), (3, np.rot90(frame, 2)), (6, np.rot90(frame, -1)), (8, np.rot90(frame))):
        tags[0x0112] = tag  # orientation
        Image.fromarray(frame).save(tmp_path / "a.jpg", exif=tags, quality=100, subsampling=0)
        np.testing.assert_allclose(read_video(tmp_path / "a.jpg").frames, upright[None], atol=3)


def test_pixels_are_made_square(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        for pixels in quarters():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    frames = read_video(path).frames
    assert frames.shape == (3, HEIGHT, 96, 3)
    assert (probe_video(path).height, probe_video(path).width) == (HEIGHT, 96)
    assert frames[0, 5, 40, 0] > 200  # red still ends in the middle
    assert frames[0, 5, 55, 1] > 200
    assert read_video(path, size=(HEIGHT, WIDTH)).frames.shape == (3, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("size", [(24, 32), (12, 60), (96, 128), (7, 5), (1, 1)])
def test_scaling_neither_shifts_nor_aliases(tmp_path, size):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ramp = np.stack([4 * columns, 5 * rows, 255 - 4 * columns], axis=-1).astype(np.uint8)
    checks = np.broadcast_to(255 * ((rows + columns) % 2)[..., None], ramp.shape).astype(np.uint8)
    frames = np.stack([ramp, checks])
    path = write_clip(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format="bgr0")
    rows = (np.arange(size[0]) + 0.5) * HEIGHT / size[0] - 0.5
    columns = (np.arange(size[1]) + 0.5) * WIDTH / size[1] - 0.5
    expected = np.stack(np.broadcast_arrays(4 * columns, 5 * rows[:, None], 255 - 4 * columns), axis=-1)
    for source in (path, frames):
        scaled = read_video(source, size=size, source_fps=25).frames
        inside = (slice(size[0] // 4, -(size[0] // 4) or None), slice(size[1] // 4, -(size[1] // 4) or None))
        np.testing.assert_allclose(scaled[0][inside], expected[inside], atol=3)
        if size[0] <= HEIGHT / 2:
            np.testing.assert_allclose(scaled[1][inside], 127.5, atol=8)


def rgb_of(y: int, u: int, v: int, red: float, blue: float, limited: bool) -> np.ndarray:
    """The definition of Y'CbCr, ITU-R BT.601 and BT.709, with their weights of red and blue."""
    if limited:
        luma, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    else:
        luma, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    return np.clip(255 * np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b]), 0, 255)


WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 2: (0.299, 0.114)}  # 2: not declared


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("size", [None, (24, 32)])
def test_colours_follow_the_declared_matrix_and_range(tmp_path, matrix, limited, size):
    path = tmp_path / "a.mkv"
    patches = [(81, 90, 200), (145, 60, 40), (60, 200, 110), (200, 100, 150), (235, 128, 128), (16, 128, 128)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 1 if limited else 2
        for patch in patches:
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            frame.colorspace, frame.color_range = matrix, 1 if limited else 2
            for plane, value in zip(frame.planes, patch, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for frame, patch in zip(read_video(path, size=size).frames, patches, strict=True):
        expected = rgb_of(*patch, *WEIGHTS[matrix], limited)
        np.testing.assert_allclose(frame, np.broadcast_to(expected, frame.shape), atol=2.1)


FORMATS = [
    ("ffv1", "gray"),
    ("ffv1", "yuv420p10le"),
    ("ffv1", "yuva420p"),
    ("ffv1", "bgra"),
    ("ffv1", "yuv444p16le"),
    ("libx264", "yuv444p"),
    ("prores_ks", "yuv422p10le"),
    ("prores_ks", "yuva444p10le"),
    ("png", "rgba"),
    ("png", "rgb48be"),
    ("png", "ya8"),
    ("qtrle", "argb"),
    ("rawvideo", "bgr24"),
    ("mjpeg", "yuvj422p"),
    ("libx264rgb", "rgb24"),
]


@pytest.mark.parametrize(("codec", "pixel_format"), FORMATS)
def test_every_pixel_format_becomes_rgb(tmp_path, codec, pixel_format):
    ending = {"png": "mov", "qtrle": "mov", "prores_ks": "mov", "rawvideo": "avi"}.get(codec, "mkv")
    path = write_clip(tmp_path / f"a.{ending}", noise(8), codec=codec, pixel_format=pixel_format)
    for size in (None, (24, 32)):
        frames = read_video(path, size=size).frames
        assert frames.shape[-1] == 3
        np.testing.assert_allclose(frames.mean(axis=(1, 2)), 14 + 4 * np.arange(8)[:, None].repeat(3, 1), atol=2)


def test_odd_and_single_pixel_frames(tmp_path):
    for height, width in [(1, 1), (1, 9), (9, 1), (7, 13)]:
        path = write_clip(tmp_path / "a.mov", noise(4, height, width), codec="png", pixel_format="rgb24")
        np.testing.assert_array_equal(read_video(path).frames, noise(4, height, width))
        assert read_video(path, size=(3, 4)).frames.shape == (4, 3, 4, 3)


def test_a_huge_picture_is_converted_one_by_one(tmp_path):
    frames = np.broadcast_to(np.uint8([200, 100, 50]), (1, 4320, 7680, 3))
    path = write_clip(tmp_path / "a.avi", frames, codec="mjpeg", pixel_format="yuvj420p")
    small = read_video(path, size=(9, 16)).frames
    np.testing.assert_allclose(small, np.broadcast_to([200, 100, 50], small.shape), atol=3)


def test_more_than_the_machine_has_is_refused_before_it_is_tried(mp4, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 400}.__getitem__)
    with pytest.raises(MemoryError, match=r"\(clip.mp4\): 51 frames of 48x64 take 0.0 GB.*`iter_video`"):
        read_video(mp4)
    assert len(read_video(mp4, size=(24, 32)).frames) == 50
    assert sum(len(block) for block in iter_video(mp4)) == 50


# Sources.


def sources_of(path: Path) -> dict:
    content = path.read_bytes()
    return {
        "str": str(path),
        "path": path,
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "file in memory": io.BytesIO(content),
        "file from its middle": SimpleNamespace(read=io.BytesIO(content).read),
        "row with bytes": {"path": "somewhere/else.mp4", "bytes": content},
        "row with path": {"path": str(path), "bytes": None},
        "decoder of datasets": SimpleNamespace(_hf_encoded={"path": None, "bytes": content}),
    }


@pytest.mark.parametrize("kind", sources_of(Path(__file__)))
def test_every_kind_of_file_gives_the_same(mp4, kind):
    video, expected = read_video(sources_of(mp4)[kind], 30, start=0.5), read_video(mp4, 30, start=0.5)
    np.testing.assert_array_equal(video.frames, expected.frames)
    np.testing.assert_array_equal(video.audio, expected.audio)
    assert (video.fps, video.sampling_rate) == (30, 48000)


def decoder_of(frames: np.ndarray, times: np.ndarray) -> SimpleNamespace:
    """Shaped like torchcodec's VideoDecoder."""

    class Decoder:
        metadata = SimpleNamespace(average_fps=25.0)

        def __len__(self):
            return len(frames)

        def get_frame_at(self, index):
            data = torch.from_numpy(frames[index]).permute(2, 0, 1)
            return SimpleNamespace(data=data, pts_seconds=float(times[index]), duration_seconds=0.04)

    return Decoder()


def test_every_kind_of_frames_gives_the_same():
    frames = noise(10)
    kinds = [
        frames,
        torch.from_numpy(frames),
        torch.from_numpy(frames).permute(0, 3, 1, 2),
        list(frames),
        tuple(torch.from_numpy(frame) for frame in frames),
        [Image.fromarray(frame) for frame in frames],
        [Image.fromarray(frame[..., 0]) for frame in frames],
        frames[..., 0],
        list(frames[..., 0]),
        decoder_of(frames, 3 + np.arange(10) / 25),
        Video(frames, 25.0),
    ]
    for source in kinds:
        video = read_video(source, 50, source_fps=None if hasattr(source, "fps") else 25)
        np.testing.assert_array_equal(video.frames, frames.repeat(2, axis=0))
        assert (video.fps, video.audio) == (50, None)


def test_a_decoders_own_times_are_followed():
    times = np.array([0, 0.04, 0.2, 0.24])
    frames = read_video(decoder_of(noise(4), times + 0.08), 25).frames
    assert numbers(frames) == [0, 1, 1, 1, 1, 2, 3]


def test_a_video_in_memory_keeps_its_sound():
    video = Video(noise(50), 25.0, chirp(16000), 16000)
    again = read_video(video, 50, start=0.4, end=1.2, sampling_rate=8000)
    assert (len(again.frames), again.fps, again.sampling_rate) == (40, 50, 8000)
    assert again.audio.shape == (6400,)
    np.testing.assert_allclose(again.audio[500:-500], chirp(8000)[3200:9600][500:-500], atol=1e-3)
    assert VideoReader(video).info.sampling_rate == 16000
    assert video.duration == 2


def test_an_open_file_is_left_open_and_where_it_stood(mp4):
    with open(mp4, "rb") as file:
        first, second = read_video(file).frames, read_video(file).frames
        assert not file.closed
        assert file.tell() == 0
    np.testing.assert_array_equal(first, second)


def test_readings_of_one_file_object_do_not_disturb_each_other(mp4):
    with open(mp4, "rb") as file:
        reader = VideoReader(file)
        expected = reader.read()
        for one, other in zip(reader.frames(block_frames=1), reader.frames(block_frames=1, start=0.4), strict=False):
            np.testing.assert_array_equal(numbers(other)[0] - numbers(one)[0], 10)
        results = [None] * 4

        def work(index):
            results[index] = reader.read()

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_files_are_closed_also_when_an_iterator_is_left_early(mp4):
    read_video(mp4)  # whatever is opened once only
    before = len(os.listdir("/dev/fd"))
    blocks = iter_video(mp4, block_frames=1)
    next(blocks)
    assert len(os.listdir("/dev/fd")) > before
    blocks.close()
    VideoReader(mp4).frame_at(0.5)
    read_video(mp4, end=0.5)
    assert len(os.listdir("/dev/fd")) == before


def test_probing_says_what_reading_will_give(mp4):
    info = probe_video(mp4)
    assert (info.height, info.width, info.fps, info.codec, info.pixel_format) == (48, 64, 25.0, "h264", "yuv420p")
    assert info.duration == pytest.approx(2.0)
    assert (info.rotation, info.sampling_rate, info.channels) == (0, 48000, 2)


def test_stills_and_animations_are_videos(tmp_path):
    pictures = [Image.fromarray(frame) for frame in noise(3)]
    for name in ("still.png", "50% of a still.png", "still: 1.bmp"):
        pictures[0].save(tmp_path / name)
        np.testing.assert_array_equal(read_video(tmp_path / name).frames, noise(1))
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert numbers(read_video(tmp_path / "a.gif", 20).frames) == [0, 0, 1, 1, 2, 2]


# What can't be read.


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


@pytest.mark.parametrize("share", [0.4, 0.7, 0.9])
@pytest.mark.parametrize(
    ("file_name", "how"),
    [
        ("cut.mp4", {"movflags": "faststart"}),
        ("cut.mp4", {"movflags": "frag_keyframe+empty_moov", "codec_options": {"g": "10"}}),
        ("cut.mkv", {}),
        ("cut.avi", {"codec": "mpeg4"}),
        ("cut.flv", {}),
    ],
)
def test_a_file_cut_short_is_refused_with_what_could_be_decoded(tmp_path, file_name, how, share):
    path = cut(write_clip(tmp_path / file_name, noise(100) // 2, **how), share)
    with pytest.raises(
        ValueError, match=rf"`clip` \({file_name}\) breaks off: \d\.\d+ s could be decoded \(.+\)\. The"
    ):
        read_video(path, name="clip")
    assert len(read_video(path, end=0.4).frames) == 10


def test_a_last_packet_that_is_not_whole_is_not_lost_in_silence(tmp_path):
    path = write_clip(tmp_path / "cut.mp4", noise(), movflags="faststart")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"`video` \(cut.mp4\) breaks off: 1\.\d+ s could be decoded"):
        read_video(path)


def test_a_file_without_its_index_is_no_video(tmp_path):
    path = cut(write_clip(tmp_path / "cut.mp4", noise()), 0.6)
    with pytest.raises(ValueError, match=r"\(cut.mp4\) is no audio or video file that .* can read \(Invalid data"):
        read_video(path)


def test_damage_in_the_middle_is_refused_where_it_is_reached(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(), movflags="faststart", codec_options={"g": "10"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    blocks = iter_video(bytes(content), block_frames=5)
    np.testing.assert_array_equal(numbers(next(blocks)), range(5))
    with pytest.raises(ValueError, match=r"`video` breaks off: 0\.\d+ s could be decoded"):
        list(blocks)
    assert numbers(read_video(bytes(content), start=1.6).frames) == list(range(40, 50))  # a seek passes it


def test_a_recording_that_begins_between_whole_pictures_begins_with_the_first(tmp_path):
    content = write_clip(tmp_path / "a.ts", noise(), codec_options={"g": "10"}).read_bytes()
    shown = numbers(read_video(content[len(content) // 188 // 3 * 188 :]).frames)
    assert shown[0] > 10
    assert shown == list(range(shown[0], 50))


def test_sound_that_breaks_off_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(5), sound=chirp(48000, 4)[None], movflags="faststart")
    cut(path, 0.8)
    with pytest.raises(ValueError, match=r"\(a.mp4\) breaks off: [123]\.\d+ s could be decoded"):
        VideoReader(path).soundtrack()


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        track = container.add_stream("libmp3lame", rate=48000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = HEIGHT, WIDTH, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = cover.encode(av.VideoFrame.from_ndarray(noise(1)[0], format="rgb24")) + cover.encode(None)
        container.mux(picture)
        frame = av.AudioFrame.from_ndarray(chirp(48000)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(track.encode(frame) + track.encode(None))
    with pytest.raises(ValueError, match=r"`video` \(song.mp3\) has no video stream, only a cover picture"):
        read_video(path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(track.encode(frame))
    with pytest.raises(ValueError, match=r"`clip` \(a.wav\) has no video stream \(streams: audio\)"):
        iter_video(path, name="clip")


@pytest.mark.parametrize("function", [read_video, iter_video, probe_video, VideoReader])
def test_an_unreadable_path_is_an_os_error_with_that_path(tmp_path, function):
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        function(tmp_path / "missing.mp4")
    with pytest.raises(OSError, match=tmp_path.name):
        function(tmp_path)


FRAMES = np.zeros((3, 4, 5, 3), np.uint8)
BAD_INPUTS = [
    ("https://example.com/a.mp4", {}, ValueError, r"`video` is a URL \(https://example.com/a.mp4\); download it"),
    (b"", {}, ValueError, r"`video` is empty: 0 bytes"),
    (b"words, words, words", {"name": "reply"}, ValueError, r"`reply` is no audio or video file"),
    (io.StringIO("text"), {}, TypeError, r'text file object; open it in binary mode \("rb"\)'),
    (None, {}, TypeError, r"`video` must be a path, .* got NoneType"),
    (3.0, {}, TypeError, r"`video` must be a path, .* got float"),
    ({"frames": FRAMES}, {}, ValueError, r"dict with the keys \['frames'\]; expected \"bytes\" or \"path\""),
    ({"path": None, "bytes": None}, {}, ValueError, r"expected \"bytes\" or \"path\""),
    (FRAMES, {"source_fps": None}, ValueError, r"don't tell their rate; pass it as `source_fps`"),
    (FRAMES[:0], {}, ValueError, r"`video` holds no frames"),
    ([], {}, ValueError, r"`video` holds no frames"),
    (FRAMES[..., :2], {}, ValueError, r"`video` must be \(frames, height, width, 3\), .* got \(3, 4, 5, 2\)"),
    (FRAMES[0, 0], {}, ValueError, r"`video` must be \(frames, height, width, 3\), .* got \(5, 3\)"),
    (FRAMES[:, :0], {}, ValueError, r"`video` must be \(frames, height, width, 3\), .* got \(3, 0, 5, 3\)"),
    (FRAMES / 255, {}, TypeError, r"`video` must be uint8 in \[0, 255\], got float64; scale floats"),
    (torch.zeros(3, 4, 5, 3), {}, TypeError, r"`video` must be uint8 in \[0, 255\], got float32"),
    ([FRAMES[0], FRAMES[0, :2]], {}, ValueError, r"picture 1 is \(2, 5\), the first \(4, 5\); all must have one size"),
    (["a.png"], {}, TypeError, r"picture 0 must be an array, a tensor or a PIL image, got str"),
    ([FRAMES[0] / 1.0], {}, TypeError, r"picture 0 must be uint8"),
    ([FRAMES[0, 0, 0]], {}, ValueError, r"picture 0 must be \(height, width, 3\) or \(height, width\), got \(3,\)"),
    (FRAMES, {"source_fps": 0}, ValueError, r"`source_fps` must be a positive number of frames per second, got 0"),
    (FRAMES, {"fps": -25}, ValueError, r"`fps` must be a positive number of frames per second, got -25"),
    (FRAMES, {"fps": float("nan")}, ValueError, r"`fps` must be a positive number"),
    (FRAMES, {"fps": 1e-9}, ValueError, r"`fps`"),
    (FRAMES, {"fps": 1e6}, ValueError, r"`fps` must be at most 1000 frames per second, got 1000000.0"),
    (FRAMES, {"fps": "25"}, TypeError, r"`fps` must be a number of frames per second, got '25'"),
    (FRAMES, {"fps": True}, TypeError, r"`fps` must be a number"),
    (FRAMES, {"size": 224}, TypeError, r"`size` must be \(height, width\), two whole numbers of pixels, got 224"),
    (FRAMES, {"size": (1.5, 2)}, TypeError, r"`size` must be \(height, width\), two whole numbers"),
    (FRAMES, {"size": (0, 5)}, ValueError, r"`size` must be \(height, width\), each from 1 to 16384 pixels"),
    (FRAMES, {"size": (5, 100_000)}, ValueError, r"each from 1 to 16384 pixels, got \(5, 100000\)"),
    (FRAMES, {"start": -1}, ValueError, r"`start` must be a number of seconds from the first frame on, got -1"),
    (FRAMES, {"start": "1"}, TypeError, r"`start` must be a number of seconds, got '1'"),
    (FRAMES, {"end": float("inf")}, ValueError, r"`end` must be a number of seconds .*, got inf"),
    (FRAMES, {"start": 0.1, "end": 0.1}, ValueError, r"`end` \(0.1\) must come after `start` \(0.1\)"),
    (FRAMES, {"start": 0.041, "end": 0.042}, ValueError, r"`start` \(0.041\) and `end` \(0.042\) hold no frame at 25 "),
    (FRAMES, {"start": 5}, ValueError, r"`start` \(5 s\) is not before the end of `video`, 0.12 s"),
    (FRAMES, {"sampling_rate": 0}, ValueError, r"`sampling_rate` must be a positive"),
]


@pytest.mark.parametrize(("source", "arguments", "error", "message"), BAD_INPUTS)
def test_a_bad_source_or_argument_is_refused(source, arguments, error, message):
    with pytest.raises(error, match=message):
        read_video(source, **{"source_fps": 25, **arguments})


@pytest.mark.parametrize("start", [2.0, 100.0])
def test_a_start_after_the_end_is_refused(clip, start):
    with pytest.raises(ValueError, match=rf"`start` \({start:g} s\) is not before the end of `video` .*, 2 s"):
        read_video(clip, start=start)


def test_a_time_outside_the_video_is_refused(mp4):
    reader = VideoReader(mp4)
    with pytest.raises(ValueError, match=r"`seconds` \(2\) is not before the end of `video` \(clip.mp4\), 2 s"):
        reader.frame_at(2.0)
    with pytest.raises(ValueError, match=r"`seconds` must be a number of seconds from the first frame on, got -0.1"):
        reader.frame_at(-0.1)
    with pytest.raises(ValueError, match=r"`block_frames` must be a positive whole number, got 0"):
        reader.frames(block_frames=0)
