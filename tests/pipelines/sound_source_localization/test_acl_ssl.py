"""ACL-SSL behind the task pipelines: texts, its own confidence, maps that are absolute, ten seconds, two channels."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from clip_tokenizer import make_tokenizer
from PIL import Image

from avzoo import ACLProcessor
from avzoo.audio import write_wav
from avzoo.cli import main
from avzoo.pipelines.sound_source_localization.calibration import measure_confidences
from avzoo.pipelines.sound_source_localization.maps import make_heatmap
from avzoo.video import write_video

sys.path.insert(0, str(Path(__file__).parents[2] / "conversion"))
import small_acl_ssl

RATE = 16000


def make_sound(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (0.1 * noise * np.sin(np.arange(len(noise)) / 4000) ** 2).astype(np.float32)


def make_picture(rows: int = 60, columns: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "acl"
    small_acl_ssl.convert().save_pretrained(folder)
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    ACLProcessor(image_size=64, tokenizer=tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def locate(folder):
    return transformers.pipeline("sound-source-localization", model=str(folder), device="cpu")


def prepare(locate, **inputs):
    return locate.processor(**inputs, sampling_rate=RATE)


@torch.no_grad()
def test_the_answer_has_the_models_map_and_confidence(locate):
    picture, sound = make_picture(), make_sound(12.0)
    answer = locate({"image": picture, "audio": sound}, return_boxes=True)
    output = locate.model(**prepare(locate, images=picture, audio=sound))
    np.testing.assert_allclose(answer["similarity"], output.similarity_map[0], atol=1e-5)
    assert answer["confidence"] == pytest.approx(float(output.confidence[0]), abs=1e-5)
    assert answer["confidence"] != pytest.approx(float(output.similarity_map.max()), abs=1e-3)
    assert answer["seconds"] == 10  # what is behind is not read


def test_the_heat_is_the_map_itself(locate):
    answer = locate({"image": make_picture(), "audio": make_sound(3.0)})
    expected = make_heatmap(answer["similarity"], 60, 90, absolute=True)
    np.testing.assert_array_equal(answer["heatmap"], expected)
    assert answer["heatmap"].min() > 0
    assert answer["heatmap"].max() < 1


def test_nothing_is_marked_where_no_value_reaches_the_threshold(locate):
    inputs = {"image": make_picture(), "audio": make_sound(3.0)}
    highest = float(locate(inputs)["heatmap"].max())
    above = locate(inputs, return_boxes=True, mask_threshold=highest + 1e-4)
    assert (above["mask"].any(), above["boxes"], above["box"]) == (False, [], None)
    below = locate(inputs, return_boxes=True, mask_threshold=highest - 1e-4)
    assert below["mask"].any()


@torch.no_grad()
def test_texts_stand_in_place_of_sounds(locate):
    picture = make_picture()
    first, second = locate({"image": picture, "text": ["a dog", "a siren"]})
    inputs = locate.processor(images=picture, text=["a dog", "a siren"])
    image = locate.model.get_image_features(inputs.pixel_values)
    text = locate.model.get_text_features(inputs.input_ids, inputs.attention_mask)
    maps, confidences = locate.model.compute_similarity_maps(image, text), locate.model.compute_confidence(image, text)
    for answer, similarity, confidence in zip((first, second), maps[0], confidences[0], strict=True):
        np.testing.assert_allclose(answer["similarity"], similarity, atol=1e-5)
        assert answer["confidence"] == pytest.approx(float(confidence), abs=1e-5)
    assert not np.allclose(first["similarity"], second["similarity"], atol=1e-3)
    assert first["seconds"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`text` must be a text, such as 'a dog barking', got NoneType"),
        (["a dog", 3], r"`text\[1\]` must be a text, such as 'a dog barking', got int"),
    ],
)
def test_what_is_no_text_is_refused(locate, text, message):
    with pytest.raises(TypeError, match=message):
        locate({"image": make_picture(), "text": text})


@torch.no_grad()
@pytest.mark.parametrize("seconds", [3.0, 12.0])
def test_two_channels_are_heard_one_behind_the_other(locate, tmp_path, seconds):
    stereo = np.stack([make_sound(seconds, 1), make_sound(seconds, 2)])
    write_wav(tmp_path / "two.wav", stereo, RATE)
    answer = locate({"image": make_picture(), "audio": str(tmp_path / "two.wav")})
    output = locate.model(**locate.processor(images=make_picture(), audio=tmp_path / "two.wav"))
    np.testing.assert_allclose(answer["similarity"], output.similarity_map[0], atol=1e-5)
    assert answer["seconds"] == min(seconds, 10)


def test_several_sounds_of_one_picture_encode_it_once(locate, monkeypatch):
    seen = []
    encode = locate.model.get_image_features
    monkeypatch.setattr(locate.model, "get_image_features", lambda pixel_values: seen.append(1) or encode(pixel_values))
    locate({"image": make_picture(), "audio": [make_sound(1.0), make_sound(2.0, 1), make_sound(0.5, 2)]})
    assert len(seen) == 1


def write_clip(path: Path, seconds: float = 1.0) -> Path:
    frames = np.random.default_rng(3).integers(0, 256, (round(10 * seconds), 32, 48, 3), dtype=np.uint8)
    write_video(path, frames, 10, audio=make_sound(seconds), sampling_rate=RATE)
    return path


@torch.no_grad()
def test_a_short_video_is_heard_with_silence_behind_it(locate, tmp_path):
    path = write_clip(tmp_path / "short.mp4")
    heard = []
    encode = locate.encode_clips
    locate.encode_clips = lambda clips: heard.extend(clips) or encode(clips)
    try:
        records = locate(str(path), frames_per_second=2, smoothing=1, return_maps=True)
    finally:
        del locate.encode_clips
    assert [len(clip) for clip in heard] == [10 * RATE]
    assert np.abs(heard[0][:RATE]).max() > 0.01
    assert not heard[0][RATE:].any()
    assert [record["start"] for record in records] == [0, 0.5]
    assert records[0]["similarity"].shape == (64, 64)


def test_records_of_a_video_say_that_their_maps_are_absolute(locate, tmp_path):
    """Who draws them does not stretch them then."""
    path = write_clip(tmp_path / "short.mp4")
    (record, *_) = locate.stream(str(path), frames_per_second=2)
    assert record["absolute"] is True
    assert "absolute" not in locate(str(path), frames_per_second=2, render=tmp_path / "heat.mp4")[0]
    assert (tmp_path / "heat.mp4").stat().st_size > 0


def test_calibration_takes_the_models_own_confidence(locate):
    pairs = [{"image": make_picture(seed=seed), "audio": make_sound(2.0, seed)} for seed in range(3)]
    confidences = measure_confidences(locate, pairs)
    expected = [answer["confidence"] for answer in locate(pairs)]
    np.testing.assert_allclose(confidences.matching, expected, atol=1e-5)


def test_pictures_are_found_by_sounds_and_sounds_by_pictures(folder):
    find = transformers.pipeline("audio-image-retrieval", model=str(folder), device="cpu")
    find.index({"first": make_picture(), "second": make_picture(seed=1)}, audio={"sound": make_sound(2.0)})
    assert {answer["name"] for answer in find(audio=make_sound(1.0))} == {"first", "second"}
    assert [answer["name"] for answer in find(image=make_picture())] == ["sound"]


def test_the_command_takes_a_text(folder, tmp_path, capsys):
    Image.fromarray(make_picture()).save(tmp_path / "room.png")
    command = ["run", "sound-source-localization", "--image", str(tmp_path / "room.png"), "--model", str(folder)]
    assert main([*command, "--text", "a dog", "a bell"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["text"] for record in records] == ["a dog", "a bell"]
    assert main([*command, "--text", "a dog", "--audio", "x.wav"]) == 1
    assert "give --audio or --text, not both" in capsys.readouterr().err


def test_the_command_draws_a_text(folder, tmp_path):
    Image.fromarray(make_picture()).save(tmp_path / "room.png")
    command = ["run", "sound-source-localization", "--image", str(tmp_path / "room.png"), "--model", str(folder)]
    assert main([*command, "--text", "a dog", "-o", str(tmp_path / "heat.png")]) == 0
    assert Image.open(tmp_path / "heat.png").size == (90, 60)
