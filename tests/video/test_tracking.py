"""Tracks: against a plain reading of the published tracker, and what each option does."""

import numpy as np
import pytest

from avzoo.video import Detections, Track, smooth_scores, track_faces
from avzoo.video.tracking import median_filter


def moving_face(frames, start=(20.0, 30.0), step=(1.0, 0.5), size=40.0, score=0.9):
    """{frame: (box, score)} of one face that moves evenly."""
    boxes = {}
    for index, frame in enumerate(frames):
        x, y = start[0] + step[0] * index, start[1] + step[1] * index
        boxes[frame] = ((x, y, x + size, y + size), score)
    return boxes


def as_detections(num_frames, *faces):
    found = [[face[frame] for face in faces if frame in face] for frame in range(num_frames)]
    return [
        Detections([box for box, _ in of_frame], [score for _, score in of_frame]) if of_frame else Detections.none()
        for of_frame in found
    ]


# --- against the published rules --------------------------------------------------------------------------------------


def reference_tracks(detections, iou_threshold, min_track, max_missed):
    """The published rules, one by one: lists are walked while items leave them, so that the item behind is missed."""
    frames = [[{"frame": index, "box": box} for box in found.boxes.tolist()] for index, found in enumerate(detections)]
    tracks = []
    while True:
        track = []
        for faces in frames:
            for face in faces:
                if not track:
                    track.append(face)
                    faces.remove(face)
                elif face["frame"] - track[-1]["frame"] <= max_missed:
                    one, other = face["box"], track[-1]["box"]
                    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
                    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
                    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
                    if width * height / (areas - width * height) > iou_threshold:
                        track.append(face)
                        faces.remove(face)
                else:
                    break
        if not track:
            return tracks
        if len(track) > min_track:
            numbers = [face["frame"] for face in track]
            every = np.arange(numbers[0], numbers[-1] + 1)
            boxes = np.array([face["box"] for face in track])
            tracks.append((every, np.stack([np.interp(every, numbers, boxes[:, side]) for side in range(4)], axis=1)))


@pytest.mark.parametrize("seed", range(6))
def test_crowded_scenes_are_tracked_by_the_published_rules(seed):
    """Faces that cross, leave, come back and are found twice, with false alarms between."""
    rng = np.random.default_rng(seed)
    faces = []
    for _ in range(6):
        present = np.flatnonzero(rng.random(80) < rng.uniform(0.2, 1.0))
        faces.append(moving_face(present, rng.uniform(0, 80, 2), rng.uniform(-1, 1, 2), rng.uniform(20, 60)))
        if rng.random() < 0.7:  # the same face once more, a little off
            faces.append({f: (tuple(np.add(box, 3)), 0.5) for f, (box, _) in faces[-1].items() if rng.random() < 0.6})
    detections = as_detections(80, *faces)
    options = {"iou_threshold": 0.4, "min_detections": 4, "max_gap": 5}
    tracks = track_faces(detections, **options)
    expected = reference_tracks(detections, 0.4, 4, 5)
    assert len(tracks) == len(expected) > 5
    for track, (frames, boxes) in zip(tracks, expected, strict=True):
        assert np.array_equal(track.frames, frames)
        assert np.array_equal(track.boxes, boxes)


def test_two_overlapping_boxes_of_one_frame_can_both_join():
    face = moving_face(range(20))
    twin = {frame: (tuple(np.add(box, 2)), 0.3) for frame, (box, _) in face.items()}
    third = {frame: (tuple(np.add(box, 4)), 0.1) for frame, (box, _) in face.items()}
    first, *others = track_faces(as_detections(20, face, twin, third), min_detections=0)
    assert np.array_equal(first.boxes[0], third[0][0])  # the twin was passed over, the third joined
    assert (others[0].boxes[:, 0] == [twin[frame][0][0] for frame in range(20)]).all()
    assert first.scores[0] == 0.1


# --- options ----------------------------------------------------------------------------------------------------------


def test_a_gap_is_filled_and_its_scores_are_missing():
    face = moving_face(range(30))
    for frame in (10, 11, 12):
        del face[frame]
    [track] = track_faces(as_detections(30, face))
    assert np.array_equal(track.frames, np.arange(30))
    assert np.array_equal(np.flatnonzero(np.isnan(track.scores)), [10, 11, 12])
    np.testing.assert_allclose(track.boxes[11], (track.boxes[9] + track.boxes[13]) / 2)


@pytest.mark.parametrize(("gap", "count"), [(10, 1), (11, 2)])
def test_a_gap_that_is_too_long_ends_the_track(gap, count):
    face = moving_face([*range(20), *range(19 + gap, 40 + gap)], step=(0, 0))
    assert len(track_faces(as_detections(70, face))) == count


