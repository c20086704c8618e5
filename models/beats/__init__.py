"""BEATs (arXiv 2212.09058): an audio encoder, and a tagger of sounds."""

from .configuration_beats import BEATsConfig
from .feature_extraction_beats import BEATsFeatureExtractor
from .modeling_beats import BEATsForAudioClassification, BEATsModel

__all__ = ["BEATsConfig", "BEATsFeatureExtractor", "BEATsForAudioClassification", "BEATsModel"]
