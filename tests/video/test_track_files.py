"""Tracks to JSON and back, and boxes that people bring along."""

import json
import math

import numpy as np
import pytest

from avzoo.video import FaceTracks, GivenBoxes, Track, find_face_tracks, load_tracks, save_tracks


@pytest.fixture
def tracks():
    boxes = np.array([[10.25, 20, 50, 61], [11, 20, 51, 61], [12, 20, 52, 1 / 3 + 61]])
    first = Track(0, [4, 5, 6], boxes, [0.5, math.nan, 1 / 3])
    second = Track(3, [0, 1], boxes[:2] + 100)
    return FaceTracks([first, second], fps=25.0, width=640, height=360, num_frames=10, source="täglich.mp4")


def assert_same(one, other):
    assert (one.track_id, one.frames.tolist()) == (other.track_id, other.frames.tolist())
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores, equal_nan=True)


def test_tracks_come_back_as_they_were(tracks, tmp_path):
    path = save_tracks(tmp_path / "tracks.json", tracks)
    loaded = load_tracks(path)
    for one, other in zip(tracks.tracks, loaded.tracks, strict=True):
        assert_same(one, other)
    for name in ("fps", "width", "height", "num_frames", "source"):
        assert getattr(loaded, name) == getattr(tracks, name)


