"""Mel, MFCC and compressed STFT of `avzoo.audio` beside the plain ways to compute them.

    python benchmarks/audio_features.py --clips 32 --seconds 10 --rounds 7

The other side, written here or transformers' own, follows the usual recipes: `torch.stft` of the whole batch, then
magnitude, bands, logarithm; for VGGish and MFCC, whose authors use numpy, one clip after the other in numpy with all
frames at once. Outputs are compared before anything is timed; rounds are interleaved, so that a busy machine slows
everyone alike.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from avzoo import audio


def slaney(bins: int, mels: int, low: float, high: float) -> np.ndarray:
    return mel_filter_bank(bins, mels, low, high, 16000, norm="slaney", mel_scale="slaney")


WAV2LIP_BANK = slaney(401, 80, 55, 7600)
HIFIGAN_BANK = slaney(513, 80, 55, 7500)
VGGISH_BANK = mel_filter_bank(257, 64, 125, 7500, 16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True)


def decibels(magnitude, library):
    least = library.full_like(magnitude, 1e-5)
    return library.clip(8 * (20 * library.log10(library.maximum(magnitude, least)) - 20 + 100) / 100 - 4, -4, 4)


def wav2lip_torch(clips: np.ndarray) -> torch.Tensor:
    window = torch.hann_window(800)
    magnitude = torch.stft(torch.from_numpy(clips), 800, 200, window=window, return_complex=True).abs()
    return decibels(torch.from_numpy(WAV2LIP_BANK).float().T @ magnitude, torch).mT


def wav2lip_transformers(clips: np.ndarray) -> np.ndarray:
    window = window_function(800, "hann")
    mels = [spectrogram(clip, window, 800, 200, power=1.0, mel_filters=WAV2LIP_BANK) for clip in clips]
    return decibels(np.stack(mels), np).swapaxes(1, 2)


def hifigan_torch(clips: np.ndarray) -> torch.Tensor:
    padded = torch.nn.functional.pad(torch.from_numpy(clips)[:, None], (432, 432), mode="reflect")[:, 0]
    spectrum = torch.stft(padded, 1024, 160, 640, torch.hann_window(640), center=False, return_complex=True)
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    return torch.log(torch.clamp(torch.from_numpy(HIFIGAN_BANK).float().T @ magnitude, min=1e-5)).mT


def vggish_numpy(clips: np.ndarray) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    rows = []
    for clip in clips:
        frames = np.lib.stride_tricks.sliding_window_view(32768.0 * clip, 400)[::160]
        rows.append(np.log(np.abs(np.fft.rfft(frames * window, 512)) @ VGGISH_BANK + 0.01))
    return np.stack(rows)


def mfcc_numpy(clips: np.ndarray) -> np.ndarray:
    corners = np.floor(513 * 700 * (10 ** (np.linspace(0, math.log10(1 + 8000 / 700), 28)) - 1) / 16000)
    bank = np.array([np.interp(np.arange(257), corners[i : i + 3], [0, 1, 0]) for i in range(26)]).T
    order = np.arange(13)
    cosines = np.sqrt(2 / 26) * np.cos(np.pi * (np.arange(26)[:, None] + 0.5) * order / 26)
    cosines *= 1 + 11 * np.sin(np.pi * order / 22)
    rows = []
    for clip in clips:
        pcm = 32768.0 * clip
        emphasized = np.append(pcm[0], pcm[1:] - 0.97 * pcm[:-1])
        emphasized = np.append(emphasized, np.zeros(-(len(pcm) - 400) % 160))
        frames = np.lib.stride_tricks.sliding_window_view(emphasized, 400)[::160]
        power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512
        row = np.log(power @ bank) @ cosines
        row[:, 0] = np.log(power.sum(axis=1))
        rows.append(row)
    return np.stack(rows)


def compressed_torch(clips: np.ndarray) -> torch.Tensor:
    spectrum = torch.stft(torch.from_numpy(clips), 510, 128, window=torch.hann_window(510), return_complex=True)
    return 0.33 * spectrum.abs() ** 0.5 * torch.exp(1j * spectrum.angle())


def avzoo_feature(name: str) -> Callable[[np.ndarray], torch.Tensor]:
    def extract(clips: np.ndarray) -> torch.Tensor:
        return getattr(audio, name)(torch.from_numpy(clips))

    return extract


OTHERS = {
    "wav2lip_log_mel": {"torch.stft": wav2lip_torch, "transformers' spectrogram": wav2lip_transformers},
    "hifigan_log_mel": {"torch.stft": hifigan_torch},
    "vggish_log_mel": {"numpy, float64": vggish_numpy},
    "speech_features_mfcc": {"numpy, float64": mfcc_numpy},
    "compressed_stft": {"torch.stft, abs and angle": compressed_torch},
}


def relative_difference(output, reference: torch.Tensor) -> float:
    output = torch.as_tensor(output)
    return float(torch.linalg.vector_norm(output - reference) / torch.linalg.vector_norm(reference))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()

    random = np.random.default_rng(0)
    shape = (arguments.clips, int(16000 * arguments.seconds))
    clips = (0.1 * random.standard_normal(shape)).astype(np.float32)
    print(f"{arguments.clips} clips of {arguments.seconds:g} s, 16 kHz, float32, CPU\n")
    print("| feature | how | threads | median ms | spread ms (min to max) | times avzoo's | relative difference |")
    print("|---|---|---|---|---|---|---|")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for feature, others in OTHERS.items():
            contenders = {"avzoo": avzoo_feature(feature), **others}
            with torch.inference_mode():
                outputs = {name: extract(clips) for name, extract in contenders.items()}  # also the warm-up
                differences = {name: relative_difference(output, outputs["avzoo"]) for name, output in outputs.items()}
                if max(differences.values()) > 2e-5:
                    raise SystemExit(f"The contenders for {feature} don't compute the same thing: {differences}.")
                del outputs
                timings = {name: [] for name in contenders}
                for _ in range(arguments.rounds):
                    for name, extract in contenders.items():
                        start = time.perf_counter()
                        extract(clips)
                        timings[name].append(1000 * (time.perf_counter() - start))
            base = statistics.median(timings["avzoo"])
            for name, values in timings.items():
                median = statistics.median(values)
                print(
                    f"| {feature} | {name} | {threads} | {median:.0f} | {min(values):.0f} to {max(values):.0f} "
                    f"| {median / base:.2f} | {differences[name]:.1e} |"
                )


if __name__ == "__main__":
    main()
