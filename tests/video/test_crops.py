"""Crops against OpenCV doing what the published scripts do, and what happens at the edges."""

import cv2
import numpy as np
import pytest

from avzoo.video import (
    LowerFace,
    MouthHalf,
    MouthSquare,
    TightFace,
    Track,
    WholeFace,
    crop_track,
    grey_face,
    iter_track_crops,
)
from avzoo.video.crops import crop_tracks
from avzoo.video.tracking import median_filter

CONVENTIONS = {
    "tight": TightFace(),
    "lower": LowerFace(),
    "whole": WholeFace(),
    "mouth": MouthHalf(),
    "mouth, opencv": MouthHalf(resize="opencv"),
    "mouth, antialias": MouthHalf(resize="torch-antialias"),
    "square around the mouth": MouthSquare(),
}


@pytest.fixture
def frames():
    """Twenty frames of coarse noise, 120 x 160."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 40, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def wandering(num_frames=20, centre=(80, 60), side=40.0, first=0, seed=1):
    rng = np.random.default_rng(seed)
    centres = np.add(centre, rng.normal(0, 2, (num_frames, 2)).cumsum(axis=0))
    half = side / 2 + rng.uniform(-3, 3, (num_frames, 1))
    return Track(0, first + np.arange(num_frames), np.concatenate([centres - half, centres + half * 1.2], axis=1))


def box_pixels(frame, box):
    x1, y1, x2, y2 = map(int, box)
    return frame[max(y1, 0) : y2, max(x1, 0) : x2]


def published_square(frame, x, y, half, scale=0.4):
    """The whole frame padded, then cut, as the published script does it."""
    border = int(half * (1 + 2 * scale))
    padded = np.pad(frame, ((border, border), (border, border), (0, 0)), constant_values=110)
    rows = slice(int(y + border - half), int(y + border + half * (1 + 2 * scale)))
    columns = slice(int(x + border - half * (1 + scale)), int(x + border + half * (1 + scale)))
    return cv2.resize(padded[rows, columns], (224, 224))


def published_squares(frames, boxes):
    x1, y1, x2, y2 = boxes.T
    x, y = median_filter((x1 + x2) / 2, 13), median_filter((y1 + y2) / 2, 13)
    half = median_filter(np.maximum(y2 - y1, x2 - x1) / 2, 13)
    return [published_square(*values) for values in zip(frames, x, y, half, strict=True)]


# --- each convention --------------------------------------------------------------------------------------------------


def test_a_tight_face_is_the_box_grey_and_resized(frames):
    track = wandering()
    crops = crop_track(frames, track, TightFace())
    for frame, box, crop in zip(frames, track.boxes, crops, strict=True):
        expected = cv2.resize(cv2.cvtColor(box_pixels(frame, box), cv2.COLOR_RGB2GRAY), (112, 112))
        assert np.array_equal(crop, expected)


@pytest.mark.parametrize("centre", [(80, 60), (8, 10), (158, 117)], ids=["inside", "top left", "bottom right"])
def test_a_lower_face_is_the_centre_of_the_published_square(frames, centre):
    track = wandering(centre=centre)
    crops = crop_track(frames, track, LowerFace())
    for square, crop in zip(published_squares(frames, track.boxes), crops, strict=True):
        assert np.array_equal(crop, cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)[56:168, 56:168])


@pytest.mark.parametrize("centre", [(80, 60), (8, 10), (158, 117)], ids=["inside", "top left", "bottom right"])
def test_a_whole_face_is_the_published_square_at_half_the_size(frames, centre):
    track = wandering(centre=centre)
    crops = crop_track(frames, track, WholeFace())
    for square, crop in zip(published_squares(frames, track.boxes), crops, strict=True):
        assert np.array_equal(crop, cv2.resize(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), (112, 112)))


def test_a_mouth_half_is_the_lower_half_of_the_resized_box(frames):
    track = wandering()
    crops = crop_track(frames, track, MouthHalf(resize="opencv"))
    assert crops.shape == (20, 48, 96, 3)
    for frame, box, crop in zip(frames, track.boxes, crops, strict=True):
        assert np.array_equal(crop, cv2.resize(box_pixels(frame, box), (96, 96))[48:])
    student = crop_track(frames, track, MouthHalf())
    assert 0 < np.abs(student.astype(int) - crops).max() <= 1
    antialiased = crop_track(frames, wandering(side=110.0), MouthHalf(resize="torch-antialias"))
    plain = crop_track(frames, wandering(side=110.0), MouthHalf())
    assert (antialiased != plain).mean() > 0.1


def test_other_settings_are_used(frames):
    track = wandering()
    assert crop_track(frames, track, TightFace(size=64)).shape == (20, 64, 64)
    assert crop_track(frames, track, MouthHalf(size=32)).shape == (20, 16, 32, 3)
    wide = crop_track(frames, track, LowerFace(margin=1.0, kernel_size=1, pad_value=0, side=100, size=50))
    frame, box = frames[3], track.boxes[3]
    half = max(box[2] - box[0], box[3] - box[1]) / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    border = int(half * 3)
    padded = np.pad(frame, ((border, border), (border, border), (0, 0)))
    square = padded[
        int(y + border - half) : int(y + border + half * 3), int(x + border - half * 2) : int(x + border + half * 2)
    ]
    expected = cv2.cvtColor(cv2.resize(square, (100, 100)), cv2.COLOR_RGB2GRAY)[25:75, 25:75]
    assert np.array_equal(wide[3], expected)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_grey_face_of_either_order_is_opencvs(frames, order):
    code = cv2.COLOR_RGB2GRAY if order == "rgb" else cv2.COLOR_BGR2GRAY
    expected = [cv2.resize(cv2.cvtColor(frame, code), (112, 112)) for frame in frames]
    assert np.array_equal(grey_face(frames, order=order), expected)
    assert np.array_equal(grey_face(frames[0], order=order), expected[0])
    assert grey_face(frames[0], 56).shape == (56, 56)


# --- edges ------------------------------------------------------------------------------------------------------------

BEYOND = {
    "left": [-50, 20, -10, 60],
    "right": [170, 20, 210, 60],
    "above": [20, -80, 60, -30],
    "below": [20, 125, 60, 180],
    "a point": [30.2, 30.2, 30.8, 30.8],
}


@pytest.mark.parametrize("where", BEYOND)
def test_a_box_without_a_pixel_gives_a_crop_all_the_same(frames, where):
    track = Track(0, np.arange(20), np.tile(BEYOND[where], (20, 1)))
    for name, convention in CONVENTIONS.items():
        crops = crop_track(frames, track, convention)
        assert crops.shape == (20, *convention.shape)
        if name.startswith(("tight", "mouth")):
            assert not crops.any()
        elif where != "a point" and name in ("lower", "whole"):
            assert (crops == 110).mean() > 0.3


def test_a_box_that_fills_and_exceeds_the_frame_is_cut_to_it(frames):
    track = Track(0, np.arange(20), np.tile([-30.7, -10.2, 1000, 500], (20, 1)))
    crops = crop_track(frames, track, TightFace())
    assert np.array_equal(crops, grey_face(frames))
    for convention in CONVENTIONS.values():
        assert crop_track(frames, track, convention).shape == (20, *convention.shape)


def test_short_tracks_are_not_filtered_to_nothing(frames):
    track = wandering(num_frames=6)
    squares = LowerFace().regions(track.boxes)
    np.testing.assert_allclose(squares[:, 0], track.boxes[:, [0, 2]].mean(axis=1))
    assert (LowerFace().regions(wandering(num_frames=7).boxes) > 0).all()


# --- over a video -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("block_frames", [1, 7, 32])
def test_blocks_give_the_crops_of_the_whole(frames, name, block_frames):
    tracks = [wandering(num_frames=9, first=3), wandering(num_frames=20, seed=2), wandering(num_frames=2, first=18)]
    blocks = (frames[start : start + block_frames] for start in range(0, 20, block_frames))
    in_blocks = crop_tracks(blocks, tracks, CONVENTIONS[name])
    for track, crops in zip(tracks, in_blocks, strict=True):
        assert np.array_equal(crops, crop_track(frames, track, CONVENTIONS[name]))


def test_crops_come_as_the_frames_do(frames):
    tracks = [wandering(num_frames=9, first=3), wandering(num_frames=20)]
    blocks = (frames[start : start + 5] for start in range(0, 20, 5))
    seen = [(index, numbers.tolist()) for index, numbers, _ in iter_track_crops(blocks, tracks, TightFace())]
    assert seen[:3] == [(0, [3, 4]), (1, [0, 1, 2, 3, 4]), (0, [5, 6, 7, 8, 9])]
    assert [numbers for index, numbers in seen if index == 0][-1] == [10, 11]


def test_frames_need_not_begin_with_the_video(frames):
    track = wandering(num_frames=10, first=105)
    crops = crop_track(frames, track, TightFace(), first_frame=100)
    assert np.array_equal(crops, crop_track(frames[5:], wandering(num_frames=10), TightFace()))


def test_no_track_is_no_crop(frames):
    assert crop_tracks(frames, [], TightFace()) == []


def test_frames_that_end_early_are_refused(frames):
    with pytest.raises(ValueError, match=r"`frames` end before track 0.*: 10 of its 20 frames \(0 to 19\) were there"):
        crop_track(frames[:10], wandering(), TightFace())
    with pytest.raises(ValueError, match=r"0 of its 20 frames"):
        crop_track(iter([]), wandering(), TightFace())


def test_frames_of_another_kind_are_refused(frames):
    with pytest.raises(TypeError, match=r"`frames` must be a uint8 array with values 0\.\.255, got float64"):
        crop_track(frames / 255, wandering(), TightFace())
    with pytest.raises(ValueError, match=r"`frames` must be \(frames, height, width, 3\) RGB, got \(20, 120, 160\)"):
        crop_track(frames[..., 0], wandering(), TightFace())


def test_impossible_conventions_are_refused():
    with pytest.raises(ValueError, match=r"`size` must be from 1 to `side` \(224\), got 300"):
        LowerFace(size=300)
    with pytest.raises(ValueError, match=r"`resize` must be .* got 'bilinear'"):
        MouthHalf(resize="bilinear")


# --- mouths -----------------------------------------------------------------------------------------------------------


def still(landmarks=None, num_frames=9, box=(20.0, 10.0, 100.0, 110.0)):
    boxes = np.tile(box, (num_frames, 1))
    points = None if landmarks is None else np.tile(landmarks, (num_frames, 1, 1))
    return Track(0, np.arange(num_frames), boxes, None, points)


FRONTAL = ((45.0, 40.0), (75.0, 40.0), (60.0, 55.0), (50.0, 72.0), (70.0, 72.0))  # 30 from eye to eye, 32 to the mouth


def test_a_mouth_is_centred_between_its_corners_and_as_large_as_the_face():
    np.testing.assert_allclose(MouthSquare(scale=1.5).find_regions(still(FRONTAL)), np.tile([60, 72, 48], (9, 1)))


def test_a_head_that_turns_away_keeps_the_size_of_its_mouth():
    """Its eyes come together, the way down to the mouth stays."""
    profile = ((58.0, 40.0), (62.0, 40.0), (50.0, 55.0), (57.0, 72.0), (63.0, 72.0))
    np.testing.assert_allclose(MouthSquare(scale=1.5).find_regions(still(profile))[0], [60, 72, 48])


def test_without_landmarks_the_middle_of_the_lower_half_of_the_box_is_taken():
    np.testing.assert_allclose(MouthSquare().find_regions(still()), np.tile([60, 85, 50], (9, 1)))


def test_a_mouth_that_jumps_is_steadied_over_time():
    boxes = np.tile([20.0, 10.0, 100.0, 110.0], (40, 1))
    boxes[20:, [0, 2]] += 13
    centres = MouthSquare(smoothing=13).regions(boxes)[:, 0]
    np.testing.assert_allclose(np.diff(centres), [0] * 13 + [1] * 13 + [0] * 13, atol=1e-9)  # 13 steps of one pixel
    assert (centres[0], centres[-1]) == (60, 73)
    assert np.array_equal(MouthSquare(smoothing=1).regions(boxes)[:, 0], (boxes[:, 0] + boxes[:, 2]) / 2)


def test_the_pixels_of_a_mouth_are_those_around_its_centre(frames):
    track = still(FRONTAL, num_frames=3)
    crops = crop_track(frames, track, MouthSquare(size=48, scale=1.5))
    assert np.array_equal(crops, cv2_grey(frames[:3, 48:96, 36:84]))


def cv2_grey(pictures):
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures])


def test_beyond_the_frame_its_outermost_pixels_go_on(frames):
    low = np.add(FRONTAL, (0.0, 45.0))  # the mouth is at row 117 of 120
    (crop, *_) = crop_track(frames, still(low, num_frames=2), MouthSquare(size=48, scale=1.5))
    assert (crop[28:] == crop[27]).all()
    assert (crop[:28] != crop[27]).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smoothing": 4}, "`smoothing` must be an odd number of at least 1, got 4"),
        ({"scale": 0}, r"`scale` \(0\) above 0"),
        ({"size": 0}, r"`size` \(0\) must be at least 1"),
    ],
)
def test_mouths_that_cannot_be_cut_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MouthSquare(**settings)
