import itertools
import json

import numpy as np
import pytest
from PIL import Image
from toyworld.probes import audio_statistics, frame_statistics, linear_probe_accuracy

from avzoo.audio import read_audio
from avzoo.toyworld.drawing.objects import OBJECTS
from avzoo.toyworld.scenes import SCENE_CATEGORIES, Scenes, scene
from avzoo.toyworld.sound.object_sounds import OBJECT_SOUNDS

SMALL = {"size": 56, "seconds": 0.5}
CERTAIN = {"off_screen_chance": 0.0, "silent_chance": 0.0}


@pytest.fixture(scope="module")
def clips():
    return [scene(seed, **SMALL) for seed in range(60)]


def same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other[name])
        else:
            assert value == other[name], name


def test_a_clip_is_a_pure_function_of_its_seed():
    first = scene(3, **SMALL, every_sound=True)
    scene(4, **SMALL)
    same(first, scene(3, **SMALL, every_sound=True))
    assert not np.array_equal(first["image"], scene(4, **SMALL)["image"])


def test_a_clip_agrees_with_its_labels(clips):
    for clip in clips:
        count = len(clip["objects"])
        assert 1 <= count <= 4
        assert (clip["image"].shape, clip["image"].dtype) == ((56, 56, 3), np.uint8)
        assert (clip["masks"].shape, clip["masks"].dtype) == ((count, 56, 56), bool)
        assert (clip["audio"].shape, clip["audio"].dtype, clip["sampling_rate"]) == ((8000,), np.float32, 16000)
        assert 0.001 < np.abs(clip["audio"]).max() <= 1
        assert len({thing["category"] for thing in clip["objects"]}) == count
        labels = {name: value for name, value in clip.items() if not isinstance(value, np.ndarray)}
        assert json.loads(json.dumps(labels, allow_nan=False)) == labels


def test_boxes_bound_masks_and_masks_share_no_pixel(clips):
    for clip in clips:
        assert clip["masks"].sum(axis=0).max() == 1
        for thing, mask in zip(clip["objects"], clip["masks"], strict=True):
            x1, y1, x2, y2 = (int(edge) for edge in thing["box"])
            assert mask[y1:y2, x1:x2].sum() == mask.sum() > 20
            assert mask[y1].any()
            assert mask[y2 - 1].any()
            assert mask[:, x1].any()
            assert mask[:, x2 - 1].any()


def test_every_thing_is_seen_and_some_are_partly_hidden(clips):
    fractions = [thing["visible_fraction"] for clip in clips for thing in clip["objects"]]
    assert 0.5 <= min(fractions) < 0.8
    assert max(fractions) == 1.0


def test_a_thing_is_as_large_whatever_it_is():
    for seed in range(2):
        settings = {"size": 160, "seconds": 0.1, "num_objects": 1, **CERTAIN}
        masks = [scene(seed, **settings, category=name)["masks"][0] for name in SCENE_CATEGORIES]
        sides = np.sqrt([mask.sum() for mask in masks])  # long things, the guitar before all, are cut down to fit
        assert np.mean(np.abs(sides / np.median(sides) - 1) < 0.06) > 0.9


def test_the_mask_is_where_the_thing_is_drawn():
    # The picture differs from the same one without the thing only near the thing, hence a scene of one thing differs
    # from its own background inside the mask far more than outside.
    inside, outside = [], []
    for seed in range(12):
        clip = scene(seed, size=96, seconds=0.2, num_objects=1)
        mask, picture = clip["masks"][0], clip["image"].astype(float)
        edges = np.abs(np.diff(picture, axis=1)).sum(axis=2)
        border = mask[:, 1:] ^ mask[:, :-1]
        inside.append(edges[border].mean())
        outside.append(edges[~border].mean())
    assert np.mean(inside) > 2.5 * np.mean(outside)


def test_sources_are_visible_off_screen_or_silent(clips):
    sources = [clip["source"] for clip in clips]
    assert {name: 0.03 < sources.count(name) / len(clips) < 0.2 for name in ("off_screen", "silent")} == {
        "off_screen": True,
        "silent": True,
    }
    for clip in clips:
        seen = [thing["category"] for thing in clip["objects"]]
        sounding = [index for index, thing in enumerate(clip["objects"]) if thing["sounding"]]
        assert clip["sounding"] == sounding
        if clip["source"] == "visible":
            assert clip["sounding_index"] == sounding[0]
            assert clip["heard"] == [seen[sounding[0]]]
        else:
            assert clip["sounding_index"] is None
            assert not sounding
            assert len(clip["heard"]) == (clip["source"] == "off_screen")
            assert not set(clip["heard"]) & set(seen)


