"""The scores and views of cross-modal alignment's toy claim, by hand, and all of it at a small size."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("toy.ssl_alignment")


def mark(size: int, *cells: tuple[int, int]) -> np.ndarray:
    """(size, size): 1 at these cells, else 0."""
    marked = np.zeros((size, size), np.float32)
    marked[tuple(np.transpose(cells))] = 1
    return marked


HALVES = np.stack([np.tile([True, True, False, False], (4, 1)), np.tile([False, False, True, True], (4, 1))])


def test_both_sounds_are_right_where_each_points_at_its_own_thing(toy):
    left, right = (1, 0), (1, 3)
    maps = np.stack(
        [
            np.stack([mark(4, left), mark(4, right)]),  # both right
            np.stack([mark(4, left), mark(4, left)]),  # the second points at the first thing
            np.stack([mark(4, right), mark(4, left)]),  # turned around
        ]
    )
    both, one, _ = toy.score_maps(maps, np.stack([HALVES] * 3))
    assert (both, one) == (pytest.approx(1 / 3), pytest.approx(3 / 6))


def test_a_coarse_map_is_compared_with_masks_of_the_picture(toy):
    maps = np.array([[[[1, 0], [0, 0]], [[0, 0], [0, 1]]]], np.float32)  # upper left, lower right
    assert toy.score_maps(maps, HALVES[None])[:2] == (1.0, 1.0)
    upper = np.stack([HALVES[0].T, HALVES[1].T])
    assert toy.score_maps(maps, upper[None])[:2] == (1.0, 1.0)
    assert toy.score_maps(maps, HALVES[None, ::-1])[:2] == (0.0, 0.0)


def test_the_worse_of_two_sounds_counts_in_the_area_under_demands(toy):
    rising = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    # Eight pixels are kept. The first sound keeps its whole half, less the one pixel of the threshold; the second map
    # rises downwards: half of its eight pixels lie on its thing.
    first, second = np.where(HALVES[0], 2 + rising, rising), rising
    _, _, area = toy.score_maps(np.stack([first, second])[None], HALVES[None])
    kept = 7  # strictly above the eighth largest
    shared = 4  # of them in the right half: rows 2 and 3, and no more
    worse = shared / (8 + kept - shared)
    demands = 0.05 * np.arange(21)
    reached = (worse >= demands).astype(float)
    assert area == pytest.approx(float(((reached[1:] + reached[:-1]) / 2 * 0.05).sum()))


def test_the_centre_points_at_one_thing_at_most(toy):
    generator = np.random.default_rng(0)
    masks = np.stack([HALVES, HALVES[::-1]])
    assert toy.score_prior(masks).both_right == 0
    assert toy.score_prior(generator.random((3, 2, 8, 8)) < 2).one_right == 1  # everything is each thing


def test_the_threshold_lies_where_most_are_told_apart(toy):
    seen, off_screen, noise = np.array([0.8, 0.9, 0.4, 0.7]), np.array([0.5, 0.1]), np.array([0.2, 0.45])
    assert toy.fit_threshold(seen, off_screen, noise) == pytest.approx(0.6)  # between 0.5 and 0.7


def test_what_counts_against_the_threshold_is_everything_unseen(toy):
    assert toy.compare_confidences(np.array([0.5, 0.7]), np.array([0.6, 0.1])) == 0.75


@pytest.fixture
def clips() -> dict[str, torch.Tensor]:
    """Sixteen clips of each of two categories; pictures and windows of a clip hold its number alone."""
    numbers = torch.arange(32)
    return {
        "pictures": numbers.to(torch.uint8)[:, None, None, None].expand(32, 3, 128, 128),
        "sounds": (numbers[:, None] + 100 * torch.arange(3)).half()[:, :, None, None, None],
        "labels": numbers % 2,
    }


class Plain:
    @staticmethod
    def normalize_pixels(pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * 255).round()


def test_views_are_original_augmented_and_similar(toy, clips):
    torch.manual_seed(0)
    drawn = [toy.Views(clips, Plain(), 3)[4] for _ in range(200)]
    pictures = torch.stack([sample["pixel_values"][:, 0, 0, 0] for sample in drawn])
    sounds = torch.stack([sample["input_features"].flatten() for sample in drawn])
    assert (pictures[:, 0] == 4).all()
    assert (sounds[:, 0] == 4).all()
    assert ((pictures[:, 1] >= 2) & (pictures[:, 1] <= 4)).all()  # half as bright at the darkest
    assert set(sounds[:, 1].tolist()) == {4.0, 104.0, 204.0}
    assert 0.85 < (pictures[:, 2] % 2 == 0).float().mean() < 0.99  # .85 of the category, half of the rest by chance
    assert 0.94 < (sounds[:, 2] % 2 == 0).float().mean() <= 1.0
    assert len(set(pictures[:, 2].tolist())) > 14
    assert (sounds[:, 2] < 100).all()  # the middle window


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_views_are_made_where_fewer_are_asked_for(toy, clips, count):
    sample = toy.Views(clips, Plain(), count)[0]
    assert sample["pixel_values"].shape == (count, 3, 128, 128)
    assert sample["input_features"].shape == (count, 1, 1, 1)


def test_a_moved_picture_keeps_its_size_and_repeats_its_edge(toy):
    torch.manual_seed(1)
    ramp = torch.arange(128.0).expand(3, 128, 128)
    moved = [toy.move(ramp, 6) for _ in range(40)]
    assert all(picture.shape == (3, 128, 128) for picture in moved)
    shifts = {int(picture[0, 64, 64]) - 64 for picture in moved}
    assert {-6, 6} <= shifts <= set(range(-6, 7))
    assert all(picture.min() >= 0 and picture.max() <= 127 for picture in moved)


@pytest.mark.slow
def test_the_toy_prints_its_tables_and_saves_a_model(run_toy, toy, monkeypatch, tmp_path):
    for name, value in {"NUM_CLIPS": 32, "NUM_SINGLE_CLIPS": 16, "NUM_TEST_CLIPS": 6}.items():
        monkeypatch.setattr(toy, name, value)
    monkeypatch.setattr(toy, "ROWS", tuple(replace(row, steps=1) for row in toy.ROWS))
    printed = run_toy("train_ssl_alignment.py", tmp_path, "--toy_seeds 0 1")
    for row in toy.ROWS:
        assert sum(line.startswith(row.name + " ") for line in printed.splitlines()) == 2  # in both tables
    assert "centre of the picture" in printed
    assert "both right, 9 pairs against one pair, 3 x steps" in printed
    assert printed.count("at least") == 4
    model, processor = AutoModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert 0 < model.config.confidence_threshold < 1
    inputs = processor(images=np.zeros((90, 60, 3), np.uint8), audio=np.ones(9000, np.float32), sampling_rate=16000)
    assert model(**inputs).similarity_map.shape == (1, 16, 16)
