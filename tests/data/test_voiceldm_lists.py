import pytest

from avzoo.data.voiceldm_lists import read_voiceldm_lists


def write_list(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not decoded here")


def test_rows_come_in_the_order_of_the_lists(tmp_path):
    first = write_list(tmp_path / "cv1.csv", "file_path,text,data", "clips/b.mp3,Hi.,cv", "clips/a.mp3,Ho.,cv")
    second = write_list(tmp_path / "cv2.csv", "file_path,text,data", "clips/0.mp3,Hm.,cv")
    for name in "ab0":
        touch(tmp_path / "clips" / f"{name}.mp3")
    assert read_voiceldm_lists([first, second], tmp_path) == [
        {"path": str(tmp_path / "clips" / "b.mp3"), "text": "Hi.", "data": "cv"},
        {"path": str(tmp_path / "clips" / "a.mp3"), "text": "Ho.", "data": "cv"},
        {"path": str(tmp_path / "clips" / "0.mp3"), "text": "Hm.", "data": "cv"},
    ]


def test_a_list_of_noise_needs_no_text(tmp_path):
    table = write_list(tmp_path / "noise_demand.csv", "file_path,data", "PSTATION/ch03.wav,demand")
    touch(tmp_path / "PSTATION" / "ch03.wav")
    (row,) = read_voiceldm_lists(table, tmp_path)
    assert row == {"path": str(tmp_path / "PSTATION" / "ch03.wav"), "text": None, "data": "demand"}


def test_columns_are_found_by_name(tmp_path):
    table = write_list(tmp_path / "ac.csv", "caption,file_path,text,data", '"Rain, and a man",1.wav,Little bit.,ac')
    touch(tmp_path / "1.wav")
    (row,) = read_voiceldm_lists(table, tmp_path)
    assert (row["path"], row["text"], row["data"]) == (str(tmp_path / "1.wav"), "Little bit.", "ac")


@pytest.mark.parametrize("text", [" She said: Yes,  no!", 'He said "No."', "two\nlines", "None", "NA", "", "Zoë"])
def test_a_transcript_is_not_changed(tmp_path, text):
    quoted = text.replace('"', '""')
    table = write_list(tmp_path / "cv1.csv", "file_path,text,data", f'1.wav,"{quoted}",cv')
    touch(tmp_path / "1.wav")
    assert [row["text"] for row in read_voiceldm_lists(table, tmp_path)] == [text]


def test_a_byte_order_mark_and_blank_lines_are_skipped(tmp_path):
    table = write_list(tmp_path / "cv1.csv", "\ufefffile_path,text,data", "", "1.wav,Hi.,cv", "")
    touch(tmp_path / "1.wav")
    assert len(read_voiceldm_lists(table, tmp_path)) == 1


def test_each_value_of_data_can_have_its_own_folder(tmp_path):
    table = write_list(tmp_path / "as.csv", "file_path,text,data", "1.wav,Hi.,as_b", "1.wav,Ho.,as_e")
    touch(tmp_path / "balanced" / "1.wav")
    touch(tmp_path / "eval" / "1.wav")
    rows = read_voiceldm_lists(table, {"as_b": tmp_path / "balanced", "as_e": tmp_path / "eval"})
    assert [row["path"] for row in rows] == [str(tmp_path / "balanced" / "1.wav"), str(tmp_path / "eval" / "1.wav")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("a.wav,cv", r"cv1\.csv, line 4: expected 3 fields, got 2"),
        ("a.wav,well, then,cv", r"line 4: expected 3 fields, got 4"),
        (" ,Hi.,cv", r"line 4: `file_path` is empty"),
        ("a.wav,Hi.,", r"line 4: `data` is empty"),
        ("/etc/passwd,Hi.,cv", r"line 4: `file_path` must start from `root`, got '/etc/passwd'"),
        ("../a.wav,Hi.,cv", r"line 4: '\.\.' is not a plain file name"),
        ("clips/../../a.wav,Hi.,cv", r"line 4: '\.\.' is not a plain file name"),
        ("..\\a.wav,Hi.,cv", r"line 4: '\.\.\\\\a\.wav' is not a plain file name"),
        ('a.wav,"Hi.,cv', r"line 4: unexpected end of data"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_first_line(tmp_path, record, message):
    table = write_list(tmp_path / "cv1.csv", "file_path,text,data", '1.wav,"two', 'lines",cv', record)
    with pytest.raises(ValueError, match=message):
        read_voiceldm_lists(table, tmp_path, skip_missing=True)


@pytest.mark.parametrize("header", ["file_path,text", "text,data", "version https://git-lfs.github.com/spec/v1"])
def test_a_missing_column_is_refused(tmp_path, header):
    table = write_list(tmp_path / "cv1.csv", header, "1.wav,Hi.")
    with pytest.raises(ValueError, match=rf"cv1\.csv, line 1: expected a header with file_path.*, got '{header}'"):
        read_voiceldm_lists(table, tmp_path)


def test_an_empty_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cv1\.csv, line 1: expected a header"):
        read_voiceldm_lists(write_list(tmp_path / "cv1.csv"), tmp_path)


def test_a_list_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "cv1.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"cv1\.csv, line 1: not UTF-8 text"):
        read_voiceldm_lists(tmp_path / "cv1.csv", tmp_path)


def test_data_without_a_folder_is_refused(tmp_path):
    table = write_list(tmp_path / "as.csv", "file_path,text,data", "1.wav,Hi.,as_b")
    with pytest.raises(ValueError, match=r"line 2: `data` is 'as_b', but `root` has folders only for cv, ac"):
        read_voiceldm_lists(table, {"cv": tmp_path, "ac": tmp_path})


def test_missing_recordings_are_counted_and_the_first_named_by_line(tmp_path):
    table = write_list(tmp_path / "cv1.csv", "file_path,text,data", "1.wav,A,cv", "2.wav,B,cv", "3.wav,C,cv")
    touch(tmp_path / "1.wav")
    with pytest.raises(FileNotFoundError, match=r"2 of the 3 recordings named by .*cv1\.csv .*2\.wav \(line 3\)"):
        read_voiceldm_lists(table, tmp_path)


def test_missing_recordings_can_be_skipped(tmp_path):
    table = write_list(tmp_path / "cv1.csv", "file_path,text,data", "1.wav,A,cv", "2.wav,B,cv", "3.wav,C,cv")
    touch(tmp_path / "1.wav")
    touch(tmp_path / "3.wav")
    assert [row["text"] for row in read_voiceldm_lists(table, tmp_path, skip_missing=True)] == ["A", "C"]
