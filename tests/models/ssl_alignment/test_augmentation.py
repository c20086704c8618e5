"""Views for training: each operation on pixels that a reader can work out, and where windows may lie."""

import numpy as np
import pytest
import torch
from PIL import Image

from avzoo.models.ssl_alignment.augmentation import (
    AlignmentViews,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    blur,
    cut_around,
    mirror,
    shift_hue,
    to_grey,
    translate,
    turn,
)


def picture_of(rows: list) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8))


def grey_picture(rows: list) -> Image.Image:
    return picture_of([[[value] * 3 for value in row] for row in rows])


def pixels(picture: Image.Image) -> list:
    return np.asarray(picture).tolist()


def greys(picture: Image.Image) -> list:
    array = np.asarray(picture)
    assert (array == array[..., :1]).all()
    return array[..., 0].tolist()


def test_brightness_multiplies_and_rounds_down():
    assert pixels(adjust_brightness(picture_of([[[200, 101, 7]]]), 0.25)) == [[[50, 25, 1]]]


def test_brightness_above_one_is_clipped():
    assert pixels(adjust_brightness(picture_of([[[200, 100, 10]]]), 1.4)) == [[[255, 140, 14]]]


def test_contrast_draws_towards_the_rounded_mean_grey():
    # The mean of 10, 21, 30 and 41 is 25.5, rounded 26; 26 + 0.5 * (10 - 26) = 18, then 23.5, 28 and 33.5.
    assert greys(adjust_contrast(grey_picture([[10, 21], [30, 41]]), 0.5)) == [[18, 23], [28, 33]]


def test_saturation_draws_towards_the_grey_of_each_pixel():
    # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2; 124 + 0.5 * (200 - 124) = 162, 112 and 87.
    assert pixels(adjust_saturation(picture_of([[[200, 100, 50]]]), 0.5)) == [[[162, 112, 87]]]


def test_grey_weighs_the_colours():
    assert pixels(to_grey(picture_of([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]))) == [[[76] * 3, [150] * 3, [29] * 3]]


def test_hue_turns_red_to_the_next_colours():
    red = picture_of([[[255, 0, 0]]])
    assert pixels(shift_hue(red, 1 / 3 + 1e-6)) == [[[0, 255, 0]]]  # step 85, which PIL reads as 85 * 6 / 255 = 2
    assert pixels(shift_hue(red, -1 / 3 - 1e-6)) == [[[6, 0, 255]]]  # 256 - 85 = 171, read as 4.0235 of 6


def test_hue_wraps_around_the_wheel():
    # int(-0.1 * 255) = -25 is 231, read as 231 * 6 / 255 = 5.435: red with 1 - 0.435 of blue, 144.
    assert pixels(shift_hue(picture_of([[[255, 0, 0]]]), -0.1)) == [[[255, 0, 144]]]


def test_grey_has_no_hue_to_shift():
    assert pixels(shift_hue(grey_picture([[120, 30]]), 0.3)) == pixels(grey_picture([[120, 30]]))


def test_blur_spreads_a_point_by_the_kernel():
    # sigma with exp(-0.5 / sigma^2) = 1/2: the kernel is (1/4, 1/2, 1/4) in each direction.
    sigma = (0.5 / np.log(2)) ** 0.5
    dot = [[0] * 5, [0] * 5, [0, 0, 160, 0, 0], [0] * 5, [0] * 5]
    assert greys(blur(grey_picture(dot), sigma)) == [
        [0, 0, 0, 0, 0],
        [0, 10, 20, 10, 0],
        [0, 20, 40, 20, 0],
        [0, 10, 20, 10, 0],
        [0, 0, 0, 0, 0],
    ]


def test_blur_reflects_at_the_edge():
    # Left of 80 comes its right neighbour, 160: 160/4 + 80/2 + 160/4 = 120; in the middle 80/4 + 160/2 + 0 = 100.
    sigma = (0.5 / np.log(2)) ** 0.5
    assert greys(blur(grey_picture([[80, 160, 0]]), sigma)) == [[120, 100, 80]]


def test_translation_leaves_black():
    assert greys(translate(grey_picture([[1, 2, 3], [4, 5, 6]]), 1, -1)) == [[0, 4, 5], [0, 0, 0]]


def test_mirroring_exchanges_left_and_right():
    assert greys(mirror(grey_picture([[1, 2, 3]]), True)) == [[3, 2, 1]]
    assert greys(mirror(grey_picture([[1, 2, 3]]), False)) == [[1, 2, 3]]


def test_a_square_is_turned_counter_clockwise():
    assert greys(turn(grey_picture([[1, 2], [3, 4]]), 1)) == [[2, 4], [1, 3]]


def test_an_oblong_picture_turned_in_its_frame_loses_its_ends_to_black():
    turned = greys(turn(grey_picture([[1, 2, 3, 4], [5, 6, 7, 8]]), 1))
    assert turned == [[0, 3, 7, 0], [0, 2, 6, 0]]
    assert greys(turn(grey_picture([[1, 2, 3, 4]]), 1, whole=True)) == [[4], [3], [2], [1]]


@pytest.mark.parametrize("size", [(340, 256), (100, 300), (30, 30)])
def test_views_have_their_size_whatever_the_picture(size):
    views, generator = AlignmentViews(), torch.Generator().manual_seed(0)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    for draw in (views.draw_original_picture, views.draw_augmented_picture):
        view = draw(picture, generator)
        assert (view.size, view.mode) == ((224, 224), "RGB")


