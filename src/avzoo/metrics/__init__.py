"""The numbers papers print, each checked against the official script."""

from .classification import accuracy, average_precision, d_prime, roc_auc, tagging_scores

__all__ = ["accuracy", "average_precision", "d_prime", "roc_auc", "tagging_scores"]
