"""SlowFastSign (arXiv 2309.12304): glosses from a video of signing."""

from .configuration_slowfast_cslr import SlowFastSignConfig
from .decoding_slowfast_cslr import GlossLanguageModel, decode_glosses, load_kenlm, locate_glosses
from .modeling_slowfast_cslr import (
    SlowFastSignFeatures,
    SlowFastSignForCTC,
    SlowFastSignModel,
    SlowFastSignOutput,
)
from .processing_slowfast_cslr import SlowFastSignProcessor

__all__ = [
    "GlossLanguageModel",
    "SlowFastSignConfig",
    "SlowFastSignFeatures",
    "SlowFastSignForCTC",
    "SlowFastSignModel",
    "SlowFastSignOutput",
    "SlowFastSignProcessor",
    "decode_glosses",
    "load_kenlm",
    "locate_glosses",
]
