"""`avzoo demo speaker-verification`, with a tiny model in place of the toy checkpoint."""

import numpy as np
import pytest

import avzoo
from avzoo.audio import write_wav
from avzoo.cli import main


@pytest.fixture(autouse=True)
def tiny_checkpoint(monkeypatch, verification_folders):
    monkeypatch.setattr(
        avzoo, "toy_checkpoint", lambda method: {"session_embedding": verification_folders["session"]}[method]
    )


@pytest.mark.slow
def test_the_demo_compares_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("avzoo.pipelines.speaker_verification.demo.SPEAKERS", range(84, 87))
    monkeypatch.setattr("avzoo.pipelines.speaker_verification.demo.SESSIONS", range(9000, 9003))
    outputs = []
    for _ in range(2):
        assert main(["demo", "speaker-verification", "-o", str(tmp_path), "--seed", "3"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert "9 pairs of one person, two rooms, 9 of two people, one room" in outputs[0]
    for title in ("without the session", "with the session"):
        assert f"{title}: " in outputs[0]
    assert (tmp_path / "speaker_verification.png").read_bytes().startswith(b"\x89PNG")


def test_files_are_compared_with_the_first(tmp_path, capsys, noises):
    files = []
    for index, noise in enumerate(noises[:3]):
        files.append(str(tmp_path / f"{index}.wav"))
        write_wav(files[-1], np.asarray(noise), 16000)
    assert main(["demo", "speaker-verification", *files, "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "  0.wav, 1.wav: speaker " in out
    assert "  0.wav, 2.wav: speaker " in out
    assert main(["demo", "speaker-verification", files[0], "-o", str(tmp_path)]) == 1
    assert "`files` must be two recordings or more" in capsys.readouterr().err
