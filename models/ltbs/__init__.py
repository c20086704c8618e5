"""LTBS (arXiv 2308.15256): speech from a silent video of lips."""

from .configuration_ltbs import LTBSConfig
from .flow_post_net import FlowPostNet
from .modeling_ltbs import LipToSpeechOutput, LTBSForLipToSpeech, LTBSModel, LTBSOutput
from .processing_ltbs import LTBSProcessor
from .variance import QuantizedVarianceAdaptor

__all__ = [
    "FlowPostNet",
    "LTBSConfig",
    "LTBSForLipToSpeech",
    "LTBSModel",
    "LTBSOutput",
    "LTBSProcessor",
    "LipToSpeechOutput",
    "QuantizedVarianceAdaptor",
]
