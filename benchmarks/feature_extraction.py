"""Log-mel features: `avzoo.audio.kaldi_fbank` beside transformers' ASTFeatureExtractor and kaldi-native-fbank.

    python benchmarks/feature_extraction.py --clips 32 --seconds 10 --rounds 7

All three get the same list of float32 arrays and return normalised features, (clips, frames, 128). The outputs are
compared before anything is timed; rounds are interleaved, so that a busy machine slows everyone alike.
Needs kaldi-native-fbank (extra `dev`). transformers uses torchaudio where it is installed, NumPy elsewhere.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import kaldi_native_fbank
import numpy as np
import torch
from transformers import ASTFeatureExtractor
from transformers.utils import is_speech_available

from avzoo.audio import kaldi_fbank

MEAN, STD = -4.2677393, 4.5689974  # AudioSet


def ours(clips: list[np.ndarray], threads: int) -> np.ndarray:
    with torch.inference_mode():
        log_mel = torch.stack(kaldi_fbank([torch.from_numpy(clip) for clip in clips]))
        return log_mel.sub_(MEAN).div_(2 * STD).numpy()


def transformers_extractor(frames: int):
    extractor = ASTFeatureExtractor(max_length=frames, mean=MEAN, std=STD)

    def extract(clips: list[np.ndarray], threads: int) -> np.ndarray:
        return extractor(clips, sampling_rate=16000, return_tensors="np")["input_values"]

    return extract


def kaldi_native(clips: list[np.ndarray], threads: int) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = 128

    def one(clip: np.ndarray) -> np.ndarray:
        computer = kaldi_native_fbank.OnlineFbank(options)
        computer.accept_waveform(16000, clip)
        computer.input_finished()
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])

    if threads == 1:
        log_mel = np.stack([one(clip) for clip in clips])
    else:
        with ThreadPoolExecutor(threads) as pool:
            log_mel = np.stack(list(pool.map(one, clips)))
    return (log_mel - MEAN) / (2 * STD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()

    random = np.random.default_rng(0)
    samples = int(16000 * arguments.seconds)
    clips = [(0.1 * random.standard_normal(samples)).astype(np.float32) for _ in range(arguments.clips)]
    frames = 1 + (samples - 400) // 160
    backend = "torchaudio" if is_speech_available() else "NumPy"
    contenders = {
        "avzoo kaldi_fbank": ours,
        f"transformers ASTFeatureExtractor ({backend})": transformers_extractor(frames),
        "kaldi-native-fbank": kaldi_native,
    }

    print(f"{arguments.clips} clips of {arguments.seconds:g} s, 16 kHz -> ({arguments.clips}, {frames}, 128), CPU\n")
    print("| what | threads | median ms | spread ms (min to max) | times avzoo's | relative difference to avzoo |")
    print("|---|---|---|---|---|---|")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        outputs = {name: extract(clips, threads) for name, extract in contenders.items()}  # also the warm-up
        reference = outputs["avzoo kaldi_fbank"]
        differences = {
            name: float(np.linalg.norm(output - reference) / np.linalg.norm(reference))
            for name, output in outputs.items()
        }
        if max(differences.values()) > 2e-5:
            raise SystemExit(f"The contenders don't compute the same thing: {differences}.")
        timings = {name: [] for name in contenders}
        for _ in range(arguments.rounds):
            for name, extract in contenders.items():
                start = time.perf_counter()
                extract(clips, threads)
                timings[name].append(1000 * (time.perf_counter() - start))
        base = statistics.median(timings["avzoo kaldi_fbank"])
        for name, values in timings.items():
            median = statistics.median(values)
            print(
                f"| {name} | {threads} | {median:.0f} | {min(values):.0f} to {max(values):.0f} "
                f"| {median / base:.2f} | {differences[name]:.1e} |"
            )


if __name__ == "__main__":
    main()