def test_of_a_long_strip_the_middle_is_seen():
    """Resized whole, it would be 224 pixels high and 11 million wide."""
    strip = np.zeros((1, 50_000, 3), np.uint8)
    strip[:, 24_980:25_020] = 200
    view = AlignmentViews().draw_original_picture(Image.fromarray(strip), torch.Generator().manual_seed(0))
    assert np.asarray(view).min() > 190


def test_views_are_the_same_from_the_same_seed():
    views = AlignmentViews(image_size=16)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8))
    one, same, other = (
        np.asarray(views.draw_augmented_picture(picture, torch.Generator().manual_seed(seed))) for seed in (3, 3, 4)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_original_crop_reaches_every_corner_and_is_mirrored():
    """A picture of 22 x 22 whose pixels say where they are; the views are 20 x 20."""
    rows, columns = np.mgrid[:22, :22]
    picture = Image.fromarray(np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8))
    views, generator, seen = AlignmentViews(image_size=20), torch.Generator().manual_seed(0), set()
    for _ in range(200):
        view = np.asarray(views.draw_original_picture(picture, generator)).astype(int)
        is_mirrored = view[0, 0, 1] > view[0, -1, 1]
        seen.add((int(view[0, 0, 0]), int(view[0, :, 1].min()), bool(is_mirrored)))
    assert seen == {(top, left, mirrored) for top in range(3) for left in range(3) for mirrored in (False, True)}


def test_the_authors_jitter_darkens_to_two_fifths_at_most():
    views, generator = AlignmentViews(image_size=8), torch.Generator().manual_seed(0)
    white = Image.new("RGB", (8, 8), (250, 250, 250))
    levels = [float(np.asarray(views._draw_jitter(white, generator)).max()) for _ in range(100)]
    assert max(levels) <= 100
    symmetric = AlignmentViews(image_size=8, jitter="symmetric")
    levels = [float(np.asarray(symmetric._draw_jitter(white, generator)).max()) for _ in range(100)]
    assert min(levels) >= 149
    assert max(levels) == 255


def test_jitter_comes_in_four_of_five_draws_and_grey_in_one_of_five():
    generator = torch.Generator().manual_seed(0)
    coloured = Image.new("RGB", (4, 4), (255, 0, 0))
    none = AlignmentViews(image_size=4, jitter="none")
    views = [np.asarray(none.draw_augmented_picture(coloured, generator)) for _ in range(1000)]
    share_of_greys = np.mean([(view[..., 0] == view[..., 1]).all() for view in views])
    assert abs(share_of_greys - 0.2) < 0.04  # three standard errors
    released = AlignmentViews(image_size=4)
    views = [
        np.asarray(released.draw_augmented_picture(Image.new("RGB", (4, 4), "white"), generator)) for _ in range(1000)
    ]
    assert abs(np.mean([view.max() < 250 for view in views]) - 0.8) < 0.04


def test_the_centre_window_is_seconds_three_and_a_half_to_six_and_a_half():
    window = AlignmentViews().cut_centre(np.arange(170_000))
    assert (window[0], window[-1], len(window)) == (56_000, 103_999, 48_000)


def test_a_short_sound_is_repeated():
    views = AlignmentViews(window_samples=4, clip_samples=10)
    assert views.fill_clip(np.array([1, 2, 3])).tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    assert views.cut_centre(np.array([1, 2, 3])).tolist() == [1, 2, 3, 1]


def test_the_window_begins_anywhere_but_at_the_last_place():
    """Offsets -3 to 2 of a window of 4 in 10, as -56,000 to 55,999 of 48,000 in 160,000."""
    views, generator = AlignmentViews(window_samples=4, clip_samples=10), torch.Generator().manual_seed(0)
    windows = [views.draw_window(np.arange(10), generator) for _ in range(300)]
    assert {int(window[0]) for window in windows} == set(range(6))
    assert {len(window) for window in windows} == {4}


def test_a_window_as_long_as_the_clip_is_the_clip():
    views = AlignmentViews(window_samples=5, clip_samples=5)
    assert views.draw_window(np.arange(5), torch.Generator()).tolist() == [0, 1, 2, 3, 4]


def test_a_cut_around_a_place_stays_inside_the_recording():
    assert cut_around(np.arange(20), 10, 6).tolist() == [7, 8, 9, 10, 11, 12]
    assert cut_around(np.arange(20), 19, 6).tolist() == [14, 15, 16, 17, 18, 19]


def test_a_short_recording_is_repeated_around_its_middle():
    assert cut_around(np.arange(3), 1, 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]  # number 4 is sample 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jitter": "weak"}, "`jitter` must be one of released, symmetric, none, got 'weak'"),
        ({"window_samples": 11, "clip_samples": 10}, r"`window_samples` \(11\) must not be more than `clip_samples`"),
        ({"image_size": 0}, "`image_size` must be at least 2 pixels, got 0"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AlignmentViews(**settings)


def test_sound_of_several_channels_is_refused():
    with pytest.raises(ValueError, match=r"`samples` must be \(samples,\) and not empty, got \(2, 100\)"):
        AlignmentViews().cut_centre(np.zeros((2, 100)))
