"""Correct the speaker similarity of a trial by its session similarity, and fit the correction on a development list.

Paper: "Rethinking Session Variability" (arXiv 2309.14741). Two recordings that share a session need to be more alike to
be of one speaker. s and q are the cosines of two recordings' speaker and session embeddings.

    compensation = fit_compensation(development, s, q)              # `development`: an avzoo.data.trial_lists.Trials
    config.compensation = compensation.to_config()                  # plain numbers, and the name of the list
    make_compensation(config.compensation)(s, q)                    # NumPy arrays, tensors or numbers
    report_compensation(compensation, test, s_test, q_test)         # refuses the list it was fitted on

If s is normalised by a cohort, normalise before fitting: the weights depend on the scale of s.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_choice, check_number
from avzoo.data.trial_lists import Trials
from avzoo.metrics.verification import check_two_classes, trainer_eer, verification_scores

WEIGHTS = np.arange(101) / 100
STRENGTH = 1.0  # C of the logistic regression: weight of the data against the penalty of 1/2 |coefficients|^2


@dataclass(frozen=True)
class DevelopmentList:
    """The list that a compensation was fitted on: its name, digest of its pairs, and number of trials."""

    name: str
    sha256: str
    trials: int


@dataclass(frozen=True)
class LinearCompensation:
    """score = s - weight * q.

    Args:
        weight: 0 means "not fitted": the score is s, and the first call warns.
        development: what `weight` was fitted on; None if nobody recorded it.
    """

    weight: float = 0.0
    development: DevelopmentList | None = None

    def __post_init__(self):
        check_number("weight", self.weight)

    def __call__(self, speaker_similarity: Any, session_similarity: Any) -> Any:
        """Scores, shaped as the similarities (numbers, arrays or tensors)."""
        if self.weight == 0 and self.development is None:
            # Python shows a warning from one line once.
            warnings.warn("The compensation is not fitted: scores are speaker similarities alone.", stacklevel=1)
        return speaker_similarity - self.weight * session_similarity

    def to_config(self) -> dict[str, Any]:
        """As a config holds it."""
        return {"type": "linear", **_drop_none(asdict(self))}


@dataclass(frozen=True)
class QStackCompensation:
    """score = coefficients . ([s, q, s q] - mean) / std + intercept, the log odds of one speaker on the list.

    Args:
        mean, std, coefficients: three numbers each, for s, q and s q.
        development: what they were fitted on; None if nobody recorded it.
    """

    mean: Sequence[float]
    std: Sequence[float]
    coefficients: Sequence[float]
    intercept: float
    development: DevelopmentList | None = None

    def __post_init__(self):
        for name in ("mean", "std", "coefficients"):
            values = getattr(self, name)
            if len(values) != 3:
                raise ValueError(f"`{name}` must be 3 numbers, for s, q and s q, got {len(values)}.")
            for value in values:
                check_number(name, value, above=0 if name == "std" else None)
        check_number("intercept", self.intercept)

    def __call__(self, speaker_similarity: Any, session_similarity: Any) -> Any:
        """Scores, shaped as the similarities (numbers, arrays or tensors)."""
        score = self.intercept
        features = (speaker_similarity, session_similarity, speaker_similarity * session_similarity)
        for feature, mean, std, coefficient in zip(features, self.mean, self.std, self.coefficients, strict=True):
            score = score + coefficient / std * (feature - mean)
        return score

    def probability(self, speaker_similarity: Any, session_similarity: Any) -> Any:
        """Probability of one speaker, for trials with the development list's share of such."""
        score = self(speaker_similarity, session_similarity)
        return score.sigmoid() if hasattr(score, "sigmoid") else _sigmoid(score)

    def to_config(self) -> dict[str, Any]:
        """As a config holds it."""
        return {"type": "q_stack", **_drop_none(asdict(self))}


Compensation = LinearCompensation | QStackCompensation


class CompensationReport(NamedTuple):
    """Error rates on a list, see [`avzoo.metrics.verification_scores`], and the list that the weights come from."""

    trials: str
    development: str
    raw: dict[str, float]
    compensated: dict[str, float]


def make_compensation(config: Mapping[str, Any] | None) -> Compensation:
    """The compensation that a config holds; None is an unfitted linear one.

    Raises:
        TypeError, ValueError: an unknown type, missing or unknown fields, other than finite numbers.
    """
    fields = dict(config or {"type": "linear"})
    kind = fields.pop("type", None)
    check_choice("compensation['type']", kind, ("linear", "q_stack"))
    if fields.get("development") is not None:
        fields["development"] = DevelopmentList(**fields["development"])
    try:
        return (LinearCompensation if kind == "linear" else QStackCompensation)(**fields)
    except TypeError as error:
        raise TypeError(f"`compensation` of type {kind!r}: {error}.") from error


