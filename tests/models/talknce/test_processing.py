"""LoCoNet's and TalkNet's processor: the sound's features, the cut of the faces, tracks that come and go, settings."""

import json

import numpy as np
import pytest
import torch
from video.clips import noise, write_clip

from avzoo import ActiveSpeakerProcessor
from avzoo.audio import align_to_video, read_audio, speech_features_mfcc, vggish_log_mel
from avzoo.video import Track, Video, crop_track, grey_face, read_video, resize_as_opencv, write_video
from avzoo.video.crops import LowerFace, TightFace

RATE, PER_FRAME, SIDE = 16000, 640, 32


@pytest.fixture
def processor() -> ActiveSpeakerProcessor:
    return ActiveSpeakerProcessor(frame_size=SIDE)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def colours(frames: int, rows: int = 48, columns: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, rows, columns, 3), dtype=np.uint8)


def grey(frames: int, side: int = SIDE) -> np.ndarray:
    return colours(frames, side, side)[..., 0]


def track(first: int, stop: int, x: float = 5.0) -> Track:
    frames = np.arange(first, stop)
    boxes = np.stack([x + 0 * frames, 8.0 + 0.2 * frames, x + 20.0 + 0 * frames, 30.0 + 0.2 * frames], axis=1)
    return Track(0, frames, boxes)


# --- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "features", "bins"),
    [
        ({}, vggish_log_mel, 64),
        ({"audio_features": "mfcc"}, speech_features_mfcc, 13),
        ({"num_bins": 16}, lambda waveform: vggish_log_mel(waveform, num_mel_bins=16), 16),
        (
            {"audio_features": "mfcc", "num_bins": 20},
            lambda waveform: speech_features_mfcc(waveform, num_coefficients=20),
            20,
        ),
    ],
)
def test_rows_are_those_of_the_features_four_for_each_frame(settings, features, bins):
    waveform = torch.from_numpy(sound(10 * PER_FRAME))
    rows = ActiveSpeakerProcessor(**settings).audio_rows(waveform, 10)
    assert (rows.shape, rows.dtype) == ((40, bins), torch.float32)
    own = features(waveform)
    assert len(own) < 40  # what lacks comes from the beginning
    torch.testing.assert_close(rows, torch.cat([own, own[: 40 - len(own)]]), rtol=0, atol=0)


def test_rows_keep_in_step_at_another_frame_rate(processor):
    waveform = torch.from_numpy(sound(8000))
    expected = align_to_video(vggish_log_mel(waveform, fps=30), 15)
    torch.testing.assert_close(processor.audio_rows(waveform, 15, fps=30), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["log_mel", "mfcc"])
@pytest.mark.parametrize("samples", [0, 1, 399])
def test_too_little_sound_is_filled_up_with_silence(kind, samples):
    processor, waveform = ActiveSpeakerProcessor(audio_features=kind), torch.from_numpy(sound(400))
    filled = torch.cat([waveform[:samples], torch.zeros(400 - samples)])
    torch.testing.assert_close(processor.audio_rows(waveform[:samples], 2), processor.audio_rows(filled, 2))


def test_whole_numbers_of_16_bits_are_told_by_their_type(processor):
    whole = (20000 * sound(4000)).round().astype(np.int16)
    expected = torch.from_numpy(whole / np.float32(32768))
    for samples in (whole, torch.from_numpy(whole)):
        torch.testing.assert_close(processor.audio(samples), expected, rtol=0, atol=0)
    torch.testing.assert_close(processor.audio(whole / np.float32(32768)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["log_mel", "mfcc"])
def test_samples_far_beyond_full_scale_are_refused(kind):
    processor = ActiveSpeakerProcessor(audio_features=kind, frame_size=SIDE)
    with pytest.raises(ValueError, match="full scale is 1: it seems to hold integer PCM as floats"):
        processor(grey(10), 20000 * sound(10 * PER_FRAME))


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.uint8])
def test_other_whole_numbers_are_refused(processor, dtype):
    with pytest.raises(TypeError, match="`audio`"):
        processor.audio(np.ones(4000, dtype))


