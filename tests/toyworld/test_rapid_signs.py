import itertools

import numpy as np
import pytest
from toyworld.probes import frame_statistics, linear_probe_accuracy

from avzoo.toyworld.rapid_signs import RAPID_GLOSSES, SHAPES, RapidSigns, rapid_sentence
from avzoo.video import read_video


@pytest.fixture(scope="module")
def clips():
    return [rapid_sentence(seed, num_glosses=3) for seed in range(60)]


@pytest.fixture(scope="module")
def large_clips():
    """In a picture so large that centres lie nearly everywhere."""
    return [rapid_sentence(seed, size=48, num_glosses=3) for seed in range(60)]


def list_glosses(clips):
    """(gloss, phase, centers, frames) of every gloss signed."""
    return [
        (gloss, phase, clip["centers"][start:stop], clip["frames"][start:stop])
        for clip in clips
        for gloss, phase, (start, stop) in zip(clip["glosses"], clip["phases"], clip["spans"], strict=True)
    ]


def test_a_clip_agrees_with_its_labels(clips):
    for clip in clips:
        count = len(clip["centers"])
        assert (clip["frames"].shape, clip["frames"].dtype, clip["fps"]) == ((count, 20, 20, 3), np.uint8, 25)
        assert [RAPID_GLOSSES[label] for label in clip["labels"]] == clip["glosses"]
        assert clip["spans"][0][0] == 1
        assert clip["spans"][-1][1] == count - 1
        assert all(8 <= stop - start <= 11 for start, stop in clip["spans"])
        assert all(later[0] - one[1] == 4 for one, later in itertools.pairwise(clip["spans"]))  # the glide
        assert all(one != later for one, later in itertools.pairwise(clip["glosses"]))
    assert {gloss for clip in clips for gloss in clip["glosses"]} == set(RAPID_GLOSSES)
    assert {phase for clip in clips for phase in clip["phases"]} == {0, 1, 2, 3}


def test_the_shape_is_bright_where_its_centre_is(clips):
    for gloss, _, centers, frames in list_glosses(clips):
        shape = SHAPES[gloss.split("-")[0]]
        for (x, y), frame in zip(centers, frames, strict=True):
            bright = np.zeros((20, 20), bool)
            bright[y - 4 : y + 5, x - 4 : x + 5] = shape
            np.testing.assert_array_equal(frame[..., 0] > 140, bright)


def test_a_motion_comes_back_after_exactly_four_frames_along_one_axis(clips):
    for gloss, _, centers, _ in list_glosses(clips):
        np.testing.assert_array_equal(centers[4:], centers[:-4])
        moving = 0 if gloss.endswith("ACROSS") else 1
        assert np.ptp(centers[:, moving]) == 8
        assert np.ptp(centers[:, 1 - moving]) == 0


def test_every_fourth_frame_shows_the_motion_in_half_of_the_phases(clips):
    """In 20 x 20 pixels a place is within 8 to 11, so that a shape swung out lies outside."""
    for _, phase, centers, _ in list_glosses(clips):
        sampled = centers[::4]
        assert (np.ptp(sampled, axis=0) == 0).all()
        assert ((sampled >= 8) & (sampled <= 11)).all() == (phase % 2 == 0)


def test_what_is_between_and_around_glosses_does_not_swing(clips):
    for clip in clips:
        signed = np.zeros(len(clip["centers"]), bool)
        for start, stop in clip["spans"]:
            signed[start:stop] = True
        places = clip["centers"][~signed]
        assert ((places >= 8) & (places <= 11)).all()
        assert np.abs(np.diff(clip["centers"][~signed], axis=0)).max() <= 1  # of three pixels, in five steps


def test_shapes_stay_inside_a_picture_of_any_size(clips, large_clips):
    for part, size in ((clips, 20), (large_clips, 48)):
        centers = np.concatenate([clip["centers"] for clip in part])
        assert centers.min() >= 4
        assert centers.max() <= size - 5


def test_a_sentence_has_one_to_three_glosses_unless_told():
    counts = [len(rapid_sentence(seed)["glosses"]) for seed in range(60)]
    assert set(counts) == {1, 2, 3}
    assert len(rapid_sentence(0, num_glosses=5)["glosses"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"size": 19}, r"`size` must be 20 or more, got 19"),
        ({"num_glosses": 0}, r"`num_glosses` must be 1 or more, got 0"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rapid_sentence(**{"seed": 0, **arguments})


def test_a_clip_is_written_as_a_video(tmp_path):
    clip = RapidSigns(1, num_glosses=1)[0]
    video, _ = RapidSigns(1).write(clip, tmp_path)
    read = read_video(video)
    assert read.frames.shape == clip["frames"].shape
    assert np.abs(read.frames.astype(float) - clip["frames"]).mean() < 12


# ------------------------------------------------------------------------------------------- what labels leak


def test_statistics_tell_the_shape_but_not_the_motion():
    parts = [list(RapidSigns(400, num_glosses=1, split=split)) for split in ("train", "test")]
    features = [[frame_statistics(clip["frames"]) for clip in part] for part in parts]
    motions = [[clip["glosses"][0].split("-")[1] for clip in part] for part in parts]
    assert linear_probe_accuracy(features[0], motions[0], features[1], motions[1]) < 0.5 + 0.1  # four deviations


def test_centres_of_every_fourth_frame_tell_little_of_the_motion_and_all_centres_all():
    def describe(step, size):
        features, motions = [], []
        for clip in RapidSigns(400, num_glosses=1, size=size):
            away = np.abs(clip["centers"][1:9:step] - (size - 1) / 2)  # of the middle of the picture
            features.append(away.flatten())
            motions.append(clip["glosses"][0].split("-")[1])
        return linear_probe_accuracy(features[:200], motions[:200], features[200:], motions[200:])

    assert describe(1, 20) == 1.0
    assert 0.65 < describe(4, 20) < 0.85  # every second gloss is told, the other guessed
    assert describe(4, 48) < 0.5 + 0.14
