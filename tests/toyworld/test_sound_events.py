import itertools
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from avzoo.toyworld import sound_events
from avzoo.toyworld.sound_events import (
    SOUND_EVENT_CLASSES,
    SoundEvents,
    render_sound_events,
    sound_event,
)
from avzoo.toyworld.worlds import clip_seed


@pytest.fixture(scope="module")
def clips():
    """Five of every class: {class: clips}."""
    return {name: [sound_event(seed, label=name, seconds=1.25) for seed in range(5)] for name in SOUND_EVENT_CLASSES}


def test_a_clip_is_a_pure_function_of_its_seed(clips):
    for name, (*_, last) in clips.items():
        again = sound_event(4, label=name, seconds=1.25)
        np.testing.assert_array_equal(again["audio"], last["audio"], err_msg=name)
        assert {**again, "audio": None} == {**last, "audio": None}, name


def test_a_clip_is_finite_float32_of_the_asked_length(clips):
    for label, (name, some) in enumerate(clips.items()):
        for clip in some:
            assert (clip["audio"].shape, clip["audio"].dtype) == ((20000,), np.float32), name
            assert np.isfinite(clip["audio"]).all(), name
            assert np.abs(clip["audio"]).max() <= 1.0, name
            assert (clip["name"], clip["label"]) == (name, label)


def test_other_seeds_give_other_clips(clips):
    for name, some in clips.items():
        for one, other in itertools.combinations(some, 2):
            assert not np.array_equal(one["audio"], other["audio"]), name


def test_an_event_lies_where_the_clip_says():
    for seed in range(12):
        clip = sound_event(seed, label="music")
        assert 0 <= clip["onset_seconds"] < clip["offset_seconds"] <= 2.0
        before = clip["audio"][: int((clip["onset_seconds"] - 0.1) * 16000)] if clip["onset_seconds"] > 0.2 else []
        if len(before) and clip["background_name"] is None and (clip["snr_db"] is None or clip["snr_db"] > 30):
            assert np.abs(before).max() < 0.2 * np.abs(clip["audio"]).max()


def test_only_silence_is_silent(clips):
    for name, some in clips.items():
        for clip in some:
            assert clip["peak_db"] < -50 if name == "silence" else -42 < clip["peak_db"] <= 0, name


@pytest.mark.parametrize("sampling_rate", [8000, 22050, 48000])
def test_any_sampling_rate_gives_the_same_clip(sampling_rate):
    clip = sound_event(11, label="hum", seconds=1.0, sampling_rate=sampling_rate)
    assert clip["audio"].shape == (sampling_rate,)
    assert clip["sampling_rate"] == sampling_rate


@pytest.mark.parametrize("seconds", [0.1, 0.33, 7.0])
def test_any_length_works(seconds):
    lengths = {name: len(sound_event(5, label=name, seconds=seconds)["audio"]) for name in SOUND_EVENT_CLASSES}
    assert lengths == dict.fromkeys(SOUND_EVENT_CLASSES, round(seconds * 16000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "cow"}, r"`label` must be one of speech, music, .*; got 'cow'"),
        ({"label": 10}, r"`label` must be from 0 to 9, got 10"),
        ({"seed": -1}, r"`seed` must be 0 or more, got -1"),
        ({"seconds": 0}, r"`seconds` must be from 0\.1 to 3600, got 0"),
        ({"sampling_rate": 4000}, r"`sampling_rate` must be 8000 Hz or more, got 4000"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sound_event(**{"seed": 0, **arguments})


def test_without_espeak_speech_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"pip install espeakng-loader"):
        sound_event(0, label="speech")
    with pytest.raises(ImportError, match=r"pip install espeakng-loader"):
        render_sound_events(10, seconds=0.5, num_workers=0)
    assert len(sound_event(0, label="music")["audio"]) == 32000  # the other classes need no synthesiser


def test_importing_the_data_package_loads_no_torch():
    program = (
        "import sys, types; package = types.ModuleType('avzoo'); package.__path__ = [sys.argv[1]]; "
        "sys.modules['avzoo'] = package; import avzoo.data.audioset, avzoo.toyworld.sound_events; "
        "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules)"
    )
    folder = sound_events.__file__.rsplit("toyworld", 1)[0]
    subprocess.run([sys.executable, "-c", program, folder], check=True)


# ------------------------------------------------------------------------------------------- data sets


def test_every_run_of_ten_clips_holds_each_class_once():
    data = SoundEvents(40, seed=1)
    labels = [data.label(index) for index in range(40)]
    for start in range(0, 40, 10):
        assert sorted(labels[start : start + 10]) == list(range(10))
    assert labels[:10] != labels[10:20]


def test_splits_and_seeds_share_no_clip():
    seeds = [
        clip_seed(seed, split, index)
        for seed in (0, 1)
        for split in ("train", "validation", "test")
        for index in range(500)
    ]
    assert len(set(seeds)) == len(seeds)
    one, other = (SoundEvents(10, split=split, seconds=0.5) for split in ("train", "test"))
    for name in ("bell", "hum"):
        pair = [next(clip["audio"] for clip in data if clip["name"] == name) for data in (one, other)]
        assert not np.array_equal(*pair)


