import json

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from toyworld.probes import audio_statistics, frame_statistics, linear_probe_accuracy

from avzoo.toyworld.drawing.visemes import VISEME_NAMES
from avzoo.toyworld.sound.voices import VOICES
from avzoo.toyworld.talkers import SITUATIONS, Talkers, identity_face, identity_voice, lip_crops, talker_clip
from avzoo.video import probe_video, read_video

SMALL = {"size": 32, "seconds": 1.0}


def speech_loudness(clip, voice=None):
    """(frames,) root mean square of each frame's sound."""
    samples = clip["audio"] if voice is None else clip["voices"][voice]
    return np.sqrt(np.mean(samples.reshape(-1, 640) ** 2, axis=1))


def best_lag(opening, loudness, most=8):
    """Frames by which the sound lags behind the mouth, where the two correlate best."""
    opening, loudness = opening - opening.mean(), loudness - loudness.mean()

    def correlation(lag):
        one = opening[max(0, -lag) : len(opening) - max(0, lag)]
        other = loudness[max(0, lag) : len(loudness) - max(0, -lag)]
        return np.sum(one * other) / np.sqrt(np.sum(one**2) * np.sum(other**2))

    return max(range(-most, most + 1), key=correlation)


@pytest.fixture(scope="module")
def conversations():
    settings = {"situation": "conversation", "num_faces": 3, "seconds": 3.0, "size": 16}
    return [talker_clip(seed, **settings) for seed in range(5)]


# What a clip holds.


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_clip_agrees_with_its_labels(situation):
    clip = talker_clip(3, situation=situation, seconds=1.2, size=[40, 64])
    faces, frames = len(clip["faces"]), 30
    assert (clip["frames"].shape, clip["frames"].dtype) == ((frames, 40, 64, 3), np.uint8)
    assert (clip["audio"].shape, clip["audio"].dtype) == ((frames * 640,), np.float32)
    assert np.abs(clip["audio"]).max() <= 1
    for name, shape, dtype in (
        ("voices", (faces, frames * 640), np.float32),
        ("boxes", (faces, frames, 4), np.float32),
        ("mouth_boxes", (faces, frames, 4), np.float32),
        ("speaking", (faces, frames), bool),
        ("visemes", (faces, frames), np.uint8),
        ("mouth_opening", (faces, frames), np.float32),
    ):
        assert (clip[name].shape, clip[name].dtype) == (shape, dtype), name
    assert clip["situation"] == situation
    assert len({face["identity"] for face in clip["faces"]}) == faces
    json.dumps({name: value for name, value in clip.items() if not isinstance(value, np.ndarray)}, allow_nan=False)


def test_the_mouth_lies_in_the_lower_half_of_its_face():
    clip = talker_clip(5, num_faces=2, situation="conversation", seconds=1.0, size=[90, 160])
    face, mouth = clip["boxes"], clip["mouth_boxes"]
    assert (mouth[..., 1] > (face[..., 1] + face[..., 3]) / 2).all()
    assert (mouth[..., 3] < face[..., 3] + 4).all()
    assert ((mouth[..., 0] > face[..., 0]) & (mouth[..., 2] < face[..., 2])).all()


def test_the_picture_shows_the_opening_that_the_label_states():
    correlations = []
    for seed in range(5):
        clip = talker_clip(seed, seconds=1.6, size=96)
        crops = lip_crops(clip, 0, 48).astype(float)
        dark = -np.sort(crops.mean(-1).reshape(len(crops), -1), axis=1)[:, :120].mean(axis=1)
        correlations.append(np.corrcoef(dark, clip["mouth_opening"][0])[0, 1])
    print("darkness of the mouth against its opening:", np.round(correlations, 2))
    assert np.median(correlations) > 0.6


def test_who_is_heard_is_labelled_as_speaking(conversations):
    checked = 0
    for clip in conversations:
        for face, speaking in enumerate(clip["speaking"]):
            loudness = speech_loudness(clip, face)
            if speaking.any() and not speaking.all():
                assert loudness[speaking].mean() > 4 * np.median(loudness[~speaking])
                checked += 1
    assert checked > 8


@pytest.fixture(scope="module")
def monologue():
    return talker_clip(2, seconds=3.0, size=32)


def test_words_and_phonemes_lie_where_their_face_speaks(monologue):
    clip = monologue
    (face,) = clip["faces"]
    assert len(face["words"]) >= 2
    for word in face["words"]:
        frames = slice(max(0, round(word["start"] * 25) + 1), max(0, round(word["end"] * 25) - 1))
        assert clip["speaking"][0][frames].all(), word
    assert [word["start"] for word in face["words"]] == sorted(word["start"] for word in face["words"])
    assert {event["ipa"] for event in face["phonemes"]} - {""}


