"""Fit a model's compensation and threshold on a development list, and write them into its folder."""

import json
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import numpy as np

from avzoo.checks import check_choice, check_number
from avzoo.data.trial_lists import Trials
from avzoo.metrics.trial_scoring import score_trials
from avzoo.metrics.verification import calibrate, check_two_classes, equal_error_rate, error_rates_at
from avzoo.models.session_embedding.compensation import DevelopmentList, fit_compensation
from avzoo.pipelines.speaker_verification.decisions import DecisionRule
from avzoo.pipelines.speaker_verification.stored_embeddings import EmbeddingTable

COMPENSATIONS = ("linear", "q_stack", "none")
COST_P_TARGET = 0.01


class ErrorRates(NamedTuple):
    """Per cent each; of the second and third None without a threshold."""

    equal_error_rate: float
    false_accepts: float | None
    false_rejects: float | None
    threshold: float | None


class CalibrationReport(NamedTuple):
    """Error rates on the development list by the old and by the new rule, and the fields of the config that make it."""

    trials: Trials
    before: ErrorRates
    after: ErrorRates
    fields: dict[str, Any]

    def __str__(self) -> str:
        lines = [
            f"{self.trials.name}: {len(self.trials)} trials; sha256 {self.trials.sha256}",
            f"{'':<10}{'EER (interpolated), %':>24}{'threshold':>12}{'false accepts, %':>18}{'false rejects, %':>18}",
        ]
        for name, rates in (("before", self.before), ("after", self.after)):
            threshold = "-" if rates.threshold is None else f"{rates.threshold:.4f}"
            errors = ("-" if rate is None else f"{rate:.3f}" for rate in (rates.false_accepts, rates.false_rejects))
            lines.append(
                f"{name:<10}{rates.equal_error_rate:>24.3f}{threshold:>12}{''.join(f'{e:>18}' for e in errors)}"
            )
        compensation = self.fields.get("compensation")
        if compensation is not None:
            values = {name: value for name, value in compensation.items() if name not in ("type", "development")}
            lines.append(f"compensation: {compensation['type']}, {json.dumps(values)}")
        lines.append("these are the trials that compensation and threshold were fitted on; report another list")
        return "\n".join(lines)


def check_calibration(trials: Trials, target: str | float, compensation: str | None) -> None:
    """Raise a ValueError if nothing can be fitted, before anything is embedded.

    Raises:
        ValueError: no labels, or only one kind; an unknown `compensation`; a `target` out of range.
    """
    try:
        check_two_classes(np.zeros(len(trials)), trials.require_labels())
    except ValueError as error:
        raise ValueError(f"{trials.name}: {error}") from error
    if compensation is not None:
        check_choice("compensation", compensation, COMPENSATIONS)
    if isinstance(target, str):
        check_choice("target_far", target, ("a share from 0 to 1", "eer", "cost"))
    else:
        check_number("target_far", target, at_least=0, below=1)


def check_session(rule: DecisionRule, compensation: str | None) -> None:
    """Raise a ValueError if a compensation is wanted of a model without session part."""
    if not rule.has_session and compensation not in (None, "none"):
        raise ValueError(
            f"`compensation` is {compensation!r}, but the model has no session part; only a threshold can be fitted."
        )


def fit_rule(
    trials: Trials,
    table: EmbeddingTable,
    rule: DecisionRule,
    target: float | Literal["eer", "cost"] = "eer",
    compensation: Literal["linear", "q_stack", "none"] | None = None,
) -> CalibrationReport:
    """Fit compensation and threshold on a list.

    Args:
        table: embeddings of whole recordings.
        rule: the model's present one.
        target: of the threshold: a share of false accepts, "eer", equal error rates, or "cost", the smallest detection
            cost at a share of 1 % targets.
        compensation: None: "linear" if the model has a session part, else "none".

    Raises:
        ValueError: as [`check_calibration`]; a compensation for a model without session part; a list of a kind that
            nothing can be fitted on.
    """
    check_calibration(trials, target, compensation)
    check_session(rule, compensation)
    labels = trials.require_labels()
    speaker, session = table.stack(trials.recordings)
    similarity = score_trials(speaker, trials.pairs, "full")
    sessions = None if session is None else score_trials(session, trials.pairs, "full")
    fitted = None
    if rule.has_session and compensation != "none":
        fitted = fit_compensation(trials, similarity, sessions, compensation or "linear")
    old, new = (
        rule.score(similarity, sessions),
        DecisionRule(fitted, rule.has_session, None).score(similarity, sessions),
    )
    aims = {"eer": {}, "cost": {"p_target": COST_P_TARGET}}
    aim = aims[target] if isinstance(target, str) else {"false_accept_rate": 100 * target}
    found = calibrate(new, labels, **aim)
    before = (None, None) if rule.threshold is None else error_rates_at(old, labels, rule.threshold)
    development = asdict(DevelopmentList(trials.name, trials.sha256, len(trials)))
    fields = {
        "threshold": found.threshold,
        "calibration": {
            **development,
            "target": target if isinstance(target, str) else f"{100 * target:g} % false accepts",
            "false_accepts": found.false_accepts,
            "false_rejects": found.false_rejects,
        },
    }
    if rule.has_session:
        fields["compensation"] = None if fitted is None else fitted.to_config()
    return CalibrationReport(
        trials,
        ErrorRates(equal_error_rate(old, labels), *before, rule.threshold),
        ErrorRates(equal_error_rate(new, labels), found.false_accepts, found.false_rejects, found.threshold),
        fields,
    )


__all__ = ["CalibrationReport", "ErrorRates", "check_calibration", "check_session", "fit_rule"]
