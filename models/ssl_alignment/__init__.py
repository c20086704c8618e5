"""Cross-modal alignment (arXiv 2309.10724): where in a picture what is heard is, and whether it is there at all."""

from .configuration_ssl_alignment import SSLAlignmentConfig
from .loss_ssl_alignment import AlignmentTerms, AlignmentView, alignment_loss
from .modeling_ssl_alignment import (
    SoundLocalizationOutput,
    SSLAlignmentForSoundLocalization,
    SSLAlignmentModel,
    SSLAlignmentOutput,
)
from .processing_ssl_alignment import SSLAlignmentProcessor

__all__ = [
    "AlignmentTerms",
    "AlignmentView",
    "SSLAlignmentConfig",
    "SSLAlignmentForSoundLocalization",
    "SSLAlignmentModel",
    "SSLAlignmentOutput",
    "SSLAlignmentProcessor",
    "SoundLocalizationOutput",
    "alignment_loss",
]
