"""The distillation loss by hand: two keys, so that every softmax is one number."""

import math

import pytest
import torch
from contract.tiny import tiny_model

from avzoo import MTDLoss, MTDVocaLiSTForSequenceClassification, VocaLiSTForSequenceClassification, zoo
from avzoo.models.mtdvocalist import CrossModalTrace, teacher_trace
from avzoo.models.mtdvocalist.loss_mtd import ENCODERS, logit_divergence, mean_divergence, value_relations

ROW = zoo.find_row("mtdvocalist")

# Odds between the two keys that the teacher sees in two layers of each encoder; the student sees none, 1 to 1.
ODDS_OF_SCORES = {"fusion": (3.0, 2.0), "av": (5.0, 4.0), "va": (7.0, 6.0)}
ODDS_OF_RELATIONS = {"fusion": (1.5, 9.0), "av": (8.0, 2.5), "va": (3.5, 11.0)}
LOGITS, LABELS = torch.tensor([[0.0]]), torch.tensor([1])
BCE = math.log(2)


def divergence(odds: float) -> float:
    """KL of (odds : 1) from (1 : 1)."""
    p = odds / (1 + odds)
    return p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))


# One query, so 2 elements of scores; relations have 2 x 2, and the second row is equal on both sides.
SCORE_TERMS = {name: [divergence(odds) / 2 for odds in layers] for name, layers in ODDS_OF_SCORES.items()}
RELATION_TERMS = {name: [divergence(odds) / 4 for odds in layers] for name, layers in ODDS_OF_RELATIONS.items()}
ALL_SCORES, ALL_RELATIONS = (
    [terms[name][layer] for name in ENCODERS for layer in range(2)] for terms in (SCORE_TERMS, RELATION_TERMS)
)
ALL_TERMS = [score + relation for score, relation in zip(ALL_SCORES, ALL_RELATIONS, strict=True)]


def teacher_of(temperature: float = 1.0, dtype: torch.dtype = torch.float32) -> CrossModalTrace:
    """The odds above after a division by the temperature. Scores lie above the floor that "va" has."""
    scores = {
        name: torch.tensor([[[[[1 + temperature * math.log(odds), 1.0]]]] for odds in layers], dtype=dtype)
        for name, layers in ODDS_OF_SCORES.items()
    }
    relations = {
        name: torch.tensor([[[[[temperature * math.log(odds), 0.0], [2.0, 2.0]]]] for odds in layers], dtype=dtype)
        for name, layers in ODDS_OF_RELATIONS.items()
    }
    return CrossModalTrace(scores, relations)


def student_of(dtype: torch.dtype = torch.float32) -> CrossModalTrace:
    scores = {name: torch.ones(2, 1, 1, 1, 2, dtype=dtype) for name in ENCODERS}
    return CrossModalTrace(scores, {name: torch.zeros(2, 1, 1, 2, 2, dtype=dtype) for name in ENCODERS})


def result_of(loss: MTDLoss, weights: list[float] | None = None, temperature: float = 1.0):
    if weights is not None:
        loss.weights.data = torch.tensor(weights)
    return loss(LOGITS, LABELS, student_of(), teacher_of(temperature))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_relations_are_products_of_values_over_the_root_of_their_width():
    values = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 3]])
    assert value_relations(values).tolist() == [[2.0, 1, 0], [1, 1, 0], [0, 0, 4.5]]


def test_terms_are_means_over_elements():
    terms = result_of(MTDLoss(2)).terms
    assert terms.shape == (3, 2, 2)
    expected = [[SCORE_TERMS[name], RELATION_TERMS[name]] for name in ENCODERS]  # (encoders, kinds, layers)
    torch.testing.assert_close(terms, torch.tensor(expected).transpose(1, 2))


def test_a_batch_of_equals_has_the_terms_of_one():
    twice = [
        CrossModalTrace(*({name: value.repeat(1, 3, 2, 1, 1) for name, value in part.items()} for part in trace[:2]))
        for trace in (student_of(), teacher_of())
    ]
    many = MTDLoss(2)(LOGITS.expand(3, 1), LABELS.expand(3), *twice)
    torch.testing.assert_close(many.terms, result_of(MTDLoss(2)).terms)


