from pathlib import Path

import pytest

from avzoo.data.musan import musan, simulated_rooms
from avzoo.data.voxceleb import (
    keep_speakers_with_sessions,
    parse_voxceleb_path,
    read_voxceleb_list,
    voxceleb_utterances,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def rows(*names: str) -> list[dict[str, str]]:
    return [dict(zip(("speaker", "session"), parse_voxceleb_path(name), strict=True)) | {"id": name} for name in names]


@pytest.mark.parametrize("depth", ["", "data/voxceleb1/dev/wav/", "/a/"])
def test_speaker_and_session_are_read_from_the_end_of_a_path(depth):
    assert parse_voxceleb_path(f"{depth}id10001/1zcIwhmdeo4/00001.wav") == ("id10001", "id10001/1zcIwhmdeo4")


def test_a_path_without_a_session_is_refused():
    with pytest.raises(ValueError, match=r"`path` must end in speaker/video/file, got 'id10001/00001\.wav'"):
        parse_voxceleb_path("id10001/00001.wav")


def test_utterances_come_sorted_whatever_the_depth(tmp_path):
    touch(tmp_path, "dev/aac/id2/v2/00001.m4a", "test/aac/id1/v1/00002.m4a", "test/aac/id1/v1/00001.wav", "list.txt")
    found = voxceleb_utterances(tmp_path)
    assert [row["id"] for row in found] == ["id1/v1/00001", "id1/v1/00002", "id2/v2/00001"]
    assert found[2] == {
        "id": "id2/v2/00001",
        "speaker": "id2",
        "session": "id2/v2",
        "audio": str(tmp_path / "dev/aac/id2/v2/00001.m4a"),
    }
    assert voxceleb_utterances(tmp_path / "dev") == found[2:]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (("id1/v1/1.wav", "v1/1.wav"), ValueError, r"v1.1\.wav is not below a folder of a speaker and one of a video"),
        (("wav/id1/v1/1.wav", "aac/id1/v1/1.m4a"), ValueError, "One utterance is there twice"),
        (("readme.txt",), FileNotFoundError, r"no recording \(\.wav, \.m4a, \.flac\) below"),
    ],
)
def test_other_layouts_are_refused(tmp_path, names, error, message):
    touch(tmp_path, *names)
    with pytest.raises(error, match=message):
        voxceleb_utterances(tmp_path)


def test_a_list_keeps_its_order_and_tells_missing_files(tmp_path):
    table = tmp_path / "train_list.txt"
    table.write_text("id2 id2/v1/1.wav\n\nid1 id1/v1/1.wav\n")
    touch(tmp_path, "id2/v1/1.wav")
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 utterances named by train_list\.txt .*id1.v1.1\.wav"):
        read_voxceleb_list(table, tmp_path)
    assert [row["id"] for row in read_voxceleb_list(table, tmp_path, skip_missing=True)] == ["id2/v1/1"]
    touch(tmp_path, "id1/v1/1.wav")
    assert [row["session"] for row in read_voxceleb_list(table, tmp_path)] == ["id2/v1", "id1/v1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("id1 id2/v1/1.wav", r"train_list\.txt, line 2: the speaker is 'id1', but 'id2' in the path"),
        ("id1 id1/v1/1.wav", "line 2: 'id1/v1/1.wav' is there twice"),
        ("id1 ../id1/v1/1.wav", "line 2: .* leads out of the root"),
        ("id1 id1/1.wav", "line 2: the path must end in speaker/video/file"),
        ("id1/v1/1.wav", "line 2: expected a speaker and a path"),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path, line, message):
    table = tmp_path / "train_list.txt"
    table.write_text(f"id1 id1/v1/1.wav\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_voxceleb_list(table, tmp_path)


def test_speakers_of_one_session_are_left_out_and_counted():
    given = rows("id1/a/1.wav", "id1/b/1.wav", "id2/a/1.wav", "id2/a/2.wav", "id3/a/1.wav")
    kept, left_out = keep_speakers_with_sessions(given)
    assert kept == given[:2]
    assert left_out == 2


def test_sessions_of_too_few_utterances_do_not_count():
    given = rows(
        "id1/a/1.wav", "id1/a/2.wav", "id1/b/1.wav", "id1/b/2.wav", "id1/c/1.wav", "id2/a/1.wav", "id2/b/1.wav"
    )
    kept, left_out = keep_speakers_with_sessions(given, sessions=2, utterances=2)
    assert kept == given[:4]
    assert left_out == 1
    with pytest.raises(ValueError, match="none of the 2 speakers has 3 sessions of 2 or more utterances"):
        keep_speakers_with_sessions(given, sessions=3, utterances=2)


def test_noises_and_rooms_in_their_folders(tmp_path):
    touch(
        tmp_path, "music/fma/b.wav", "music/fma/a/00000.wav", "noise/x/n.wav", "speech/x/s.wav", "speech/x/ANNOTATIONS"
    )
    found = musan(tmp_path)
    assert list(found) == ["music", "noise", "speech"]
    assert found["music"] == [str(tmp_path / "music/fma" / name) for name in ("a/00000.wav", "b.wav")]
    assert found["speech"] == [str(tmp_path / "speech/x/s.wav")]
    with pytest.raises(FileNotFoundError, match=r"has none of the folders smallroom, mediumroom, largeroom"):
        simulated_rooms(tmp_path)
    touch(tmp_path, "smallroom/Room001/1.wav", "mediumroom/Room001/2.wav")
    assert [Path(path).name for path in simulated_rooms(tmp_path)] == ["2.wav", "1.wav"]
    (tmp_path / "noise/x/n.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \.wav files below .*noise; is `root` the folder of MUSAN"):
        musan(tmp_path)
