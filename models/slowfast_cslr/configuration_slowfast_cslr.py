"""Configuration of SlowFastSign."""

import math
import re
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number
from avzoo.models.layers.labels import LabelNamesMixin

NUM_STAGES = 4


@strict
class SlowFastSignConfig(LabelNamesMixin, PreTrainedConfig):
    """Configuration of [`SlowFastSignForCTC`]. Defaults: the released weights for PHOENIX14.

    Source: kaistmm/SlowFastSign@37d1b6c (`slowfast_modules/`, `slr_network_multi.py`).

    Args:
        depths: blocks of each of the four stages.
        temporal_blocks: how many of them, from the first on, look along time where their stage does.
        slow_kernels, fast_kernels: frames that a block of each stage looks at in either pathway, odd.
        width: channels of the slow stem; a stage gives 4, 8, 16 and 32 times as many.
        beta_inverse: how many times fewer channels the fast pathway has.
        alpha: how many times fewer frames the slow pathway sees.
        fusion: how the pathways hear of each other after the stem and the first three stages:
            "bidirectional_add", as released: each adds what the other sends, times a learnt number that begins at 0.
            "bidirectional_mix": each is mixed with it, by a learnt share.
            "bidirectional_cat": it is put beside it.
            "fast_to_slow": only the slow one gets something, put beside it, as in SlowFast itself.
        fusion_kernel: frames of the convolution from the fast pathway to the slow one, odd.
        fusion_channel_ratio: where channels are put beside others, how many times those of the fast pathway.
        temporal_layers: what follows along time: "K5" a convolution of 5 frames without padding, "P2" the maximum of
            two.
        hidden_size: width of the temporal convolutions and of the LSTM, half of it in each direction.
        num_lstm_layers: of the LSTM.
        vocab_size: glosses and the blank.
        pad_token_id: the number of the blank.
        auxiliary_branches: a temporal head for either pathway alone, which training learns from and inference does not
            run.
        pixel_mean, pixel_std: of values in [0, 1], with which the network normalises whole-numbered frames.
        isolate_clips: in evaluation, a clip gets in a batch what it gets alone: before each convolution along time,
            what lies behind its end is 0. False: it sees the repeated frames there, as in the authors' code.
        dropout: before the temporal heads.
        lstm_dropout: between layers of the LSTM.
        sequence_loss_weight, conv_loss_weight: of the CTC losses behind and before the LSTM.
        distillation_weight: of the distance of the latter's answer from the former's.
        distillation_temperature: of both answers there.
        count_padded_rows: steps behind a clip's end count in that mean, as in the authors' code.
        slow_loss_weight, fast_loss_weight: of the same three losses of the auxiliary branches.
    """

    model_type = "slowfast_cslr"
    # transformers' Trainer gathers what it evaluates: the logits.
    keys_to_ignore_at_inference = [
        *("conv_logits", "lengths", "frame_features", "slow_logits", "slow_conv_logits", "fast_logits"),
        *("fast_conv_logits", "losses"),
    ]

    depths: list[int] | tuple[int, ...] = (3, 4, 23, 3)
    temporal_blocks: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    slow_kernels: list[int] | tuple[int, ...] = (1, 1, 3, 3)
    fast_kernels: list[int] | tuple[int, ...] = (3, 3, 3, 3)
    width: int = 64
    beta_inverse: int = 8
    alpha: int = 4
    fusion: Literal["bidirectional_add", "bidirectional_mix", "bidirectional_cat", "fast_to_slow"] = "bidirectional_add"
    fusion_kernel: int = 5
    fusion_channel_ratio: int = 2
    temporal_layers: list[str] | tuple[str, ...] = ("K5", "P2", "K5", "P2")
    hidden_size: int = 1024
    num_lstm_layers: int = 2
    vocab_size: int = 1296
    pad_token_id: int = 0
    auxiliary_branches: bool = True
    pixel_mean: float | int = 0.45
    pixel_std: float | int = 0.225
    isolate_clips: bool = True
    dropout: float | int = 0.5
    lstm_dropout: float | int = 0.3
    sequence_loss_weight: float | int = 1.0
    conv_loss_weight: float | int = 1.0
    distillation_weight: float | int = 25.0
    distillation_temperature: float | int = 8.0
    count_padded_rows: bool = True
    slow_loss_weight: float | int = 0.25
    fast_loss_weight: float | int = 0.25

    def __post_init__(self, **kwargs):
        for name in ("depths", "temporal_blocks", "slow_kernels", "fast_kernels", "temporal_layers"):
            setattr(self, name, tuple(getattr(self, name)))  # JSON has no tuples
        super().__post_init__(**kwargs)

    def validate_stages(self):
        for name, least in (("depths", 1), ("temporal_blocks", 0), ("slow_kernels", 1), ("fast_kernels", 1)):
            values = getattr(self, name)
            if len(values) != NUM_STAGES or min(values) < least:
                raise ValueError(f"`{name}` must be {NUM_STAGES} numbers of {least} or more, got {list(values)}.")
        kernels = (*self.slow_kernels, *self.fast_kernels, self.fusion_kernel)
        if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise ValueError(
                "`slow_kernels`, `fast_kernels` and `fusion_kernel` must be odd numbers of 1 or more, got "
                f"{list(self.slow_kernels)}, {list(self.fast_kernels)} and {self.fusion_kernel}."
            )

    def validate_widths(self):
        at_least_one = ("width", "beta_inverse", "alpha", "fusion_channel_ratio", "num_lstm_layers")
        check_fields(self, at_least_one, at_least=1)
        check_number("hidden_size", self.hidden_size, at_least=2)
        if self.width % self.beta_inverse:
            raise ValueError(
                f"`width` ({self.width}) must be a multiple of `beta_inverse` ({self.beta_inverse}): it is divided by "
                "it for the fast pathway."
            )
        if self.hidden_size % 2:
            raise ValueError(f"`hidden_size` must be even, half for each direction; got {self.hidden_size}.")

    def validate_temporal_layers(self):
        bad = [layer for layer in self.temporal_layers if not re.fullmatch(r"[KP][1-9]\d?", layer)]
        if bad or not any(layer.startswith("K") for layer in self.temporal_layers):
            raise ValueError(
                "`temporal_layers` must name convolutions (`K5`) and maxima (`P2`), at least one convolution; got "
                f"{list(self.temporal_layers)}."
            )

    def validate_vocabulary(self):
        check_number("vocab_size", self.vocab_size, at_least=2)
        if self.pad_token_id != 0:
            raise ValueError(
                f"`pad_token_id` must be 0, the blank that this network was made with; got {self.pad_token_id}."
            )

    def validate_ranges(self):
        check_fields(self, ("pixel_std", "distillation_temperature"), above=0)
        weights = ("sequence_loss_weight", "conv_loss_weight", "distillation_weight")
        check_fields(self, (*weights, "slow_loss_weight", "fast_loss_weight"), at_least=0)
        check_fields(self, ("dropout", "lstm_dropout"), at_least=0, below=1)

    @property
    def slow_size(self) -> int:
        """Channels of a frame's features from the slow pathway; they come first."""
        return 32 * self.width

    @property
    def fast_size(self) -> int:
        """Channels of a frame's features from the fast pathway."""
        return self.slow_size // self.beta_inverse

    @property
    def step_frames(self) -> int:
        """Frames from one step of the answer to the next."""
        return math.prod(size for kind, size in self.parse_temporal_layers() if kind == "P")

    @property
    def edge_frames(self) -> int:
        """Frames that the temporal convolutions need before a clip's first, and as many behind its last.

        The authors multiply by the last maximum alone, which is the same where all convolutions are of one size.
        """
        frames, lost = 1, 0
        for kind, size in self.parse_temporal_layers():
            lost += (size - 1) * frames if kind == "K" else 0
            frames *= size if kind == "P" else 1
        return -(-lost // 2)

    def parse_temporal_layers(self) -> list[tuple[str, int]]:
        """[("K", 5), ("P", 2), ...]."""
        return [(layer[0], int(layer[1:])) for layer in self.temporal_layers]

    def count_steps(self, frames):
        """Steps of the answer to so many padded frames, a number or a tensor of whole numbers; 0 or more."""
        for kind, size in self.parse_temporal_layers():
            frames = frames // size if kind == "P" else frames - (size - 1)
        return frames.clamp(min=0) if hasattr(frames, "clamp") else max(frames, 0)


__all__ = ["SlowFastSignConfig"]
