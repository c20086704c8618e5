import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from avzoo.audio import write_wav
from avzoo.data.labelled_recordings import as_dataset
from avzoo.data.lrs2 import lrs2, read_lrs2_clip, read_lrs2_faces
from avzoo.video import MouthHalf, write_video

RATE = 16000


def grey(index):
    """The level that tells which frame this is."""
    return 20 + 8 * index


def write_faces(folder, sizes, samples, rate=RATE):
    """A clip as Wav2Lip's script leaves it; `sizes`: (height, width) of each face."""
    folder.mkdir(parents=True)
    for index, (height, width) in enumerate(sizes):
        picture = np.full((height, width, 3), grey(index), np.uint8)
        picture[..., 2] = 0  # no blue, so that a change of the colour order shows
        Image.fromarray(picture).save(folder / f"{index}.jpg", quality=95)
    write_wav(folder / "audio.wav", samples, rate, encoding="pcm16")
    return folder


def ramp(num_samples):
    return np.linspace(-0.5, 0.5, num_samples, dtype=np.float32)


def numbers(faces):
    return [round((float(face[..., 0].mean()) - grey(0)) / 8) for face in faces]


@pytest.fixture
def faces_root(tmp_path):
    for name in ("0101/00003", "0101/00001", "0202/00001"):
        write_faces(tmp_path / "faces" / name, [(20, 16)] * 3, ramp(3 * 640))
    return tmp_path / "faces"


@pytest.fixture
def videos_root(tmp_path):
    for name in ("0101/00003", "0101/00001", "0202/00001"):
        path = tmp_path / "main" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    return tmp_path / "main"


@pytest.fixture
def val_list(tmp_path):
    path = tmp_path / "val.txt"
    path.write_text("0101/00003\n0202/00001\n0101/00001\n")
    return path


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


# The list.


def test_clips_come_in_the_order_of_the_list(videos_root, val_list):
    rows = list(lrs2(videos_root, val_list))
    assert [row["id"] for row in rows] == ["0101/00003", "0202/00001", "0101/00001"]
    assert rows[0] == {"id": "0101/00003", "path": str(videos_root / "0101" / "00003.mp4")}


def test_a_clip_of_faces_is_named_by_its_folder(faces_root, val_list):
    assert next(lrs2(faces_root, val_list))["path"] == str(faces_root / "0101" / "00003")