def test_visemes_follow_the_phonemes(monologue):
    clip = monologue
    names = [VISEME_NAMES[index] for index in clip["visemes"][0]]
    assert len(set(names)) > 5
    closed = clip["mouth_opening"][0][[name == "lips_together" for name in names]]
    wide = clip["mouth_opening"][0][[name == "open" for name in names]]
    assert closed.mean() < 0.25 < wide.mean()


# Situations.


def test_the_contributions_add_up_to_the_sound():
    clip = talker_clip(4, situation="mixture", **SMALL)
    rest = clip["audio"] - clip["voices"].sum(axis=0)
    ratio_db = 10 * np.log10(np.mean(clip["voices"].sum(axis=0) ** 2) / np.mean(rest**2))
    assert abs(ratio_db - clip["snr_db"]) < 6  # noise is set against one voice, not against their sum


def test_the_voices_of_a_mixture_are_equally_loud_and_both_faces_speak():
    for seed in range(4):
        clip = talker_clip(seed, situation="mixture", seconds=0.8, size=16)
        levels = np.sqrt(np.mean(clip["voices"] ** 2, axis=1))
        assert levels[0] == pytest.approx(levels[1], rel=1e-3)
        assert clip["speaking"].any(axis=1).all()
        assert clip["off_screen"] is None


def test_an_off_screen_speaker_is_heard_while_no_face_speaks():
    clip = talker_clip(6, situation="off_screen", **SMALL)
    assert not clip["speaking"].any()
    assert not clip["voices"].any()
    assert clip["off_screen"]["words"]
    assert clip["off_screen"]["identity"] not in [face["identity"] for face in clip["faces"]]
    assert np.abs(clip["audio"]).max() > 0.02


def test_where_nobody_speaks_there_is_only_noise():
    clip = talker_clip(6, situation="silent", mouthing=0.0, **SMALL)
    assert not clip["speaking"].any()
    assert not clip["voices"].any()
    assert 0 < np.abs(clip["audio"]).max() < 0.3
    assert clip["mouth_opening"].max() < 0.2


def test_some_who_are_not_heard_move_their_lips():
    clip = talker_clip(6, situation="silent", mouthing=1.0, **SMALL)
    assert all(face["mouthing"] for face in clip["faces"])
    assert clip["mouth_opening"].max() > 0.3
    assert not clip["speaking"].any()
    assert clip["faces"][0]["words"] == []


def test_in_conversations_none_one_or_two_speak_at_once(conversations):
    together = np.concatenate([clip["speaking"].sum(axis=0) for clip in conversations])
    shares = np.bincount(together, minlength=4) / len(together)
    print("frames in which 0, 1, 2, 3 of three faces speak:", np.round(shares, 2))
    assert shares[0] > 0.05
    assert shares[1] > 0.4
    assert shares[2] > 0.01


def test_one_of_several_situations_is_drawn():
    clips = [talker_clip(seed, situation=list(SITUATIONS), seconds=0.04, size=16) for seed in range(30)]
    assert {clip["situation"] for clip in clips} == set(SITUATIONS)


def test_a_person_keeps_face_and_voice():
    assert identity_face(7) == identity_face(7)
    assert identity_face(7) != identity_face(8)
    assert identity_voice(7) is VOICES[7]
    assert identity_face(7 + len(VOICES)) != identity_face(7)
    clips = [talker_clip(seed, identities=[10, 13], seconds=0.04, size=16) for seed in range(10)]
    assert {clip["faces"][0]["identity"] for clip in clips} == {10, 11, 12}
    assert len(VOICES) == 96  # the default of `identities`


# Sound and lips belong together.


@pytest.mark.slow
def test_sound_and_lips_agree_up_to_the_offset():
    clips = [talker_clip(500 + seed, seconds=3.0, size=16, offset_frames=[-6, 6]) for seed in range(40)]
    lags = [best_lag(clip["mouth_opening"][0], speech_loudness(clip)) for clip in clips]
    offsets = [clip["offset_frames"] for clip in clips]
    off_by = np.abs(np.add(lags, offsets))  # sound that comes 3 frames early lags by -3
    print(f"within one frame of the offset: {np.mean(off_by <= 1):.1%} of {len(lags)} clips of 3 s")
    assert np.mean(off_by <= 1) >= 0.95
    assert len(set(offsets)) > 8


