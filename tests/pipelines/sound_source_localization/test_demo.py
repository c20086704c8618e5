"""The demo, with tiny models in place of the toy checkpoints."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_tokenizer import make_tokenizer

import avzoo
from avzoo import ACLProcessor, SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import write_wav
from avzoo.cli import main
from avzoo.video import write_picture, write_video

sys.path.insert(0, str(Path(__file__).parents[2] / "conversion"))
import small_acl_ssl


@pytest.fixture(autouse=True)
def tiny_checkpoints(monkeypatch, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_sizes": (4, 6, 8, 12), "depths": (1, 1, 1, 1), "projection_dim": 10}
    SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**sizes)).save_pretrained(tmp_path / "model")
    SSLAlignmentProcessor().save_pretrained(tmp_path / "model")
    small_acl_ssl.convert().save_pretrained(tmp_path / "reader")
    ACLProcessor(image_size=64, tokenizer=make_tokenizer(tmp_path)).save_pretrained(tmp_path / "reader")
    folders = {"ssl_alignment": str(tmp_path / "model"), "acl_ssl": str(tmp_path / "reader")}
    monkeypatch.setattr(avzoo, "toy_checkpoint", folders.get)
    monkeypatch.setattr("avzoo.pipelines.sound_source_localization.demo.SETTINGS", {"size": 64})
    monkeypatch.setattr("avzoo.pipelines.audio_image_retrieval.demo.SETTINGS", {"size": 64})


def test_pictures_are_asked_with_the_sounds_and_the_names_of_both_things(tmp_path, capsys):
    outputs = []
    for _ in range(2):
        assert main(["demo", "sound-source-localization", "-o", str(tmp_path), "--seed", "3"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert outputs[0].count("the peak lies") == 24
    assert outputs[0].count(" of 8 peaks lie on the thing that is heard") == 2
    assert outputs[0].count(" of 8 peaks lie on the thing that is named") == 1
    assert (tmp_path / "sound_source_localization.png").read_bytes().startswith(b"\x89PNG")


def test_files_are_a_picture_with_sounds_or_videos(tmp_path, capsys):
    noise = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    write_wav(tmp_path / "noise.wav", noise, 16000)
    write_picture(tmp_path / "grey.png", np.full((40, 50, 3), 90, np.uint8))
    write_video(tmp_path / "clip.mp4", np.full((10, 64, 64, 3), 90, np.uint8), 10, audio=noise, sampling_rate=16000)

    def run_demo(*names: str) -> int:
        return main(
            ["demo", "sound-source-localization", *(str(tmp_path / name) for name in names), "-o", str(tmp_path)]
        )

    assert run_demo("grey.png", "noise.wav") == 0
    assert "noise.wav: no decision" in capsys.readouterr().out
    assert (tmp_path / "grey.heat.png").is_file()
    assert run_demo("clip.mp4") == 0
    assert (tmp_path / "clip.heat.mp4").is_file()
    assert run_demo("grey.png") == 1
    assert "`files` must be a picture and one or more sounds, or videos" in capsys.readouterr().err


def test_pictures_are_found_by_sounds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("avzoo.pipelines.audio_image_retrieval.demo.NUM_ITEMS", 4)
    outputs = []
    for _ in range(2):
        assert main(["demo", "audio-image-retrieval", "-o", str(tmp_path), "--seed", "3"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert outputs[0].count(" finds: ") == 5
    assert "by a picture: the best answer is of the same kind for" in outputs[0]
    assert (tmp_path / "audio_image_retrieval.png").read_bytes().startswith(b"\x89PNG")
