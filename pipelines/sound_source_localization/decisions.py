"""Whether what is heard is in the picture, and the answer in words.

The confidence of a picture and a sound is what the model's `compute_confidence` says, else the maximum of their raw
similarity map. What it has to reach belongs to the
checkpoint: `config.confidence_threshold`, which `avzoo calibrate` sets.
"""

from typing import NamedTuple

SOUNDING, NOT_SOUNDING, SILENT, NOT_DECIDED = "sounding", "not sounding", "silent", "not decided"
NO_THRESHOLD = "no decision, as the model has no confidence_threshold (`avzoo calibrate` sets it)"


class Decision(NamedTuple):
    """Whether something in the picture sounds.

    Args:
        sounds: None without a threshold.
        label: one of the four constants of this module.
        meaning: in words.
    """

    sounds: bool | None
    label: str
    meaning: str


def decide(confidence: float, threshold: float | None, is_silent: bool) -> Decision:
    """Whether what is heard is in the picture; of digital silence it never is.

    Args:
        confidence: of the pair, see above.
        threshold: confidence from which it is. None: nothing is decided.
    """
    if is_silent:
        return Decision(False, SILENT, "nothing is heard: what the model takes of the sound is digital silence")
    if threshold is None:
        return Decision(None, NOT_DECIDED, NO_THRESHOLD)
    if confidence >= threshold:
        return Decision(True, SOUNDING, f"heard in the picture: confidence {confidence:.3f} reaches {threshold:.3f}")
    return Decision(
        False, NOT_SOUNDING, f"nothing here sounds like it: confidence {confidence:.3f}, needs {threshold:.3f}"
    )


__all__ = ["NOT_DECIDED", "NOT_SOUNDING", "NO_THRESHOLD", "SILENT", "SOUNDING", "Decision", "decide"]
