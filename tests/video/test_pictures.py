"""Still pictures as people have them: modes, depths, orientations, damaged files, arrays, rows of `datasets`."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avzoo.video import read_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# Four quarters, each of one colour, so that a turned or mirrored picture can be told.
QUARTERS = np.zeros((40, 60, 3), np.uint8)
QUARTERS[:20, :30], QUARTERS[:20, 30:], QUARTERS[20:, :30], QUARTERS[20:, 30:] = RED, GREEN, BLUE, WHITE


def encode(picture: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _no_warning_goes_unseen():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- what a file may hold ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA"])
def test_files_without_loss_give_their_pixels(kind, tmp_path):
    options = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / "picture.bin"  # the content counts, not the name
    path.write_bytes(encode(QUARTERS, kind, **options))
    picture = read_picture(path)
    assert (picture.dtype, picture.shape) == (np.uint8, (40, 60, 3))
    assert np.array_equal(picture, QUARTERS)


def test_a_jpeg_gives_nearly_its_pixels():
    picture = read_picture(encode(QUARTERS, "JPEG", quality=95))
    assert np.abs(picture[5:15, 5:25].astype(int) - RED).max() < 6


def test_grey_becomes_three_equal_colours():
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert np.array_equal(read_picture(encode(grey)), np.repeat(grey[..., None], 3, -1))


def test_black_and_white_is_0_and_255():
    picture = read_picture(encode(Image.fromarray(QUARTERS).convert("1")))
    assert set(picture.ravel()) == {0, 255}


def test_transparency_is_dropped():
    alpha = np.full((40, 60, 1), 7, np.uint8)
    assert np.array_equal(read_picture(encode(np.concatenate([QUARTERS, alpha], -1))), QUARTERS)


def test_grey_with_transparency_is_grey():
    picture = Image.merge("LA", (Image.new("L", (6, 4), 90), Image.new("L", (6, 4), 3)))
    assert np.array_equal(read_picture(encode(picture)), np.full((4, 6, 3), 90))


def test_a_palette_gives_its_colours():
    assert np.array_equal(read_picture(encode(Image.fromarray(QUARTERS).quantize(8))), QUARTERS)


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255, 255])])
def test_a_palette_with_transparency_gives_its_colours_in_silence(transparency):
    content = encode(Image.fromarray(QUARTERS).quantize(8), transparency=transparency)
    assert np.array_equal(read_picture(content), QUARTERS)


def test_inks_become_light():
    """Cyan ink alone takes the red away."""
    cmyk = Image.merge("CMYK", [Image.new("L", (8, 8), value) for value in (255, 0, 0, 0)])
    for kind in ("TIFF", "JPEG"):
        colour = read_picture(encode(cmyk, kind)).mean((0, 1))
        assert colour[0] < 4
        assert colour[1:].min() > 250


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(kind):
    """Pillow's own conversion would cut all above 255 to white."""
    deep = np.array([[0, 257, 12850, 65535]], np.uint16)
    assert np.array_equal(read_picture(encode(deep, kind))[0, :, 0], [0, 1, 50, 255])


def test_16_bits_in_the_order_of_other_machines_are_the_same():
    deep = np.array([[0, 257, 12850, 65535]], ">u2")
    picture = Image.frombytes("I;16B", (4, 1), deep.tobytes())
    assert np.array_equal(read_picture(picture)[0, :, 0], [0, 1, 50, 255])


def test_a_dark_picture_of_16_bits_stays_dark():
    deep = np.full((3, 4), 200, np.uint16)
    assert read_picture(encode(deep)).max() == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.4, 255.0], [0, 100, 255]),
        ([-5.0, 0.4, 300.0], [0, 0, 255]),
        ([-0.1, 0.5, 1.05], [0, 128, 255]),
        ([0.0, 12850.0, 65535.0], [0, 50, 255]),
        ([np.nan, 0.5, 1.0], [0, 128, 255]),
        ([np.inf, 0.5, -np.inf], [0, 128, 0]),
    ],
)
def test_floating_point_is_in_0_to_1_in_0_to_255_or_of_16_bits(values, expected):
    picture = Image.fromarray(np.array([values], np.float32))
    assert np.array_equal(read_picture(encode(picture, "TIFF"))[0, :, 0], expected)


def test_one_pixel_is_a_picture():
    assert read_picture(encode(np.array([[RED]], np.uint8))).tolist() == [[list(RED)]]


# --- orientation ------------------------------------------------------------------------------------------------------

