"""Hypotheses of the decoder as what people read: text, and glosses with names and seconds."""

from collections.abc import Sequence
from typing import Any

from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import GlossLanguageModel, Hypothesis, locate_glosses


def describe_hypothesis(hypothesis: Hypothesis, processor: Any, num_frames: int) -> dict[str, Any]:
    """{"text", "glosses": [{"label", "start", "end", "score"}, ...], "score"} of one hypothesis.

    Args:
        processor: [`SlowFastSignProcessor`], which knows names and rates.
        num_frames: of the video at the processor's rate, without padding.
    """
    names = [processor.name_gloss(number) for number in hypothesis.ids]
    times = locate_glosses(
        hypothesis.spans,
        num_frames,
        processor.frame_rate,
        step_frames=processor.step_frames,
        edge_frames=processor.edge_frames,
    )
    glosses = [
        {"label": name, "start": start, "end": end, "score": span.score}
        for name, (start, end), span in zip(names, times, hypothesis.spans, strict=True)
    ]
    return {"text": " ".join(names), "glosses": glosses, "score": hypothesis.score}


def make_language_model(
    score_gloss: Any, processor: Any, num_classes: int, weight: float, insertion_bonus: float
) -> GlossLanguageModel | None:
    """The share of a language model in the search, None without one; see [`GlossLanguageModel`].

    Args:
        score_gloss: (previous glosses, gloss) -> natural log probability, or None.
    """
    if score_gloss is None:
        return None
    names: Sequence[str] = [processor.name_gloss(number) for number in range(1, num_classes)]
    return GlossLanguageModel(score_gloss, ["", *names], weight, insertion_bonus)


__all__ = ["describe_hypothesis", "make_language_model"]
