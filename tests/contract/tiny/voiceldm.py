"""VoiceLDM, tiny."""

from collections.abc import Sequence
from typing import Any

import torch

from avzoo import zoo

from .entry import Tiny


def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Texts of so many characters, each seeing no more padding than it would alone; 80 frames, whatever they take."""
    texts = [torch.randint(3, 20, (n,), generator=torch.Generator().manual_seed(n)) for n in lengths]
    return {
        "input_ids": torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1),
        "attention_mask": torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths]),
        "padded_lengths": torch.tensor(lengths),
        "num_frames": 80,
    }


def compute_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if the frames were to be a few given vectors; in use the denoiser's loss trains them."""
    wanted = torch.randn(3, output.frames.shape[-1], generator=torch.Generator().manual_seed(0))
    return (output.frames - wanted[labels][:, None]).square().mean()


TINY = Tiny(
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
    loss=compute_loss,
)


def tiny_pipeline_parts() -> dict[str, Any]:
    """The networks of a tiny VoiceLDM that can't be left out."""
    from diffusers import DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    fields = {**TINY.config, "hidden_size": 16}
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
