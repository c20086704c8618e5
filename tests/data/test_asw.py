import json

import pytest

from avzoo.data.asw import asw_tracks


def frame(time, label=0, evaluated=1, box=(0.1, 0.2, 0.3, 0.4)):
    return {"time": time, "bbox": list(box), "label": label, "eval": evaluated}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "json"
    folder.mkdir()
    first = [frame(0.2, 0, 0), frame(0.4, 1, box=(-0.05, 0.2, 1.02, 0.4)), frame(0.6, 1, 0)]
    write(folder / "bbbbbbbbbbb.json", {"track_000000": first, "track_000001": [frame(3)]})
    write(folder / "aaaaaaaaaaa.json", {"track_000000": [frame(1.0, 1)]})
    return folder


def write(path, content):
    path.write_text(json.dumps(content))


def test_every_track_of_every_video_comes_by_name(root):
    rows = list(asw_tracks(root))
    assert [row["id"] for row in rows] == [
        "aaaaaaaaaaa/track_000000",
        "bbbbbbbbbbb/track_000000",
        "bbbbbbbbbbb/track_000001",
    ]
    row = rows[1]
    assert (row["video_id"], row["track_id"]) == ("bbbbbbbbbbb", "track_000000")
    assert row["times"].tolist() == [0.2, 0.4, 0.6]
    assert row["labels"].tolist() == [0, 1, 1]
    assert row["labels"][row["evaluated"]].tolist() == [1]  # only frames with eval 1 count
    assert row["boxes"][1].tolist() == [-0.05, 0.2, 1.02, 0.4]  # outside of the picture, and left there


def test_a_list_chooses_videos_and_their_order(root, tmp_path):
    (tmp_path / "test.list").write_text("bbbbbbbbbbb.json\n\naaaaaaaaaaa.json\n")
    assert [row["video_id"][0] for row in asw_tracks(root, tmp_path / "test.list")] == ["b", "b", "a"]


def test_missing_videos_are_counted_before_anything_is_yielded(root, tmp_path):
    (tmp_path / "test.list").write_text("aaaaaaaaaaa.json\nccccccccccc.json\n")
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 2 videos named by test\.list .*ccccccccccc\.json.*skip_miss"
    ):
        next(asw_tracks(root, tmp_path / "test.list"))
    assert len(list(asw_tracks(root, tmp_path / "test.list", skip_missing=True))) == 1
    with pytest.raises(FileNotFoundError, match=r"no \.json files"):
        next(asw_tracks(tmp_path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../secret.json", r"test\.list, line 2: '\.\./secret\.json' is not a plain file name"),
        ("/etc/x.json", "is not a plain file name"),
        ("aaaaaaaaaaa", r"line 2: expected video\.json, got 'aaaaaaaaaaa'"),
    ],
)
def test_a_list_leads_nowhere_else(root, tmp_path, line, message):
    (tmp_path / "test.list").write_text(f"aaaaaaaaaaa.json\n{line}\n")
    with pytest.raises(ValueError, match=message):
        list(asw_tracks(root, tmp_path / "test.list"))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], r"x\.json, track 'track_0': expected a list of frames, at least one, got \[\]"),
        ({}, "expected a list of frames"),
        ([frame(0.2), 7], "frame 2: expected time, bbox, label and eval, got 7"),
        ([{"time": 1, "bbox": [0, 0, 1, 1], "label": 0}], "frame 1: expected time, bbox, label and eval"),
        ([frame(0.4), frame(0.2)], r"frame 2: the time 0\.2 s is not after 0\.4 s"),
        ([frame(0.4), frame(0.4)], "frame 2: the time"),
        ([frame(float("nan"))], "`time` must be seconds from 0 on, got nan"),
        ([frame(-1)], "`time` must be seconds"),
        ([frame(True)], "`time` must be seconds"),
        ([frame(10**400)], "`time` must be seconds"),
        ([frame(1, box=(0, 0, 1))], r"`bbox` must be four numbers, got \[0, 0, 1\]"),
        ([frame(1, box=(0, 0, 1, float("inf")))], "`bbox` must be four numbers"),
        ([frame(1, box=(0.5, 0, 0.4, 1))], "`bbox` must be .* x1 <= x2"),
        ([frame(1, label=2)], "`label` must be 0 or 1, got 2"),
        ([frame(1, label=True)], "`label` must be 0 or 1, got True"),
        ([frame(1, evaluated="1")], "`eval` must be 0 or 1, got '1'"),
    ],
)
def test_a_malformed_track_is_named_by_file_track_and_frame(tmp_path, frames, message):
    write(tmp_path / "x.json", {"track_0": frames})
    with pytest.raises(ValueError, match=message):
        list(asw_tracks(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"x\.json is damaged: Expecting property name.*line 1"),
        (b"\xff", r"x\.json is damaged"),
        (b"[]", r"x\.json: expected an object"),
        (b"{}", "with at least one member"),
        (b'{"t": [1], "t": [2]}', "'t' appears twice"),
        (b"[" * 100000, r"x\.json is (nested too deeply|damaged)"),
    ],
)
def test_damaged_json_is_named(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(asw_tracks(tmp_path))
