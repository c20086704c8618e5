"""SlowFastSign (arXiv 2309.12304): glosses from a video of signing."""

from .configuration_slowfast_cslr import SlowFastSignConfig
from .modeling_slowfast_cslr import (
    SlowFastSignFeatures,
    SlowFastSignForCTC,
    SlowFastSignModel,
    SlowFastSignOutput,
)
from .processing_slowfast_cslr import SlowFastSignProcessor

__all__ = [
    "SlowFastSignConfig",
    "SlowFastSignFeatures",
    "SlowFastSignForCTC",
    "SlowFastSignModel",
    "SlowFastSignOutput",
    "SlowFastSignProcessor",
]
