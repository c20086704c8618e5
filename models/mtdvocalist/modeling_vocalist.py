"""VocaLiST and MTDVocaLiST: audio-visual synchronization of lips and voice.

Papers: "VocaLiST: An Audio-Visual Synchronisation Model for Lips and Voices" (arXiv 2204.02090, Interspeech 2022) and
"Multimodal Transformer Distillation for Audio-Visual Synchronization" (arXiv 2210.15563, ICASSP 2024). Facts about the
released weights come from vskadandale/vocalist@c265b59 and xjchenGit/MTDVocaLiST@5795416.

Two convolutional encoders make one token of each video frame and of each mel column. In the encoder "av" the audio
tokens attend to the video tokens, in "va" the video tokens attend to the audio tokens, and in "fusion" the output of
"av" attends to the output of "va". The maximum of the fused tokens over time is classified.

Shapes: batch = windows; frames, 25 per second; columns of mel bands, 80 per second, so 3.2 for a frame.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from avzoo.models.layers.labels import check_unit_labels
from avzoo.models.layers.outputs import with_output_options

from .configuration_vocalist import MTDVocaLiSTConfig, VocaLiSTConfig
from .cross_modal import VocaLiSTCrossModalEncoder
from .encoders import VocaLiSTAudioEncoder, VocaLiSTVisualEncoder
from .loss_mtd import CrossModalTrace, MTDLoss
from .offsets import DEFAULT_BATCH_SIZE, DEFAULT_PAIR_BATCH_SIZE, score_offsets
from .windows import check_audio_windows, check_pairs, check_video_windows


@dataclass
class VocaLiSTModelOutput(ModelOutput):
    """Output of [`VocaLiSTModel`], stage by stage.

    Args:
        last_hidden_state: (batch, columns, hidden_size), the fusion encoder's tokens.
        pooler_output: (batch, hidden_size), in (-1, 1): tanh of a linear map of the tokens pooled over time.
        visual_features: (batch, frames, hidden_size), tokens of the visual encoder.
        audio_features: (batch, columns, hidden_size), tokens of the audio encoder.
        av_hidden_states: (batch, columns, hidden_size), audio tokens after attention to the video.
        va_hidden_states: (batch, frames, hidden_size), video tokens after attention to the sound.
        attention_scores: on request, per encoder "fusion", "av" and "va": (layers, batch, heads, queries, keys),
            scaled and masked (-inf), before the softmax.
        attention_values: on request, likewise: (layers, batch, heads, keys, head_dim).
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    visual_features: torch.FloatTensor | None = None
    audio_features: torch.FloatTensor | None = None
    av_hidden_states: torch.FloatTensor | None = None
    va_hidden_states: torch.FloatTensor | None = None
    attention_scores: dict[str, torch.FloatTensor] | None = None
    attention_values: dict[str, torch.FloatTensor] | None = None


