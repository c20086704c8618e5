import pytest
import torch

from avzoo.audio import align_to_video, speech_features_mfcc, vggish_log_mel


def numbered(rows: int) -> torch.Tensor:
    return torch.arange(rows).float()[:, None]


@pytest.mark.parametrize(
    ("rows", "frames", "expected"),
    [
        (8, 2, [0, 1, 2, 3, 4, 5, 6, 7]),
        (9, 2, [0, 1, 2, 3, 4, 5, 6, 7]),
        (6, 2, [0, 1, 2, 3, 4, 5, 0, 1]),
        (3, 2, [0, 1, 2, 0, 1, 2, 0, 1]),
    ],
)
def test_missing_rows_come_from_the_start_and_surplus_is_cut(rows, frames, expected):
    assert align_to_video(numbered(rows), frames)[:, 0].tolist() == expected


def test_leading_axes_stay():
    batch = torch.stack([numbered(3), 10 + numbered(3)])
    assert align_to_video(batch, 2, rows_per_frame=2)[..., 0].tolist() == [[0, 1, 2, 0], [10, 11, 12, 10]]


@pytest.mark.parametrize(("fps", "copied"), [(25, 2), (30, 2), (50, 2)])
def test_a_clip_of_exactly_its_frames_lacks_few_rows(fps, copied):
    frames = 50
    waveform = 0.1 * torch.randn(16000 * frames // fps, generator=torch.Generator().manual_seed(0))
    rows = vggish_log_mel(waveform, fps=fps)
    aligned = align_to_video(rows, frames)
    assert aligned.shape == (200, 64)
    assert torch.equal(aligned[:-copied], rows[: 200 - copied])
    assert torch.equal(aligned[-1], rows[(200 - 1) % len(rows)])
    assert align_to_video(speech_features_mfcc(waveform, fps=fps), frames).shape == (200, 13)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (torch.zeros(0, 3), {"num_frames": 1}, r"`rows` must be .* with at least one row, got \(0, 3\)"),
        (torch.zeros(3), {"num_frames": 1}, r"`rows` must be \(..., rows, features\).* got \(3,\)"),
        (torch.zeros(3, 3), {"num_frames": 0}, r"`num_frames` \(0\) and `rows_per_frame` \(4\) must be at least 1"),
        (torch.zeros(3, 3), {"num_frames": 1, "rows_per_frame": 0}, r"`rows_per_frame` \(0\) must be at least 1"),
    ],
)
def test_bad_rows_or_frame_counts_are_refused(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        align_to_video(rows, **settings)
