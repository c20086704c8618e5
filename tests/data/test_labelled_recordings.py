import csv

import pytest

from avzoo.data.audioset import audioset, audioset_class_names
from avzoo.data.esc50 import esc50
from avzoo.data.labelled_recordings import as_dataset
from avzoo.data.speech_commands import speech_commands
from avzoo.data.vggsound import vggsound


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not decoded here")


@pytest.fixture
def esc50_root(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        "5-9032-A-0.wav,5,0,dog,True,9032,A\n"
        "1-17367-A-10.wav,1,10,rain,True,17367,A\n"
    )
    for name in ("1-100032-A-0.wav", "5-9032-A-0.wav", "1-17367-A-10.wav"):
        touch(tmp_path / "audio" / name)
    return tmp_path


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_esc50_yields_the_rows_in_file_order(esc50_root):
    rows = list(esc50(esc50_root))
    assert [row["id"] for row in rows] == ["1-100032-A-0", "5-9032-A-0", "1-17367-A-10"]
    assert rows[0] == {
        "id": "1-100032-A-0",
        "path": str(esc50_root / "audio" / "1-100032-A-0.wav"),
        "labels": ["dog"],
        "fold": 1,
    }


def test_esc50_folds_can_be_chosen(esc50_root):
    assert [row["labels"] for row in esc50(esc50_root, folds=[1])] == [["dog"], ["rain"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav,1,0,dog,True,1", r"esc50\.csv, line 5: expected 7 fields, got 6"),
        ("a.wav,6,0,dog,True,1,A", r"line 5: `fold` must be from 1 to 5, got 6"),
        ("a.wav,one,0,dog,True,1,A", r"line 5: `fold` must be a whole number, got 'one'"),
        ("a.wav,1,0,,True,1,A", r"line 5: `category` is empty"),
        ("../a.wav,1,0,dog,True,1,A", r"line 5: '\.\./a\.wav' is not a plain file name"),
        ("/etc/passwd,1,0,dog,True,1,A", r"line 5: '/etc/passwd' is not a plain file name"),
        ('"a.wav,1,0,dog,True,1,A', r"line 5: unexpected end of data"),
    ],
)
def test_a_malformed_esc50_row_is_named_by_file_and_line(esc50_root, line, message):
    append(esc50_root / "meta" / "esc50.csv", line)
    with pytest.raises(ValueError, match=message):
        list(esc50(esc50_root))


def test_another_header_is_refused(esc50_root):
    (esc50_root / "meta" / "esc50.csv").write_text("a,b,c,d,e,f,g\n")
    with pytest.raises(ValueError, match=r"line 1: expected the header filename,fold"):
        list(esc50(esc50_root))