@dataclass
class SynchronizationOutput(ModelOutput):
    """Logits of windows, and the parts of the loss.

    Args:
        loss: with `labels` only; lower is better.
        logits: (batch, 1); above 0 means in sync, its sigmoid is the probability.
        classification_loss: part of `loss` from the labels, before weighting; with a teacher only.
        distillation_loss: part of `loss` from the teacher, before weighting; with a teacher only.
        pooler_output, attention_scores, attention_values: as in [`VocaLiSTModelOutput`]; the last two on request.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    classification_loss: torch.FloatTensor | None = None
    distillation_loss: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    attention_scores: dict[str, torch.FloatTensor] | None = None
    attention_values: dict[str, torch.FloatTensor] | None = None


class VocaLiSTPreTrainedModel(PreTrainedModel):
    config: VocaLiSTConfig
    config_class = VocaLiSTConfig
    base_model_prefix = "vocalist"
    main_input_name = "pixel_values"
    input_modalities = ("video", "audio")
    supports_gradient_checkpointing = True
    _no_split_modules = ["VocaLiSTConvBlock", "VocaLiSTLayer"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def __init__(self, config: VocaLiSTConfig, *args, **kwargs):
        config.validate()  # overrides given to from_pretrained have not been checked yet
        super().__init__(config, *args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return getattr(self, self.base_model_prefix, self).visual_encoder.blocks[0].convolution

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """torch's default for convolutions, Xavier uniform for linear layers (as the authors'), neutral norms."""
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d | nn.BatchNorm3d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if not isinstance(module, nn.LayerNorm):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, MTDLoss) and module.weights is not None:
            init.ones_(module.weights)


class VocaLiSTModel(VocaLiSTPreTrainedModel):
    """VocaLiST without its classifier: windows to one vector each."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__(config)
        self.visual_encoder = VocaLiSTVisualEncoder(config)
        self.audio_encoder = VocaLiSTAudioEncoder(config)
        self.av_encoder = VocaLiSTCrossModalEncoder(config)
        self.va_encoder = VocaLiSTCrossModalEncoder(config)
        self.fusion_encoder = VocaLiSTCrossModalEncoder(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor,
        output_trace: bool = False,
        pairs: torch.Tensor | None = None,
    ) -> VocaLiSTModelOutput:
        """Encode windows of video and of sound jointly.

        Args:
            pixel_values: (batch, frames, 3, rows, columns), mouth images in the weights' colour order and range, as the
                processor makes them; floating point or uint8. Gradients flow back to floating-point pixels.
            input_features: (batch, 1, num_mel_bins, columns), log-mel in [-4, 4]; 16 columns for 5 frames.
            output_trace: also return each layer's attention scores and values, which distillation compares.
            pairs: (pairs, 2), indices of windows of `pixel_values` and `input_features` to compare; their numbers may
                then differ, and the outputs have one row per pair. None: window i with window i.

        Raises:
            ValueError: a shape that does not fit. All windows have the same length; there is no padding mask, because
                temporal convolutions and pooling would read the padding.
        """
        check_video_windows(pixel_values, self.config)
        check_audio_windows(input_features, self.config)
        check_pairs(pixel_values, input_features, pairs)
        visual_features = self.embed_video(pixel_values)
        audio_features = self.embed_audio(input_features)
        if pairs is not None:
            visual_features, audio_features = visual_features[pairs[:, 0]], audio_features[pairs[:, 1]]
        return self.compare(visual_features, audio_features, output_trace)

    def embed_video(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, frames, 3, rows, columns) to (batch, frames, hidden_size)."""
        return self.visual_encoder(pixel_values.to(self.get_input_embeddings().weight.dtype))

    def embed_audio(self, input_features: torch.Tensor) -> torch.Tensor:
        """(batch, 1, num_mel_bins, columns) to (batch, columns, hidden_size)."""
        return self.audio_encoder(input_features.to(self.get_input_embeddings().weight.dtype))

    def compare(
        self, visual_features: torch.Tensor, audio_features: torch.Tensor, output_trace: bool = False
    ) -> VocaLiSTModelOutput:
        """Compute the outputs of [`forward`] from encoded windows, video window i with audio window i.

        Args:
            visual_features: (batch, frames, hidden_size), as [`embed_video`] returns them.
            audio_features: (batch, columns, hidden_size), as [`embed_audio`] returns them.
        """
        av, *av_trace = self.av_encoder(audio_features, visual_features, output_trace)  # (batch, columns, hidden_size)
        va, *va_trace = self.va_encoder(visual_features, audio_features, output_trace)  # (batch, frames, hidden_size)
        fusion, *fusion_trace = self.fusion_encoder(av, va, output_trace)  # (batch, columns, hidden_size)
        pooled = fusion.amax(dim=1) if self.config.pooling == "max" else fusion.mean(dim=1)
        traces = {"fusion": fusion_trace, "av": av_trace, "va": va_trace}
        return VocaLiSTModelOutput(
            last_hidden_state=fusion,
            pooler_output=torch.tanh(self.pooler(pooled)),
            visual_features=visual_features,
            audio_features=audio_features,
            av_hidden_states=av,
            va_hidden_states=va,
            attention_scores={name: trace[0] for name, trace in traces.items()} if output_trace else None,
            attention_values={name: trace[1] for name, trace in traces.items()} if output_trace else None,
        )


class VocaLiSTForSequenceClassification(VocaLiSTPreTrainedModel):
    """VocaLiST: one logit per window, above 0 if mouth and voice are in sync."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__(config)
        self.vocalist = VocaLiSTModel(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_trace: bool = False,
        pairs: torch.Tensor | None = None,
    ) -> SynchronizationOutput:
        """Classify windows or pairs of them. The other arguments are those of [`VocaLiSTModel.forward`].

        Args:
            labels: (batch,) or (batch, 1), 1 in sync, 0 not, or in between; adds `loss`, the mean binary cross-entropy.
        """
        outputs = self.vocalist(pixel_values, input_features, output_trace, pairs, return_dict=True)
        logits = self.classifier(outputs.pooler_output)  # (batch, 1)
        return SynchronizationOutput(
            loss=None if labels is None else synchronization_loss(logits, labels),
            logits=logits,
            pooler_output=outputs.pooler_output,
            attention_scores=outputs.attention_scores,
            attention_values=outputs.attention_values,
        )

    def score(self, visual_features: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        """Logits (batch,) of encoded windows; arguments as [`VocaLiSTModel.compare`]."""
        return self.classifier(self.vocalist.compare(visual_features, audio_features).pooler_output).squeeze(-1)

    def score_offsets(
        self,
        video_windows: torch.Tensor,
        audio_windows: torch.Tensor,
        max_shift: int = 15,
        *,
        stride: int = 1,
        coarse_step: int = 1,
        protocol: Literal["exact", "official"] = "exact",
        batch_size: int = DEFAULT_BATCH_SIZE,
        pair_batch_size: int = DEFAULT_PAIR_BATCH_SIZE,
        progress: bool = False,
    ) -> torch.Tensor:
        """Score every window of a clip's video against the windows of its sound up to `max_shift` frames away.

        Takes the processor's output for a clip; [`avzoo.metrics.synchronization`] estimates offsets and confidence from
        the scores. Memory depends on the batch sizes, not on the length of the clip; [`OffsetScorer`] scores a clip
        that is still growing.

        Args:
            video_windows: (windows, frames, 3, rows, columns); may be a view of overlapping windows.
            audio_windows: (windows, 1, num_mel_bins, columns); window i is the sound of video window i.
            max_shift: frames to both sides, 25 per second.
            stride: score every stride-th window of the video only.
            coarse_step: score shifts that are multiples of it for the whole clip, then only the shifts around the best
                one. Saves work in the cross-modal encoders, can miss a peak narrower than the step, and keeps features
                of the whole clip in memory.
            protocol: "exact", or "official" for the numbers of the papers: -1000 instead of -inf, and in clips of fewer
                than 2 * max_shift windows the scores of silence after the end, which the authors keep. Their evaluation
                also omits the last window of a clip; pass windows[:-1] for it.
            batch_size: windows per forward pass of the visual encoder.
            pair_batch_size: pairs of windows per forward pass of the cross-modal encoders.
            progress: show a bar on stderr.

        Returns:
            (ceil(windows / stride), 2 * max_shift + 1) float32 on the CPU: logits, -inf where there is no such window
            of sound, or none was scored. Column j is window i of the video against window i + j - max_shift of the
            sound.

        Raises:
            ValueError: no windows, different numbers of them, a number out of range, a model in training mode.
        """
        return score_offsets(
            self,
            video_windows,
            audio_windows,
            max_shift,
            stride=stride,
            coarse_step=coarse_step,
            protocol=protocol,
            batch_size=batch_size,
            pair_batch_size=pair_batch_size,
            progress=progress,
        )


class MTDVocaLiSTForSequenceClassification(VocaLiSTForSequenceClassification):
    """MTDVocaLiST: a narrow VocaLiST, trained with a teacher's attention if `config.distillation` is set.

    [`teacher_trace`] computes the teacher's targets; each network gets its own pixels:

        student = MTDVocaLiSTForSequenceClassification(MTDVocaLiSTConfig(distillation={}))
        teacher = VocaLiSTForSequenceClassification.from_pretrained(folder).eval()
        trace = teacher_trace(teacher, teacher_pixel_values, input_features)
        loss = student(pixel_values, input_features, labels=labels, teacher=trace).loss
    """

    config: MTDVocaLiSTConfig
    config_class = MTDVocaLiSTConfig

    def __init__(self, config: MTDVocaLiSTConfig):
        super().__init__(config)
        self.mtd_loss = None
        if config.distillation is not None:
            self.mtd_loss = MTDLoss(num_layers=config.num_hidden_layers, **config.distillation)
            self.post_init()

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor,
        labels: torch.Tensor | None = None,
        teacher: CrossModalTrace | None = None,
        output_trace: bool = False,
        pairs: torch.Tensor | None = None,
    ) -> SynchronizationOutput:
        """Classify windows, as [`VocaLiSTForSequenceClassification.forward`].

        Args:
            teacher: trace of the teacher on the same windows and pairs; needs `labels`, and adds distillation to
                `loss` as `config.distillation` says.

        Raises:
            ValueError: a teacher without labels, or without `config.distillation`.
        """
        if teacher is None:
            return super().forward(pixel_values, input_features, labels, output_trace, pairs, return_dict=True)
        if self.mtd_loss is None or labels is None:
            raise ValueError(
                "`teacher` needs `labels` and a model whose `config.distillation` is set ({} for the released loss)."
            )
        outputs = super().forward(pixel_values, input_features, output_trace=True, pairs=pairs, return_dict=True)
        check_labels(outputs.logits, labels)
        losses = self.mtd_loss(outputs.logits, labels, CrossModalTrace.from_outputs(outputs), teacher)
        return SynchronizationOutput(
            loss=losses.loss,
            logits=outputs.logits,
            classification_loss=losses.classification_loss,
            distillation_loss=losses.distillation_loss,
            pooler_output=outputs.pooler_output,
            attention_scores=outputs.attention_scores if output_trace else None,
            attention_values=outputs.attention_values if output_trace else None,
        )


