"""Coarse-to-fine training of Audio Spectrogram Transformers (arXiv 2401.08415)."""

from .configuration_coarse_to_fine_ast import CoarseToFineASTConfig
from .feature_extraction_coarse_to_fine_ast import CoarseToFineASTFeatureExtractor
from .modeling_coarse_to_fine_ast import CoarseToFineASTForAudioClassification

__all__ = [
    "CoarseToFineASTConfig",
    "CoarseToFineASTFeatureExtractor",
    "CoarseToFineASTForAudioClassification",
]
