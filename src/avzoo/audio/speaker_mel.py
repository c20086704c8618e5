"""Log-mel spectra that speaker encoders were trained on: voxceleb_trainer's and speechbrain's. wespeaker's is Kaldi's.

    function              window                  FFT   ends           scale of the power
    voxceleb_log_mel      400, periodic Hamming   512   reflected      ln(mel + 1e-6)
    speechbrain_mel_db    400, periodic Hamming   400   zeros          10 log10(max(mel, 1e-10))

Both hop 160 samples of 16 kHz, centre their windows on multiples of it and give 1 + samples // 160 frames. A batch of
clips of several lengths takes `lengths`: each clip then ends where it ends alone, and rows behind it are zero.
"""

import numpy as np
import torch

from avzoo.audio.framing import cache_table, map_frames, power_spectrum
from avzoo.audio.mel_banks import htk_bank, speechbrain_bank

SAMPLING_RATE, WINDOW_SIZE, HOP_SIZE = 16000, 400, 160


def voxceleb_log_mel(
    waveforms: torch.Tensor,
    lengths: torch.Tensor | None = None,
    *,
    num_mel_bins: int = 80,
    preemphasis: float = 0.97,
    use_log: bool = True,
) -> torch.Tensor:
    """Natural-log mel energies as clovaai/voxceleb_trainer@f51bab8 has them, before they are normalised.

    Args:
        waveforms: (batch, samples), 16 kHz, in [-1, 1]; more than 256 samples each.
        lengths: (batch,) samples of each clip. None: all.
        num_mel_bins: between 0 and 8000 Hz, HTK's scale.
        preemphasis: x[n] - preemphasis * x[n - 1], the first sample's predecessor being the second. 0: none.
        use_log: False leaves the energies, 1e-6 added, as they are.

    Returns:
        (batch, 1 + samples // 160, num_mel_bins), the dtype of `waveforms`.
    """
    if preemphasis:
        before = torch.cat([waveforms[:, 1:2], waveforms[:, :-1]], dim=1)
        waveforms = waveforms - preemphasis * before
    half = 256  # of the FFT
    clips = reflect_ends(waveforms, lengths, half)[:, half - WINDOW_SIZE // 2 :]
    clips = clips[:, : clips.shape[1] - (half - WINDOW_SIZE // 2)]
    bank = htk_bank(num_mel_bins, 2 * half, SAMPLING_RATE, 0.0, SAMPLING_RATE / 2)

    def scale(mel: torch.Tensor) -> torch.Tensor:
        mel = mel + 1e-6
        return mel.log() if use_log else mel

    return _mel(clips, lengths, bank, 2 * half, scale)


def speechbrain_mel_db(
    waveforms: torch.Tensor,
    lengths: torch.Tensor | None = None,
    *,
    num_mel_bins: int = 80,
    dynamic_range: float = 80.0,
) -> torch.Tensor:
    """Mel energies in decibels as speechbrain/speechbrain@9c826ef (`lobes/features.py`) has them.

    Args and returns: as [`voxceleb_log_mel`].
        dynamic_range: decibels below the loudest entry of a clip to which quieter ones are raised.
    """
    if lengths is not None:
        waveforms = waveforms * (torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None])
    clips = torch.nn.functional.pad(waveforms, (WINDOW_SIZE // 2, WINDOW_SIZE // 2))
    bank = speechbrain_bank(num_mel_bins, WINDOW_SIZE, SAMPLING_RATE, 0.0, SAMPLING_RATE / 2)
    # Rows behind the end of a clip can't be the loudest: they hear a part of the last frame's samples, or nothing.
    decibels = _mel(clips, None, bank, WINDOW_SIZE, lambda mel: 10 * mel.clamp_min(1e-10).log10())
    inside = _find_frames(decibels, lengths)
    loudest = decibels.masked_fill(~inside, -torch.inf).amax((1, 2), keepdim=True)
    return torch.maximum(decibels, loudest - dynamic_range) * inside


def count_mel_frames(lengths: torch.Tensor) -> torch.Tensor:
    """Frames that both functions make of clips of so many samples."""
    return lengths // HOP_SIZE + 1


def reflect_ends(waveforms: torch.Tensor, lengths: torch.Tensor | None, amount: int) -> torch.Tensor:
    """(batch, samples + 2 * amount): each clip mirrored at its first and at its own last sample."""
    if lengths is None:
        return torch.nn.functional.pad(waveforms[:, None], (amount, amount), mode="reflect")[:, 0]
    position = torch.arange(-amount, waveforms.shape[1] + amount, device=waveforms.device).abs()
    last = lengths[:, None] - 1
    position = torch.where(position > last, 2 * last - position, position).clamp(min=0)  # behind both: anything
    return waveforms.gather(1, position)


def _mel(clips: torch.Tensor, lengths: torch.Tensor | None, bank: np.ndarray, fft_size: int, scale) -> torch.Tensor:
    """(batch, samples) that begin with the first window to (batch, frames, bands)."""
    frames = clips.unfold(-1, WINDOW_SIZE, HOP_SIZE)
    window = torch.from_numpy(periodic_hamming(WINDOW_SIZE)).to(frames)
    weights = torch.from_numpy(bank).to(frames)
    rows = map_frames(lambda part: scale(power_spectrum(part * window, fft_size) @ weights), [frames], single=True)
    return rows if lengths is None else rows * _find_frames(rows, lengths)


def _find_frames(rows: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """(batch, frames, 1), True for the rows of a clip, all if `lengths` is None."""
    position = torch.arange(rows.shape[1], device=rows.device)
    if lengths is None:
        return (position >= 0)[None, :, None]
    return (position < count_mel_frames(lengths)[:, None])[..., None]


@cache_table
def periodic_hamming(size: int) -> np.ndarray:
    """(size,), float64: one period of a raised cosine that goes down to 0.08."""
    return 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(size) / size)


__all__ = ["count_mel_frames", "reflect_ends", "speechbrain_mel_db", "voxceleb_log_mel"]
