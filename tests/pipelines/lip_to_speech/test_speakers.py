"""Whose voice a face gets: rows of a table, embeddings, recordings through an encoder, or nobody."""

import re

import numpy as np
import pytest
import torch
from contract.tiny.session_embedding import ENCODER
from tiny_lips import load, make_tracks, make_video, write_model

from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector, SpeakerFeatureExtractor, SpeakerVerificationPipeline
from avzoo.audio import write_wav

WIDTH = ENCODER["embedding_size"]
TWO = make_tracks((0, 20), (5, 25))


def make_encoder(**fields) -> SpeakerEncoderForXVector:
    torch.manual_seed(0)
    return SpeakerEncoderForXVector(SpeakerEncoderConfig(**{**ENCODER, "classification_head": "none", **fields})).eval()


def make_noise(seconds: float, seed: int = 0, rate: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{speaker_conditioning: folder}; "embedding" has a speaker encoder beside it, "mean" a mean voice, too."""
    root = tmp_path_factory.mktemp("speakers")
    made = {
        "table": write_model(root / "table", speaker_conditioning="table"),
        "one row": write_model(root / "one", speaker_conditioning="table", num_speakers=1),
        "none": write_model(root / "none"),
    }
    for name in ("embedding", "mean"):
        given = {"speaker_conditioning": "embedding", "speaker_encoder_dim": WIDTH}
        made[name] = write_model(root / name, **given)
        make_encoder().save_pretrained(made[name] / "speaker_encoder")
        SpeakerFeatureExtractor().save_pretrained(made[name] / "speaker_encoder")
    model = load(made["mean"]).model
    model.ltbs.mean_speaker.copy_(torch.linspace(-1, 1, WIDTH))
    model.save_pretrained(made["mean"])
    return made


@pytest.fixture
def say(folders):
    """`say(kind, speaker)` is the speech of one face, or of several."""

    def say(kind: str, speaker=None, faces="frame", encoder=None, **options):
        speak = load(folders[kind], speaker_encoder=encoder)
        found = speak(make_video(25), speaker=speaker, faces=faces, noise_scale=0, **options)
        return found[0] if len(found) == 1 else found

    return say


def assert_same(one, other) -> None:
    """To the accuracy of float32; another voice is farther away by far."""
    np.testing.assert_allclose(one["mel"], other["mel"], rtol=0, atol=2e-6)


def test_a_row_of_the_table_is_a_voice(say, folders):
    faces = [say("table", row) for row in (0, 2)]
    assert [face["speaker"] for face in faces] == ["row 0", "row 2"]
    assert not np.allclose(faces[0]["mel"], faces[1]["mel"])
    table = load(folders["table"]).model.ltbs.speaker_embedding.weight
    given = say("table", table[2].detach())
    assert given["speaker"] == "an embedding"
    assert_same(given, faces[1])


def test_a_table_of_one_needs_no_choice(say):
    assert_same(say("one row"), say("one row", 0))


def test_without_a_speaker_the_mean_voice_is_taken_and_said(say):
    with pytest.warns(UserWarning, match="No speaker was given: the mean voice of the training is taken"):
        face = say("mean")
    assert face["speaker"] == "the mean voice of the training"
    assert_same(face, say("mean", np.linspace(-1, 1, WIDTH)))


@pytest.mark.parametrize("source", ["path", "bytes", "array", "tensor", "row", "list", "44100"])
def test_a_recording_speaks_with_the_embedding_that_speaker_verification_makes(say, tmp_path, source):
    sound, path = make_noise(2.0), tmp_path / "voice.wav"
    write_wav(path, sound, 16000)
    verify = SpeakerVerificationPipeline(
        model=make_encoder(), feature_extractor=SpeakerFeatureExtractor(), device="cpu"
    )
    expected = say("embedding", next(verify.embed([sound])))
    speaker = {
        "path": path,
        "bytes": path.read_bytes(),
        "array": sound,
        "tensor": torch.from_numpy(sound),
        "row": {"array": sound, "sampling_rate": 16000},
        "list": sound.tolist(),
        "44100": sound,
    }[source]
    face = say("embedding", speaker, sampling_rate=44100 if source == "44100" else None)
    assert face["speaker"] == ("voice.wav" if source == "path" else "a recording")
    if source == "44100":  # the same samples, heard faster
        assert np.abs(face["mel"] - expected["mel"]).max() > 1e-3
    else:
        assert_same(face, expected)


def test_an_encoder_can_be_given_as_a_module_a_pipeline_or_a_folder(say, folders):
    sound, encoder = make_noise(1.0), make_encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.1)
    verify = SpeakerVerificationPipeline(model=encoder, feature_extractor=SpeakerFeatureExtractor(), device="cpu")
    assert_same(say("embedding", sound, encoder=encoder), say("embedding", sound, encoder=verify))
    inside = folders["embedding"] / "speaker_encoder"
    assert_same(say("embedding", sound, encoder=inside), say("embedding", sound))


def test_a_pipeline_saves_its_speaker_encoder(folders, tmp_path):
    load(folders["embedding"]).save_pretrained(tmp_path)
    assert {path.name for path in (tmp_path / "speaker_encoder").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }
    sound = make_noise(1.0)
    one, other = (
        load(folder)(make_video(3), speaker=sound, faces="frame", noise_scale=0)[0]
        for folder in (folders["embedding"], tmp_path)
    )
    assert_same(one, other)


def test_faces_speak_with_voices_of_their_own(say):
    alone = [say("table", row, faces=make_tracks(span)) for row, span in ((2, (0, 20)), (1, (5, 25)))]
    for speaker in ([2, 1], {1: 1, 0: 2}):
        faces = say("table", speaker, faces=TWO)
        assert [face["speaker"] for face in faces] == ["row 2", "row 1"]
        for face, expected in zip(faces, alone, strict=True):
            assert_same(face, expected)


def test_one_voice_is_for_all_faces(say):
    assert [face["speaker"] for face in say("table", 1, faces=TWO)] == ["row 1", "row 1"]


BAD = {
    "no row": ("table", None, r"`speaker` is missing: this network speaks with 3 voices; give the row of one, 0 to 2"),
    "a row beyond": ("table", 3, r"`speaker` must be at least 0 and at most 2, got 3"),
    "a row below": ("table", -1, r"`speaker` must be at least 0 and at most 2, got -1"),
    "a recording for a table": (
        "table",
        make_noise(1),
        r"`speaker` is a recording, and this network knows voices of a",
    ),
    "a row without a table": ("embedding", 0, r"`speaker` is row 0, and this network has no table of speakers"),
    "nobody": ("embedding", None, r"`speaker` is missing, and this network keeps no mean voice of its training"),
    "0.2 s": (
        "embedding",
        make_noise(0.2),
        r"`speaker` is of shape \(3200,\): neither an embedding .* 8000 at 16000 Hz",
    ),
    "0.2 s in a row": (
        "embedding",
        {"array": make_noise(0.2), "sampling_rate": 16000},
        r"`speaker` is too short: 0.200 s, a voice needs 0.5 s",
    ),
    "silence": ("embedding", np.zeros(16000, np.float32), r"`speaker` is silent: nobody is heard"),
    "dithered silence": ("embedding", make_noise(1) / 1e5, r"`speaker` is silent: nobody is heard"),
    "a NaN sample": ("embedding", np.full(16000, np.nan, np.float32), r"`speaker`.*NaN"),
    "an embedding of NaN": ("embedding", np.full(WIDTH, np.nan), r"`speaker`: the embedding has values that are NaN"),
    "an embedding of 0": ("embedding", np.zeros(WIDTH), r"`speaker`: the embedding is 0 throughout"),
    "another width": ("embedding", np.ones(WIDTH + 1), rf"of shape \({WIDTH + 1},\): .* which has {WIDTH} values"),
    "an empty list": ("embedding", [], r"`speaker` is empty; name a speaker for each face"),
    "an empty mapping": ("table", {}, r"`speaker` names no face"),
    "two voices for one face": ("table", [0, 1], r"`speaker` lists 2 voices, and the faces that were found are \[0\]"),
    "a face that isn't there": ("table", {1: 0}, r"`speaker` is of the faces \[1\], those that were found are \[0\]"),
    "the second of a list": ("table", [0, 7], r"`speaker\[1\]` must be at least 0 and at most 2, got 7"),
    "a voice for a network of one": ("none", make_noise(1), r"`speaker`: this network has one voice and knows no"),
}


@pytest.mark.parametrize(("kind", "speaker", "message"), BAD.values(), ids=BAD)
def test_what_is_no_voice_is_refused(say, kind, speaker, message):
    with pytest.raises(ValueError, match=message):
        say(kind, speaker)


def test_a_name_for_a_face_is_refused(say):
    with pytest.raises(TypeError, match="`speaker` must be a whole number, got 'anna'"):
        say("table", {"anna": 0})


def test_a_file_that_is_no_sound_or_not_there_is_named(say, tmp_path):
    (tmp_path / "voice.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"`speaker`.*voice.wav"):
        say("embedding", tmp_path / "voice.wav")
    with pytest.raises(FileNotFoundError, match=r"nobody\.wav"):
        say("embedding", tmp_path / "nobody.wav")
    write_wav(tmp_path / "short.wav", make_noise(0.2), 16000)
    with pytest.raises(
        ValueError, match=re.escape("`speaker` (short.wav) is too short: 0.200 s, a voice needs 0.5 s.")
    ):
        say("embedding", tmp_path / "short.wav")


def test_a_recording_needs_an_encoder(tmp_path):
    folder = write_model(tmp_path, speaker_conditioning="embedding")
    with pytest.raises(
        ValueError, match="`speaker` is a recording, and nothing here can tell its voice: pass `speaker_e"
    ):
        load(folder)(make_video(3), speaker=make_noise(1), faces="frame")


def test_an_encoder_of_another_width_is_refused(say):
    encoder = make_encoder(embedding_size=WIDTH + 2)
    message = rf"`speaker_encoder` makes embeddings of {WIDTH + 2} values, this network takes {WIDTH}"
    with pytest.raises(ValueError, match=message):
        say("embedding", make_noise(1), encoder=encoder)


def test_what_is_no_speaker_encoder_is_refused(folder, tmp_path):
    with pytest.raises(TypeError, match="`speaker_encoder` must be a folder, a name on the Hub, a model for x-vectors"):
        load(folder, speaker_encoder=torch.nn.Identity())
    with pytest.raises(ValueError, match=r"`speaker_encoder`: `.*` holds a LTBSForLipToSpeech, expected a model for x"):
        load(folder, speaker_encoder=folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"`speaker_encoder`: `.*empty` has no config.json"):
        load(folder, speaker_encoder=tmp_path / "empty")
