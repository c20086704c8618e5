"""Tiny random models of the three kinds that the pipeline takes."""

from pathlib import Path

import torch
from contract.tiny.session_embedding import ENCODER
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

from avzoo import (
    SessionEmbeddingConfig,
    SessionEmbeddingForXVector,
    SpeakerEncoderConfig,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
)

DEVELOPMENT = {"name": "dev.txt", "sha256": "0" * 64, "trials": 100}
LINEAR = {"type": "linear", "weight": 0.3, "development": DEVELOPMENT}


def write_session_model(folder: Path, **fields) -> Path:
    """A session model on a tiny encoder; `fields` of its config."""
    torch.manual_seed(0)
    encoder = SpeakerEncoderForXVector(SpeakerEncoderConfig(**{**ENCODER, "classification_head": "none"})).eval()
    sizes = {"session_hidden_size": 12, "session_embedding_size": 7, "session_source": "pooled"}
    SessionEmbeddingForXVector.from_encoder(encoder, **sizes, **fields).save_pretrained(folder)
    SpeakerFeatureExtractor().save_pretrained(folder)
    return folder


def write_encoder(folder: Path) -> Path:
    """A speaker encoder alone."""
    torch.manual_seed(0)
    SpeakerEncoderForXVector(SpeakerEncoderConfig(**ENCODER)).save_pretrained(folder)
    SpeakerFeatureExtractor().save_pretrained(folder)
    return folder


def write_wavlm(folder: Path) -> Path:
    """A WavLM for x-vectors with the feature extractor of transformers."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8, 8, 8, 8, 8, 8, 8),
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "tdnn_dim": (8, 8, 8, 8, 12),
        "xvector_output_dim": 8,
    }
    WavLMForXVector(WavLMConfig(**sizes)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder
