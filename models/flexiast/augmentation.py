"""Augmentation in FlexiAST's training: waveform mixup and spectrogram masking.

Source: `dataloader.py` of JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8, which follows YuanGongND/ast.
"""

import torch


def mix_waveforms(first: torch.Tensor, second: torch.Tensor, proportion: float) -> torch.Tensor:
    """Mix two waveforms (samples,) as `proportion` * first + (1 - `proportion`) * second, zero-mean before and after.

    `second` is cut, or padded with zeros at its end, to the length of `first`. The labels mix with the same proportion,
    which the authors draw from Beta(10, 10).
    """
    first, second = first - first.mean(), second - second.mean()
    second = torch.nn.functional.pad(second, (0, max(0, len(first) - len(second))))[: len(first)]
    mixed = proportion * first + (1 - proportion) * second
    return mixed - mixed.mean()


def mask_spectrogram(
    spectrogram: torch.Tensor,
    generator: torch.Generator,
    max_mel_bins: int = 48,
    max_frames: int = 192,
    value: float = 0.0,
) -> torch.Tensor:
    """Copy a spectrogram with one band of mel bins and one span of frames set to `value`, drawn for each clip.

    Neither hides more than 3/8 of the input, which AST's authors allow for 1 s (48 of 128 frames).

    Args:
        spectrogram: (batch, frames, num_mel_bins).
        max_mel_bins, max_frames: widths are uniform in [0, max], or in [0, 3/8 of the input] if that is less;
            positions are uniform over those that fit.
        value: fill value of the masked part. The authors mask with 0 before normalising; on normalised input that is
            `extractor.normalize(0)`.
    """
    batch, frames, mel_bins = spectrogram.shape
    mask = torch.zeros(batch, frames, mel_bins, dtype=torch.bool)
    for clip in mask:
        for dim, limit in ((0, min(max_frames, frames * 3 // 8)), (1, min(max_mel_bins, mel_bins * 3 // 8))):
            width = int(torch.rand((), generator=generator) * (limit + 1))
            start = int(torch.rand((), generator=generator) * (clip.shape[dim] - width + 1))
            clip.narrow(dim, start, width).fill_(True)
    return spectrogram.masked_fill(mask.to(spectrogram.device), value)
