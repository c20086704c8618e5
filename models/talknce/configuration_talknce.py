"""Configurations of the two active speaker detectors, LoCoNet and TalkNet."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number
from avzoo.models.layers.labels import LabelNamesMixin


@strict
class ActiveSpeakerConfig(LabelNamesMixin, PreTrainedConfig):
    """What LoCoNet and TalkNet have in common; see their own classes.

    Args:
        embedding_size: width of a frame's audio and visual embeddings; a multiple of `num_attention_heads`.
        trunk_channels: width of the four stages that look at each frame of a face.
        num_temporal_layers: residual convolutions over time after them.
        feed_forward_ratio: width inside the feed-forward part of an attention layer, in widths of the layer.
        num_attention_heads: of every attention layer.
        cross_attention_query: what asks in the cross attention, "other" (the other modality asks, and its own is what
            is looked at, as in the released weights) or "own".
        frame_size: side of the grey face crops, pixels. Others of the same number of steps of 32 work too.
        pixel_mean, pixel_std: of grey levels in [0, 1].
        batch_norm_eps: of the norms in the trunk.
        join_tracks: let the first convolution run over the tracks of a clip laid end to end, so that the first and last
            two frames of a track see its neighbours. The authors' code does, and LoCoNet's released weights were
            trained so. Never across clips.
        dropout: in the attention layers.
        auxiliary_weight: of the losses of the audio and the visual head beside that of both.
        talknce_weight: of the TalkNCE loss; 0: without.
        talknce_temperature, nce_frames, nce_direction: see [`TalkNCELoss`].
    """

    # transformers' Trainer gathers what it evaluates: the scores.
    keys_to_ignore_at_inference = [
        *("logits_audio", "logits_visual", "audio_embeddings", "visual_embeddings", "audio_hidden_state"),
        *("visual_hidden_state", "last_hidden_state", "loss_av", "loss_audio", "loss_visual", "loss_nce"),
    ]

    embedding_size: int = 128
    trunk_channels: list[int] | tuple[int, int, int, int] = (64, 128, 256, 512)
    num_temporal_layers: int = 5
    feed_forward_ratio: int = 4
    num_attention_heads: int = 8
    cross_attention_query: Literal["other", "own"] = "other"
    frame_size: int = 112
    pixel_mean: float | int = 0.4161
    pixel_std: float | int = 0.1688
    batch_norm_eps: float | int = 1e-3
    join_tracks: bool = True
    dropout: float | int = 0.1
    auxiliary_weight: float | int = 0.4
    talknce_weight: float | int = 0.3
    talknce_temperature: float | int = 0.07
    nce_frames: Literal["speaking", "all"] = "speaking"
    nce_direction: Literal["visual_to_audio", "audio_to_visual", "both"] = "visual_to_audio"

    def __post_init__(self, **kwargs):
        self.trunk_channels = tuple(self.trunk_channels)  # JSON has no tuples
        super().__post_init__(**kwargs)

    def validate_two_classes(self):
        if self.num_labels != 2:
            raise ValueError(f"`num_labels` must be 2, a face that is silent or speaks; got {self.num_labels}.")

    def validate_widths(self):
        check_stages(self, "trunk_channels")
        check_fields(self, ("embedding_size", "num_temporal_layers", "feed_forward_ratio", "frame_size"), at_least=1)
        check_number("num_attention_heads", self.num_attention_heads, at_least=1)
        if self.embedding_size % self.num_attention_heads:
            raise ValueError(
                f"`embedding_size` ({self.embedding_size}) must be a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )

    def validate_ranges(self):
        check_fields(self, ("pixel_std", "batch_norm_eps", "talknce_temperature"), above=0)
        check_fields(self, ("auxiliary_weight", "talknce_weight"), at_least=0)
        check_number("dropout", self.dropout, at_least=0, below=1)


@strict
class LoCoNetConfig(ActiveSpeakerConfig):
    """Configuration of [`LoCoNetForActiveSpeakerDetection`]. Defaults: the released TalkNCE and LoCoNet weights.

    Source: kaistmm/TalkNCE@8666642 (model/loconet_encoder.py), where all sizes are fixed in the code. Fields that
    TalkNet has too: [`ActiveSpeakerConfig`].

    Args:
        num_speakers: faces of a clip, the one that is scored first; the layer between speakers has a weight for each.
        num_context_layers: pairs of a layer between speakers and a layer along time.
        context_kernel_size: frames the layer between speakers looks at, odd.
        audio_channels: width of the four blocks of the audio encoder, the VGGish trunk.
        num_mel_bins: height of the log-mel; a multiple of 8.
        log_mel_mean, log_mel_std: of the log-mel, which the encoder takes as (log-mel - mean) / std. The released
            weights take it as it is. Random weights learn far sooner with the numbers of their data (about 9 and 2 for
            speech near full scale), because these convolutions have no norms between them.
    """

    model_type = "loconet"

    num_speakers: int = 3
    num_context_layers: int = 3
    context_kernel_size: int = 7
    audio_channels: list[int] | tuple[int, int, int, int] = (64, 128, 256, 512)
    num_mel_bins: int = 64
    log_mel_mean: float | int = 0.0
    log_mel_std: float | int = 1.0

    def __post_init__(self, **kwargs):
        self.audio_channels = tuple(self.audio_channels)
        super().__post_init__(**kwargs)

    def validate_context(self):
        check_fields(self, ("num_speakers", "num_context_layers", "context_kernel_size"), at_least=1)
        if self.context_kernel_size % 2 == 0:
            raise ValueError(f"`context_kernel_size` must be odd, got {self.context_kernel_size}.")

    def validate_audio(self):
        check_stages(self, "audio_channels")
        if self.num_mel_bins < 8 or self.num_mel_bins % 8:
            raise ValueError(f"`num_mel_bins` must be a multiple of 8, got {self.num_mel_bins}.")
        check_number("log_mel_std", self.log_mel_std, above=0)


@strict
class TalkNetConfig(ActiveSpeakerConfig):
    """Configuration of [`TalkNetForActiveSpeakerDetection`]. Defaults: the released TalkNet weights.

    Source: TaoRuijie/TalkNet-ASD@6d68214 (model/talkNetModel.py, model/audioEncoder.py). Fields that LoCoNet has too:
    [`ActiveSpeakerConfig`]; TalkNet was trained without the TalkNCE loss, and tracks are scored one by one.

    Args:
        audio_channels: width of the four stages of the audio encoder, the last as wide as `embedding_size`; multiples
            of `squeeze_ratio`.
        audio_depths: blocks in each of them.
        squeeze_ratio: by how much the weighting of channels is narrower than its block.
        num_cepstral_coefficients: height of the MFCC.
    """

    model_type = "talknet"

    join_tracks: bool = False
    talknce_weight: float | int = 0.0
    audio_channels: list[int] | tuple[int, int, int, int] = (16, 32, 64, 128)
    audio_depths: list[int] | tuple[int, int, int, int] = (3, 4, 6, 3)
    squeeze_ratio: int = 8
    num_cepstral_coefficients: int = 13

    def __post_init__(self, **kwargs):
        self.audio_channels, self.audio_depths = tuple(self.audio_channels), tuple(self.audio_depths)
        super().__post_init__(**kwargs)

    def validate_audio(self):
        check_stages(self, "audio_channels")
        check_stages(self, "audio_depths")
        if self.audio_channels[-1] != self.embedding_size:
            raise ValueError(
                f"`audio_channels` {self.audio_channels} must end with `embedding_size` ({self.embedding_size})."
            )
        check_fields(self, ("squeeze_ratio", "num_cepstral_coefficients"), at_least=1)
        if any(channels % self.squeeze_ratio for channels in self.audio_channels):
            raise ValueError(
                f"`audio_channels` {self.audio_channels} must be multiples of `squeeze_ratio` ({self.squeeze_ratio})."
            )


def check_stages(config: ActiveSpeakerConfig, name: str) -> None:
    """Raise a ValueError unless a field holds four numbers of at least 1."""
    values = getattr(config, name)
    if len(values) != 4 or min(values) < 1:
        raise ValueError(f"`{name}` must be four numbers of at least 1, got {values}.")


__all__ = ["ActiveSpeakerConfig", "LoCoNetConfig", "TalkNetConfig"]
