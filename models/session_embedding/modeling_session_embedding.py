"""Speaker encoders, and the session network that stands on one (arXiv 2309.14741).

The encoders compute what their released files compute. No code or weights of the session network were published; it is
built as the paper's abstract and a third party's summary describe it, with choices of our own that its docstring names.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForAudioXVector, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from avzoo.audio import kaldi_fbank
from avzoo.audio.speaker_mel import count_mel_frames, speechbrain_mel_db, voxceleb_log_mel
from avzoo.models.layers.labels import check_whole_labels
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames
from avzoo.models.layers.talking_face import init_as_torch

from .compensation import make_compensation
from .configuration_session_embedding import SessionEmbeddingConfig, SpeakerEncoderConfig
from .ecapa_tdnn import ECAPA_DIALECTS, ECAPATDNN
from .loss_session import SessionLoss
from .loss_speaker import AAMSoftmaxLoss, AMSoftmaxLoss, compare_all
from .masked_frames import average_frames, make_mask, zero_padding
from .pooling import POOLING, AttentiveStatisticsPooling, SelfAttentivePooling, StatisticsPooling
from .rawnet3 import RawNet3, RawNetBlock, SincFilters
from .speaker_resnet import RESNET_DIALECTS, SpeakerResNet


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
        features = speechbrain_mel_db(waveforms, lengths if masks else None, num_mel_bins=self.config.num_mel_bins).mT
        size = features.shape[-1]
        if lengths is None or masks:
            frames = mean_frames = None if lengths is None else count_mel_frames(lengths)
        else:  # speechbrain counts in parts of the longest; its mean leaves room for rounding, its pooling does not
            frames = torch.ceil(lengths / waveforms.shape[1] * size).long()
            mean_frames = torch.ceil(lengths / waveforms.shape[1] * size - 1e-6).long()
        features = features - average_frames(features, make_mask(mean_frames, size))
        return zero_padding(features, make_mask(frames, size) if masks else None), frames

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
    _keep_in_fp32_modules_strict = {"low_hz", "band_hz"}  # RawNet3's frequencies; see `SincFilters`

    def __init__(self, config: SpeakerEncoderConfig, *args, **kwargs):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            init_linear(module)
        elif isinstance(module, AAMSoftmaxLoss | AMSoftmaxLoss):
            init.xavier_normal_(module.weight)
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


def init_linear(module: nn.Linear) -> None:
    """torch's own draw for a linear layer."""
    init.kaiming_uniform_(module.weight, a=math.sqrt(5))
    bound = module.in_features**-0.5
    init.uniform_(module.bias, -bound, bound)


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
        self.classifier = None
        if config.classification_head != "none":
            loss_class = {"aam_softmax": AAMSoftmaxLoss, "am_softmax": AMSoftmaxLoss}[config.classification_head]
            self.classifier = loss_class(config.embedding_size, config.num_labels, config.margin, config.scale)
        self.post_init()

    @with_output_options
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SpeakerEncoderOutput:
        """Speaker embeddings of recordings.

        Args:
            input_values: (batch, samples), 16 kHz, in [-1, 1]; 0.1 s or longer.
            attention_mask: (batch, samples), 1 = sample, 0 = padding behind the end. None: every sample counts.
            labels: (batch,), speaker index in [0, num_labels), for an encoder with a classification head.
        """
        lengths = self.check_inputs(input_values, attention_mask)
        if labels is not None and self.classifier is None:
            raise ValueError("`labels` need a classification head: `classification_head` of this encoder is 'none'.")
        if labels is not None:
            check_whole_labels(labels, self.config.num_labels)
        if attention_mask is not None:
            input_values = input_values.masked_fill(~attention_mask.bool(), 0.0)
        pooled = self.pool(input_values, lengths)
        embeddings = self.embedding(pooled)
        logits = embeddings
        if self.classifier is not None:
            logits = self.config.scale * compare_all(embeddings, self.classifier.weight)
        return SpeakerEncoderOutput(
            loss=None if labels is None else self.classifier(embeddings, labels).loss,
            logits=logits,
            embeddings=embeddings,
            pooled=pooled,
            environment_codes=None if self.environment is None else self.environment(pooled),
        )

    def get_input_embeddings(self) -> nn.Module:
        """The first layer that sees features."""
        return self.trunk.stem

    def check_inputs(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """The samples of each recording, if there is a mask.

        Raises:
            ValueError: the shapes don't fit, or a recording is too short. Lengths on a GPU or in a graph are not read.
        """
        shortest = self.config.shortest_samples
        if input_values.ndim != 2 or input_values.shape[1] < shortest:
            raise ValueError(
                f"`input_values` must be (batch, samples) of at least {shortest} samples "
                f"({shortest / 16000:g} s), got {tuple(input_values.shape)}."
            )
        if attention_mask is None:
            return None
        if attention_mask.shape != input_values.shape:
            raise ValueError(
                f"`attention_mask` must be {tuple(input_values.shape)} as `input_values`, got "
                f"{tuple(attention_mask.shape)}."
            )
        lengths = count_frames(attention_mask)
        is_readable = lengths.device.type == "cpu" and not torch.compiler.is_compiling()
        if is_readable and int(lengths.min()) < shortest:
            raise ValueError(
                f"`attention_mask` has a recording of {int(lengths.min())} samples; at least {shortest} "
                f"({shortest / 16000:g} s) are needed."
            )
        return lengths

    def pool(self, waveforms: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """The vector that the last layer sees, (batch, pooled_size)."""
        if self.features is None:
            hidden_states, frames = self.trunk(waveforms.float(), lengths)
        else:
            features, frames = self.features(waveforms.float(), lengths)  # in float32, whatever the weights have
            features = features.to(self.embedding.weight.dtype)
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
    with_variance = config.pooling == "attentive_statistics"
    if config.architecture == "resnetse34l":
        return SelfAttentivePooling(channels, with_deviation=with_variance), (1 + with_variance) * channels
    name = config.dialect if config.dialect != "voxceleb_trainer" else config.architecture
    pooling = AttentiveStatisticsPooling(
        channels,
        config.attention_size,
        POOLING[name],
        per_channel=config.attention_per_channel,
        with_context=config.use_global_context and config.architecture != "resnetse34v2",
        with_variance=with_variance,
    )
    return pooling, 2 * channels if with_variance else channels


@dataclass
class SessionEmbeddingOutput(ModelOutput):
    """What the two networks tell of a batch of recordings.

    Args:
        loss: of the pairs of sessions of each speaker, if their ids were given.
        logits: the speaker embeddings, under the name that transformers' x-vector models have for their last layer.
        embeddings: (batch, embedding_size), who speaks; not of unit length.
        session_embeddings: (batch, session_embedding_size), in which recording; not of unit length.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    embeddings: torch.FloatTensor | None = None
    session_embeddings: torch.FloatTensor | None = None


class SessionHead(nn.Module):
    """The session network: a speaker encoder's vector to a session embedding.

    The paper's network has fully connected layers with GELU and dropout on the frozen encoder's output; their number
    and widths, and the scaling of the input, are ours. Any vector is brought to the length sqrt(size), so that its
    entries have a variance of about 1 whatever the encoder; `centers` takes the mean of its entries away first, which
    statistics before an encoder's last layer need.
    """

    def __init__(
        self, size: int, hidden_size: int, num_layers: int, embedding_size: int, dropout: float, centers: bool
    ):
        super().__init__()
        widths = [size, *[hidden_size] * (num_layers - 1), embedding_size]
        self.layers = nn.ModuleList(nn.Linear(first, second) for first, second in itertools.pairwise(widths))
        self.dropout, self.centers = nn.Dropout(dropout), centers

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(..., size) to (..., embedding_size)."""
        if self.centers:
            vectors = vectors - vectors.mean(-1, keepdim=True)
        hidden_states = nn.functional.normalize(vectors, dim=-1) * vectors.shape[-1] ** 0.5
        for layer in self.layers[:-1]:
            hidden_states = self.dropout(nn.functional.gelu(layer(hidden_states)))
        return self.layers[-1](hidden_states)


class SessionEmbeddingForXVector(PreTrainedModel):
    """A speaker encoder, left as it is, and a small network on top of it that says "which recording".

    A trial of two recordings then has two similarities, and the second corrects the first: recordings of one session
    need to be more alike to be of one speaker. In training mode the encoder stays in evaluation mode, and its weights
    take no gradient.
    """

    config_class = SessionEmbeddingConfig
    base_model_prefix = "session_embedding"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = SpeakerEncoderPreTrainedModel._no_split_modules

    def __init__(self, config: SessionEmbeddingConfig):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config)
        self.encoder = AutoModelForAudioXVector.from_config(config.encoder_config)
        self.session_head = None
        if config.session_source != "environment_code":
            self.session_head = SessionHead(
                self.encoder.pooled_size if config.session_source == "pooled" else find_embedding_size(config),
                config.session_hidden_size,
                config.session_num_layers,
                config.session_embedding_size,
                config.session_dropout,
                centers=config.session_source == "pooled",
            )
        self._freeze_encoder()
        self.session_loss = SessionLoss(config.session_loss)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The first layer of the encoder that sees features."""
        return self.encoder.get_input_embeddings()

    def _freeze_encoder(self) -> None:
        self.encoder.requires_grad_(not self.config.encoder_frozen)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As of every transformers model. Loading lets all weights take gradients; those of the encoder must not."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._freeze_encoder()
        return loaded

    def train(self, mode: bool = True) -> "SessionEmbeddingForXVector":
        """Set the mode of the session network; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.config.encoder_frozen:
            self.encoder.eval()
        return self

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            init_linear(module)

    @with_output_options
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        session_ids: torch.Tensor | None = None,
        speaker_ids: torch.Tensor | None = None,
    ) -> SessionEmbeddingOutput:
        """Speaker and session embeddings of recordings.

        Args:
            input_values: (batch, samples), 16 kHz, in [-1, 1]; 0.1 s or longer.
            attention_mask: (batch, samples), 1 = sample, 0 = padding behind the end. None: every sample counts.
            session_ids, speaker_ids: (batch,) whole numbers; both together add `loss`.
        """
        if (session_ids is None) != (speaker_ids is None):
            raise ValueError("`session_ids` and `speaker_ids` belong together: pairs are taken within a speaker.")
        output = self.encoder(input_values, attention_mask, return_dict=True)
        session_embeddings = self.embed_session(output)
        loss = None
        if session_ids is not None:
            loss = self.session_loss(session_embeddings, session_ids, speaker_ids)
        return SessionEmbeddingOutput(
            loss=loss, logits=output.embeddings, embeddings=output.embeddings, session_embeddings=session_embeddings
        )

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel, **fields: Any) -> "SessionEmbeddingForXVector":
        """A model on top of a trained encoder, which it takes over as it is; the session network's weights are drawn.

        Args:
            encoder: a [`SpeakerEncoderForXVector`], or a transformers model for x-vectors.
            fields: of [`SessionEmbeddingConfig`].
        """
        model = cls(SessionEmbeddingConfig(encoder_config=encoder.config, **fields))
        model.encoder.load_state_dict(encoder.state_dict())
        return model.train(encoder.training)

    @torch.no_grad()
    def score(
        self,
        first: torch.Tensor | SessionEmbeddingOutput,
        second: torch.Tensor | SessionEmbeddingOutput,
    ) -> dict[str, torch.Tensor]:
        """Compare recordings one by one: the first of `first` with the first of `second`, and so on.

        Args:
            first, second: waveforms, (samples,) or (batch, samples) of 16 kHz without padding, or outputs of `forward`;
                of as many recordings, or of one recording that all others are compared with.

        Returns:
            (batch,) each: `speaker_similarity` and `session_similarity`, cosines; `score`, the first corrected by the
            second; `same_speaker`, if the config has a `threshold`.
        """
        first, second = (self._embed(recordings) for recordings in (first, second))
        return self._compare(
            nn.functional.cosine_similarity(first.embeddings, second.embeddings),
            nn.functional.cosine_similarity(first.session_embeddings, second.session_embeddings),
        )

    @torch.no_grad()
    def score_matrix(self, enrolled: SessionEmbeddingOutput, test: SessionEmbeddingOutput) -> dict[str, torch.Tensor]:
        """Compare all with all, a matrix product for each similarity: what `score` returns, (enrolled, test) each."""
        return self._compare(
            compare_all(enrolled.embeddings, test.embeddings),
            compare_all(enrolled.session_embeddings, test.session_embeddings),
        )

    def _embed(self, recordings: torch.Tensor | SessionEmbeddingOutput) -> SessionEmbeddingOutput:
        if not isinstance(recordings, torch.Tensor):
            return recordings
        waveforms = recordings[None] if recordings.ndim == 1 else recordings
        return self(waveforms.to(self.device), return_dict=True)

    def _compare(self, speaker_similarity: torch.Tensor, session_similarity: torch.Tensor) -> dict[str, torch.Tensor]:
        score = make_compensation(self.config.compensation)(speaker_similarity, session_similarity)
        answer = {"speaker_similarity": speaker_similarity, "session_similarity": session_similarity, "score": score}
        if self.config.threshold is not None:
            answer["same_speaker"] = score >= self.config.threshold
        return answer

    def embed_session(self, output: ModelOutput) -> torch.Tensor:
        """(batch, session_embedding_size) of an encoder's output."""
        if self.config.session_source == "environment_code":
            return output.environment_codes
        return self.session_head(output.pooled if self.config.session_source == "pooled" else output.embeddings)


def find_embedding_size(config: SessionEmbeddingConfig) -> int:
    """Width of the encoder's speaker embeddings."""
    encoder = config.encoder_config
    return encoder.embedding_size if isinstance(encoder, SpeakerEncoderConfig) else encoder.xvector_output_dim


__all__ = [
    "SessionEmbeddingForXVector",
    "SessionEmbeddingOutput",
    "SessionHead",
    "SpeakerEncoderForXVector",
    "SpeakerEncoderOutput",
    "SpeakerEncoderPreTrainedModel",
]
