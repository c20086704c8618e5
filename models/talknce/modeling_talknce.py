"""LoCoNet and TalkNet: which of the faces in a video is heard speaking, frame by frame.

Papers: TalkNCE (arXiv 2309.12306), whose released weights are a LoCoNet (arXiv 2301.08237) trained with the loss in
`loss_talknce.py`, and TalkNet (arXiv 2107.06592). Facts come from kaistmm/TalkNCE@8666642, SJTUwxz/LoCoNet_ASD@68d90c8
and TaoRuijie/TalkNet-ASD@6d68214.

A detector embeds what each face does and what is heard, lets the two ask each other, then looks along time, and LoCoNet
between the faces of a clip. Each step is a method, so that a pipeline can keep embeddings and use them again.

Shapes: clips; tracks of a clip, the one that is scored first; frames, 25 per second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from avzoo.models.layers.labels import IGNORED, check_whole_labels
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames
from avzoo.models.layers.talking_face import init_as_torch

from .attention import AttentionLayer
from .audio_encoders import ROWS_PER_FRAME, LoCoNetAudioEncoder, TalkNetAudioEncoder
from .configuration_talknce import ActiveSpeakerConfig, LoCoNetConfig, TalkNetConfig
from .loss_talknce import TalkNCELoss
from .visual_encoder import FaceEmbeddings, frame_mask, repeat_lengths


@dataclass
class ActiveSpeakerOutput(ModelOutput):
    """Scores of every frame of every track, and what they were made of.

    Args:
        loss: `loss_av` + `auxiliary_weight` * (`loss_audio` + `loss_visual`) + `talknce_weight` * `loss_nce`.
        logits: (clips, tracks, frames, 2), class 1 is speaking; (clips, frames, 2) if tracks came one by one.
        logits_audio, logits_visual: the same of the auxiliary heads.
        audio_embeddings: (clips, tracks, frames, embedding_size), before the cross attention; of one track where all
            tracks of a clip hear the same.
        visual_embeddings: (clips, tracks, frames, embedding_size), before the cross attention.
        audio_hidden_state, visual_hidden_state: (clips, tracks, frames, embedding_size), after it.
        last_hidden_state: (clips, tracks, frames, 2 * embedding_size), what `logits` are made from.
        loss_av, loss_audio, loss_visual, loss_nce: the parts of `loss`, unweighted.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    logits_audio: torch.FloatTensor | None = None
    logits_visual: torch.FloatTensor | None = None
    audio_embeddings: torch.FloatTensor | None = None
    visual_embeddings: torch.FloatTensor | None = None
    audio_hidden_state: torch.FloatTensor | None = None
    visual_hidden_state: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    loss_av: torch.FloatTensor | None = None
    loss_audio: torch.FloatTensor | None = None
    loss_visual: torch.FloatTensor | None = None
    loss_nce: torch.FloatTensor | None = None


