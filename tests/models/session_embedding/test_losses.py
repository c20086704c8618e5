"""Losses of speakers and sessions, against formulas written out pair by pair."""

import math

import pytest
import torch

from avzoo.models.session_embedding import (
    AAMSoftmaxLoss,
    AMSoftmaxLoss,
    AngularPrototypicalLoss,
    EnvironmentTripletLoss,
    GE2ELoss,
    PrototypicalLoss,
    SessionLoss,
    SoftmaxPrototypicalLoss,
    mean_absolute_correlation,
)


def at_angles(*degrees: float) -> torch.Tensor:
    """(rows, 2): unit vectors."""
    angles = torch.tensor([math.radians(angle) for angle in degrees], dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def cosine_of(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


# --- speakers ---------------------------------------------------------------------------------------------------------


def make_two_classes(loss_class=AAMSoftmaxLoss, **options):
    """A loss whose classes lie at 0 and 90 degrees."""
    loss = loss_class(2, 2, **options).double()
    loss.load_state_dict({"weight": 3 * at_angles(0, 90)})
    return loss


def test_the_angular_margin_is_added_to_the_own_angle():
    loss = make_two_classes(margin=math.radians(20), scale=5)
    output = loss(2 * at_angles(30, 50), torch.tensor([0, 1]))
    expected = [
        cross_entropy([5 * cosine_of(50), 5 * cosine_of(60)], 0),
        cross_entropy([5 * cosine_of(50), 5 * cosine_of(60)], 1),
    ]
    assert output.loss.item() == pytest.approx(sum(expected) / 2, rel=1e-6)
    assert output.accuracy.item() == 50  # of the logits with the margin


def test_an_angle_beyond_pi_minus_margin_loses_a_constant():
    loss = make_two_classes(margin=math.radians(20), scale=1)
    own = cosine_of(170) - math.radians(20) * math.sin(math.radians(160))
    expected = cross_entropy([own, cosine_of(80)], 0)
    assert loss(at_angles(170), torch.tensor([0])).loss.item() == pytest.approx(expected, rel=1e-6)


def test_an_easy_margin_ends_at_a_right_angle():
    loss = make_two_classes(margin=math.radians(20), scale=1, easy_margin=True)
    near, far = (loss(at_angles(angle), torch.tensor([0])).loss.item() for angle in (80, 120))
    assert near == pytest.approx(cross_entropy([cosine_of(100), cosine_of(10)], 0), rel=1e-6)
    assert far == pytest.approx(cross_entropy([cosine_of(120), cosine_of(30)], 0), rel=1e-6)


def test_the_gradient_is_finite_where_an_embedding_is_its_class():
    loss = AAMSoftmaxLoss(2, 2)
    loss.load_state_dict({"weight": torch.eye(2)})
    embeddings = torch.eye(2).requires_grad_()
    loss(embeddings, torch.tensor([0, 1])).loss.backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss", [AAMSoftmaxLoss(8, 5), AMSoftmaxLoss(8, 5), AngularPrototypicalLoss(), GE2ELoss(), PrototypicalLoss()]
)
def test_losses_are_computed_in_float32_under_autocast_and_of_half_embeddings(loss):
    embeddings = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    arguments = (embeddings,)
    if hasattr(loss, "margin"):
        arguments = (embeddings[:, 0], torch.arange(5))
    expected = loss(arguments[0].float(), *arguments[1:]).loss
    with torch.autocast("cpu", torch.bfloat16):
        actual = loss(*arguments).loss
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(loss(*arguments).loss, expected)


def test_the_additive_margin_is_taken_from_the_own_cosine():
    loss = make_two_classes(AMSoftmaxLoss, margin=0.25, scale=4)
    expected = cross_entropy([4 * (cosine_of(30) - 0.25), 4 * cosine_of(60)], 0)
    assert loss(at_angles(30), torch.tensor([0])).loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_scale_of_prototypes_never_turns_negative():
    embeddings = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    for loss in (AngularPrototypicalLoss(), GE2ELoss()):
        scaled_cosine = loss.scaled_cosine
        with torch.no_grad():
            scaled_cosine.weight.fill_(-0.5)
        output = loss(embeddings)
        assert scaled_cosine.weight.item() == pytest.approx(1e-6)
        output.loss.backward()
        assert scaled_cosine.weight.grad.item() != 0  # it can grow again


def test_ge2e_leaves_an_utterance_out_of_its_own_mean():
    embeddings = torch.stack([at_angles(0, 40, 70), at_angles(60, 100, 80)])
    output, total = GE2ELoss(weight=2, bias=-1).double()(embeddings), 0.0
    for speaker in range(2):
        for utterance in range(3):
            logits = []
            for other in range(2):
                rows = [row for row in range(3) if (other, row) != (speaker, utterance)]
                mean = embeddings[other, rows].mean(0)
                logits.append(2 * (embeddings[speaker, utterance] @ mean / mean.norm()).item() - 1)
            total += cross_entropy(logits, speaker)
    assert output.loss.item() == pytest.approx(total / 6, abs=1e-6)


def test_prototypes_compare_every_speaker_with_every_mean():
    embeddings = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = 0.0
    for speaker in range(4):
        means = [embeddings[other, 1:].mean(0) for other in range(4)]
        total += cross_entropy([-((embeddings[speaker, 0] - mean) ** 2).sum().item() for mean in means], speaker)
    assert PrototypicalLoss()(embeddings).loss.item() == pytest.approx(total / 4, rel=1e-5)  # 1e-6 added to differences


def test_softmax_and_prototypes_add_up():
    torch.manual_seed(0)
    loss, embeddings, labels = SoftmaxPrototypicalLoss(8, 5), torch.randn(3, 2, 8), torch.tensor([4, 0, 2])
    softmax = torch.nn.functional.cross_entropy(loss.classifier(embeddings.flatten(0, 1)), labels.repeat_interleave(2))
    expected = softmax + AngularPrototypicalLoss()(embeddings).loss
    torch.testing.assert_close(loss(embeddings, labels).loss, expected)


def test_correlation_counts_without_its_sign_and_scale():
    code = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 3.0]])
    assert mean_absolute_correlation(code, 5 - 3 * code).item() == pytest.approx(1)
    assert mean_absolute_correlation(code[1:], torch.tensor([[1.0, -2.0, 1.0]])).item() == pytest.approx(0, abs=1e-6)
    assert mean_absolute_correlation(code, torch.ones(2, 3)).item() == 0


