import numpy as np
import pytest
from PIL import Image

from avzoo.video import list_frames, read_frames
from avzoo.video.frame_folders import find_missing_numbers


def write_frame(path, grey, size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def names_of(folder):
    return [path.name for path in list_frames(folder)]


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("10.png", "2.png", "1.png"):
        write_frame(tmp_path / name, 0)
    assert names_of(tmp_path) == ["1.png", "2.png", "10.png"]


def test_padded_names_come_in_the_order_of_text(tmp_path):
    padded = [f"images{number:04d}.jpg" for number in (12, 3, 100, 1)]
    for name in padded:
        write_frame(tmp_path / name, 0)
    assert names_of(tmp_path) == sorted(padded)


def test_hidden_files_and_other_types_are_passed_over(tmp_path):
    write_frame(tmp_path / "1.JPG", 0)
    for name in ("._1.jpg", "notes.txt", "1.npy"):
        (tmp_path / name).write_bytes(b"")
    assert names_of(tmp_path) == ["1.JPG"]


def test_frames_are_stacked(tmp_path):
    for grey in (1, 2, 3):
        write_frame(tmp_path / f"{grey}.png", 10 * grey)
    frames = read_frames(tmp_path)
    assert frames.shape == (3, 3, 4, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_a_folder_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no frames; known types are .png"):
        list_frames(tmp_path)
    with pytest.raises(FileNotFoundError):
        list_frames(tmp_path / "missing")


def test_frames_of_two_sizes_are_refused(tmp_path):
    write_frame(tmp_path / "1.png", 0)
    write_frame(tmp_path / "2.png", 0, size=(5, 3))
    with pytest.raises(ValueError, match=r"2.png` has 5 x 3 pixels, the first frame of its folder 4 x 3"):
        read_frames(tmp_path)


def test_a_damaged_frame_is_named(tmp_path):
    write_frame(tmp_path / "1.png", 0)
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"2.png"):
        read_frames(tmp_path)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["images0001.png", "images0002.png", "images0005.png"], [3, 4]),
        (["000000.jpg", "000001.jpg"], []),
        (["03March.avi_pid0_fn000054-0.png", "03March.avi_pid0_fn000056-0.png"], [55]),
        (["1.png"], []),
        (["1-2.png", "2-5.png"], []),  # two numbers, neither of which counts for certain
        (["a.png", "d.png"], []),
        (["1.png", "3.jpg"], []),
        (["1.png", "99999999999.png"], []),
    ],
)
def test_gaps_between_frames_are_found_by_their_numbers(names, missing):
    assert find_missing_numbers(names) == missing
