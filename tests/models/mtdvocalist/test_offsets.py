"""Scores of every window against the sound around it: the same numbers as pair by pair, with less work and memory."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from contract.tiny import tiny_model

from avzoo import OffsetScorer, zoo
from avzoo.metrics.synchronization import clip_offset, mask_impossible_pairs
from avzoo.models.mtdvocalist.offsets import score_offsets

MAX_SHIFT = 3
WINDOWS = 9
NOISE = {"rtol": 1e-4, "atol": 1e-5}  # other batch sizes, other orders of the same sums


@pytest.fixture(scope="module")
def model():
    return tiny_model(zoo.find_row("mtdvocalist"))


def clip(num_windows: int = WINDOWS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of video and of sound, which overlap and share their memory as the processor's do."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (num_windows + 4, 3, 8, 16), dtype=torch.uint8, generator=generator)
    columns = 8 * torch.rand(1, 8, 3 * num_windows + 16, generator=generator) - 4
    audio_windows = columns.unfold(-1, 16, 3)[:, :, :num_windows].movedim(2, 0)
    return frames.unfold(0, 5, 1).movedim(-1, 1), audio_windows


@torch.no_grad()
def pair_by_pair(model, video_windows, audio_windows, max_shift=MAX_SHIFT) -> torch.Tensor:
    """Every pair through the whole network, the two windows alone."""
    scores = torch.full((len(video_windows), 2 * max_shift + 1), -torch.inf)
    for i in range(len(video_windows)):
        for j in range(2 * max_shift + 1):
            partner = i + j - max_shift
            if 0 <= partner < len(audio_windows):
                scores[i, j] = model(video_windows[i : i + 1], audio_windows[partner : partner + 1]).logits
    return scores


@pytest.fixture(scope="module")
def expected(model) -> torch.Tensor:
    scores = pair_by_pair(model, *clip())
    possible = scores[scores.isfinite()]
    assert possible.std() > 100 * NOISE["atol"]  # else a wrong pair would not show
    return scores


# --- the matrix -------------------------------------------------------------------------------------------------------


def test_scores_equal_those_of_single_pairs(model, expected):
    torch.testing.assert_close(model.score_offsets(*clip(), MAX_SHIFT), expected, **NOISE)


def test_only_missing_pairs_are_minus_infinity(model):
    scores = model.score_offsets(*clip(), MAX_SHIFT)
    row, column = torch.arange(WINDOWS)[:, None], torch.arange(2 * MAX_SHIFT + 1)
    exists = (row + column >= MAX_SHIFT) & (row + column - MAX_SHIFT < WINDOWS)
    assert torch.equal(scores == -torch.inf, ~exists)
    assert scores[exists].isfinite().all()


@pytest.mark.parametrize("blocks", [(1, 1), (1, 7), (2, 5), (3, 1000), (100, 2)])
def test_scores_do_not_depend_on_batch_sizes(model, expected, blocks):
    batch_size, pair_batch_size = blocks
    scores = model.score_offsets(*clip(), MAX_SHIFT, batch_size=batch_size, pair_batch_size=pair_batch_size)
    torch.testing.assert_close(scores, expected, **NOISE)


@pytest.mark.parametrize("stride", [2, 3, 4, 20])
def test_a_stride_leaves_rows_out(model, expected, stride):
    scores = model.score_offsets(*clip(), MAX_SHIFT, stride=stride, batch_size=1)
    torch.testing.assert_close(scores, expected[::stride], **NOISE)


def test_a_max_shift_of_zero_gives_the_logits_of_the_windows(model):
    video_windows, audio_windows = clip()
    scores = model.score_offsets(video_windows, audio_windows, 0)
    torch.testing.assert_close(scores, model(video_windows, audio_windows).logits.detach(), **NOISE)


def test_one_window_has_one_score(model):
    scores = model.score_offsets(*clip(1), MAX_SHIFT)
    assert scores.isfinite().tolist() == [[False, False, False, True, False, False, False]]


def test_a_shift_beyond_the_clip_is_impossible(model, expected):
    wide = model.score_offsets(*clip(), 12)
    torch.testing.assert_close(wide[:, 9:16], expected, **NOISE)
    assert wide[:, [0, 1, 2, 3, 21, 22, 23, 24]].eq(-torch.inf).all()


def test_scores_are_single_precision_without_gradient(model):
    scores = model.score_offsets(*clip(), MAX_SHIFT)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    half = tiny_model(zoo.find_row("mtdvocalist")).half().score_offsets(*clip(), MAX_SHIFT)
    assert half.dtype == torch.float32


def test_a_clip_is_not_modified(model):
    video_windows, audio_windows = clip()
    model.score_offsets(video_windows, audio_windows, MAX_SHIFT, protocol="official")
    for windows, again in zip((video_windows, audio_windows), clip(), strict=True):
        assert torch.equal(windows, again)


def test_a_progress_bar_is_shown_on_request_only(model, capsys):
    model.score_offsets(*clip(), MAX_SHIFT)
    assert capsys.readouterr() == ("", "")
    model.score_offsets(*clip(), MAX_SHIFT, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "9/9" in err


# --- the official protocol --------------------------------------------------------------------------------------------


def test_a_long_clip_holds_minus_1000_at_impossible_pairs_under_the_official_protocol(model, expected):
    official = model.score_offsets(*clip(), MAX_SHIFT, protocol="official")
    torch.testing.assert_close(official, expected.masked_fill(expected == -torch.inf, -1000.0), **NOISE)


def test_the_official_protocol_scores_silence_after_the_end_of_a_short_clip(model):
    video_windows, audio_windows = clip(5)  # fewer than 2 * MAX_SHIFT
    official = model.score_offsets(video_windows, audio_windows, MAX_SHIFT, protocol="official")
    with torch.no_grad():
        silent = model(video_windows, torch.zeros_like(audio_windows)).logits[:, 0]
    wanted = pair_by_pair(model, video_windows, audio_windows)
    wanted[2, 6] = silent[2]  # window 5 of the sound; windows 0 and 1 of the video reach 3 and 4 only
    wanted[wanted == -torch.inf] = -1000.0  # windows 3 and 4 are not among the first MAX_SHIFT
    torch.testing.assert_close(official, wanted, **NOISE)


def test_masking_an_official_matrix_gives_the_exact_one(model):
    short = clip(5)
    official = model.score_offsets(*short, MAX_SHIFT, protocol="official").numpy()
    exact = model.score_offsets(*short, MAX_SHIFT).numpy()
    np.testing.assert_allclose(mask_impossible_pairs(official), exact, rtol=1e-4, atol=1e-5)


# --- a clip that grows ------------------------------------------------------------------------------------------------


def pieces(generator: torch.Generator, count: int) -> list[int]:
    """Sizes that add up to `count`, zeros among them."""
    sizes = []
    while sum(sizes) < count:
        sizes.append(min(int(torch.randint(0, 4, (), generator=generator)), count - sum(sizes)))
    return sizes


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_are_returned_once_their_sound_has_arrived(model, expected, seed, stride):
    generator = torch.Generator().manual_seed(seed)
    video_windows, audio_windows = clip()
    scorer, rows, out = OffsetScorer(model, MAX_SHIFT, stride=stride), [], 0
    streams = [video_windows.split(pieces(generator, WINDOWS)), audio_windows.split(pieces(generator, WINDOWS))]
    came = [0, 0]
    for step in range(max(map(len, streams))):
        parts = [stream[step] if step < len(stream) else None for stream in streams]
        came = [count + (0 if part is None else len(part)) for count, part in zip(came, parts, strict=True)]
        rows.append(scorer.add(*parts))
        out += len(rows[-1])
        complete = [row for row in range(0, came[0], stride) if row + MAX_SHIFT < came[1]]
        assert out == len(complete)
    assert came == [WINDOWS, WINDOWS]
    rows.append(scorer.finish())
    torch.testing.assert_close(torch.cat(rows), expected[::stride], **NOISE)


def test_sound_may_be_added_before_or_after_the_video(model, expected):
    video_windows, audio_windows = clip()
    for order in ((None, audio_windows), (video_windows, None)), ((video_windows, None), (None, audio_windows)):
        scorer = OffsetScorer(model, MAX_SHIFT)
        rows = [scorer.add(*part) for part in order]
        assert [len(part) for part in rows] == [0, WINDOWS - MAX_SHIFT]
        torch.testing.assert_close(torch.cat([*rows, scorer.finish()]), expected, **NOISE)


def test_a_face_that_appears_later_is_compared_with_earlier_sound(model):
    video_windows, audio_windows = clip()
    scorer = OffsetScorer(model, MAX_SHIFT)
    scorer.set_audio_lead(2)
    rows = [scorer.add(audio_windows=audio_windows), scorer.add(video_windows[2:6]), scorer.finish()]
    torch.testing.assert_close(torch.cat(rows), pair_by_pair(model, video_windows, audio_windows)[2:6], **NOISE)


def test_an_audio_lead_that_is_negative_or_comes_too_late_is_refused(model):
    scorer = OffsetScorer(model, MAX_SHIFT)
    with pytest.raises(ValueError, match=r"`num_windows` must be at least 0, got -1"):
        scorer.set_audio_lead(-1)
    scorer.add(audio_windows=clip()[1])
    with pytest.raises(ValueError, match=r"`set_audio_lead` must be called before the first `add`"):
        scorer.set_audio_lead(1)


def test_adding_nothing_returns_no_rows(model):
    scorer = OffsetScorer(model, MAX_SHIFT)
    assert scorer.add().shape == scorer.finish().shape == (0, 7)


# --- with a network whose scores are known ----------------------------------------------------------------------------


class Known:
    """Windows are numbers; a pair's score falls with its distance from the true shift. Counts what it is asked."""

    training, device, dtype = False, torch.device("cpu"), torch.float32
    config = SimpleNamespace(image_size=(1, 1), num_mel_bins=1)

    def __init__(self, true_shift: float = 0.0):
        self.true_shift, self.vocalist = true_shift, self
        self.encoded, self.scored = {"video": 0, "audio": 0}, 0

    def embed_video(self, windows):
        self.encoded["video"] += len(windows)
        return windows.mean((2, 3, 4)).unsqueeze(-1)  # features of their own, as a network makes

    def embed_audio(self, windows):
        self.encoded["audio"] += len(windows)
        return windows[:, 0] * 1.0

    def score(self, video, audio):
        self.scored += len(video)
        return -(((audio - video).flatten() - self.true_shift) ** 2)