def test_uncertainty_weights_start_at_one():
    result = result_of(MTDLoss(2))
    expected = (BCE + sum(ALL_TERMS)) / 2 + 7 * math.log(2)
    assert result.loss.item() == pytest.approx(expected, rel=1e-6)
    assert result.classification_loss.item() == pytest.approx(BCE)
    assert result.distillation_loss.item() == pytest.approx(sum(ALL_TERMS), rel=1e-6)


def test_the_released_loss_of_an_undecided_student_starts_at_nine():
    """13 weights, 13 ln 2 = 9.01, and half of every part."""
    same = CrossModalTrace(
        *({name: value.repeat(2, 1, 1, 1, 1) for name, value in part.items()} for part in student_of()[:2])
    )
    assert MTDLoss()(LOGITS, LABELS, same, same).loss.item() == pytest.approx(13 * math.log(2) + BCE / 2)


WEIGHTS = [2.0, 0.5, 1.5, -3.0, 1.0, 0.25, 4.0]


def test_uncertainty_weights_are_those_of_bce_and_then_of_each_encoder_layer_by_layer():
    expected = sum(part / (2 * c**2) + math.log(1 + c**2) for part, c in zip([BCE, *ALL_TERMS], WEIGHTS, strict=True))
    assert result_of(MTDLoss(2), WEIGHTS).loss.item() == pytest.approx(expected, rel=1e-5)


def test_softmax_weights_share_one():
    shares = [math.exp(c) / sum(map(math.exp, WEIGHTS)) for c in WEIGHTS]
    expected = sum(share * part for share, part in zip(shares, [BCE, *ALL_TERMS], strict=True))
    assert result_of(MTDLoss(2, weighting="softmax"), WEIGHTS).loss.item() == pytest.approx(expected, rel=1e-5)


def test_without_weights_everything_counts_once():
    loss = MTDLoss(2, weighting="none")
    assert list(loss.parameters()) == []
    assert result_of(loss).loss.item() == pytest.approx(BCE + sum(ALL_TERMS), rel=1e-6)


def test_separate_weights_are_those_of_bce_all_scores_and_all_relations():
    weights = [0.5 + 0.25 * place for place in range(13)]
    parts = [BCE, *ALL_SCORES, *ALL_RELATIONS]
    expected = sum(part / (2 * c**2) + math.log(1 + c**2) for part, c in zip(parts, weights, strict=True))
    assert result_of(MTDLoss(2, separate_values=True), weights).loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_temperature_divides_what_is_compared_and_multiplies_the_terms_by_its_square():
    plain = result_of(MTDLoss(2, temperature=3.0, weighting="none"), temperature=3.0)
    torch.testing.assert_close(plain.terms, 9 * result_of(MTDLoss(2)).terms)
    assert plain.loss.item() == pytest.approx(BCE + 9 * sum(ALL_TERMS), rel=1e-5)


def test_only_selected_layers_count():
    result = result_of(MTDLoss(2, weighting="none", layers={"va": [0], "fusion": [1]}))
    expected = SCORE_TERMS["va"][0] + RELATION_TERMS["va"][0] + SCORE_TERMS["fusion"][1] + RELATION_TERMS["fusion"][1]
    assert result.distillation_loss.item() == pytest.approx(expected, rel=1e-6)
    assert result.loss.item() == pytest.approx(BCE + expected, rel=1e-6)
    assert not result.terms[1].any()  # "av" has no layer that counts


