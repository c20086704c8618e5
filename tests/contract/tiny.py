"""Tiny forms of every network: what the contract suite needs to know beside the row in the zoo.

A new method or component adds one entry to `TINY`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from avzoo import zoo


@dataclass(frozen=True)
class Tiny:
    """A small random network and inputs for it.

    Args:
        config: config fields that make it small. Every feature that adds parameters should be on.
        inputs: lengths of the items of a batch -> the arguments of forward, padded and masked.
        single: the same arguments and an index -> that item alone, unpadded.
        labels: number of items -> what forward takes as `labels`.
        bad_values: config field -> a value that cannot work.
        frozen: patterns of parameters that get no gradient on purpose.
        output: what forward's answer is called.
        loss: answer of forward and what it took as `labels` -> loss, for networks that have none of their own.
    """

    config: Mapping[str, Any]
    inputs: Callable[[Sequence[int]], dict[str, torch.Tensor]]
    single: Callable[[Sequence[int], int], dict[str, torch.Tensor]]
    labels: Callable[[int], Any]
    bad_values: Mapping[str, Any]
    lengths: Sequence[int] = (33, 20, 9)
    frozen: Sequence[str] = field(default_factory=tuple)
    output: str = "logits"
    loss: Callable[[Any, Any], torch.Tensor] | None = None

    def losses(self, model: torch.nn.Module, inputs: Mapping[str, Any], labels: Any) -> torch.Tensor:
        """The training loss of a batch."""
        if self.loss is None:
            return model(**inputs, labels=labels).loss
        return self.loss(model(**inputs), labels)


def _flexiast_features(length: int) -> torch.Tensor:
    return torch.randn(length, 16, generator=torch.Generator().manual_seed(length))


def _flexiast_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    longest = max(lengths)
    inputs = {
        "input_values": torch.stack(
            [torch.nn.functional.pad(_flexiast_features(n), (0, 0, 0, longest - n), value=7.0) for n in lengths]
        )
    }
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


# Windows have one length, and nothing pads them; lengths only tell the windows apart.
def _mtdvocalist_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    draws = [torch.Generator().manual_seed(n + i) for i, n in enumerate(lengths)]
    return {
        "pixel_values": 255 * torch.stack([torch.rand(5, 3, 8, 16, generator=draw) for draw in draws]),
        "input_features": 8 * torch.stack([torch.rand(1, 8, 16, generator=draw) for draw in draws]) - 4,
    }


def _mtdvocalist_single(lengths: Sequence[int], index: int) -> dict[str, torch.Tensor]:
    return {name: values[index : index + 1] for name, values in _mtdvocalist_inputs(lengths).items()}


# Frames of a video are of one size, so a batch of pictures has no padding; lengths only tell the pictures apart.
def _s3fd_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    pictures = [torch.rand(3, 64, 72, generator=torch.Generator().manual_seed(n + i)) for i, n in enumerate(lengths)]
    return {"pixel_values": 100 + 50 * torch.stack(pictures)}


def _s3fd_single(lengths: Sequence[int], index: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": _s3fd_inputs(lengths)["pixel_values"][index : index + 1]}


def _s3fd_labels(count: int) -> list[torch.Tensor]:
    """A face of the size of each level's priors in every picture, so that every head has something to learn."""
    sides = torch.tensor([6.0, 10, 16, 24, 36, 56])[:, None]
    centres = torch.tensor([[6.0, 6], [60, 12], [12, 52], [48, 48], [32, 32], [64, 64]])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1) / torch.tensor([72, 64, 72, 64])
    return [boxes] * count


def _voiceldm_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Texts of so many characters, each seeing no more padding than it would alone; 80 frames, whatever they take."""
    texts = [torch.randint(3, 20, (n,), generator=torch.Generator().manual_seed(n)) for n in lengths]
    return {
        "input_ids": torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1),
        "attention_mask": torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths]),
        "padded_lengths": torch.tensor(lengths),
        "num_frames": 80,
    }


def _voiceldm_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if the frames were to be a few given vectors; in use the denoiser's loss trains them."""
    wanted = torch.randn(3, output.frames.shape[-1], generator=torch.Generator().manual_seed(0))
    return (output.frames - wanted[labels][:, None]).square().mean()


