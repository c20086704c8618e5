"""Position grids of clips of several lengths: in one batch what each clip gets alone."""

import torch

from avzoo.models.flexiast.resizing import (
    interpolate_to_columns,
    interpolation_matrix,
    resize_clip_positions,
    resize_position_embeddings,
)


def test_the_weights_of_every_length_are_those_of_the_matrix():
    for source in (1, 2, 5, 64, 101):
        matrices = interpolate_to_columns(source, torch.arange(1, 131), 130)
        for columns, matrix in enumerate(matrices, start=1):
            expected = torch.tensor(interpolation_matrix(source, columns, antialias=True), dtype=torch.float32)
            torch.testing.assert_close(matrix[:columns], expected, rtol=0, atol=1e-6)
            assert not matrix[columns:].any()


def test_the_stored_grid_comes_back_to_the_bit():
    assert torch.equal(interpolate_to_columns(64, torch.tensor([64]), 64)[0], torch.eye(64))


def test_the_weights_are_of_single_precision_whatever_the_default():
    torch.set_default_dtype(torch.float64)
    try:
        assert interpolate_to_columns(5, torch.tensor([3]), 4).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_each_clip_has_the_positions_it_has_alone():
    positions = torch.randn(1, 2 + 3 * 7, 5, generator=torch.Generator().manual_seed(0))
    columns, rows, width = torch.tensor([9, 7, 2]), 4, 9
    together = resize_clip_positions(positions, (3, 7), (rows, width), columns, num_prefix_tokens=2)
    for clip, own in zip(together, columns.tolist(), strict=True):
        alone = resize_position_embeddings(positions, (3, 7), (rows, own), num_prefix_tokens=2)[0]
        torch.testing.assert_close(clip[:2], alone[:2], rtol=0, atol=0)
        grid = clip[2:].view(rows, width, 5)
        torch.testing.assert_close(grid[:, :own], alone[2:].view(rows, own, 5), rtol=1e-5, atol=1e-6)
        assert not grid[:, own:].any()