TURNED = {
    1: Image.fromarray(QUARTERS),
    2: Image.fromarray(QUARTERS).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: Image.fromarray(QUARTERS).transpose(Image.Transpose.ROTATE_180),
    4: Image.fromarray(QUARTERS).transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: Image.fromarray(QUARTERS).transpose(Image.Transpose.TRANSPOSE),
    6: Image.fromarray(QUARTERS).transpose(Image.Transpose.ROTATE_90),  # stored so, it has to be turned back by 270
    7: Image.fromarray(QUARTERS).transpose(Image.Transpose.TRANSVERSE),
    8: Image.fromarray(QUARTERS).transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_picture_is_upright_whatever_its_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(TURNED[orientation], kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    picture = read_picture(content).astype(int)
    assert picture.shape == (40, 60, 3)
    for rows, columns in ((10, 15), (10, 45), (30, 15), (30, 45)):
        assert np.abs(picture[rows, columns] - QUARTERS[rows, columns]).max() < 8


def test_an_orientation_behind_other_metadata_is_found():
    """Editors put a block of XMP before the camera's; readers that stop at the first block miss the orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(TURNED[6], "JPEG", exif=exif)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    block = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    assert read_picture(content[:2] + block + content[2:]).shape == (40, 60, 3)


def test_an_orientation_that_is_none_changes_nothing():
    exif = Image.Exif()
    exif[0x0112] = 77
    assert np.array_equal(read_picture(encode(QUARTERS, exif=exif)), QUARTERS)


def test_metadata_that_is_damaged_leaves_the_picture():
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01and nothing that fits"
    assert read_picture(encode(QUARTERS, "JPEG", exif=exif)).shape == (40, 60, 3)


# --- several pictures in a file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_pictures_the_first_is_taken_and_that_is_said(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with pytest.warns(UserWarning, match="`image` holds 3 pictures; the first is taken"):
        picture = read_picture(content)
    assert np.array_equal(picture, np.broadcast_to(np.uint8(RED), (6, 8, 3)))


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_jpeg_that_is_cut_short_is_refused_by_name(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(noise, "JPEG")
    for length in (len(content) // 2, len(content) - 200, 300):
        (tmp_path / "street.jpg").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"`images\[1\]` \(street\.jpg\) is (damaged|no picture)"):
            read_picture(tmp_path / "street.jpg", name="images[1]")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_file_that_is_cut_in_half_is_refused(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(noise, kind)
    with pytest.raises(ValueError, match=r"`image` is (damaged|no picture)"):
        read_picture(content[: len(content) // 2])


def test_damaged_files_give_a_picture_or_a_value_error():
    """Each of 200 files with a few bytes changed; Pillow raises errors of many classes."""
    draw = np.random.default_rng(1)
    contents = [encode(QUARTERS, kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "TGA", "PPM", "ICO")]
    answers, messages = 0, []
    for index in range(200):
        content = bytearray(contents[index % len(contents)])
        for position in draw.integers(0, min(len(content), 120), 4):
            content[position] = draw.integers(0, 256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                answers += read_picture(bytes(content)).ndim == 3
            except ValueError as error:
                messages.append(str(error))
    assert [message for message in messages if not message.startswith("`image` ")] == []
    assert answers > 20


def test_a_header_that_claims_too_many_pixels_is_refused_before_memory_is_spent():
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side in (20_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        with pytest.raises(ValueError, match=r"`image` has .*more than 178000000( pixels)?; make it smaller first"):
            read_picture(bomb + chunk(b"IEND", b""))


def test_a_large_picture_below_the_bound_is_read_in_silence(monkeypatch):
    """Pillow warns from its bound on, and refuses from twice that on."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    assert read_picture(encode(QUARTERS)).shape == (40, 60, 3)


@pytest.mark.parametrize("url", ["https://a.b/street.jpg", "HTTP://a.b/street.jpg"])
def test_a_url_is_refused_with_the_way_out(url):
    with pytest.raises(ValueError, match=r"`image` is a URL \(.*street\.jpg\); download it first and pass the file"):
        read_picture(url)


@pytest.mark.parametrize("content", [b"", b"This is no picture.\n", b"\x89PNG", b"RIFF\x04\0\0\0WAVE", bytes(1000)])
def test_a_file_that_is_no_picture_is_refused(content, tmp_path):
    (tmp_path / "notes.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"`image` \(notes\.jpg\) is (no picture that Pillow can read|damaged)"):
        read_picture(tmp_path / "notes.jpg")
    with pytest.raises(ValueError, match=r"`image` is (no picture that Pillow can read|damaged)"):
        read_picture(content)


def test_a_program_of_postscript_is_not_run(monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("it was run"))
    with pytest.raises(ValueError, match="`image` is PostScript, a program; save it as PNG or JPEG first"):
        read_picture(encode(QUARTERS, "EPS"))


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"street\.jpg"):
        read_picture(tmp_path / "street.jpg")
    with pytest.raises(OSError, match=str(tmp_path)):
        read_picture(tmp_path)


@pytest.mark.parametrize("source", [None, 7, 0.5, [1, 2], object()])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(TypeError, match=rf"`image` must be a path, .*got {type(source).__name__}"):
        read_picture(source)


# --- other sources ----------------------------------------------------------------------------------------------------


def test_bytes_of_every_kind_and_file_objects_are_read():
    content = encode(QUARTERS)
    for source in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
        assert np.array_equal(read_picture(source), QUARTERS)


def test_a_file_object_stays_open(tmp_path):
    (tmp_path / "picture.png").write_bytes(encode(QUARTERS))
    with (tmp_path / "picture.png").open("rb") as file:
        read_picture(file)
        assert not file.closed


def test_paths_are_strings_or_path_objects(tmp_path):
    path = tmp_path / "straße \N{CLOUD}.png"
    path.write_bytes(encode(QUARTERS))
    for source in (path, str(path), Path(path)):
        assert np.array_equal(read_picture(source), QUARTERS)


def test_a_picture_of_pillow_is_taken_and_left_as_it_was():
    picture = Image.fromarray(QUARTERS)
    values = read_picture(picture)
    values[:] = 0
    assert np.array_equal(np.asarray(picture), QUARTERS)


def test_a_lazily_loaded_picture_of_a_broken_file_is_named():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(noise, "JPEG")
    picture = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(ValueError, match=r"`images\[0\]` is damaged or cut short: image file is truncated"):
        read_picture(picture, name="images[0]")


@pytest.mark.parametrize(
    "values",
    [
        QUARTERS,
        np.moveaxis(QUARTERS, -1, 0),
        np.concatenate([QUARTERS, QUARTERS[..., :1]], -1),
        QUARTERS[:, ::-1][:, ::-1],
    ],
    ids=["rows first", "colours first", "with transparency", "of negative steps"],
)
def test_arrays_of_several_layouts_are_the_same(values):
    for source in (values, torch.from_numpy(values.copy())):
        picture = read_picture(source)
        assert np.array_equal(picture, QUARTERS)
        picture[:] = 0
    assert values.max() == 255  # an array of its own


def test_an_array_of_one_colour_is_grey():
    grey = QUARTERS[..., 0]
    for source in (grey, grey[..., None]):
        assert np.array_equal(read_picture(source), np.repeat(grey[..., None], 3, -1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, bool])
def test_arrays_of_another_dtype_are_refused_with_the_way_out(dtype):
    with pytest.raises(TypeError, match=rf"must be uint8 in \[0, 255\], got {np.dtype(dtype)}; scale floats"):
        read_picture(QUARTERS.astype(dtype))


@pytest.mark.parametrize("shape", [(5,), (4, 5, 2), (2, 4, 5, 3), (0, 5, 3), (4, 0), (), (4, 5, 7)])
def test_arrays_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be \(height, width, 3\), .*got \("):
        read_picture(np.zeros(shape, np.uint8))


def test_rows_of_datasets_are_read(tmp_path):
    (tmp_path / "picture.png").write_bytes(encode(QUARTERS))
    rows = [
        {"path": str(tmp_path / "picture.png"), "bytes": None},
        {"path": "not there.png", "bytes": encode(QUARTERS)},
        {"path": None, "bytes": encode(QUARTERS)},
        {"path": str(tmp_path / "picture.png")},
    ]
    for row in rows:
        assert np.array_equal(read_picture(row), QUARTERS)


@pytest.mark.parametrize("row", [{"array": None, "label": 3}, {"path": None, "bytes": None}])
def test_a_row_without_a_picture_is_named(row):
    with pytest.raises(ValueError, match=r'`image` is a dict without "bytes" and "path"; its keys are \['):
        read_picture(row)


def test_a_file_opened_as_text_is_refused(tmp_path):
    (tmp_path / "picture.png").write_bytes(encode(QUARTERS))
    with (tmp_path / "picture.png").open(encoding="latin-1") as file, pytest.raises(ValueError, match="`image` is "):
        read_picture(file)
