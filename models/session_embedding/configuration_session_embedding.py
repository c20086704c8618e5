"""Configurations of speaker encoders, and of the session network on top of one."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from avzoo.checks import check_fields, check_number
from avzoo.models.layers.labels import LabelNamesMixin

from .compensation import make_compensation

# Architecture -> dialects of it; the first one is its usual one.
DIALECTS = {
    "ecapa_tdnn": ("speechbrain", "wespeaker", "disentangler"),
    "rawnet3": ("voxceleb_trainer",),
    "resnetse34l": ("voxceleb_trainer",),
    "resnetse34v2": ("voxceleb_trainer", "disentangler"),
    "resnet34": ("wespeaker",),
}


@strict
class SpeakerEncoderConfig(LabelNamesMixin, PreTrainedConfig):
    """Configuration of [`SpeakerEncoderForXVector`]. Defaults: speechbrain/spkrec-ecapa-voxceleb.

    Args:
        architecture: the trunk; `resnet34` is wespeaker's.
        dialect: whose arithmetic; the code bases differ in padding, pooling and features. See `ECAPA_DIALECTS`,
            `RESNET_DIALECTS` and `POOLING` beside this module.
        num_mel_bins: height of the log-mel; RawNet3 has none.
        use_log: the encoder was trained on log-mels (`log_input` of voxceleb_trainer); else on energies.
        hidden_size: width of ECAPA's and RawNet3's blocks; a multiple of `res2net_scale`.
        aggregation_size: width of the layer that joins the blocks.
        kernel_sizes, dilations: of ECAPA's first layer and of its blocks.
        res2net_scale: parts of a Res2Net layer.
        squeeze_size: width inside ECAPA's squeeze and excitation.
        stage_channels, stage_depths: of a residual network's stages.
        num_sinc_filters, sinc_kernel_size, sinc_stride: of RawNet3's filters; taps are odd.
        pooling: "attentive_statistics" (mean and deviation weighted by attention), "self_attention" (the weighted mean
            alone) or "statistics" (unweighted). ResNetSE34L's attention is a learned vector, the others' a network.
        attention_size: width inside the attention that weights frames.
        attention_per_channel: every channel has its own weights (RawNet3's "ECA"); else one for all ("ASP").
        use_global_context: the attention sees mean and deviation of the whole clip beside each frame.
        embedding_size: width of the speaker embedding.
        environment_size: width of the disentangler's environment code; 0: none.
        mask_padding: a clip in a padded batch gives what it gives alone. False: as speechbrain has it, whose
            convolutions see the padding.
        classification_head: "none", or the loss that tells the speakers of a training set apart: "aam_softmax" or
            "am_softmax"; a weight for each of `num_labels` speakers.
        margin, scale: of that loss.
    """

    model_type = "speaker_encoder"
    keys_to_ignore_at_inference = ["embeddings", "pooled", "environment_codes"]  # the Trainer gathers the rest

    architecture: Literal["ecapa_tdnn", "rawnet3", "resnetse34l", "resnetse34v2", "resnet34"] = "ecapa_tdnn"
    dialect: Literal["speechbrain", "wespeaker", "disentangler", "voxceleb_trainer"] = "speechbrain"
    num_mel_bins: int = 80
    use_log: bool = True
    hidden_size: int = 1024
    aggregation_size: int = 3072
    kernel_sizes: list[int] | tuple[int, ...] = (5, 3, 3, 3)
    dilations: list[int] | tuple[int, ...] = (1, 2, 3, 4)
    res2net_scale: int = 8
    squeeze_size: int = 128
    stage_channels: list[int] | tuple[int, ...] = (32, 64, 128, 256)
    stage_depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    num_sinc_filters: int = 256
    sinc_kernel_size: int = 251
    sinc_stride: int = 10
    pooling: Literal["attentive_statistics", "self_attention", "statistics"] = "attentive_statistics"
    attention_size: int = 128
    attention_per_channel: bool = True
    use_global_context: bool = True
    embedding_size: int = 192
    environment_size: int = 0
    mask_padding: bool = True
    classification_head: Literal["none", "aam_softmax", "am_softmax"] = "none"
    margin: float | int = 0.2
    scale: float | int = 30.0

    def __post_init__(self, **kwargs):
        for name in ("kernel_sizes", "dilations", "stage_channels", "stage_depths"):
            setattr(self, name, tuple(getattr(self, name)))  # JSON has no tuples
        super().__post_init__(**kwargs)

    def validate_dialect(self):
        if self.dialect not in DIALECTS[self.architecture]:
            raise ValueError(
                f"`dialect` of {self.architecture} must be one of {', '.join(DIALECTS[self.architecture])}, got "
                f"{self.dialect!r}."
            )

    def validate_sizes(self):
        positive = (
            "num_mel_bins",
            "hidden_size",
            "aggregation_size",
            "res2net_scale",
            "squeeze_size",
            "embedding_size",
        )
        check_fields(self, (*positive, "num_sinc_filters", "sinc_stride", "attention_size"), at_least=1)
        check_fields(self, ("environment_size",), at_least=0)
        check_fields(self, ("scale",), above=0)
        check_number("margin", self.margin, at_least=0)
        if self.res2net_scale < 2 or self.hidden_size % self.res2net_scale:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be a multiple of `res2net_scale` ({self.res2net_scale}), "
                "which is at least 2."
            )
        if self.num_sinc_filters % 2 or self.sinc_kernel_size < 3 or self.sinc_kernel_size % 2 == 0:
            raise ValueError(
                f"`num_sinc_filters` ({self.num_sinc_filters}) must be even and `sinc_kernel_size` "
                f"({self.sinc_kernel_size}) odd and at least 3."
            )

    def validate_layers(self):
        for first, second in (("kernel_sizes", "dilations"), ("stage_channels", "stage_depths")):
            lengths = len(getattr(self, first)), len(getattr(self, second))
            values = (*getattr(self, first), *getattr(self, second))
            if lengths[0] != lengths[1] or not all(isinstance(value, int) and value >= 1 for value in values):
                raise ValueError(
                    f"`{first}` {getattr(self, first)} and `{second}` {getattr(self, second)} must have as many whole "
                    "numbers of at least 1."
                )
        if len(self.kernel_sizes) < 2 or any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"`kernel_sizes` must be two or more odd numbers, got {self.kernel_sizes}.")
        if len(self.stage_channels) != 4:
            raise ValueError(f"`stage_channels` must be four numbers, got {self.stage_channels}.")

    @property
    def shortest_samples(self) -> int:
        """Samples that a recording needs: 0.1 s, and for unweighted statistics two frames of the last stage."""
        return 1680 if self.pooling == "statistics" else 1600

    @property
    def takes_waveforms(self) -> bool:
        """Whether the trunk works on samples; the others work on log-mels, which the model computes."""
        return self.architecture == "rawnet3"


@strict
class SessionEmbeddingConfig(PreTrainedConfig):
    """Configuration of [`SessionEmbeddingForXVector`]: a speaker encoder, and the session network that stands on it.

    Args:
        encoder_config: of a [`SpeakerEncoderForXVector`], or of a transformers model for x-vectors (WavLM, wav2vec2).
        session_source: what the session network sees: the speaker "embedding", the "pooled" statistics before the last
            layer, which carry more of the session, or the disentangler's "environment_code", which needs no network.
        session_hidden_size, session_num_layers, session_embedding_size, session_dropout: of the session network.
        encoder_frozen: the encoder is not trained with the session network; the method is meant so.
        session_loss: the kind of [`SessionLoss`] that `forward` computes.
        compensation: how the session similarity corrects the score, {"type": "linear", "weight"} or {"type": "q_stack",
            "mean", "std", "coefficients", "intercept"}, with the development list it was fitted on. None: unfitted.
        threshold: score from which two recordings are of one speaker. None: not calibrated.
    """

    model_type = "session_embedding"
    keys_to_ignore_at_inference = ["embeddings", "session_embeddings"]  # the Trainer gathers the rest
    sub_configs = {"encoder_config": AutoConfig}

    encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    session_source: Literal["embedding", "pooled", "environment_code"] = "embedding"
    session_hidden_size: int = 512
    session_num_layers: int = 3
    session_embedding_size: int = 256
    session_dropout: float | int = 0.1
    encoder_frozen: bool = True
    session_loss: Literal["logistic", "margin", "cosine", "cosine-balanced"] = "logistic"
    compensation: dict[str, Any] | None = None
    threshold: float | int | None = None

    def __post_init__(self, **kwargs):
        if self.encoder_config is None:
            self.encoder_config = SpeakerEncoderConfig()
        elif isinstance(self.encoder_config, dict):
            fields = dict(self.encoder_config)
            model_type = fields.pop("model_type", SpeakerEncoderConfig.model_type)
            if model_type == SpeakerEncoderConfig.model_type:
                self.encoder_config = SpeakerEncoderConfig(**fields)
            else:
                self.encoder_config = AutoConfig.for_model(model_type, **fields)
        super().__post_init__(**kwargs)

    def validate_session_network(self):
        check_fields(self, ("session_hidden_size", "session_num_layers", "session_embedding_size"), at_least=1)
        check_number("session_dropout", self.session_dropout, at_least=0, below=1)

    def validate_compensation(self):
        make_compensation(self.compensation)
        if self.threshold is not None:
            check_number("threshold", self.threshold)

    def validate_source(self):
        is_ours = isinstance(self.encoder_config, SpeakerEncoderConfig)
        if self.session_source == "environment_code" and not (is_ours and self.encoder_config.environment_size):
            raise ValueError(
                "`session_source` is 'environment_code', which this encoder has none of (`environment_size` is 0)."
            )
        if self.session_source == "pooled" and not is_ours:
            raise ValueError(
                f"`session_source` is 'pooled', which a {type(self.encoder_config).__name__} does not give; use "
                "'embedding'."
            )


__all__ = ["SessionEmbeddingConfig", "SpeakerEncoderConfig"]
