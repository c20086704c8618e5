"""TalkNCE (arXiv 2309.12306): active speaker detection by LoCoNet and TalkNet, and the loss that improves both."""

from .configuration_talknce import LoCoNetConfig, TalkNetConfig
from .loss_talknce import TalkNCELoss
from .modeling_talknce import LoCoNetForActiveSpeakerDetection, TalkNetForActiveSpeakerDetection
from .processing_talknce import ActiveSpeakerProcessor

__all__ = [
    "ActiveSpeakerProcessor",
    "LoCoNetConfig",
    "LoCoNetForActiveSpeakerDetection",
    "TalkNCELoss",
    "TalkNetConfig",
    "TalkNetForActiveSpeakerDetection",
]
