"""What two similarities mean, in numbers and in words."""

import numpy as np
import pytest
import torch

from avzoo import SessionEmbeddingConfig, SpeakerEncoderConfig
from avzoo.models.session_embedding import DevelopmentList, LinearCompensation, QStackCompensation
from avzoo.pipelines.speaker_verification.decisions import NO_SESSION, NO_THRESHOLD, UNFITTED, DecisionRule
from avzoo.pipelines.speaker_verification.enrolment import Enrolments, RecordingEmbedding

RULE = DecisionRule(LinearCompensation(0.3, DevelopmentList("dev", "0", 9)), True, 0.5)


@pytest.mark.parametrize(
    ("speaker", "session", "is_same", "meaning"),
    [
        (0.71, 0.83, False, "alike, but recorded in one session; the session explains part of it"),
        (0.6, 0.4, False, "alike, but their sessions are alike, too; the session explains part of it"),
        (0.9, 0.8, True, "alike enough for one speaker; recorded in one session"),
        (0.7, 0.1, True, "alike enough for one speaker; recorded in different sessions"),
        (0.45, -0.5, True, "less alike, but recorded in different sessions; the sessions explain part of it"),
        (0.2, 0.9, False, "not alike enough for one speaker; recorded in one session"),
        (0.2, 0.1, False, "not alike enough for one speaker; recorded in different sessions"),
    ],
)
def test_the_meaning_tells_what_the_session_changed(speaker, session, is_same, meaning):
    answer = RULE.answer(speaker, session)
    assert answer == {
        "speaker_similarity": speaker,
        "session_similarity": session,
        "score": pytest.approx(speaker - 0.3 * session),
        "same_speaker": is_same,
        "threshold": 0.5,
        "meaning": meaning,
    }


def test_a_score_that_reaches_the_threshold_is_accepted():
    assert DecisionRule(None, False, 0.5).decide(0.5) is True
    assert DecisionRule(None, False, 0.5).decide(np.nextafter(0.5, 0)) is False


def test_a_q_stack_explains_by_its_own_score():
    stack = QStackCompensation([0, 0, 0], [1, 1, 1], [4, -2, 0], -1, DevelopmentList("dev", "0", 9))
    rule = DecisionRule(stack, True, 0.0)
    assert rule.score(0.5, 0.75) == pytest.approx(-0.5)
    assert rule.explain(0.5, 0.75).startswith("alike, but recorded in one session")
    assert rule.score_meaning == "logit"
    assert RULE.score_meaning == "cosine"


def test_what_a_model_lacks_is_said():
    assert DecisionRule(None, True, None).explain(0.9, 0.9) == f"{NO_THRESHOLD}; {UNFITTED}"
    assert DecisionRule(None, False, 0.5).explain(0.9, None) == f"alike enough for one speaker; {NO_SESSION}"
    assert DecisionRule(None, True, None).notes == [UNFITTED, NO_THRESHOLD]
    assert RULE.notes == []
    assert "same recording" in RULE.explain(1.0, 1.0, is_same_recording=True)


def test_the_rule_of_a_config():
    config = SessionEmbeddingConfig(compensation={"type": "linear", "weight": 0.2}, threshold=0.3)
    assert DecisionRule.from_config(config) == DecisionRule(LinearCompensation(0.2), True, 0.3)
    assert DecisionRule.from_config(config, 0.0).threshold == 0.0
    assert DecisionRule.from_config(SessionEmbeddingConfig()) == DecisionRule(None, True, None)
    fitted_to_zero = LinearCompensation(0.0, DevelopmentList("dev", "0", 9))
    config = SessionEmbeddingConfig(compensation=fitted_to_zero.to_config())
    assert DecisionRule.from_config(config).compensation == fitted_to_zero
    assert DecisionRule.from_config(SpeakerEncoderConfig(threshold=0.6)) == DecisionRule(None, False, 0.6)


@pytest.mark.parametrize(
    "compensation", [LinearCompensation(0.5), QStackCompensation([0.1] * 3, [2] * 3, [3, -1, 2], 0)]
)
def test_an_enrolment_averages_unit_embeddings_and_scores_of_recordings(compensation):
    draw = torch.Generator().manual_seed(0)
    speakers, sessions = (torch.randn(3, 1, 5, generator=draw).numpy() for _ in range(2))
    test_speaker, test_session = torch.randn(2, 4, 5, generator=draw).numpy()
    enrolled = Enrolments()
    enrolled.add("anna", [RecordingEmbedding(*rows, 1.0, "") for rows in zip(speakers[:2], sessions[:2], strict=True)])
    enrolled.add("ben", [RecordingEmbedding(speakers[2], sessions[2], 1.0, "")])
    rule = DecisionRule(compensation, True, None)
    found = enrolled.compare(test_speaker, test_session, rule)

    def cosine(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    anna = np.mean([row[0] / np.linalg.norm(row[0]) for row in speakers[:2]], axis=0)
    for column in range(4):
        similarity = cosine(anna, test_speaker[column])
        each = [cosine(row[0], test_session[column]) for row in sessions[:2]]
        scores = [compensation(similarity, one) for one in each]
        assert found.speaker_similarity[0, column] == pytest.approx(similarity, abs=1e-6)
        assert found.session_similarity[0, column] == pytest.approx(np.mean(each), abs=1e-6)
        assert found.score[0, column] == pytest.approx(np.mean(scores), abs=1e-6)
        similarity, session = (
            cosine(one[2][0], other[column]) for one, other in ((speakers, test_speaker), (sessions, test_session))
        )
        assert found.score[1, column] == pytest.approx(compensation(similarity, session), abs=1e-6)
