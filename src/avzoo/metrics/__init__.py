"""The numbers papers print, each checked against the official script."""

from .active_speaker import (
    COLUMBIA_PEOPLE,
    AVARows,
    asw_scores,
    ava_average_precision,
    columbia_f1,
    match_ava,
    read_ava_csv,
    read_columbia_labels,
)
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
from .verification import equal_error_rate

__all__ = [
    "COLUMBIA_PEOPLE",
    "AVARows",
    "ClipOffset",
    "accuracy",
    "asw_scores",
    "ava_average_precision",
    "average_over_context",
    "average_precision",
    "clip_offset",
    "columbia_f1",
    "d_prime",
    "equal_error_rate",
    "estimate_offsets",
    "estoi",
    "log_spectral_distance",
    "mask_impossible_pairs",
    "match_ava",
    "mean_offset_accuracy",
    "offset_accuracy",
    "pesq_wb",
    "read_ava_csv",
    "read_columbia_labels",
    "roc_auc",
    "si_sdr",
    "sync_confidence",
    "sync_distance",
    "tagging_scores",
]
