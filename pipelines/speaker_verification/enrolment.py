"""People whose voices are known, and how recordings compare with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avzoo.pipelines.speaker_verification.decisions import DecisionRule, unit_rows


@dataclass(frozen=True, eq=False)
class RecordingEmbedding:
    """What the networks say of one recording.

    Args:
        speaker: (crops, size) float32, who speaks; one row for a whole recording. Of any length.
        session: (crops, size) float32, in which recording. None: the model has no session part.
        seconds: length of the recording.
        sha256: digest of its samples at the model's rate.
    """

    speaker: np.ndarray
    session: np.ndarray | None
    seconds: float
    sha256: str


class Comparison(NamedTuple):
    """Enrolled people against recordings, (people, recordings) each; `session_similarity` may be None."""

    score: np.ndarray
    speaker_similarity: np.ndarray
    session_similarity: np.ndarray | None


class _Person(NamedTuple):
    speaker: np.ndarray  # (size,), the mean of the recordings' unit embeddings
    sessions: np.ndarray | None  # (recordings, size), of length 1 each


class Enrolments:
    """The enrolled people.

    A person's speaker embedding is the mean of those of the recordings, each of length 1. Sessions have no mean: a
    recording is compared with each enrolled recording's session, and the scores are averaged.
    """

    def __init__(self):
        self._people: dict[str, _Person] = {}

    def __len__(self) -> int:
        return len(self._people)

    @property
    def names(self) -> list[str]:
        """In the order of enrolment."""
        return list(self._people)

    def add(self, name: str, recordings: Sequence[RecordingEmbedding]) -> None:
        """Enrol one person by one or more recordings; an earlier enrolment of the name is replaced."""
        rows = [unit_rows(recording.speaker).mean(0) for recording in recordings]
        sessions = None
        if recordings[0].session is not None:
            sessions = unit_rows(np.stack([recording.session.mean(0) for recording in recordings]))
        self._people[name] = _Person(np.mean(rows, axis=0), sessions)

    def compare(self, speaker: np.ndarray, session: np.ndarray | None, rule: DecisionRule) -> Comparison:
        """Every person with every recording.

        Args:
            speaker, session: (recordings, size), embeddings of any length.
        """
        people = list(self._people.values())
        similarity = unit_rows(np.stack([person.speaker for person in people])) @ unit_rows(speaker).T
        if session is None:
            return Comparison(rule.score(similarity, None), similarity, None)
        scores, sessions = np.empty_like(similarity), np.empty_like(similarity)
        session = unit_rows(session)
        for row, person in enumerate(people):
            each = person.sessions @ session.T  # (enrolled recordings, recordings)
            sessions[row] = each.mean(0)
            scores[row] = np.broadcast_to(rule.score(similarity[row], each), each.shape).mean(0)
        return Comparison(scores, similarity, sessions)


__all__ = ["Comparison", "Enrolments", "RecordingEmbedding"]