@pytest.mark.parametrize("num_clips", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_without_an_offset_the_sound_is_in_time(num_clips):
    clips = [talker_clip(700 + seed, seconds=3.0, size=16) for seed in range(num_clips)]
    lags = [best_lag(clip["mouth_opening"][0], speech_loudness(clip)) for clip in clips]
    assert np.mean(np.abs(lags) <= 1) >= 0.95


def test_an_offset_moves_the_sound_and_nothing_else():
    plain, early = (talker_clip(8, seconds=2.0, size=16, offset_frames=offset) for offset in (0, 5))
    assert early["offset_frames"] == 5
    assert early["audio"].shape == plain["audio"].shape
    assert np.abs(early["audio"][-640:]).max() > 0  # no silence is filled in
    lags = [best_lag(clip["mouth_opening"][0], speech_loudness(clip)) for clip in (plain, early)]
    assert lags[1] == lags[0] - 5
    for name in ("frames", "boxes", "mouth_boxes", "mouth_opening", "visemes"):
        np.testing.assert_array_equal(early[name], plain[name], err_msg=name)


# Files, arguments.


def test_a_written_clip_can_be_watched(tmp_path):
    data = Talkers(1, seed=3, seconds=1.0, size=96)
    clip = data[0]
    video_path, labels_path = data.write(clip, tmp_path)
    video = read_video(video_path)
    assert video.frames.shape == clip["frames"].shape
    assert video.fps == 25
    assert np.abs(video.frames.astype(int) - clip["frames"]).mean() < 6
    common = min(len(video.audio), len(clip["audio"]))
    assert common >= len(clip["audio"]) - 1024
    assert np.corrcoef(video.audio[:common], clip["audio"][:common])[0, 1] > 0.95
    assert probe_video(video_path).metadata["comment"] == "avzoo toyworld talkers"
    labels = json.loads(labels_path.read_text())
    assert np.shape(labels["boxes"]) == (1, 25, 4)
    assert labels["visemes"][0][0] in VISEME_NAMES
    assert "frames" not in labels


def test_lip_crops_show_the_lips():
    clip = talker_clip(2, seconds=1.0, size=96)
    crops = lip_crops(clip, 0, 40)
    assert (crops.shape, crops.dtype) == ((25, 40, 40, 3), np.uint8)
    lips = np.array(identity_face(clip["faces"][0]["identity"]).lips, float)
    centre = crops[:, 15:25, 12:28].reshape(-1, 3).mean(0)
    assert np.abs(centre / centre.sum() - lips / lips.sum()).max() < 0.12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0.01}, r"`seconds` must be from 0\.04 \(one frame\) to 3600, got 0\.01"),
        ({"size": 8}, r"`size` must be \[height, width\], each from 16 to 4096 pixels, got 8"),
        ({"situation": "party"}, r"`situation` must be one or several of single, .*; got 'party'"),
        ({"situation": []}, r"`situation` must be one or several of"),
        ({"num_faces": 0}, r"`num_faces` must be at least 1, got 0"),
        ({"num_faces": 1, "situation": "mixture"}, r"`num_faces` must be at least 2, got 1"),
        ({"identities": [3, 4]}, r"`identities` \[3, 4\) must hold more people than the 1 faces"),
        ({"identities": [5, 2]}, r"`identities` \[5, 2\) must hold"),
        ({"offset_frames": [4, 1]}, r"`offset_frames` must be a whole number, or \[low, high\], got \[4, 1\]"),
        ({"mouthing": 2}, r"`mouthing` must be in \[0, 1\], got 2"),
        ({"seed": -1}, r"`seed` must be 0 or more"),
    ],
)
def test_a_wrong_argument_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        talker_clip(**{"seed": 0, **settings})


def test_one_frame_is_a_clip():
    assert talker_clip(0, seconds=0.04, size=16)["frames"].shape == (1, 16, 16, 3)


# What must not tell the answer.


@pytest.mark.slow
def test_length_level_colour_and_brightness_tell_nothing():
    settings = {"situation": ["single", "off_screen"], "num_faces": 2, "mouthing": 0.5, "offset_frames": [-5, 5]}
    clips = [talker_clip(3000 + seed, seconds=0.8, size=[24, 48], **settings) for seed in range(180)]
    features = np.stack([np.r_[audio_statistics(clip["audio"]), frame_statistics(clip["frames"])] for clip in clips])
    left = [bool(np.argmin(clip["boxes"][:, 0, 0]) == 0) for clip in clips]  # the first face is the one that speaks
    labels = {
        "the voice belongs to a face": [clip["situation"] == "single" for clip in clips],
        "the speaker is on the left": [
            side if clip["situation"] == "single" else None for clip, side in zip(clips, left, strict=True)
        ],
        "the sound is early": [clip["offset_frames"] > 0 if clip["offset_frames"] else None for clip in clips],
    }
    for question, answers in labels.items():
        known = [index for index, answer in enumerate(answers) if answer is not None]
        train, test = known[: len(known) * 2 // 3], known[len(known) * 2 // 3 :]
        truth = np.array([bool(answer) for answer in answers])
        accuracy = linear_probe_accuracy(features[train], truth[train], features[test], truth[test])
        print(f"{question}: {accuracy:.2f} right from trivial statistics, chance 0.50, {len(test)} clips")
        assert accuracy < 0.66, question