# Two faces and what is heard meanwhile; behind the end of the shorter clips stands what no clip has.
def _talknce_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    longest, faces, features = max(lengths), [], []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        pixels = torch.randint(256, (2, length, 32, 32), dtype=torch.uint8, generator=draw)
        rows = torch.randn(4 * length, 16, generator=draw)
        faces.append(torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, longest - length), value=255))
        features.append(torch.nn.functional.pad(rows, (0, 0, 0, 4 * (longest - length)), value=7.0))
    inputs = {"pixel_values": torch.stack(faces), "input_features": torch.stack(features)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


def _talknce_labels(count: int) -> torch.Tensor:
    """The first face speaks in two frames of three, the second in none."""
    heard = (torch.arange(33) % 3 > 0).long()
    return torch.stack([heard, torch.zeros_like(heard)]).expand(count, 2, 33)


def tiny_pipeline_parts() -> dict[str, Any]:
    """The networks of a tiny VoiceLDM that can't be left out."""
    from diffusers import DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    fields = {**TINY["voiceldm"].config, "hidden_size": 16}
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


def _avdiffuss_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Faces of so many frames; the pictures behind the end of the shorter ones are white."""
    longest = max(lengths)
    clips = [
        torch.randint(256, (n, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(n)) for n in lengths
    ]
    padded = [torch.nn.functional.pad(clip, (0, 0, 0, 0, 0, longest - len(clip)), value=255) for clip in clips]
    inputs = {"pixel_values": torch.stack(padded)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


def _avdiffuss_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if the first frames were to be a few given vectors; in use the losses of the other networks train it."""
    frames = output.last_hidden_state[:, :9]  # as many as the shortest clip has
    wanted = torch.rand(3, frames.shape[-1], generator=torch.Generator().manual_seed(0))
    return (frames - wanted[labels][:, None]).square().mean()


def tiny_separation_parts() -> dict[str, Any]:
    """What a small AVDiffuSSPipeline is made of. All weights count, also those that begin at nearly nothing."""
    from avzoo.models.avdiffuss import AVDiffuSSProcessor
    from avzoo.models.avdiffuss.modeling_avdiffuss import AVDiffuSSModel
    from avzoo.models.avdiffuss.scheduling_ouve import OUVEScheduler

    row = zoo.find_row("avdiffuss")
    encoder_class, config_class = row.load(row.model_class), row.load(row.config_class)
    sizes = {
        "base_channels": 8,
        "channel_multipliers": (1, 4),
        "cross_attention_sizes": (0, 16),
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": TINY["avdiffuss"].config["hidden_size"],
    }
    torch.manual_seed(0)
    networks = {
        "denoiser": AVDiffuSSModel(**sizes),
        "denoiser_visual_encoder": encoder_class(config_class(**TINY["avdiffuss"].config)),
        "score_model": AVDiffuSSModel(num_spectrograms=2, time_conditioned=True, **sizes),
        "score_visual_encoder": encoder_class(config_class(**TINY["avdiffuss"].config)),
    }
    for network in networks.values():
        network.eval()
        fill_weights(network)
    with torch.no_grad():
        networks["score_model"].final_projection.weight.mul_(0.1)  # a walk that does not run away
    return {
        **networks,
        "scheduler": OUVEScheduler(),
        "processor": AVDiffuSSProcessor(frame_size=32, n_fft=126, hop_length=64, frame_multiple=8),
    }


@torch.no_grad()
def fill_weights(model: torch.nn.Module) -> None:
    """Maps that keep the variance, and scales and biases that differ a little from what they begin with."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))


TINY: dict[str, Tiny] = {
    "flexiast": Tiny(
        config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "num_mel_bins": 16,
            "patch_size": 4,
            "position_grid": (4, 6),
            "num_prefix_tokens": 2,
            "num_labels": 3,
            "initializer_range": 0.3,
        },
        inputs=_flexiast_inputs,
        single=lambda lengths, index: {"input_values": _flexiast_features(lengths[index])[None]},
        labels=lambda count: torch.arange(count) % 3,
        bad_values={
            "hidden_size": 17,
            "num_hidden_layers": 0,
            "patch_size": 0,
            "position_grid": (4, 6, 8),
            "num_prefix_tokens": 3,
            "resize_method": "nearest",
            "stride": (0, 2),
            "patch_sizes": [[99, 2]],
            "layer_norm_eps": 0.0,
            "hidden_dropout_prob": 1.0,
        },
    ),
    "coarse_to_fine_ast": Tiny(
        config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "num_mel_bins": 16,
            "patch_size": 4,
            "max_length": 48,
            "compression_factor": 2,
            "num_prefix_tokens": 2,
            "num_labels": 3,
            "initializer_range": 0.3,
        },
        inputs=_flexiast_inputs,
        single=lambda lengths, index: {"input_values": _flexiast_features(lengths[index])[None]},
        labels=lambda count: torch.arange(count) % 3,
        bad_values={
            "hidden_size": 17,
            "patch_size": 0,
            "position_grid": (4, 12),
            "temporal_compression": "slices",
            "pooling": "median",
            "compression_factor": 0.5,
            "max_length": 0,
        },
    ),
    "mtdvocalist": Tiny(
        config={
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_ratio": 2,
            "conv_channels": (4, 6, 8),
            "visual_stages": ((5, 2, 4, 2, 1), (3, 2, 2, 1, 0), (3, 2, 2, 1, 0)),
            "audio_stages": ((3, 3, 1, 1), (3, 1, 0, 0), (1, 1, 0, 0)),
            "image_size": (8, 16),
            "num_mel_bins": 8,
            "distillation": {},
        },
        inputs=_mtdvocalist_inputs,
        single=_mtdvocalist_single,
        labels=lambda count: torch.arange(count) % 2,
        bad_values={
            "hidden_size": 9,
            "num_hidden_layers": 0,
            "num_attention_heads": 3,
            "ffn_ratio": 0,
            "conv_channels": (4, 6, 7),
            "visual_stages": ((5, 2, 4, 2, 1), (3, 2, 2, 1, 0), (3, 1, 2, 1, 0)),
            "audio_stages": ((3, 3, 1), (3, 1, 0, 0), (1, 1, 0, 0)),
            "image_size": (9, 16),
            "num_mel_bins": 0,
            "context_frames": 0,
            "pooling": "median",
            "embedding_dropout": 1.0,
            "hidden_dropout": -0.1,
            "attention_dropout": 1.0,
            "layer_norm_eps": 0.0,
            "num_labels": 2,
            "distillation": {"tau": 2.0},
        },
        frozen=("mtd_loss.weights",),  # they get a gradient from a teacher only
    ),
    "voiceldm": Tiny(
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
        inputs=_voiceldm_inputs,
        single=lambda lengths, index: _voiceldm_inputs([lengths[index]]),
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
        loss=_voiceldm_loss,
    ),
    "avdiffuss": Tiny(
        config={"hidden_size": 8, "num_temporal_layers": 2, "frame_size": 32},
        inputs=_avdiffuss_inputs,
        single=lambda lengths, index: _avdiffuss_inputs([lengths[index]]),
        labels=lambda count: torch.arange(count) % 3,
        bad_values={
            "hidden_size": 0,
            "num_temporal_layers": 0,
            "frame_size": 0,
            "pixel_std": 0.0,
            "batch_norm_eps": 0.0,
        },
        output="last_hidden_state",
        loss=_avdiffuss_loss,
    ),
    "talknce": Tiny(
        config={
            "embedding_size": 8,
            "trunk_channels": (4, 4, 6, 8),
            "num_temporal_layers": 1,
            "num_attention_heads": 2,
            "frame_size": 32,
            "dropout": 0.0,
            "audio_channels": (8, 8, 8, 8),
            "num_speakers": 2,
            "num_context_layers": 1,
            "num_mel_bins": 16,
            "audio_depths": (1, 1, 1, 1),
            "squeeze_ratio": 4,
        },
        inputs=_talknce_inputs,
        single=lambda lengths, index: _talknce_inputs([lengths[index]], first=index),
        labels=_talknce_labels,
        bad_values={
            "embedding_size": 0,
            "trunk_channels": (4, 4, 6),
            "num_temporal_layers": 0,
            "feed_forward_ratio": 0,
            "num_attention_heads": 3,
            "cross_attention_query": "both",
            "frame_size": 0,
            "pixel_std": 0.0,
            "batch_norm_eps": 0.0,
            "dropout": 1.0,
            "auxiliary_weight": -0.1,
            "talknce_weight": -0.1,
            "talknce_temperature": 0.0,
            "nce_frames": "silent",
            "nce_direction": "neither",
            "num_speakers": 0,
            "num_context_layers": 0,
            "context_kernel_size": 6,
            "audio_channels": (8, 8, 0, 8),
            "num_mel_bins": 20,
            "log_mel_std": 0.0,
        },
    ),
    "s3fd": Tiny(
        config={
            "stage_channels": (4, 6, 8, 8, 8),
            "stage_depths": (1, 1, 2, 1, 1),
            "fc_channels": 12,
            "extra_channels": (6, 8, 6, 8),
            "norm_scales": (2.0, 1.5, 1.0),
            "prior_sizes": (6, 10, 16, 24, 36, 56),
        },
        inputs=_s3fd_inputs,
        single=_s3fd_single,
        labels=_s3fd_labels,
        bad_values={
            "stage_channels": (4, 6, 8),
            "stage_depths": (1, 1, 0, 1, 1),
            "fc_channels": 0,
            "extra_channels": (6, 8, 6, -1),
            "norm_scales": (1.0, 2.0),
            "norm_eps": 0.0,
            "num_background_maps": 0,
            "prior_sizes": (6, 10, 16, 24, 36, 0),
            "prior_strides": (4, 8),
            "box_variances": (0.1, -0.2),
            "pixel_mean": (1.0,),
        },
    ),
}


def tiny_model(row: zoo.Row, model_class: type | None = None, **overrides: Any) -> Any:
    """The method's task model at tiny size, or `model_class`, weights drawn from one seed, in evaluation mode."""
    model_class = model_class or row.load(row.model_class)
    torch.manual_seed(0)
    fields = {**TINY[row.name].config, **overrides}
    # A config class keeps a field that it does not know in silence; `num_labels` is a property.
    known = {field.name for field in dataclasses.fields(model_class.config_class)} | {"num_labels"}
    config = model_class.config_class(**{name: value for name, value in fields.items() if name in known})
    return model_class(config).eval()
