import colorsys

import numpy as np
import pytest

from avzoo.toyworld.drawing.backgrounds import BACKGROUND_KINDS, textured_background
from avzoo.toyworld.drawing.canvas import (
    Canvas,
    bezier,
    camera_noise,
    expose,
    hsv_colour,
    illumination,
    mix_colours,
    random_colour,
    shade,
    smooth_curve,
    smooth_noise,
    visible_masks,
)

WHITE = (255, 255, 255)


def coverage(canvas):
    """White on black: how much of each pixel is covered."""
    return canvas.array()[:, :, 0] / 255.0


def centre_of(picture):
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return (columns * picture).sum() / picture.sum(), (rows * picture).sum() / picture.sum()


@pytest.mark.parametrize(
    ("draw", "area", "centre"),
    [
        (lambda c: c.ellipse((30.3, 21.7), 12, WHITE), np.pi * 144, (30.3, 21.7)),
        (lambda c: c.ellipse((30, 22), (14, 7), WHITE, angle=30), np.pi * 98, (30, 22)),
        (lambda c: c.box(10, 8, 40, 28, WHITE), 600, (25, 18)),
        (lambda c: c.polygon([(5, 5), (45, 5), (5, 35)], WHITE), 600, (18.33, 15)),
        (lambda c: c.line([(12, 20), (48, 20)], 8, WHITE), 36 * 8 + np.pi * 16, (30, 20)),
        (lambda c: c.line([(30, 20)], 10, WHITE), np.pi * 25, (30, 20)),
        (lambda c: c.arc((30, 20), 14, 0, 360, 4, WHITE), np.pi * (16**2 - 12**2), (30, 20)),
    ],
)
def test_a_shape_covers_its_area_about_its_centre(draw, area, centre):
    canvas = Canvas(44, 60)
    draw(canvas)
    picture = coverage(canvas)
    assert picture.sum() == pytest.approx(
        area, rel=0.06
    )  # outlines count to the shape: a sixth of a pixel on each side
    assert centre_of(picture) == pytest.approx(centre, abs=0.25)


def test_edges_are_smooth():
    canvas = Canvas(40, 40)
    canvas.ellipse((20, 20), 13, WHITE)
    assert len(np.unique(canvas.array())) >= 8


def test_units_place_turn_and_mirror_what_is_drawn():
    plain, placed = Canvas(60, 60), Canvas(60, 60)
    plain.polygon([(20, 40), (20, 30), (35, 40)], WHITE)  # (1, 0) turned by 90 degrees is (0, 1): down
    view = placed.at((20, 40), scale=5).at(angle=90, mirror=True)
    view.polygon([(0, 0), (2, 0), (0, -3)], WHITE)
    np.testing.assert_array_equal(plain.array(), placed.array())
    np.testing.assert_allclose(view.place([(0, 0), (2, 0)]), [(20, 40), (20, 30)], atol=1e-9)


def test_width_scales_with_the_units():
    one, other = Canvas(40, 40), Canvas(40, 40)
    one.line([(5, 20), (35, 20)], 6, WHITE)
    other.at((20, 20), 10).line([(-1.5, 0), (1.5, 0)], 0.6, WHITE)
    np.testing.assert_array_equal(one.array(), other.array())


def test_a_line_may_taper():
    canvas = Canvas(40, 100)
    canvas.line([(20, 20), (80, 20)], [20, 4], WHITE)
    widths = coverage(canvas).sum(axis=0)
    assert widths[25] == pytest.approx(18.6, abs=1)
    assert widths[75] == pytest.approx(5.3, abs=1)


def test_a_copy_leaves_the_ground_as_it_was():
    ground = Canvas(20, 20, (10, 20, 30))
    before = ground.array()
    ground.copy().ellipse((10, 10), 5, WHITE)
    np.testing.assert_array_equal(ground.array(), before)


def test_a_background_picture_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Canvas(24, 31, picture).array(), picture)


def test_a_translucent_colour_mixes_with_what_is_below():
    canvas = Canvas(9, 9, (100, 100, 100))
    canvas.box(-1, -1, 10, 10, (200, 0, 100, 128))
    np.testing.assert_allclose(canvas.array()[4, 4], (150, 50, 100), atol=1)


def test_what_lies_behind_is_not_seen():
    canvas = Canvas(40, 60, supersample=4)
    back, front, outside = canvas.with_trace(), canvas.with_trace(), canvas.with_trace()
    back.box(10, 10, 30, 30, (255, 0, 0))
    front.box(20, 0, 50, 40, (0, 255, 0))
    outside.box(70, 0, 80, 10, WHITE)
    masks, fractions = visible_masks([back, front, outside])
    assert masks.shape == (3, 40, 60)
    assert not (masks[0] & masks[1]).any()
    assert masks[0].sum() == pytest.approx(200, abs=25)
    assert fractions[0] == pytest.approx(0.5, abs=0.02)
    assert fractions[1:].tolist() == [1.0, 0.0]
    assert (canvas.array()[masks[0]] == (255, 0, 0)).all()
    with pytest.raises(ValueError, match="`traces` is empty"):
        visible_masks([])


def test_a_contour_surrounds_the_shape_and_belongs_to_it():
    canvas = Canvas(40, 40)
    trace = canvas.with_trace()
    trace.with_outline((255, 0, 0), 3).ellipse((20, 20), 10, (0, 0, 255))
    picture, masks = canvas.array(), visible_masks([trace])[0]
    assert picture[20, 20].tolist() == [0, 0, 255]
    assert picture[20, 10].tolist() == [255, 0, 0]
    assert masks[0].sum() > np.pi * 11**2


