"""AVDiffuSS (arXiv 2310.19581): one voice out of two, by looking at the face.

What needs diffusers (the denoising networks, the scheduler) is in modules of its own: the registries of transformers
import this package while diffusers may be in the middle of its own import.
"""

from .configuration_avdiffuss import AVDiffuSSVisualEncoderConfig
from .modeling_visual_encoder import (
    AVDiffuSSPreTrainedModel,
    AVDiffuSSVisualEncoder,
    AVDiffuSSVisualEncoderOutput,
)
from .processing_avdiffuss import AVDiffuSSProcessor

__all__ = [
    "AVDiffuSSPreTrainedModel",
    "AVDiffuSSProcessor",
    "AVDiffuSSVisualEncoder",
    "AVDiffuSSVisualEncoderConfig",
    "AVDiffuSSVisualEncoderOutput",
]
