"""FlexiAST (arXiv 2307.09286): an Audio Spectrogram Transformer for every patch size."""

from .configuration_flexiast import FlexiASTConfig
from .feature_extraction_flexiast import FlexiASTFeatureExtractor
from .modeling_flexiast import FlexiASTForAudioClassification, FlexiASTModel, FlexiASTPreTrainedModel

__all__ = [
    "FlexiASTConfig",
    "FlexiASTFeatureExtractor",
    "FlexiASTForAudioClassification",
    "FlexiASTModel",
    "FlexiASTPreTrainedModel",
]
