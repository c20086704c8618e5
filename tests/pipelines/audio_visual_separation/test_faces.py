"""Whole files: a video of people in, for each face its voice, silence where it is not seen, and files."""

import io
import os

import numpy as np
import pytest
import torch
from tiny_separation import assembled

from avzoo import AVDiffuSSPipeline
from avzoo.audio import read_audio
from avzoo.pipelines.audio_visual_separation.faces import SeparatedVoice, separate_faces, write_voices
from avzoo.video import (
    FaceTracks,
    GivenBoxes,
    Track,
    Video,
    VideoReader,
    WholeFace,
    crop_track,
    grey_face,
    read_video,
    write_video,
)

RATE, PER_FRAME, SIDE = 16000, 640, 64
FAST = {"num_inference_steps": 1, "corrector": "none"}


@pytest.fixture
def pipe(parts) -> AVDiffuSSPipeline:
    return assembled(parts, window_length_in_s=0.2)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def video_of(frames: int, sound_frames: float | None = None) -> Video:
    pictures = np.random.default_rng(1).integers(0, 256, (frames, SIDE, SIDE, 3), dtype=np.uint8)
    return Video(pictures, 25.0, sound(round((frames if sound_frames is None else sound_frames) * PER_FRAME)), RATE)


def saved(video: Video, path) -> str:
    write_video(path, video.frames, 25, audio=video.audio, sampling_rate=RATE)
    return str(path)


def track(track_id: int, first: int, stop: int, left: float = 8.0) -> Track:
    return Track(track_id, np.arange(first, stop), np.tile(np.array([left, 20.0, left + 24, 44.0]), (stop - first, 1)))


def tracks_of(*tracks: Track, frames: int) -> FaceTracks:
    return FaceTracks(list(tracks), 25.0, SIDE, SIDE, frames)


def frames_seen(pipe: AVDiffuSSPipeline, call) -> list[torch.Tensor]:
    seen = []
    hook = pipe.denoiser_visual_encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        call()
    finally:
        hook.remove()
    return seen


# --- voices -----------------------------------------------------------------------------------------------------------


def test_a_video_that_shows_one_face_gives_one_voice(pipe, tmp_path):
    path = saved(video_of(7), tmp_path / "clip.mp4")
    voices, tracks = separate_faces(pipe, path, faces="frame", seed=3, **FAST)
    (voice,) = voices
    mixture, _ = VideoReader(path).soundtrack(RATE)  # AAC leaves a little more of it than there are frames
    pictures = torch.from_numpy(grey_face(read_video(path, fps=25).frames, 32))
    span = slice(0, 7 * PER_FRAME)
    expected = pipe(mixture[span], pictures, generator=torch.Generator().manual_seed(3), **FAST)
    assert voice.audio.shape == mixture.shape
    np.testing.assert_array_equal(voice.audio[span], expected.audios[0])
    assert not voice.audio[7 * PER_FRAME :].any()
    assert (voice.sampling_rate, voice.audio.dtype) == (RATE, np.float32)
    assert (tracks.num_frames, voice.track.start_frame, voice.track.stop_frame) == (7, 0, 7)
    np.testing.assert_array_equal(voice.track.boxes[0], [0, 0, SIDE, SIDE])


def test_each_voice_lies_in_the_span_of_its_face(pipe):
    video = video_of(10)
    left, right = track(4, 0, 6), track(7, 3, 9, left=32.0)
    voices, _ = separate_faces(pipe, video, faces=tracks_of(left, right, frames=10), seed=5, **FAST)
    assert [voice.track.track_id for voice in voices] == [4, 7]
    for voice, one in zip(voices, (left, right), strict=True):
        span = slice(one.start_frame * PER_FRAME, one.stop_frame * PER_FRAME)
        crops = torch.from_numpy(crop_track(video.frames, one, WholeFace(size=32)))
        expected = pipe(video.audio[span], crops, generator=torch.Generator().manual_seed(5), **FAST)
        for name, wanted in (
            ("audio", expected.audios[0]),
            ("initial_estimate", expected.initial_estimates[0]),
            ("mixture", video.audio[span]),
        ):
            values = getattr(voice, name)
            assert values.shape == video.audio.shape
            np.testing.assert_array_equal(values[span], wanted)
            assert not np.delete(values, np.r_[span]).any()
    both = slice(3 * PER_FRAME, 6 * PER_FRAME)
    assert not np.array_equal(voices[0].audio[both], voices[1].audio[both])


