"""Pictures of generated audio."""

import os
from pathlib import Path

import numpy as np
import torch

from avzoo.audio import tacotron_log_mel
from avzoo.files import write_atomically


def plot_spectrogram(audio: np.ndarray, sampling_rate: int, path: str | os.PathLike, title: str = "") -> Path:
    """Draw a waveform and its log-mel spectrogram below it.

    Args:
        audio: (samples,), floating point.
        path: picture to write, .png, .pdf or .svg; written atomically.

    Raises:
        ImportError: matplotlib is not installed. ValueError: less than a frame of audio.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the picture is drawn with matplotlib: pip install matplotlib.") from error
    hop = sampling_rate // 100
    mel = tacotron_log_mel(
        torch.as_tensor(audio, dtype=torch.float32),
        sampling_rate=sampling_rate,
        fft_size=1024 * sampling_rate // 16000,
        window_size=1024 * sampling_rate // 16000,
        hop_size=hop,
        high_frequency=sampling_rate / 2,
    )
    seconds = len(audio) / sampling_rate
    figure = Figure(figsize=(9, 5), layout="constrained")
    waveform, spectrogram = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    waveform.plot(np.arange(len(audio)) / sampling_rate, audio, linewidth=0.5)
    waveform.set(ylabel="amplitude", title=title, xlim=(0, seconds))
    extent = (0, len(mel) * hop / sampling_rate, 0, mel.shape[1])
    image = spectrogram.imshow(mel.mT * (10 / np.log(10)), origin="lower", aspect="auto", extent=extent, vmin=-80)
    spectrogram.set(xlabel="time (s)", ylabel="mel band", xlim=(0, seconds))
    figure.colorbar(image, ax=spectrogram, label="dB")
    with write_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    return Path(path)


__all__ = ["plot_spectrogram"]