def test_several_things_may_sound_together():
    for seed in range(8):
        clip = scene(seed, **SMALL, **CERTAIN, num_sounding=2)
        assert len(clip["sounding"]) == len(clip["heard"]) == 2
        assert clip["sounding_index"] is None
        assert len(clip["objects"]) >= 2


def test_the_sounding_category_can_be_chosen():
    for seed, settings in enumerate(({"off_screen_chance": 1, "silent_chance": 0}, CERTAIN)):
        heard = [scene(seed, **SMALL, **settings, category=category)["heard"] for category in SCENE_CATEGORIES]
        assert heard == [[category] for category in SCENE_CATEGORIES]


FEW = ["car", "bird", "frog"]


def test_a_clip_shows_and_sounds_only_like_the_chosen_categories():
    heard = set()
    for seed in range(24):
        settings = {"num_objects": 2, "off_screen_chance": 0.4, "silent_chance": 0.1}
        clip = scene(seed, **SMALL, **settings, categories=FEW)
        assert {thing["category"] for thing in clip["objects"]} | set(clip["heard"]) <= set(FEW)
        assert all(thing["label"] == SCENE_CATEGORIES.index(thing["category"]) for thing in clip["objects"])
        heard |= {(clip["source"], name) for name in clip["heard"]}
    assert heard == {(source, name) for source in ("visible", "off_screen") for name in FEW}


def test_the_order_of_the_categories_does_not_change_a_clip():
    settings = {**SMALL, "num_objects": 2}
    same(scene(5, **settings, categories=FEW), scene(5, **settings, categories=tuple(sorted(FEW))))


def test_all_categories_named_give_the_clip_of_none_named():
    same(scene(5, **SMALL), scene(5, **SMALL, categories=SCENE_CATEGORIES))


def test_the_area_is_drawn_from_its_range():
    settings = {**SMALL, **CERTAIN, "size": 160, "num_objects": 1, "categories": ["bell", "clock"]}  # neither is long
    shares = [scene(seed, **settings, area=(0.1, 0.18))["masks"][0].mean() for seed in range(24)]
    assert 0.095 < min(shares) < 0.115
    assert 0.16 < max(shares) < 0.19
    twice = [scene(seed, **settings, area=(0.2, 0.36))["masks"][0].mean() for seed in range(4)]
    np.testing.assert_allclose(twice, 2 * np.array(shares[:4]), rtol=0.06)  # outlines and pixels


def test_several_things_keep_the_area_that_is_asked_for():
    settings = {**SMALL, **CERTAIN, "size": 96}
    shares = [
        mask.mean() / thing["visible_fraction"]
        for seed in range(12)
        for clip in [scene(seed, **settings, num_objects=3, area=(0.05, 0.05))]
        for mask, thing in zip(clip["masks"], clip["objects"], strict=True)
    ]
    assert 0.045 < np.median(shares) < 0.055


def test_a_world_of_few_categories_and_one_area_is_cached_apart(tmp_path):
    settings = {**SMALL, "num_objects": 2}
    worlds = [
        Scenes(1, **settings, cache_dir=tmp_path, **more)
        for more in ({}, {"categories": FEW}, {"area": (0.1, 0.18)}, {"area": [0.1, 0.18]})
    ]
    assert len({world.cache_dir for world in worlds}) == 3
    same(worlds[3][0], worlds[2][0])


def test_settings_of_the_sound_leave_the_picture_alone():
    plain = scene(8, **SMALL, **CERTAIN)
    other = scene(8, **{**SMALL, "seconds": 0.75}, **CERTAIN, every_sound=True)
    for name in ("image", "masks"):
        np.testing.assert_array_equal(plain[name], other[name])
    assert plain["objects"] == other["objects"]
    assert other["sounds"].shape == (len(other["objects"]), 12000)
    assert other["sounds"].dtype == np.float32


@pytest.mark.parametrize("size", [48, 101, 224])
def test_pictures_of_any_size(size):
    clip = scene(2, size=size, seconds=0.1, num_objects=4)
    assert clip["image"].shape == (size, size, 3)
    assert len(clip["objects"]) == 4


