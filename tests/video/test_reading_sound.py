"""Sound of a video lies on the clock of its frames."""

import numpy as np
import pytest
from video.clips import chirp, lag, noise, write_clip

from avzoo.video import VideoReader, probe_video, read_video


@pytest.mark.parametrize(
    ("file_name", "how"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"sound_codec": "libmp3lame"}),
        ("a.mov", {"sound_codec": "pcm_s16le"}),
        ("a.mkv", {}),
        ("a.ts", {}),
        ("a.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus"}),
    ],
)
def test_sound_lies_on_the_clock_of_the_frames(tmp_path, file_name, how):
    path = write_clip(tmp_path / file_name, noise(), sound=chirp(48000)[None], **how)
    for rate in (16000, 44100):
        video = read_video(path, sampling_rate=rate)
        assert video.audio.dtype == np.float32
        assert video.audio.shape == (2 * rate,)
        assert abs(lag(video.audio, chirp(rate))) <= rate / 1000
        part = read_video(path, start=1.2, end=1.6, sampling_rate=rate)
        assert len(part.audio) == round(0.4 * rate)
        np.testing.assert_allclose(part.audio, video.audio[round(1.2 * rate) : round(1.6 * rate)], atol=1e-4)


def test_a_late_track_is_preceded_by_zeros_and_an_early_one_cut(tmp_path):
    sound = chirp(48000)[None]
    stamps = (12000 + 1024 * np.arange(len(range(0, 96000, 1024)))).tolist()
    late = write_clip(tmp_path / "late.mov", noise(), sound=sound, sound_codec="pcm_s16le", sound_stamps=stamps)
    late = read_video(late)
    assert len(late.audio) == 96000
    assert not late.audio[:11990].any()
    np.testing.assert_allclose(late.audio[12048:], sound[0, 48:84000], atol=0.02)  # mov keeps starts in milliseconds
    early = write_clip(tmp_path / "early.mkv", noise(), sound=sound, sound_codec="pcm_s16le", stamps=range(10, 60))
    np.testing.assert_allclose(read_video(early).audio[:76800], sound[0, 19200:], atol=1e-4)
    assert not read_video(early).audio[76800:].any()


def test_gaps_in_the_time_stamps_of_sound_are_zeros(tmp_path):
    stamps = [1024 * index + (24000 if index > 30 else 0) for index in range(len(range(0, 48000, 1024)))]
    sound = chirp(48000, 1.0)[None]
    path = write_clip(tmp_path / "a.mkv", noise(), sound=sound, sound_codec="pcm_s16le", sound_stamps=stamps)
    audio = read_video(path).audio
    np.testing.assert_allclose(audio[: 31 * 1024], sound[0, : 31 * 1024], atol=1e-4)
    after = 31 * 1024 + 24000
    assert not audio[31 * 1024 + 50 : after - 50].any()
    assert abs(lag(audio[after : after + 16000], sound[0, 31 * 1024 : 31 * 1024 + 16000])) <= 48


def test_sound_covers_the_frames_however_long_its_track_is(tmp_path):
    for seconds in (1.0, 3.0):
        sound = chirp(48000, seconds)[None]
        path = write_clip(tmp_path / "a.mkv", noise(), sound=sound, sound_codec="pcm_f32le")
        audio = read_video(path).audio
        assert len(audio) == 96000
        expected = np.zeros(96000, np.float32)
        expected[: min(96000, sound.shape[1])] = sound[0, :96000]
        np.testing.assert_array_equal(audio, expected)
        track, rate = VideoReader(path).soundtrack()
        assert rate == 48000
        np.testing.assert_array_equal(track, sound[0])
        padded, _ = VideoReader(path).soundtrack(start=0.5, end=4.0)
        assert len(padded) == 3.5 * 48000
        np.testing.assert_array_equal(padded[: sound.shape[1] - 24000], sound[0, 24000:])


def test_frames_after_the_end_of_the_sound_are_silent(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(), sound=chirp(48000, 0.5)[None])
    for start in (0.6, 1.6):
        video = read_video(path, start=start, sampling_rate=16000)
        assert video.audio.shape == (round((2 - start) * 16000),)
        assert not video.audio.any()
        assert VideoReader(path).soundtrack(16000, start=start)[0].shape == (0,)


def test_a_sound_track_without_sound_is_silent(tmp_path):
    path = write_clip(tmp_path / "a.mkv", noise(5), sound=np.zeros((1, 0), np.float32), sound_codec="pcm_s16le")
    assert read_video(path).audio.tolist() == [0] * 9600


def test_channels_are_averaged(tmp_path):
    sound = np.stack([chirp(48000), np.zeros(96000, np.float32)])
    path = write_clip(tmp_path / "a.mp4", noise(), sound=sound)
    assert probe_video(path).channels == 2
    audio = read_video(path, sampling_rate=16000).audio
    np.testing.assert_allclose(audio[2000:-2000], 0.5 * chirp(16000)[2000:-2000], atol=0.03)


def test_asking_for_sound_that_is_not_there(tmp_path):
    path = write_clip(tmp_path / "silent.mp4", noise(5))
    video = read_video(path, sampling_rate=16000)
    assert (video.audio, video.sampling_rate) == (None, None)
    with pytest.raises(
        ValueError, match=r"`clip` \(silent.mp4\) has no audio stream that can be decoded \(streams: video\)"
    ):
        VideoReader(path, name="clip").soundtrack()
    with pytest.raises(ValueError, match=r"`video` has no sound, only frames"):
        VideoReader(noise(5), source_fps=25).soundtrack()


def test_nan_in_the_sound_is_refused(tmp_path):
    sound = chirp(48000)[None]
    sound[0, 50_000:50_003] = np.nan
    path = write_clip(tmp_path / "a.mkv", noise(), sound=sound, sound_codec="pcm_f32le")
    with pytest.raises(ValueError, match=r"\(a.mkv\): 3 samples of its sound are NaN or infinite"):
        read_video(path)
