"""Pictures of spectrograms."""

import numpy as np
import pytest
from PIL import Image

from avzoo.pipelines.lip_to_speech.drawing import choose_ticks, draw_spectrograms, render_spectrograms


def make_record(**fields) -> dict:
    mel = np.full((100, 8), -11.0, np.float32)
    return {"track_id": 0, "start": 0.0, "end": 1.0, "mel": mel, "mel_coarse": mel} | fields


@pytest.mark.parametrize(
    ("start", "end", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.4, 1.2, [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]),
        (0, 60, [0, 10, 20, 30, 40, 50, 60]),
        (0, 0.04, [0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04]),
    ],
)
def test_ticks_are_at_round_times(start, end, ticks):
    assert choose_ticks(start, end) == pytest.approx(ticks)


def test_a_loud_bin_is_bright_at_its_time_and_height():
    """A tone in the upper quarter of the bins, in the second half of one of two panels."""
    quiet, tone = np.full((100, 8), -11.0), np.full((100, 8), -11.0)
    tone[50:, 6:] = 0.0
    picture = draw_spectrograms({"quiet": quiet, "tone": tone}, 100).astype(int).sum(2)
    top = 6 + 16 + 160 + 12 + 16 + 2  # of the second panel: a margin, a title, a panel, a margin, and its title
    bright = picture[top : top + 160] > 600
    columns, rows = np.flatnonzero(bright.any(0)), np.flatnonzero(bright[:, -60:-20].all(1))
    assert abs(columns[0] - picture.shape[1] / 2) < 8
    assert rows[0] < 3
    assert 30 < len(rows) < 45  # a quarter of 160 rows, less what fades into the next bin
    assert not (picture[24:180, 12:-12] > 600).any()  # the first panel


def test_panels_have_one_scale():
    loud, quiet = np.zeros((10, 8)), np.full((10, 8), -4.5)
    picture = draw_spectrograms({"loud": loud, "quiet": quiet}, 100).astype(int).sum(2)
    assert picture[100, 100] > picture[300, 100] + 200


def test_a_record_is_drawn_coarse_above_refined_and_below_the_real_one(tmp_path):
    path = render_spectrograms([make_record()], tmp_path / "mel.png")
    with_real = render_spectrograms([make_record()], tmp_path / "real.png", real=np.zeros((100, 8)))
    two, three = (Image.open(picture).size for picture in (path, with_real))
    assert three[0] == two[0]
    assert three[1] - two[1] == 16 + 160 + 12  # a panel more


def test_faces_are_drawn_below_each_other(tmp_path):
    one = Image.open(render_spectrograms([make_record()], tmp_path / "one.png")).size
    faces = [make_record(), make_record(track_id=1, start=2.0, end=3.0)]
    assert Image.open(render_spectrograms(faces, tmp_path / "two.png")).size == (one[0], 2 * one[1])


def test_a_minute_fits_on_a_screen_and_a_frame_is_wide_enough():
    assert draw_spectrograms({"": np.zeros((6000, 8))}, 100).shape[1] == 1600 + 24
    assert draw_spectrograms({"": np.zeros((4, 8))}, 100).shape[1] == 480 + 24


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`panels` is empty"):
        draw_spectrograms({}, 100)
    for wrong in (np.zeros(8), np.zeros((0, 8)), np.full((4, 8), np.nan)):
        with pytest.raises(ValueError, match=r"`panels`: 'real' must be \(frames, bins\) of finite numbers"):
            draw_spectrograms({"real": wrong}, 100)
    with pytest.raises(ValueError, match="`records` is empty: nobody speaks"):
        render_spectrograms([], tmp_path / "mel.png")
    with pytest.raises(ValueError, match="`real` is of one face, `records` of 2"):
        render_spectrograms([make_record(), make_record()], tmp_path / "mel.png", real=np.zeros((100, 8)))
