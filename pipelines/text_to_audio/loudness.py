"""Level of generated waveforms."""

import torch

MIN_PEAK = 1e-3  # -60 dB; a quieter waveform counts as silence and is not amplified


def normalize_waveforms(waveforms: torch.Tensor) -> torch.Tensor:
    """Remove the mean of each of (batch, samples) and scale its peak to 1; below -60 dB the level stays.

    Source: glory20h/VoiceLDM@16ebc7a (voiceldm/pipeline.py), which takes mean and peak over the whole batch.
    """
    centred = waveforms - waveforms.mean(dim=-1, keepdim=True)
    peak = centred.abs().amax(dim=-1, keepdim=True)
    return centred / torch.where(peak < MIN_PEAK, 1.0, peak + 1e-8)


__all__ = ["normalize_waveforms"]