def test_any_rate_and_channels_are_brought_to_one(processor):
    channels = np.stack([sound(1600, 1), sound(1600, 2)])
    expected = torch.from_numpy(read_audio(channels, RATE, source_rate=8000)[0])
    assert torch.equal(processor.audio(channels, 8000), expected)
    assert expected.shape == (3200,)


def test_no_samples_are_named(processor):
    with pytest.raises(ValueError, match="`audio`"):
        processor(grey(5), np.zeros(0, np.float32))


# --- faces ------------------------------------------------------------------------------------------------------------


def test_grey_pictures_are_one_face(processor):
    pictures, waveform = grey(8), sound(8 * PER_FRAME)
    inputs = processor(pictures, waveform)
    assert set(inputs) == {"pixel_values", "input_features", "face_mask"}
    assert (inputs.pixel_values.shape, inputs.pixel_values.dtype) == ((1, 3, 8, SIDE, SIDE), torch.uint8)
    for face in inputs.pixel_values[0]:  # nobody else is there: three times the same
        np.testing.assert_array_equal(face, pictures)
    assert torch.equal(inputs.face_mask, torch.ones(1, 3, 8, dtype=torch.long))
    expected = processor.audio_rows(torch.from_numpy(waveform), 8)
    assert torch.equal(inputs.input_features, expected[None])
    assert torch.equal(processor(torch.from_numpy(pictures), waveform).pixel_values, inputs.pixel_values)
    large = processor(grey(8, 48), waveform).pixel_values[0, 0]
    np.testing.assert_array_equal(large, resize_as_opencv(grey(8, 48)[..., None], SIDE, SIDE)[..., 0])