def test_a_contour_runs_round_a_line_not_round_its_pieces():
    canvas = Canvas(40, 60)
    canvas.with_outline((255, 0, 0), 2).line([(10, 20), (30, 20), (50, 20)], 10, (0, 0, 255))
    assert (canvas.array()[20, 12:48] == (0, 0, 255)).all()


def test_curves_pass_through_their_points():
    points = np.array([(0, 0), (4, 1), (5, 5), (1, 6)], float)
    for closed in (False, True):
        curve = smooth_curve(points, closed)
        for point in points:
            assert np.hypot(*(curve - point).T).min() < 1e-9
    np.testing.assert_allclose(bezier(points)[[0, -1]], points[[0, -1]])
    np.testing.assert_allclose(bezier([(0, 0), (2, 4), (4, 0)])[8], (2, 2))


def test_the_same_calls_give_the_same_bytes():
    def draw():
        canvas = Canvas(50, 50, textured_background(np.random.default_rng(4), 50, 50))
        canvas.line([(3, 3), (20, 44), (47, 9)], [2, 9, 3], (200, 30, 99), smooth=True)
        gain = illumination(np.random.default_rng(5), 50, 50)
        return camera_noise(expose(canvas.array()[None], gain), np.random.default_rng(6), 3.0).tobytes()

    assert draw() == draw()


@pytest.mark.parametrize("arguments", [(0, 5), (5, 0), (5, 5, (0, 0, 0), 0)])
def test_an_empty_canvas_is_refused(arguments):
    with pytest.raises(ValueError, match="`height`, `width` and `supersample` must be 1 or more"):
        Canvas(*arguments)


def test_a_background_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"`background` must be uint8 \(8, 9, 3\), got uint8 \(9, 8, 3\)"):
        Canvas(8, 9, np.zeros((9, 8, 3), np.uint8))


# ------------------------------------------------------------------------------------------------ colours


def test_colours():
    for hue, saturation, value in np.random.default_rng(0).random((20, 3)):
        expected = np.multiply(colorsys.hsv_to_rgb(hue, saturation, value), 255)
        np.testing.assert_allclose(hsv_colour(hue, saturation, value), expected, atol=0.51)
    assert hsv_colour(1.25, 1, 1) == hsv_colour(0.25, 1, 1)
    assert mix_colours((0, 100, 200), (100, 200, 0), 0.5) == (50, 150, 100)
    assert (shade((90, 60, 30), -1), shade((90, 60, 30), 0), shade((90, 60, 30), 1)) == ((0, 0, 0), (90, 60, 30), WHITE)
    assert random_colour(np.random.default_rng(1), (0, 0), (1, 1)) == WHITE


# --------------------------------------------------------------------------------------- light and camera


def test_light_multiplies_and_clips():
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    np.testing.assert_array_equal(expose(frames, np.ones((16, 16, 3), np.float32)), frames)
    half = expose(frames, np.full((16, 16, 3), 0.5, np.float32))
    np.testing.assert_allclose(half, frames / 2, atol=0.51)
    assert expose(frames, np.full((16, 16, 3), 1.9, np.float32)).max() == 255


def test_light_differs_from_place_to_place_and_from_clip_to_clip():
    gains = [illumination(np.random.default_rng(seed), 30, 40) for seed in range(20)]
    assert gains[0].shape == (30, 40, 3)
    assert np.std([gain.mean() for gain in gains]) > 0.05
    assert np.mean([np.ptp(gain[..., 1]) for gain in gains]) > 0.1


def test_camera_noise_has_the_strength_asked_for_and_differs_between_frames():
    frames = np.full((20, 30, 30, 3), 128, np.uint8)
    noise = camera_noise(frames, np.random.default_rng(0), 5.0).astype(float) - 128
    assert noise.std() == pytest.approx(5.0, rel=0.03)
    assert abs(noise.mean()) < 0.2
    assert np.abs(np.corrcoef(noise.reshape(20, -1)) - np.eye(20)).max() < 0.25
    assert camera_noise(np.full((1, 5, 5, 3), 255, np.uint8), np.random.default_rng(0), 9.0).max() == 255


def test_hills_are_as_wide_as_asked():
    def correlation(cell, lag):
        return np.mean(
            [
                np.corrcoef(noise[:, :-lag].ravel(), noise[:, lag:].ravel())[0, 1]
                for noise in (smooth_noise(np.random.default_rng(seed), 96, 96, cell) for seed in range(8))
            ]
        )

    assert correlation(20, 5) > 0.8
    assert abs(correlation(20, 40)) < 0.35
    assert abs(correlation(3, 10)) < 0.1


@pytest.mark.parametrize("kind", BACKGROUND_KINDS)
def test_backgrounds_have_texture_at_any_size(kind):
    pictures = [textured_background(np.random.default_rng(seed), 37, 90, kind) for seed in range(6)]
    for picture in pictures:
        assert picture.shape == (37, 90, 3)
        assert picture.dtype == np.uint8
    assert np.mean([picture.std(axis=(0, 1)).mean() for picture in pictures]) > 5
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_an_unknown_background_is_refused():
    with pytest.raises(ValueError, match=r"`kind` must be one of gradient, .*; got 'moon'"):
        textured_background(np.random.default_rng(0), 9, 9, "moon")