@pytest.mark.parametrize("rest", ["", " NF", " MV:10", "\tNF", "  NF more"])
def test_what_follows_a_space_is_ignored(videos_root, tmp_path, rest):
    (tmp_path / "test.txt").write_text(f"0202/00001{rest}\n\n")
    assert [row["id"] for row in lrs2(videos_root, tmp_path / "test.txt")] == ["0202/00001"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0101", r"val\.txt, line 4: expected video/number, got '0101'"),
        ("main/0101/00001", r"line 4: expected video/number, got 'main/0101/00001'; what stands before it .* `root`"),
        ("/0101/00001", r"line 4: expected video/number"),
        ("../00001", r"line 4: '\.\.' is not a plain file name"),
        ("0101/..", r"line 4: '\.\.' is not a plain file name"),
        ("/00001", r"line 4: '' is not a plain file name"),
        ("0101/", r"line 4: '' is not a plain file name"),
        (r"0101/..\x", r"line 4: .* is not a plain file name"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_line(videos_root, val_list, line, message):
    append(val_list, line)
    with pytest.raises(ValueError, match=message):
        list(lrs2(videos_root, val_list, skip_missing=True))


def test_missing_videos_are_counted_before_anything_is_yielded(videos_root, val_list):
    (videos_root / "0202" / "00001.mp4").unlink()
    message = (
        r"1 of the 3 clips named by val\.txt are missing; .*0202/00001\.mp4\. Nor .* folder 0202/00001\. .*skip_missing"
    )
    with pytest.raises(FileNotFoundError, match=message):
        next(lrs2(videos_root, val_list))
    assert [row["id"] for row in lrs2(videos_root, val_list, skip_missing=True)] == ["0101/00003", "0101/00001"]


@pytest.mark.parametrize("name", ["audio.wav", "0.jpg"])
def test_a_folder_without_sound_or_faces_is_a_missing_clip(faces_root, val_list, name):
    (faces_root / "0202" / "00001" / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of the 3 clips .*0202/00001/{name}"):
        next(lrs2(faces_root, val_list))
    assert [row["id"] for row in lrs2(faces_root, val_list, skip_missing=True)] == ["0101/00003", "0101/00001"]


def test_a_video_does_not_stand_in_for_a_folder_of_faces(faces_root, val_list):
    shutil.rmtree(faces_root / "0202" / "00001")
    (faces_root / "0202" / "00001.mp4").write_bytes(b"another crop")
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 .*mp4 file is there, but other clips are folders"):
        next(lrs2(faces_root, val_list))


def test_faces_made_beside_the_videos_are_taken_instead(faces_root, val_list):
    (faces_root / "0202" / "00001.mp4").write_bytes(b"another crop")
    assert [row["path"] for row in lrs2(faces_root, val_list)][1] == str(faces_root / "0202" / "00001")


def test_the_reader_becomes_a_dataset(videos_root, val_list):
    rows = list(as_dataset(lrs2, videos_root, val_list))
    assert [row["id"] for row in rows] == ["0101/00003", "0202/00001", "0101/00001"]
    assert rows[0]["path"].endswith("0101/00003.mp4")


def test_the_reader_loads_no_torch():
    code = "import sys, avzoo.data.lrs2; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Folders of faces.


def test_faces_come_by_number_and_not_by_name(tmp_path):
    faces, audio = read_lrs2_faces(write_faces(tmp_path / "clip", [(20, 16)] * 12, ramp(12 * 640)))
    assert numbers(faces) == list(range(12))  # by name, 10 would follow 1
    assert (audio.dtype, audio.shape) == (np.float32, (12 * 640,))
    np.testing.assert_allclose(audio, ramp(12 * 640), atol=2**-15)  # the wav has 16 bits


def test_faces_are_rgb(tmp_path):
    faces, _ = read_lrs2_faces(write_faces(tmp_path / "clip", [(20, 16)] * 3, ramp(1920)))
    assert faces[2].dtype == np.uint8
    np.testing.assert_allclose(faces[2].mean(axis=(0, 1)), [grey(2), grey(2), 0], atol=3)


def test_grey_jpegs_have_three_equal_channels(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 2, ramp(1280))
    Image.fromarray(np.full((20, 16), 90, np.uint8)).save(clip / "1.jpg")
    assert read_lrs2_faces(clip)[0][1].tolist() == np.full((20, 16, 3), 90).tolist()


def test_faces_may_differ_in_size_and_give_mouths_of_one(tmp_path):
    sizes = [(109, 85), (111, 84), (60, 90)]
    faces, _ = read_lrs2_faces(write_faces(tmp_path / "clip", sizes, ramp(1920)))
    assert [face.shape for face in faces] == [(*size, 3) for size in sizes]
    mouths = np.stack([MouthHalf().cut_face(face) for face in faces])
    assert mouths.shape == (3, 48, 96, 3)


def test_a_slice_decodes_no_other_face(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 8, ramp(8 * 640))
    (clip / "7.jpg").write_bytes(b"damaged")
    faces, _ = read_lrs2_faces(clip)
    assert numbers(faces[2:7]) == [2, 3, 4, 5, 6]


def test_sound_of_another_rate_is_resampled(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000).astype(np.float32) / 2
    faces, audio = read_lrs2_faces(write_faces(tmp_path / "clip", [(20, 16)] * 25, tone, 48000))
    assert (len(faces), len(audio)) == (25, RATE)
    np.testing.assert_allclose(audio[500:-500], tone[1500:-1500:3], atol=2e-3)


def test_stereo_sound_becomes_mono(tmp_path):
    _, audio = read_lrs2_faces(write_faces(tmp_path / "clip", [(20, 16)], np.stack([ramp(640), 0.5 * ramp(640)])))
    np.testing.assert_allclose(audio, 0.75 * ramp(640), atol=2**-14)


@pytest.mark.parametrize(
    ("num_faces", "num_samples", "common"),
    [(6, 6 * 640, 6), (6, 6 * 640 - 1, 5), (6, 4 * 640, 4), (4, 6 * 640 + 639, 4)],
)
def test_pictures_and_sound_are_cut_to_their_common_length(tmp_path, num_faces, num_samples, common):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * num_faces, ramp(num_samples))
    faces, audio = read_lrs2_faces(clip)
    assert numbers(faces) == list(range(common))
    np.testing.assert_allclose(audio, ramp(num_samples)[: common * 640], atol=2**-15)


@pytest.mark.parametrize(("gone", "last"), [(0, 4), (2, 4), (3, 4)])
def test_a_gap_between_faces_is_named(tmp_path, gone, last):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 5, ramp(5 * 640))
    (clip / f"{gone}.jpg").unlink()
    with pytest.raises(ValueError, match=rf"clip: {gone}\.jpg is missing, but {last}\.jpg is there"):
        read_lrs2_faces(clip)


def test_the_first_of_several_gaps_is_named(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 6, ramp(6 * 640))
    for gone in (1, 3):
        (clip / f"{gone}.jpg").unlink()
    with pytest.raises(ValueError, match=r"clip: 1\.jpg is missing"):
        read_lrs2_faces(clip)


def test_a_folder_without_any_face_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"clip holds no faces: 0\.jpg is missing"):
        read_lrs2_faces(write_faces(tmp_path / "clip", [], ramp(640)))


@pytest.mark.parametrize("name", ["cover.jpg", "01.jpg", "-1.jpg", "²2.jpg"])
def test_a_jpeg_of_another_name_is_refused(tmp_path, name):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 2, ramp(1280))
    shutil.copy(clip / "1.jpg", clip / name)
    with pytest.raises(ValueError, match=rf"expected faces called 0\.jpg, .*, got {name}"):
        read_lrs2_faces(clip)


def test_what_other_programs_left_in_the_folder_is_no_face(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 2, ramp(1280))
    for name in ("._0.jpg", ".DS_Store", "Thumbs.db", "00001.txt"):
        (clip / name).write_bytes(b"no picture")
    assert len(read_lrs2_faces(clip)[0]) == 2