@torch.no_grad()
def teacher_trace(
    teacher: VocaLiSTForSequenceClassification,
    pixel_values: torch.Tensor,
    input_features: torch.Tensor,
    pairs: torch.Tensor | None = None,
) -> CrossModalTrace:
    """Compute a teacher's attention scores, value relations and logits, without gradients.

    Raises:
        ValueError: the teacher is in training mode, where its dropout would disturb the targets.
    """
    if teacher.training:
        raise ValueError("`teacher` is in training mode, where dropout disturbs its targets; call teacher.eval().")
    return CrossModalTrace.from_outputs(
        teacher(pixel_values, input_features, output_trace=True, pairs=pairs, return_dict=True)
    )


def synchronization_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy of logits (batch, 1) and labels (batch,) or (batch, 1) in [0, 1]."""
    check_labels(logits, labels)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.reshape(logits.shape).to(logits.dtype))


def check_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise a ValueError unless there is one label in [0, 1] for each of (batch, 1) logits."""
    if labels.shape not in (logits.shape, logits.shape[:1]):
        raise ValueError(f"`labels` must be ({logits.shape[0]},), one per window, got {tuple(labels.shape)}.")
    check_unit_labels(labels)


__all__ = [
    "MTDVocaLiSTForSequenceClassification",
    "SynchronizationOutput",
    "VocaLiSTForSequenceClassification",
    "VocaLiSTModel",
    "VocaLiSTModelOutput",
    "VocaLiSTPreTrainedModel",
    "teacher_trace",
]
