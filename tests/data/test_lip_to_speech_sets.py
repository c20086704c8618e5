"""GRID and Lip2Wav in their layouts."""

import pytest

from avzoo.data.grid import FOUR_SPEAKERS, grid, read_grid_sentence
from avzoo.data.lip2wav import lip2wav


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not decoded here")
    return str(path)


@pytest.mark.parametrize("layout", ["{}", "video/{}", "{}/video/mpg_6000"])
def test_sentences_of_grid_are_sorted_and_say_what_is_said(tmp_path, layout):
    for speaker, name in (("s10", "swiz7s"), ("s2", "lrwp9a"), ("s2", "bbaf2n")):
        touch(tmp_path / layout.format(speaker) / f"{name}.mpg")
    touch(tmp_path / "audio_25k" / "s2" / "bbaf2n.wav")
    rows = grid(tmp_path)
    assert [(row["id"], row["text"]) for row in rows] == [
        ("s2/bbaf2n", "bin blue at f two now"),
        ("s2/lrwp9a", "lay red with p nine again"),
        ("s10/swiz7s", "set white in z seven soon"),
    ]
    path = str(tmp_path / layout.format("s2") / "bbaf2n.mpg")
    assert (rows[0]["speaker"], rows[0]["audio"], rows[0]["video"]) == ("s2", path, path)


def test_speakers_of_grid_can_be_chosen(tmp_path):
    for speaker in ("s1", "s2", "s3", "s4", "s29"):
        touch(tmp_path / speaker / "bbaf2n.mp4")
    assert [row["speaker"] for row in grid(tmp_path, FOUR_SPEAKERS)] == ["s1", "s2", "s4", "s29"]
    with pytest.raises(FileNotFoundError, match="has no folder of s21; there are s1, s2, s3, s4, s29"):
        grid(tmp_path, ["s1", "s21"])


@pytest.mark.parametrize("name", ["bbaf2", "bbaw2n", "xbaf2n", "bbaf2n_1", "BBAF2N"])
def test_names_that_are_no_sentence_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is no sentence of GRID"):
        read_grid_sentence(name)
    path = touch(tmp_path / "s1" / f"{name}.mpg")
    with pytest.raises(ValueError, match=path):
        grid(tmp_path)


def test_zero_is_written_z():
    assert read_grid_sentence("pgibzp") == "place green in b zero please"


def test_two_videos_of_a_sentence_are_refused(tmp_path):
    touch(tmp_path / "s1" / "bbaf2n.mpg")
    touch(tmp_path / "s1" / "vcd" / "bbaf2n.mpg")
    with pytest.raises(ValueError, match="two videos are called s1/bbaf2n"):
        grid(tmp_path)


def test_a_folder_that_is_not_grid_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no speaker's folder \(s1, s2, \.\.\.\); is it"):
        grid(tmp_path)
    with pytest.raises(FileNotFoundError, match="and no such folder"):
        grid(tmp_path / "nowhere")
    (tmp_path / "s1").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no video \(\.mpg, \.mp4, \.avi\) in them"):
        grid(tmp_path)


@pytest.fixture
def chem(tmp_path):
    root = tmp_path / "chem"
    for number in (10, 2, 0):
        touch(root / "intervals" / "QL6TFnaXvMg" / f"cut-{number}.mp4")
    touch(root / "intervals" / "-_Bnc" / "cut-0.mp4")
    (root / "test.txt").write_text("QL6TFnaXvMg\n-_Bnc\n\n")
    return root


def test_cuts_of_lip2wav_are_in_the_order_of_list_and_number(chem):
    rows = lip2wav(chem)
    assert [row["id"] for row in rows] == [
        "QL6TFnaXvMg/cut-0",
        "QL6TFnaXvMg/cut-2",
        "QL6TFnaXvMg/cut-10",
        "-_Bnc/cut-0",
    ]
    path = str(chem / "intervals" / "-_Bnc" / "cut-0.mp4")
    assert rows[3] == {"id": "-_Bnc/cut-0", "speaker": "chem", "audio": path, "video": path}


def test_videos_that_left_are_refused_or_counted(chem, caplog):
    (chem / "test.txt").write_text("QL6TFnaXvMg\ngone1\ngone2\n")
    with pytest.raises(FileNotFoundError, match=r"2 of the 3 videos named by test.txt are missing.*gone1/cut-0.mp4"):
        lip2wav(chem)
    assert len(lip2wav(chem, skip_missing=True)) == 3
    assert "2 of the 3 videos named by test.txt are missing and left out" in caplog.text


def test_lists_that_lead_elsewhere_are_refused(chem):
    (chem / "test.txt").write_text("../elsewhere\n")
    with pytest.raises(ValueError, match=r"test.txt, line 1: '../elsewhere' is not a plain file name"):
        lip2wav(chem)


def test_a_list_that_is_missing_and_an_unknown_split_are_refused(chem):
    with pytest.raises(FileNotFoundError, match=r"train.txt` is missing; `root` should be a speaker's folder"):
        lip2wav(chem, "train")
    with pytest.raises(ValueError, match="`split` must be one of train, val, test, got 'dev'"):
        lip2wav(chem, "dev")
