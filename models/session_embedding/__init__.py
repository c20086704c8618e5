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
from .configuration_session_embedding import SessionEmbeddingConfig, SpeakerEncoderConfig
from .feature_extraction_session_embedding import SpeakerFeatureExtractor
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
from .modeling_session_embedding import (
    SessionEmbeddingForXVector,
    SessionEmbeddingOutput,
    SessionHead,
    SpeakerEncoderForXVector,
    SpeakerEncoderOutput,
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
    "SessionEmbeddingConfig",
    "SessionEmbeddingForXVector",
    "SessionEmbeddingOutput",
    "SessionHead",
    "SessionLoss",
    "SoftmaxPrototypicalLoss",
    "SpeakerEncoderConfig",
    "SpeakerEncoderForXVector",
    "SpeakerEncoderOutput",
    "SpeakerFeatureExtractor",
    "SpeakerLossOutput",
    "fit_compensation",
    "make_compensation",
    "mean_absolute_correlation",
    "report_compensation",
]
