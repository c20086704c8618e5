"""Neighbour lists: found as by sorting everything, read in the order that the numbers count, drawn from the list."""

import json
import pickle

import numpy as np
import pytest
import torch

from avzoo.models.ssl_alignment import neighbours as module
from avzoo.models.ssl_alignment.neighbours import (
    NeighbourLists,
    SimilarClips,
    find_neighbours,
    read_neighbours,
    read_released_neighbours,
    save_neighbours,
    write_released_neighbours,
)


def sort_everything(features: np.ndarray, k: int) -> np.ndarray:
    """The brute force: all cosines, sorted, ties by number."""
    vectors = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    similarity = np.round(vectors @ vectors.T, 5)  # what is equal stays equal, whatever the order of its sum
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


@pytest.fixture
def lists() -> NeighbourLists:
    return NeighbourLists(
        ("a", "b", "c", "d"),
        image=np.array([[1, 2], [0, 2], [3, 0], [2, 1]]),
        audio=np.array([[3, 1], [3, 0], [1, 0], [0, 1]]),
    )


@pytest.mark.parametrize(("row_block", "column_block"), [(512, 16_384), (7, 11), (50, 3), (1, 1)])
def test_found_neighbours_are_those_of_sorting_everything(row_block, column_block):
    features = np.random.default_rng(0).standard_normal((53, 6)).astype(np.float32)
    found = find_neighbours(features, 9, row_block=row_block, column_block=column_block)
    assert found.dtype == np.int32
    assert found.tolist() == sort_everything(features, 9).tolist()


@pytest.mark.parametrize(("row_block", "column_block"), [(512, 16_384), (5, 4), (3, 50)])
def test_equal_similarities_come_in_the_order_of_their_numbers(row_block, column_block):
    """Axes of a few directions: nearly all similarities are 0 or 1."""
    features = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, 40)]
    found = find_neighbours(features, 15, row_block=row_block, column_block=column_block)
    assert found.tolist() == sort_everything(features, 15).tolist()


def test_all_others_can_be_asked_for():
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert find_neighbours(features, 2).tolist() == [[1, 2], [0, 2], [1, 0]]


def test_the_length_of_a_feature_does_not_matter():
    features = np.array([[1.0, 0.0], [10.0, 1.0], [0.0, 100.0]])
    assert find_neighbours(features, 1).tolist() == [[1], [0], [1]]


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (np.ones((3, 2)), 3, "`k` must be at least 1 and at most 2, got 3"),
        (np.array([[1.0, 0], [0, 0], [0, 1]]), 1, "`features`: item 1 is zero, NaN or infinite"),
        (np.array([[1.0, 0], [0, 1], [0, np.nan]]), 1, "`features`: item 2 is zero, NaN or infinite"),
        (np.ones(3), 1, r"`features` must be \(items, size\) of at least two items, got \(3,\)"),
    ],
)
def test_features_without_neighbours_are_refused(features, k, message):
    with pytest.raises(ValueError, match=message):
        find_neighbours(features, k)


def test_saved_lists_are_read_row_by_row(lists, tmp_path):
    save_neighbours(lists, tmp_path / "lists.safetensors")
    read = read_neighbours(tmp_path / "lists.safetensors")
    assert read.ids == lists.ids
    for name in ("image", "audio"):
        assert [getattr(read, name)[row].tolist() for row in range(4)] == getattr(lists, name).tolist()
        assert getattr(read, name)[1:9].tolist() == getattr(lists, name)[1:].tolist()
    assert SimilarClips(read, ["a", "b"]).draw("a", torch.Generator()) == ("b", "b")
    travelled = pickle.loads(pickle.dumps(read))  # to a process that loads data
    assert travelled.image[2].tolist() == [3, 0]


def test_the_authors_numbers_count_the_clips_of_the_audio_file(tmp_path):
    """The image file names the clips in another order, which its numbers don't follow."""
    (tmp_path / "audio.json").write_text('[{"x.npy": [1], "y.npy": [2], "z.npy": [0]}]')
    (tmp_path / "image.json").write_text('[{"z.npy": [0], "x.npy": [2], "y.npy": [1]}]')
    read = read_released_neighbours(tmp_path / "image.json", tmp_path / "audio.json")
    assert read.ids == ("x", "y", "z")
    names = {
        kind: {name: read.ids[int(table[row, 0])] for row, name in enumerate(read.ids)}
        for kind, table in (("image", read.image), ("audio", read.audio))
    }
    assert names["audio"] == {"x": "y", "y": "z", "z": "x"}
    assert names["image"] == {"z": "x", "x": "z", "y": "y"}  # by the image file's own order z would be its own


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_files_in_the_authors_form_are_read_as_written(lists, block, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_BLOCK", block)
    paths = tmp_path / "image.json", tmp_path / "audio.json"
    write_released_neighbours(lists, *paths)
    content = json.loads(paths[0].read_text())
    assert content[0]["c.npy"] == [3, 0]
    paths[0].write_text(json.dumps(content, indent=2))  # other white space
    read = read_neighbours(*paths)
    assert read.ids == lists.ids
    assert (read.image.tolist(), read.audio.tolist()) == (lists.image.tolist(), lists.audio.tolist())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"x.npy": [0]}', r"expected '\['"),
        ("[{}]", "it holds no clip"),
        ('[{"x.npy": [0], "y.npy": [0, 1]}]', "'y.npy' has 2 neighbours, clips before it 1"),
        ('[{"x.npy": ["y"]}]', "'x.npy' has no list of whole numbers"),
        ('[{"x.npy": [0', r"Expecting ',' delimiter at '\[0'"),
        ('[{"x.npy": [0]; "y.npy": [0]}]', "expected ',', got '; "),
        ('[{"x.npy": [0, ]}]', "is no list"),
        ('[{"x.npy": [1]}]', "the lists count clips from 1 to 1, but .* has 1"),
    ],
)
def test_files_of_another_layout_are_refused(content, message, tmp_path):
    for name in ("image.json", "audio.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_released_neighbours(tmp_path / "image.json", tmp_path / "audio.json")


def test_a_clip_without_image_neighbours_is_named(tmp_path):
    (tmp_path / "audio.json").write_text('[{"x.npy": [1], "y.npy": [0]}]')
    (tmp_path / "image.json").write_text('[{"x.npy": [1]}]')
    with pytest.raises(ValueError, match=r"no list for 1 of the 2 clips of .*audio.json, the first is 'y.npy'"):
        read_released_neighbours(tmp_path / "image.json", tmp_path / "audio.json")


def test_other_files_are_told_from_lists(lists, tmp_path):
    (tmp_path / "image.json").write_text('[{"x.npy": [0]}]')
    with pytest.raises(ValueError, match="of the authors' JSON files both are needed"):
        read_neighbours(tmp_path / "image.json")
    with pytest.raises(FileNotFoundError, match="is no file"):
        read_neighbours(tmp_path / "nowhere.safetensors")
    module.save_file({"image": lists.image}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no neighbour lists: it has image"):
        read_neighbours(tmp_path / "other.safetensors")


def test_what_is_drawn_is_a_neighbour_in_the_training_list(lists):
    similar, generator = SimilarClips(lists, ["a", "b", "c"]), torch.Generator().manual_seed(0)
    drawn = [similar.draw("c", generator) for _ in range(50)]
    assert {image for image, _ in drawn} == {"a"}  # d isn't trained on
    assert {audio for _, audio in drawn} == {"a", "b"}


def test_picture_and_sound_are_drawn_independently_and_uniformly():
    numbers = np.tile(np.arange(4), (4, 1))
    similar = SimilarClips(NeighbourLists(tuple("abcd"), numbers, numbers), tuple("abcd"))
    generator = torch.Generator().manual_seed(0)
    counts = np.zeros((4, 4))
    for _ in range(1600):
        image, audio = similar.draw("a", generator)
        counts["abcd".index(image), "abcd".index(audio)] += 1
    assert counts.min() > 65  # 100 each, standard deviation 10
    assert counts.max() < 135


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (["a", "e"], "no list for 1 of the 2 training clips, the first is 'e'"),
        (["a", "c"], "1 of the 2 training clips have no audio neighbour in the training list, the first is 'a'"),
        (["a"], "1 of the 1 training clips have no image neighbour"),
    ],
)
def test_training_clips_without_neighbours_are_named(lists, training, message):
    with pytest.raises(ValueError, match=message):
        SimilarClips(lists, training)


def test_numbers_without_a_clip_are_refused(lists):
    wrong = NeighbourLists(lists.ids, lists.image, lists.audio + 1)
    with pytest.raises(ValueError, match="the audio lists count clips from 1 to 4, there are 4"):
        SimilarClips(wrong, lists.ids)


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        (("a", "b", "a"), 3, "`ids` names 'a' more than once"),
        (("a", "b"), 3, r"`image` must be \(clips, neighbours\) with a row for each of the 2 ids .* got \(3, 1\)"),
    ],
)
def test_lists_that_do_not_fit_their_clips_are_refused(ids, rows, message):
    with pytest.raises(ValueError, match=message):
        NeighbourLists(ids, np.zeros((rows, 1), int), np.zeros((rows, 1), int))
