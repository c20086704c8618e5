"""Log-mel spectra of the librosa family: Wav2Lip, HiFi-GAN, Tacotron (and so AudioLDM) - one computation, four presets.

All take samples in [-1, 1] and return (frames, num_mel_bins): magnitude (not power) of a periodic-Hann STFT with the
window in the middle of the FFT, bands on Slaney's scale with Slaney's norm. They differ in what is reflected at the
ends, in what keeps the root away from zero, and in the logarithm:

    function          reflected at each end   magnitude              logarithm           frames
    wav2lip_log_mel   fft // 2                |X|                    dB, to [-4, 4]      1 + samples // hop
    tacotron_log_mel  fft // 2                |X|                    ln(max(m, 1e-5))    1 + samples // hop
    hifigan_log_mel   (fft - hop) // 2        sqrt(|X|^2 + 1e-9)     ln(max(m, 1e-5))    samples // hop

(Frames for an even `fft_size`, and for an even `fft_size - hop_size` in the last row; 1 + (samples + 2 * reflected -
fft) // hop in general.) The mel of the acoustic model and that of its vocoder must be the same one.
"""

from collections.abc import Callable

import torch

from avzoo.audio.framing import (
    LOUDEST,
    Features,
    Waveforms,
    frame_with_reflection,
    magnitude_spectrum,
    map_frames,
    periodic_hann,
    power_spectrum,
)
from avzoo.audio.mel_banks import slaney_bank