def test_a_video_file_of_a_face_gives_sound_and_pictures(processor, tmp_path):
    path = tmp_path / "face.mp4"
    write_video(path, colours(36), 30, audio=sound(36 * RATE // 30), sampling_rate=RATE)
    inputs = processor(path)
    pictures = read_video(path, fps=25).frames
    np.testing.assert_array_equal(inputs.pixel_values[0, 0], grey_face(pictures, SIDE))
    expected = processor.audio_rows(processor.audio(path)[: len(pictures) * PER_FRAME], len(pictures))
    assert torch.equal(inputs.input_features[0], expected)
    own = sound(30 * PER_FRAME, seed=1)
    assert torch.equal(processor(path, own).input_features[0], processor.audio_rows(torch.from_numpy(own), 30))


def test_a_sound_that_begins_after_the_pictures_stays_beside_them(processor, tmp_path):
    waveform = sound(2 * RATE)
    stamps = (4000 + 1024 * np.arange(len(range(0, len(waveform), 1024)))).tolist()
    late = write_clip(
        tmp_path / "late.mov", noise(), sound=waveform[None], sound_rate=RATE, sound_codec="pcm_s16le",
        sound_stamps=stamps,
    )  # fmt: skip
    expected = np.concatenate([np.zeros(4000, np.float32), waveform[:-4000]])
    rows = processor(late).input_features[0]
    torch.testing.assert_close(rows, processor.audio_rows(torch.from_numpy(expected), 50), rtol=0, atol=0.05)


def test_frames_in_memory_come_with_their_rate(processor):
    frames, waveform = colours(12), sound(12 * PER_FRAME)
    expected = grey_face(frames, SIDE)
    for video, options in ((frames, {"source_fps": 25}), (Video(frames, 25.0), {})):
        np.testing.assert_array_equal(processor(video, waveform, **options).pixel_values[0, 0], expected)
    assert processor(frames, waveform, source_fps=50).pixel_values.shape[2] == 6
    with pytest.raises(ValueError, match="pass it as `source_fps`"):
        processor(frames, waveform)


@pytest.mark.parametrize("crop", ["tight", "lower_face"])
def test_a_face_is_cut_as_its_weights_know_it(crop):
    processor = ActiveSpeakerProcessor(crop=crop, frame_size=SIDE, num_speakers=1)
    convention = {"tight": TightFace(SIDE), "lower_face": LowerFace(size=SIDE)}[crop]
    assert processor.convention == convention
    frames, waveform, face = colours(30), sound(30 * PER_FRAME), track(4, 24)
    inputs = processor(frames, waveform, tracks=[face], source_fps=25)
    np.testing.assert_array_equal(inputs.pixel_values[0, 0], crop_track(frames, face, convention))
    heard = torch.from_numpy(waveform)[4 * PER_FRAME : 24 * PER_FRAME]
    assert torch.equal(inputs.input_features[0], processor.audio_rows(heard, 20))


def test_a_drawn_talker_is_cut_from_a_file(tmp_path):
    pytest.importorskip("espeakng_loader")
    from avzoo.toyworld.talkers import talker_clip

    clip = talker_clip(7, seconds=1.0, size=[72, 128], situation="conversation", num_faces=2)
    path = tmp_path / "talk.mp4"
    write_video(path, clip["frames"], 25, audio=clip["audio"], sampling_rate=RATE)
    tracks = [Track(i, np.arange(25), boxes) for i, boxes in enumerate(clip["boxes"])]
    seen = read_video(path, fps=25).frames
    for crop in ("tight", "lower_face"):
        processor = ActiveSpeakerProcessor(crop=crop, num_speakers=2)
        inputs = processor(path, tracks=tracks)
        for row, face in zip(inputs.pixel_values[0], tracks, strict=True):
            np.testing.assert_array_equal(row, crop_track(seen, face, processor.convention), err_msg=crop)
        assert inputs.input_features.shape == (1, 100, 64)
        assert inputs.face_mask.all()


def test_faces_that_come_and_go_are_black_and_masked_meanwhile():
    """The clip is that of the first track; a steadied cut knows the whole of the others."""
    processor = ActiveSpeakerProcessor(crop="lower_face", frame_size=SIDE, num_speakers=4)
    frames, waveform = colours(40), sound(40 * PER_FRAME)
    tracks = [track(10, 25), track(2, 16, 12.0), track(20, 38, 30.0), track(25, 40, 40.0)]
    inputs = processor(frames, waveform, tracks=tracks, source_fps=25)
    expected = np.zeros((4, 15, SIDE, SIDE), np.uint8)
    whole = [crop_track(frames, face, processor.convention) for face in tracks]
    expected[0], expected[1, :6], expected[2, 10:] = whole[0], whole[1][8:], whole[2][:5]
    np.testing.assert_array_equal(inputs.pixel_values[0], expected)
    mask = [[1] * 15, [1] * 6 + [0] * 9, [0] * 10 + [1] * 5, [0] * 15]  # the last one comes too late
    assert inputs.face_mask.tolist() == [mask]


@pytest.mark.parametrize(
    ("num_speakers", "num_faces", "order"),
    [
        (1, 1, [0]),
        (1, 4, [0]),
        (3, 1, [0, 0, 0]),
        (3, 2, [0, 1, 1]),
        (3, 3, [0, 1, 2]),
        (3, 5, [0, 1, 2]),
        (6, 3, [0, 1, 2, 1, 2, 1]),
    ],
)
def test_a_clip_is_filled_up_or_cut_to_its_number_of_faces(num_speakers, num_faces, order):
    assert ActiveSpeakerProcessor(num_speakers=num_speakers).fill_speakers(num_faces) == order


def test_all_of_a_filled_up_clip_is_repeated(processor):
    tracks = [track(0, 20), track(5, 25, 30.0)]
    inputs = processor(colours(30), sound(30 * PER_FRAME), tracks=tracks, source_fps=25)
    assert torch.equal(inputs.pixel_values[0, 1], inputs.pixel_values[0, 2])
    assert torch.equal(inputs.face_mask[0, 1], inputs.face_mask[0, 2])
    assert not inputs.face_mask[0, 2, :5].any()
    assert inputs.face_mask[0, 2, 5:].all()


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("video", "options", "error", "message"),
    [
        (np.zeros((5, 8, 8), np.float32), {}, ValueError, "`video` must be uint8 pictures of 0..255, got float32"),
        (torch.zeros(5, 8, 8, 3), {}, ValueError, "`video` must be uint8 pictures of 0..255, got float32"),
        (np.zeros((0, 8, 8), np.uint8), {}, ValueError, r"`video` holds no picture, its shape is \(0, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), {}, ValueError, "`video`"),
        (np.zeros((8, 8), np.uint8), {}, (TypeError, ValueError), "`video`"),
        (colours(5), {"tracks": []}, ValueError, "`tracks` holds no face; at least the one to score is needed"),
        (Video(colours(15), 25.0), {"tracks": [track(4, 20)]}, ValueError, "`frames` end before track 0"),
        (grey(5), {"tracks": [track(0, 5)]}, ValueError, "grey pictures of one face at 25 frames per second"),
        (grey(5), {"source_fps": 50}, ValueError, "grey pictures of one face at 25 frames per second"),
    ],
)
def test_what_cannot_be_read_is_named(processor, video, options, error, message):
    with pytest.raises(error, match=message):
        processor(video, sound(20 * PER_FRAME), **options)


def test_a_video_without_sound_needs_some(processor, tmp_path):
    write_video(tmp_path / "mute.mp4", colours(5), 25)
    with pytest.raises(ValueError, match=r"mute\.mp4.* has no audio stream"):
        processor(tmp_path / "mute.mp4")
    assert processor(tmp_path / "mute.mp4", sound(5 * PER_FRAME)).input_features.shape == (1, 20, 64)


def test_frames_in_memory_without_sound_say_that_it_is_missing(processor):
    with pytest.raises(ValueError, match="has no sound, only frames"):
        processor(colours(5), source_fps=25)


def test_frames_in_memory_may_bring_their_sound(processor):
    frames, waveform = colours(10), sound(10 * PER_FRAME)
    rows = processor(Video(frames, 25.0, waveform, RATE)).input_features[0]
    assert torch.equal(rows, processor.audio_rows(torch.from_numpy(waveform), 10))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_saved(tmp_path):
    settings = {
        "audio_features": "mfcc",
        "crop": "lower_face",
        "score": "logit",
        "durations": [1, 2.5],
        "frame_size": 96,
        "num_bins": 20,
        "num_speakers": 2,
    }
    ActiveSpeakerProcessor(**settings).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "processor_config.json").read_text())
    loaded = ActiveSpeakerProcessor.from_pretrained(tmp_path)
    for name, value in settings.items():
        assert stored[name] == getattr(loaded, name) == value
    assert loaded.convention == LowerFace(size=96)


