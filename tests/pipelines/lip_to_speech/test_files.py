"""The sound of a video from the voices of its faces."""

import numpy as np
import pytest
from tiny_lips import make_video

from avzoo.audio import read_audio
from avzoo.pipelines.lip_to_speech.files import mix_voices, write_speech
from avzoo.video import write_video


def make_record(start: float, *samples: float) -> dict:
    return {"start": start, "audio": np.array(samples, np.float32), "sampling_rate": 100}


def test_voices_are_added_at_their_times():
    sound, rate = mix_voices([make_record(0.02, 0.25, 0.5), make_record(0.0, 0.125, 0.125, 0.125)], 6)
    np.testing.assert_array_equal(sound, np.array([0.125, 0.125, 0.375, 0.5, 0, 0], np.float32))
    assert rate == 100


def test_voices_that_are_too_loud_together_are_scaled_down_as_a_whole():
    sound, _ = mix_voices([make_record(0.0, 0.5, -1.0), make_record(0.01, -1.0)])
    np.testing.assert_array_equal(sound, np.array([0.25, -1.0], np.float32))


def test_nobody_has_no_sound_and_nobody_speaks_beyond_the_end():
    with pytest.raises(ValueError, match="`records` is empty: nobody speaks"):
        mix_voices([])
    with pytest.raises(ValueError, match="`records` speak until sample 5, the sound has `num_samples` 4"):
        mix_voices([make_record(0.03, 0.1, 0.2)], 4)


def test_a_sound_that_cannot_be_mixed_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "spoken.mp4"
    path.write_text("before")
    with pytest.raises(ValueError, match="nobody speaks"):
        write_speech(make_video(3), [], path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_the_video_is_no_output(tmp_path):
    write_video(tmp_path / "silent.mp4", make_video(3).frames, 25)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "silent.mp4")
    with pytest.raises(ValueError, match=r"`output` .* is the video to read"):
        write_speech(tmp_path / "silent.mp4", [make_record(0.0, 0.1)], tmp_path / "link.mp4")


def test_sound_alone_is_a_wav_file(tmp_path):
    write_speech(make_video(3), [make_record(0.01, 0.5)], tmp_path / "spoken.wav", num_samples=4)
    sound, rate = read_audio(tmp_path / "spoken.wav")
    np.testing.assert_array_equal(sound, np.array([0, 0.5, 0, 0], np.float32))
    assert rate == 100