def test_the_file_says_seconds_and_missing_scores(tracks, tmp_path):
    content = json.loads(save_tracks(tmp_path / "tracks.json", tracks).read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert content["source"] == "täglich.mp4"
    first, second = content["tracks"]
    assert (first["start_frame"], first["start"], first["end"]) == (4, 4 / 25, 7 / 25)
    assert first["scores"] == [0.5, None, 1 / 3]
    assert second["scores"] == [None, None]
    assert second["boxes"][0] == [110.25, 120, 150, 161]


def test_a_video_without_faces_has_a_file_too(tmp_path):
    path = save_tracks(tmp_path / "none.json", FaceTracks([], 25.0, 64, 36, 5))
    assert load_tracks(path).tracks == []


def test_a_file_is_replaced_whole_or_not_at_all(tracks, tmp_path, monkeypatch):
    path = save_tracks(tmp_path / "tracks.json", tracks)
    before = path.read_bytes()

    def full(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_tracks(path, FaceTracks([], 25.0, 64, 36, 5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tracks_that_do_not_fit_the_video_are_refused(tracks):
    with pytest.raises(ValueError, match="track 0 ends with frame 6, but the video has `num_frames` 6"):
        FaceTracks(tracks.tracks, 25.0, 640, 360, 6)
    with pytest.raises(ValueError, match="two of them have the number 0"):
        FaceTracks([tracks.tracks[0]] * 2, 25.0, 640, 360, 10)
    with pytest.raises(ValueError, match="`fps` must be positive, got 0"):
        FaceTracks([], 0, 640, 360, 10)


def changed(content, **fields):
    return {**content, **fields}


def in_track(content, **fields):
    return {**content, "tracks": [content["tracks"][0], {**content["tracks"][1], **fields}]}


BAD_FILES = {
    "a list": (lambda c: [c], "the file must be a JSON object, got list"),
    "no tracks": (lambda c: {"schema_version": 1}, "the file lacks `fps`, `width`, `height`, `num_frames`, `tracks`"),
    "a later schema": (lambda c: changed(c, schema_version=2), "`schema_version` is 2; this version of avzoo reads 1"),
    "a rate in words": (lambda c: changed(c, fps="25"), "`fps` must be a number, got '25'"),
    "tracks by name": (lambda c: changed(c, tracks={}), "`tracks` must be a list, got dict"),
    "a track that is none": (lambda c: changed(c, tracks=[3]), r"tracks\[0\] must be a JSON object, got int"),
    "no boxes": (
        lambda c: changed(c, tracks=[{"track_id": 1, "start_frame": 2}]),
        r"tracks\[0\] lacks `boxes`",
    ),
    "half a frame": (lambda c: in_track(c, start_frame=0.5), r"tracks\[1\]: `start_frame` must be a whole number"),
    "a frame before the first": (lambda c: in_track(c, start_frame=-1), r"tracks\[1\]: track 3: `frames` must be"),
    "no frame": (lambda c: in_track(c, boxes=[], scores=[]), r"tracks\[1\]: track 3: `frames` must be"),
    "boxes of width": (lambda c: in_track(c, boxes=[[90, 90, 20, 20]] * 2), r"box 0 is \[90.0, 90.0, 20.0, 20.0\]"),
    "three corners": (lambda c: in_track(c, boxes=[[1, 2, 3]] * 2), r"tracks\[1\]: .*must be \(boxes, 4\)"),
    "ragged boxes": (lambda c: in_track(c, boxes=[[1, 2, 3, 4], [1]]), r"tracks\[1\]: "),
    "a score too few": (lambda c: in_track(c, scores=[1.0]), r"tracks\[1\]: track 3: 2 frames, but 2 boxes and scores"),
    "beyond the end": (lambda c: changed(c, num_frames=5), "track 0 ends with frame 6"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_the_reason(tracks, tmp_path, name):
    spoil, message = BAD_FILES[name]
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(spoil(tracks.to_dict())))
    with pytest.raises(ValueError, match=rf"spoiled\.json`: .*{message}"):
        load_tracks(path)


def test_a_file_that_is_not_json_is_refused(tmp_path):
    path = tmp_path / "clip.json"
    path.write_bytes(b"\x00\x00\x00 ftypisom\xff")
    with pytest.raises(ValueError, match=r"clip\.json` is not valid JSON"):
        load_tracks(path)
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        load_tracks(tmp_path / "no.json")


# --- given boxes ------------------------------------------------------------------------------------------------------


def csv_file(tmp_path, *lines):
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_boxes_of_a_table_become_detections(tmp_path):
    path = csv_file(tmp_path, "\ufeffframe, x1,y1,x2,y2,score", "2,10,20,30,40.5,0.5", "0,1,2,3,4,", "2,5,6,7,8,0.25")
    detections = GivenBoxes.read(path).detections(4)
    assert [len(found) for found in detections] == [1, 0, 2, 0]
    assert detections[2].boxes.tolist() == [[10, 20, 30, 40.5], [5, 6, 7, 8]]
    assert detections[2].scores.tolist() == [0.5, 0.25]
    assert math.isnan(detections[0].scores[0])


def test_boxes_without_numbers_are_tracked(tmp_path):
    rows = [f"{frame},{x + frame},10,{x + 40 + frame},50" for frame in range(20) for x in (0, 100)]
    given = GivenBoxes.read(csv_file(tmp_path, "frame,x1,y1,x2,y2", *rows))
    tracks = given.tracks(25)
    assert [(track.track_id, track.start_frame, track.stop_frame) for track in tracks] == [(0, 0, 20), (1, 0, 20)]
    assert len(given.tracks(25, shots=[(0, 5), (5, 20), (20, 25)], max_faces=1)) == 1
    assert len(given.tracks(25, min_detections=20)) == 0


def test_boxes_with_numbers_are_tracks_as_they_stand(tmp_path):
    path = csv_file(
        tmp_path,
        "track_id,frame,x1,y1,x2,y2,score",
        "7,9,40,0,50,10,0.9",
        "7,5,0,0,10,10,0.8",
        "2,3,5,5,6,6,0.7",
    )
    single, pair = GivenBoxes.read(path).tracks(10)
    assert (single.track_id, single.frames.tolist()) == (2, [3])
    assert (pair.track_id, pair.frames.tolist()) == (7, [5, 6, 7, 8, 9])
    assert pair.boxes[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert np.array_equal(pair.scores, [0.8, math.nan, math.nan, math.nan, 0.9], equal_nan=True)


def test_a_file_of_tracks_gives_them_back(tracks, tmp_path):
    path = save_tracks(tmp_path / "tracks.json", tracks)
    for one, other in zip(tracks.tracks, GivenBoxes.read(path).tracks(10), strict=True):
        assert_same(one, other)
    empty = save_tracks(tmp_path / "none.json", FaceTracks([], 25.0, 64, 36, 5))
    assert GivenBoxes.read(empty).tracks(5) == []


def test_boxes_of_arrays_are_taken():
    given = GivenBoxes([0, 1], [[0, 0, 5, 5], [1, 0, 6, 5]], track_ids=[4, 4])
    [track] = given.tracks(2)
    assert (track.track_id, len(track)) == (4, 2)


BAD_TABLES = {
    "no header": (["0,1,2,3,4"], "the first line must name the columns frame,x1,y1,x2,y2.*frame, x1, y1, x2, y2 miss"),
    "a column short": (["frame,x1,y1,x2", "0,1,2,3"], "y2 missing in 'frame,x1,y1,x2'"),
    "an empty file": ([""], "the first line must name the columns"),
    "a word": (["frame,x1,y1,x2,y2", "0,1,2,3,4", "1,1,two,3,4"], "line 3: `y1` must be a number, got 'two'"),
    "a short row": (["frame,x1,y1,x2,y2", "0,1,2,3"], "line 2: `y2` must be a number, got ''"),
    "half a frame": (["frame,x1,y1,x2,y2", "0.5,1,2,3,4"], "`frames` must be whole numbers from 0 on, got 0.5"),
    "width and height": (["frame,x1,y1,x2,y2", "0,90,90,20,20"], r"box 0 is \[90.0, 90.0, 20.0, 20.0\]"),
    "no track number": (["frame,x1,y1,x2,y2,track_id", "0,1,2,3,4,"], "line 2: `track_id` must be a number, got ''"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused_with_the_reason(tmp_path, name):
    lines, message = BAD_TABLES[name]
    with pytest.raises(ValueError, match=rf"boxes\.csv`.*{message}"):
        GivenBoxes.read(csv_file(tmp_path, *lines))


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"boxes are read from \.json or \.csv files, not from '\.pkl'"):
        GivenBoxes.read(tmp_path / "faces.pkl")


def test_boxes_beyond_the_video_are_refused():
    given = GivenBoxes([3, 30], [[0, 0, 5, 5]] * 2, track_ids=[0, 1])
    for use in (given.detections, given.tracks):
        with pytest.raises(ValueError, match="given boxes reach to frame 30, but the video has 30 frames"):
            use(30)


def test_two_boxes_of_one_track_in_one_frame_are_refused():
    given = GivenBoxes([3, 4, 4], [[0, 0, 5, 5]] * 3, track_ids=[8, 8, 8])
    with pytest.raises(ValueError, match="track 8 has two boxes in frame 4"):
        given.tracks(10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": [0]}, r"`frames` must be \(2,\), one for each box, got \(1,\)"),
        ({"frames": [0, -1]}, "`frames` must be whole numbers from 0 on, got -1"),
        ({"boxes": [[0, 0, 1, 1]] * 3}, r"`frames` must be \(3,\)"),
        ({"boxes": [[0, 0, 1], [0, 0, 1]]}, r"`boxes` must be \(boxes, 4\)"),
        ({"scores": [1.0]}, r"`scores` must be \(2,\)"),
        ({"track_ids": [0, 1.5]}, "`track_ids` must be whole numbers from 0 on, got 1.5"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        GivenBoxes(**{"frames": [0, 1], "boxes": [[0, 0, 5, 5]] * 2, **fields})


def test_landmarks_come_back_and_become_those_of_given_boxes(tracks, tmp_path):
    points = np.arange(30.0).reshape(3, 5, 2)
    first = Track(0, [4, 5, 6], tracks.tracks[0].boxes, None, points)
    path = save_tracks(tmp_path / "points.json", FaceTracks([first, tracks.tracks[1]], 25.0, 640, 360, 10))
    loaded = load_tracks(path).tracks
    assert np.array_equal(loaded[0].landmarks, points)
    assert loaded[1].landmarks is None
    given = GivenBoxes.read(path).tracks(10)
    assert np.array_equal(given[0].landmarks, points)
    assert given[1].landmarks is None
    found = GivenBoxes.read(path).detections(10)
    assert np.array_equal(found[5].landmarks, points[1:2])
    assert found[0].landmarks is None


def test_a_file_with_landmarks_of_another_number_is_refused(tracks, tmp_path):
    content = tracks.to_dict()
    content["tracks"][0]["landmarks"] = np.zeros((2, 5, 2)).tolist()
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tracks\[0\]: .*`landmarks` must be \(3, 5, 2\)"):
        load_tracks(tmp_path / "bad.json")


# Boxes that tell their clock and their size.


def moving(fps: float, width: int, height: int, seconds: float = 2.0) -> FaceTracks:
    """A face that moves by a tenth of the width in a second, from 0.4 s on."""
    frames = np.arange(round(0.4 * fps), round(seconds * fps))
    left = 0.1 * width * frames / fps
    boxes = np.stack([left, 0.2 * height + 0 * left, left + 0.1 * width, 0.5 * height + 0 * left], axis=1)
    return FaceTracks([Track(7, frames, boxes, 0.9 + 0 * left)], fps, width, height, round(seconds * fps))


@pytest.mark.parametrize("fps", [30, 25, 60, 12.5, 29.97])
@pytest.mark.parametrize("kind", ["object", "file"])
def test_tracks_of_another_rate_stand_at_their_times(tmp_path, fps, kind):
    tracks = moving(fps, 64, 48)
    boxes = GivenBoxes.from_tracks(tracks)
    if kind == "file":
        save_tracks(tmp_path / "tracks.json", tracks)
        boxes = GivenBoxes.read(tmp_path / "tracks.json")
    (track,) = find_face_tracks(np.zeros((50, 48, 64, 3), np.uint8), boxes, source_fps=25).tracks
    assert track.track_id == 7
    assert abs(track.start_frame - 10) <= 1  # at 29.97 the twelfth frame is a little later
    assert abs(track.stop_frame - 50) <= 1
    inside = track.frames[:-3]
    np.testing.assert_allclose(track.boxes[: len(inside), 0], 6.4 * inside / 25, atol=0.15)
    assert (track.scores == 0.9).all()


def test_tracks_of_a_larger_copy_are_made_smaller():
    boxes = GivenBoxes.from_tracks(moving(25, 640, 480))
    (track,) = find_face_tracks(np.zeros((50, 48, 64, 3), np.uint8), boxes, source_fps=25).tracks
    np.testing.assert_allclose(track.boxes, moving(25, 64, 48).tracks[0].boxes)


def test_tracks_of_frames_of_another_shape_are_refused():
    boxes = GivenBoxes.from_tracks(moving(25, 64, 36))
    with pytest.raises(
        ValueError, match=r"lie in frames of 64 x 36 pixels, the video's have 64 x 48: it is no smaller"
    ):
        find_face_tracks(np.zeros((50, 48, 64, 3), np.uint8), boxes, source_fps=25)


def test_boxes_of_nobody_known_at_another_rate_are_refused():
    boxes = GivenBoxes(np.arange(3), np.tile([1.0, 1, 9, 9], (3, 1)), fps=30)
    with pytest.raises(ValueError, match="given boxes count frames at 30 per second, the video is looked at with 25"):
        find_face_tracks(np.zeros((5, 48, 64, 3), np.uint8), boxes, source_fps=25)


@pytest.mark.parametrize(("gap", "pieces"), [(25, [(0, 60)]), (26, [(0, 20), (46, 61)]), (80, [(0, 20), (100, 115)])])
def test_who_was_away_for_longer_than_a_second_has_no_boxes_there(gap, pieces):
    frames = np.concatenate([np.arange(20), np.arange(20 + gap, 35 + gap)])
    boxes = GivenBoxes(frames, np.tile([1.0, 1, 9, 9], (35, 1)), np.full(35, 0.5), np.full(35, 3))
    found = find_face_tracks(np.zeros((120, 12, 16, 3), np.uint8), boxes, source_fps=25)
    assert [(track.track_id, track.start_frame, track.stop_frame) for track in found.tracks] == [
        (3, start, stop) for start, stop in pieces
    ]


def test_tracks_of_one_person_who_came_back_are_saved_and_read(tmp_path):
    boxes = np.tile([1.0, 1, 9, 9], (5, 1))
    tracks = FaceTracks([Track(2, np.arange(5), boxes), Track(2, np.arange(80, 85), boxes)], 25.0, 16, 12, 90)
    save_tracks(tmp_path / "tracks.json", tracks)
    assert [track.start_frame for track in load_tracks(tmp_path / "tracks.json").tracks] == [0, 80]
    given = GivenBoxes.read(tmp_path / "tracks.json").tracks(90)
    assert [(track.track_id, track.start_frame) for track in given] == [(2, 0), (2, 80)]
