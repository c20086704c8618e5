"""VocaLiST (arXiv 2204.02090) and its distilled student MTDVocaLiST (arXiv 2210.15563): lip synchronization."""

from .configuration_vocalist import MTDVocaLiSTConfig, VocaLiSTConfig
from .loss_mtd import CrossModalTrace, MTDLoss
from .modeling_vocalist import (
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTForSequenceClassification,
    VocaLiSTModel,
    VocaLiSTPreTrainedModel,
    teacher_trace,
)
from .offsets import OffsetScorer
from .processing_vocalist import VocaLiSTProcessor

__all__ = [
    "CrossModalTrace",
    "MTDLoss",
    "MTDVocaLiSTConfig",
    "MTDVocaLiSTForSequenceClassification",
    "OffsetScorer",
    "VocaLiSTConfig",
    "VocaLiSTForSequenceClassification",
    "VocaLiSTModel",
    "VocaLiSTPreTrainedModel",
    "VocaLiSTProcessor",
    "teacher_trace",
]
