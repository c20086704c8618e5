"""Scores of a list of trials, and the report on them."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.data.lists import check_relative_path, malformed, read_lines
from avzoo.data.trial_lists import Trials
from avzoo.metrics.score_normalization import cohort_statistics, normalize_scores
from avzoo.metrics.trial_scoring import score_trials
from avzoo.metrics.verification import error_rates_at, verification_scores
from avzoo.pipelines.speaker_verification.decisions import DecisionRule, unit_rows
from avzoo.pipelines.speaker_verification.stored_embeddings import EmbeddingTable

COHORT_TOP = 300  # wespeaker's


@dataclass(frozen=True)
class TrialScores:
    """Scores of a list, (trials,) each.

    Args:
        speaker_similarity: as the protocol has it, before any cohort.
        session_similarity: mean cosine of the session embeddings; None: the model has no session part.
        score: what the trials are ranked by.
        threshold: of the score. None: nothing is decided.
        notes: what a reader has to know of the scores.
    """

    speaker_similarity: np.ndarray
    session_similarity: np.ndarray | None
    score: np.ndarray
    threshold: float | None
    notes: tuple[str, ...]


def score_list(
    trials: Trials, table: EmbeddingTable, rule: DecisionRule, cohort: np.ndarray | None = None
) -> TrialScores:
    """Score every trial.

    Compensation and threshold are fitted on cosines of whole recordings. So with crops or a cohort the score is the
    speaker similarity, normalised or not, and nothing is decided.

    Args:
        cohort: (cohort, size), for AS-norm with the most similar 300, or all if there are fewer.
    """
    speaker, session = table.stack(trials.recordings)
    similarity = score_trials(speaker, trials.pairs, table.protocol)
    sessions = None
    if session is not None:
        sessions = score_trials(session, trials.pairs, "full" if session.shape[1] == 1 else "crops-cosine")
    notes = []
    if trials.num_self_trials:
        notes.append(f"{trials.num_self_trials} trials compare a recording with itself")
    if cohort is None and table.protocol == "full":
        development = getattr(rule.compensation, "development", None)
        if development is not None and development.sha256 == trials.sha256:
            notes.append("the compensation was fitted on these very trials; report another list")
        notes += rule.notes
        return TrialScores(similarity, sessions, rule.score(similarity, sessions), rule.threshold, tuple(notes))
    if rule.compensation is not None or rule.threshold is not None:
        what = f"protocol {table.protocol}" if cohort is None else "a cohort"
        notes.append(f"with {what}, the model's compensation and threshold are not used")
    score = similarity
    if cohort is not None:
        top = min(COHORT_TOP, len(cohort))
        score = normalize_scores(similarity, trials.pairs, *cohort_statistics(speaker[:, 0], cohort, top))
        notes.append(f"AS-norm with the {top} most similar of a cohort of {len(cohort)}")
    return TrialScores(similarity, sessions, score, None, tuple(notes))


def make_records(trials: Trials, scores: TrialScores) -> list[dict[str, Any]]:
    """A record per trial, see [`avzoo.records.Records`]; `target` is the list's label."""
    if scores.threshold is None:
        labels = ["not decided"] * len(trials)
    else:
        labels = ["same speaker" if score >= scores.threshold else "different speakers" for score in scores.score]
    columns = {
        "first": [trials.recordings[index] for index in trials.pairs[:, 0]],
        "second": [trials.recordings[index] for index in trials.pairs[:, 1]],
        "label": labels,
        "score": scores.score.tolist(),
        "speaker_similarity": scores.speaker_similarity.tolist(),
    }
    if scores.session_similarity is not None:
        columns["session_similarity"] = scores.session_similarity.tolist()
    if trials.labels is not None:
        columns["target"] = trials.labels.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def describe_scores(trials: Trials, scores: TrialScores, protocol: str) -> str:
    """The report on a list: error rates if it has labels, with their conventions, and the notes."""
    lines = [f"{trials.name}: {len(trials)} trials, {len(trials.recordings)} recordings, protocol {protocol}"]
    lines += [f"note: {note}" for note in scores.notes]
    if trials.labels is None:
        return "\n".join([*lines, "note: the list has no labels, so there are no error rates"])
    if trials.labels.all() or not trials.labels.any():
        return "\n".join([*lines, "note: all labels are equal, so there are no error rates"])
    rows = {"speaker similarity": verification_scores(scores.speaker_similarity, trials.labels)}
    if not np.array_equal(scores.score, scores.speaker_similarity):
        rows["score"] = verification_scores(scores.score, trials.labels)
    lines.append(f"{'':<28}{''.join(f'{name:>20}' for name in rows)}")
    for name in rows["speaker similarity"]:
        lines.append(f"{name:<28}{''.join(f'{row[name]:>20.3f}' for row in rows.values())}")
    if scores.threshold is not None:
        accepts, rejects = error_rates_at(scores.score, trials.labels, scores.threshold)
        lines.append(
            f"at threshold {scores.threshold:.4f}: {accepts:.3f} % false accepts, {rejects:.3f} % false rejects"
        )
    return "\n".join(lines)


def locate_recordings(trials: Trials, root: Path | None, wav_scp: Path | None = None) -> Any:
    """`locate` of [`embed_recordings`] for a list: names -> paths, below `root` or as a `wav.scp` has them."""

    def locate(names: list[str]) -> list[Path]:
        if root is None:
            raise ValueError(f"--root is missing: {len(names)} recordings of {trials.name} have to be read.")
        if wav_scp is None:
            return replace(trials, recordings=tuple(names)).locate(root)
        from avzoo.data.kaldi_lists import read_wav_scp

        return replace(trials, recordings=tuple(names)).locate(read_wav_scp(wav_scp, root))

    return locate


def read_cohort(path: Path) -> list[tuple[str, str]]:
    """(member of the cohort, recording) per line of a list.

        id00012 id00012/21Uxsk56VDQ/00001.wav        the recordings of a speaker are averaged
        id00012/21Uxsk56VDQ/00001.wav                a recording stands for itself

    Raises:
        ValueError: with file and line number: other fields, or a path that leads out of the root. No lines.
    """
    rows = []
    for line, text in read_lines(path):
        fields = text.split()
        if len(fields) > 2:
            raise malformed(path, line, f"expected a speaker and a path, or a path, got {text!r}")
        check_relative_path(fields[-1], path, line)
        rows.append((fields[0], fields[-1]))
    if not rows:
        raise ValueError(f"{path} holds no recordings.")
    return rows


def average_cohort(members: list[tuple[str, str]], table: EmbeddingTable) -> np.ndarray:
    """(cohort, size): for each member of [`read_cohort`] the mean of its embeddings, each of length 1."""
    unit = unit_rows(table.stack([recording for _, recording in members])[0][:, 0])
    names = [name for name, _ in members]
    rows = {name: [] for name in names}
    for name, row in zip(names, unit, strict=True):
        rows[name].append(row)
    return np.stack([np.mean(row, axis=0) for row in rows.values()])


def find_recordings(folder: str | os.PathLike) -> list[str]:
    """Names of all files below a folder that aren't hidden, relative to it and sorted.

    Raises:
        FileNotFoundError: there are none.
    """
    folder = Path(folder)
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    if not names:
        raise FileNotFoundError(
            f"`{folder}` holds no recordings{'' if folder.is_dir() else '; there is no such folder'}."
        )
    return names


__all__ = [
    "COHORT_TOP",
    "TrialScores",
    "average_cohort",
    "describe_scores",
    "find_recordings",
    "locate_recordings",
    "make_records",
    "read_cohort",
    "score_list",
]
