"""AVDiffuSS's network on complex spectrograms: NCSN++ that looks at a face.

Paper: "Seeing Through the Conversation: Audio-Visual Speech Separation based on Diffusion Model" (arXiv 2310.19581,
ICASSP 2024). Facts about the released weights come from kaistmm/AVDiffuSS@86d8203 (sgmse/backbones); the network
without the face is that of SGMSE+ (arXiv 2208.05830) and StoRM (arXiv 2212.11851), after Song et al. (arXiv
2011.13456).

A U-Net over frequency and time. Beside it run two pyramids: the input, made smaller, is added on the way down, and each
level adds its part of the output on the way up. The face comes in at the lower levels: audio frames, averaged over
frequency, attend to one another and to the frames of the video. They carry no positions; order is what the visual
encoder knows.

Shapes: batch; channels; bins of frequency; frames of the spectrogram; visual frames.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.utils import BaseOutput
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from .fir_resampling import fir_downsample, fir_upsample

NORM_EPS = 1e-6
FUSION_GROUPS = 32


@dataclass
class AVDiffuSSModelOutput(BaseOutput):
    """What the network tells of each spectrogram.

    Args:
        sample: (batch, 1, bins, frames) complex64: the estimated voice, or the score of a diffusion state.
    """

    sample: torch.Tensor


CONDITIONS = ("post_denoiser", "noisy", "both")


def score_input(condition: str, state: torch.Tensor, mixture: torch.Tensor, estimate: torch.Tensor) -> torch.Tensor:
    """What the score network reads: the state, and behind it what it is conditioned on.

    Args:
        condition: "post_denoiser" (the estimate), "noisy" (the mixture) or "both" (mixture, then estimate).
        state, mixture, estimate: (batch, 1, bins, frames) complex.
    """
    beside = {"post_denoiser": [estimate], "noisy": [mixture], "both": [mixture, estimate]}[condition]
    return torch.cat([state, *beside], dim=1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of at least four channels, at most 32 groups."""
    return nn.GroupNorm(min(channels // 4, 32), channels, NORM_EPS)


class AVDiffuSSTimeEmbedding(nn.Module):
    """Diffusion times, (batch,), to (batch, 4 * base_channels): waves of random frequencies of their logarithm."""

    def __init__(self, base_channels: int, fourier_scale: float):
        super().__init__()
        # Drawn once and never learned.
        self.register_buffer("frequencies", torch.randn(base_channels) * fourier_scale)
        self.linear1 = nn.Linear(2 * base_channels, 4 * base_channels)
        self.linear2 = nn.Linear(4 * base_channels, 4 * base_channels)

    def _apply(self, fn, recurse: bool = True):
        frequencies = self.frequencies
        super()._apply(fn, recurse)
        if not frequencies.is_meta:  # rounded to half precision, they would be other frequencies
            self.frequencies = frequencies.to(self.frequencies.device)
        return self

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        angles = 2 * math.pi * timestep.log()[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.linear1.weight.dtype)
        return self.linear2(nn.functional.silu(self.linear1(waves)))


class AVDiffuSSResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, the sum scaled back to its parts' variance.

    Args:
        resample: what is done to both branches first: `fir_downsample`, `fir_upsample` or None.
    """

    def __init__(self, in_channels: int, channels: int, time_size: int | None, dropout: float, resample=None):
        super().__init__()
        self.resample = resample
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.time_projection = None if time_size is None else nn.Linear(time_size, channels)
        self.norm2 = group_norm(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        needs_map = in_channels != channels or resample is not None
        self.shortcut = nn.Conv2d(in_channels, channels, 1) if needs_map else nn.Identity()

    def forward(self, hidden_states: torch.Tensor, time_embedding: torch.Tensor | None) -> torch.Tensor:
        branch = nn.functional.silu(self.norm1(hidden_states))
        if self.resample is not None:
            branch, hidden_states = self.resample(branch), self.resample(hidden_states)
        branch = self.conv1(branch)
        if self.time_projection is not None:
            branch = branch + self.time_projection(nn.functional.silu(time_embedding))[:, :, None, None]
        branch = self.conv2(self.dropout(nn.functional.silu(self.norm2(branch))))
        return (self.shortcut(hidden_states) + branch).mul_(0.5**0.5)


class AVDiffuSSSelfAttention(nn.Module):
    """Every place of the spectrogram looks at every other; one head over all channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        places = self.norm(hidden_states).flatten(2).mT[:, None]  # (batch, 1, bins * frames, channels)
        mixed = scaled_dot_product_attention(self.to_q(places), self.to_k(places), self.to_v(places))
        mixed = self.to_out(mixed)[:, 0].mT.reshape(hidden_states.shape)
        return (hidden_states + mixed).mul_(0.5**0.5)


class AVDiffuSSAttention(nn.Module):
    """Attention of several heads, of audio frames to those of the video, or to themselves.

    Args:
        context_size: width of what is attended to. None: the frames attend to their own queries, from which keys and
            values are then made.
    """

    def __init__(self, size: int, context_size: int | None, num_heads: int, head_dim: int):
        super().__init__()
        self.num_heads = num_heads
        inner_size = num_heads * head_dim
        context_size = inner_size if context_size is None else context_size
        self.to_q = nn.Linear(size, inner_size, bias=False)
        self.to_k = nn.Linear(context_size, inner_size, bias=False)
        self.to_v = nn.Linear(context_size, inner_size, bias=False)
        self.to_out = nn.Linear(inner_size, size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        context: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        queries = self.to_q(hidden_states)
        context = queries if context is None else context
        query, key, value = (
            projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (batch, heads, frames, head_dim)
            for projected in (queries, self.to_k(context), self.to_v(context))
        )
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class AVDiffuSSFusionLayer(nn.Module):
    """A transformer layer, normed before each part: among audio frames, to the video's frames, feed-forward."""

    def __init__(self, size: int, context_size: int, num_heads: int, head_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.self_attention = AVDiffuSSAttention(size, None, num_heads, head_dim)
        self.norm2 = nn.LayerNorm(size)
        self.cross_attention = AVDiffuSSAttention(size, context_size, num_heads, head_dim)
        self.norm3 = nn.LayerNorm(size)
        self.linear1 = nn.Linear(size, 8 * size)  # values and gates
        self.linear2 = nn.Linear(4 * size, size)

    def forward(self, hidden_states: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        hidden_states = hidden_states + self.self_attention(self.norm1(hidden_states))
        hidden_states = hidden_states + self.cross_attention(self.norm2(hidden_states), context, mask)
        values, gates = self.linear1(self.norm3(hidden_states)).chunk(2, dim=-1)
        return hidden_states + self.linear2(values * nn.functional.gelu(gates))


class AVDiffuSSFusion(nn.Module):
    """What the face tells, added to every bin of frequency (paper section 2.3).

    The average over frequency keeps all frames of the audio, and attention between two short sequences costs little.
    """

    def __init__(self, channels: int, size: int, context_size: int, num_heads: int, head_dim: int, num_layers: int):
        super().__init__()
        self.norm = nn.GroupNorm(FUSION_GROUPS, channels, NORM_EPS)
        self.input_projection = nn.Linear(channels, size)
        self.layers = nn.ModuleList(
            AVDiffuSSFusionLayer(size, context_size, num_heads, head_dim) for _ in range(num_layers)
        )
        self.output_projection = nn.Linear(size, channels)

    def forward(self, hidden_states: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        frames = self.input_projection(self.norm(hidden_states).mean(dim=2).mT)  # (batch, frames, size)
        for layer in self.layers:
            frames = layer(frames, context, mask)
        return hidden_states + self.output_projection(frames).mT[:, :, None]


class AVDiffuSSDownBlock(nn.Module):
    """One level on the way down, and the step to the next, where there is one."""

    def __init__(self, in_channels: int, channels: int, num_layers: int, fusion, residual_block, input_channels: int):
        super().__init__()
        widths = [in_channels] + [channels] * num_layers
        self.resnets = nn.ModuleList(residual_block(widths[i], channels) for i in range(num_layers))
        self.fusions = nn.ModuleList(fusion() for _ in range(num_layers)) if fusion is not None else None
        self.downsampler = self.pyramid_projection = None
        if input_channels:
            self.downsampler = residual_block(channels, channels, resample=fir_downsample)
            self.pyramid_projection = nn.Conv2d(input_channels, channels, 1)

    def forward(self, hidden_states, pyramid, time_embedding, context, mask) -> tuple[torch.Tensor, ...]:
        """The input at the next level's size, and the states that the way up comes back to, in order.

        All in one flat tuple: re-entrant checkpointing sees no tensor inside a list, neither here nor on the way up.
        """
        skips = []
        for index, resnet in enumerate(self.resnets):
            hidden_states = resnet(hidden_states, time_embedding)
            if self.fusions is not None:
                hidden_states = self.fusions[index](hidden_states, context, mask)
            skips.append(hidden_states)
        if self.downsampler is not None:
            pyramid = fir_downsample(pyramid)
            skips.append(self.pyramid_projection(pyramid) + self.downsampler(hidden_states, time_embedding))
        return pyramid, *skips


class AVDiffuSSMidBlock(nn.Module):
    """The smallest level."""

    def __init__(self, channels: int, residual_block):
        super().__init__()
        self.resnet1 = residual_block(channels, channels)
        self.attention = AVDiffuSSSelfAttention(channels)
        self.resnet2 = residual_block(channels, channels)

    def forward(self, hidden_states: torch.Tensor, time_embedding: torch.Tensor | None) -> torch.Tensor:
        return self.resnet2(self.attention(self.resnet1(hidden_states, time_embedding)), time_embedding)


class AVDiffuSSUpBlock(nn.Module):
    """One level on the way up, its part of the output, and the step to the next, where there is one."""

    def __init__(
        self, in_channels: int, skip_channels: Sequence[int], channels: int, fusion, residual_block, output_channels, up
    ):
        super().__init__()
        widths = [in_channels] + [channels] * (len(skip_channels) - 1)
        self.resnets = nn.ModuleList(
            residual_block(width + skip, channels) for width, skip in zip(widths, skip_channels, strict=True)
        )
        self.fusion = fusion() if fusion is not None else None
        self.pyramid_norm = group_norm(channels)
        self.pyramid_projection = nn.Conv2d(channels, output_channels, 3, padding=1)
        self.upsampler = residual_block(channels, channels, resample=fir_upsample) if up else None

    def forward(
        self, hidden_states, pyramid, time_embedding, context, mask, *skips
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for resnet, skip in zip(self.resnets, skips, strict=True):
            hidden_states = resnet(torch.cat([hidden_states, skip], dim=1), time_embedding)
        if self.fusion is not None:
            hidden_states = self.fusion(hidden_states, context, mask)
        # In single precision: small sums of large parts, and they are few channels.
        level = self.pyramid_projection(nn.functional.silu(self.pyramid_norm(hidden_states))).float()
        pyramid = level if pyramid is None else fir_upsample(pyramid) + level
        if self.upsampler is not None:
            hidden_states = self.upsampler(hidden_states, time_embedding)
        return hidden_states, pyramid


class AVDiffuSSModel(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Complex spectrograms and a face to one complex spectrogram: a voice, or the score of a diffusion state.

    Without times it is a network that predicts the voice from the mixture; with them it tells the score of a state,
    given one or two spectrograms beside it. Defaults: the released denoiser; the released score network has
    `num_spectrograms=2, time_conditioned=True`. Without `cross_attention_sizes` it sees no face, as SGMSE+ and StoRM.

    Args:
        num_spectrograms: in the input, one behind another.
        time_conditioned: whether it is called with diffusion times; its output is then divided by them.
        base_channels: channels of the first level, a multiple of 4.
        channel_multipliers: channels of each level in units of that; each level has half of the bins and frames.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        cross_attention_sizes: width of the fusion with the face at each level, 0 where there is none.
        num_attention_heads, attention_head_dim: of the fusion's attention.
        num_fusion_layers: transformer layers of each fusion.
        cross_attention_dim: width of the visual features.
        fourier_scale: spread of the frequencies of the time embedding.
        dropout: within residual blocks, in training.

    Raises:
        ValueError: sizes that don't fit each other.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = [
        "AVDiffuSSResidualBlock",
        "AVDiffuSSFusion",
        "AVDiffuSSSelfAttention",
        "AVDiffuSSTimeEmbedding",
    ]
    _keep_in_fp32_modules = ["time_embedding", "final_projection"]

    @register_to_config
    def __init__(
        self,
        num_spectrograms: int = 1,
        time_conditioned: bool = False,
        base_channels: int = 128,
        channel_multipliers: tuple[int, ...] = (1, 2, 2, 2),
        layers_per_block: int = 1,
        cross_attention_sizes: tuple[int, ...] = (0, 128, 64, 32),
        num_attention_heads: int = 4,
        attention_head_dim: int = 16,
        num_fusion_layers: int = 1,
        cross_attention_dim: int = 64,
        fourier_scale: float = 16.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.gradient_checkpointing = False
        widths = [base_channels * multiplier for multiplier in channel_multipliers]
        self._check_sizes(widths)
        channels = 2 * num_spectrograms  # real and imaginary part of each
        time_size = 4 * base_channels if time_conditioned else None
        levels = range(len(widths))

        def residual_block(in_channels: int, out_channels: int, resample=None) -> AVDiffuSSResidualBlock:
            return AVDiffuSSResidualBlock(in_channels, out_channels, time_size, dropout, resample)

        def fusion(level: int):
            size = cross_attention_sizes[level] if cross_attention_sizes else 0
            sizes = (size, cross_attention_dim, num_attention_heads, attention_head_dim, num_fusion_layers)
            return (lambda: AVDiffuSSFusion(widths[level], *sizes)) if size else None

        self.time_embedding = AVDiffuSSTimeEmbedding(base_channels, fourier_scale) if time_conditioned else None
        self.input_projection = nn.Conv2d(channels, base_channels, 3, padding=1)
        self.down_blocks, skips = nn.ModuleList(), [base_channels]
        for level in levels:
            width, last = widths[level], level == len(widths) - 1
            self.down_blocks.append(
                AVDiffuSSDownBlock(
                    skips[-1], width, layers_per_block, fusion(level), residual_block, 0 if last else channels
                )
            )
            skips += [width] * (layers_per_block + (not last))
        self.mid_block = AVDiffuSSMidBlock(widths[-1], residual_block)
        self.up_blocks, width = nn.ModuleList(), widths[-1]
        for level in reversed(levels):
            joined = [skips.pop() for _ in range(layers_per_block + 1)]
            self.up_blocks.append(
                AVDiffuSSUpBlock(width, joined, widths[level], fusion(level), residual_block, channels, up=level > 0)
            )
            width = widths[level]
        self.final_projection = nn.Conv2d(channels, 2, 1)
        self._initialize()

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> AVDiffuSSModelOutput | tuple[torch.Tensor]:
        """
        Args:
            sample: (batch, num_spectrograms, bins, frames) complex, bins and frames multiples of 2 per step down (8 for
                four levels). For a score: the diffusion state first, then what it is conditioned on.
            timestep: (batch,), or one for all; only, and always, where the network is conditioned on times. Above 0.
            encoder_hidden_states: (batch, visual frames, cross_attention_dim), from [`AVDiffuSSVisualEncoder`].
            encoder_attention_mask: (batch, visual frames), 1 = frame, 0 = padding. None: every frame counts.
            return_dict: a tuple of one tensor if False.

        Raises:
            TypeError: no complex spectrogram. ValueError: a shape that doesn't fit, or something left out.
        """
        time_embedding = self._check_inputs(sample, timestep, encoder_hidden_states, encoder_attention_mask)
        parts = torch.view_as_real(sample).movedim(-1, 2).flatten(1, 2)  # (batch, re and im of each, bins, frames)
        # Made for pictures of 0..1, which this brings to -1..1; the weights expect it of spectrograms, too.
        pyramid = (2 * parts.float() - 1).to(self.dtype)
        context = None if encoder_hidden_states is None else encoder_hidden_states.to(self.dtype)
        mask = None if encoder_attention_mask is None else encoder_attention_mask.bool()[:, None, None]
        if time_embedding is not None:
            timestep, time_embedding = time_embedding, self.time_embedding(time_embedding).to(self.dtype)

        skips = [self.input_projection(pyramid)]
        for block in self.down_blocks:
            pyramid, *states = self._run(block, skips[-1], pyramid, time_embedding, context, mask)
            skips += states
        hidden_states = self._run(self.mid_block, skips[-1], time_embedding)
        pyramid = None
        for block in self.up_blocks:
            joined = [skips.pop() for _ in block.resnets]
            hidden_states, pyramid = self._run(block, hidden_states, pyramid, time_embedding, context, mask, *joined)
        if time_embedding is not None:
            pyramid = pyramid / timestep[:, None, None, None]
        with torch.autocast(pyramid.device.type, enabled=False):
            output = self.final_projection(pyramid.to(self.final_projection.weight.dtype)).float()
        output = torch.view_as_complex(output.movedim(1, -1).contiguous())[:, None]  # (batch, 1, bins, frames)
        return AVDiffuSSModelOutput(sample=output) if return_dict else (output,)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Write config and weights, as diffusers does.

        Raises:
            ValueError: the network holds adapters; diffusers would write a file that can't be loaded.
        """
        if getattr(self, "peft_config", None):
            raise ValueError(
                "the network holds adapters, which a folder of weights can't. Write them with `save_lora_adapter`; or "
                "make them part of the weights: `fuse_lora()`, then `unload_lora()`."
            )
        super().save_pretrained(save_directory, *args, **kwargs)

    def _run(self, block: nn.Module, *arguments):
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, *arguments)
        return block(*arguments)

    def _check_inputs(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | None,
        context: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Times, (batch,), where there are any."""
        config, batch_size = self.config, sample.shape[0]
        if not sample.is_complex():
            raise TypeError(f"`sample` must be complex spectrograms, got {sample.dtype}.")
        multiple = 2 ** (len(config.channel_multipliers) - 1)
        if (
            sample.ndim != 4
            or 0 in sample.shape
            or sample.shape[1] != config.num_spectrograms
            or any(size % multiple for size in sample.shape[2:])
        ):
            raise ValueError(
                f"`sample` must be (batch, {config.num_spectrograms}, bins, frames), bins and frames multiples of "
                f"{multiple}; got {tuple(sample.shape)}. Append frames of zeros."
            )
        sees = any(config.cross_attention_sizes)
        if sees and (
            context is None
            or context.ndim != 3
            or context.shape[::2] != (batch_size, config.cross_attention_dim)
            or context.shape[1] == 0
        ):
            raise ValueError(
                f"`encoder_hidden_states` must be ({batch_size}, visual frames, {config.cross_attention_dim}) with at "
                f"least one frame, got {None if context is None else tuple(context.shape)}."
            )
        if mask is not None and (context is None or mask.shape != context.shape[:2]):
            expected = "nothing without `encoder_hidden_states`" if context is None else tuple(context.shape[:2])
            raise ValueError(f"`encoder_attention_mask` must be {expected}, got {tuple(mask.shape)}.")
        if config.time_conditioned != (timestep is not None):
            needs = "needs" if config.time_conditioned else "takes no"
            raise ValueError(f"this network {needs} `timestep`, got {timestep}.")
        if timestep is None:
            return None
        times = torch.as_tensor(timestep, dtype=torch.float32, device=sample.device)
        if times.shape not in ((), (1,), (batch_size,)):
            raise ValueError(f"`timestep` must be one number or ({batch_size},), got {tuple(times.shape)}.")
        return times.expand(batch_size)

    def _check_sizes(self, widths: Sequence[int]) -> None:
        config = self.config
        for name in (
            "num_spectrograms",
            "base_channels",
            "layers_per_block",
            "num_attention_heads",
            "attention_head_dim",
            "num_fusion_layers",
            "cross_attention_dim",
        ):
            if config[name] < 1:
                raise ValueError(f"`{name}` must be at least 1, got {config[name]}.")
        if not config.fourier_scale > 0:
            raise ValueError(f"`fourier_scale` must be above 0, got {config.fourier_scale}.")
        if not widths or any(width < 4 or width % 4 or (width > 128 and width % 32) for width in widths):
            raise ValueError(
                f"`base_channels` times `channel_multipliers` must be multiples of 4, above 128 of 32; got {widths}."
            )
        sizes = config.cross_attention_sizes
        if sizes and len(sizes) != len(widths):
            raise ValueError(f"`cross_attention_sizes` must have {len(widths)} sizes, one for each level, got {sizes}.")
        if any(size < 0 for size in sizes):
            raise ValueError(f"`cross_attention_sizes` must be 0 or more, got {sizes}.")
        narrow = [width for width, size in zip(widths, sizes, strict=False) if size and width % FUSION_GROUPS]
        if narrow:
            raise ValueError(
                f"`cross_attention_sizes` must be 0 where a level's channels are no multiple of {FUSION_GROUPS}; a "
                f"level has {narrow[0]}."
            )

    def _initialize(self) -> None:
        """The authors' start: maps that keep the variance, and branches that begin at nearly nothing."""
        for module in self.modules():
            if isinstance(module, AVDiffuSSResidualBlock):
                gains = {module.conv1: 1.0, module.conv2: 1e-5, module.shortcut: 1.0, module.time_projection: 1.0}
            elif isinstance(module, AVDiffuSSSelfAttention):
                gains = dict.fromkeys((module.to_q, module.to_k, module.to_v), 0.1**0.5) | {module.to_out: 1e-5}
            elif isinstance(module, AVDiffuSSTimeEmbedding):
                gains = {module.linear1: 1.0, module.linear2: 1.0}
            elif isinstance(module, AVDiffuSSUpBlock):
                gains = {module.pyramid_projection: 1e-5}
            elif isinstance(module, AVDiffuSSDownBlock):
                gains = {module.pyramid_projection: 1.0}
            else:
                gains = {self.input_projection: 1.0} if module is self else {}
            for layer, gain in gains.items():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.xavier_uniform_(layer.weight, gain)
                    nn.init.zeros_(layer.bias)


__all__ = ["CONDITIONS", "AVDiffuSSModel", "AVDiffuSSModelOutput", "score_input"]
