"""SlowFastSign: two pathways, one for what hands look like and one for how they move, to a sentence of glosses.

"SlowFast Network for Continuous Sign Language Recognition" (arXiv 2309.12304). Facts: kaistmm/SlowFastSign@37d1b6c
(`slr_network_multi.py`, `modules/tconv.py`, `modules/BiLSTM.py`).

The pathways (`pathways.py`) give features of each frame; temporal convolutions make a step of four frames; an LSTM in
both directions and a classifier spell the sentence, with blanks in between (CTC). The classifier also reads the steps
before the LSTM: training needs that, and it is an answer that does not wait for a clip's end. In training either
pathway has a temporal head of its own, too.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from avzoo.models.layers.labels import check_whole_labels
from avzoo.models.layers.normed_convolution import NormedConvolution
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames

from .configuration_slowfast_cslr import SlowFastSignConfig
from .loss_slowfast_cslr import ctc_loss, distillation_loss
from .pathways import Bottleneck, Fusion, Pathways


@dataclass
class SlowFastSignFeatures(ModelOutput):
    """What the pathways see.

    Args:
        last_hidden_state: (clips, frames, slow_size + fast_size), 0 or more; the slow pathway's come first.
    """

    last_hidden_state: torch.FloatTensor | None = None


@dataclass
class SlowFastSignOutput(ModelOutput):
    """Which gloss each step of four frames is.

    Args:
        loss: of the batch, where there are labels.
        logits: (clips, steps, vocab_size), cosines times the length of a hidden state; 0 behind a clip's end.
        conv_logits: the same before the LSTM; not 0 behind a clip's end.
        lengths: (clips,), steps of each clip.
        frame_features: (clips, frames, slow_size + fast_size).
        slow_logits, slow_conv_logits, fast_logits, fast_conv_logits: of the pathways alone, where these are run.
        losses: {term: tensor}, unweighted: `sequence`, `conv` and `distillation`, and with `slow_` and `fast_` before.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    conv_logits: torch.FloatTensor | None = None
    lengths: torch.LongTensor | None = None
    frame_features: torch.FloatTensor | None = None
    slow_logits: torch.FloatTensor | None = None
    slow_conv_logits: torch.FloatTensor | None = None
    fast_logits: torch.FloatTensor | None = None
    fast_conv_logits: torch.FloatTensor | None = None
    losses: dict[str, torch.FloatTensor] | None = None


class TemporalConvolution(NormedConvolution):
    """A convolution along time without padding, with bias; and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int):
        super().__init__(nn.Conv1d(in_channels, channels, kernel_size), nn.BatchNorm1d(channels))


class BidirectionalLSTM(nn.Module):
    """Layers of an LSTM in each direction, each of which begins at its own end of every clip."""

    def __init__(self, size: int, num_layers: int, dropout: float):
        super().__init__()
        self.forward_layers, self.backward_layers = (
            nn.ModuleList(nn.LSTM(size, size // 2, batch_first=True) for _ in range(num_layers)) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(clips, steps, size) to the same; what is behind a clip's end changes nothing before it."""
        steps = torch.arange(hidden_states.shape[1], device=lengths.device)
        turned = lengths[:, None] - 1 - steps  # the clip backwards, and what is behind it as it is
        order = torch.where(turned >= 0, turned, steps)[..., None]
        for index, (ahead, back) in enumerate(zip(self.forward_layers, self.backward_layers, strict=True)):
            if index:
                hidden_states = self.dropout(hidden_states)
            backwards = hidden_states.gather(1, order.expand_as(hidden_states))
            ahead_states, back_states = ahead(hidden_states)[0], back(backwards)[0]
            hidden_states = torch.cat([ahead_states, back_states.gather(1, order.expand_as(back_states))], dim=-1)
        return hidden_states


