"""A tiny pipeline as a fixture."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from contract.tiny import tiny_model
from contract.tiny.voiceldm import tiny_pipeline_parts
from diffusers import DDIMScheduler
from transformers import (
    ClapAudioConfig,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextConfig,
    ClapTextModelWithProjection,
)

from avzoo import zoo
from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

sys.path.insert(0, str(Path(__file__).parent))  # tiny_voiceldm.py lies beside this file

from tiny_voiceldm import Characters, assembled, tiny_vae, tiny_vocoder


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    required = tiny_pipeline_parts()
    row = zoo.find_row("voiceldm")
    torch.manual_seed(1)
    description = ClapTextConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        projection_dim=12,
    )
    sound = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=4,
        patch_stride=[4, 4],
        hidden_size=64,
        projection_dim=12,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        patch_embeds_hidden_size=32,
    )
    optional = {
        "vae": tiny_vae(),
        "vocoder": tiny_vocoder(),
        "description_encoder": ClapTextModelWithProjection(description).eval(),
        "description_tokenizer": Characters(64),
        "content_tokenizer": Characters(64),
        "audio_encoder": ClapAudioModelWithProjection(sound).eval(),
        "feature_extractor": ClapFeatureExtractor(
            feature_size=16,
            sampling_rate=8000,
            hop_length=80,
            max_length_s=1,
            fft_window_size=256,
            frequency_min=50,
            frequency_max=3500,
            truncation="rand_trunc",
        ),
    }
    encoder = tiny_model(row, hidden_size=16, vocab_size=64, max_text_positions=200)
    # As the released file has it: spacing stated, and not left to what a class of scheduler prefers.
    settings = {name: value for name, value in required["scheduler"].config.items() if name[0] != "_"}
    scheduler = DDIMScheduler(**{**settings, "timestep_spacing": "leading"})
    return {**required, **optional, "content_encoder": encoder, "scheduler": scheduler}


@pytest.fixture
def pipe(parts) -> VoiceLDMPipeline:
    return assembled(parts)
