"""Session embeddings (arXiv 2309.14741): speaker verification that knows which recordings share a session."""

from .augmentation import SessionAugmentation
from .compensation import (
    CompensationReport,
    DevelopmentList,
    LinearCompensation,
    QStackCompensation,
    fit_compensation,
    make_compensation,
    report_compensation,
)
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
    "CompensationReport",
    "DevelopmentList",
    "EnvironmentTripletLoss",
    "GE2ELoss",
    "LinearCompensation",
    "PrototypicalLoss",
    "QStackCompensation",
    "SessionAugmentation",
    "SessionLoss",
    "SoftmaxPrototypicalLoss",
    "SpeakerLossOutput",
    "fit_compensation",
    "make_compensation",
    "mean_absolute_correlation",
    "report_compensation",
]