def fit_compensation(
    trials: Trials,
    speaker_similarity: ArrayLike,
    session_similarity: ArrayLike,
    kind: Literal["linear", "q_stack"] = "linear",
) -> Compensation:
    """Fit on a development list; report on another one.

    "linear" tries the weights 0.00, 0.01, ... 1.00 and takes the smallest of those with the smallest equal error rate
    (voxceleb_trainer's). "q_stack" is a logistic regression on standardised [s, q, s q] with an L2 penalty.

    Args:
        trials: with labels; its name and digest are recorded.
        speaker_similarity, session_similarity: (trials,), in the list's order.

    Raises:
        ValueError: no labels or only one kind, other shapes, NaN or infinite values; for "q_stack" a similarity that is
            the same in all trials.
    """
    check_choice("kind", kind, ("linear", "q_stack"))
    speaker, session, labels = _check_similarities(trials, speaker_similarity, session_similarity)
    development = DevelopmentList(trials.name, trials.sha256, len(trials))
    if kind == "linear":
        rates = scan_weights(speaker, session, labels)
        return LinearCompensation(float(WEIGHTS[int(np.argmin(rates))]), development)
    features = np.stack([speaker, session, speaker * session], axis=1)
    mean, std = features.mean(axis=0), features.std(axis=0)
    if not (std > 1e-12 * np.abs(mean)).all():
        name = ("`speaker_similarity`", "`session_similarity`", "Their product")[int(np.argmin(std))]
        raise ValueError(f"{name} is the same in all {len(trials)} trials: there is nothing to fit.")
    *coefficients, intercept = fit_logistic_regression((features - mean) / std, labels)
    numbers = ([float(value) for value in values] for values in (mean, std, coefficients))
    return QStackCompensation(*numbers, float(intercept), development)


def scan_weights(speaker_similarity: np.ndarray, session_similarity: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Equal error rate (voxceleb_trainer's, per cent) of s - w q for each of `WEIGHTS`: (101,)."""
    return np.array([trainer_eer(speaker_similarity - w * session_similarity, labels).value for w in WEIGHTS])


def fit_logistic_regression(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Minimise 1/2 |coefficients|^2 + C sum of log losses by Newton's method: (features + 1,), the intercept last.

    The intercept is not penalised.

    Args:
        features: (rows, features). labels: (rows,) of 0 and 1, both there.
    """
    design = np.column_stack([features, np.ones(len(features))])
    signs = np.where(labels, 1.0, -1.0)
    penalty = np.append(np.ones(features.shape[1]), 0.0)

    def loss(weights: np.ndarray) -> float:
        return STRENGTH * np.logaddexp(0, -signs * (design @ weights)).sum() + penalty @ weights**2 / 2

    weights = np.zeros(design.shape[1])
    for _ in range(100):
        wrong = _sigmoid(-signs * (design @ weights))  # probability of the other label
        gradient = -STRENGTH * design.T @ (signs * wrong) + penalty * weights
        curvature = STRENGTH * (design.T * (wrong * (1 - wrong))) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        decrement = gradient @ step
        if decrement < 1e-18 * max(1.0, loss(weights)):
            return weights
        scale = 1.0
        while loss(weights - scale * step) > loss(weights) - 1e-4 * scale * decrement and scale > 1e-8:
            scale /= 2  # a full step can overshoot where the classes lie far apart
        weights = weights - scale * step
    return weights


def report_compensation(
    compensation: Compensation, trials: Trials, speaker_similarity: ArrayLike, session_similarity: ArrayLike
) -> CompensationReport:
    """Error rates of the speaker similarity alone and of the compensated score, on a list of its own.

    Raises:
        ValueError: the compensation was fitted on these very trials, or nobody recorded what on; and as
            [`fit_compensation`].
    """
    development = compensation.development
    if development is None:
        raise ValueError(
            "`compensation` is not fitted, or its development list is not recorded; use `fit_compensation` on another "
            f"list than {trials.name}."
        )
    if development.sha256 == trials.sha256:
        raise ValueError(
            f"`compensation` was fitted on the trials of {trials.name} (as {development.name}); report another list."
        )
    speaker, session, labels = _check_similarities(trials, speaker_similarity, session_similarity)
    return CompensationReport(
        trials.name,
        development.name,
        verification_scores(speaker, labels),
        verification_scores(compensation(speaker, session), labels),
    )


def _check_similarities(
    trials: Trials, speaker_similarity: ArrayLike, session_similarity: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both similarities as float64 and the labels as bool, (trials,)."""
    checked = []
    for name, values in (("speaker", speaker_similarity), ("session", session_similarity)):
        try:
            values, labels = check_two_classes(values, trials.require_labels())
        except ValueError as error:
            raise ValueError(f"`{name}_similarity` on {trials.name}: {error}") from error
        checked.append(values)
    return *checked, labels


def _drop_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _sigmoid(values: Any) -> Any:
    return np.exp(-np.logaddexp(0, -np.asarray(values, dtype=np.float64)))[()]


__all__ = [
    "CompensationReport",
    "DevelopmentList",
    "LinearCompensation",
    "QStackCompensation",
    "fit_compensation",
    "make_compensation",
    "report_compensation",
]