def test_weights_of_selected_layers_keep_the_order_of_the_encoders():
    loss = MTDLoss(2, layers={"va": [0], "fusion": [1]})
    parts = [
        BCE,
        SCORE_TERMS["fusion"][1] + RELATION_TERMS["fusion"][1],
        SCORE_TERMS["va"][0] + RELATION_TERMS["va"][0],
    ]
    expected = sum(part / (2 * c**2) + math.log(1 + c**2) for part, c in zip(parts, (1.0, 2.0, 3.0), strict=True))
    assert result_of(loss, [1.0, 2.0, 3.0]).loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_compares_logits_forgets_the_layers():
    teacher = CrossModalTrace({}, {}, torch.tensor([[5 * math.log(3)], [0.0]]))
    result = MTDLoss(target="logits", temperature=5.0)(torch.zeros(2, 1), torch.tensor([1, 0]), student_of(), teacher)
    assert result.distillation_loss.item() == pytest.approx(25 / 2 * divergence(3.0), rel=1e-5)
    assert result.loss.item() == pytest.approx(BCE + 25 / 2 * divergence(3.0), rel=1e-5)
    assert result.terms is None


def test_compared_logits_may_lie_at_another_level():
    student, teacher = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([11.0, 8.0, 10.5])
    assert logit_divergence(student, teacher, 5.0).item() == pytest.approx(0, abs=1e-6)


# --- the floor in "va" ------------------------------------------------------------------------------------------------


def va_trace(scores: list[float]) -> CrossModalTrace:
    """One layer, one head, one query; the other encoders and all relations say nothing."""
    keys = len(scores)
    quiet = {name: torch.zeros(1, 1, 1, 1, keys) for name in ENCODERS}
    return CrossModalTrace(
        {**quiet, "va": torch.tensor([[[[scores]]]])}, {name: torch.zeros(1, 1, 1, keys, keys) for name in ENCODERS}
    )


def with_gradient(student: CrossModalTrace) -> torch.Tensor:
    return student.scores["va"].requires_grad_()


def test_negative_scores_in_va_are_raised_on_both_sides():
    student, teacher = va_trace([-3.0, -5.0]), va_trace([math.log(3), -2.0])
    scores = with_gradient(student)
    result = MTDLoss(1)(LOGITS, LABELS, student, teacher)
    assert result.distillation_loss.item() == pytest.approx(divergence(3.0) / 2, rel=1e-4)
    result.loss.backward()
    assert not scores.grad.any()


@pytest.mark.parametrize("encoder", ["fusion", "av"])
def test_negative_scores_elsewhere_are_left_alone(encoder):
    quiet, teacher, student = (va_trace(scores) for scores in ([0.0, 0.0], [math.log(3) - 5, -5.0], [-5.0, -5.0]))
    taught, learned = (
        CrossModalTrace({**quiet.scores, encoder: trace.scores["va"]}, quiet.relations) for trace in (teacher, student)
    )
    result = MTDLoss(1)(LOGITS, LABELS, learned, taught)
    assert result.distillation_loss.item() == pytest.approx(divergence(3.0) / 2, rel=1e-5)


def test_hidden_places_take_part_where_scores_are_raised():
    student, teacher = va_trace([2.0, 2.0, -math.inf]), va_trace([2.0, 2.0, 3.0])
    terms = MTDLoss(1)(LOGITS, LABELS, student, teacher).terms
    taught, learned = torch.tensor([2.0, 2.0, 3.0]).softmax(0), torch.tensor([2.0, 2.0, 1e-5]).softmax(0)
    expected = (taught * (taught / learned).log()).sum() / 3
    assert terms[2, 0, 0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_hidden_places_are_neither_summed_nor_counted_where_scores_are_left_alone():
    student, teacher = va_trace([-5.0, -5.0, -math.inf]), va_trace([math.log(3) - 5, -5.0, -math.inf])
    scores = with_gradient(student)
    result = MTDLoss(1, weighting="none", raise_va_scores=False)(LOGITS, LABELS, student, teacher)
    assert result.distillation_loss.item() == pytest.approx(divergence(3.0) / 2, rel=1e-5)
    result.loss.backward()
    # d KL / d score = learned - taught, over the two places that count.
    torch.testing.assert_close(scores.grad.flatten(), torch.tensor([0.5 - 0.75, 0.5 - 0.25, 0.0]) / 2)


def test_a_student_far_behind_stays_finite():
    """A softmax and then its logarithm would be minus infinity there."""
    student, teacher = torch.tensor([[0.0, -200.0]], requires_grad=True), torch.zeros(1, 2)
    assert student.detach().softmax(-1).log()[0, 1] == -math.inf
    result = mean_divergence(teacher, student)
    assert result.item() == pytest.approx((100 - math.log(2)) / 2)
    result.backward(torch.ones(1))
    torch.testing.assert_close(student.grad, torch.tensor([[0.25, -0.25]]))


# --- whole networks ---------------------------------------------------------------------------------------------------


def windows() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": 255 * torch.rand(3, 5, 3, 8, 16, generator=generator),
        "input_features": 8 * torch.rand(3, 1, 8, 16, generator=generator) - 4,
    }


