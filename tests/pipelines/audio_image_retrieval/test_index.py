"""The stored index: what is written is read, and what is damaged is refused."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from avzoo.pipelines.audio_image_retrieval.index import FeatureIndex


def make_index(count: int = 3) -> FeatureIndex:
    index = FeatureIndex("m" * 64, "p" * 64)
    index.add("image", [f"{number}.jpg" for number in range(count)], np.eye(4, dtype=np.float32)[:count])
    index.add("audio", ["a.wav"], np.array([[3, 4, 0, 0]], np.float32))
    return index


def test_answers_are_cosines_best_first():
    found = make_index().search("image", np.array([3.0, 4.0, 0.0, 0.0]), top_k=2)
    assert [name for name, _ in found] == ["1.jpg", "0.jpg"]
    assert [score for _, score in found] == pytest.approx([0.8, 0.6])


def test_vectors_of_any_length_are_scaled():
    ((_, score),) = make_index().search("audio", np.array([0.6, 0.8, 0.0, 0.0]), top_k=5)
    assert score == pytest.approx(1)


def test_of_equal_scores_the_first_that_was_added_comes_first():
    found = make_index().search("image", np.array([0.0, 0.0, 0.0, 1.0]), top_k=3)
    assert [name for name, _ in found] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_name_that_is_there_is_replaced_in_its_place():
    index = make_index()
    index.add("image", ["0.jpg", "3.jpg"], np.array([[0, 0, 0, 2], [0, 0, 1, 1]], np.float32))
    assert index.names("image") == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    np.testing.assert_array_equal(index.features("image")[0], [0, 0, 0, 1])
    assert len(index) == 5


def test_what_is_saved_is_loaded(tmp_path):
    index = make_index()
    index.save(tmp_path / "index")
    loaded = FeatureIndex.load(tmp_path / "index")
    assert (loaded.model, loaded.processor) == (index.model, index.processor)
    for kind in ("image", "audio"):
        assert loaded.names(kind) == index.names(kind)
        np.testing.assert_array_equal(loaded.features(kind), index.features(kind))
    loaded.add("image", ["new.jpg"], np.ones((1, 4), np.float32))
    assert loaded.names("image")[-1] == "new.jpg"


def test_names_that_are_no_utf8_are_saved_and_loaded(tmp_path):
    index, name = make_index(), os.fsdecode(b"caf\xe9.jpg")  # a file name of an old Latin-1 archive
    index.add("image", [name, "straße.jpg"], np.ones((2, 4), np.float32))
    index.save(tmp_path)
    assert FeatureIndex.load(tmp_path).names("image")[-2:] == [name, "straße.jpg"]


def test_items_that_are_removed_leave_the_others_as_they_were():
    index = make_index()
    assert index.remove("image", ["1.jpg", "unknown.jpg"]) == 1
    assert index.names("image") == ["0.jpg", "2.jpg"]
    np.testing.assert_array_equal(index.features("image"), np.eye(4)[[0, 2]])
    index.add("image", ["2.jpg", "1.jpg"], np.eye(4)[[3, 1]])
    np.testing.assert_array_equal(index.features("image"), np.eye(4)[[0, 3, 1]])


def test_a_second_save_leaves_one_file_of_features(tmp_path):
    index = make_index()
    index.save(tmp_path)
    index.add("audio", ["b.wav"], np.ones((1, 4), np.float32))
    index.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    assert FeatureIndex.load(tmp_path).names("audio") == ["a.wav", "b.wav"]


def test_a_save_that_breaks_off_leaves_the_index_as_it_was(tmp_path, full_disk):
    index = make_index()
    index.save(tmp_path)
    index.add("image", [f"x{number}" for number in range(2000)], np.ones((2000, 4), np.float32))
    with pytest.raises(OSError, match="cannot be written"):
        index.save(tmp_path)
    assert FeatureIndex.load(tmp_path).names("image") == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_folder_without_an_index_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no index\.json; index pictures or sounds first"):
        FeatureIndex.load(tmp_path)


DAMAGES = {
    "no JSON": lambda table: "{",
    "another version": lambda table: {**table, "version": 9},
    "no object": lambda table: [],
    "a digest that is no text": lambda table: {**table, "model": 3},
    "a path outside": lambda table: {**table, "features": "../features.safetensors"},
    "a name too many": lambda table: {**table, "image": [*table["image"], "x"]},
    "a name twice": lambda table: {**table, "image": [table["image"][0]] * 3},
    "a name that is none": lambda table: {**table, "image": [1, 2, 3]},
    "no names": lambda table: {name: value for name, value in table.items() if name != "image"},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_table_is_refused(tmp_path, damage):
    make_index().save(tmp_path)
    path = tmp_path / "index.json"
    changed = damage(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(ValueError, match="holds no index that can be read, it is damaged"):
        FeatureIndex.load(tmp_path)


@pytest.mark.parametrize(
    "features", [np.zeros((3, 4)), np.full((3, 4), np.nan, np.float32), np.zeros((3,), np.float32)]
)
def test_features_that_are_none_are_refused(tmp_path, features):
    make_index().save(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    save_file({"image": features, "audio": np.zeros((1, 4), np.float32)}, file)
    with pytest.raises(ValueError, match="it is damaged"):
        FeatureIndex.load(tmp_path)


def test_features_that_are_cut_short_are_refused(tmp_path):
    make_index().save(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="it is damaged"):
        FeatureIndex.load(tmp_path)


def test_items_of_another_index_are_added_unless_their_names_are_there():
    index, other = make_index(2), FeatureIndex("m" * 64, "p" * 64)
    other.add("image", ["1.jpg", "new.jpg"], np.array([[0, 0, 1, 0], [0, 0, 0, 1]], np.float32))
    index.add_missing(other)
    assert index.names("image") == ["0.jpg", "1.jpg", "new.jpg"]
    np.testing.assert_array_equal(index.features("image"), np.eye(4)[[0, 1, 3]])