def numbered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of video and of sound that hold nothing but their number: of one frame and pixel, of one mel bin."""
    numbers = torch.arange(float(count))
    return numbers.view(-1, 1, 1, 1, 1).expand(-1, 1, 3, 1, 1), numbers.view(-1, 1, 1, 1)


def scores_of(network: Known, count: int = 40, max_shift: int = 8, **options) -> torch.Tensor:
    return score_offsets(network, *numbered(count), max_shift, **options)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("coarse_step", [2, 3, 5, 8])
def test_coarse_to_fine_finds_a_broad_peak(coarse_step, stride):
    for true_shift in range(-8, 9):
        full = scores_of(Known(true_shift), stride=stride)
        coarse = scores_of(Known(true_shift), stride=stride, coarse_step=coarse_step)
        assert clip_offset(coarse).offset_frames == clip_offset(full).offset_frames == -true_shift
        scored = coarse.isfinite()
        assert torch.equal(coarse[scored], full[scored]), true_shift


def test_coarse_to_fine_skips_shifts_far_from_the_peak():
    """Multiples of 3 first: -6, -3, 0, 3, 6. The best of them is 3, so 1, 2, 4 and 5 follow."""
    scored = scores_of(Known(2), coarse_step=3).isfinite()
    exists = scores_of(Known(2)).isfinite()
    columns = [shift + 8 for shift in (-6, -3, 0, 1, 2, 3, 4, 5, 6)]
    assert torch.equal(scored[:, columns], exists[:, columns])
    assert scored.any(0).sum() == len(columns)


def test_coarse_to_fine_scores_no_pair_twice():
    network = Known(2)
    assert scores_of(network, coarse_step=3).isfinite().sum() == network.scored


@pytest.mark.parametrize("stride", [1, 4])
def test_each_window_is_encoded_once_and_each_pair_scored_once(stride):
    network = Known()
    scores = scores_of(network, 100, 15, stride=stride, batch_size=3)
    assert network.encoded == {"video": 100 // stride, "audio": 100}
    assert network.scored == scores.isfinite().sum()


def kept(scorer: OffsetScorer) -> tuple[int, int]:
    """Windows whose features are kept, and the bytes that lie behind them."""
    features = [*scorer._video.values(), *scorer._audio.values()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in features}
    return len(features), sum(storages.values())


@pytest.mark.parametrize("stride", [1, 4])
def test_memory_of_a_scorer_does_not_grow_with_the_clip(stride):
    scorer, length, piece = OffsetScorer(Known(), 15, stride=stride), 1000, 10
    seen = []
    for video_windows, audio_windows in zip(*(part.split(piece) for part in numbered(length)), strict=True):
        scorer.add(video_windows, audio_windows)
        seen.append(kept(scorer))
    assert max(count for count, _ in seen) <= (2 * 15 + piece) + 15 + piece
    assert max(size for _, size in seen) <= 4 * (2 * 15 + 15 + 4 * piece)  # whole pieces stay while a part is needed
    assert seen[-1][0] <= seen[10][0]


def test_audio_features_that_no_later_row_needs_are_freed():
    scorer = OffsetScorer(Known(), 4)
    scorer.add(*numbered(50))
    # Rows 46 to 49 wait for sound 50 and later; the first of them begins with sound 42.
    assert sorted(scorer._video) == [46, 47, 48, 49]
    assert sorted(scorer._audio) == list(range(42, 50))
    scorer.finish()
    assert not scorer._video


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coarse", [{}, {"coarse_step": 2}])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_shift": -1}, r"`max_shift` must be at least 0, got -1"),
        ({"stride": 0}, r"`stride` must be at least 1, got 0"),
        ({"batch_size": 0}, r"`batch_size` must be at least 1, got 0"),
        ({"pair_batch_size": 0}, r"`pair_batch_size` must be at least 1, got 0"),
    ],
)
def test_a_number_out_of_range_is_refused(model, options, message, coarse):
    with pytest.raises(ValueError, match=message):
        model.score_offsets(*clip(), **{**options, **coarse})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coarse_step": 0}, r"`coarse_step` must be at least 1 and at most 3, got 0"),
        ({"coarse_step": 4}, r"`coarse_step` must be at least 1 and at most 3, got 4"),
        ({"protocol": "paper"}, r"`protocol` must be one of exact, official, got 'paper'"),
        ({"protocol": "official", "stride": 2}, r"`protocol`=\"official\" scores every pair; leave `stride`"),
        ({"protocol": "official", "coarse_step": 2}, r"`protocol`=\"official\" scores every pair"),
    ],
)
def test_an_unsupported_option_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.score_offsets(*clip(), MAX_SHIFT, **options)


@pytest.mark.parametrize(("video", "audio"), [(9, 8), (8, 9), (0, 0)])
def test_streams_of_other_lengths_are_refused(model, video, audio):
    video_windows, audio_windows = clip()
    with pytest.raises(ValueError, match=rf"must be the same windows of a clip, at least one, got {video} and {audio}"):
        model.score_offsets(video_windows[:video], audio_windows[:audio], MAX_SHIFT)


@pytest.mark.parametrize("options", [{}, {"coarse_step": 2}, {"protocol": "official"}])
def test_a_model_in_training_mode_is_refused(options):
    training = tiny_model(zoo.find_row("mtdvocalist")).train()
    with pytest.raises(ValueError, match=r"`model` is in training mode.*call model\.eval\(\)"):
        training.score_offsets(*clip(), MAX_SHIFT, **options)
    with pytest.raises(ValueError, match=r"`model` is in training mode"):
        OffsetScorer(training)