def wav2lip_log_mel(
    waveforms: Waveforms,
    *,
    sampling_rate: int = 16000,
    num_mel_bins: int = 80,
    fft_size: int = 800,
    window_size: int = 800,
    hop_size: int = 200,
    low_frequency: float = 55.0,
    high_frequency: float = 7600.0,
    preemphasis: float = 0.0,
    magnitude_floor: float = 1e-5,
    reference_db: float = 20.0,
    range_db: float = 100.0,
    limit: float = 4.0,
) -> Features:
    """Mel spectra in decibels, mapped to [-limit, limit]: -`range_db` becomes -limit, 0 dB becomes limit.

    value = clip(2 limit (L + range_db) / range_db - limit), L = 20 log10(max(mel, magnitude_floor)) - reference_db.
    Digital silence is exactly -limit. Defaults: MTDVocaLiST, 80 frames per second.
    Source: xjchenGit/MTDVocaLiST@5795416 (`test_stu.py`, `utils.py`), audio settings of Rudrabha/Wav2Lip.

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of any lengths; floating point in [-1, 1].
        sampling_rate: Hz.
        num_mel_bins: bands between `low_frequency` and `high_frequency`, Hz.
        fft_size, window_size, hop_size: samples.
        preemphasis: x[n] - preemphasis * x[n - 1] over the whole clip. Wav2Lip itself takes 0.97; VocaLiST and
            MTDVocaLiST take none, whatever their settings say.

    Returns:
        (frames, num_mel_bins), (batch, frames, num_mel_bins), or a list of (frames, num_mel_bins);
        frames = 1 + samples // hop_size for even `fft_size`. float32; float64 for float64 waveforms. NaN stays NaN.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: a waveform of at most fft_size // 2 samples (the reflection needs more), of another shape, far
            beyond full scale, or an impossible setting.
    """
    for name, value in (("magnitude_floor", magnitude_floor), ("range_db", range_db), ("limit", limit)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")

    def scale(mel: torch.Tensor) -> torch.Tensor:
        decibels = 20 * mel.clamp_min_(magnitude_floor).log10_() - reference_db
        return ((2 * limit / range_db) * (decibels + range_db) - limit).clamp_(-limit, limit)

    return _mel(
        waveforms,
        scale,
        reflected=fft_size // 2,
        sizes=(fft_size, window_size, hop_size),
        bank=(num_mel_bins, fft_size, sampling_rate, low_frequency, high_frequency),
        preemphasis=preemphasis,
    )


def tacotron_log_mel(
    waveforms: Waveforms,
    *,
    sampling_rate: int = 16000,
    num_mel_bins: int = 80,
    fft_size: int = 1024,
    window_size: int = 1024,
    hop_size: int = 160,
    low_frequency: float = 0.0,
    high_frequency: float = 8000.0,
    log_floor: float = 1e-5,
) -> Features:
    """Natural-log mel of frames centred on multiples of the hop: Tacotron 2, FastSpeech 2, AudioLDM, VoiceLDM.

    value = ln(max(mel, log_floor)). Pad with ln(log_floor), which is silence; 0 is loud. AudioLDM and VoiceLDM clip
    the waveform to [-1, 1] first (`waveforms.clamp(-1, 1)`) and take 64 bands; LTBS takes 80 bands of 55 to 7500 Hz
    and a window of 640. Sources: NVIDIA/tacotron2 and YangKangJNU/LTBS@6c977e1 (`src/stft.py`),
    glory20h/VoiceLDM@16ebc7a (`voiceldm/audio/tools.py`).

    Args and errors: as [`wav2lip_log_mel`]; `log_floor` must be positive.

    Returns:
        (frames, num_mel_bins), (batch, frames, num_mel_bins), or a list of (frames, num_mel_bins);
        frames = 1 + samples // hop_size for even `fft_size`.
    """
    return _mel(
        waveforms,
        _make_natural_log(log_floor),
        reflected=fft_size // 2,
        sizes=(fft_size, window_size, hop_size),
        bank=(num_mel_bins, fft_size, sampling_rate, low_frequency, high_frequency),
    )


def hifigan_log_mel(
    waveforms: Waveforms,
    *,
    sampling_rate: int = 16000,
    num_mel_bins: int = 80,
    fft_size: int = 1024,
    window_size: int = 640,
    hop_size: int = 160,
    low_frequency: float = 55.0,
    high_frequency: float = 7500.0,
    log_floor: float = 1e-5,
) -> Features:
    """Natural-log mel as HiFi-GAN is trained on: frame i covers the hop it has to fill, no frame too many.

    Only (fft_size - hop_size) // 2 samples are reflected at each end, and 1e-9 is added to the power before the root.
    value = ln(max(mel, log_floor)). Defaults: 16 kHz with 100 frames per second. HiFi-GAN's universal vocoder:
    sampling_rate=22050, window_size=1024, hop_size=256, low_frequency=0, high_frequency=8000.
    Source: jik876/hifi-gan@4769534 (`meldataset.py`).

    Args and errors: as [`wav2lip_log_mel`]; `log_floor` must be positive, the shortest clip has
        (fft_size - hop_size) // 2 + 1 samples and at least a hop.

    Returns:
        (frames, num_mel_bins), (batch, frames, num_mel_bins), or a list of (frames, num_mel_bins);
        frames = samples // hop_size for even `fft_size - hop_size`.
    """
    return _mel(
        waveforms,
        _make_natural_log(log_floor),
        reflected=(fft_size - hop_size) // 2,
        sizes=(fft_size, window_size, hop_size),
        bank=(num_mel_bins, fft_size, sampling_rate, low_frequency, high_frequency),
        power_offset=1e-9,
    )


def stft_energy(
    waveforms: Waveforms, *, fft_size: int = 1024, window_size: int = 1024, hop_size: int = 160
) -> Features:
    """Loudness per frame as in FastSpeech 2: the L2 norm over frequency of the frames of [`tacotron_log_mel`].

    Source: ming024/FastSpeech2@d4e79eb (`audio/tools.py`).

    Args and errors: as [`wav2lip_log_mel`].

    Returns:
        (frames,), (batch, frames), or a list of (frames,), linear (no logarithm); frames = 1 + samples // hop_size
        for even `fft_size`.
    """
    sizes = (fft_size, window_size, hop_size)
    frames, single = frame_with_reflection(waveforms, fft_size // 2, *sizes, loudest=LOUDEST)
    window = torch.from_numpy(periodic_hann(window_size)).to(frames[0])

    def norm(part: torch.Tensor) -> torch.Tensor:
        power = power_spectrum(part * window, fft_size).sum(-1)
        return power.clamp_min_(torch.finfo(power.dtype).tiny).sqrt_()  # no infinite gradient at silence

    return map_frames(norm, frames, single)


def _mel(
    waveforms: Waveforms,
    logarithm: Callable[[torch.Tensor], torch.Tensor],
    *,
    reflected: int,
    sizes: tuple[int, int, int],
    bank: tuple[int, int, int, float, float],
    preemphasis: float = 0.0,
    power_offset: float = 0.0,
) -> Features:
    """`logarithm` of the mel magnitudes; it may work in place."""
    fft_size, window_size, _ = sizes
    frames, single = frame_with_reflection(waveforms, reflected, *sizes, preemphasis=preemphasis, loudest=LOUDEST)
    window = torch.from_numpy(periodic_hann(window_size)).to(frames[0])
    weights = torch.from_numpy(slaney_bank(*bank)).to(window)

    def rows(part: torch.Tensor) -> torch.Tensor:
        if power_offset:
            magnitude = power_spectrum(part * window, fft_size).add_(power_offset).sqrt_()
        else:
            magnitude = magnitude_spectrum(part * window, fft_size)
        return logarithm(magnitude @ weights)

    return map_frames(rows, frames, single)


def _make_natural_log(floor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    if not floor > 0:
        raise ValueError(f"`log_floor` must be positive, got {floor}.")
    return lambda mel: mel.clamp_min_(floor).log_()
