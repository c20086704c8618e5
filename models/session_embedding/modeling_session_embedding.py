"""Speaker encoders, and the session network that stands on one (arXiv 2309.14741).

The encoders compute what their released files compute. No code or weights of the session network were published; it is
built as the paper's abstract and a third party's summary describe it, with choices of our own that its docstring names.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from avzoo.audio import kaldi_fbank
from avzoo.audio.speaker_mel import count_mel_frames, speechbrain_mel_db, voxceleb_log_mel
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames
from avzoo.models.layers.talking_face import init_as_torch

from .configuration_session_embedding import SpeakerEncoderConfig
from .ecapa_tdnn import ECAPA_DIALECTS, ECAPATDNN
from .masked_frames import average_frames, make_mask, zero_padding
from .pooling import POOLING, AttentiveStatisticsPooling, SelfAttentivePooling, StatisticsPooling
from .rawnet3 import RawNet3, RawNetBlock, SincFilters
from .speaker_resnet import RESNET_DIALECTS, SpeakerResNet

SHORTEST = 1600  # samples, 0.1 s: below, some encoders see too few frames for a variance


@dataclass
class SpeakerEncoderOutput(ModelOutput):
    """What a speaker encoder tells of a batch of recordings.

    Args:
        loss: of the classification head, if `labels` were given.
        logits: (batch, num_labels) of that head, without its margin; without a head, the embeddings.
        embeddings: (batch, embedding_size), not of unit length.
        pooled: (batch, pooled size), what the last layer sees.
        environment_codes: (batch, environment_size), of encoders that have them.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    embeddings: torch.FloatTensor | None = None
    pooled: torch.FloatTensor | None = None
    environment_codes: torch.FloatTensor | None = None


