"""What the reader of drawn signs learns from, and all of its training at a small size."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCTC, AutoProcessor

from avzoo import SlowFastSignConfig, SlowFastSignForCTC

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("toy.sign_reader")


@pytest.fixture
def clip(toy):
    """Four signs in sixty frames, each frame of its number alone."""
    numbers = torch.arange(60, dtype=torch.uint8)[:, None, None, None]
    return {
        "frames": numbers.expand(60, toy.SIZE, toy.SIZE, 3),
        "glosses": ["NOT", "BIG", "CAR", "EAT"],
        "spans": [[8, 15], [20, 27], [32, 38], [44, 50]],
    }


def test_a_piece_has_its_signs_and_a_part_of_the_ways_around_them(toy, clip):
    starts, stops = set(), set()
    for seed in range(300):
        np.random.seed(seed)
        piece = toy.cut_piece(clip, 1, 3)
        assert piece["glosses"] == ["BIG", "CAR"]
        numbers = piece["frames"][:, 0, 0, 0]
        assert [[numbers[begin], numbers[end - 1]] for begin, end in piece["spans"]] == [[20, 26], [32, 37]]
        starts.add(int(numbers[0]))
        stops.add(int(numbers[-1]) + 1)
    assert starts == {15, 16, 17}  # after the sign before, three frames before the first
    assert stops == {41, 42, 43, 44}


def test_a_whole_sentence_keeps_any_part_of_its_rests(toy, clip):
    sizes = set()
    for seed in range(300):
        np.random.seed(seed)
        piece = toy.cut_piece(clip, 0, 4)
        assert len(piece["spans"]) == 4
        sizes.add(len(piece["frames"]))
    assert min(sizes) == 53 - 5
    assert max(sizes) == 60


def test_pieces_have_as_many_signs_as_asked_for(toy, clip):
    short = {**clip, "glosses": clip["glosses"][:2], "spans": clip["spans"][:2]}
    pieces = toy.Pieces([clip, short], np.array([1, 2, 3, 4, 0]))
    for _ in range(10):
        counts = [len(pieces[index]["glosses"]) for index in range(5)]
        assert counts[:4] == [1, 2, 3, 4]
        assert counts[4] in (2, 4)


def test_looks_change_for_a_whole_clip_at_once(toy):
    ramp = np.broadcast_to(np.arange(toy.SIZE, dtype=np.uint8)[None, None, :, None] * 4, (5, toy.SIZE, toy.SIZE, 3))
    mirrored, brightness = set(), set()
    for seed in range(60):
        np.random.seed(seed)
        frames = toy.change_looks({"frames": ramp})["frames"]
        assert (frames.shape, frames.dtype) == (ramp.shape, np.uint8)
        assert (frames == frames[:1]).all()
        slope = np.diff(frames[0, 0, :, 0].astype(int)).sum()
        mirrored.add(slope < 0)
        brightness.add(int(frames[0, 0].mean()))
    assert mirrored == {True, False}
    assert len(brightness) > 10
    assert ramp[0, 0, 1, 0] == 4  # the clip is left as it was


def test_signs_are_named_from_where_they_are_in_the_padded_clip(toy, clip):
    processor = toy.make_processor()
    pieces = [{**clip, "frames": clip["frames"].numpy()}, {**clip, "frames": clip["frames"][:52].numpy()}]
    batch = toy.SignCollator(processor)(pieces)
    assert batch["spans"][:, 0].tolist() == [0] * 4 + [1] * 4
    for (number, begin, end), (first, stop) in zip(batch["spans"].tolist(), clip["spans"] * 2, strict=True):
        shown = batch["pixel_values"][number, begin:end, 0, 0, 0]
        assert shown.tolist() == list(range(first, stop))
    assert [processor.name_gloss(label) for label in batch["labels"].tolist()] == clip["glosses"] * 2


def test_naming_signs_trains_the_pathways(toy, clip):
    torch.manual_seed(0)
    network = SlowFastSignForCTC(SlowFastSignConfig(**toy.NETWORK, vocab_size=11))
    naming = toy.SignNaming(network)
    batch = toy.SignCollator(toy.make_processor())([{**clip, "frames": clip["frames"].numpy()}])
    naming(**batch).backward()
    assert network.slowfast.pathways.slow_stem.projection.convolution.weight.grad.abs().sum() > 0
    assert network.slowfast.pathways.fast_stem.projection.convolution.weight.grad.abs().sum() > 0
    assert all(value.grad is None for value in network.head.parameters())


@pytest.mark.slow
def test_the_reader_prints_its_rates_and_is_saved_for_inference(run_toy, toy, monkeypatch, tmp_path):
    sizes = {"NUM_CLIPS": 6, "CLIPS_IN_A_FILE": 4, "NUM_TEST_CLIPS": 2, "PATHWAY_STEPS": 1, "STEPS": 3}
    for name, value in sizes.items():
        monkeypatch.setattr(toy, name, value)
    printed = run_toy("train_slowfast_cslr.py", tmp_path, "--toy_world signs")
    assert printed.count("word error rate of 2 synthetic sentences") == 2
    model, processor = AutoModelForCTC.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert not model.config.auxiliary_branches
    assert model.dtype == torch.float32  # stored in half precision
    assert processor.glosses == list(toy.GLOSSES)
