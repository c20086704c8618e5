"""Retrieval by a model whose vectors are done by hand, then by a tiny random one."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import write_wav
from avzoo.pipelines.audio_image_retrieval.pipeline import AudioImageRetrievalPipeline, guess_kind
from avzoo.video import write_picture, write_video

sys.path.insert(0, str(Path(__file__).parents[1] / "sound_source_localization"))
from colour_model import RATE, ColourModel, ColourProcessor, green_sound, make_picture, red_sound

RED, GREEN, BOTH = make_picture(green=()), make_picture(red=()), make_picture()


def make_finder() -> AudioImageRetrievalPipeline:
    return AudioImageRetrievalPipeline(ColourModel(), processor=ColourProcessor(), device="cpu")


@pytest.fixture
def find():
    """Three pictures and two sounds are indexed."""
    find = make_finder()
    find.index({"red": RED, "green": GREEN, "both": BOTH}, {"beep": red_sound(), "hum": green_sound()})
    return find


@pytest.fixture
def files(tmp_path):
    write_picture(tmp_path / "red.png", RED)
    write_picture(tmp_path / "green.png", GREEN)
    write_wav(tmp_path / "beep.wav", red_sound(), RATE)
    return tmp_path


def test_pictures_are_found_by_a_sound(find):
    answers = find(audio=red_sound())
    assert [answer["name"] for answer in answers] == ["red", "both", "green"]
    assert [answer["score"] for answer in answers] == pytest.approx([1, 0.5**0.5, 0])
    assert {answer["kind"] for answer in answers} == {"image"}


def test_sounds_are_found_by_a_picture(find):
    (best,) = find(image=GREEN, top_k=1)
    assert (best["name"], best["kind"]) == ("hum", "audio")


def test_what_is_searched_may_be_of_the_querys_kind(find):
    assert [answer["name"] for answer in find(image=RED, among="image", top_k=2)] == ["red", "both"]
    assert find(audio=green_sound(), among="audio")[0]["name"] == "hum"


def test_a_query_of_a_file_tells_its_kind(find, files):
    assert find(str(files / "beep.wav"), top_k=1)[0]["name"] == "red"
    assert find(files / "green.png", top_k=1)[0]["name"] == "hum"


def test_a_list_of_queries_gives_a_list_of_answers(find, files):
    first, second = find([files / "beep.wav", files / "green.png"], top_k=1)
    assert (first[0]["name"], second[0]["name"]) == ("red", "hum")
    assert len(find(audio=[red_sound()])) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_items_are_encoded_in_batches(batch_size):
    find = make_finder()
    assert find.index({str(number): RED for number in range(5)}, batch_size=batch_size) == 5
    sizes = find.model.batches["image"]
    assert sum(sizes) == 5
    assert set(sizes[:-1]) <= {batch_size}


def test_what_is_indexed_is_not_encoded_again(find, files):
    assert find.index([files / "red.png", str(files / "green.png")]) == 2
    before = list(find.model.batches["image"])
    assert find.index([files / "red.png"]) == 0
    assert find.model.batches["image"] == before
    assert find.index([files / "red.png"], replace=True) == 1


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_index_goes_on_where_an_error_ended_it(files, batch_size):
    (files / "broken.png").write_bytes((files / "red.png").read_bytes()[:-40])
    names = [str(files / name) for name in ("red.png", "broken.png", "green.png")]
    find = make_finder()
    with pytest.raises(ValueError, match=r"`image .*broken\.png` \(broken\.png\) is damaged or cut short"):
        find.index(names, folder=files / "index", batch_size=batch_size)
    write_picture(files / "broken.png", BOTH)
    again = make_finder()
    assert again.index(names, folder=files / "index") == 2
    assert again.model.batches["image"] == [2]
    assert sorted(again.stored.names("image")) == sorted(names)


def test_what_cannot_be_read_may_be_left_out(files):
    (files / "broken.png").write_bytes(b"\x89PNG")
    write_wav(files / "quiet.wav", np.zeros(3000, np.float32), RATE)
    find = make_finder()
    with pytest.warns(UserWarning, match="left out: ") as told:
        count = find.index(
            [files / "broken.png", files / "red.png"], [files / "quiet.wav", files / "beep.wav"], skip_broken=True
        )
    assert count == 2
    assert len(told) == 2
    assert "digital silence" in str(told[1].message)


def test_an_index_is_kept_while_it_is_filled(files, monkeypatch):
    monkeypatch.setattr("avzoo.pipelines.audio_image_retrieval.pipeline._SAVE_EVERY", 2)
    find, saves = make_finder(), []
    save = type(find.stored).save
    monkeypatch.setattr(type(find.stored), "save", lambda self, folder: saves.append(len(self)) or save(self, folder))
    find.index({str(number): RED for number in range(5)}, folder=files / "index", batch_size=1)
    assert saves == [2, 4, 5]


def test_what_is_removed_is_found_no_more(find, tmp_path):
    assert find.remove("both") == 1
    assert [answer["name"] for answer in find(audio=red_sound())] == ["red", "green"]
    find.save(tmp_path / "index")
    other = make_finder()
    assert other.remove(["red", "hum"], folder=tmp_path / "index") == 2
    find.load(tmp_path / "index")
    assert (find.stored.names("image"), find.stored.names("audio")) == (["green"], ["beep"])


def test_a_name_that_is_not_indexed_is_not_removed(find):
    with pytest.raises(ValueError, match="`names`: 1 of the 2 are not indexed, the first is 'blue'"):
        find.remove(["red", "blue"])
    assert find.stored.names("image") == ["red", "green", "both"]


def test_a_saved_index_is_loaded_by_the_same_model(find, tmp_path):
    find.save(tmp_path / "index")
    again = make_finder()
    again.load(tmp_path / "index")
    assert again(audio=red_sound()) == find(audio=red_sound())


def test_an_index_of_another_model_is_refused(find, tmp_path):
    find.save(tmp_path / "index")
    other = make_finder()
    with torch.no_grad():
        other.model.weight += 1
    with pytest.raises(ValueError, match="holds an index of another model, or of its weights in another precision"):
        other.load(tmp_path / "index")
    with pytest.raises(ValueError, match="of another model"):
        other.index({"x": RED}, folder=tmp_path / "index")


def test_an_index_of_another_preprocessing_is_refused(find, tmp_path, monkeypatch):
    find.save(tmp_path / "index")
    monkeypatch.setattr(ColourProcessor, "to_dict", lambda self: {"image_size": 9})
    with pytest.raises(ValueError, match="holds an index of another processor"):
        make_finder().load(tmp_path / "index")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda find: find(), ValueError, "pass one of `query`, `image` and `audio`, got none"),
        (lambda find: find(image=RED, audio=red_sound()), ValueError, "got image and audio"),
        (lambda find: find(audio=[]), ValueError, "`audio` is an empty list"),
        (lambda find: find(audio=red_sound(), top_k=0), ValueError, "`top_k` must be at least 1, got 0"),
        (lambda find: find(audio=red_sound(), among="text"), ValueError, "`among` must be one of None, image, audio"),
        (lambda find: find(audio=red_sound(), best=1), TypeError, "audio-image-retrieval has no parameter 'best'"),
        (lambda find: find(audio=red_sound(0.01)), ValueError, "`audio` is too short"),
        (lambda find: find(audio=np.zeros(3000, np.float32)), ValueError, "`audio`: the 3 s that the model hears"),
        (lambda find: find("missing.wav"), FileNotFoundError, "missing.wav"),
        (lambda find: find.index(), ValueError, "`images` and `audio` are both empty"),
        (lambda find: find.index([RED]), TypeError, "`images` must hold paths, got ndarray; pass {name: item}"),
        (lambda find: find.index(3), TypeError, "`images` must hold paths, got int"),
        (lambda find: find.index({1: RED}), TypeError, "`images`: names must be text, got 1"),
        (lambda find: make_finder()(audio=red_sound()), ValueError, "no pictures are indexed, so none can be found"),
        (lambda find: make_finder()(image=RED), ValueError, "no sounds are indexed"),
        (lambda find: make_finder().save("x"), ValueError, "nothing is indexed; call `index` first"),
        (lambda find: find.load("missing"), FileNotFoundError, "`missing` holds no index.json"),
    ],
)
def test_what_cannot_be_answered_is_named(find, call, error, message):
    with pytest.raises(error, match=message):
        call(find)


def test_the_kind_of_a_query_is_told(files):
    write_video(files / "clip.mp4", np.zeros((3, 16, 16, 3), np.uint8), 25, audio=red_sound(), sampling_rate=RATE)
    (files / "nameless").write_bytes((files / "red.png").read_bytes())
    content = io.BytesIO()
    Image.fromarray(RED).save(content, "webp")
    images = [RED, torch.from_numpy(RED), Image.fromarray(RED), files / "nameless", "missing.JPG", content.getvalue()]
    images += [{"bytes": content.getvalue(), "path": None}, {"bytes": None, "path": str(files / "red.png")}]
    sounds = [red_sound(), np.zeros((2, 100)), [0.1, 0.2], files / "beep.wav", files / "clip.mp4", "https://x.org/a"]
    sounds += [{"array": red_sound(), "sampling_rate": RATE}, (files / "beep.wav").read_bytes()]
    assert [guess_kind(one) for one in images] == ["image"] * len(images)
    assert [guess_kind(one) for one in sounds] == ["audio"] * len(sounds)


@torch.no_grad()
@pytest.mark.parametrize("projection_dim", [10, None])
def test_scores_are_cosines_of_the_models_vectors(tmp_path, projection_dim):
    torch.manual_seed(0)
    sizes = {"hidden_sizes": (4, 6, 8, 12), "depths": (1, 1, 1, 1), "projection_dim": projection_dim}
    SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**sizes)).save_pretrained(tmp_path)
    SSLAlignmentProcessor().save_pretrained(tmp_path)
    find = transformers.pipeline("audio-image-retrieval", model=str(tmp_path), device="cpu")
    draw = np.random.default_rng(0)
    pictures = {str(number): draw.integers(0, 256, (40, 50, 3), dtype=np.uint8) for number in range(3)}
    noise = (0.1 * draw.standard_normal(48000)).astype(np.float32)
    find.index(pictures)
    scores = {answer["name"]: answer["score"] for answer in find(audio=noise)}
    inputs = find.processor(images=list(pictures.values()), audio=noise, sampling_rate=16000)
    images = find.model.get_image_features(inputs.pixel_values).pooler_output
    sound = find.model.get_audio_features(inputs.input_features).pooler_output
    expected = torch.nn.functional.cosine_similarity(images, sound)
    for name, score in zip(pictures, expected.tolist(), strict=True):
        assert scores[name] == pytest.approx(score, abs=1e-6)


def test_what_was_indexed_before_goes_into_the_folders_index(find, files):
    other = make_finder()
    other.index([files / "red.png"], folder=files / "index")
    find.index([files / "green.png"], folder=files / "index")
    again = make_finder()
    again.load(files / "index")
    assert again.stored.names("image") == [str(files / "red.png"), "red", "green", "both", str(files / "green.png")]
