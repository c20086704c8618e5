"""A vocoder without weights, in place of SpeechT5HifiGan, for small models without a trained vocoder."""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from avzoo.audio import griffin_lim, mel_to_magnitude
from avzoo.checks import check_fields


@strict
class GriffinLimVocoderConfig(PreTrainedConfig):
    """Configuration of [`GriffinLimVocoder`].

    Args:
        model_in_dim: mel bands, from 0 Hz to half of `sampling_rate` (Hz).
        fft_size, hop_length: FFT size and hop of the spectrogram, samples; the window is as long as the FFT.
        num_iterations: iterations of the phase reconstruction.
    """

    model_type = "griffin_lim_vocoder"

    model_in_dim: int = 64
    sampling_rate: int = 16000
    fft_size: int = 1024
    hop_length: int = 160
    num_iterations: int = 32

    def validate_sizes(self):
        sizes = ("model_in_dim", "sampling_rate", "fft_size", "hop_length", "num_iterations")
        check_fields(self, sizes, at_least=1)


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
        config = self.config
        magnitude = mel_to_magnitude(
            (spectrogram.float() + self.log_gain.float()).exp(),
            sampling_rate=config.sampling_rate,
            fft_size=config.fft_size,
            high_frequency=config.sampling_rate / 2,
        )
        waveform = griffin_lim(
            magnitude,
            fft_size=config.fft_size,
            hop_size=config.hop_length,
            num_iterations=config.num_iterations,
        )
        return waveform.to(self.log_gain.dtype)


__all__ = ["GriffinLimVocoder", "GriffinLimVocoderConfig"]
