"""Pictures of a video come upright, square and in the colours that the file declares."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from video.clips import HEIGHT, WIDTH, noise, write_clip

from avzoo.video import probe_video, read_video


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
def test_colours_follow_the_declared_matrix_and_range(tmp_path, matrix, limited):
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
    for size in (None, (24, 32)):
        for frame, patch in zip(read_video(path, size=size).frames, patches, strict=True):
            expected = rgb_of(*patch, *WEIGHTS[matrix], limited)
            np.testing.assert_allclose(frame, np.broadcast_to(expected, frame.shape), atol=2.1, err_msg=f"{size}")


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
