"""Tracks that are laid end to end: what counts comes first, in order."""

import torch

from avzoo.models.talknce.visual_encoder import compute_packing_indices


def test_packed_frames_are_those_of_each_track_in_order_then_the_padding():
    expected = [
        [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11],  # two frames of each of three tracks of four
        list(range(12)),  # nothing is padded
        [0, 4, 8, 1, 2, 3, 5, 6, 7, 9, 10, 11],
    ]
    assert compute_packing_indices(torch.tensor([2, 4, 1]), tracks=3, frames=4).tolist() == expected
