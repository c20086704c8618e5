"""Audio prompts: recordings in place of the description."""

import math
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny_voiceldm import (
    TEXTS,
    noise_of,
    row_of,
    spoken,
)

from avzoo.audio import write_wav


def test_every_kind_of_input_gives_the_same_embeds(pipe, tmp_path):
    samples = np.round(noise_of(0.8) * 32768) / 32768  # both kinds hold these values exactly
    write_wav(tmp_path / "prompt.wav", samples, 8000)
    soundfile.write(tmp_path / "prompt.flac", samples, 8000)
    expected = pipe.encode_audio_prompt(row_of(samples))
    assert expected.shape == (1, 12)
    for name in ("prompt.wav", "prompt.flac"):
        assert torch.equal(pipe.encode_audio_prompt(tmp_path / name), expected)
    assert torch.equal(pipe.encode_audio_prompt((tmp_path / "prompt.wav").read_bytes()), expected)


def test_the_first_channel_is_encoded(pipe):
    stereo = noise_of(0.8, channels=2)
    heard = pipe.encode_audio_prompt(row_of(stereo))
    assert torch.equal(heard, pipe.encode_audio_prompt(row_of(stereo[0])))
    assert not torch.equal(heard, pipe.encode_audio_prompt(row_of(stereo[1])))


def test_another_sampling_rate_gives_nearly_the_same_embeds(pipe):
    def tone(rate: int) -> dict[str, Any]:
        return row_of((0.3 * np.sin(2 * np.pi * 440 * np.arange(int(0.9 * rate)) / rate)).astype(np.float32), rate)

    expected = pipe.encode_audio_prompt(tone(8000))
    distance = (pipe.encode_audio_prompt(tone(22050)) - expected).norm()
    assert distance < 0.2 * (pipe.encode_audio_prompt(row_of(noise_of(0.9))) - expected).norm()


def test_a_list_of_recordings_equals_its_items(pipe):
    recordings = [row_of(noise_of(seconds, seed=i)) for i, seconds in enumerate((0.3, 1.4, 1.0))]
    together = pipe.encode_audio_prompt(recordings)
    assert together.shape == (3, 12)
    for index, recording in enumerate(recordings):
        torch.testing.assert_close(together[index : index + 1], pipe.encode_audio_prompt(recording))


def test_a_long_recording_is_cut_at_the_start_time_not_at_random(pipe):
    """The extractor alone would cut at random."""
    samples = noise_of(3.0)
    first = pipe.encode_audio_prompt(row_of(samples))
    assert torch.equal(first, pipe.encode_audio_prompt(row_of(samples)))
    assert torch.equal(first, pipe.encode_audio_prompt(row_of(samples[:8000])))
    assert torch.equal(
        pipe.encode_audio_prompt(row_of(samples), 1.25), pipe.encode_audio_prompt(row_of(samples[10000:18000]))
    )


def test_a_short_recording_is_padded_with_silence(pipe):
    samples = noise_of(0.4)
    padded = np.concatenate([samples, np.zeros(8000 - len(samples), np.float32)])
    assert torch.equal(pipe.encode_audio_prompt(row_of(samples)), pipe.encode_audio_prompt(row_of(padded)))


def test_a_silent_recording_is_accepted(pipe):
    audio = spoken(pipe, None, audio_prompt=row_of(np.zeros(4000, np.float32)))
    assert audio.isfinite().all()


def test_an_audio_prompt_replaces_the_description(pipe):
    recordings = [row_of(noise_of(0.5)), row_of(noise_of(2.0, seed=1))]
    audio = spoken(pipe, None, TEXTS[:2], audio_prompt=recordings, audio_prompt_start_in_s=0.25)
    embeds = pipe.encode_audio_prompt(recordings, 0.25)
    assert torch.equal(audio, spoken(pipe, None, TEXTS[:2], description_embeds=embeds))


@pytest.mark.parametrize("start", [0.5, 7.0])
def test_a_start_beyond_the_end_is_refused(pipe, start):
    recordings = [row_of(noise_of(2.0 * start)), row_of(noise_of(0.5))]
    message = rf"`audio_prompt_start_in_s` \({start}\) is beyond the end of audio_prompt\[1\], which has 0\.50 s"
    with pytest.raises(ValueError, match=message):
        spoken(pipe, None, ["a", "b"], audio_prompt=recordings, audio_prompt_start_in_s=start)


@pytest.mark.parametrize("start", [-0.1, math.nan, -math.inf, math.inf])
def test_a_start_that_is_negative_or_not_finite_is_refused(pipe, start):
    with pytest.raises(ValueError, match=r"`audio_prompt_start_in_s` must be at least 0, got"):
        spoken(pipe, None, audio_prompt=row_of(noise_of(0.5)), audio_prompt_start_in_s=start)


def test_a_missing_recording_is_named(pipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.wav"):
        spoken(pipe, None, audio_prompt=[row_of(noise_of(0.5)), tmp_path / "missing.wav"])
