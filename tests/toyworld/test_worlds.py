"""What holds for every world: clips that depend on their seed alone, caches, streams, workers, files."""

import contextlib
import functools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from avzoo.toyworld import WORLDS, world, worlds
from avzoo.toyworld.worlds import World, clip_seed

SETTINGS = {
    "talkers": {"seconds": 0.4, "size": 48, "situation": ["conversation", "off_screen"]},
    "spoken_words": {"size": 48},
    "sessions": {"seconds": 0.6},
    "scenes": {"seconds": 0.4, "size": 64},
    "signs": {"size": 48, "num_glosses": 1, "num_frames": 10},
    "rapid_signs": {"size": 20, "num_glosses": 1},
    "captions": {"seconds": 2.0},
    "sound_events": {"seconds": 0.4},
}


@pytest.fixture(params=WORLDS)
def name(request):
    return request.param


def clips_of(name: str, count: int = 3, **options) -> World:
    return world(name)(count, seed=5, **{**SETTINGS[name], **options})


@functools.cache
def rendered(name: str) -> list[dict]:
    """Three clips of every world, to compare with."""
    return list(clips_of(name))


def assert_same(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    for field, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == other[field].dtype, field
            np.testing.assert_array_equal(value, other[field], err_msg=field)
        else:
            assert value == other[field], field


def test_every_world_has_its_settings_here():
    assert set(SETTINGS) == set(WORLDS)


def test_a_clip_is_a_pure_function_of_its_seed(name):
    data = clips_of(name)
    data[2]
    assert_same(data[1], rendered(name)[1])


def test_another_seed_or_split_is_another_clip(name):
    clips = [rendered(name)[0], clips_of(name, split="test")[0], world(name)(1, seed=6, **SETTINGS[name])[0]]
    media = [clip["audio" if "audio" in clip else "frames"] for clip in clips]
    assert not np.array_equal(media[0], media[1])
    assert not np.array_equal(media[0], media[2])


def test_a_larger_set_begins_with_the_smaller_one(name):
    assert_same(clips_of(name, count=10)[2], rendered(name)[-1])
    with pytest.raises(IndexError, match="clip 3 of a data set of 3"):
        clips_of(name)[3]


def test_a_cached_clip_equals_a_rendered_one(name, tmp_path, monkeypatch):
    expected, data = rendered(name)[1], clips_of(name, cache_dir=tmp_path)
    assert_same(data[1], expected)  # written
    (file,) = tmp_path.rglob("*.*")
    monkeypatch.setattr(type(data), "render", lambda *arguments: pytest.fail("rendered although cached"))
    assert_same(data[1], expected)  # read
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:-100])
    assert_same(data[1], expected)  # damaged, so made again
    assert [path for path in tmp_path.rglob("*.*")] == [file]


@pytest.fixture(scope="module")
def processes():
    """What `iterate` starts, once for all worlds."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_worker_processes_make_the_same_bytes_in_the_same_order(name, processes, monkeypatch):
    monkeypatch.setattr(worlds, "ProcessPoolExecutor", lambda *given, **named: contextlib.nullcontext(processes))
    for alone, shared in zip(rendered(name), clips_of(name).iterate(2, clips_at_once=1), strict=True):
        assert_same(alone, shared)


def test_the_stream_gives_the_same_clips_and_goes_on_where_it_stopped(name):
    data = clips_of(name)
    stream = data.as_iterable_dataset()
    assert stream.num_shards == 3
    reader = iter(stream)
    first = next(reader)
    for field, value in rendered(name)[0].items():
        np.testing.assert_array_equal(first[field], value) if isinstance(value, np.ndarray) else None
    state = stream.state_dict()
    resumed = data.as_iterable_dataset()
    resumed.load_state_dict(state)
    assert [clip["id"] for clip in resumed] == [f"{name}-train-000000{index}" for index in (1, 2)]


def test_a_stream_that_goes_on_renders_one_clip_again_at_most(name, monkeypatch):
    data = clips_of(name)
    stream = data.as_iterable_dataset()
    reader = iter(stream)
    next(reader), next(reader)
    resumed = data.as_iterable_dataset()
    resumed.load_state_dict(stream.state_dict())
    rendered = []
    render = type(data).render
    monkeypatch.setattr(type(data), "render", lambda self, index: rendered.append(index) or render(self, index))
    list(resumed)
    assert rendered == [1, 2]


def test_a_clip_can_be_written_as_files(name, tmp_path):
    clip = rendered(name)[0]
    files = clips_of(name).write(clip, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert len(files) >= 2
    labels = json.loads((tmp_path / f"{clip['id']}.json").read_text(encoding="utf-8"))
    for field, value in clip.items():
        if not isinstance(value, np.ndarray):
            assert labels[field] == value, field


def test_the_stream_feeds_a_loader_with_workers():
    from torch.utils.data import DataLoader

    loader = DataLoader(clips_of("scenes").as_iterable_dataset(), batch_size=None, num_workers=2)
    assert sorted(clip["id"] for clip in loader) == [f"scenes-train-{index:07d}" for index in range(3)]


# What a world is given.


def test_a_wrong_argument_is_refused(name):
    with pytest.raises(TypeError, match="'colour'"):
        clips_of(name, colour=3)
    number = "size" if "size" in SETTINGS[name] else "seconds"
    with pytest.raises(TypeError, match=f"`{number}` must be a number, got 'nan'"):
        clips_of(name, **{number: "nan"})
    with pytest.raises(ValueError, match="`seed` must be 0 or more, got -1"):
        world(name)(1, -1)
    with pytest.raises(ValueError, match="`num_clips` must be 0 or more, got -1"):
        world(name)(-1)
    with pytest.raises(ValueError, match="`num_shards` must be 1 or more, got 0"):
        clips_of(name).as_iterable_dataset(0)


def test_an_unknown_world_is_refused():
    with pytest.raises(ValueError, match="no world is called 'talker'; there are: talkers, "):
        world("talker")


def test_seeds_of_splits_never_meet():
    seeds = {clip_seed(seed, split, index) for seed in (0, 1) for split in ("train", "test") for index in range(500)}
    assert len(seeds) == 2000


def test_settings_are_part_of_the_cache(tmp_path):
    short, long = (world("sound_events")(1, seconds=seconds, cache_dir=tmp_path) for seconds in (0.3, 0.5))
    assert short.cache_dir != long.cache_dir
    assert len(short[0]["audio"]) < len(long[0]["audio"])