def student_taught_by(teacher, distillation=None, **overrides):
    student = tiny_model(ROW, distillation=distillation or {}, **overrides)
    return student(**windows(), labels=torch.tensor([1, 0, 1]), teacher=teacher_trace(teacher, **windows()))


@pytest.mark.parametrize(
    "distillation", [{}, {"raise_va_scores": False}, {"target": "logits"}, {"separate_values": True}]
)
def test_a_student_learns_nothing_from_itself(distillation):
    outputs = student_taught_by(tiny_model(ROW), distillation)
    assert outputs.distillation_loss.item() == pytest.approx(0, abs=1e-6)


def test_a_trace_is_made_of_the_outputs_of_a_model():
    model = tiny_model(ROW)
    outputs, trace = model(**windows(), output_trace=True), teacher_trace(model, **windows())
    values = outputs.attention_values["va"]  # (layers, batch, heads, keys, head_dim), four wide
    assert torch.equal(trace.scores["va"], outputs.attention_scores["va"])
    torch.testing.assert_close(trace.relations["va"], torch.einsum("...kd,...ld->...kl", values, values) / 2)
    torch.testing.assert_close(trace.logits, outputs.logits)


@pytest.mark.parametrize("raise_va_scores", [True, False])
def test_every_weight_of_the_student_gets_a_finite_gradient(raise_va_scores):
    teacher = tiny_model(ROW, VocaLiSTForSequenceClassification, hidden_size=16, conv_channels=(4, 6, 16))
    student = tiny_model(ROW, distillation={"raise_va_scores": raise_va_scores}).train()
    trace = teacher_trace(teacher, **windows())
    student(**windows(), labels=torch.tensor([1, 0, 1]), teacher=trace).loss.backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_traces_in_half_precision_are_compared_in_single(dtype, tolerance):
    half = MTDLoss(2)(LOGITS.to(dtype), LABELS, student_of(dtype), teacher_of(dtype=dtype))
    assert {half.loss.dtype, half.terms.dtype, half.classification_loss.dtype} == {torch.float32}
    assert half.loss.item() == pytest.approx(result_of(MTDLoss(2)).loss.item(), rel=tolerance)


def test_a_teacher_in_half_precision_teaches_a_student_in_single():
    teacher = tiny_model(ROW, VocaLiSTForSequenceClassification, hidden_size=16, conv_channels=(4, 6, 16))
    exact = student_taught_by(teacher)
    half = student_taught_by(teacher.half())
    assert half.distillation_loss.item() == pytest.approx(exact.distillation_loss.item(), rel=2e-2)


# --- the weights ------------------------------------------------------------------------------------------------------


def test_the_weights_are_parameters_and_move_with_the_model():
    student = tiny_model(ROW)
    assert dict(student.named_parameters())["mtd_loss.weights"].tolist() == [1.0] * 7
    assert student.double().mtd_loss.weights.dtype == torch.float64
    assert student.to("meta").mtd_loss.weights.is_meta


def test_the_weights_are_saved_with_the_student_and_come_back(tmp_path):
    student = tiny_model(ROW)
    student.mtd_loss.weights.data = torch.tensor(WEIGHTS)
    student.save_pretrained(tmp_path)
    loaded, report = MTDVocaLiSTForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert loaded.mtd_loss.weights.tolist() == WEIGHTS


