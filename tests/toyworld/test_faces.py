import dataclasses

import numpy as np
import pytest

from avzoo.toyworld.drawing.canvas import Canvas
from avzoo.toyworld.drawing.faces import Expression, Pose, draw_face, face_box, mouth_box, random_face
from avzoo.toyworld.drawing.visemes import VISEMES, MouthShape

STILL = Expression(lids=0.0, gaze_x=0.0, gaze_y=0.0, brows=0.0, smile=0.0)
FRONT = Pose(x=60, y=60, scale=40, roll=0, yaw=0, pitch=0)
BACKGROUND = (20, 120, 40)
CLOSED = VISEMES["lips_together"].shape
OPEN = VISEMES["open"].shape


def drawn(face, pose=FRONT, expression=STILL, mouth=CLOSED):
    canvas = Canvas(120, 120, BACKGROUND)
    draw_face(canvas, face, pose, expression, mouth)
    return canvas.array()


@pytest.fixture(params=range(8))
def face(request):
    return random_face(np.random.default_rng(request.param))


def inside(frame, box):
    x1, y1, x2, y2 = (round(side) for side in box)
    return frame[max(y1, 0) : y2, max(x1, 0) : x2].astype(int)


def test_the_box_holds_face_and_no_background(face):
    box = face_box(face, FRONT, 0.0)
    assert box[0] < 60 < box[2]
    assert box[1] < 60 < box[3]
    middle = inside(drawn(face), (box[0] + 4, box[1] + 4, box[2] - 4, (box[1] + box[3]) / 2))
    assert (np.abs(middle - BACKGROUND).max(-1) > 20).mean() > 0.99


def test_an_open_mouth_is_dark_where_the_mouth_box_is(face):
    face = dataclasses.replace(face, beard=None)  # which can be as dark
    closed, opened = drawn(face), drawn(face, mouth=OPEN)
    box = mouth_box(face, FRONT, STILL, OPEN)
    dark = [(inside(frame, box).sum(-1) < 160).sum() for frame in (closed, opened)]
    assert dark[1] > dark[0] + 10
    far = np.abs(closed.astype(int) - opened).max(-1)
    assert far[: FRONT.y].max() == 0  # the cheeks and the chin drop, too


def test_the_mouth_box_grows_with_the_opening_and_narrows_when_round(face):
    def extent(mouth):
        x1, y1, x2, y2 = mouth_box(face, FRONT, STILL, mouth)
        return x2 - x1, y2 - y1

    assert extent(OPEN)[1] > extent(CLOSED)[1] + 8
    assert extent(VISEMES["round"].shape)[0] < 0.8 * extent(VISEMES["spread"].shape)[0]


def test_every_viseme_looks_different(face):
    # A closed mouth says either nothing or "p".
    pictures = [drawn(face, mouth=viseme.shape) for name, viseme in VISEMES.items() if name != "silence"]
    box = mouth_box(face, FRONT, STILL, OPEN)
    crops = [inside(picture, box) for picture in pictures]
    same = [
        (one, other)
        for one in range(len(crops))
        for other in range(one)
        if np.abs(crops[one] - crops[other]).mean() < 0.5
    ]
    assert not same


def test_closed_eyes_show_no_white(face):
    face = dataclasses.replace(face, glasses=None)  # whose frames can be as bright
    opened, closed = drawn(face), drawn(face, expression=STILL._replace(lids=1.0))
    eyes = (slice(45, 62), slice(30, 90))
    white = [(frame[eyes].min(-1) > 225).sum() for frame in (opened, closed)]
    assert white[0] > 8
    assert white[1] < white[0] / 2


def test_a_turned_head_moves_its_box_along(face):
    upright, rolled = face_box(face, FRONT, 0), face_box(face, FRONT._replace(roll=20), 0)
    assert rolled[2] - rolled[0] > upright[2] - upright[0]
    moved = face_box(face, FRONT._replace(x=70, y=55), 0)
    np.testing.assert_allclose(np.subtract(moved, upright), [10, -5, 10, -5])
    larger = face_box(face, FRONT._replace(scale=80), 0)
    assert larger[2] - larger[0] == pytest.approx(2 * (upright[2] - upright[0]))


def test_people_differ():
    faces = [random_face(np.random.default_rng(seed)) for seed in range(40)]
    assert len({picture.tobytes() for picture in map(drawn, faces)}) == 40
    for field in ("hair_style", "glasses", "skin", "clothes"):
        assert len({getattr(face, field) for face in faces}) > 2, field


def test_the_same_seed_is_the_same_face():
    assert random_face(np.random.default_rng(5)) == random_face(np.random.default_rng(5))


@pytest.mark.parametrize("beard_likely", [0.0, 1.0])
def test_beards_are_as_likely_as_asked(beard_likely):
    beards = [random_face(np.random.default_rng(seed), beard_likely).beard for seed in range(20)]
    assert all(beards) if beard_likely else not any(beards)


def test_a_face_beyond_the_edge_can_be_drawn(face):
    for x, y in ((-300, 60), (60, 500), (0, 0)):
        assert drawn(face, FRONT._replace(x=x, y=y)).shape == (120, 120, 3)


def test_an_overwide_mouth_is_as_wide_as_it_goes(face):
    wide = MouthShape(5.0, 0.0, 1.0, 1.0)
    _, y1, _, y2 = mouth_box(face, FRONT, STILL, wide)
    assert y2 - y1 < 1.5 * FRONT.scale
