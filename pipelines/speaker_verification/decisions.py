"""From the two similarities of a comparison to a score, a decision and what they mean in words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedConfig

from avzoo.models.session_embedding.compensation import LinearCompensation, QStackCompensation, make_compensation

# The session network's default loss takes pairs from this cosine on for one session.
ONE_SESSION = 0.5
NO_SESSION = "the model tells nothing about the session"
UNFITTED = "the session is not taken into account, as its compensation is not fitted (`avzoo calibrate` fits it)"
NO_THRESHOLD = "no decision, as the model has no threshold (`avzoo calibrate` sets it)"


@dataclass(frozen=True)
class DecisionRule:
    """How a model decides.

    Args:
        compensation: corrects the speaker similarity by the session similarity. None: the model has no session part, or
            its compensation is not fitted, and the score is the speaker similarity.
        has_session: whether the model has a session part.
        threshold: score from which two recordings are of one speaker. None: nothing is decided.
    """

    compensation: LinearCompensation | QStackCompensation | None
    has_session: bool
    threshold: float | None

    @classmethod
    def from_config(cls, config: PreTrainedConfig, threshold: float | None = None) -> "DecisionRule":
        """The rule that a model's config holds; `threshold` stands for the config's if given."""
        has_session = hasattr(config, "encoder_config")
        compensation = make_compensation(config.compensation) if has_session else None
        if compensation == LinearCompensation():
            compensation = None
        # `avzoo calibrate` writes it into the config of any model; configs of other libraries have no such field.
        stored = getattr(config, "threshold", None)
        return cls(compensation, has_session, stored if threshold is None else threshold)

    @property
    def notes(self) -> list[str]:
        """What the answers lack."""
        lacks = []
        if self.has_session and self.compensation is None:
            lacks.append(UNFITTED)
        if self.threshold is None:
            lacks.append(NO_THRESHOLD)
        return lacks

    @property
    def score_meaning(self) -> str:
        """Unit of the score, see [`avzoo.records.Records`]."""
        return "logit" if isinstance(self.compensation, QStackCompensation) else "cosine"

    def score(self, speaker_similarity: Any, session_similarity: Any) -> Any:
        """Scores of numbers or arrays; `session_similarity` is unused where there is no compensation."""
        if self.compensation is None:
            return speaker_similarity
        return self.compensation(speaker_similarity, session_similarity)

    def decide(self, score: float) -> bool | None:
        """Whether it is one speaker; None without a threshold."""
        return None if self.threshold is None else bool(score >= self.threshold)

    def answer(
        self, speaker_similarity: float, session_similarity: float | None, is_same_recording: bool = False
    ) -> dict[str, Any]:
        """The answer for one comparison: both similarities, the score, the decision and the meaning."""
        score = float(self.score(speaker_similarity, session_similarity))
        return {
            "speaker_similarity": float(speaker_similarity),
            "session_similarity": None if session_similarity is None else float(session_similarity),
            "score": score,
            "same_speaker": self.decide(score),
            "threshold": self.threshold,
            "meaning": self.explain(speaker_similarity, session_similarity, is_same_recording),
        }

    def explain(
        self, speaker_similarity: float, session_similarity: float | None, is_same_recording: bool = False
    ) -> str:
        """Plain words for one comparison."""
        if is_same_recording:
            return "the same recording, given twice: this says nothing about the speaker"
        parts = []
        if self.threshold is None:
            parts.append(NO_THRESHOLD)
        else:
            parts.append(self._explain_decision(speaker_similarity, session_similarity))
        if not self.has_session:
            parts.append(NO_SESSION)
        elif self.compensation is None:
            parts.append(UNFITTED)
        return "; ".join(parts)

    def _explain_decision(self, speaker_similarity: float, session_similarity: float | None) -> str:
        is_same = self.decide(self.score(speaker_similarity, session_similarity))
        if self.compensation is None:
            return "alike enough for one speaker" if is_same else "not alike enough for one speaker"
        # What would be decided of recordings whose sessions have nothing to do with each other.
        is_same_alone = self.decide(self.score(speaker_similarity, 0.0))
        is_one_session = session_similarity >= ONE_SESSION
        if is_same_alone and not is_same:
            sessions = "recorded in one session" if is_one_session else "their sessions are alike, too"
            return f"alike, but {sessions}; the session explains part of it"
        if is_same and not is_same_alone:
            return "less alike, but recorded in different sessions; the sessions explain part of it"
        sessions = "in one session" if is_one_session else "in different sessions"
        return f"{'alike enough' if is_same else 'not alike enough'} for one speaker; recorded {sessions}"


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """(..., size) scaled to length 1, in float64."""
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


__all__ = ["NO_SESSION", "NO_THRESHOLD", "ONE_SESSION", "UNFITTED", "DecisionRule", "unit_rows"]