def test_boxes_of_a_file_are_faces(pipe, tmp_path):
    lines = ["frame,x1,y1,x2,y2,track_id"]
    lines += [f"{frame},8,20,32,44,{person}" for person, first in ((0, 0), (1, 4)) for frame in range(first, first + 5)]
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    video = video_of(10)
    voices, tracks = separate_faces(pipe, video, faces=str(tmp_path / "boxes.csv"), **FAST)
    assert [(voice.track.start_frame, voice.track.stop_frame) for voice in voices] == [(0, 5), (4, 9)]
    assert len(tracks.tracks) == 2
    known = tracks_of(track(0, 0, 5), track(1, 4, 9), frames=10)
    expected, _ = separate_faces(pipe, video, faces=known, **FAST)
    for voice, other in zip(voices, expected, strict=True):
        np.testing.assert_array_equal(voice.audio, other.audio)


def test_as_many_faces_are_kept_as_asked_for(pipe):
    """Boxes of which nobody knows who is who, so that a tracker joins them."""
    longer, shorter = track(0, 0, 20), track(1, 0, 14, left=36.0)
    frames = np.concatenate([longer.frames, shorter.frames])
    boxes = GivenBoxes(frames, np.concatenate([longer.boxes, shorter.boxes]))
    everyone, _ = separate_faces(pipe, video_of(20), faces=boxes, denoiser_only=True)
    (one,), tracks = separate_faces(pipe, video_of(20), faces=boxes, max_faces=1, denoiser_only=True)
    assert sorted(len(voice.track) for voice in everyone) == [5, 14, 15]  # there is a cut after 15 frames
    assert len(tracks.tracks) == 1
    assert len(one.track) == max(len(voice.track) for voice in everyone)
    assert one.track.boxes[0, 0] < 12  # that on the left, which is seen for longer


def test_nobody_seen_is_no_voice(pipe):
    boxes = GivenBoxes(np.zeros(0), np.zeros((0, 4)))
    voices, tracks = separate_faces(pipe, video_of(10), faces=boxes, **FAST)
    assert (voices, tracks.tracks) == ([], [])


def test_a_face_that_comes_after_the_sound_has_ended_is_silent(pipe):
    video = video_of(20, sound_frames=8)
    known = tracks_of(track(0, 0, 8), track(1, 10, 18), frames=20)
    talking, silent = separate_faces(pipe, video, faces=known, **FAST)[0]
    assert talking.audio.any()
    assert talking.audio.shape == silent.audio.shape
    assert not silent.audio.any()
    assert not silent.mixture.any()
    assert silent.level_db == -120


@pytest.mark.parametrize("samples", [1, 62, 63])
def test_too_little_sound_under_a_face_is_silence(pipe, samples):
    """A spectrogram needs 64 samples here."""
    video = video_of(20, sound_frames=10 + samples / PER_FRAME)
    (voice,) = separate_faces(pipe, video, faces=tracks_of(track(0, 10, 20), frames=20), **FAST)[0]
    assert not voice.audio.any()
    assert voice.mixture.any()


def test_what_is_seen_after_the_end_of_the_sound_is_not_looked_at(pipe):
    video = video_of(40, sound_frames=5)
    known = tracks_of(track(0, 0, 40), frames=40)
    seen = frames_seen(pipe, lambda: separate_faces(pipe, video, faces=known, denoiser_only=True))
    assert [frames.shape[1] for frames in seen] == [5]


def test_a_seed_decides(pipe):
    def voice(seed):
        return separate_faces(pipe, video_of(3), faces="frame", seed=seed, **FAST)[0][0].audio

    first = voice(1)
    np.testing.assert_array_equal(first, voice(1))
    assert not np.allclose(first, voice(2))


def test_options_go_to_the_pipeline(pipe):
    (voice,) = separate_faces(pipe, video_of(6), faces="frame", denoiser_only=True)[0]
    np.testing.assert_array_equal(voice.audio, voice.initial_estimate)
    with pytest.raises(ValueError, match=r"`batch_size` must be at least 1, got 0"):
        separate_faces(pipe, video_of(6), faces="frame", batch_size=0)
    (tensors,) = separate_faces(pipe, video_of(6), faces="frame", denoiser_only=True, output_type="pt")[0]
    np.testing.assert_array_equal(tensors.audio, voice.audio)


def test_paths_bytes_and_open_files_are_the_same_video(pipe, tmp_path):
    path = saved(video_of(6), tmp_path / "clip.mp4")
    (expected,) = separate_faces(pipe, path, faces="frame", denoiser_only=True)[0]
    with open(path, "rb") as file:
        data = file.read()
        file.seek(0)
        for source in (data, io.BytesIO(data), file):
            (voice,) = separate_faces(pipe, source, faces="frame", denoiser_only=True)[0]
            np.testing.assert_array_equal(voice.audio, expected.audio)


def test_another_frame_rate_is_brought_to_25(pipe, tmp_path):
    video = video_of(30)
    write_video(tmp_path / "fast.mp4", video.frames, 50, audio=video.audio[: 15 * PER_FRAME], sampling_rate=RATE)
    (voice,), tracks = separate_faces(pipe, str(tmp_path / "fast.mp4"), faces="frame", denoiser_only=True)
    assert (tracks.fps, len(voice.track)) == (25.0, 15)
    assert voice.audio.any()


