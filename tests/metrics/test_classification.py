"""Scores of classifiers, against numbers done by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from avzoo.metrics import accuracy, average_precision, d_prime, roc_auc, tagging_scores


def column(*values) -> np.ndarray:
    """(clips, 1): one class."""
    return np.array(values)[:, None]


def random_task(clips: int, classes: int, seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know something of the targets, rounded to `levels` values if ties are wanted; no empty class."""
    random = np.random.default_rng(seed)
    targets = (random.random((clips, classes)) < 0.3).astype(int)
    targets[0], targets[1] = 1, 0
    scores = random.standard_normal((clips, classes)) + targets
    return (scores if levels is None else np.round(scores * levels) / levels), targets


# --- by hand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        # Ranked: hit, miss, hit, miss. Precision where recall rises: 1/1 and 2/3.
        ((0.9, 0.8, 0.7, 0.6), (1, 0, 1, 0), (1 + 2 / 3) / 2),
        ((0.6, 0.7, 0.8, 0.9), (0, 1, 0, 1), (1 + 2 / 3) / 2),  # the order of the clips does not count
        ((4, 3, 2, 1), (1, 1, 0, 0), 1),
        ((4, 3, 2, 1), (0, 0, 0, 1), 1 / 4),
        ((4, 3, 2, 1), (0, 0, 1, 1), (1 / 3 + 2 / 4) / 2),
        ((4, 3, 2, 1), (1, 1, 1, 1), 1),
        # All enter together: every positive at the precision of the whole set.
        ((5, 5, 5, 5), (1, 0, 0, 0), 1 / 4),
        ((5, 5, 5, 5), (0, 0, 1, 1), 1 / 2),
        # A tie of one positive and one negative behind a hit: 1/1 for the first, 2/3 for the pair.
        ((9, 5, 5, 1), (1, 1, 0, 0), (1 + 2 / 3) / 2),
        ((9, 5, 5, 1), (1, 0, 1, 0), (1 + 2 / 3) / 2),
        ((-1, -2), (0, 1), 1 / 2),
        ((7,), (1,), 1),
    ],
)
def test_average_precision_by_hand(scores, targets, expected):
    np.testing.assert_allclose(average_precision(column(*scores), column(*targets)), [expected], rtol=1e-15)


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        # Pairs of a positive and a negative, in the right order: 3 of 4.
        ((0.9, 0.8, 0.7, 0.6), (1, 0, 1, 0), 3 / 4),
        ((4, 3, 2, 1), (1, 1, 0, 0), 1),
        ((4, 3, 2, 1), (0, 0, 1, 1), 0),
        ((4, 3, 2, 1), (0, 1, 0, 0), 2 / 3),
        ((5, 5, 5, 5), (1, 0, 0, 1), 1 / 2),  # a tie counts half
        ((9, 5, 5, 1), (1, 1, 0, 0), 3.5 / 4),
        ((5, 5, 1), (1, 0, 0), 1.5 / 2),
    ],
)
def test_roc_area_by_hand(scores, targets, expected):
    np.testing.assert_allclose(roc_auc(column(*scores), column(*targets)), [expected], rtol=1e-15)


def test_classes_are_scored_on_their_own():
    scores, targets = np.array([[4, 1], [3, 2], [2, 3], [1, 4]]), np.array([[1, 1], [1, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(roc_auc(scores, targets), [1, 0])
    np.testing.assert_allclose(average_precision(scores, targets), [1, (1 / 3 + 2 / 4) / 2])


@pytest.mark.parametrize(
    ("auc", "expected"), [(0.5, 0), (0.9786, 2.864), (0.76024993890652, 1), (0.9213503964748575, 2)]
)
def test_d_prime_by_hand(auc, expected):
    """The second is what YuanGongND/ast@31088be prints beside its area; chance is 0; Phi(1 / sqrt 2) gives 1."""
    assert d_prime(auc) == pytest.approx(expected, abs=2e-3 if auc == 0.9786 else 1e-9)
    assert d_prime(1 - auc) == pytest.approx(-d_prime(auc), abs=1e-12)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([2, 0, 1], 2 / 3),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], 2 / 3),
        ([[0.1, 0.2, 0.7], [0.6, 0.4, 0], [0.9, 0.1, 0]], 1),  # the highest target counts
        ([2, 0, 0], 1),
        ([0, 1, 2], 0),
    ],
)
def test_accuracy_by_hand(targets, expected):
    scores = [[0.1, 0.2, 0.3], [0.5, 0.2, 0.1], [0.9, 0.8, 0.7]]
    assert accuracy(scores, targets) == pytest.approx(expected, abs=1e-15)


def test_the_first_of_equal_scores_wins():
    assert accuracy([[1, 1, 0]], [0]) == 1
    assert accuracy([[1, 1, 0]], [1]) == 0


def test_perfect_and_hopeless_scores():
    targets = np.eye(4, dtype=int)
    assert tagging_scores(targets, targets) == {"mAP": 1, "mAUC": 1, "d_prime": math.inf, "accuracy": 1}
    hopeless = tagging_scores(-targets, targets)
    assert hopeless == {"mAP": 1 / 4, "mAUC": 0, "d_prime": -math.inf, "accuracy": 0}
    assert tagging_scores(np.zeros((4, 4)), targets)["d_prime"] == 0


