"""Compensation: fitted by hand and against scikit-learn; kept as plain numbers; never reported where it was fitted."""

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from avzoo.data.trial_lists import Trials
from avzoo.metrics import trainer_eer, verification_scores
from avzoo.models.session_embedding.compensation import (
    DevelopmentList,
    LinearCompensation,
    QStackCompensation,
    fit_compensation,
    fit_logistic_regression,
    make_compensation,
    report_compensation,
)

DEVELOPMENT = DevelopmentList("dev.txt", "0" * 64, 4)
Q_STACK = QStackCompensation([0.5, 0.25, 0.0], [0.5, 0.25, 1.0], [3.0, -2.0, 1.0], -1.0, DEVELOPMENT)


def make_trials(labels, name: str = "dev.txt") -> Trials:
    return Trials.from_names(name, [(f"{name}-{index}", "enrolment") for index in range(len(labels))], labels)


def draw_similarities(seed: int, trials: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speaker similarities that half of a shared session raises, session similarities, labels."""
    random = np.random.default_rng(seed)
    labels, session = random.integers(0, 2, trials), random.random(trials)
    return 0.4 * labels + 0.5 * session + 0.15 * random.standard_normal(trials), session, labels


def test_the_linear_score_takes_the_session_off():
    compensation = LinearCompensation(0.25, DEVELOPMENT)
    assert compensation(0.5, 0.4) == pytest.approx(0.4)
    assert compensation(np.array([0.5, 0.1]), np.array([0.4, -0.4])) == pytest.approx([0.4, 0.2])
    torch.testing.assert_close(compensation(torch.tensor([0.5]), torch.tensor([0.4])), torch.tensor([0.4]))


def test_the_q_stack_by_hand():
    # 3 * (1 - 0.5) / 0.5 - 2 * (0.5 - 0.25) / 0.25 + 1 * 0.5 - 1
    assert Q_STACK(1.0, 0.5) == pytest.approx(0.5)
    assert Q_STACK.probability(1.0, 0.5) == pytest.approx(1 / (1 + np.exp(-0.5)))
    torch.testing.assert_close(Q_STACK(torch.ones(2), torch.full((2,), 0.5)), torch.full((2,), 0.5))
    torch.testing.assert_close(Q_STACK.probability(torch.ones(2), torch.full((2,), 0.5)), torch.full((2,), 0.62245933))
    assert Q_STACK.probability(np.array([-1e6, 1e6]), np.zeros(2)).tolist() == [0, 1]


def test_the_smallest_of_the_best_weights_is_taken():
    speaker, session, labels = draw_similarities(0)
    compensation = fit_compensation(make_trials(labels), speaker, session)
    rates = {weight: trainer_eer(speaker - weight / 100 * session, labels).value for weight in range(101)}
    best = min(weight for weight in rates if rates[weight] == min(rates.values()))
    assert compensation.weight == best / 100
    assert 0.3 < compensation.weight < 0.7  # half of the session similarity is in the speaker's
    assert min(rates.values()) < rates[0] / 2


def test_a_session_that_does_not_matter_gets_no_weight():
    labels = np.array([1, 1, 0, 0])
    assert fit_compensation(make_trials(labels), labels.astype(float), [0.1, 0.2, 0.3, 0.4]).weight == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_q_stack_is_scikit_learns_logistic_regression(seed):
    speaker, session, labels = draw_similarities(seed)
    compensation = fit_compensation(make_trials(labels), speaker, session, "q_stack")
    features = np.stack([speaker, session, speaker * session], axis=1)
    standardised = (features - features.mean(0)) / features.std(0)
    expected = LogisticRegression(tol=1e-10, max_iter=10_000).fit(standardised, labels)
    np.testing.assert_allclose(compensation.coefficients, expected.coef_[0], rtol=1e-5)
    np.testing.assert_allclose(compensation.intercept, expected.intercept_[0], rtol=1e-5)
    np.testing.assert_allclose(compensation(speaker, session), expected.decision_function(standardised), rtol=1e-4)
    np.testing.assert_allclose(
        compensation.probability(speaker, session), expected.predict_proba(standardised)[:, 1], rtol=1e-4
    )


def measure_gradient(features: np.ndarray, labels: np.ndarray) -> float:
    """Largest slope of the penalised loss at the fit; the optimum has none."""
    weights, signs = fit_logistic_regression(features, labels), np.where(labels, 1, -1)
    wrong = 1 / (1 + np.exp(signs * (features @ weights[:-1] + weights[-1])))
    slopes = -(signs * wrong) @ np.column_stack([features, np.ones(len(features))]) + np.append(weights[:-1], 0)
    return np.abs(slopes).max()


@pytest.mark.parametrize("targets", [1, 500, 999])
def test_separable_and_lopsided_trials_still_have_a_fit(targets):
    labels = np.arange(1000) < targets
    assert measure_gradient(np.column_stack([100.0 * labels - 50, np.arange(1000) / 100]), labels) < 1e-6


def test_outliers_do_not_carry_the_fit_away():
    random, labels = np.random.default_rng(715), np.arange(190) < 56  # full Newton steps diverge on these
    features = random.standard_t(1.5, (190, 3))
    features = features / features.std(0) + 5 * np.outer(labels - 0.5, random.standard_normal(3))
    assert measure_gradient((features - features.mean(0)) / features.std(0), labels) < 1e-6


@pytest.mark.parametrize("kind", ["linear", "q_stack"])
def test_a_fit_keeps_plain_numbers_and_the_name_and_digest_of_its_list(kind):
    speaker, session, labels = draw_similarities(0)
    trials = make_trials(labels)
    compensation = fit_compensation(trials, speaker, session, kind)
    config = json.loads(json.dumps(compensation.to_config()))
    assert config["type"] == kind
    assert config["development"] == {"name": "dev.txt", "sha256": trials.sha256, "trials": 400}
    assert make_compensation(config) == compensation


def test_the_list_that_was_fitted_on_is_not_reported():
    speaker, session, labels = draw_similarities(0)
    compensation = fit_compensation(make_trials(labels), speaker, session)
    names = [(second, first) for first, second in ((f"dev.txt-{index}", "enrolment") for index in range(400))]
    copy = Trials.from_names("test.txt", names[::-1], labels[::-1])
    with pytest.raises(ValueError, match=r"fitted on the trials of test\.txt \(as dev\.txt\); report another list"):
        report_compensation(compensation, copy, speaker[::-1], session[::-1])


def test_a_report_names_both_lists_and_both_scores():
    speaker, session, labels = draw_similarities(0)
    compensation = fit_compensation(make_trials(labels), speaker, session)
    speaker, session, labels = draw_similarities(1)
    report = report_compensation(compensation, make_trials(labels, "test.txt"), speaker, session)
    assert (report.trials, report.development) == ("test.txt", "dev.txt")
    assert report.raw == verification_scores(speaker, labels)
    assert report.compensated == verification_scores(speaker - compensation.weight * session, labels)


def test_an_unfitted_compensation_warns_and_leaves_the_score():
    unfitted = make_compensation(None)
    assert unfitted == make_compensation({"type": "linear"}) == LinearCompensation()
    with pytest.warns(UserWarning, match="not fitted: scores are speaker similarities alone"):
        assert unfitted(0.5, 0.4) == 0.5
    with pytest.raises(ValueError, match=r"not fitted, or .* another list than dev\.txt"):
        report_compensation(unfitted, make_trials([0, 1]), [0.1, 0.2], [0.1, 0.2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearCompensation(0.0, DEVELOPMENT)(0.5, 0.4)  # fitted, and found useless
        LinearCompensation(0.2)(0.5, 0.4)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"weight": 0.2}, ValueError, r"`compensation\['type'\]` must be one of linear, q_stack, got None"),
        ({"type": "svm"}, ValueError, "got 'svm'"),
        ({"type": "linear", "wait": 0.2}, TypeError, "`compensation` of type 'linear': .*'wait'"),
        ({"type": "linear", "weight": float("nan")}, ValueError, "`weight` must be finite, got nan"),
        ({"type": "q_stack"}, TypeError, "`compensation` of type 'q_stack': .*'mean'"),
        ({**Q_STACK.to_config(), "mean": [0, 1]}, ValueError, "`mean` must be 3 numbers.*got 2"),
        ({**Q_STACK.to_config(), "std": [0, 1, 1]}, ValueError, "`std` must be above 0, got 0"),
    ],
)
def test_a_config_of_another_form_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        make_compensation(config)


@pytest.mark.parametrize("kind", ["linear", "q_stack"])
@pytest.mark.parametrize(
    ("labels", "speaker", "session", "message"),
    [
        ([0, 1], [0.1, np.nan], [0.1, 0.2], r"`speaker_similarity` on dev\.txt: .*1 values that are NaN"),
        ([0, 1], [0.1, 0.2], [0.1, np.inf], r"`session_similarity` on dev\.txt: .*NaN or infinite"),
        ([0, 1], [0.1, 0.2, 0.3], [0.1, 0.2], r"`speaker_similarity` on dev\.txt: .*\(3,\) and \(2,\)"),
        ([1, 1], [0.1, 0.2], [0.1, 0.2], "all 2 are 1; both 0 and 1 are needed"),
        (None, [0.1, 0.2], [0.1, 0.2], "has no labels"),
    ],
)
def test_trials_that_tell_nothing_are_refused(kind, labels, speaker, session, message):
    trials = Trials.from_names("dev.txt", [("a", "b"), ("a", "c")], labels)
    with pytest.raises(ValueError, match=message):
        fit_compensation(trials, speaker, session, kind)


def test_a_constant_similarity_has_no_q_stack():
    with pytest.raises(ValueError, match="`session_similarity` is the same in all 2 trials"):
        fit_compensation(make_trials([0, 1]), [0.1, 0.2], [0.3, 0.3], "q_stack")