@pytest.mark.parametrize("keep", [0, 20, 350])
def test_a_damaged_jpeg_is_named(tmp_path, keep):
    clip = write_faces(tmp_path / "clip", [(60, 50)] * 2, ramp(1280))
    (clip / "1.jpg").write_bytes((clip / "1.jpg").read_bytes()[:keep])
    faces, _ = read_lrs2_faces(clip)
    with pytest.raises(ValueError, match=r"clip/1\.jpg can't be decoded"):
        list(faces)


def test_a_jpeg_that_vanishes_says_so(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 2, ramp(1280))
    faces, _ = read_lrs2_faces(clip)
    (clip / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.jpg"):
        list(faces)


@pytest.mark.parametrize("content", [b"", b"RIFF and no more", None])
def test_damaged_sound_is_named(tmp_path, content):
    clip = write_faces(tmp_path / "0101" / "00003", [(20, 16)] * 5, ramp(5 * 640))
    whole = (clip / "audio.wav").read_bytes()
    (clip / "audio.wav").write_bytes(whole[:3000] if content is None else content)
    with pytest.raises(ValueError, match=r"`0101/00003` \(audio\.wav\)"):
        read_lrs2_faces(clip)


def test_missing_sound_is_named(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16)] * 5, ramp(5 * 640))
    (clip / "audio.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"clip/audio\.wav"):
        read_lrs2_faces(clip)


def test_a_clip_without_one_whole_frame_is_refused(tmp_path):
    clip = write_faces(tmp_path / "0101" / "00003", [(20, 16)] * 5, ramp(639))
    with pytest.raises(ValueError, match=r"`0101/00003` is too short: 5 frames and 639 samples at 16000 Hz"):
        read_lrs2_faces(clip)


# Videos.


def write_loose(path, num_frames, num_samples, fps=25, rate=RATE):
    frames = np.full((num_frames, 64, 64, 3), 0, np.uint8)
    frames[..., :2] = grey(np.arange(num_frames))[:, None, None, None]
    audio = None if num_samples is None else ramp(num_samples)
    write_video(path, frames, fps, audio=audio, sampling_rate=None if audio is None else rate, lossless=True)
    return path


def test_a_video_gives_whole_frames_and_its_sound(tmp_path):
    frames, audio = read_lrs2_faces(write_loose(tmp_path / "00003.mp4", 12, 12 * 640))
    assert numbers(frames) == list(range(12))
    assert frames[0].shape == (64, 64, 3)
    np.testing.assert_allclose(audio, ramp(12 * 640), atol=2**-15)


def test_a_video_is_not_longer_than_its_sound(tmp_path):
    # Zeros appended up to the last frame would be digital silence, which was never recorded.
    frames, audio = read_lrs2_faces(write_loose(tmp_path / "00003.mp4", 12, 7 * 640 + 100))
    assert (len(frames), len(audio)) == (7, 7 * 640)
    np.testing.assert_allclose(audio, ramp(7 * 640 + 100)[: 7 * 640], atol=2**-15)


def test_a_video_of_another_rate_is_read_at_25_frames_and_16_khz(tmp_path):
    frames, audio = read_lrs2_faces(write_loose(tmp_path / "00003.mp4", 24, 48000, fps=50, rate=48000))
    assert (len(frames), len(audio)) == (12, 12 * 640)
    np.testing.assert_allclose(np.diff(numbers(frames)), 2)


def test_a_video_without_sound_is_refused(tmp_path):
    (tmp_path / "0101").mkdir()
    with pytest.raises(ValueError, match=r"`0101/00003` \(00003\.mp4\) has no audio stream"):
        read_lrs2_faces(write_loose(tmp_path / "0101" / "00003.mp4", 12, None))


def test_a_clip_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"0101/00003"):
        read_lrs2_faces(tmp_path / "0101" / "00003")


# Clips as videos.


def test_a_clip_of_faces_becomes_a_video_of_mouths(tmp_path):
    clip = write_faces(tmp_path / "clip", [(109, 85), (111, 84), (60, 90)], ramp(1920))
    video = read_lrs2_clip(clip, MouthHalf().cut_face)
    assert (video.frames.dtype, video.frames.shape) == (np.uint8, (3, 48, 96, 3))
    assert (video.fps, video.sampling_rate, len(video.audio)) == (25.0, RATE, 1920)
    assert numbers(video.frames) == [0, 1, 2]


def test_a_video_clip_needs_no_other_size(tmp_path):
    video = read_lrs2_clip(write_loose(tmp_path / "00003.mp4", 4, 4 * 640))
    assert video.frames.shape == (4, 64, 64, 3)


def test_faces_of_unequal_size_are_no_video(tmp_path):
    clip = write_faces(tmp_path / "clip", [(20, 16), (20, 16), (22, 16)], ramp(1920))
    with pytest.raises(
        ValueError, match=r"clip: picture 2 has the shape \(22, 16, 3\), picture 0 \(20, 16, 3\).*of_face"
    ):
        read_lrs2_clip(clip)