def test_a_sound_is_finite_and_goes_on():
    for name, play in OBJECT_SOUNDS.items():
        generator = np.random.default_rng(0)
        for _ in range(4):
            sound = play(generator, 48000, 16000)
            assert sound.shape == (48000,), name
            assert np.isfinite(sound).all(), name
            halves = [np.abs(part).max() for part in np.split(sound, 2)]
            assert min(halves) > 0.01 * max(halves), name
        assert len(play(generator, 4001, 16000)) == 4001, name


def test_every_category_is_drawn_and_sounds():
    assert tuple(OBJECTS) == tuple(OBJECT_SOUNDS) == SCENE_CATEGORIES
    assert len(SCENE_CATEGORIES) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"size": 20}, r"`size` must be 48 or more, got 20"),
        ({"seconds": 0}, r"`seconds` must be from 0\.1 to 3600, got 0"),
        ({"num_objects": 5}, r"`num_objects` must be from 1 to 4, or None; got 5"),
        ({"num_objects": 2, "num_sounding": 3}, r"`num_sounding` must be from 1 to the number of objects \(2\), got 3"),
        ({"num_sounding": 0}, r"`num_sounding` must be from 1 .*got 0"),
        ({"off_screen_chance": 0.7, "silent_chance": 0.6}, r"together 1 or less, got 0\.7 and 0\.6"),
        ({"category": "cow"}, r"`category` must be one of bell, bird, .*; got 'cow'"),
        ({"num_objects": 1, "categories": ["dog", "cow"]}, r"`categories` must be of bell, bird, .*; got 'cow'"),
        ({"num_objects": 1, "categories": ["dog", "dog"]}, r"`categories` must differ from each other, got dog, dog"),
        ({"num_objects": 2, "categories": ["dog", "cat"]}, r"`categories` must be 3 or more.*got 2.*`num_objects`"),
        ({"categories": ["dog", "cat"]}, r"`categories` must be 5 or more, .*got 2"),
        ({"num_objects": 1, "categories": ["dog", "cat"], "category": "car"}, r"must be one of cat, dog; got 'car'"),
        ({"area": (0.2, 0.1)}, r"`area` must be \(smallest, largest\), got \(0\.2, 0\.1\)"),
        ({"area": (0.1, 0.6)}, r"`area` must be at least 0\.01 and at most 0\.5 of the picture, got 0\.6"),
        ({"area": (0.001, 0.1)}, r"`area` must be at least 0\.01 .*got 0\.001"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        scene(**{"seed": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categories": "dog"}, r"`categories` must be a list of names, got the text 'dog'"),
        ({"area": 0.1}, r"`area` must be two shares of the picture, \(smallest, largest\), got 0\.1"),
        ({"area": (0.1,)}, r"`area` must be two shares .*got \(0\.1,\)"),
        ({"area": (0.1, "x")}, r"`area` must be a number, got 'x'"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        scene(0, **arguments)


def test_a_clip_is_written_as_files_people_can_open(tmp_path):
    world = Scenes(1, **SMALL, num_objects=3)
    clip = world[0]
    names = sorted(path.name for path in world.write(clip, tmp_path))
    assert names == [f"scenes-train-0000000.{ending}" for ending in ("json", "mask.png", "png", "wav")]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "scenes-train-0000000.png")), clip["image"])
    owners = np.asarray(Image.open(tmp_path / "scenes-train-0000000.mask.png"))
    np.testing.assert_array_equal(owners, (clip["masks"] * np.arange(1, 4)[:, None, None]).sum(axis=0))
    audio, rate = read_audio(tmp_path / "scenes-train-0000000.wav")
    assert (len(audio), rate) == (8000, 16000)
    assert json.loads((tmp_path / "scenes-train-0000000.json").read_text("utf-8"))["objects"] == clip["objects"]


def test_a_cached_clip_equals_a_rendered_one(tmp_path):
    world = Scenes(2, **SMALL, cache_dir=tmp_path)
    same(world[1], world[1])
    same(world[1], Scenes(2, **SMALL)[1])


# ------------------------------------------------------------------------------------------- what labels leak


def spectral_statistics(audio):
    """Mean, spread and change over time of 24 log band energies, without their common level: (72,)."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 512)[::256] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(3, 257, 25).astype(int))
    bands = np.log(np.stack([power[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)], axis=1) + 1e-9)
    bands -= bands.mean()
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0), np.abs(np.diff(bands, axis=0)).mean(axis=0)])


def silhouette(clip, index=0, size=12):
    """The mask within its box, as a square of `size` pixels."""
    x1, y1, x2, y2 = (int(edge) for edge in clip["objects"][index]["box"])
    mask = Image.fromarray(clip["masks"][index][y1:y2, x1:x2].astype(np.float32))
    square = np.asarray(mask.resize((size, size), Image.Resampling.BOX))
    return np.append(np.minimum(square, square[:, ::-1]), (x2 - x1) / (y2 - y1))  # either way round


def place_and_area(clip, index=0):
    x1, y1, x2, y2 = clip["objects"][index]["box"]
    return [x1 + x2, y1 + y2, np.sqrt(clip["masks"][index].sum())]


def probe(features, labels, train, test):
    return linear_probe_accuracy(
        [features(clip) for clip in train],
        [labels(clip) for clip in train],
        [features(clip) for clip in test],
        [labels(clip) for clip in test],
    )


@pytest.mark.slow
def test_what_sounds_is_told_by_shape_and_spectrum_but_not_by_trivial_statistics():
    settings = {**SMALL, **CERTAIN, "seconds": 1.0, "num_objects": 1}
    train, test = Scenes(400, **settings), Scenes(280, split="test", **settings)
    train, test = list(train), list(test)

    def category(clip):
        return clip["heard"][0]

    chance = 1 / len(SCENE_CATEGORIES)
    trivial = {
        "colour, brightness, contrast of the picture": probe(
            lambda clip: frame_statistics(clip["image"]), category, train, test
        ),
        "place and area": probe(place_and_area, category, train, test),
        "level of the sound": probe(lambda clip: audio_statistics(clip["audio"])[[0, 1]], category, train, test),
        "peak of the sound": probe(lambda clip: audio_statistics(clip["audio"])[[0, 2]], category, train, test),
    }
    # Peak over level, silence and zero crossings are part of what tells a clock from rain: shown, not held down.
    contents = probe(lambda clip: audio_statistics(clip["audio"]), category, train, test)
    shape = probe(silhouette, category, train, test)
    spectrum = probe(lambda clip: spectral_statistics(clip["audio"]), category, train, test)
    print(f"\ncategory, chance {chance:.3f}:", {name: round(score, 3) for name, score in trivial.items()})
    print(f"all audio statistics {contents:.3f}, silhouette {shape:.3f}, spectrum {spectrum:.3f}")
    assert max(trivial.values()) < chance + 0.06  # four standard deviations of 280 guesses
    assert shape > 0.8
    assert spectrum > 0.45


@pytest.fixture(scope="module")
def mixed():
    """Training and test clips of three things, of which one, something else, or nothing sounds."""
    settings = {**SMALL, "seconds": 0.4, "num_objects": 3, "off_screen_chance": 0.2, "silent_chance": 0.2}
    return list(Scenes(400, **settings)), list(Scenes(280, split="test", **settings))


@pytest.mark.slow
def test_which_one_sounds_is_told_by_nothing_but_picture_and_sound_together(mixed):
    train, test = ([clip for clip in part if clip["source"] == "visible"] for part in mixed)

    def everything(clip):
        things = [[*place_and_area(clip, index), clip["objects"][index]["visible_fraction"]] for index in range(3)]
        return np.concatenate([frame_statistics(clip["image"]), audio_statistics(clip["audio"]), np.ravel(things)])

    score = probe(everything, lambda clip: clip["sounding_index"], train, test)
    print(f"\nindex of the sounding thing, chance 0.333: {score:.3f}")
    assert abs(score - 1 / 3) < 0.11  # three standard deviations of 170 guesses
    assert np.bincount([clip["sounding_index"] for clip in test]).min() > 35


@pytest.mark.slow
def test_silence_and_off_screen_sounds_do_not_show_in_level_or_picture(mixed):
    def trivial(clip):
        return [*frame_statistics(clip["image"]), *audio_statistics(clip["audio"])[[0, 2]]]

    train, test = mixed
    score = probe(trivial, lambda clip: clip["source"], train, test)
    print(f"\nvisible, off screen or silent, chance 0.333: {score:.3f}")
    assert score < 0.45
