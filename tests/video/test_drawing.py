import numpy as np
import pytest
from PIL import Image

from avzoo.video.drawing import (
    BACKGROUND,
    CURSOR,
    WAVE,
    HeatOverlay,
    contact_sheet,
    draw_boxes,
    draw_cursor,
    draw_heatmap,
    draw_label,
    score_colour,
    stack,
    timeline,
    track_colour,
    waveform_strip,
    write_picture,
)

GREY = np.full((90, 160, 3), 128, np.uint8)


def test_a_box_is_drawn_where_it_is_and_the_frame_stays_as_it_was():
    drawn = draw_boxes(GREY, [[20, 30, 60, 70]])
    assert (GREY == 128).all()
    assert tuple(drawn[30, 40]) == tuple(drawn[70, 40]) == tuple(drawn[50, 20]) == tuple(drawn[50, 60])
    assert tuple(drawn[50, 20]) == track_colour(0)
    assert (drawn[40:60, 30:50] == 128).all()  # nothing inside
    assert (drawn[:29] == 128).all()


def test_each_box_has_its_colour():
    drawn = draw_boxes(GREY, [[10, 10, 30, 30], [50, 10, 70, 30]], colours=[(255, 0, 0), (0, 255, 0)])
    assert tuple(drawn[20, 10]) == (255, 0, 0)
    assert tuple(drawn[20, 50]) == (0, 255, 0)


def test_boxes_outside_and_faces_that_are_not_there_draw_nothing():
    boxes = [[500, 500, 600, 600], [np.nan] * 4, [50, 50, 20, 20]]
    np.testing.assert_array_equal(draw_boxes(GREY, boxes, labels=["a", "", ""])[:60, :60], GREY[:60, :60])
    np.testing.assert_array_equal(draw_boxes(GREY, []), GREY)


def test_a_label_above_a_box_at_the_top_edge_is_still_readable():
    drawn = draw_boxes(GREY, [[40, 0, 120, 80]], labels=["face 7"])
    inside = drawn[2:16, 42:80]
    assert (inside == BACKGROUND).all(-1).sum() > 50
    assert (np.abs(inside.astype(int) - track_colour(0)).max(-1) < 60).sum() > 10  # letters


def test_text_is_written_on_a_dark_ground():
    drawn = draw_label(GREY, "hello", (10, 20))
    assert drawn.min(-1).max() > 200  # letters are smoothed: few pixels are wholly white
    assert (drawn == BACKGROUND).all(-1).any()
    assert (drawn[60:] == 128).all()


def test_scores_go_from_orange_over_grey_to_blue():
    low, middle, high = score_colour(-1), score_colour(0), score_colour(1)
    assert low[0] > low[2]
    assert len(set(middle)) == 1
    assert high[2] > high[0]
    assert score_colour(-9) == low
    assert score_colour(float("nan")) == middle
    assert score_colour(0.9, threshold=0.5, span=0.4) == high


def test_a_heatmap_shows_the_frame_where_it_is_cold():
    heatmap = np.zeros((3, 4), np.float32)
    heatmap[:, 3] = 1
    drawn = draw_heatmap(GREY, heatmap)
    assert (drawn[:, :60] == 128).all()
    assert (drawn[:, 155:] != 128).any()


def test_a_heatmap_grows_brighter_all_the_way():
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None]
    drawn = draw_heatmap(np.zeros((4, 32, 3), np.uint8), ramp, opacity=1.0)
    assert (np.diff(drawn[0].sum(-1).astype(int)) >= 0).all()


@pytest.mark.parametrize(
    "heatmap", [np.full((2, 2), 2.0), np.full((2, 2), np.nan), np.zeros((2, 2, 2)), np.zeros((0, 3))]
)
def test_a_heatmap_out_of_range_is_refused(heatmap):
    with pytest.raises(ValueError, match=r"`heatmap` must"):
        draw_heatmap(GREY, heatmap)


def test_an_overlay_is_laid_over_many_frames():
    draw = np.random.default_rng(0)
    heatmap, frames = draw.random((3, 4)), draw.integers(0, 256, (2, 90, 160, 3), dtype=np.uint8)
    frames[0, 0, 0] = 255
    overlay = HeatOverlay(heatmap, 90, 160)
    for frame in frames:
        np.testing.assert_array_equal(overlay.draw(frame), draw_heatmap(frame, heatmap))


def test_a_cold_overlay_leaves_every_colour_as_it_is():
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(HeatOverlay(np.zeros((2, 2)), 16, 16).draw(frame), frame)


def test_a_frame_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"`frame` is \(90, 160\), the map was stretched to \(90, 1\)"):
        HeatOverlay(np.zeros((2, 2)), 90, 1).draw(GREY)


def test_a_waveform_is_high_where_it_is_loud():
    samples = np.zeros(8000, np.float32)
    samples[4000:] = np.sin(np.arange(4000))
    strip = waveform_strip(samples, 100, 40)
    tall = (strip == WAVE).all(-1).sum(0)
    assert strip.shape == (40, 100, 3)
    assert tall[:48].max() <= 3
    assert tall[52:].min() >= 30


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(3), np.ones(7)])
def test_short_and_silent_waveforms_are_drawn_too(samples):
    assert (waveform_strip(samples, 50, 20)[10] == WAVE).all() or not samples.size


def test_a_timeline_has_a_row_for_each_track():
    strip = timeline([np.array([-1.0, -1, 1, 1]), np.array([np.nan, np.nan, np.nan, 1])], 80, 10)
    assert strip.shape == (20, 80, 3)
    assert tuple(strip[5, 10]) == score_colour(-1)
    assert tuple(strip[5, 70]) == score_colour(1)
    assert tuple(strip[15, 10]) == BACKGROUND
    with pytest.raises(ValueError, match="equally long"):
        timeline([np.zeros(3), np.zeros(4)], 80)


def test_a_cursor_marks_a_moment_and_leaves_the_strip_as_it_was():
    strip = waveform_strip(np.zeros(100), 80)
    for position, column in ((0.0, 0), (0.5, 40), (1.0, 79), (7.0, 79)):
        marked = draw_cursor(strip, position)
        assert np.flatnonzero((marked == CURSOR).all(axis=(0, 2))).tolist() == [column]
    assert not (strip == CURSOR).all(-1).any()


def test_a_contact_sheet_keeps_every_picture():
    pictures = [np.full((6, 8, 3), value, np.uint8) for value in (50, 100, 150, 200, 250)]
    sheet = contact_sheet(pictures, 3, gap=2)
    assert sheet.shape == (2 * 8 + 2, 3 * 10 + 2, 3)
    assert [int(sheet[2, 2, 0]), int(sheet[2, 12, 0]), int(sheet[10, 12, 0])] == [50, 100, 250]
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], 3)
    with pytest.raises(ValueError, match="differ in size"):
        contact_sheet([pictures[0], pictures[0][1:]], 3)


def test_pictures_can_be_stacked_and_written(tmp_path):
    path = write_picture(tmp_path / "sheet.png", stack([GREY, waveform_strip(np.ones(9), 160)]))
    assert np.asarray(Image.open(path)).shape == (130, 160, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]
    with pytest.raises(ValueError, match="`picture` must be"):
        write_picture(path, np.zeros((2, 2, 3)))


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)]
)
def test_a_frame_of_another_kind_is_refused(frame):
    with pytest.raises(ValueError, match=r"`frame` must be \(height, width, 3\) uint8, got"):
        draw_boxes(frame, [])
