"""A tiny pipeline as a fixture."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from contract.tiny import tiny_model
from contract.tiny.voiceldm import tiny_pipeline_parts
from contract.voiceldm_parts import tiny_clap_configs, tiny_clap_features, tiny_vae
from diffusers import DDIMScheduler
from transformers import ClapAudioModelWithProjection, ClapTextModelWithProjection

from avzoo import zoo
from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

sys.path.insert(0, str(Path(__file__).parent))  # tiny_voiceldm.py lies beside this file

from tiny_voiceldm import Characters, assembled, tiny_vocoder


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    required = tiny_pipeline_parts()
    row = zoo.find_row("voiceldm")
    torch.manual_seed(1)
    description, sound = tiny_clap_configs(projection_dim=12)
    optional = {
        "vae": tiny_vae(),
        "vocoder": tiny_vocoder(),
        "description_encoder": ClapTextModelWithProjection(description).eval(),
        "description_tokenizer": Characters(64),
        "content_tokenizer": Characters(64),
        "audio_encoder": ClapAudioModelWithProjection(sound).eval(),
        "feature_extractor": tiny_clap_features(),
    }
    encoder = tiny_model(row, hidden_size=16, vocab_size=64, max_text_positions=200)
    # As the released file has it: spacing stated, and not left to what a class of scheduler prefers.
    settings = {name: value for name, value in required["scheduler"].config.items() if name[0] != "_"}
    scheduler = DDIMScheduler(**{**settings, "timestep_spacing": "leading"})
    return {**required, **optional, "content_encoder": encoder, "scheduler": scheduler}


@pytest.fixture
def pipe(parts) -> VoiceLDMPipeline:
    return assembled(parts)
