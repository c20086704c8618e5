"""Own recordings, in folders of classes or by a table, and what of them is for validation."""

import pytest

from avzoo.data.own_recordings import read_class_folders, read_labelled_table, split_recordings


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not decoded here")


def labels_by_id(rows):
    return {row["id"]: row["labels"] for row in rows}


def test_a_folder_is_a_class_and_an_empty_one_too(tmp_path):
    touch(
        tmp_path, "dog/1.wav", "dog/old/2.FLAC", "rain/1.mp3", "dog/notes.txt", ".cache/1.wav", "dog/._1.wav", "x.wav"
    )
    (tmp_path / "bell").mkdir()
    rows, names = read_class_folders(tmp_path)
    assert names == ["bell", "dog", "rain"]
    assert labels_by_id(rows) == {"dog/1.wav": ["dog"], "dog/old/2.FLAC": ["dog"], "rain/1.mp3": ["rain"]}
    assert rows[0]["path"] == str(tmp_path / "dog" / "1.wav")


@pytest.mark.parametrize("name", ["validation", "val", "test"])
def test_train_and_validation_may_be_folders(tmp_path, name):
    touch(tmp_path, "train/dog/1.wav", "train/rain/1.wav", f"{name}/dog/2.wav", f"{name}/cat/2.wav")
    rows, names = read_class_folders(tmp_path)
    train, validation = split_recordings(rows)
    assert names == ["cat", "dog", "rain"]
    assert labels_by_id(train) == {"train/dog/1.wav": ["dog"], "train/rain/1.wav": ["rain"]}
    assert labels_by_id(validation) == {f"{name}/cat/2.wav": ["cat"], f"{name}/dog/2.wav": ["dog"]}


def test_a_class_may_be_called_train(tmp_path):
    touch(tmp_path, "train/1.wav", "train/2.wav", "plane/1.wav", "plane/2.wav")
    assert read_class_folders(tmp_path)[1] == ["plane", "train"]


def test_a_folder_without_recordings_is_refused(tmp_path):
    touch(tmp_path, "1.wav", "dog/notes.txt")
    with pytest.raises(FileNotFoundError, match=r"holds no recording in a folder of a class, such as .*/dog/1\.wav"):
        read_class_folders(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere` is no folder"):
        read_class_folders(tmp_path / "nowhere")


def test_names_that_are_no_text_are_for_recordings_and_not_for_classes(tmp_path):
    touch(tmp_path, "dog/1.wav", "dog/\udcff.wav")
    train, validation = split_recordings(read_class_folders(tmp_path)[0])
    assert sorted(row["id"] for row in train + validation) == ["dog/1.wav", "dog/\udcff.wav"]
    touch(tmp_path, "\udcff/1.wav")
    with pytest.raises(ValueError, match=rf"^`{tmp_path}` holds a folder .* no UTF-8 text, b'\\xff'; rename it"):
        read_class_folders(tmp_path)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table_names_paths_labels_and_splits(tmp_path):
    touch(tmp_path, "a.wav", "b/c.wav", "d, e.wav")
    lines = ("path,labels,split,note", "a.wav,dog;rain,train,x", "b/c.wav,dog,val,", '"d, e.wav",cat,test,')
    rows = list(read_labelled_table(write(tmp_path / "list.csv", *lines)))
    assert [(row["id"], row["labels"], row["split"]) for row in rows] == [
        ("a.wav", ["dog", "rain"], "train"),
        ("b/c.wav", ["dog"], "validation"),
        ("d, e.wav", ["cat"], "test"),
    ]
    train, validation = split_recordings(rows)
    assert ([row["id"] for row in train], [row["id"] for row in validation]) == (["a.wav"], ["b/c.wav"])


def test_a_single_label_may_hold_the_separator(tmp_path):
    touch(tmp_path, "a.wav")
    rows = list(read_labelled_table(write(tmp_path / "list.csv", "\ufefffile_name,Label", "a.wav,dog; barking")))
    assert rows[0]["labels"] == ["dog; barking"]


def test_paths_start_from_the_root_and_may_be_absolute_inside_it(tmp_path):
    touch(tmp_path, "sounds/a.wav", "sounds/b.wav")
    table = write(tmp_path / "list.csv", "path,label", "a.wav,dog", f"{tmp_path}/sounds/b.wav,dog")
    rows = list(read_labelled_table(table, tmp_path / "sounds"))
    assert [row["path"] for row in rows] == [str(tmp_path / "sounds" / name) for name in ("a.wav", "b.wav")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,label", "a.wav,dog"], r"list\.csv, line 1: expected a header with path and label .* got 'name,label'"),
        (["a.wav,dog"], "line 1: expected a header"),
        (["path,label", "a.wav"], "line 2: expected 2 fields, got 1"),
        (["path,label", "a.wav,"], "line 2: `label` is empty"),
        (["path,labels", "a.wav,dog;"], "line 2: `labels` is empty or has an empty part, 'dog;'"),
        (["path,label,split", "a.wav,dog,rest"], "line 2: `split` must be one of train, validation, .* got 'rest'"),
        (["path,label", "../a.wav,dog"], r"line 2: '\.\./a\.wav' leads out of "),
        (["path,label", "/etc/passwd,dog"], "line 2: '/etc/passwd' leads out of "),
        (["path,label", "a.wav,dog", "./a.wav,cat"], r"line 3: '\./a\.wav' is also in line 2"),
        (["path;label", "a.wav;dog"], "line 1: expected a header .*, with commas between them, got 'path;label'"),
        (["path,label,Label", "a.wav,dog,cat"], "line 1: the header names 'label' 2 times"),
        (["path,label"], "holds a header and no recording"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(tmp_path, lines, message):
    touch(tmp_path, "a.wav")
    with pytest.raises(ValueError, match=message):
        list(read_labelled_table(write(tmp_path / "list.csv", *lines)))


def test_missing_recordings_are_counted_and_may_be_left_out(tmp_path, caplog):
    touch(tmp_path, "a.wav")
    table = write(tmp_path / "list.csv", "path,label", "a.wav,dog", "b.wav,dog", "c.wav,cat")
    with pytest.raises(FileNotFoundError, match=r"2 of the 3 recordings named by list\.csv are missing, .*/b\.wav"):
        list(read_labelled_table(table))
    assert [row["id"] for row in read_labelled_table(table, skip_missing=True)] == ["a.wav"]
    assert "2 of the 3 recordings named by list.csv are missing and left out" in caplog.text


def test_a_share_of_each_class_is_for_validation_and_stays_when_others_come():
    rows = [{"id": f"{name}/{i}", "labels": [name]} for name in ("dog", "rain") for i in range(10)]
    train, validation = split_recordings(rows, 0.3)
    assert len(train) == 14
    assert [row["labels"] for row in validation] == [["dog"]] * 3 + [["rain"]] * 3
    assert split_recordings(rows[::-1], 0.3)[1] == validation[::-1]
    assert split_recordings([*rows, {"id": "cat/0", "labels": ["cat"]}], 0.3)[1] == validation  # one is for training


def test_a_share_is_between_none_and_all():
    with pytest.raises(ValueError, match="`val_share` must be above 0 and below 1, got 0"):
        split_recordings([], 0)