@pytest.mark.parametrize(("length", "count"), [(10, 0), (11, 1)])
def test_a_track_needs_more_than_the_least_number_of_detections(length, count):
    assert len(track_faces(as_detections(40, moving_face(range(5, 5 + length))))) == count


def test_two_faces_are_numbered_as_they_are_found():
    late, early = moving_face(range(8, 40), start=(200, 10)), moving_face(range(40))
    tracks = track_faces(as_detections(40, late, early))
    assert [(track.track_id, track.start_frame, track.stop_frame) for track in tracks] == [(0, 0, 40), (1, 8, 40)]
    assert tracks[1].boxes[0, 0] == 200


def test_faces_as_small_as_the_limit_are_left_out():
    detections = as_detections(30, moving_face(range(30), size=24.0, step=(0, 0)))
    assert len(track_faces(detections, min_face_size=23.9)) == 1
    assert track_faces(detections, min_face_size=24) == []


def test_a_track_does_not_reach_over_a_cut():
    detections = as_detections(60, moving_face(range(60)))
    tracks = track_faces(detections, [(0, 25), (25, 60)])
    assert [(track.track_id, track.start_frame, track.stop_frame) for track in tracks] == [(0, 0, 25), (1, 25, 60)]


@pytest.mark.parametrize(("frames", "needed"), [(1, 1), (2, 2), (9, 5), (10, 6), (11, 11), (60, 11)])
def test_in_a_short_shot_a_face_in_half_of_the_frames_is_one(frames, needed):
    detections = as_detections(60, moving_face(range(needed)))
    (track,) = track_faces(detections, [(0, frames)])
    assert len(track) == needed
    assert track_faces(as_detections(60, moving_face(range(needed - 1))), [(0, frames)]) == []


def test_a_track_of_a_low_mean_score_is_dropped():
    face = {frame: (box, 0.7 + 0.01 * (frame % 2)) for frame, (box, _) in moving_face(range(30)).items()}
    detections = as_detections(30, face)
    assert len(track_faces(detections, min_score=0.7)) == 1
    assert track_faces(detections, min_score=0.75) == []
    unknown = [Detections(found.boxes) for found in detections]
    assert len(track_faces(unknown, min_score=0.75)) == 1


def test_every_fifth_frame_is_enough():
    detections = as_detections(100, moving_face(range(0, 100, 5), step=(3, 0)))
    [track] = track_faces(detections, min_detections=3)
    assert (track.start_frame, track.stop_frame) == (0, 96)
    np.testing.assert_allclose(np.diff(track.boxes[:, 0]), 3 / 5)


def test_only_the_largest_and_longest_faces_are_kept():
    extras = moving_face(range(60), start=(300, 0), size=10.0, step=(0, 0))
    passing = moving_face(range(5, 20), start=(150, 0), size=60.0, step=(0, 0))
    talker = moving_face(range(8, 60), start=(20, 0), size=50.0, step=(0, 0))
    detections = as_detections(60, extras, passing, talker)
    assert len(track_faces(detections)) == 3
    kept = track_faces(detections, max_faces=2)
    assert [(track.track_id, round(track.size)) for track in kept] == [(0, 60), (1, 50)]
    assert [round(track.size) for track in track_faces(detections, max_faces=1)] == [50]


def test_no_face_is_no_track():
    assert track_faces([]) == []
    assert track_faces([Detections.none()] * 50) == []
    assert track_faces([Detections.none()] * 50, []) == []


def test_boxes_without_area_overlap_with_nothing():
    point = {frame: ((5.0, 5.0, 5.0, 5.0), 0.9) for frame in range(30)}
    assert track_faces(as_detections(30, point), min_detections=1) == []


