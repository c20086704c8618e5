"""Evaluate AVDiffuSS on the authors' pairs of VoxCeleb2 or LRS3, by their protocol.

    python examples/evaluate_avdiffuss.py --model avdiffuss --data_dir lrs3 --pairs lrs3_test.pckl --dataset lrs3

The lists are those of kaistmm/AVDiffuSS. Two voices of a pair are mixed at equal level, each is separated by its face,
and the scores are averaged: SI-SDR, ESTOI (extra `eval`) and wide-band PESQ (extra `pesq`). Published numbers are of
the first 2.04 s. `--whole` takes whole recordings: in windows that overlap by half, or with `--protocol` in the
authors', one for every 0.04 s, which is some twenty times as much work. PESQ is then the mean over pieces of 10 s.

Gains of the mixtures are drawn from `--seed`; the authors' are not seeded.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from avzoo import AVDiffuSSPipeline
from avzoo.audio import mix_at_equal_level
from avzoo.data.separation_pairs import read_pairs
from avzoo.metrics import estoi, pesq_wb, si_sdr
from avzoo.models.avdiffuss.mixtures_avdiffuss import draw_peak
from avzoo.models.avdiffuss.windows import average_over_windows
from avzoo.pipelines.shared.saved_folders import load_checked_pipeline
from avzoo.training import report_errors
from avzoo.training.data import derive_seed

WINDOW = 32640  # samples: 2.04 s
PICTURES = 51


@report_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of the dataset's splits")
    parser.add_argument("--pairs", type=Path, required=True, help="vox_test.pckl or lrs3_test.pckl")
    parser.add_argument("--dataset", choices=["voxceleb2", "lrs3"], required=True)
    parser.add_argument("--whole", action="store_true", help="whole recordings instead of the first 2.04 s")
    parser.add_argument("--protocol", action="store_true", help="with --whole: the authors' windows")
    parser.add_argument("--preset", default="reference", help="reference or fast")
    parser.add_argument("--denoiser_only", action="store_true", help="the first estimates")
    parser.add_argument("--metrics", nargs="+", choices=["si_sdr", "estoi", "pesq"], default=["si_sdr", "estoi"])
    parser.add_argument("--skip_missing", action="store_true", help="leave out pairs with a missing file")
    parser.add_argument("--limit", type=int, help="only so many pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.protocol and not options.whole:
        parser.error("--protocol is about whole recordings; add --whole")
    pipe = load_checked_pipeline(AVDiffuSSPipeline, options.model).to(options.device).use_preset(options.preset)
    pipe.set_progress_bar_config(disable=True)
    pairs = read_pairs(options.pairs, options.data_dir, options.dataset, skip_missing=options.skip_missing)
    metrics: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "si_sdr": lambda voice, target: float(si_sdr(voice, target)),
        "estoi": lambda voice, target: float(estoi(voice, target, pipe.sampling_rate)),
        "pesq": lambda voice, target: pesq_of_pieces(voice, target, pipe.sampling_rate),
    }
    scores: dict[str, list[float]] = {name: [] for name in options.metrics}
    for number, pair in enumerate(tqdm(pairs[: options.limit], unit="pair")):
        generator = seeded(options.seed, number)
        voices = [pipe.processor.audio(row["audio"]).numpy() for row in pair]
        shortest = min(WINDOW if not options.whole else len(voices[0]), *map(len, voices))
        mixture, targets = mix_at_equal_level([voice[:shortest] for voice in voices], draw_peak(generator))
        for row, target in zip(pair, targets, strict=True):
            voice = separate(pipe, mixture, pipe.processor.video(row["video"]), options, number)
            for name in scores:
                scores[name].append(metrics[name](voice, target))
    print(f"{len(next(iter(scores.values())))} voices of {options.pairs.name}")
    for name, values in scores.items():
        print(f"{name:<8}{np.mean(values):8.3f}")


def pesq_of_pieces(voice: np.ndarray, target: np.ndarray, rate: int, seconds: int = 10) -> float:
    """The mean over pieces: the measure itself takes no more than 20 s."""
    count = max(round(len(voice) / (seconds * rate)), 1)
    pieces = zip(np.array_split(voice, count), np.array_split(target, count), strict=True)
    return float(np.mean([pesq_wb(*piece, rate) for piece in pieces]))


def separate(
    pipe: AVDiffuSSPipeline, mixture: np.ndarray, face: torch.Tensor, options: argparse.Namespace, number: int
) -> np.ndarray:
    """The voice of one face, in the whole of a mixture."""
    settings = {"denoiser_only": options.denoiser_only}

    def window(samples: np.ndarray, start: int) -> np.ndarray:
        first = min(int(start / pipe.sampling_rate * pipe.processor.frames_per_second), len(face) - 1)
        pictures = face[first : first + PICTURES]
        if len(pictures) < PICTURES:  # from their first one again, as the authors fill up short videos
            pictures = pictures[torch.arange(PICTURES) % len(pictures)]
        generator = seeded(options.seed, number, start)
        return pipe(samples, pictures, generator=generator, window_length_in_s=float("inf"), **settings).audios[0]

    if options.protocol:
        return average_over_windows(window, mixture, window=WINDOW)
    if not options.whole:
        return window(mixture, 0)
    wanted = pipe.processor.align_to_audio(face, len(mixture))
    return pipe(mixture, wanted, generator=seeded(options.seed, number, 0), **settings).audios[0]


def seeded(*place: int) -> torch.Generator:
    """For the draws at one place of the evaluation."""
    return torch.Generator().manual_seed(derive_seed("evaluation", *place))


if __name__ == "__main__":
    main()