def test_a_level_is_that_of_the_voice_against_what_is_heard():
    mixture = np.zeros(100, np.float32)
    mixture[20:60] = 0.5
    voice = SeparatedVoice(track(0, 0, 2), 0.1 * mixture, mixture, mixture, RATE)
    assert voice.level_db == pytest.approx(-20.0, abs=1e-4)
    assert SeparatedVoice(track(0, 0, 2), 0 * mixture, mixture, mixture, RATE).level_db == -120


# --- what cannot work -------------------------------------------------------------------------------------------------


def test_a_video_without_sound_is_refused(pipe, tmp_path):
    write_video(tmp_path / "mute.mp4", video_of(5).frames, 25)
    with pytest.raises(ValueError, match=r"`video` \(mute.mp4\) has no sound track, so there is nothing to separate"):
        separate_faces(pipe, str(tmp_path / "mute.mp4"), faces="frame")
    with pytest.raises(ValueError, match=r"`video` has no sound track"):
        separate_faces(pipe, Video(video_of(5).frames, 25.0), faces="frame")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"faces": "everybody"}, r"`faces` must be one of drawn, yunet, s3fd, .*got 'everybody'"),
        ({"faces": "s3fd"}, r"s3fd needs a model"),
        ({"faces": "frame", "sampler": "ode"}, r"`sampler` must be one of predictor-corrector, heun"),
    ],
)
def test_what_cannot_work_is_named(pipe, options, message):
    with pytest.raises(ValueError, match=message):
        separate_faces(pipe, video_of(5), **options)


# --- files ------------------------------------------------------------------------------------------------------------


def test_voices_are_written_as_sound_and_as_video(pipe, tmp_path):
    video = video_of(20)
    path = saved(video, tmp_path / "clip.mp4")
    known = tracks_of(track(4, 0, 12), track(7, 6, 18, left=32.0), frames=20)
    voices, _ = separate_faces(pipe, path, faces=known, denoiser_only=True)
    folder = tmp_path / "out"
    folder.mkdir()
    records = write_voices(voices, path, folder)
    assert sorted(os.listdir(folder)) == ["face-4.mp4", "face-4.wav", "face-7.mp4", "face-7.wav"]
    assert records == [
        {
            "track_id": track_id,
            "start": start,
            "end": end,
            "label": "voice",
            "score": voice.level_db,
            "audio": f"face-{track_id}.wav",
            "video": f"face-{track_id}.mp4",
        }
        for voice, track_id, start, end in zip(voices, (4, 7), (0.0, 0.24), (0.48, 0.72), strict=True)
    ]
    for record, voice in zip(records, voices, strict=True):
        samples, rate = read_audio(folder / record["audio"])
        assert rate == RATE
        np.testing.assert_array_equal(samples, voice.audio)
        shown = read_video(folder / record["video"])
        assert (len(shown.frames), shown.fps, shown.sampling_rate) == (20, 25.0, RATE)


def test_the_box_is_drawn_while_the_face_is_seen(pipe, tmp_path):
    grey = Video(np.full((20, SIDE, SIDE, 3), 128, np.uint8), 25.0, sound(20 * PER_FRAME), RATE)
    known = tracks_of(track(7, 6, 18, left=32.0), frames=20)
    voices, _ = separate_faces(pipe, grey, faces=known, denoiser_only=True)
    write_voices(voices, grey, tmp_path)
    shown = read_video(tmp_path / "face-7.mp4").frames.astype(int)
    changed = (np.abs(shown - 128).max(-1) > 40).any((1, 2))
    assert changed.tolist() == [6 <= frame < 18 for frame in range(20)]
    rows, columns = np.nonzero(np.abs(shown[10] - 128).max(-1) > 40)
    assert (abs(rows.min() - 20), abs(columns.min() - 32)) <= (3, 3)
    assert (abs(rows.max() - 44), abs(columns.max() - 56)) <= (3, 3)


def test_without_voices_nothing_is_written(tmp_path):
    assert write_voices([], video_of(5), tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_missing_is_told(pipe, tmp_path):
    voices, _ = separate_faces(pipe, video_of(6), faces="frame", denoiser_only=True)
    with pytest.raises(OSError, match="missing"):
        write_voices(voices, video_of(6), tmp_path / "missing")


def test_an_open_video_can_be_written_again(pipe, tmp_path):
    path = saved(video_of(6), tmp_path / "clip.mp4")
    known = tracks_of(track(0, 0, 6), track(1, 0, 6, 32.0), frames=6)
    voices, _ = separate_faces(pipe, path, faces=known, denoiser_only=True)
    (tmp_path / "out").mkdir()
    with open(path, "rb") as file:
        records = write_voices(voices, file, tmp_path / "out")
    for record in records:
        assert len(read_video(tmp_path / "out" / record["video"]).frames) == 6