class SpeakerFeatures(nn.Module):
    """Waveforms to normalised log-mels, (batch, num_mel_bins, frames), and the number of frames of each clip."""

    def __init__(self, config: SpeakerEncoderConfig):
        super().__init__()
        self.config = config

    def forward(
        self, waveforms: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        return getattr(self, f"_compute_{self.config.dialect}")(waveforms, lengths)

    def _compute_wespeaker(
        self, waveforms: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Kaldi's log-mel of 16-bit samples, the mean over time of each band taken away."""
        features = kaldi_fbank(waveforms * 32768, num_mel_bins=self.config.num_mel_bins, window="hamming").mT
        frames = None if lengths is None else (lengths - 400) // 160 + 1
        mask = make_mask(frames, features.shape[-1])
        return zero_padding(features - average_frames(features, mask), mask), frames

    def _compute_speechbrain(
        self, waveforms: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Decibels, at most 80 below the loudest of the clip, the mean over time of each band taken away."""
        masks = self.config.mask_padding
        features = speechbrain_mel_db(
            waveforms, lengths if masks else None, num_mel_bins=self.config.num_mel_bins
        ).mT
        size = features.shape[-1]
        if lengths is None:
            frames = None
        else:  # speechbrain counts in parts of the longest
            frames = count_mel_frames(lengths) if masks else torch.ceil(lengths / waveforms.shape[1] * size).long()
        mask = make_mask(frames, size)
        loudest = zero_padding(features + 100, mask).amax((1, 2), keepdim=True) - 100  # nothing is below -100 dB
        features = torch.maximum(features, loudest - 80)
        features = features - average_frames(features, mask)
        return zero_padding(features, mask if masks else None), frames

    def _compute_voxceleb_trainer(
        self, waveforms: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Natural-log mels, each band of each clip of mean 0 and variance 1."""
        features = voxceleb_log_mel(
            waveforms,
            lengths,
            num_mel_bins=self.config.num_mel_bins,
            # ResNetSE34L was trained without, its siblings with.
            preemphasis=0.0 if self.config.architecture == "resnetse34l" else 0.97,
            use_log=self.config.use_log,
        ).mT
        frames = None if lengths is None else count_mel_frames(lengths)
        mask = make_mask(frames, features.shape[-1])
        features = features - average_frames(features, mask)
        features = features / (average_frames(features.square(), mask) + 1e-5).sqrt()
        return zero_padding(features, mask), frames

    _compute_disentangler = _compute_voxceleb_trainer


class SpeakerEncoderPreTrainedModel(PreTrainedModel):
    """Base of the encoders: config class and random weights."""

    config_class = SpeakerEncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["SERes2Block", "ResidualBlock", "RawNetBlock"]

    def __init__(self, config: SpeakerEncoderConfig, *args, **kwargs):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = module.in_features**-0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, SelfAttentivePooling):
            init.normal_(module.attention)
        elif isinstance(module, RawNet3):
            init.ones_(module.waveform_scale)
            init.zeros_(module.waveform_shift)
        elif isinstance(module, RawNetBlock):
            init.ones_(module.shift)
        elif isinstance(module, SincFilters):
            module.init_frequencies()
        else:
            init_as_torch(module)


class SpeakerEncoderForXVector(SpeakerEncoderPreTrainedModel):
    """Recordings to speaker embeddings: ECAPA-TDNN, RawNet3 or a residual network, as the config says."""

    def __init__(self, config: SpeakerEncoderConfig):
        super().__init__(config)
        self.features = None if config.takes_waveforms else SpeakerFeatures(config)
        if config.architecture == "ecapa_tdnn":
            self.trunk = ECAPATDNN(
                config.num_mel_bins,
                config.hidden_size,
                config.aggregation_size,
                config.squeeze_size,
                config.res2net_scale,
                config.kernel_sizes,
                config.dilations,
                ECAPA_DIALECTS[config.dialect],
            )
            channels = config.aggregation_size
        elif config.architecture == "rawnet3":
            self.trunk = RawNet3(
                config.hidden_size,
                config.aggregation_size,
                config.num_sinc_filters,
                config.sinc_kernel_size,
                config.sinc_stride,
                config.res2net_scale,
            )
            channels = config.aggregation_size
        else:
            dialect = RESNET_DIALECTS[config.architecture]
            self.trunk = SpeakerResNet(config.num_mel_bins, config.stage_channels, config.stage_depths, dialect)
            channels = self.trunk.num_channels
        self.pooling, pooled_size = make_pooling(config, channels)
        has_norm = config.architecture in ("ecapa_tdnn", "rawnet3") or config.dialect == "disentangler"
        self.pooled_norm = nn.BatchNorm1d(pooled_size) if has_norm else None
        self.embedding = nn.Linear(pooled_size, config.embedding_size)
        self.environment = nn.Linear(pooled_size, config.environment_size) if config.environment_size else None
        self.pooled_size = pooled_size
        self.post_init()

    @with_output_options
    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> SpeakerEncoderOutput:
        """Speaker embeddings of recordings.

        Args:
            input_values: (batch, samples), 16 kHz, in [-1, 1]; 0.1 s or longer.
            attention_mask: (batch, samples), 1 = sample, 0 = padding behind the end. None: every sample counts.
        """
        if input_values.ndim != 2 or input_values.shape[1] < SHORTEST:
            raise ValueError(
                f"`input_values` must be (batch, samples) of at least {SHORTEST} samples (0.1 s), got "
                f"{tuple(input_values.shape)}."
            )
        lengths = None
        if attention_mask is not None:
            lengths = count_frames(attention_mask)
            check_lengths(lengths)
            input_values = input_values * attention_mask.to(input_values.dtype)
        pooled = self.pool(input_values, lengths)
        embeddings = self.embedding(pooled)
        codes = None if self.environment is None else self.environment(pooled)
        return SpeakerEncoderOutput(logits=embeddings, embeddings=embeddings, pooled=pooled, environment_codes=codes)

    def pool(self, waveforms: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """The vector that the last layer sees, (batch, pooled_size)."""
        if self.features is None:
            hidden_states, frames = self.trunk(waveforms, lengths)
        else:
            features, frames = self.features(waveforms, lengths)
            if isinstance(self.trunk, ECAPATDNN):
                mask = make_mask(frames, features.shape[-1])
                hidden_states = self.trunk(features, mask, mask if self.config.mask_padding else None)
            else:
                hidden_states, frames = self.trunk(features, frames)
        return self.pool_frames(hidden_states, frames)

    def pool_frames(self, hidden_states: torch.Tensor, frames: torch.Tensor | None) -> torch.Tensor:
        """Statistics over the frames of the trunk, normalised where the encoder has a norm there."""
        pooled = self.pooling(hidden_states, make_mask(frames, hidden_states.shape[-1]))
        return pooled if self.pooled_norm is None else self.pooled_norm(pooled)


def make_pooling(config: SpeakerEncoderConfig, channels: int) -> tuple[nn.Module, int]:
    """The pooling over a trunk's channels, and the size of its result."""
    if config.pooling == "statistics":
        return StatisticsPooling(), 2 * channels
    if config.architecture == "resnetse34l":
        return SelfAttentivePooling(channels), channels
    name = config.dialect if config.dialect != "voxceleb_trainer" else config.architecture
    with_variance = config.pooling == "attentive_statistics"
    pooling = AttentiveStatisticsPooling(
        channels,
        config.attention_size,
        POOLING[name],
        per_channel=config.attention_per_channel,
        with_context=config.use_global_context and config.architecture != "resnetse34v2",
        with_variance=with_variance,
    )
    return pooling, 2 * channels if with_variance else channels


def check_lengths(lengths: torch.Tensor) -> None:
    """Raise a ValueError for a clip below 0.1 s. Lengths on a GPU or in a graph are not read."""
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and int(lengths.min()) < SHORTEST:
        raise ValueError(
            f"`attention_mask` has a clip of {int(lengths.min())} samples; at least {SHORTEST} (0.1 s) are needed."
        )


__all__ = ["SpeakerEncoderForXVector", "SpeakerEncoderOutput", "SpeakerEncoderPreTrainedModel"]