def test_bytes_that_are_no_text_are_refused_with_their_line(esc50_root):
    (esc50_root / "meta" / "esc50.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"esc50\.csv, line 1: not UTF-8 text"):
        list(esc50(esc50_root))


def test_missing_recordings_are_counted_before_anything_is_yielded(esc50_root):
    (esc50_root / "audio" / "5-9032-A-0.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 recordings named by esc50\.csv .*5-9032-A-0\.wav"):
        next(esc50(esc50_root))
    assert [row["id"] for row in esc50(esc50_root, skip_missing=True)] == ["1-100032-A-0", "1-17367-A-10"]


@pytest.fixture
def speech_commands_root(tmp_path):
    for name in ("yes/b_nohash_0.wav", "yes/a_nohash_0.wav", "no/a_nohash_0.wav", "no/c_nohash_1.wav"):
        touch(tmp_path / name)
    touch(tmp_path / "_background_noise_" / "pink_noise.wav")
    (tmp_path / "validation_list.txt").write_text("yes/a_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/c_nohash_1.wav\n")
    return tmp_path


def test_speech_commands_splits_by_the_two_lists(speech_commands_root):
    rows = [(row["id"], row["labels"], row["split"]) for row in speech_commands(speech_commands_root)]
    assert rows == [
        ("no/a_nohash_0", ["no"], "train"),
        ("no/c_nohash_1", ["no"], "test"),
        ("yes/a_nohash_0", ["yes"], "validation"),
        ("yes/b_nohash_0", ["yes"], "train"),
    ]


def test_speech_commands_yields_one_split_on_request(speech_commands_root):
    assert [row["id"] for row in speech_commands(speech_commands_root, split="train")] == [
        "no/a_nohash_0",
        "yes/b_nohash_0",
    ]


def test_background_noise_is_no_word(speech_commands_root):
    *words, noise = speech_commands(speech_commands_root, background_noise=True)
    assert len(words) == 4
    assert noise["labels"] == ["_background_noise_"]
    assert "split" not in noise


def test_a_listed_recording_that_is_missing_is_reported(speech_commands_root):
    append(speech_commands_root / "testing_list.txt", "no/gone_nohash_0.wav")
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 recordings .*gone_nohash_0\.wav"):
        list(speech_commands(speech_commands_root))
    assert len(list(speech_commands(speech_commands_root, skip_missing=True))) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("yes", r"testing_list\.txt, line 2: expected word/file\.wav, got 'yes'"),
        ("../x.wav", r"line 2: '\.\.' is not a plain file name"),
        ("yes/../x.wav", r"line 2: '\.\./x\.wav' is not a plain file name"),
        ("yes/a_nohash_0.wav", r"line 2: 'yes/a_nohash_0\.wav' is also in validation_list\.txt"),
    ],
)
def test_a_malformed_list_line_is_named(speech_commands_root, line, message):
    append(speech_commands_root / "testing_list.txt", line)
    with pytest.raises(ValueError, match=message):
        list(speech_commands(speech_commands_root))


def test_an_unknown_split_is_named(speech_commands_root):
    with pytest.raises(ValueError, match=r"`split` must be one of train, validation, test, None, got 'dev'"):
        list(speech_commands(speech_commands_root, split="dev"))


@pytest.fixture
def audioset_paths(tmp_path):
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/m/068hy,"Pets"\n'
    )
    (tmp_path / "segments.csv").write_text(
        "# Segments csv created Sun Mar  5 10:54:25 2017\n"
        "# num_ytids=2, num_segs=2\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/09x0r"\n'
        '-0RWZT-miFs, 420.000, 430.000, "/m/05zppz"\n'
    )
    (tmp_path / "clips").mkdir()
    return tmp_path / "segments.csv", tmp_path / "clips", tmp_path / "class_labels_indices.csv"


def test_audioset_yields_display_names_and_times(audioset_paths):
    clips = audioset_paths[1]
    touch(clips / "--4gqARaEJE.wav")
    touch(clips / "Y-0RWZT-miFs.flac")
    assert list(audioset(*audioset_paths, split="train")) == [
        {
            "id": "--4gqARaEJE",
            "path": str(clips / "--4gqARaEJE.wav"),
            "labels": ["Pets", "Speech"],
            "start": 0.0,
            "end": 10.0,
            "split": "train",
        },
        {
            "id": "-0RWZT-miFs",
            "path": str(clips / "Y-0RWZT-miFs.flac"),
            "labels": ["Male speech, man speaking"],
            "start": 420.0,
            "end": 430.0,
            "split": "train",
        },
    ]


@pytest.mark.parametrize("stem", ["", "_420", "_420.000", "_000420", "_420000"])
@pytest.mark.parametrize("prefix", ["", "Y"])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".m4a", ".MP4"])
def test_audioset_clips_are_found_under_the_usual_names(audioset_paths, prefix, stem, suffix):
    path = audioset_paths[1] / f"{prefix}-0RWZT-miFs{stem}{suffix}"
    touch(path)
    assert [row["path"] for row in audioset(*audioset_paths, skip_missing=True)] == [str(path)]


def test_the_name_with_the_start_wins_and_so_does_the_lossless_file(audioset_paths):
    clips = audioset_paths[1]
    for name in ("-0RWZT-miFs.wav", "-0RWZT-miFs_420.mp3", "-0RWZT-miFs_420.flac"):
        touch(clips / name)
    (row,) = audioset(*audioset_paths, skip_missing=True)
    assert row["path"] == str(clips / "-0RWZT-miFs_420.flac")