def test_a_larger_data_set_begins_with_the_smaller_one():
    small, large = SoundEvents(5, seed=2, seconds=0.5), SoundEvents(30, seed=2, seconds=0.5)
    for index in range(5):
        np.testing.assert_array_equal(small[index]["audio"], large[index]["audio"])
    np.testing.assert_array_equal(small[-1]["audio"], small[4]["audio"])
    with pytest.raises(IndexError, match="clip 5 of a data set of 5"):
        small[5]


def test_worker_processes_render_the_same_bits():
    alone = render_sound_events(30, seed=5, seconds=0.5, num_workers=0)
    shared = render_sound_events(30, seed=5, seconds=0.5, num_workers=2)
    assert alone[0].shape == (30, 8000)
    assert (alone[0].dtype, alone[1].dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(alone[0], shared[0])
    np.testing.assert_array_equal(alone[1], shared[1])
    assert np.bincount(alone[1]).tolist() == [3] * 10


def test_the_cache_is_read_and_a_damaged_file_is_rendered_again(tmp_path, monkeypatch):
    data = SoundEvents(3, seed=1, seconds=0.5, cache_dir=tmp_path)
    expected = [clip["audio"] for clip in data]
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 3
    assert not list(tmp_path.rglob("*.tmp"))
    files[1].write_bytes(files[1].read_bytes()[:200])
    np.testing.assert_array_equal(data[1]["audio"], expected[1])

    def refuse(*arguments, **options):
        raise AssertionError("rendered although cached")

    monkeypatch.setattr(sound_events, "sound_event", refuse)
    for index in range(3):
        np.testing.assert_array_equal(data[index]["audio"], expected[index])
    with pytest.raises(AssertionError, match="rendered although cached"):
        SoundEvents(3, seed=2, seconds=0.5, cache_dir=tmp_path)[0]


def test_the_stream_equals_the_map_style_set_and_can_be_resumed():
    data, stream = SoundEvents(12, seed=3, seconds=0.25), SoundEvents(12, seed=3, seconds=0.25).as_iterable_dataset(3)
    assert stream.num_shards == 3
    rows = list(stream)
    assert [row["label"] for row in rows] == [data.label(index) for index in range(12)]
    assert rows[5]["id"] == "sound_events-train-0000005"
    np.testing.assert_array_equal(np.array(rows[7]["audio"], np.float32), data[7]["audio"])

    reader = iter(stream)
    for _ in range(5):
        next(reader)
    state = stream.state_dict()
    resumed = SoundEvents(12, seed=3, seconds=0.25).as_iterable_dataset(3)
    resumed.load_state_dict(state)
    assert [row["id"] for row in resumed] == [row["id"] for row in rows[5:]]


# ------------------------------------------------------------------------------------------ difficulty


def loudness_and_zero_crossings(audio):
    level = np.log10(np.sqrt(np.mean(audio**2, axis=1)) + 1e-6)
    crossings = np.mean(np.diff(np.signbit(audio), axis=1), axis=1)
    return np.stack([level, crossings], axis=1)


def spectral_statistics(audio):
    """Mean and spread over time of 24 log band energies and of their change: (clips, 72)."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 512, axis=1)[:, ::256] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(3, 257, 25).astype(int))
    bands = np.log(np.stack([power[..., a:b].mean(-1) for a, b in itertools.pairwise(edges)], axis=-1) + 1e-7)
    return np.concatenate([bands.mean(1), bands.std(1), np.abs(np.diff(bands, axis=1)).mean(1)], axis=1)


def nearest_centroid_accuracy(features, labels, test_features, test_labels):
    mean, scale = features.mean(0), features.std(0)
    features, test_features = (features - mean) / scale, (test_features - mean) / scale
    centroids = np.stack([features[labels == label].mean(0) for label in range(10)])
    distances = np.square(test_features[:, None] - centroids).sum(-1)
    return np.mean(distances.argmin(1) == test_labels)


def linear_discriminant_accuracy(features, labels, test_features, test_labels):
    """Nearest centroid after whitening by the covariance within classes."""
    centroids = np.stack([features[labels == label].mean(0) for label in range(10)])
    covariance = np.cov((features - centroids[labels]).T)
    covariance += 0.05 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    distances = np.square((test_features[:, None] - centroids) @ whitening).sum(-1)
    return np.mean(distances.argmin(1) == test_labels)


@pytest.mark.slow
def test_a_dumb_baseline_fails_and_a_spectral_one_does_not():
    audio, labels = render_sound_events(600, seed=0)
    test_audio, test_labels = render_sound_events(200, seed=0, split="test")
    dumb = nearest_centroid_accuracy(
        loudness_and_zero_crossings(audio), labels, loudness_and_zero_crossings(test_audio), test_labels
    )
    spectral = linear_discriminant_accuracy(
        spectral_statistics(audio), labels, spectral_statistics(test_audio), test_labels
    )
    assert dumb < 0.6
    assert spectral > dumb + 0.15
