"""VoiceLDM (arXiv 2309.13664): speech in an acoustic scene, from a description and a text.

What needs diffusers is in modules of its own: the registries of transformers import this package while diffusers may
be in the middle of its own import.
"""

from .configuration_voiceldm import VoiceLDMContentEncoderConfig
from .modeling_voiceldm import VoiceLDMContentEncoder, VoiceLDMContentEncoderOutput, VoiceLDMPreTrainedModel

__all__ = [
    "VoiceLDMContentEncoder",
    "VoiceLDMContentEncoderConfig",
    "VoiceLDMContentEncoderOutput",
    "VoiceLDMPreTrainedModel",
]