def test_missing_audioset_clips_are_counted(audioset_paths):
    with pytest.raises(FileNotFoundError, match=r"2 of the 2 recordings named by segments\.csv .*--4gqARaEJE\.wav"):
        list(audioset(*audioset_paths))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('id, 0.0, 10.0, "/m/068hy', r"segments\.csv, line 6: unexpected end of data"),
        ("id, 0.0, 10.0", r"line 6: expected 4 fields, got 3"),
        ("id, 10.0, 0.0, /m/068hy", r"line 6: `end_seconds` \(0\.0\) must be after `start_seconds` \(10\.0\)"),
        ("id, x, 10.0, /m/068hy", r"line 6: `start_seconds` must be seconds from 0 on, got 'x'"),
        ("id, nan, 10.0, /m/068hy", r"line 6: `start_seconds` must be seconds from 0 on, got 'nan'"),
        ("id, 0.0, 10.0, /m/none", r"line 6: label '/m/none' is not in class_labels_indices\.csv"),
        ("../id, 0.0, 10.0, /m/068hy", r"line 6: '\.\./id' is not a plain file name"),
    ],
)
def test_a_malformed_segment_is_named(audioset_paths, line, message):
    append(audioset_paths[0], line)
    with pytest.raises(ValueError, match=message):
        list(audioset(*audioset_paths, skip_missing=True))


def test_class_names_must_be_in_index_order(audioset_paths):
    assert list(audioset_class_names(audioset_paths[2])) == ["/m/09x0r", "/m/05zppz", "/m/068hy"]
    append(audioset_paths[2], '7,/m/0xxxx,"Late"')
    with pytest.raises(ValueError, match=r"line 5: expected index 3, got 7"):
        audioset_class_names(audioset_paths[2])


@pytest.fixture
def vggsound_paths(tmp_path):
    with open(tmp_path / "vggsound.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["---g-f_I2yQ", 1, "people marching", "test"], ["--0PQM4-hqg", 30, "waves, surf", "train"]]
        )
    touch(tmp_path / "clips" / "---g-f_I2yQ_000001.mp4")
    touch(tmp_path / "clips" / "--0PQM4-hqg_000030.flac")
    return tmp_path / "vggsound.csv", tmp_path / "clips"


def test_vggsound_yields_ten_second_clips(vggsound_paths):
    rows = list(vggsound(*vggsound_paths))
    assert rows[0] == {
        "id": "---g-f_I2yQ_000001",
        "path": str(vggsound_paths[1] / "---g-f_I2yQ_000001.mp4"),
        "labels": ["people marching"],
        "split": "test",
        "start": 1.0,
        "end": 11.0,
    }
    assert rows[1]["labels"] == ["waves, surf"]
    assert [row["id"] for row in vggsound(*vggsound_paths, split="train")] == ["--0PQM4-hqg_000030"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("id,1.5,label,test", r"vggsound\.csv, line 3: `start seconds` must be a whole number, got '1\.5'"),
        ("id,1,label,dev", r"line 3: the split must be train or test, got 'dev'"),
        ("id,1,,test", r"line 3: the label is empty"),
        ("a/b,1,label,test", r"line 3: 'a/b' is not a plain file name"),
    ],
)
def test_a_malformed_vggsound_row_is_named(vggsound_paths, line, message):
    append(vggsound_paths[0], line)
    with pytest.raises(ValueError, match=message):
        list(vggsound(*vggsound_paths))


@pytest.mark.parametrize("streaming", [False, True])
def test_any_reader_becomes_a_dataset(esc50_root, streaming):
    dataset = as_dataset(esc50, esc50_root, folds=[1], streaming=streaming)
    rows = list(dataset)
    assert [row["labels"] for row in rows] == [["dog"], ["rain"]]
    assert rows[0]["fold"] == 1
    assert rows[0]["split"] is None
    assert rows[0]["path"].endswith("1-100032-A-0.wav")


def test_a_dataset_of_audioset_keeps_times_and_several_labels(audioset_paths):
    touch(audioset_paths[1] / "--4gqARaEJE.wav")
    (row,) = as_dataset(audioset, *audioset_paths, skip_missing=True)
    assert (row["labels"], row["start"], row["end"], row["fold"]) == (["Pets", "Speech"], 0.0, 10.0, None)
