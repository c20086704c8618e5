"""Session embeddings (arXiv 2309.14741): speaker verification that knows when two recordings share a session."""

from .configuration_session_embedding import SessionEmbeddingConfig, SpeakerEncoderConfig
from .modeling_session_embedding import SpeakerEncoderForXVector

__all__ = ["SessionEmbeddingConfig", "SpeakerEncoderConfig", "SpeakerEncoderForXVector"]
