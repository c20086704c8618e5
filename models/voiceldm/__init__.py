"""VoiceLDM (arXiv 2309.13664): speech in an acoustic scene, from a description and a text."""

from .configuration_voiceldm import VoiceLDMContentEncoderConfig
from .content_attention import ContentAttentionProcessor, attend_with_bias, fold_padding
from .modeling_voiceldm import VoiceLDMContentEncoder, VoiceLDMContentEncoderOutput, VoiceLDMPreTrainedModel
from .training_voiceldm import VoiceLDMDenoiser, denoising_loss

__all__ = [
    "ContentAttentionProcessor",
    "VoiceLDMContentEncoder",
    "VoiceLDMContentEncoderConfig",
    "VoiceLDMContentEncoderOutput",
    "VoiceLDMDenoiser",
    "VoiceLDMPreTrainedModel",
    "attend_with_bias",
    "denoising_loss",
    "fold_padding",
]
