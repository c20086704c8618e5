"""Masks of clips that are padded at their end."""

import pytest
import torch

from avzoo.models.layers.padding import count_frames


def test_frames_are_counted():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    for kind in (torch.int64, torch.bool, torch.float32):
        assert count_frames(mask.to(kind)).tolist() == [4, 2, 1]


@pytest.mark.parametrize(("row", "message"), [([1, 0, 1], "a 1 follows a 0"), ([0, 0, 0], "a clip with no frame")])
def test_a_mask_with_a_hole_or_without_a_frame_is_refused(row, message):
    with pytest.raises(ValueError, match=message):
        count_frames(torch.tensor([[1, 1, 1], row]))


def test_where_a_mask_is_not_checked_no_clip_is_without_a_frame():
    counted = torch.compile(count_frames, fullgraph=True, backend="eager")(torch.tensor([[1, 1, 0], [0, 0, 0]]))
    assert counted.tolist() == [2, 1]
