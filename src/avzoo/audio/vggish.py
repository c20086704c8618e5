"""VGGish's log-mel, as LoCoNet and TalkNCE feed it: 16-bit values, window and hop scaled to the video's frame rate."""

import torch

from avzoo.audio.alignment import check_frame_sizes, scale_frame_sizes
from avzoo.audio.framing import (
    LOUDEST,
    Features,
    Waveforms,
    check_clips,
    magnitude_spectrum,
    map_frames,
    periodic_hann,
)
from avzoo.audio.mel_banks import mel_linear_bank


def vggish_log_mel(
    waveforms: Waveforms,
    *,
    fps: float = 25.0,
    sampling_rate: int = 16000,
    num_mel_bins: int = 64,
    low_frequency: float = 125.0,
    high_frequency: float = 7500.0,
    log_offset: float = 0.01,
    sample_scale: float = 32768.0,
) -> Features:
    """Natural-log mel magnitudes, ln(mel + log_offset), 4 rows per video frame.

    No centring and no padding: row i starts at sample i * hop, an incomplete last frame is dropped. Periodic Hann
    window; zeros up to the next power of two; magnitude (not power); triangles linear in mel = 1127 ln(1 + f / 700),
    peak 1. Follow with [`align_to_video`] for exactly 4 rows per frame.
    Source: kaistmm/TalkNCE@8666642 (`torchvggish/mel_features.py`, `vggish_params.py`).

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of any lengths; floating point in [-1, 1].
        fps: video frames per second; window and hop are 25 ms and 10 ms times 25 / fps, rounded to whole samples
            (halves to even): 400 and 160 at 25 fps, 333 and 133 at 30.
        sampling_rate: Hz.
        num_mel_bins: bands between `low_frequency` and `high_frequency`, Hz.
        sample_scale: what samples are multiplied with. LoCoNet's networks hear 16-bit numbers: 32768, exact.
            VGGish itself takes samples in [-1, 1]: 1.

    Returns:
        (rows, num_mel_bins), (batch, rows, num_mel_bins), or a list of (rows, num_mel_bins);
        rows = 1 + (samples - window) // hop. float32; float64 for float64 waveforms. NaN stays NaN.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: a waveform shorter than the window, of another shape, far beyond full scale (16-bit numbers as
            floats), or an impossible setting.
    """
    window_size, hop_size = (round(size) for size in scale_frame_sizes(sampling_rate, fps))
    check_frame_sizes(window_size, hop_size, sampling_rate, fps)
    for name, value in (("log_offset", log_offset), ("sample_scale", sample_scale)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")
    fft_size = 1 << (window_size - 1).bit_length()
    bank = mel_linear_bank(num_mel_bins, fft_size, sampling_rate, low_frequency, high_frequency)
    clips, single = check_clips(waveforms, window_size, loudest=LOUDEST)
    frames = [clip.unfold(-1, window_size, hop_size) for clip in clips]
    window = torch.from_numpy(sample_scale * periodic_hann(window_size)).to(frames[0])
    bank = torch.from_numpy(bank).to(frames[0])  # (fft_size // 2, num_mel_bins)

    def log_mel(part: torch.Tensor) -> torch.Tensor:
        magnitude = magnitude_spectrum(part * window, fft_size)[..., : fft_size // 2]
        return (magnitude @ bank).add_(log_offset).log_()

    return map_frames(log_mel, frames, single)