class NormalizedClassifier(nn.Module):
    """Products with vectors of unit length, one for each gloss; no bias."""

    def __init__(self, size: int, vocab_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, vocab_size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states @ nn.functional.normalize(self.weight, dim=0)


class TemporalHead(nn.Module):
    """Features of frames to hidden states of each step, behind the LSTM and before it."""

    def __init__(self, config: SlowFastSignConfig, in_channels: int):
        super().__init__()
        self.layers = nn.ModuleList()
        size = in_channels
        for kind, length in config.parse_temporal_layers():
            self.layers.append(
                TemporalConvolution(size, config.hidden_size, length) if kind == "K" else nn.MaxPool1d(length)
            )
            size = config.hidden_size if kind == "K" else size
        self.lstm = BidirectionalLSTM(config.hidden_size, config.num_lstm_layers, config.lstm_dropout)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(clips, frames, in_channels) and the steps of each clip to two times (clips, steps, hidden_size)."""
        hidden_states = self.convolve(features)
        mask = torch.arange(hidden_states.shape[1], device=lengths.device) < lengths[:, None]
        return self.lstm(hidden_states, lengths) * mask[..., None], hidden_states

    def convolve(self, features: torch.Tensor) -> torch.Tensor:
        """(clips, frames, in_channels) to (clips, steps, hidden_size)."""
        hidden_states = features.transpose(1, 2)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
            if isinstance(layer, TemporalConvolution):
                hidden_states = hidden_states.relu_()
        return hidden_states.transpose(1, 2)


class SlowFastSignPreTrainedModel(PreTrainedModel):
    """Base of both classes: config class and random weights."""

    config_class = SlowFastSignConfig
    base_model_prefix = "slowfast"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["Bottleneck", "Fusion", "TemporalHead"]

    def __init__(self, config: SlowFastSignConfig, *args, **kwargs):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """As the authors draw them: convolutions of frames by their outputs, a block's last norm and the gates 0."""
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Conv1d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.LSTM):
            for weight in module.parameters():
                init.uniform_(weight, -(module.hidden_size**-0.5), module.hidden_size**-0.5)
        elif isinstance(module, NormalizedClassifier):
            init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("relu"))
        elif isinstance(module, Fusion) and module.adds:
            init.constant_(module.slow_gate, float(module.kind != "bidirectional_add"))
            init.constant_(module.fast_gate, float(module.kind != "bidirectional_add"))
        elif isinstance(module, Bottleneck):  # comes after its parts
            init.zeros_(module.expansion.norm.weight)


