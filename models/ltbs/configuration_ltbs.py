"""Configuration of LTBS."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number


@strict
class LTBSConfig(PreTrainedConfig):
    """Configuration of [`LTBSForLipToSpeech`]. Defaults: the sizes of the only public implementation.

    No code and no weights of the authors are public. Source of sizes: YangKangJNU/LTBS@6c977e1.

    Args:
        trunk_channels: width of the four stages that look at each frame of a mouth.
        encoder_layers, decoder_layers: conformer layers at the rate of frames, and at that of the spectrogram.
        hidden_size, num_attention_heads, intermediate_size, conv_kernel_size, hidden_dropout, layer_norm_eps: of both.
        concat_after: attention is put beside its input and projected.
        num_units: discrete units of speech (clusters of HuBERT's features).
        unit_layers, prosody_layers: convolutions of the predictors of units, and of pitch and energy.
        predictor_hidden, predictor_kernel, predictor_dropout: of each of them.
        variance_embed_dim: width of the embeddings of a unit, of pitch and of energy, each.
        upsample_factor: frames of the spectrogram for one of the video.
        num_mel_bins: rows of the spectrogram.
        speaker_conditioning: "table", a vector for each of `num_speakers`; "embedding", a vector is given; "none".
        num_speakers, speaker_embed_dim: of it.
        speaker_encoder_dim: width of the vectors that are given, which are projected to `speaker_embed_dim`. None: they
            have that width and are taken as they are.
        postnet_hidden, postnet_kernel, postnet_dilation_rate, postnet_steps, postnet_layers, postnet_dropout,
            postnet_group, postnet_squeeze, postnet_sigmoid_scale, postnet_share_group: see [`FlowPostNet`].
        postnet_prior: mean of the latents, "coarse" (the coarse spectrogram) or "standard" (0).
        mask_convolutions: convolutions see nothing behind a clip's end, so that a clip gets in a batch what it gets
            alone. False: plain batching, as the public implementation's.
        mean_over_padding: losses are means over padding, too, as in the public implementation.
        variance_loss_weight, postnet_loss_weight: beside the loss of the coarse spectrogram.
        label_smoothing: of the units.
        pixel_mean, pixel_std: of grey levels in [0, 1].
        sampling_rate, hop_length, fps: of the sound in Hz, of the spectrogram in samples, of the video.
    """

    model_type = "ltbs"
    keys_to_ignore_at_inference = ["hidden_states", "latent", "log_determinant", "losses", "condition"]

    trunk_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    encoder_layers: int = 8
    decoder_layers: int = 2
    hidden_size: int = 512
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    conv_kernel_size: int = 31
    hidden_dropout: float | int = 0.1
    layer_norm_eps: float | int = 1e-12
    concat_after: bool = True
    num_units: int = 200
    unit_layers: int = 4
    prosody_layers: int = 2
    predictor_hidden: int = 256
    predictor_kernel: int = 3
    predictor_dropout: float | int = 0.5
    variance_embed_dim: int = 128
    upsample_factor: int = 4
    num_mel_bins: int = 80
    speaker_conditioning: Literal["table", "embedding", "none"] = "table"
    num_speakers: int = 11
    speaker_embed_dim: int = 256
    speaker_encoder_dim: int | None = None
    postnet_hidden: int = 192
    postnet_kernel: int = 3
    postnet_dilation_rate: int = 1
    postnet_steps: int = 12
    postnet_layers: int = 3
    postnet_dropout: float | int = 0.1
    postnet_group: int = 4
    postnet_squeeze: int = 2
    postnet_sigmoid_scale: bool = False
    postnet_share_group: int = 1
    postnet_prior: Literal["coarse", "standard"] = "coarse"
    mask_convolutions: bool = True
    mean_over_padding: bool = False
    variance_loss_weight: float | int = 0.1
    postnet_loss_weight: float | int = 0.1
    label_smoothing: float | int = 0.1
    pixel_mean: float | int = 0.421
    pixel_std: float | int = 0.165
    sampling_rate: int = 16000
    hop_length: int = 160
    fps: int = 25

    def __post_init__(self, **kwargs):
        self.trunk_channels = tuple(self.trunk_channels)  # JSON has no tuples
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        names = ("encoder_layers", "decoder_layers", "hidden_size", "num_attention_heads", "intermediate_size")
        names += ("conv_kernel_size", "num_units", "unit_layers", "prosody_layers", "predictor_hidden")
        names += ("predictor_kernel", "variance_embed_dim", "upsample_factor", "num_mel_bins", "num_speakers")
        names += ("speaker_embed_dim", "postnet_hidden", "postnet_kernel", "postnet_dilation_rate", "postnet_steps")
        names += ("postnet_layers", "postnet_group", "postnet_squeeze", "postnet_share_group", "sampling_rate")
        check_fields(self, (*names, "hop_length", "fps"), at_least=1)
        if len(self.trunk_channels) != 4 or min(self.trunk_channels) < 1:
            raise ValueError(f"`trunk_channels` must be 4 positive numbers, got {list(self.trunk_channels)}.")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be even and a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        for name in ("conv_kernel_size", "predictor_kernel", "postnet_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"`{name}` must be odd, got {getattr(self, name)}.")

    def validate_speaker(self):
        if self.speaker_encoder_dim is not None:
            check_fields(self, ("speaker_encoder_dim",), at_least=1)
            if self.speaker_conditioning != "embedding":
                raise ValueError(
                    f'`speaker_encoder_dim` ({self.speaker_encoder_dim}) needs the `speaker_conditioning` "embedding", '
                    f"got {self.speaker_conditioning!r}."
                )

    def validate_postnet(self):
        rows = self.num_mel_bins * self.postnet_squeeze
        if self.postnet_group % 2 or rows % self.postnet_group:
            raise ValueError(
                f"`postnet_group` ({self.postnet_group}) must be even and divide `num_mel_bins` times "
                f"`postnet_squeeze` ({rows})."
            )
        if self.postnet_squeeze > 0 and self.upsample_factor % self.postnet_squeeze:
            raise ValueError(
                f"`upsample_factor` ({self.upsample_factor}) must be a multiple of `postnet_squeeze` "
                f"({self.postnet_squeeze}): the flow would drop mel frames that lack others of their position."
            )
        if self.postnet_steps % self.postnet_share_group:
            raise ValueError(
                f"`postnet_share_group` ({self.postnet_share_group}) must divide `postnet_steps` "
                f"({self.postnet_steps})."
            )

    def validate_ranges(self):
        check_fields(self, ("layer_norm_eps", "pixel_std"), above=0)
        check_fields(self, ("variance_loss_weight", "postnet_loss_weight"), at_least=0)
        shares = ("hidden_dropout", "predictor_dropout", "postnet_dropout", "label_smoothing")
        check_fields(self, shares, at_least=0, below=1)

    def validate_rates(self):
        check_number("hop_length", self.hop_length, at_least=1)
        if self.hop_length * self.upsample_factor * self.fps != self.sampling_rate:
            raise ValueError(
                f"`hop_length` ({self.hop_length}) times `upsample_factor` ({self.upsample_factor}) times `fps` "
                f"({self.fps}) must be `sampling_rate` ({self.sampling_rate}): a video frame is so many samples."
            )

    @property
    def given_speaker_dim(self) -> int:
        """Width of `speaker_embeddings`."""
        return self.speaker_encoder_dim or self.speaker_embed_dim

    @property
    def samples_per_frame(self) -> int:
        """Samples of the sound of a video frame."""
        return self.hop_length * self.upsample_factor


__all__ = ["LTBSConfig"]