class SpeakerContext(GradientCheckpointingLayer):
    """What the faces of a clip do in the same few frames (short-term inter-speaker modelling).

    A convolution over all speakers and some frames, with an output for each speaker, between their features.
    """

    def __init__(self, config: LoCoNetConfig):
        super().__init__()
        size, self.num_speakers = 2 * config.embedding_size, config.num_speakers
        kernel = (config.num_speakers, config.context_kernel_size)
        self.conv = nn.Conv2d(size, size * config.num_speakers, kernel, padding=(0, config.context_kernel_size // 2))
        self.norm = nn.LayerNorm(size)
        self.linear1 = nn.Linear(size, 2 * size)
        self.linear2 = nn.Linear(2 * size, size)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(clips, tracks, frames, size); `mask` (clips, frames), True where there is a frame."""
        values = hidden_states
        if mask is not None:
            values = values * mask[:, None, :, None].to(values.dtype)
        mixed = self.conv(values.permute(0, 3, 1, 2))[:, :, 0]  # (clips, size * speakers, frames)
        mixed = mixed.unflatten(1, (-1, self.num_speakers)).permute(0, 2, 3, 1)
        return hidden_states + self.linear2(nn.functional.gelu(self.linear1(self.norm(mixed))))


class ActiveSpeakerPreTrainedModel(PreTrainedModel):
    config_class = ActiveSpeakerConfig
    base_model_prefix = "detector"
    main_input_name = "pixel_values"
    input_modalities = ("video", "audio")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["FaceResidualStage", "FaceTemporalLayer", "AttentionLayer", "SpeakerContext"]

    def get_input_embeddings(self) -> nn.Module:
        return self.visual.stem_conv

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """torch's own draws, neutral norms."""
        init_as_torch(module)
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)


class ActiveSpeakerDetector(ActiveSpeakerPreTrainedModel):
    """What both detectors share: embeddings, cross attention, heads and losses. They differ in `audio` and
    `add_context`."""

    def __init__(self, config: ActiveSpeakerConfig):
        super().__init__(config)
        config.validate()  # assignments after construction are not checked
        size = config.embedding_size
        self.visual = FaceEmbeddings(config)
        self.audio = self._audio_encoder(config)
        self.cross_audio = AttentionLayer(config, size)
        self.cross_visual = AttentionLayer(config, size)
        self.classifier = nn.Linear(2 * size, 2)
        self.audio_classifier = nn.Linear(size, 2)
        self.visual_classifier = nn.Linear(size, 2)
        self.talknce_loss = TalkNCELoss(config.talknce_temperature, config.nce_frames, config.nce_direction)

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor,
        labels: torch.Tensor | None = None,
        face_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> ActiveSpeakerOutput:
        """Score faces.

        Args:
            pixel_values: (clips, tracks, frames, rows, columns), or (clips, frames, rows, columns) of one track each:
                grey levels of 0..255, uint8 or floating point. A face that is missing is all 0.
            input_features: (clips, 4 * frames, bins), what is heard in a clip; or (clips, tracks, 4 * frames, bins)
                where each track has its own. Log-mel for LoCoNet, MFCC for TalkNet, of 16-bit samples.
            labels: (clips, tracks, frames) or (clips, frames), whole numbers: 1 where the face speaks and is heard, 0
                where not, -100 where a frame does not count in the losses. Adds the losses.
            face_mask: shaped as `labels`, 0 where a face is missing; such frames do not count in the losses.
            attention_mask: (clips, frames), 1 = frame, 0 = padding at the end. A clip in a padded batch gets what it
                gets alone. None: every frame counts.

        Returns:
            Losses are means over frames that count; `loss_nce` is of the first track of each clip.

        Raises:
            TypeError: `labels` are floating point.
            ValueError: a shape does not fit, or a label is neither 0, 1 nor -100; labels on a GPU are not read.
        """
        single = pixel_values.ndim == 4
        if single:
            pixel_values = pixel_values[:, None]
            labels, face_mask = (None if x is None else x[:, None] for x in (labels, face_mask))
        self._check_inputs(pixel_values, input_features, labels, face_mask, attention_mask)
        lengths = None if attention_mask is None else count_frames(attention_mask)
        visual = self.visual(pixel_values, lengths)
        audio = self.embed_audio(input_features, lengths)
        output = self.classify(audio, visual, lengths)
        if labels is not None:
            output = ActiveSpeakerOutput(**self._compute_losses(output, labels, face_mask, attention_mask), **output)
        if single:
            for name, value in list(output.items()):
                if value.ndim == 4:
                    output[name] = value[:, 0]
        return output

    def embed_audio(self, input_features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Features, see `forward`, to (clips, 1 or tracks, frames, embedding_size)."""
        if input_features.ndim == 3:
            input_features = input_features[:, None]
        clips, tracks = input_features.shape[:2]
        rows = input_features.flatten(0, 1).to(self.get_input_embeddings().weight.dtype)
        return self.audio(rows, repeat_lengths(lengths, tracks)).unflatten(0, (clips, tracks))

    def classify(
        self, audio: torch.Tensor, visual: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> ActiveSpeakerOutput:
        """Embeddings to scores, without losses: all that comes after the encoders, a few percent of the cost.

        Args:
            audio: (clips, 1 or tracks, frames, embedding_size).
            visual: (clips, tracks, frames, embedding_size).
            lengths: (clips,), frames before padding.
        """
        clips, tracks, frames, _ = visual.shape
        mask = None if lengths is None else frame_mask(lengths, frames)
        flat_audio, flat_visual = (x.expand(-1, tracks, -1, -1).flatten(0, 1) for x in (audio, visual))
        key_mask = None
        if mask is not None:
            key_mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=flat_visual, attention_mask=mask.repeat_interleave(tracks, dim=0)
            )
        if self.config.cross_attention_query == "other":
            heard = self.cross_audio(flat_audio, flat_visual, flat_audio, key_mask)
            seen = self.cross_visual(flat_visual, flat_audio, flat_visual, key_mask)
        else:
            heard = self.cross_audio(flat_audio, flat_audio, flat_visual, key_mask)
            seen = self.cross_visual(flat_visual, flat_visual, flat_audio, key_mask)
        hidden_states = torch.cat([heard, seen], dim=-1).unflatten(0, (clips, tracks))
        hidden_states = self.add_context(hidden_states, mask, key_mask)
        heard, seen = (x.unflatten(0, (clips, tracks)) for x in (heard, seen))
        return ActiveSpeakerOutput(
            logits=self.classifier(hidden_states),
            logits_audio=self.audio_classifier(heard),
            logits_visual=self.visual_classifier(seen),
            audio_embeddings=audio,
            visual_embeddings=visual,
            audio_hidden_state=heard,
            visual_hidden_state=seen,
            last_hidden_state=hidden_states,
        )

    def add_context(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, key_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """(clips, tracks, frames, 2 * embedding_size) in their context."""
        raise NotImplementedError

    def _audio_encoder(self, config: ActiveSpeakerConfig) -> nn.Module:
        raise NotImplementedError

    def _compute_losses(
        self,
        output: ActiveSpeakerOutput,
        labels: torch.Tensor,
        face_mask: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        config = self.config
        check_whole_labels(labels, num_classes=2)
        valid_mask = labels != IGNORED
        if face_mask is not None:
            valid_mask = valid_mask & face_mask.bool()
        if attention_mask is not None:
            valid_mask = valid_mask & attention_mask.bool()[:, None]
        losses = {}
        weights = {"loss_av": 1.0, "loss_audio": config.auxiliary_weight, "loss_visual": config.auxiliary_weight}
        for name, logits in (
            ("loss_av", output.logits),
            ("loss_audio", output.logits_audio),
            ("loss_visual", output.logits_visual),
        ):
            losses[name] = compute_frame_loss(logits, labels, valid_mask)
        loss = sum(weight * losses[name] for name, weight in weights.items())
        if config.talknce_weight:
            first = (output.audio_embeddings[:, 0], output.visual_embeddings[:, 0], labels[:, 0])
            losses["loss_nce"] = self.talknce_loss(*first, valid_mask[:, 0])
            loss = loss + config.talknce_weight * losses["loss_nce"]
        return {"loss": loss, **losses}

    def _check_inputs(self, pixel_values, input_features, labels, face_mask, attention_mask) -> None:
        if pixel_values.ndim != 5 or 0 in pixel_values.shape or not self.accepts_size(pixel_values.shape[-2:]):
            size = self.config.frame_size
            raise ValueError(
                f"`pixel_values` must be (clips, tracks, frames, {size}, {size}) or (clips, frames, {size}, {size}) "
                f"with at least one of each, got {tuple(pixel_values.shape)}."
            )
        clips, tracks, frames = pixel_values.shape[:3]
        bins = self.num_bins
        rows = ROWS_PER_FRAME * frames
        sounds = input_features.shape[1] if input_features.ndim == 4 else 1
        if (
            input_features.ndim not in (3, 4)
            or input_features.shape[0] != clips
            or input_features.shape[-2:] != (rows, bins)
            or not (sounds == 1 or sounds == tracks)
        ):
            shapes = [(clips, rows, bins), (clips, 1, rows, bins)] + [(clips, tracks, rows, bins)] * (tracks > 1)
            raise ValueError(
                f"`input_features` must be {' or '.join(map(str, shapes))}, {ROWS_PER_FRAME} rows for each of the "
                f"{frames} frames, got {tuple(input_features.shape)}."
            )
        for name, value in (("labels", labels), ("face_mask", face_mask)):
            if value is not None and value.shape != (clips, tracks, frames):
                raise ValueError(f"`{name}` must be {(clips, tracks, frames)}, got {tuple(value.shape)}.")
        if attention_mask is not None and attention_mask.shape != (clips, frames):
            raise ValueError(f"`attention_mask` must be {(clips, frames)}, got {tuple(attention_mask.shape)}.")

    def accepts_size(self, shape: Sequence[int]) -> bool:
        """Whether (rows, columns) come to the size of the trunk's end that `frame_size` comes to."""
        return all(-(-side // 32) == -(-self.config.frame_size // 32) for side in shape)

    @property
    def num_bins(self) -> int:
        """Height of `input_features`."""
        raise NotImplementedError


class LoCoNetForActiveSpeakerDetection(ActiveSpeakerDetector):
    """Long and short-term context: each face's own past and future, and what the other faces of the clip do."""

    config: LoCoNetConfig
    config_class = LoCoNetConfig

    def __init__(self, config: LoCoNetConfig):
        super().__init__(config)
        layers = config.num_context_layers
        self.speaker_layers = nn.ModuleList(SpeakerContext(config) for _ in range(layers))
        self.time_layers = nn.ModuleList(AttentionLayer(config, 2 * config.embedding_size) for _ in range(layers))
        self.post_init()

    def _audio_encoder(self, config: LoCoNetConfig) -> nn.Module:
        return LoCoNetAudioEncoder(config)

    @property
    def num_bins(self) -> int:
        return self.config.num_mel_bins

    def add_context(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, key_mask: torch.Tensor | None
    ) -> torch.Tensor:
        for speakers, time in zip(self.speaker_layers, self.time_layers, strict=True):
            hidden_states = speakers(hidden_states, mask)
            tracks = hidden_states.flatten(0, 1)
            hidden_states = time(tracks, tracks, tracks, key_mask).unflatten(0, hidden_states.shape[:2])
        return hidden_states

    def _check_inputs(self, pixel_values, *others) -> None:
        super()._check_inputs(pixel_values, *others)
        if pixel_values.shape[1] != self.config.num_speakers:
            raise ValueError(
                f"`pixel_values` must have `num_speakers` ({self.config.num_speakers}) tracks in a clip, got "
                f"{pixel_values.shape[1]}. The processor fills up where there are fewer, and chooses where there are "
                "more."
            )


class TalkNetForActiveSpeakerDetection(ActiveSpeakerDetector):
    """Each track by itself: one layer along time after the cross attention."""

    config: TalkNetConfig
    config_class = TalkNetConfig

    def __init__(self, config: TalkNetConfig):
        super().__init__(config)
        self.time_layer = AttentionLayer(config, 2 * config.embedding_size)
        self.post_init()

    def _audio_encoder(self, config: TalkNetConfig) -> nn.Module:
        return TalkNetAudioEncoder(config)

    @property
    def num_bins(self) -> int:
        return self.config.num_cepstral_coefficients

    def add_context(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, key_mask: torch.Tensor | None
    ) -> torch.Tensor:
        tracks = hidden_states.flatten(0, 1)
        return self.time_layer(tracks, tracks, tracks, key_mask).unflatten(0, hidden_states.shape[:2])


def compute_frame_loss(logits: torch.Tensor, labels: torch.Tensor, valid_mask: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits (..., 2) over the frames that count; 0 if none does."""
    losses = nn.functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten().long(), reduction="none")
    return (losses * valid_mask.flatten()).sum() / valid_mask.sum().clamp(min=1)


__all__ = [
    "ActiveSpeakerDetector",
    "ActiveSpeakerOutput",
    "ActiveSpeakerPreTrainedModel",
    "LoCoNetForActiveSpeakerDetection",
    "TalkNetForActiveSpeakerDetection",
]
