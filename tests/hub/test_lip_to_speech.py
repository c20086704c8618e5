"""The vocoder and the speaker encoder of a repository come with its model: of one revision, and from the cache."""

import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from contract.tiny.session_embedding import ENCODER
from look_alike import Repository

from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector, SpeakerFeatureExtractor

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines" / "lip_to_speech"))
from tiny_lips import make_hifigan, make_processor, make_video, write_model

NAME = "you/lips"


def write_folder(folder: Path, seed: int = 0) -> Path:
    """A model with both parts beside it, whose weights differ by the seed."""
    given = {"speaker_conditioning": "embedding", "speaker_encoder_dim": ENCODER["embedding_size"]}
    write_model(folder, **given)
    make_hifigan(make_processor().mel_settings, seed).save_pretrained(folder / "vocoder")
    SpeakerEncoderForXVector(SpeakerEncoderConfig(**ENCODER)).save_pretrained(folder / "speaker_encoder")
    SpeakerFeatureExtractor().save_pretrained(folder / "speaker_encoder")
    return folder


def commit(hub, folder: Path) -> str:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return hub.repositories.setdefault(NAME, Repository()).commit(files)


def load(name=NAME, **options):
    return transformers.pipeline("lip-to-speech", model=str(name), device="cpu", **options)


def say(speak) -> np.ndarray:
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    return speak(make_video(3), speaker=sound, faces="frame", noise_scale=0)[0]["audio"]


def test_parts_come_by_the_name_of_the_model_and_then_from_the_cache(hub, ask, go_offline, tmp_path):
    folder = write_folder(tmp_path / "folder")
    commit(hub, folder)
    expected = say(load(folder))
    ask(hub)
    speak = load()
    assert speak.vocoder_name == "HiFi-GAN"
    np.testing.assert_array_equal(say(speak), expected)
    hub.requests.clear()
    go_offline()
    np.testing.assert_array_equal(say(load()), expected)
    assert hub.requests == []


def test_parts_are_of_the_models_revision(hub, ask, tmp_path):
    folders = [write_folder(tmp_path / str(seed), seed) for seed in range(2)]
    first, _ = (commit(hub, folder) for folder in folders)
    ask(hub)
    expected = [say(load(folder)) for folder in folders]
    assert not np.allclose(expected[0], expected[1])
    np.testing.assert_array_equal(say(load(revision=first)), expected[0])
    np.testing.assert_array_equal(say(load()), expected[1])


def test_a_repository_without_parts_is_known_to_have_none_offline(hub, ask, go_offline, tmp_path):
    commit(hub, write_model(tmp_path / "folder"))
    ask(hub)
    assert load().vocoder_name == "Griffin-Lim, a stand-in"
    hub.requests.clear()
    go_offline()
    speak = load()
    assert speak.vocoder_name == "Griffin-Lim, a stand-in"
    assert speak.speaker_encoder is None
    assert hub.requests == []


def test_an_uploaded_pipeline_has_its_parts(hub, ask, tmp_path):
    folder = write_folder(tmp_path / "folder")
    ask(hub)
    load(folder).push_to_hub(NAME)
    ask(hub)
    np.testing.assert_array_equal(say(load()), say(load(folder)))


def test_a_vocoder_that_is_not_whole_is_named(hub, ask, tmp_path):
    folder = write_folder(tmp_path / "folder")
    (folder / "vocoder" / "model.safetensors").unlink()
    commit(hub, folder)
    ask(hub)
    with pytest.raises(OSError, match=NAME):
        load()
