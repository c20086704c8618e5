"""The network: clips that are kept apart, padding as the authors', fusion, losses, and what it refuses."""

import pytest
import torch

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.models.slowfast_cslr.loss_slowfast_cslr import count_least_steps, ctc_loss, distillation_loss

SMALL = {
    "depths": (1, 2, 2, 1),
    "temporal_blocks": (1, 1, 1, 1),
    "width": 8,
    "beta_inverse": 2,
    "hidden_size": 16,
    "vocab_size": 9,
    "dropout": 0.0,
    "lstm_dropout": 0.0,
}


def make_model(seed: int = 0, **fields) -> SlowFastSignForCTC:
    """In evaluation, with numbers as of a trained network."""
    torch.manual_seed(seed)
    model = SlowFastSignForCTC(SlowFastSignConfig(**SMALL | fields)).eval()
    draw = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or name.endswith("norm.weight"):
            value.uniform_(0.5, 1.0, generator=draw)
        elif name.endswith("_gate"):
            value.fill_(0.5)
        elif name.endswith(("running_mean", "norm.bias")):
            value.normal_(0, 0.1, generator=draw)
    return model


def draw_clips(*lengths: int, size: int = 32) -> list:
    draw = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(256, (length, size, size, 3), generator=draw).to(torch.uint8).numpy() for length in lengths]


@torch.no_grad()
def recognize(model: SlowFastSignForCTC, clips: list):
    return model(**SlowFastSignProcessor().pad(clips))


