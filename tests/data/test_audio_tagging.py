"""What a tagger is trained on: classes as the data set lists them, and all that is told before the first step."""

import argparse

import numpy as np
import pytest

from avzoo.audio import write_wav
from avzoo.data.audio_tagging import add_tagging_options, read_tagging_data


def read(*options):
    parser = argparse.ArgumentParser()
    add_tagging_options(parser)
    return read_tagging_data(parser.parse_args([str(option) for option in options]))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not decoded here")


@pytest.fixture
def audioset(tmp_path):
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/1,"Speech"\n1,/m/2,"Dog"\n2,/m/3,"Bell, small"\n'
    )
    header = "# YTID, start_seconds, end_seconds, positive_labels\n"
    (tmp_path / "balanced_train_segments.csv").write_text(
        f'{header}aaaaaaaaaaa, 0.000, 10.000, "/m/1,/m/2"\nbbbbbbbbbbb, 0.000, 10.000, "/m/1"\n'
    )
    (tmp_path / "eval_segments.csv").write_text(f'{header}ccccccccccc, 0.000, 10.000, "/m/2"\n')
    touch(tmp_path / "clips", "aaaaaaaaaaa.wav", "ccccccccccc.wav")
    return tmp_path


def test_audiosets_classes_are_those_of_its_list(audioset, caplog):
    data = read("--dataset", "audioset", "--data_dir", audioset, "--multi_label")
    assert data.names == ["Speech", "Dog", "Bell, small"]
    assert [row["labels"] for row in data.train] == [["Speech", "Dog"]]
    assert "1 of the 2 recordings named by balanced_train_segments.csv are missing and left out" in caplog.text
    assert "1 of the 3 classes have no recording for training: Bell, small." in caplog.text


def test_several_labels_without_multi_label_are_refused(audioset):
    message = r"`multi_label` is not set, but 1 of the 2 recordings have several labels, such as .*aaaaaaaaaaa\.wav "
    with pytest.raises(ValueError, match=message + r"\(Speech, Dog\); pass --multi_label"):
        read("--dataset", "audioset", "--data_dir", audioset)


def test_esc50s_classes_are_those_of_all_its_folds(tmp_path):
    rows = ["filename,fold,target,category,esc10,src_file,take", "a.wav,1,0,dog,T,a,A", "b.wav,5,0,dog,T,b,A"]
    touch(tmp_path, "audio/a.wav", "audio/b.wav", "meta/esc50.csv")
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join([*rows, "c.wav,2,1,rain,T,c,A"]) + "\n")
    data = read("--dataset", "esc50", "--data_dir", tmp_path, "--skip_missing")
    assert data.names == ["dog", "rain"]
    assert [row["id"] for row in data.train + data.validation] == ["a", "b"]


def test_speech_commands_classes_are_its_folders(tmp_path):
    touch(tmp_path, "yes/1.wav", "yes/2.wav", "no/1.wav", "_background_noise_/1.wav")
    (tmp_path / "stop").mkdir()
    (tmp_path / "validation_list.txt").write_text("")
    (tmp_path / "testing_list.txt").write_text("yes/2.wav\n")
    assert read("--dataset", "speech_commands", "--data_dir", tmp_path).names == ["no", "stop", "yes"]


def test_vggsounds_classes_are_those_of_its_table(tmp_path):
    (tmp_path / "vggsound.csv").write_text("aaaaaaaaaaa,1,dog,train\nbbbbbbbbbbb,2,cat,train\nccccccccccc,3,dog,test\n")
    touch(tmp_path, "clips/aaaaaaaaaaa_000001.wav", "clips/ccccccccccc_000003.wav")
    assert read("--dataset", "vggsound", "--data_dir", tmp_path).names == ["cat", "dog"]


def test_tables_may_be_two(tmp_path):
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "train.csv").write_text("path,label\na.wav,dog\n")
    (tmp_path / "val.csv").write_text("path,label\nb.wav,rain\n")
    data = read("--dataset", "csv", "--train_list", tmp_path / "train.csv", "--val_list", tmp_path / "val.csv")
    assert (data.train[0]["id"], data.validation[0]["id"], data.names) == ("a.wav", "b.wav", ["dog", "rain"])


