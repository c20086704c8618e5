"""Clips of a picture and a sound in the layouts of their owners, in a table and in a folder of videos."""

import argparse
from pathlib import Path

import pytest

from avzoo.data.image_sound_clips import (
    add_clip_options,
    hold_out_clips,
    read_clip_table,
    read_clips,
    read_named_clips,
    read_video_folder,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not decoded here")


def below(root: Path, rows: list) -> list:
    return [
        {key: value.removeprefix(f"{root}/") if key != "id" else value for key, value in row.items()} for row in rows
    ]


def parse(*options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_clip_options(parser)
    return parser.parse_args([str(option) for option in options])


def test_the_authors_layout_of_vggsound(tmp_path):
    touch(tmp_path, "img/a_1000_11000/image_001.jpg", "img/a_1000_11000/image_050.jpg", "aud/a_1000_11000.wav")
    (tmp_path / "names.txt").write_text("a_1000_11000\n")
    options = parse("--dataset", "vggsound", "--data_dir", tmp_path, "--list", tmp_path / "names.txt")
    options.frames_dir, options.audio_dir = tmp_path / "img", tmp_path / "aud"
    assert below(tmp_path, read_clips(options)) == [
        {"id": "a_1000_11000", "image": "img/a_1000_11000/image_050.jpg", "audio": "aud/a_1000_11000.wav"}
    ]


def test_a_picture_for_each_clip_and_the_owners_table(tmp_path):
    touch(tmp_path, "frames/---g_000001.jpg", "audio/---g_000001.wav")
    (tmp_path / "vggsound.csv").write_text('---g,1,"people, marching",train\nother,30,dog,test\n')
    options = parse("--dataset", "vggsound", "--data_dir", tmp_path, "--list", tmp_path / "vggsound.csv")
    (row,) = below(tmp_path, read_clips(options))
    assert row == {"id": "---g_000001", "image": "frames/---g_000001.jpg", "audio": "audio/---g_000001.wav"}


def test_flickr_takes_the_first_picture_of_a_folder(tmp_path):
    touch(tmp_path, "frames/123/000002.jpg", "frames/123/000001.jpg", "audio/123.wav")
    (tmp_path / "names.csv").write_text("123.jpg,other,fields\n")
    options = parse("--dataset", "flickr", "--data_dir", tmp_path, "--list", tmp_path / "names.csv")
    assert below(tmp_path, read_clips(options))[0]["image"] == "frames/123/000001.jpg"


def test_clips_without_a_file_are_counted_or_left_out(tmp_path):
    touch(tmp_path, "frames/a.jpg", "frames/b.jpg", "audio/a.wav")
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    places = tmp_path / "names.txt", tmp_path / "frames", tmp_path / "audio"
    with pytest.raises(
        FileNotFoundError, match=r"2 of the 3 clips of names.txt lack a file, the first is .*audio/b.wav"
    ):
        list(read_named_clips(*places))
    assert [row["id"] for row in read_named_clips(*places, skip_missing=True)] == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", "names.txt, line 3: 'a' is also in line 1"),
        ("../a\n", "names.txt, line 1: '../a' is not a plain file name"),
        ("x,30,dog,test\n", "names no clip to train on"),
        ("x,soon,dog,train\n", "`start seconds` must be a whole number, got 'soon'"),
    ],
)
def test_malformed_lists_are_refused(text, message, tmp_path):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_named_clips(tmp_path / "names.txt", tmp_path, tmp_path))


def test_a_table_names_pictures_and_sounds_or_videos(tmp_path):
    touch(tmp_path, "1.jpg", "1.wav", "2.mp4")
    (tmp_path / "pairs.csv").write_text("audio,image,id,note\n1.wav,1.jpg,one,x\n")
    (tmp_path / "videos.csv").write_text("video\n2.mp4\n")
    pairs, videos = (below(tmp_path, read_clip_table(tmp_path / name)) for name in ("pairs.csv", "videos.csv"))
    assert pairs == [{"id": "one", "image": "1.jpg", "audio": "1.wav"}]
    assert videos == [{"id": "2.mp4", "video": "2.mp4"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,sound\n", "line 1: expected a header with the columns image and audio, or video"),
        ("image,audio\n1.jpg\n", "line 2: expected 2 fields, got 1"),
        ("video\n../x.mp4\n", "line 2: '../x.mp4' is no path below"),
        ("video,id\na.mp4,x\nb.mp4,x\n", "line 3: the id 'x' is also in line 2"),
        ("video\n", "holds a header and no clip"),
    ],
)
def test_malformed_tables_are_refused(text, message, tmp_path):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_clip_table(tmp_path / "table.csv"))


def test_videos_are_found_in_all_folders_but_hidden_ones(tmp_path):
    touch(tmp_path, "b.MP4", "a/x.webm", "a/notes.txt", ".cache/c.mp4")
    assert [row["id"] for row in read_video_folder(tmp_path)] == ["a/x.webm", "b.MP4"]
    with pytest.raises(FileNotFoundError, match="holds no video"):
        read_video_folder(tmp_path / ".cache" / "nowhere")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ([], ValueError, "`dataset` must be given, one of vggsound, flickr, csv, folder"),
        (["--dataset", "vggsound", "--data_dir", "."], ValueError, "`list` must be given with --dataset vggsound"),
        (["--dataset", "flickr", "--list", "x"], ValueError, "`data_dir` must be given with --dataset flickr"),
        (["--dataset", "folder", "--data_dir", ".", "--list", "x"], ValueError, "`list` .* has no use for"),
        (["--dataset", "folder", "--audio_dir", "x"], ValueError, "`audio_dir` .* is for vggsound and flickr"),
        (["--dataset", "folder", "--data_dir", "nowhere"], FileNotFoundError, r"`data_dir` \(nowhere\) is no folder"),
    ],
)
def test_options_that_do_not_fit_are_named(options, error, message):
    with pytest.raises(error, match=message):
        read_clips(parse(*options))


def test_the_same_clips_are_held_out_in_every_order():
    rows = [{"id": str(number)} for number in range(40)]
    train, validation = hold_out_clips(rows, 0.1)
    assert len(validation) == 4
    assert train + validation != rows  # spread over the list
    assert sorted(map(str, train + validation)) == sorted(map(str, rows))
    assert {row["id"] for row in hold_out_clips(rows[::-1], 0.1)[1]} == {row["id"] for row in validation}
    assert len(hold_out_clips(rows, 0.001)[1]) == 2


def test_too_few_clips_to_hold_out_are_told():
    with pytest.raises(ValueError, match=r"`val_share` \(0.5\) leaves 1 of 3 clips to train on"):
        hold_out_clips([{"id": name} for name in "abc"], 0.5)
