"""Sessions made by augmentation: one draw for all utterances of a session."""

import numpy as np
import pytest
import torch

from avzoo.audio import write_wav
from avzoo.models.session_embedding import augmentation
from avzoo.models.session_embedding.augmentation import KINDS, SessionAugmentation, reverberate

SAMPLES = 4000


def make_sound(seed: int, samples: int = SAMPLES, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Noises of several lengths and levels, and two rooms."""
    folder = tmp_path_factory.mktemp("musan")
    paths = {"music": [], "speech": [], "noise": [], "rooms": []}
    for seed, (category, number) in enumerate((c, n) for c in paths for n in range(7)):
        path = folder / f"{category}-{number}.wav"
        length = 300 if category == "rooms" else 1500 * (number + 1)
        write_wav(path, make_sound(seed, length, 0.02 * (number + 1)), 16000)
        paths[category].append(path)
    return paths


def make_augmentation(recordings, kind: str) -> SessionAugmentation:
    return SessionAugmentation(recordings, recordings["rooms"], kinds=[kind])


@pytest.mark.parametrize("kind", ["music", "babble", "noise"])
def test_all_utterances_of_a_session_get_the_same_noise(recordings, kind):
    augment, generator = make_augmentation(recordings, kind), torch.Generator().manual_seed(0)
    clean = [make_sound(100), make_sound(101)]
    first, second = augment(clean, generator)
    np.testing.assert_allclose(first - clean[0], second - clean[1], atol=1e-6)
    (other,) = augment(clean[:1], generator)  # another session
    assert np.abs(other - first).max() > 0.01


@pytest.mark.parametrize(("kind", "lowest", "highest"), [("music", 5, 15), ("noise", 0, 15)])
def test_noise_lies_within_its_range_of_the_first_utterance(recordings, kind, lowest, highest):
    augment, generator = make_augmentation(recordings, kind), torch.Generator().manual_seed(0)
    clean, ratios = [make_sound(100), make_sound(101, level=0.5)], []
    for _ in range(60):
        noise = augment(clean, generator)[0] - clean[0]
        ratios.append(10 * np.log10(np.mean(clean[0] ** 2) / np.mean(noise**2)))
    # Powers are compared with 1e-4 added: the weakest noise here has 4e-4, so up to 1 dB is lost.
    assert lowest - 0.1 < min(ratios) < lowest + 2
    assert highest - 2 < max(ratios) < highest + 1


def test_babble_is_three_to_seven_different_voices(recordings, monkeypatch):
    read, counts = augmentation.read_random_segment, set()
    augment, generator = make_augmentation(recordings, "babble"), torch.Generator().manual_seed(0)
    for _ in range(60):
        paths = []
        monkeypatch.setattr(
            augmentation,
            "read_random_segment",
            lambda path, *rest, paths=paths: paths.append(path) or read(path, *rest),
        )
        augment([make_sound(100)], generator)
        assert len(set(paths)) == len(paths)
        counts.add(len(paths))
    assert counts == {3, 4, 5, 6, 7}


def test_all_utterances_of_a_session_get_the_same_room(recordings):
    impulse, clean = np.zeros(SAMPLES, np.float32), make_sound(100)
    impulse[0] = 1
    response, wet = make_augmentation(recordings, "room")([impulse, clean], torch.Generator().manual_seed(0))
    assert np.sum(response**2) == pytest.approx(1)  # unit energy
    np.testing.assert_allclose(wet, np.convolve(clean, response)[:SAMPLES], atol=1e-5)


def test_a_room_is_a_convolution_cut_to_the_utterance():
    assert reverberate(np.array([1.0, 2.0, 3.0]), np.array([0.6, 0.8])) == pytest.approx([0.6, 2.0, 3.4])
    assert reverberate(np.array([2.0]), np.array([3.0])) == pytest.approx([2])
    with pytest.raises(ValueError, match="`room` is silent"):
        reverberate(np.ones(3), np.zeros(2))


def test_every_kind_is_as_likely_as_the_others(recordings, monkeypatch):
    augment, generator = SessionAugmentation(recordings, recordings["rooms"]), torch.Generator().manual_seed(0)
    drawn = []
    monkeypatch.setattr(augment, "_draw_noise", lambda kind, *_: drawn.append(kind) or np.zeros(SAMPLES, np.float32))
    monkeypatch.setattr(augmentation, "reverberate", lambda utterance, room: drawn.append("room") or utterance)
    for _ in range(1000):
        augment([np.zeros(SAMPLES)], generator)
    drawn += ["none"] * (1000 - len(drawn))
    assert all(160 < drawn.count(kind) < 240 for kind in KINDS)  # 200, give or take three standard deviations


def test_one_seed_gives_one_session(recordings):
    augment, clean = SessionAugmentation(recordings, recordings["rooms"]), [make_sound(100)]
    for seed in range(10):
        first, second = (augment(clean, torch.Generator().manual_seed(seed))[0] for _ in range(2))
        assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, (), ()), "`kinds` is empty"),
        (({}, (), ("echo",)), "`kinds` must be one of none, room, music, babble, noise, got 'echo'"),
        (({}, (), ("room",)), "`rooms` is empty"),
        (({"speech": ["a.wav"] * 6}, (), ("babble",)), "at least 7 recordings of 'speech' for 'babble', got 6"),
        (({}, ["a.wav"]), "at least 1 recordings of 'music'"),
    ],
)
def test_too_few_recordings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SessionAugmentation(*arguments)


@pytest.mark.parametrize("utterances", [[], [np.zeros(3), np.zeros(4)], [np.zeros((2, 3))], [np.zeros(0)]])
def test_utterances_of_unequal_lengths_are_refused(recordings, utterances):
    with pytest.raises(ValueError, match="of one length"):
        make_augmentation(recordings, "none")(utterances, torch.Generator())
