import itertools
import json

import numpy as np
import pytest
from toyworld.probes import frame_statistics, linear_probe_accuracy

from avzoo.toyworld.drawing.canvas import Canvas
from avzoo.toyworld.drawing.sign_glosses import (
    GLOSSES,
    HAND_SHAPES,
    MOVEMENTS,
    PLACES,
    POINTING,
    VOCABULARY,
    free_sequence,
    sentence,
    stroke,
)
from avzoo.toyworld.drawing.signers import draw_hand, elbow, signer
from avzoo.toyworld.signs import NUM_SIGNERS, Signs, sign_sentence, signing_motion
from avzoo.video import read_video

# Pairs that differ in one thing only: movement, direction, hand shape, direction of a flutter.
PAIRS = (("NOW", "TODAY"), ("GO", "COME"), ("KNOW", "FATHER"), ("RAIN", "WIND"))
BY_NAME = {gloss.name: gloss for gloss in VOCABULARY}
RIGHT_HANDED = [number for number in range(NUM_SIGNERS) if not signer(number).left_handed]
LEFT_HANDED = [number for number in range(NUM_SIGNERS) if signer(number).left_handed]


@pytest.fixture(scope="module")
def clips():
    return [sign_sentence(seed, size=48, num_glosses=1 + seed) for seed in range(4)]


def test_a_clip_is_a_pure_function_of_its_seed(clips):
    again = sign_sentence(2, size=48, num_glosses=3)
    assert again.keys() == clips[2].keys()
    for name, value in again.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, clips[2][name])
        else:
            assert value == clips[2][name]


def test_a_clip_agrees_with_its_labels(clips):
    for number, clip in enumerate(clips):
        count = len(clip["frames"])
        assert (clip["frames"].shape, clip["frames"].dtype) == ((count, 48, 48, 3), np.uint8)
        assert (clip["hands"].shape, clip["hands"].dtype) == ((count, 2, 2), np.float32)
        assert (clip["fps"], len(clip["glosses"])) == (25, 1 + number)
        assert [GLOSSES[label] for label in clip["labels"]] == clip["glosses"]
        assert clip["signer"] in range(NUM_SIGNERS)
        edges = [edge for span in clip["spans"] for edge in span]
        assert edges == sorted(edges)
        assert edges[0] > 0
        assert edges[-1] < count
        assert all(stop - start >= 2 for start, stop in clip["spans"])
        labels = {name: value for name, value in clip.items() if not isinstance(value, np.ndarray)}
        assert json.loads(json.dumps(labels, allow_nan=False)) == labels