BAD_OPTIONS = {
    "iou_threshold": (1.0, r"`iou_threshold` must be in \[0, 1\), got 1.0"),
    "min_detections": (-1, "`min_detections` must be at least 0, got -1"),
    "max_gap": (0, "`max_gap` must be at least 1, got 0"),
    "min_face_size": (-2, "`min_face_size` must be at least 0, got -2"),
    "max_faces": (0, "`max_faces` must be at least 1, got 0"),
    "shots": ([(0, 10), (10, 31)], r"`shots`: \(10, 31\) is no part of 30 frames"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_bad_option_is_refused(name):
    value, message = BAD_OPTIONS[name]
    with pytest.raises(ValueError, match=message):
        track_faces([Detections.none()] * 30, **{name: value})


@pytest.mark.parametrize(
    ("frames", "boxes", "scores", "message"),
    [
        ([3, 5], np.zeros((2, 4)), None, r"track 7: `frames` must be consecutive.*got \[3 5\]"),
        ([], np.zeros((0, 4)), None, "track 7: `frames` must be consecutive"),
        ([-1, 0], np.zeros((2, 4)), None, "from 0 on"),
        ([3, 4], np.zeros((3, 4)), None, "2 frames, but 3 boxes"),
        ([3, 4], np.zeros((2, 4)), [1.0], r"scores of \(1,\)"),
        ([3, 4], [[0, 0, 1, 1], [5, 5, 4, 6]], None, r"track 7: `boxes`: box 1 is \[5.0, 5.0, 4.0, 6.0\]"),
    ],
)
def test_an_impossible_track_is_refused(frames, boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        Track(7, frames, boxes, scores)


# --- filters ----------------------------------------------------------------------------------------------------------


def test_the_median_sees_zeros_beyond_the_ends():
    assert median_filter(np.array([5.0, 7.0, 6.0, 9.0, 8.0]), 3).tolist() == [5, 6, 7, 8, 8]
    assert median_filter(np.array([5.0, 7.0, 6.0]), 5).tolist() == [5, 5, 5]
    assert median_filter(np.array([[5.0, -1.0], [7.0, -3.0]]), 3).tolist() == [[5, -1], [5, -1]]
    assert median_filter(np.array([4.0, -2.0]), 1).tolist() == [4, -2]


def test_a_median_of_an_even_number_is_refused():
    with pytest.raises(ValueError, match="`kernel_size` must be an odd number of at least 1, got 4"):
        median_filter(np.zeros(5), 4)
    with pytest.raises(ValueError, match=r"`values` must be \(n,\) or \(n, columns\), got \(\)"):
        median_filter(3.0, 3)


def test_shown_scores_never_use_the_last():
    scores = np.array([0.0, 10.0, 20.0, 30.0, 1000.0])
    assert smooth_scores(scores).tolist() == [10, 15, 15, 20, 25]
    assert smooth_scores([3.0]).tolist() == [3]
    assert smooth_scores([3.0, 9.0]).tolist() == [3, 3]
    assert smooth_scores([]).tolist() == []


def test_bad_scores_to_smooth_are_refused():
    with pytest.raises(ValueError, match="`radius` must be at least 1, got 0"):
        smooth_scores([1.0], radius=0)
    with pytest.raises(ValueError, match=r"`scores` must be \(frames,\), got \(1, 2\)"):
        smooth_scores([[1.0, 2.0]])


# --- landmarks --------------------------------------------------------------------------------------------------------


def with_landmarks(box):
    """Five points in a box, which move with it."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return [
        [x1 + width * x, y1 + height * y] for x, y in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    ]


def test_landmarks_follow_their_face_through_gaps():
    faces = moving_face([frame for frame in range(30) if frame not in (7, 8, 9)])
    found = [
        Detections([faces[frame][0]], [0.9], [with_landmarks(faces[frame][0])]) if frame in faces else Detections.none()
        for frame in range(30)
    ]
    (track,) = track_faces(found)
    expected = np.array([with_landmarks(box) for box in track.boxes])
    np.testing.assert_allclose(track.landmarks, expected)


def test_landmarks_of_two_faces_are_not_mixed():
    first, second = moving_face(range(20)), moving_face(range(20), start=(200.0, 30.0))
    found = []
    for frame in range(20):
        boxes = [first[frame][0], second[frame][0]]
        boxes = boxes if frame % 2 else boxes[::-1]
        found.append(Detections(boxes, [0.9, 0.9], [with_landmarks(box) for box in boxes]))
    tracks = track_faces(found, max_faces=2)
    assert len(tracks) == 2
    for track in tracks:
        np.testing.assert_allclose(track.landmarks, [with_landmarks(box) for box in track.boxes])


def test_a_detector_without_landmarks_gives_tracks_without():
    (track,) = track_faces(as_detections(20, moving_face(range(20))))
    assert track.landmarks is None


@pytest.mark.parametrize("landmarks", [np.zeros((2, 5, 2)), np.full((3, 5, 2), np.nan), np.zeros((3, 4, 2))])
def test_landmarks_that_do_not_fit_a_track_are_refused(landmarks):
    with pytest.raises(ValueError, match=r"track 4: `landmarks` must be \(3, 5, 2\) finite numbers"):
        Track(4, [0, 1, 2], np.tile([0.0, 0.0, 9.0, 9.0], (3, 1)), None, landmarks)