class SlowFastSignModel(SlowFastSignPreTrainedModel):
    """The two pathways: features of each frame, for recognition, translation and whatever else reads signing."""

    def __init__(self, config: SlowFastSignConfig):
        super().__init__(config)
        self.pathways = Pathways(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.pathways.slow_stem.projection.convolution

    @with_output_options
    def forward(self, pixel_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> SlowFastSignFeatures:
        """Features of each frame.

        Args:
            pixel_values: (clips, frames, 3, rows, columns), 25 frames per second; whole numbers from 0 to 255 (uint8),
                or floating point as normalised.
            attention_mask: (clips, frames), 1 = frame, 0 = behind the end of a clip, see `config.isolate_clips`.
                None: every frame counts.

        Raises:
            ValueError: a shape is another.
        """
        config = self.config
        shape = tuple(pixel_values.shape)
        if pixel_values.ndim != 5 or shape[2] != 3 or 0 in shape:
            raise ValueError(f"`pixel_values` must be (clips, frames, 3, rows, columns), got {shape}.")
        if attention_mask is not None and attention_mask.shape != pixel_values.shape[:2]:
            raise ValueError(f"`attention_mask` must be {shape[:2]}, got {tuple(attention_mask.shape)}.")
        dtype = self.get_input_embeddings().weight.dtype
        if not pixel_values.is_floating_point():
            pixel_values = (pixel_values.to(torch.float32) / 255 - config.pixel_mean) / config.pixel_std
        mask = None if attention_mask is None else self.choose_mask(attention_mask)
        return SlowFastSignFeatures(last_hidden_state=self.pathways(pixel_values.to(dtype), mask))

    def choose_mask(self, attention_mask: torch.Tensor) -> torch.Tensor | None:
        """The mask that keeps clips apart, None where none is needed."""
        if self.training or not self.config.isolate_clips:
            return None
        if attention_mask.device.type == "cpu" and not torch.compiler.is_compiling() and attention_mask.all():
            return None
        return attention_mask


class SlowFastSignForCTC(SlowFastSignPreTrainedModel):
    """Continuous sign language recognition: the glosses of a clip, without being told where each begins."""

    def __init__(self, config: SlowFastSignConfig):
        super().__init__(config)
        self.slowfast = SlowFastSignModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = TemporalHead(config, config.slow_size + config.fast_size)
        self.classifier = NormalizedClassifier(config.hidden_size, config.vocab_size)
        self.slow_head = self.slow_classifier = self.fast_head = self.fast_classifier = None
        if config.auxiliary_branches:
            self.slow_head = TemporalHead(config, config.slow_size)
            self.slow_classifier = NormalizedClassifier(config.hidden_size, config.vocab_size)
            self.fast_head = TemporalHead(config, config.fast_size)
            self.fast_classifier = NormalizedClassifier(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.slowfast.get_input_embeddings()

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        frame_features: torch.Tensor | None = None,
        output_auxiliary: bool = False,
    ) -> SlowFastSignOutput:
        """Spell clips.

        Args:
            pixel_values: see [`SlowFastSignModel.forward`]; as the processor pads them, `config.edge_frames` before
                the first and behind the last.
            attention_mask: (clips, frames), 1 = frame, 0 = behind the end of a clip. None: every frame counts.
            labels: (clips, glosses), numbers of glosses from 1 on, -100 behind the end. Adds the losses.
            frame_features: (clips, frames, slow_size + fast_size), in place of `pixel_values`.
            output_auxiliary: run the heads of the pathways alone; with labels they are run where the network has them.

        Raises:
            TypeError: `labels` are floating point.
            ValueError: neither or both of `pixel_values` and `frame_features` are given, a shape does not fit, too
                few frames for one step, a label of no gloss, auxiliary heads that the network does not have.
        """
        if (pixel_values is None) == (frame_features is None):
            raise ValueError("Give one of `pixel_values` and `frame_features`.")
        if output_auxiliary and self.slow_head is None:
            raise ValueError(
                "`output_auxiliary`: this network has no auxiliary heads (`config.auxiliary_branches` is False)."
            )
        if frame_features is None:
            frame_features = self.get_frame_features(pixel_values, attention_mask)
        return self.recognize_features(frame_features, attention_mask, labels, output_auxiliary)

    def get_frame_features(
        self, pixel_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(clips, frames, slow_size + fast_size): all that costs; see [`SlowFastSignModel.forward`]."""
        return self.slowfast(pixel_values, attention_mask, return_dict=True).last_hidden_state

    def recognize_features(
        self,
        frame_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_auxiliary: bool = False,
    ) -> SlowFastSignOutput:
        """Features of frames to glosses; arguments and errors as of `forward`."""
        config = self.config
        lengths = self._count_steps(frame_features, attention_mask)
        if labels is not None:
            self._check_labels(labels, frame_features)
        features = self.dropout(frame_features)
        logits, conv_logits = map(self.classifier, self.head(features, lengths))
        output = SlowFastSignOutput(
            logits=logits, conv_logits=conv_logits, lengths=lengths, frame_features=frame_features
        )
        if self.slow_head is not None and (output_auxiliary or labels is not None):
            slow, fast = features.split([config.slow_size, config.fast_size], dim=-1)
            slow_states, fast_states = self.slow_head(slow, lengths), self.fast_head(fast, lengths)
            output["slow_logits"], output["slow_conv_logits"] = map(self.slow_classifier, slow_states)
            output["fast_logits"], output["fast_conv_logits"] = map(self.fast_classifier, fast_states)
        if labels is None:
            return output
        losses = self._compute_losses(output, labels)
        return SlowFastSignOutput(loss=self._add_losses(losses), **output, losses=losses)

    def save_pretrained(
        self, save_directory: str | os.PathLike, *arguments: Any, for_inference: bool = False, **options: Any
    ) -> None:
        """Save weights and config.

        Args:
            save_directory: folder; see transformers' `save_pretrained` for all else.
            for_inference: leave out the auxiliary heads, a third of the weights, which only training needs.
        """
        if not for_inference or self.slow_head is None:
            return super().save_pretrained(save_directory, *arguments, **options)
        return self.without_auxiliary().save_pretrained(save_directory, *arguments, **options)

    def without_auxiliary(self) -> "SlowFastSignForCTC":
        """The same network without its auxiliary heads; it shares all other weights."""
        config = type(self.config).from_dict({**self.config.to_dict(), "auxiliary_branches": False})
        with torch.device("meta"):
            network = type(self)(config)
        kept = {name: value for name, value in self.state_dict(keep_vars=True).items() if name in network.state_dict()}
        network.load_state_dict(kept, assign=True)
        return network.train(self.training)

    def _count_steps(self, frame_features: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        config, shape = self.config, tuple(frame_features.shape)
        if frame_features.ndim != 3 or shape[2] != config.slow_size + config.fast_size:
            raise ValueError(
                f"`frame_features` must be (clips, frames, {config.slow_size + config.fast_size}), got {shape}."
            )
        if attention_mask is not None and attention_mask.shape != frame_features.shape[:2]:
            raise ValueError(f"`attention_mask` must be {shape[:2]}, got {tuple(attention_mask.shape)}.")
        if config.count_steps(frame_features.shape[1]) < 1:
            raise ValueError(
                f"{shape[1]} frames are too few for one step of the answer, which takes "
                f"{2 * config.edge_frames + config.step_frames}; the processor repeats a clip's first and last frame."
            )
        if attention_mask is None:
            lengths = torch.full((frame_features.shape[0],), frame_features.shape[1], device=frame_features.device)
        else:
            lengths = count_frames(attention_mask)
        return config.count_steps(lengths)

    def _check_labels(self, labels: torch.Tensor, frame_features: torch.Tensor) -> None:
        if labels.ndim != 2 or labels.shape[0] != frame_features.shape[0]:
            raise ValueError(
                f"`labels` must be (clips, glosses) of {frame_features.shape[0]} clips, got {tuple(labels.shape)}."
            )
        check_whole_labels(labels, num_classes=self.config.vocab_size)
        if labels.device.type == "cpu" and (labels == self.config.pad_token_id).any():
            raise ValueError("`labels` holds a 0, the blank; glosses are numbered from 1, and -100 is behind the end.")
        if labels.device.type == "cpu" and ((labels[:, :-1] < 0) & (labels[:, 1:] >= 0)).any():
            raise ValueError("`labels` must have -100 behind the last gloss only, got one before a gloss.")

    def _compute_losses(self, output: SlowFastSignOutput, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        config, losses = self.config, {}
        row_mask = None
        if not config.count_padded_rows:
            row_mask = torch.arange(output.logits.shape[1], device=labels.device) < output.lengths[:, None]
        for name in ("", "slow_", "fast_"):
            logits, conv_logits = getattr(output, f"{name}logits"), getattr(output, f"{name}conv_logits")
            if logits is None:
                continue
            losses[f"{name}sequence"] = ctc_loss(logits, output.lengths, labels).mean()
            losses[f"{name}conv"] = ctc_loss(conv_logits, output.lengths, labels).mean()
            losses[f"{name}distillation"] = distillation_loss(
                conv_logits, logits, config.distillation_temperature, row_mask
            )
        return losses

    def _add_losses(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        config = self.config
        terms = {
            "sequence": config.sequence_loss_weight,
            "conv": config.conv_loss_weight,
            "distillation": config.distillation_weight,
        }
        branches = {"": 1.0, "slow_": config.slow_loss_weight, "fast_": config.fast_loss_weight}
        return sum(
            branch_weight * weight * losses[branch + term]
            for branch, branch_weight in branches.items()
            for term, weight in terms.items()
            if branch + term in losses and branch_weight * weight  # infinity times 0 is no number
        )


__all__ = [
    "SlowFastSignFeatures",
    "SlowFastSignForCTC",
    "SlowFastSignModel",
    "SlowFastSignOutput",
]