def test_people_move_and_never_jump(clips):
    for clip in clips:
        assert not np.array_equal(clip["frames"][0], clip["frames"][len(clip["frames"]) // 2])
        steps = np.linalg.norm(np.diff(clip["hands"], axis=0), axis=2)
        assert steps.max() < 0.25 * 48  # a head is as high; from rest to the forehead it takes three


def test_the_dominant_hand_is_where_the_gloss_is():
    for numbers, side in ((RIGHT_HANDED, -1), (LEFT_HANDED, 1)):
        clip = sign_sentence(1, size=64, glosses=["FATHER", "CHILD"], signers=numbers)
        assert clip["left_handed"] == (side == 1)
        (start, stop), (later, end) = clip["spans"]
        forehead, low = clip["hands"][start:stop, 0].mean(axis=0), clip["hands"][later:end, 0].mean(axis=0)
        assert forehead[1] < 28
        assert low[1] > 45
        assert (low[0] - 32) * side > 3  # the right hand of somebody opposite is on the left


def test_a_hand_is_drawn_at_the_wrist():
    clip = sign_sentence(4, size=112, glosses=["NOT"])
    still = np.median(clip["frames"], axis=0)
    start, stop = clip["spans"][0]
    changed = np.abs(clip["frames"][(start + stop) // 2] - still).sum(axis=2) > 60
    x, y = clip["hands"][(start + stop) // 2, 0]
    rows, columns = np.nonzero(changed)
    near = np.hypot(columns - x, rows - y) < 25
    assert near.mean() > 0.4
    assert changed.any()


def test_the_way_to_a_gloss_depends_on_the_one_before():
    clips = [sign_sentence(6, size=48, glosses=[first, "BAD"], signers=[0]) for first in ("CHILD", "RAIN")]
    befores = [clip["hands"][clip["spans"][1][0] - 3, 0] for clip in clips]
    during = [clip["hands"][sum(clip["spans"][1]) // 2, 0] for clip in clips]
    assert np.linalg.norm(befores[0] - befores[1]) > np.linalg.norm(during[0] - during[1]) + 1


@pytest.mark.parametrize(("num_frames", "num_glosses"), [(10, 1), (33, 2), (40, 4), (90, 2)])
def test_a_clip_may_have_a_given_length(num_frames, num_glosses):
    for seed in range(2):
        clip = sign_sentence(seed, size=48, num_frames=num_frames, num_glosses=num_glosses)
        assert len(clip["frames"]) == num_frames
        assert len(clip["spans"]) == num_glosses
        assert clip["spans"][-1][1] <= num_frames
        assert all(stop - start >= 2 for start, stop in clip["spans"])


def test_glosses_and_signer_can_be_chosen():
    clip = sign_sentence(3, size=48, glosses=["SUN", "RAIN", "SUN"], signers=[5])
    assert (clip["glosses"], clip["signer"]) == (["SUN", "RAIN", "SUN"], 5)
    clip = sign_sentence(3, size=48, vocabulary=["SUN", "RAIN"], num_glosses=4, num_frames=40)
    assert clip["glosses"] in (["SUN", "RAIN"] * 2, ["RAIN", "SUN"] * 2)


# ------------------------------------------------------------------------------------------------ language


def test_no_two_glosses_are_alike():
    descriptions = {
        (gloss.hands, gloss.place, gloss.movement, gloss.shape, gloss.pointing, gloss.last_shape)
        for gloss in VOCABULARY
    }
    assert len(descriptions) == len(GLOSSES) == len(set(GLOSSES)) >= 40
    assert {gloss.place for gloss in VOCABULARY} == set(PLACES)
    assert {gloss.movement for gloss in VOCABULARY} == set(MOVEMENTS)
    assert {gloss.shape for gloss in VOCABULARY} == set(HAND_SHAPES)
    assert {gloss.pointing for gloss in VOCABULARY} == set(POINTING)


@pytest.mark.parametrize("names", PAIRS)
def test_pairs_differ_in_one_thing_only(names):
    one, other = (BY_NAME[name] for name in names)
    fields = ("hands", "place", "movement", "shape", "pointing", "last_shape")
    assert sum(getattr(one, field) != getattr(other, field) for field in fields) == 1


def test_one_direction_is_the_other_backwards():
    phases = (np.arange(20) + 0.5) / 20
    for one, other in (("GO", "COME"), ("TOMORROW", "YESTERDAY"), ("BIG", "SMALL")):
        forwards, backwards = (stroke(BY_NAME[name], phases, 3.0)[:, :, :4] for name in (one, other))
        if BY_NAME[one].hands == "one":
            forwards, backwards = forwards[:, 0], backwards[:, 0]
        np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-9)


def test_a_flutter_is_lost_where_only_every_fourth_frame_is_seen():
    phases = (np.arange(16) + 0.5) / 16
    for name, axis in (("RAIN", 1), ("WIND", 0)):
        places = stroke(BY_NAME[name], phases, 4.0)[:, 0, :2]  # four frames per cycle: 6.25 Hz
        assert np.ptp(places[:, axis]) > 0.2
        assert np.ptp(places[::4], axis=0).max() < 1e-9
        assert np.ptp(places[:, 1 - axis]) < 1e-9


def test_hands_mirror_each_other_or_take_turns():
    phases = np.linspace(0, 1, 9)
    both = stroke(BY_NAME["BIG"], phases, 1.0)
    np.testing.assert_allclose(both[:, 0, 0], -both[:, 1, 0])
    np.testing.assert_allclose(both[:, 0, 1:3], both[:, 1, 1:3])
    turns = stroke(BY_NAME["CAR"], phases, 1.0)
    assert (turns[0, 0, 1] - turns[0, 1, 1]) == pytest.approx(-0.5)  # one up, one down
    assert np.isnan(stroke(BY_NAME["I"], phases, 1.0)[:, 1]).all()


def test_sentences_have_the_length_asked_for_and_use_every_gloss():
    generator = np.random.default_rng(0)
    seen = set()
    for index in range(600):
        glosses = sentence(generator, 1 + index % 8)
        assert len(glosses) == 1 + index % 8
        assert all(one != other for one, other in itertools.pairwise(glosses))
        seen.update(glosses)
    assert seen == set(GLOSSES)
    sequence = free_sequence(generator, ["A", "B", "C"], 50)
    assert all(one != other for one, other in itertools.pairwise(sequence))


# ------------------------------------------------------------------------------------------------- drawing


def test_an_arm_keeps_its_lengths():
    shoulder = np.array([0.9, 0.1, 0.0])
    for wrist in np.random.default_rng(0).uniform(-2, 2, (200, 3)):
        bend, end = elbow(shoulder, wrist, 1.1, 1.0, side=1)
        assert np.linalg.norm(bend - shoulder) == pytest.approx(1.1)
        assert np.linalg.norm(end - bend) == pytest.approx(1.0)
        if 0.2 < np.linalg.norm(wrist - shoulder) < 2.0:
            np.testing.assert_allclose(end, wrist)


def test_hand_shapes_look_different():
    pictures = []
    for shape in HAND_SHAPES.values():
        canvas = Canvas(32, 32)
        draw_hand(canvas.at((5, 16), 26), np.array(shape, float), (255, 255, 255), thumb_side=1)
        pictures.append(canvas.array().astype(float))
    for one, other in itertools.combinations(pictures, 2):
        assert np.abs(one - other).mean() > 4


def test_people_differ_and_stay_who_they_are():
    people = [signer(number) for number in range(NUM_SIGNERS)]
    assert len({(person.tempo, person.amplitude, person.skin) for person in people}) == NUM_SIGNERS
    assert max(person.tempo for person in people) > 1.2 * min(person.tempo for person in people)
    assert {person.left_handed for person in people} == {True, False}
    assert signer(7).shift.tolist() == signer(7).shift.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"size": 20}, r"`size` must be 48 or more, got 20"),
        ({"num_glosses": 0}, r"`num_glosses` must be 1 or more, got 0"),
        ({"num_frames": 0}, r"`num_frames` must be 1 or more, got 0"),
        ({"num_frames": 29, "num_glosses": 3}, r"`num_frames` \(29\) is too few for 3 glosses; .* at least 30 frames"),
        ({"vocabulary": ["MOON"]}, r"`vocabulary` must be one or more of NOW, .*; got \['MOON'\]"),
        ({"vocabulary": []}, r"`vocabulary` must be one or more of .*; got \[\]"),
        ({"vocabulary": ["SUN"], "num_glosses": 2}, r"`vocabulary` \['SUN'\] has one gloss, .* `num_glosses=1`"),
        ({"glosses": ["MOON"]}, r"`glosses` must be one or more of .*; got \['MOON'\]"),
        ({"signers": []}, r"`signers` must be numbers from 0 on, at least one; got \[\]"),
        ({"signers": [-2]}, r"`signers` must be numbers from 0 on, at least one; got \[-2\]"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sign_sentence(**{"seed": 0, **arguments})


def test_a_clip_is_written_as_a_video_people_can_watch(tmp_path):
    world = Signs(1, size=64, num_glosses=1, num_frames=20)
    clip = world[0]
    assert sorted(path.name for path in world.write(clip, tmp_path)) == [
        "signs-train-0000000.json",
        "signs-train-0000000.mp4",
    ]
    video = read_video(tmp_path / "signs-train-0000000.mp4")
    assert video.frames.shape == clip["frames"].shape
    assert np.abs(video.frames.astype(float) - clip["frames"]).mean() < 12  # noise and colour are coded coarsely
    labels = json.loads((tmp_path / "signs-train-0000000.json").read_text("utf-8"))
    assert labels["glosses"] == clip["glosses"]


# ------------------------------------------------------------------------------------------- what labels leak


@pytest.fixture(scope="module")
def pairs():
    """Training and test clips of the paired glosses, two per clip, all clips of one length."""
    settings = {"size": 48, "num_frames": 24, "num_glosses": 2, "vocabulary": list(itertools.chain(*PAIRS))}
    return list(Signs(120, **settings)), list(Signs(80, split="test", **settings))


def strokes(clips):
    """(ways of both hands through each stroke in six steps, (strokes, 6, 4); glosses)."""
    ways, names = [], []
    for clip in clips:
        for (start, stop), name in zip(clip["spans"], clip["glosses"], strict=True):
            hands = clip["hands"][start:stop].reshape(-1, 4).copy()
            if clip["left_handed"]:
                hands[:, ::2] = 48 - hands[:, ::2]
            steps = np.linspace(0, len(hands) - 1, 6)
            ways.append(np.stack([np.interp(steps, np.arange(len(hands)), way) for way in hands.T], axis=1))
            names.append(name)
    return np.array(ways), np.array(names)


@pytest.mark.slow
def test_a_gloss_is_told_by_its_movement_but_not_by_trivial_statistics(pairs):
    train, test = pairs
    first = [[clip["glosses"][0] for clip in part] for part in pairs]
    statistics = [[frame_statistics(clip["frames"]) for clip in part] for part in pairs]
    trivial = linear_probe_accuracy(statistics[0], first[0], statistics[1], first[1])
    lengths = [[[stop - start] for clip in part for start, stop in clip["spans"]] for part in pairs]
    (ways, names), (test_ways, test_names) = strokes(train), strokes(test)
    length = linear_probe_accuracy(lengths[0], names, lengths[1], test_names)
    place = linear_probe_accuracy(ways.mean(axis=1), names, test_ways.mean(axis=1), test_names)
    movement = linear_probe_accuracy(ways.reshape(-1, 24), names, test_ways.reshape(-1, 24), test_names)
    print(f"\ngloss, chance 0.125: frame statistics {trivial:.3f}, length of the stroke {length:.3f},")
    print(f"place of the hands {place:.3f}, their way {movement:.3f}")
    assert trivial < 0.125 + 0.13  # three and a half standard deviations of 80 guesses
    assert length < 0.125 + 0.1
    assert place > 0.3
    assert movement > place + 0.1


@pytest.mark.slow
def test_the_length_of_a_clip_does_not_tell_what_is_signed():
    # Without `num_frames` a clip is as long as its sentence: its length tells how many glosses, not which.
    generator = np.random.default_rng(0)
    lengths, names = [], []
    for index in range(1600):
        names.append(["I", "RAIN", "CAR", "GO"][index % 4])
        person = signer(int(generator.integers(NUM_SIGNERS)))
        lengths.append([len(signing_motion([names[-1]], person, generator)[0])])
    score = linear_probe_accuracy(lengths[:800], names[:800], lengths[800:], names[800:])
    print(f"\ngloss from the length of the clip, chance 0.25: {score:.3f}")
    assert score < 0.25 + 0.06  # four standard deviations of 800 guesses
