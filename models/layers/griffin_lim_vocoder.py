"""A vocoder without weights, in place of SpeechT5HifiGan, for small models without a trained vocoder."""

from typing import Any, Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from avzoo.audio import MelSettings, griffin_lim, mel_to_magnitude
from avzoo.checks import check_fields


@strict
class GriffinLimVocoderConfig(PreTrainedConfig):
    """Configuration of [`GriffinLimVocoder`].

    Args:
        model_in_dim: mel bands, from `low_frequency` to `high_frequency`.
        sampling_rate: Hz.
        fft_size, hop_length: FFT size and hop of the spectrogram, samples.
        num_iterations: iterations of the phase reconstruction.
        window_size: of the spectrogram, samples. None: as long as the FFT.
        low_frequency, high_frequency: Hz. None: half of `sampling_rate`.
        mel_type: "centered" or "hifigan", see [`avzoo.audio.MelSettings`].
    """

    model_type = "griffin_lim_vocoder"

    model_in_dim: int = 64
    sampling_rate: int = 16000
    fft_size: int = 1024
    hop_length: int = 160
    num_iterations: int = 32
    window_size: int | None = None
    low_frequency: float | int = 0.0
    high_frequency: float | int | None = None
    mel_type: Literal["centered", "hifigan"] = "centered"

    def validate_sizes(self):
        sizes = ("model_in_dim", "sampling_rate", "fft_size", "hop_length", "num_iterations")
        check_fields(self, sizes, at_least=1)
        MelSettings.from_dict(self.mel_settings)

    @classmethod
    def from_mel_settings(cls, mel: MelSettings, **fields: Any) -> "GriffinLimVocoderConfig":
        """The config of a vocoder for some spectrograms, which needs no training."""
        return cls(
            model_in_dim=mel.num_mel_bins,
            sampling_rate=mel.sampling_rate,
            fft_size=mel.fft_size,
            hop_length=mel.hop_size,
            window_size=mel.window_size,
            low_frequency=mel.low_frequency,
            high_frequency=mel.high_frequency,
            mel_type=mel.mel_type,
            **fields,
        )

    @property
    def mel_settings(self) -> dict[str, Any]:
        """Of the spectrograms that it takes, see [`avzoo.audio.MelSettings`]."""
        return {
            "mel_type": self.mel_type,
            "sampling_rate": self.sampling_rate,
            "num_mel_bins": self.model_in_dim,
            "fft_size": self.fft_size,
            "window_size": self.fft_size if self.window_size is None else self.window_size,
            "hop_size": self.hop_length,
            "low_frequency": float(self.low_frequency),
            "high_frequency": float(self.sampling_rate / 2 if self.high_frequency is None else self.high_frequency),
        }


class GriffinLimVocoder(PreTrainedModel):
    """Vocoder by Griffin and Lim's algorithm: natural-log mel spectrograms to waveforms."""

    config_class = GriffinLimVocoderConfig
    main_input_name = "spectrogram"

    def __init__(self, config: GriffinLimVocoderConfig):
        config.validate()
        super().__init__(config)
        # A gain in nepers. A network without any parameter can't be saved, and has neither device nor dtype.
        self.log_gain = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if module is self:
            init.zeros_(self.log_gain)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """Spectrograms (batch, frames, model_in_dim) to waveforms (batch, frames * hop_length)."""
        config, mel = self.config, MelSettings.from_dict(self.config.mel_settings)
        # Frames of HiFi-GAN's kind are centred half a hop late. One more before them moves the sound by the other half.
        late = mel.hop_size - mel.hop_size // 2 if mel.mel_type == "hifigan" else 0
        num_samples = spectrogram.shape[1] * mel.hop_size
        if late:
            spectrogram = torch.cat([spectrogram[:, :1], spectrogram], dim=1)
        magnitude = mel_to_magnitude(
            (spectrogram.float() + self.log_gain.float()).exp(),
            sampling_rate=mel.sampling_rate,
            fft_size=mel.fft_size,
            low_frequency=mel.low_frequency,
            high_frequency=mel.high_frequency,
        )
        waveform = griffin_lim(
            magnitude,
            fft_size=mel.fft_size,
            window_size=mel.window_size,
            hop_size=mel.hop_size,
            num_iterations=config.num_iterations,
        )
        return waveform[:, late : late + num_samples].to(self.log_gain.dtype)


__all__ = ["GriffinLimVocoder", "GriffinLimVocoderConfig"]
