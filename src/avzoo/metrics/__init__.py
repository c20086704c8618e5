"""The numbers papers print, each checked against the official script."""

from .classification import accuracy, average_precision, d_prime, roc_auc, tagging_scores
from .intelligibility import estoi, log_spectral_distance, pesq_wb
from .separation import si_sdr
from .synchronization import (
    ClipOffset,
    average_over_context,
    clip_offset,
    estimate_offsets,
    mask_impossible_pairs,
    mean_offset_accuracy,
    offset_accuracy,
    sync_confidence,
    sync_distance,
)

__all__ = [
    "ClipOffset",
    "accuracy",
    "average_over_context",
    "average_precision",
    "clip_offset",
    "d_prime",
    "estimate_offsets",
    "estoi",
    "log_spectral_distance",
    "mask_impossible_pairs",
    "mean_offset_accuracy",
    "offset_accuracy",
    "pesq_wb",
    "roc_auc",
    "si_sdr",
    "sync_confidence",
    "sync_distance",
    "tagging_scores",
]