def test_triplets_of_one_utterance_cost_the_margin():
    codes = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(0)).expand(4, 3, 6)
    assert EnvironmentTripletLoss(6, 3, margin=0.3).eval()(codes).item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AAMSoftmaxLoss(4, 3)(torch.ones(2, 5), torch.zeros(2, dtype=torch.long)), r"\(rows, 4\).*\(2, 5\)"),
        (lambda: AMSoftmaxLoss(4, 3)(torch.ones(2, 4), torch.zeros(3, dtype=torch.long)), r"`labels` \(rows,\)"),
        (lambda: AngularPrototypicalLoss()(torch.ones(3, 1, 4)), "at least 2 utterances"),
        (lambda: SoftmaxPrototypicalLoss(4, 3)(torch.ones(2, 3, 4), torch.tensor([0, 1])), "2 utterances.*got 3"),
        (lambda: EnvironmentTripletLoss(4, 3)(torch.ones(2, 2, 4)), r"\(speakers, 3, code_size\), got \(2, 2, 4\)"),
        (lambda: mean_absolute_correlation(torch.ones(2, 3), torch.ones(3, 2)), r"\(2, 3\) and \(3, 2\)"),
        (lambda: AAMSoftmaxLoss(4, 3, margin=4.0), "`margin` must be at least 0 and below 3.14"),
        (lambda: AngularPrototypicalLoss(weight=0.0), "`weight` must be above 0"),
        (lambda: SessionLoss("cos"), "`kind` must be one of logistic, margin, cosine, cosine-balanced"),
        (lambda: SessionLoss()(torch.ones(2, 3), torch.ones(3), torch.ones(2)), r"got \(2, 3\), \(3,\) and \(2,\)"),
    ],
)
def test_shapes_and_options_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- sessions ---------------------------------------------------------------------------------------------------------

# Two speakers at 0, 60 | 90 and 0, 45 | 180 degrees; a bar between sessions.
ANGLES, SPEAKERS, SESSIONS = (0, 60, 90, 0, 45, 180), (0, 0, 0, 1, 1, 1), (0, 0, 1, 0, 0, 1)
SAME, DIFFERENT = (60, 45), (90, 30, 180, 135)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


@pytest.mark.parametrize(
    ("kind", "same", "different"),
    [
        ("cosine-balanced", lambda c: 1 - c, lambda c: c),
        ("margin", lambda c: 1 - c, lambda c: max(0, c - 0.1)),
        ("logistic", lambda c: softplus(5 - 10 * c), lambda c: softplus(10 * c - 5)),
    ],
)
def test_both_kinds_of_pairs_weigh_the_same_and_speakers_are_never_mixed(kind, same, different):
    loss = SessionLoss(kind)(2 * at_angles(*ANGLES), torch.tensor(SESSIONS), torch.tensor(SPEAKERS))
    means = (
        sum(form(cosine_of(angle)) for angle in angles) / len(angles)
        for form, angles in ((same, SAME), (different, DIFFERENT))
    )
    assert loss.item() == pytest.approx(sum(means) / 2, rel=1e-6)


def test_the_plain_cosine_averages_over_all_pairs():
    loss = SessionLoss("cosine")(at_angles(*ANGLES), torch.tensor(SESSIONS), torch.tensor(SPEAKERS))
    total = sum(1 - cosine_of(angle) for angle in SAME) + sum(cosine_of(angle) for angle in DIFFERENT)
    assert loss.item() == pytest.approx(total / 6, abs=1e-6)


def test_a_batch_without_pairs_costs_nothing_and_has_a_gradient():
    embeddings = torch.eye(2).requires_grad_()
    loss = SessionLoss()(embeddings, torch.tensor([0, 0]), torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad.eq(0).all()
