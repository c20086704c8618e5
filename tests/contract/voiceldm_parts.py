"""What a tiny VoiceLDM takes from other libraries: VAE, vocoder and CLAP, of the kinds that the released ones are."""

from typing import Any

from diffusers import AutoencoderKL
from transformers import ClapAudioConfig, ClapFeatureExtractor, ClapTextConfig, SpeechT5HifiGanConfig


def tiny_vae(**changes: Any) -> AutoencoderKL:
    fields = {
        "in_channels": 1,
        "out_channels": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (4, 4, 8),
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 64,
        "scaling_factor": 0.9,
    }
    return AutoencoderKL(**{**fields, **changes}).eval()


def tiny_vocoder_config(**changes: Any) -> SpeechT5HifiGanConfig:
    """With the strides of the real one, so with its lengths."""
    fields = {
        "model_in_dim": 64,
        "upsample_initial_channel": 32,
        "upsample_rates": (5, 4, 2, 2, 2),
        "upsample_kernel_sizes": (16, 16, 8, 4, 4),
        "resblock_kernel_sizes": (3,),
        "resblock_dilation_sizes": ((1, 3),),
        "normalize_before": False,
    }
    return SpeechT5HifiGanConfig(**{**fields, **changes})


def tiny_clap_configs(projection_dim: int) -> tuple[ClapTextConfig, ClapAudioConfig]:
    """Of the towers of descriptions and of sounds, which meet in `projection_dim` numbers."""
    description = ClapTextConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        projection_dim=projection_dim,
    )
    sound = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=4,
        patch_stride=[4, 4],
        hidden_size=64,
        projection_dim=projection_dim,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        patch_embeds_hidden_size=32,
    )
    return description, sound


def tiny_clap_features() -> ClapFeatureExtractor:
    """Features of a second of sound at 8 kHz."""
    return ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8000,
        hop_length=80,
        max_length_s=1,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=3500,
        truncation="rand_trunc",
    )