def test_the_defaults_are_those_of_the_released_loconet():
    processor = ActiveSpeakerProcessor()
    assert (processor.audio_features, processor.num_bins, processor.crop) == ("log_mel", 64, "tight")
    assert (processor.score, processor.durations, processor.num_speakers) == ("probability", [6], 3)
    assert ActiveSpeakerProcessor(audio_features="mfcc").num_bins == 13


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"audio_features": "mel"}, ValueError, "`audio_features` must be one of log_mel, mfcc, got 'mel'"),
        ({"crop": "wide"}, ValueError, "`crop` must be one of tight, lower_face, got 'wide'"),
        ({"score": "percent"}, ValueError, "`score` must be one of probability, logit, got 'percent'"),
        ({"durations": ()}, ValueError, "`durations` must hold at least one number of seconds"),
        ({"durations": (1, 0.03)}, ValueError, "`durations` must be at least 0.04 seconds, got 0.03"),
        ({"frame_size": 0}, ValueError, "`frame_size` must be at least 1, got 0"),
        ({"frame_size": 112.0}, TypeError, "`frame_size` must be a whole number, got 112.0"),
        ({"num_bins": 0}, ValueError, "`num_bins` must be at least 1, got 0"),
        ({"num_speakers": 0}, ValueError, "`num_speakers` must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        ActiveSpeakerProcessor(**settings)
