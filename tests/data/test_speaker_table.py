"""Own clips of faces that talk, by a table."""

import pytest

from avzoo.data.speaker_folders import read_speaker_table


def write_table(folder, text):
    for name in ("monday.mp4", "talks/tuesday.mkv", "tuesday.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not decoded here")
    (folder / "clips.csv").write_text(text)
    return folder / "clips.csv"


def test_rows_have_a_sound_of_their_own_or_the_videos(tmp_path):
    table = write_table(
        tmp_path,
        "path,speaker,audio,split,note\nmonday.mp4,anna,,train,x\ntalks/tuesday.mkv,ben,tuesday.wav,val,y\n",
    )
    monday = str(tmp_path / "monday.mp4")
    assert read_speaker_table(table) == [
        {"id": "monday", "speaker": "anna", "audio": monday, "video": monday, "split": "train"},
        {
            "id": "talks/tuesday",
            "speaker": "ben",
            "audio": str(tmp_path / "tuesday.wav"),
            "video": str(tmp_path / "talks/tuesday.mkv"),
            "split": "validation",
        },
    ]


def test_a_table_may_lie_elsewhere_and_have_no_splits(tmp_path):
    write_table(tmp_path, "")
    table = tmp_path / "talks" / "clips.csv"
    table.write_text("path,speaker\nmonday.mp4,anna\n")
    assert [row.keys() for row in read_speaker_table(table, tmp_path)] == [{"id", "speaker", "audio", "video"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,name\nmonday.mp4,anna\n", "line 1: expected a header with path and speaker"),
        ("path,speaker,path\n", "line 1: the header names 'path' 2 times"),
        ("path,speaker\nmonday.mp4\n", "line 2: expected 2 fields, got 1"),
        ("path,speaker\nmonday.mp4,\n", "line 2: `speaker` is empty"),
        ("path,speaker\n../monday.mp4,anna\n", "line 2: '../monday.mp4' leads out of the root"),
        ("path,speaker\n,anna\n", "line 2: '..' leads out of the root"),
        ("path,speaker,audio\nmonday.mp4,anna,/etc/passwd\n", "line 2: '/etc/passwd' leads out of the root"),
        ("path,speaker\nmonday.mp4,anna\nmonday.mp4,ben\n", "line 3: 'monday' is also in line 2"),
        ("path,speaker,split\nmonday.mp4,anna,later\n", "line 2: `split` must be one of train, .* got 'later'"),
        ("path,speaker\n", "holds a header and no clip"),
        ('path,speaker\n"monday.mp4,anna\n', "line 2: "),
    ],
)
def test_a_bad_table_is_refused_with_its_line(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_speaker_table(write_table(tmp_path, text))


def test_missing_clips_are_counted_or_skipped(tmp_path):
    table = write_table(tmp_path, "path,speaker,audio\nmonday.mp4,anna,\nfriday.mp4,ben,\nsunday.avi,ben,x.wav\n")
    with pytest.raises(
        FileNotFoundError, match=r"2 of the 3 clips named by clips.csv lack a file, the first is .*friday"
    ):
        read_speaker_table(table)
    assert [row["id"] for row in read_speaker_table(table, skip_missing=True)] == ["monday"]
