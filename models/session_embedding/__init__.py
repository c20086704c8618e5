"""Session embeddings (arXiv 2309.14741): speaker verification that knows which recordings share a session."""

from .loss_session import SessionLoss
from .loss_speaker import (
    AAMSoftmaxLoss,
    AMSoftmaxLoss,
    AngularPrototypicalLoss,
    EnvironmentTripletLoss,
    GE2ELoss,
    PrototypicalLoss,
    SoftmaxPrototypicalLoss,
    SpeakerLossOutput,
    mean_absolute_correlation,
)

__all__ = [
    "AAMSoftmaxLoss",
    "AMSoftmaxLoss",
    "AngularPrototypicalLoss",
    "EnvironmentTripletLoss",
    "GE2ELoss",
    "PrototypicalLoss",
    "SessionLoss",
    "SoftmaxPrototypicalLoss",
    "SpeakerLossOutput",
    "mean_absolute_correlation",
]
