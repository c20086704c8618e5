"""VoiceLDM, tiny."""

from collections.abc import Sequence
from typing import Any

import torch

from avzoo import zoo

from .entry import Tiny, distance_to_drawn


def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Texts of so many characters, each seeing no more padding than it would alone; 80 frames, whatever they take."""
    texts = [torch.randint(3, 20, (n,), generator=torch.Generator().manual_seed(n)) for n in lengths]
    return {
        "input_ids": torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1),
        "attention_mask": torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths]),
        "padded_lengths": torch.tensor(lengths),
        "num_frames": 80,
    }


def make_spectrograms(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Spectrograms of one length, which the longest decides on; otherwise lengths only tell them apart."""
    draws = [torch.Generator().manual_seed(n + i) for i, n in enumerate(lengths)]
    return {"spectrogram": torch.stack([torch.randn(max(lengths), 16, generator=draw) for draw in draws]) - 3}


CONTENT_ENCODER = Tiny(
    config={
        "vocab_size": 20,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_relative_position": 4,
        "max_text_positions": 64,
        "max_frames": 80,
        "upsampler_dropout": 0.0,
        "initializer_range": 0.3,
    },
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]]),
    labels=lambda count: torch.arange(count) % 3,
    bad_values={
        "vocab_size": 0,
        "hidden_size": 15,
        "num_hidden_layers": 0,
        "num_attention_heads": 3,
        "intermediate_size": 0,
        "layer_norm_eps": 0.0,
        "max_relative_position": 0,
        "max_text_positions": 0,
        "pad_token_id": 99,
        "max_frames": 0,
        "max_log_duration": 0.0,
        "kernel_size": 2,
        "upsampler_feature_size": 0,
        "upsampler_num_maps": 0,
        "upsampler_num_contexts": 0,
        "upsampler_dropout": 1.0,
    },
    output="frames",
    loss=distance_to_drawn("frames"),
    without={"loss": "the denoiser's loss trains it"},
)

TINY = {
    "VoiceLDMContentEncoder": CONTENT_ENCODER,
    "GriffinLimVocoder": Tiny(
        config={"model_in_dim": 16, "fft_size": 64, "hop_length": 16, "num_iterations": 4},
        inputs=make_spectrograms,
        single=lambda lengths, index: {"spectrogram": make_spectrograms(lengths)["spectrogram"][index : index + 1]},
        labels=lambda count: torch.arange(count) % 3,
        bad_values=dict.fromkeys(("model_in_dim", "sampling_rate", "fft_size", "hop_length", "num_iterations"), 0),
        output="waveform",
        without={
            "attention": "an algorithm, not a network",
            "compilation": "its first phases are drawn with a generator of its own, which a graph cannot hold",
            "linear": "an algorithm, not a network",
            "loss": "an algorithm, not a network",
            "outputs": "it answers with the waveform alone, as the vocoder that it stands in for",
            "padding": "a vocoder's input ends where the sound does",
            "training": "its one parameter is a gain that is never trained",
        },
    ),
}


def tiny_pipeline_parts() -> dict[str, Any]:
    """The networks of a tiny VoiceLDM that can't be left out."""
    from diffusers import DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    fields = CONTENT_ENCODER.config
    row = zoo.find_row("voiceldm")
    return {
        "unet": UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=16,
            attention_head_dim=2,
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=12,
            class_embeddings_concat=True,
        ).eval(),
        "content_encoder": row.load(row.model_class)(row.load(row.config_class)(**fields)).eval(),
        "scheduler": DDIMScheduler(
            beta_start=0.0015,
            beta_end=0.0195,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }
