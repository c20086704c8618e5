"""The numbers papers print, each checked against the official script."""

from .classification import accuracy, average_precision, d_prime, roc_auc, tagging_scores
from .separation import si_sdr

__all__ = ["accuracy", "average_precision", "d_prime", "roc_auc", "si_sdr", "tagging_scores"]
