"""`avzoo run lip-to-speech`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_lips import make_video, write_model

from avzoo.audio import read_audio, write_wav
from avzoo.cli import main
from avzoo.video import probe_video, write_video


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capfd):
    """`run("-o", "spoken.mp4")` is (status, stdout, stderr) for a silent video of ten frames, cropped to a face."""
    monkeypatch.chdir(tmp_path)
    write_video("silent.mp4", make_video(10).frames, 25)

    def run(*words: str, model=folder, file: str = "silent.mp4"):
        arguments = ["run", "lip-to-speech", file, "--face-video", "--model", str(model), "--device", "cpu", *words]
        status = main(arguments)
        return status, *capfd.readouterr()

    return run


def test_a_video_gets_its_sound_and_a_picture(run):
    status, out, err = run("-o", "spoken.mp4", "--render", "mel.png")
    assert status == 0, err
    assert out == "spoken.mp4: 1 face speaks 0.40 s; voice: the network's own; vocoder: Griffin-Lim, a stand-in\n"
    assert "The vocoder is Griffin-Lim, a stand-in" in err
    assert err.endswith("mel.png\n")
    assert probe_video("spoken.mp4").sampling_rate == 16000
    assert Image.open("mel.png").size[0] == 504


def test_the_sound_alone_is_as_long_as_the_video_and_the_same_for_one_seed(run):
    sounds = []
    for seed in ("3", "3", "4"):
        assert run("-o", "spoken.wav", "--seed", seed)[0] == 0
        sounds.append(read_audio("spoken.wav")[0])
    assert len(sounds[0]) == 10 * 640
    np.testing.assert_array_equal(sounds[0], sounds[1])
    assert not np.allclose(sounds[0], sounds[2])


@pytest.mark.parametrize("place", ["stdout", "answer.json"])
def test_what_was_told_from_the_lips_is_json(run, tmp_path, place):
    status, out, err = run(*([] if place == "stdout" else ["-o", place]))
    assert status == 0, err
    answer = json.loads(out if place == "stdout" else (tmp_path / place).read_text())
    (face,) = answer["records"]
    assert (answer["task"], answer["score"]) == ("lip-to-speech", "probability")
    assert (face["start"], face["end"], face["label"]) == (0.0, 0.4, "speech")
    assert [len(face[name]) for name in ("units", "pitch", "energy", "boxes")] == [10] * 4
    assert not {"audio", "mel", "mel_coarse"} & set(face)
    assert "1 face speaks 0.40 s" in err


def test_controls_and_rows_of_a_table_reach_the_network(run, tmp_path):
    model = write_model(tmp_path / "table", speaker_conditioning="table")
    answers = []
    for words in (["--speaker", "2"], ["--speaker", "2", "--pitch-control", "2", "--energy-control", "0"]):
        status, out, err = run(*words, "--noise-scale", "0", model=model)
        assert status == 0, err
        answers.append(json.loads(out)["records"][0])
    assert answers[0]["speaker"] == "row 2"
    np.testing.assert_allclose(answers[1]["pitch"], 2 * np.array(answers[0]["pitch"]), rtol=1e-6)
    assert answers[1]["energy"] == [0.0] * 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "silent.mp4"], "--output (silent.mp4) is one of the files to read; name another one."),
        (["-o", "voice.wav", "--speaker", "voice.wav"], "--output (voice.wav) is one of the files to read"),
        (["-o", "spoken.avi"], "--output must end in .mp4, .m4v, .mov, .wav, .json, got spoken.avi."),
        (["-o", "nowhere/spoken.mp4"], "`nowhere/spoken.mp4` cannot be written"),
        (["--render", "mel.pdf"], "--render must end in .png, .jpg, .jpeg, got mel.pdf."),
        (["--speaker", "nobody.wav"], "--speaker `nobody.wav` does not exist; give a recording, or a row number"),
        (["--speaker", "voice.wav"], "`speaker`: this network has one voice and knows no speakers"),
        (["--noise-scale", "-1"], "`noise_scale` must be at least 0, got -1.0."),
        (["--every", "0"], "`every` must be at least 1, got 0."),
        (["--vocoder", "not/a/folder"], "avzoo: `not/a/folder` is neither a folder that exists nor a name on the Hub"),
        (["--speaker-encoder", "not/a/folder"], "avzoo: `not/a/folder` is neither a folder that exists nor"),
        (["--vocoder", "empty"], "avzoo: `empty` holds no vocoder: it has no config.json."),
        (["--vocoder", "damaged"], "the config file at 'damaged/config.json' is not a valid JSON file"),
        (["--seed", "99999999999999999999"], "`--seed` must be at least 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_one_line_and_writes_nothing(run, tmp_path, words, message):
    write_wav("voice.wav", np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000)
    Path("damaged").mkdir()
    Path("empty").mkdir()
    Path("damaged/config.json").write_text("{")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert message in err.splitlines()[-1]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_file_that_is_no_video_is_named(run):
    write_wav("voice.wav", np.full(1600, 0.1, np.float32), 16000)
    for file, message in (("voice.wav", "has no video stream"), ("nothing.mp4", "file `nothing.mp4` does not exist.")):
        status, _, err = run("-o", "spoken.mp4", file=file)
        assert status == 1
        assert message in err.splitlines()[-1]
