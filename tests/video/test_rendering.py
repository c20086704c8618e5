"""Videos that are drawn upon, with their own sound or another."""

import numpy as np
import pytest

from avzoo.video import Video, VideoReader, VideoWriter, read_video, render_video
from avzoo.video.sound_chunks import SoundChunks

RATE = 16000
NUM_FRAMES = 30
TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(NUM_FRAMES * RATE // 25) / RATE).astype(np.float32)


def grey_video(audio=TONE):
    frames = np.full((NUM_FRAMES, 32, 48, 3), 90, np.uint8)
    return Video(frames, 25.0) if audio is None else Video(frames, 25.0, audio, RATE)


def brighten_with_time(frame, index):
    return frame + np.uint8(4 * index)


def correlation(audio, expected):
    return np.corrcoef(audio[: len(expected)], expected)[0, 1]


def test_every_frame_is_drawn_by_its_number(tmp_path):
    path = render_video(VideoReader(grey_video(None)), tmp_path / "drawn.mp4", brighten_with_time, fps=25)
    shown = read_video(path)
    assert shown.audio is None
    np.testing.assert_allclose(shown.frames.mean((1, 2, 3)), 90 + 4 * np.arange(NUM_FRAMES), atol=2)


def test_the_videos_own_sound_is_written_chunk_by_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(SoundChunks, "chunk_frames", 7)
    written, write_audio = [], VideoWriter.write_audio

    def recording(writer, samples):
        written.append(samples)
        write_audio(writer, samples)

    monkeypatch.setattr(VideoWriter, "write_audio", recording)
    path = render_video(VideoReader(grey_video()), tmp_path / "drawn.mp4", brighten_with_time, fps=25)
    assert [len(samples) for samples in written] == [7 * 640] * 4 + [2 * 640]  # no longer than the video
    np.testing.assert_array_equal(np.concatenate(written), TONE)
    assert correlation(read_video(path).audio, TONE) > 0.99


def test_another_sound_takes_the_place_of_the_videos(tmp_path):
    other = 0.3 * np.sin(2 * np.pi * 300 * np.arange(len(TONE) // 2) / 8000).astype(np.float32)
    options = {"fps": 25, "audio": other, "sampling_rate": 8000}
    shown = read_video(render_video(VideoReader(grey_video()), tmp_path / "drawn.mp4", brighten_with_time, **options))
    assert shown.sampling_rate == 8000
    assert correlation(shown.audio, other) > 0.99


def test_sound_without_its_rate_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`audio` and `sampling_rate`"):
        render_video(VideoReader(grey_video()), tmp_path / "a.mp4", brighten_with_time, fps=25, audio=TONE)


def test_an_error_while_drawing_leaves_no_file(tmp_path):
    def fail(frame, index):
        raise RuntimeError("out of ink")

    with pytest.raises(RuntimeError, match="out of ink"):
        render_video(VideoReader(grey_video()), tmp_path / "a.mp4", fail, fps=25)
    assert not list(tmp_path.iterdir())


def test_frames_are_counted_at_any_rate():
    reader = VideoReader(grey_video())
    assert [reader.count_frames(fps) for fps in (None, 25, 50, 10)] == [30, 30, 60, 12]


@pytest.mark.parametrize("fps", [25, 30000 / 1001])
def test_chunks_of_sound_join_without_a_gap(monkeypatch, fps):
    monkeypatch.setattr(SoundChunks, "chunk_frames", 4)
    chunks = SoundChunks(VideoReader(grey_video()), RATE, fps, keep=1)
    parts = [chunks.between(first, first + 3) for first in range(0, 30, 3)]
    assert len(chunks.chunks) == 1
    whole = chunks.between(0, 30)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole, TONE[: len(whole)])