def test_what_a_run_must_agree_on_changes_with_labels_and_recordings(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.wav" for name in ("dog", "rain") for i in range(5)))
    before = read("--dataset", "folder", "--data_dir", tmp_path).describe()
    assert before["labels"] == ["dog", "rain"]
    assert before["train recordings"].startswith("8, digest ")
    assert read("--dataset", "folder", "--data_dir", tmp_path.parent / tmp_path.name).describe() == before
    (tmp_path / "dog" / "4.wav").rename(tmp_path / "dog" / "5.wav")
    assert read("--dataset", "folder", "--data_dir", tmp_path).describe() != before


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (["dog/1.wav"], [], "no recording is there for validation, of 1 below `data_dir`.*put two recordings into"),
        (["dog/1.wav", "dog/2.wav"], [], "`dataset` .folder. has one class only, 'dog'"),
        (["dog/1.wav"], ["--train_list", "a.csv"], "`train_list` .a.csv. is for --dataset csv, got folder"),
        (["dog/1.wav"], ["--val_share", "1.5"], "`val_share` must be above 0 and below 1, got 1.5"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(tmp_path, files, options, message):
    touch(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        read("--dataset", "folder", "--data_dir", tmp_path, *options)


def test_an_empty_test_fold_is_told(tmp_path):
    touch(tmp_path, "audio/a.wav", "meta/esc50.csv")
    rows = "filename,fold,target,category,esc10,src_file,take\na.wav,1,0,dog,T,a,A\n"
    (tmp_path / "meta" / "esc50.csv").write_text(rows)
    with pytest.raises(ValueError, match=r"`dataset` \(esc50\): no recording is there for validation, of 1"):
        read("--dataset", "esc50", "--data_dir", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "folder", "--data_dir", "nowhere"], r"`data_dir` \(nowhere\) is no folder"),
        (["--dataset", "csv", "--train_list", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_a_missing_folder_or_list_is_told(options, message):
    with pytest.raises(FileNotFoundError, match=message):
        read(*options)


def test_an_empty_file_is_told_with_its_whole_path(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.wav" for name in ("dog", "rain") for i in range(2)))
    (tmp_path / "rain" / "1.wav").write_bytes(b"")
    with pytest.raises(OSError, match=rf"1 of the 4 files are empty, the first is {tmp_path}/rain/1\.wav"):
        read("--dataset", "folder", "--data_dir", tmp_path)


def test_damaged_recordings_are_counted_and_left_out_if_asked_for(tmp_path, caplog):
    for name in ("dog/1.wav", "dog/2.wav", "dog/3.wav", "rain/1.wav", "rain/2.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / name, np.zeros(1600, np.float32), 16000)
    cut = tmp_path / "dog" / "2.wav"
    cut.write_bytes(cut.read_bytes()[:1000])
    data = read("--dataset", "folder", "--data_dir", tmp_path, "--skip_damaged")
    assert sorted(row["id"] for row in data.train + data.validation) == [
        "dog/1.wav", "dog/3.wav", "rain/1.wav", "rain/2.wav",
    ]  # fmt: skip
    assert f"1 of the 5 recordings can't be read and left out, the first is `{cut}`" in caplog.text


def test_recordings_shorter_than_a_frame_are_left_out_with_the_damaged(tmp_path, caplog):
    for name, samples in (("dog/1", 1200), ("dog/2", 1199), ("dog/3", 1200), ("rain/1", 1200), ("rain/2", 1200)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / f"{name}.wav", np.zeros(samples, np.float32), 48000)
    data = read("--dataset", "folder", "--data_dir", tmp_path, "--skip_damaged")
    assert "dog/2.wav" not in [row["id"] for row in data.train + data.validation]
    assert f"the first is `{tmp_path}/dog/2.wav` is too short: 1199 samples at 48000 Hz" in caplog.text