@pytest.mark.parametrize("lengths", [(33, 14), (5, 21, 1), (16, 16)])
def test_a_clip_gets_in_a_batch_what_it_gets_alone(lengths):
    model, clips = make_model(), draw_clips(*lengths)
    together = recognize(model, clips)
    assert together.lengths.tolist() == [-(-length // 4) for length in lengths]
    for row, clip in enumerate(clips):
        alone, steps = recognize(model, [clip]), int(together.lengths[row])
        for name in ("logits", "conv_logits"):
            error = (together[name][row, :steps] - alone[name][0]).norm() / alone[name].norm()
            assert error < 1e-5, name


def test_the_authors_padding_lets_a_clip_see_its_repeated_frames():
    clips = draw_clips(33, 14)
    logits = [recognize(make_model(isolate_clips=isolate), clips).conv_logits for isolate in (True, False)]
    torch.testing.assert_close(logits[0][0], logits[1][0], rtol=1e-5, atol=1e-5)  # the longest is not padded
    end = (logits[0][1, 3] - logits[1][1, 3]).norm() / logits[0][1, 3].norm()
    assert 1e-3 < end < 1


def test_logits_behind_a_clips_end_are_zero():
    output = recognize(make_model(), draw_clips(33, 14))
    assert not output.logits[1, 4:].any()
    assert output.logits[1, :4].any()


@torch.no_grad()
def test_the_order_of_clips_does_not_matter():
    """The authors' code wants the longest first."""
    model, clips = make_model(), draw_clips(9, 33)
    forward, backward = recognize(model, clips).logits, recognize(model, clips[::-1]).logits
    torch.testing.assert_close(forward, backward.flip(0), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("frames", "rows", "columns"), [(16, 32, 32), (17, 50, 41), (30, 224, 64)])
def test_any_number_of_frames_and_any_size_is_taken(frames, rows, columns):
    pixels = torch.randint(256, (1, frames, 3, rows, columns), dtype=torch.uint8)
    output = make_model()(pixels)
    assert output.logits.shape == (1, frames // 4 - 3, 9)
    assert output.frame_features.shape == (1, frames, 32 * 8 + 16 * 8)


@torch.no_grad()
def test_whole_numbers_are_normalised_as_the_authors_do():
    model = make_model()
    pixels = torch.randint(256, (1, 16, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(model(pixels).logits, model((pixels.float() / 255 - 0.45) / 0.225).logits)


@torch.no_grad()
def test_with_gates_at_zero_nothing_is_fused():
    model, clip = make_model(), draw_clips(20)
    for fusion in model.slowfast.pathways.fusions:
        fusion.slow_gate.zero_()
        fusion.fast_gate.zero_()
    before = recognize(model, clip).frame_features
    for fusion in model.slowfast.pathways.fusions:
        for weight in (*fusion.to_slow.parameters(), *fusion.to_fast.parameters()):
            weight.normal_()
    assert torch.equal(recognize(model, clip).frame_features, before)
    slow = slice(None, 32 * 8)
    for weight in model.slowfast.pathways.fast_stem.parameters():
        weight.normal_()
    assert torch.equal(recognize(model, clip).frame_features[..., slow], before[..., slow])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bidirectional_mix", "bidirectional_cat", "fast_to_slow"])
def test_the_slow_pathway_hears_of_the_fast_one_in_every_fusion(kind):
    model, clip = make_model(fusion=kind), draw_clips(20)
    before = recognize(model, clip).frame_features
    model.slowfast.pathways.fast_stem.projection.convolution.weight.normal_()
    after = recognize(model, clip).frame_features
    assert (before[..., : 32 * 8] - after[..., : 32 * 8]).abs().max() > 1e-3


@torch.no_grad()
def test_a_feature_sees_the_frames_that_long_videos_are_cut_with():
    """Of the released depths: 51 frames before and 47 behind, at most."""
    model = make_model(depths=(3, 4, 23, 3), temporal_blocks=(3, 4, 6, 3), width=2, beta_inverse=2)
    pixels = torch.randn(1, 128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model.get_frame_features(pixels)
    pixels[:, 64] += 1
    changed = (model.get_frame_features(pixels) != before).any(-1)[0].nonzero().flatten() - 64
    assert changed.min() >= -47
    assert changed.max() <= 51
    assert changed.max() - changed.min() > 60  # a wider view than of any one convolution


# --- losses -----------------------------------------------------------------------------------------------------------


def test_ctc_is_the_sum_over_all_paths():
    """Two steps, one gloss: it is told by gloss gloss, gloss blank and blank gloss."""
    logits = torch.tensor([[[0.3, 1.0, -0.5], [0.2, -0.4, 0.7]]])
    first, second = logits.softmax(-1)[0]
    expected = -(first[1] * second[1] + first[1] * second[0] + first[0] * second[1]).log()
    loss = ctc_loss(logits, torch.tensor([2]), torch.tensor([[1, -100]]))
    torch.testing.assert_close(loss, expected[None])


def test_a_sentence_that_is_too_long_for_its_clip_is_told_by_infinity():
    labels = torch.tensor([[1, 1, -100], [1, 2, 1]])
    assert count_least_steps(labels).tolist() == [3, 3]
    logits = torch.zeros(2, 3, 4)
    assert ctc_loss(logits, torch.tensor([3, 3]), labels).isfinite().all()
    assert ctc_loss(logits, torch.tensor([2, 2]), labels).isinf().all()


def test_distillation_leaves_the_blank_out_and_the_teacher_alone():
    student, teacher = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    loss = distillation_loss(student, teacher, 8.0)
    shares = [(part[..., 1:] / 8).softmax(-1) for part in (student, teacher)]
    expected = (shares[1] * (shares[1] / shares[0]).log()).sum(-1).mean() * 64
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert teacher.grad is None
    assert not student.grad[..., 0].any()


@pytest.mark.parametrize("count_padded_rows", [True, False])
def test_steps_behind_a_clips_end_count_in_the_distillation_if_they_are_to(count_padded_rows):
    model = make_model(count_padded_rows=count_padded_rows)
    inputs, labels = SlowFastSignProcessor().pad(draw_clips(33, 14)), torch.tensor([[1, 2], [3, -100]])
    output = model(**inputs, labels=labels)
    rows = torch.ones(2, 9) if count_padded_rows else (torch.arange(9) < output.lengths[:, None]).float()
    expected = distillation_loss(output.conv_logits, output.logits, 8.0, rows)
    torch.testing.assert_close(output.losses["distillation"], expected)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    model = make_model()
    output = model(**SlowFastSignProcessor().pad(draw_clips(33, 14)), labels=torch.tensor([[1, 2], [3, -100]]))
    weights = {"sequence": 1, "conv": 1, "distillation": 25}
    branches = {"": 1, "slow_": 0.25, "fast_": 0.25}
    expected = sum(
        share * weight * output.losses[branch + term]
        for branch, share in branches.items()
        for term, weight in weights.items()
    )
    torch.testing.assert_close(output.loss, expected)
    assert len(output.losses) == 9


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Give one of `pixel_values` and `frame_features`"),
        ({"pixel_values": torch.zeros(1, 16, 1, 32, 32)}, r"must be \(clips, frames, 3, rows, columns\)"),
        ({"pixel_values": torch.zeros(1, 12, 3, 32, 32)}, "12 frames are too few for one step of the answer"),
        (
            {"pixel_values": torch.zeros(1, 16, 3, 32, 32), "attention_mask": torch.ones(1, 15)},
            r"`attention_mask` must be \(1, 16\), got \(1, 15\)",
        ),
        ({"frame_features": torch.zeros(1, 16, 5)}, r"`frame_features` must be \(clips, frames, 384\)"),
        (
            {"pixel_values": torch.zeros(1, 16, 3, 32, 32), "labels": torch.tensor([[0, 1]])},
            "`labels` holds a 0, the blank",
        ),
        (
            {"pixel_values": torch.zeros(1, 16, 3, 32, 32), "labels": torch.tensor([[9]])},
            "labels",
        ),
        (
            {"pixel_values": torch.zeros(1, 16, 3, 32, 32), "labels": torch.tensor([1])},
            r"`labels` must be \(clips, glosses\) of 1 clips",
        ),
        (
            {"pixel_values": torch.zeros(1, 16, 3, 32, 32), "labels": torch.tensor([[1, -100, 2]])},
            "`labels` must have -100 behind the last gloss only, got one before a gloss",
        ),
    ],
)
def test_what_does_not_fit_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        make_model()(**inputs)


def test_auxiliary_heads_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="this network has no auxiliary heads"):
        make_model(auxiliary_branches=False)(torch.zeros(1, 16, 3, 32, 32), output_auxiliary=True)


@pytest.mark.parametrize(
    ("layers", "edge", "step"),
    [
        (("K5", "P2", "K5", "P2"), 6, 4),
        (("K3", "P2", "K5"), 5, 2),
        (("P2", "K5", "K5"), 8, 2),
        (("K5",), 2, 1),
        (("K4", "P2"), 2, 2),
    ],
)
def test_edges_and_steps_follow_from_the_temporal_layers(layers, edge, step):
    config = SlowFastSignConfig(**SMALL, temporal_layers=layers)
    assert (config.edge_frames, config.step_frames) == (edge, step)
    for steps in (1, 7):
        assert config.count_steps(steps * step + 2 * edge) == steps


def train_twice(**fields) -> list:
    """Two passes in training over one batch, clips of unequal lengths, from one state."""
    inputs = SlowFastSignProcessor(resize_size=32, crop_size=32).pad(draw_clips(9, 30))
    outputs = []
    for seed in (0, 1):
        model = make_model(**fields).train()
        torch.manual_seed(seed)
        with torch.no_grad():
            outputs.append(model(**inputs))
    return outputs


def test_in_training_clips_see_each_others_padding_as_in_the_authors_code():
    isolated, official = (train_twice(isolate_clips=value)[0].logits for value in (True, False))
    assert torch.equal(isolated, official)


def test_features_are_dropped_out_before_the_heads():
    first, second = train_twice(dropout=0.5)
    assert torch.equal(first.frame_features, second.frame_features)
    assert not torch.allclose(first.conv_logits, second.conv_logits)


@pytest.mark.parametrize(("layers", "is_equal"), [(1, True), (2, False)])
def test_hidden_states_are_dropped_out_between_layers_of_the_lstm_only(layers, is_equal):
    first, second = train_twice(lstm_dropout=0.5, num_lstm_layers=layers)
    assert torch.equal(first.conv_logits, second.conv_logits)
    assert torch.equal(first.logits, second.logits) == is_equal


def test_losses_of_half_precision_are_computed_in_float32():
    logits = (5 * torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))).bfloat16()
    lengths, labels = torch.tensor([9, 6]), torch.tensor([[1, 2, 2], [3, 4, -100]])
    found = ctc_loss(logits, lengths, labels)
    assert torch.equal(found, ctc_loss(logits.float(), lengths, labels))
    found = distillation_loss(logits, logits.flip(0), 8.0)
    assert torch.equal(found, distillation_loss(logits.float(), logits.float().flip(0), 8.0))
