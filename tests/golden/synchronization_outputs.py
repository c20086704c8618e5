"""From score matrices to everything else that a case of kind "offsets" holds; the model's part is the runner's."""

import re
from collections.abc import Sequence

import torch
from golden_case import GoldenCase

from avzoo.metrics import (
    average_over_context,
    estimate_offsets,
    mask_impossible_pairs,
    mean_offset_accuracy,
    offset_accuracy,
)

IMPOSSIBLE_BELOW = -20.0  # scores lie above; an average that holds a single -1000 lies far below


def synchronization_outputs(case: GoldenCase, clip_scores: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """{output name: tensor} of the case, all of them.

    Args:
        case: gives the settings, the matrices `raw_scores.<j>` to start from without a model, and which smoothed
            matrices are wanted.
        clip_scores: one (windows, 2 * max_shift + 1) per clip, from the model: every pair of the clip, those with audio
            after its end too (mel features all zero). Official marks may be there already.
    """
    settings = case.config
    contexts = settings["contexts"]
    protocol = {"window_frames": settings["video_context"], "protocol": "official"}
    accuracy = {"tolerance_frames": settings["tolerance_frames"], **protocol}

    matrices = {f"clip.{i}": scores for i, scores in enumerate(clip_scores)}
    for name, scores in case.inputs.items():
        if name.startswith("raw_scores."):
            matrices[f"post.{name.removeprefix('raw_scores.')}"] = scores
    results = {}
    for name, scores in matrices.items():
        assert scores.shape[1] == 2 * settings["max_shift"] + 1
        masked = mask_impossible_pairs(scores, protocol="official")
        results[f"{name}.scores"] = masked
        for context in _smoothed_contexts(case, name):
            results[f"{name}.smoothed.K{context}"] = average_over_context(masked, context, **protocol)
        for context in contexts:
            averaged = average_over_context(masked, context, **protocol)
            results[f"{name}.offsets.K{context}"] = estimate_offsets(averaged)
        results[f"{name}.accuracy"] = offset_accuracy(masked, contexts, **accuracy)
    results["clip.mean_accuracy"] = mean_offset_accuracy(clip_scores, contexts, **accuracy)
    return {name: torch.from_numpy(value) for name, value in results.items()}


def possible_scores_only(output: torch.Tensor) -> torch.Tensor:
    """An output with 0 at impossible pairs. For both sides of a comparison: next to -1000s no error would show.

    A pair that only one side holds for impossible still differs, by the other side's score. Whole numbers (offsets)
    and shares pass through unchanged.
    """
    return torch.where(output < IMPOSSIBLE_BELOW, torch.zeros_like(output), output)


def _smoothed_contexts(case: GoldenCase, name: str) -> list[int]:
    found = (re.fullmatch(rf"{re.escape(name)}\.smoothed\.K(\d+)", output) for output in case.outputs)
    return sorted(int(match[1]) for match in found if match)
