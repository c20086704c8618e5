"""Targets that a teacher computed once, and batches of windows and pairs."""

import numpy as np
import pytest
import torch
from contract.tiny import tiny_model

from avzoo import VocaLiSTForSequenceClassification, zoo
from avzoo.models.mtdvocalist import teacher_trace
from avzoo.models.mtdvocalist.sampling import (
    SWAPPED_LABELS,
    SWAPPED_PAIRS,
    draw_two_windows,
    join_windows,
)
from avzoo.models.mtdvocalist.trace_cache import TraceCache


@pytest.fixture(scope="module")
def trace():
    teacher = tiny_model(zoo.find_row("mtdvocalist"), VocaLiSTForSequenceClassification)
    rows, columns = teacher.config.image_size
    generator = torch.Generator().manual_seed(0)
    pixel_values = 255 * torch.rand(6, 5, 3, rows, columns, generator=generator)
    input_features = torch.randn(6, 1, teacher.config.num_mel_bins, 16, generator=generator)
    return lambda indices: teacher_trace(teacher, pixel_values[indices], input_features[indices])


def parts(trace):
    return [*trace.scores.values(), *trace.relations.values(), trace.logits]


def never():
    raise AssertionError("what is kept need not be computed")


def test_what_is_read_is_what_was_computed(trace, tmp_path):
    computed = TraceCache(tmp_path, 6).get([4, 1, 3], lambda: trace([4, 1, 3]))
    assert computed.scores["va"].isneginf().any()  # masked places survive half precision
    kept = TraceCache(tmp_path, 6).get([3, 4], never)  # opened anew, in another order
    for read, fresh in zip(parts(kept), parts(trace([3, 4])), strict=True):
        torch.testing.assert_close(read, fresh, rtol=2e-3, atol=1e-3)


def test_a_batch_with_one_unknown_window_is_computed(trace, tmp_path):
    cache, asked = TraceCache(tmp_path, 6), []
    for indices in ([0, 1], [1, 2], [0, 2]):
        cache.get(indices, lambda indices=indices: asked.append(indices) or trace(indices))
    assert asked == [[0, 1], [1, 2]]


def test_opening_a_cache_that_another_process_fills_cuts_nothing(trace, tmp_path):
    first, second = TraceCache(tmp_path, 6), TraceCache(tmp_path, 6)  # neither sees a file yet
    first.get([0, 1], lambda: trace([0, 1]))
    second.get([4, 5], lambda: trace([4, 5]))
    for read, fresh in zip(parts(TraceCache(tmp_path, 6).get([0, 5], never)), parts(trace([0, 5])), strict=True):
        torch.testing.assert_close(read, fresh, rtol=2e-3, atol=1e-3)


def test_traces_of_other_windows_are_refused(trace, tmp_path):
    TraceCache(tmp_path, 6).get([0], lambda: trace([0]))
    with pytest.raises(ValueError, match=r"`folder` .* holds features of 6 items, got 7\. Name another folder"):
        TraceCache(tmp_path, 7)


# Two windows of a clip, and batches of them


def test_two_windows_are_loud_and_apart():
    loudness = np.where(np.arange(30) % 2, 0.1, 0.001)
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_two_windows(30, loudness, generator, min_gap=4) for _ in range(500)]
    assert all(first % 2 and second % 2 and abs(first - second) >= 4 for first, second in drawn)
    assert {start for pair in drawn for start in pair} == set(range(1, 30, 2))


def test_a_clip_with_one_loud_window_has_no_two():
    loudness = np.zeros(30) + 0.001
    loudness[7] = 1.0
    assert draw_two_windows(30, loudness, torch.Generator().manual_seed(0)) is None


def test_every_window_is_in_sync_as_often_as_not():
    for column in (0, 1):
        for window in (0, 1):
            labels = [
                label for pair, label in zip(SWAPPED_PAIRS, SWAPPED_LABELS, strict=True) if pair[column] == window
            ]
            assert sorted(labels) == [0.0, 1.0]


def test_pairs_count_within_the_batch_when_samples_are_joined():
    def sample(start, videos, sounds, pairs):
        return {
            "pixel_values": start + torch.arange(videos).view(-1, 1),
            "input_features": start + torch.arange(sounds).view(-1, 1),
            "pairs": torch.tensor(pairs),
            "labels": torch.ones(len(pairs)),
        }

    batch = join_windows([sample(0, 2, 1, [[1, 0]]), sample(10, 1, 2, [[0, 0], [0, 1]])])
    assert batch["pairs"].tolist() == [[1, 0], [2, 1], [2, 2]]
    compared = batch["pixel_values"][batch["pairs"][:, 0]], batch["input_features"][batch["pairs"][:, 1]]
    assert [part.flatten().tolist() for part in compared] == [[1, 10, 10], [0, 10, 11]]
    assert len(batch["labels"]) == 3
