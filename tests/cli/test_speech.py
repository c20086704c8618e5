"""`avzoo run text-to-audio` and its demo: sounds and pictures in files."""

import functools

import numpy as np
import pytest
from refusals import refused

import avzoo
from avzoo.audio import read_audio, write_wav


@pytest.fixture
def speak(avzoo_command):
    """The toy checkpoint says a word; one step is enough to be heard by a test."""
    return lambda *options: avzoo_command("run", "text-to-audio", "--steps", "1", "--device", "cpu", *options)


SAID = ("--description", "Rain falls while a man speaks.", "--content", "seven")


def test_speech_is_written_and_drawn_and_one_seed_gives_one_sound(speak, tmp_path):
    first, picture = tmp_path / "first.wav", tmp_path / "first.png"
    status, out, err = speak(*SAID, "--seed", "3", "-o", first, "--spectrogram", picture)
    assert (status, out) == (0, f"{first}\n")
    assert "toy checkpoint of voiceldm" in err.splitlines()[0]
    assert err.splitlines()[1] == "seed 3"
    samples, rate = read_audio(first)
    assert (len(samples), rate) == (20000, 16000)
    assert abs(samples).max() == pytest.approx(1, abs=1e-4)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for seed, same in (("3", True), ("4", False)):
        assert speak(*SAID, "--seed", seed, "-o", tmp_path / "second.wav")[0] == 0
        assert (np.array_equal(read_audio(tmp_path / "second.wav")[0], samples)) == same


def test_several_waveforms_get_numbers_and_lengths_are_kept(speak, tmp_path):
    options = ("--number", "2", "--seconds", "0.9", "--preset", "reference", "--desc-scale", "0", "--cont-scale", "0")
    status, out, _ = speak(*SAID, *options, "-o", tmp_path / "out.wav")
    files = [tmp_path / "out-1.wav", tmp_path / "out-2.wav"]
    assert (status, out.splitlines()) == (0, list(map(str, files)))
    first, second = (read_audio(file)[0] for file in files)
    assert len(first) == len(second) == 14400
    assert not np.array_equal(first, second)


def test_a_recording_takes_the_descriptions_place(speak, tmp_path):
    write_wav(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 44100).astype(np.float32), 44100)
    prompt = ("--audio-prompt", tmp_path / "noise.wav", "--content", "stop")
    assert speak(*prompt, "-o", tmp_path / "out.wav")[0] == 0


def test_bad_requests_for_speech_say_why_and_write_nothing(speak, tmp_path, capfd):
    out = ("-o", tmp_path / "out.wav")
    refused(speak(*SAID, "-o", tmp_path / "out.mp3"), "--output must end in .wav", "out.mp3")
    refused(speak(*SAID, "-o", tmp_path / "nowhere" / "out.wav"), "nowhere")
    refused(speak(*SAID, *out, "--number", "0"), "`--number` must be at least 1, got 0")
    refused(speak(*SAID, *out, "--device", "abacus"), "--device abacus cannot be used")
    refused(speak("--audio-prompt", tmp_path / "no.wav", "--content", "go", *out), "no.wav", "does not exist")
    refused(speak("--description", "rain", "--content-file", tmp_path / "no.txt", *out), "no.txt")
    (tmp_path / "text.txt").write_text("seven", encoding="utf-8")
    reading = ("--description", "rain", "--content-file", tmp_path / "text.txt")
    refused(speak(*reading, *out, "--seconds", "3"), "--content-file sets number and length of the segments")
    for options, reason in (
        (("--preset", "slow"), "must be one of fast, reference"),
        (("--seconds", "-1"), "`audio_length_in_s` must be above 0, got -1.0"),
        (("--desc-scale", "-2"), "`desc_guidance_scale` must be at least 0, got -2.0"),
    ):
        status, printed, err = speak(*SAID, *out, *options)
        assert (status, printed) == (1, "")
        assert reason in err
    with pytest.raises(SystemExit):
        speak("--description", "rain", *out)
    assert "one of the arguments --content --content-file is required" in capfd.readouterr().err
    assert not list(tmp_path.glob("*.wav"))


def test_the_demo_speaks_in_scenes(avzoo_command, tmp_path, monkeypatch):
    """In fewer steps than it takes by itself."""
    call = avzoo.VoiceLDMPipeline.__call__
    monkeypatch.setattr(avzoo.VoiceLDMPipeline, "__call__", functools.partialmethod(call, num_inference_steps=1))
    status, out, _ = avzoo_command("demo", "text-to-audio", "-o", tmp_path / "demo", "--seed", "1")
    assert status == 0
    files = sorted(path.suffix for path in (tmp_path / "demo").iterdir())
    assert files == [".png", ".png", ".wav", ".wav"]
    assert "saying 'seven'" in out