def test_a_student_that_was_saved_without_a_loss_gets_one_with_weights_of_one(tmp_path):
    tiny_model(ROW, distillation=None).save_pretrained(tmp_path)
    loaded = MTDVocaLiSTForSequenceClassification.from_pretrained(tmp_path, distillation={"separate_values": True})
    assert loaded.mtd_loss.weights.tolist() == [1.0] * 13


def test_the_options_of_the_loss_are_saved_with_the_student(tmp_path):
    options = {"layers": {"fusion": [1], "va": [0]}, "temperature": 25.0, "weighting": "none", "raise_va_scores": False}
    tiny_model(ROW, distillation=options).save_pretrained(tmp_path)
    loss = MTDVocaLiSTForSequenceClassification.from_pretrained(tmp_path).mtd_loss
    assert (loss.places, loss.temperature, loss.weighting) == ([(0, 1), (2, 0)], 25.0, "none")
    assert loss.raise_va_scores is False
    assert loss.weights is None


def test_a_step_of_training_moves_the_weights():
    student = tiny_model(ROW).train()
    teacher = tiny_model(ROW, VocaLiSTForSequenceClassification, hidden_size=16, conv_channels=(4, 6, 16))
    optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
    student(**windows(), labels=torch.tensor([1, 0, 1]), teacher=teacher_trace(teacher, **windows())).loss.backward()
    optimizer.step()
    assert (student.mtd_loss.weights != 1).all()


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "values"}, r"`target` must be one of attention, logits, got 'values'"),
        ({"weighting": "uniform"}, r"`weighting` must be one of uncertainty, softmax, none, got 'uniform'"),
        ({"temperature": 0}, r"`temperature` must be above 0, got 0"),
        ({"temperature": float("nan")}, r"`temperature` must be above 0, got nan"),
        ({"layers": {"fusion": [2]}}, r"`layers` maps fusion, av, va to layers from 0 to 1, got 'fusion': \[2\]"),
        ({"layers": {}}, r"`layers` chooses no layer, so nothing is distilled"),
        ({"layers": {"va": []}}, r"`layers` chooses no layer"),
        ({"layers": {"mem": [0]}}, r"`layers` maps fusion, av, va .* got 'mem': \[0\]"),
        ({"target": "logits", "weighting": "softmax"}, r'`target`="logits" has one term; `weighting`, .* "attention"'),
        ({"target": "logits", "separate_values": True}, r'`target`="logits" has one term'),
        ({"target": "logits", "layers": {"va": [0]}}, r'`target`="logits" has one term'),
    ],
)
def test_an_invalid_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MTDLoss(2, **options)


@pytest.mark.parametrize(
    ("overrides", "shapes"),
    [
        ({"num_attention_heads": 4}, r"\(2, 3, 4, 16, 5\) and \(2, 3, 2, 16, 5\)"),
        ({"num_hidden_layers": 1}, r"\(1, 3, 2, 16, 5\) and \(2, 3, 2, 16, 5\)"),
    ],
)
def test_a_teacher_with_other_heads_or_layers_is_refused(overrides, shapes):
    teacher = tiny_model(ROW, VocaLiSTForSequenceClassification, **overrides)
    with pytest.raises(
        ValueError, match=rf"`teacher` and `student` differ in 'fusion': {shapes}.*numbers of layers and heads"
    ):
        student_taught_by(teacher)


def test_a_teacher_that_lacks_an_encoder_is_refused():
    teacher = teacher_of()
    del teacher.scores["va"]
    with pytest.raises(ValueError, match=r"`teacher` has no scores of 'va'"):
        MTDLoss(2)(LOGITS, LABELS, student_of(), teacher)


def test_a_teacher_without_logits_cannot_be_compared_by_them():
    with pytest.raises(ValueError, match=r'`teacher\.logits` is None, and `target`="logits" compares nothing else'):
        MTDLoss(2, target="logits")(LOGITS, LABELS, student_of(), teacher_of())
