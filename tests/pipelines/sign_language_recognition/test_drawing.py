"""Videos with their glosses below the picture: which words stand there, and when they are bright."""

import numpy as np
import pytest

from avzoo.pipelines.sign_language_recognition.drawing import write_subtitled_video
from avzoo.video import Video, read_video

BLACK = Video(np.zeros((50, 240, 240, 3), np.uint8), 25)
LETTERS = slice(240, 272)  # rows; the bar of times follows


def gloss(label: str, start: float, end: float) -> dict:
    return {"label": label, "start": start, "end": end, "score": 1.0}


def draw(tmp_path, *glosses: dict) -> np.ndarray:
    """Rows of letters of each frame, grey."""
    path = write_subtitled_video(BLACK, glosses, tmp_path / "drawn.mp4")
    return read_video(path, fps=25).frames[:, LETTERS].mean(-1)


def test_a_gloss_is_bright_while_it_is_signed_and_grey_afterwards(tmp_path):
    brightest = draw(tmp_path, gloss("MORGEN", 0.4, 0.8), gloss("REGEN", 1.2, 1.6)).max((1, 2))
    is_bright, has_letters = brightest > 200, brightest > 100
    assert has_letters.tolist() == [False] * 10 + [True] * 40
    assert is_bright.tolist() == [10 <= frame < 20 or 30 <= frame < 40 for frame in range(50)]


def test_of_a_long_sentence_the_last_gloss_is_seen(tmp_path):
    glosses = [gloss(f"GLOSS{index}", index / 25, (index + 1) / 25) for index in range(40)]
    frames = draw(tmp_path, *glosses)
    assert np.flatnonzero((frames[39] > 200).any(0)).min() > 120  # in the right half, and whole
    assert not (frames[39, :, -8:] > 100).any()


@pytest.mark.parametrize(
    "glosses",
    [
        [],
        [gloss("明天", 0.0, 0.5), gloss("天气", 0.5, 1.0)],
        [gloss("A", 0.5, 0.5)],
        [gloss("A", 0.2, 1.5), gloss("B", 0.4, 0.9)],
        [gloss("A", 1.9, 9.0)],
    ],
    ids=["none", "chinese", "no time", "overlapping", "behind the end"],
)
def test_any_glosses_are_drawn(glosses, tmp_path):
    assert len(draw(tmp_path, *glosses)) == 50