# --- against scikit-learn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 10, 1], ids=["no ties", "few ties", "many ties"])
@pytest.mark.parametrize(("clips", "classes", "seed"), [(2, 1, 0), (7, 3, 1), (50, 10, 2), (400, 20, 3)])
def test_numbers_are_those_of_scikit_learn(clips, classes, seed, levels):
    scores, targets = random_task(clips, classes, seed, levels)
    columns = list(zip(targets.T, scores.T, strict=True))
    precision = [sklearn_metrics.average_precision_score(t, s) for t, s in columns]
    area = [sklearn_metrics.roc_auc_score(t, s) for t, s in columns]
    np.testing.assert_allclose(average_precision(scores, targets), precision, rtol=1e-12)
    np.testing.assert_allclose(roc_auc(scores, targets), area, rtol=1e-12)
    together = tagging_scores(scores, targets)
    assert together["mAP"] == pytest.approx(np.mean(precision), rel=1e-12)
    assert together["mAUC"] == pytest.approx(np.mean(area), rel=1e-12)
    expected = sklearn_metrics.accuracy_score(targets.argmax(1), scores.argmax(1))
    assert together["accuracy"] == pytest.approx(expected, abs=1e-15)
    if 0 < together["mAUC"] < 1:
        assert together["d_prime"] == d_prime(together["mAUC"])


def test_only_the_order_of_scores_counts():
    scores, targets = random_task(60, 5, seed=0)
    for monotonic in (np.tanh, np.exp, lambda s: 1e-9 * s - 100):
        np.testing.assert_allclose(average_precision(monotonic(scores), targets), average_precision(scores, targets))
        np.testing.assert_allclose(roc_auc(monotonic(scores), targets), roc_auc(scores, targets))


@pytest.mark.parametrize("levels", [None, 2])
def test_the_order_of_clips_does_not_count(levels):
    scores, targets = random_task(60, 5, 0, levels)
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(
        average_precision(scores[order], targets[order]), average_precision(scores, targets), rtol=1e-12
    )
    np.testing.assert_allclose(roc_auc(scores[order], targets[order]), roc_auc(scores, targets), rtol=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float16, int, bool])
def test_targets_of_any_type_and_lists_are_taken(kind):
    scores, targets = random_task(20, 3, seed=0)
    expected = tagging_scores(scores, targets)
    assert tagging_scores(scores, targets.astype(kind)) == expected
    assert tagging_scores(scores.tolist(), targets.tolist()) == expected


def test_the_arguments_are_not_modified():
    scores, targets = random_task(20, 3, seed=0)
    before = scores.copy(), targets.copy()
    tagging_scores(scores, targets)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(targets, before[1])


# --- what makes a number meaningless ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [average_precision, roc_auc, tagging_scores])
@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), r"both be \(clips, classes\) and not empty, got \(3, 2\) and \(3, 1\)"),
        (np.zeros((3, 2)), np.zeros((2, 2)), r"got \(3, 2\) and \(2, 2\)"),
        (np.zeros(3), np.zeros(3), r"got \(3,\) and \(3,\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"not empty, got \(0, 2\)"),
        (np.zeros((3, 0)), np.zeros((3, 0)), r"not empty, got \(3, 0\)"),
        (column(0.1, np.nan, np.inf), column(1, 0, 1), "`scores` holds 2 values that are NaN or infinite"),
        (column(0.1, 0.2, 0.3), column(1, 0, 2), "`targets` must hold 0 and 1 only"),
        (column(0.1, 0.2, 0.3), column(1, 0, 0.5), "`targets` must hold 0 and 1 only"),
        (column(0.1, 0.2, 0.3), column(1, 0, np.nan), "`targets` must hold 0 and 1 only"),
        (np.zeros((3, 2)), np.array([[1, 0], [0, 0], [0, 0]]), r"1 classes have .*undefined \(class 1\)"),
    ],
)
def test_undefined_scores_are_refused(metric, scores, targets, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, targets)


def test_a_class_of_positives_only_has_a_precision_but_no_area():
    scores, targets = column(1.0, 2.0), column(1, 1)
    np.testing.assert_allclose(average_precision(scores, targets), [1])
    with pytest.raises(ValueError, match=r"only one kind of clip, the ROC area is undefined \(class 0\)"):
        roc_auc(scores, targets)


def test_the_first_few_classes_without_a_positive_are_listed():
    with pytest.raises(ValueError, match=r"8 classes have no positive clip.*\(class 0, 1, 2, 3, 4, \.\.\.\)"):
        average_precision(np.zeros((3, 8)), np.zeros((3, 8)))


@pytest.mark.parametrize("auc", [0, 1, -0.1, 1.1, math.nan])
def test_an_area_without_a_finite_d_prime_is_refused(auc):
    with pytest.raises(ValueError, match=f"`auc` must lie between 0 and 1, exclusive.*got {auc}"):
        d_prime(auc)


@pytest.mark.parametrize(
    ("scores", "targets"),
    [([], []), ([[]], [0]), ([0.1, 0.9], [0, 1]), ([[0.1, 0.9]], [0, 1]), ([[0.1, 0.9]], [[0, 1], [1, 0]])],
)
def test_accuracy_needs_the_same_clips(scores, targets):
    with pytest.raises(ValueError, match="must hold the same clips, at least one"):
        accuracy(scores, targets)


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([[np.nan, 1.0]], [0], "1 NaN"),
        ([[0.0, 1.0]], [2], r"class indices in \[0, 2\), got 2"),
        ([[0.0, 1.0]], [-1], "class indices"),
        ([[0.0, 1.0]], [[1, 0, 0]], "must hold the same clips"),
    ],
)
def test_accuracy_refuses_bad_scores_or_targets(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        accuracy(scores, targets)
