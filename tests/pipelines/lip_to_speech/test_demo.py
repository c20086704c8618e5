"""`avzoo demo lip-to-speech`, with a tiny model in place of the toy checkpoint."""

import pytest
from contract.tiny.session_embedding import ENCODER
from PIL import Image
from tiny_lips import write_model

import avzoo
from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector, SpeakerFeatureExtractor
from avzoo.audio import read_audio
from avzoo.cli import main
from avzoo.pipelines.lip_to_speech.demo import STRANGERS
from avzoo.toyworld.caption_words import ENGLISH_SPEAKERS
from avzoo.toyworld.spoken_words import spoken_word_clip
from avzoo.video import probe_video, write_video


@pytest.fixture(autouse=True)
def tiny_checkpoint(monkeypatch, tmp_path):
    given = {"speaker_conditioning": "embedding", "speaker_encoder_dim": ENCODER["embedding_size"]}
    model = write_model(tmp_path / "model", **given)
    SpeakerEncoderForXVector(SpeakerEncoderConfig(**ENCODER)).save_pretrained(model / "speaker_encoder")
    SpeakerFeatureExtractor().save_pretrained(model / "speaker_encoder")
    monkeypatch.setattr(avzoo, "toy_checkpoint", {"ltbs": str(model)}.get)
    (tmp_path / "out").mkdir()


def test_a_silenced_word_gets_a_sound_and_a_picture_beside_the_real_one(tmp_path, capsys):
    outputs = []
    for _ in range(2):
        assert main(["demo", "lip-to-speech", "-o", str(tmp_path / "out"), "--seed", "3"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    (silent,) = (tmp_path / "out").glob("*.silent.mp4")
    (spoken,) = (tmp_path / "out").glob("*.spoken.mp4")
    assert probe_video(silent).sampling_rate is None
    assert probe_video(spoken).sampling_rate == 16000
    assert len(read_audio(tmp_path / "out" / "voice.wav")[0]) == 3 * 16000
    three_panels = 3 * (16 + 160 + 12) + 12 + 2 * 16
    assert Image.open(spoken.with_suffix(".png")).size == (504, three_panels)
    assert f"  video: {spoken}" in outputs[0]


def test_a_file_of_ones_own_gets_a_voice(tmp_path, capsys, monkeypatch):
    """Of a network that has one voice."""
    monkeypatch.setattr(avzoo, "toy_checkpoint", {"ltbs": str(write_model(tmp_path / "one voice"))}.get)
    clip = spoken_word_clip(0, size=64)
    write_video(tmp_path / "own.mp4", clip["frames"], 25, metadata={"comment": "avzoo toyworld"})
    assert main(["demo", "lip-to-speech", str(tmp_path / "own.mp4"), "-o", str(tmp_path / "out"), "--seed", "0"]) == 0
    assert "voice: the network's own, vocoder: Griffin-Lim, a stand-in" in capsys.readouterr().out
    assert (tmp_path / "out" / "own.spoken.mp4").is_file()


def test_the_people_of_the_demo_are_strangers_to_the_toy_checkpoint():
    """It was trained on two thirds of the voices, with faces 0 to 7 of each."""
    known = {voice for number, voice in enumerate(ENGLISH_SPEAKERS) if number % 3 != 1}
    assert not {person % 96 for person in STRANGERS} & known
    assert min(person // 96 for person in STRANGERS) >= 8
