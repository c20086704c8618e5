"""Train AVDiffuSS: a denoiser and a score network that separate voices by looking at faces.

On VoxCeleb2, laid out as its owners ship it (dev/mp4 and dev/aac, or dev/wav as the authors want it):

    accelerate launch examples/train_avdiffuss.py --data_dir voxceleb2 --output_dir avdiffuss

or on LRS3 (`--dataset lrs3`, split trainval), or on your own clips (`--dataset folder`): a folder of mp4 files for
each speaker, each file one face with its voice, as `examples/cut_faces.py --layout clips` cuts them. Mixtures are made
on the way, of a random stretch of each utterance and a stretch of somebody else's. `--model` goes on with a pipeline
that `avzoo convert avdiffuss` or this script wrote. Defaults are the authors' recipe (kaistmm/AVDiffuSS@86d8203): Adam,
1e-4, four GPUs with batches of 4, 30 epochs, losses summed over everything, averaged weights. Unlike theirs, sound and
picture begin together (`--misaligned` draws them apart by up to a second, as they did), and clips see nothing of their
neighbours in a batch.

`--denoiser_only` trains the first network alone, `--freeze_denoiser` then the second; `--share_visual_encoder` gives
both the same eyes; `--kind noise --noise NOISES` trains on noise instead of a second voice, "speech and noise" on both.

On drawn people who speak, with nothing to download, the paper's claim in minutes:

    python examples/train_avdiffuss.py --toy --output_dir toy

It prints how much the right face, the other's and none change what is heard, before and after the diffusion.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch

from avzoo import (
    AVDiffuSSModel,
    AVDiffuSSPipeline,
    AVDiffuSSProcessor,
    AVDiffuSSVisualEncoder,
    AVDiffuSSVisualEncoderConfig,
    OUVEScheduler,
)
from avzoo.audio import read_audio
from avzoo.data.lists import describe_rows, keep_readable, refuse_empty_files
from avzoo.data.lrs3 import lrs3
from avzoo.data.speaker_folders import read_speaker_folders
from avzoo.data.voxceleb2 import voxceleb2
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.avdiffuss.mixtures_avdiffuss import AVDiffuSSMixtures
from avzoo.models.avdiffuss.modeling_avdiffuss import CONDITIONS
from avzoo.models.avdiffuss.training_avdiffuss import AVDiffuSSTrainer, separation_losses
from avzoo.pipelines.shared.saved_folders import load_checked_pipeline
from avzoo.rates import FRAMES_PER_SECOND, SAMPLING_RATE
from avzoo.training import StepInfo, TrainingArguments, report_errors, train
from avzoo.video.reading import VideoReader


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import avdiffuss

        avdiffuss.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows = read_rows(options, options.data_dir, options.split)
    held_out = []
    if options.val_split is not None or options.val_dir is not None:
        held_out = read_rows(options, options.val_dir or options.data_dir, options.val_split or "test")
    noise = None if options.noise is None else sorted(options.noise.rglob("*.wav"))
    if noise is not None and not noise:
        raise FileNotFoundError(f"`noise` ({options.noise}) is no folder of WAV files.")
    torch.manual_seed(arguments.seed)
    pipe = load(options)
    settings = {
        "noise": noise,
        "kind": options.kind,
        "noise_weight": options.noise_weight,
        "snr_range": tuple(options.snr_range) if options.snr_range else None,
        "aligned": not options.misaligned,
        "face_size": pipe.processor.frame_size,
    }
    evaluation = None
    if held_out:
        mixtures = AVDiffuSSMixtures(held_out, seed=arguments.seed, **settings)
        evaluation = partial(
            mean_loss,
            mixtures=mixtures,
            step=SeparationStep(pipe, options.loss_type, options.denoiser_weight, "mean"),
            batch_size=arguments.batch_size,
            seed=arguments.seed,
        )
    train(
        TrainedPipeline(pipe, options.denoiser_only, options.freeze_denoiser),
        AVDiffuSSMixtures(rows, **settings),
        arguments,
        compute_loss=SeparationStep(pipe, options.loss_type, options.denoiser_weight, options.reduction),
        evaluate=evaluation,
        options=TrainingArguments.list_other_options(options)
        | {
            "utterances": describe_rows(rows, ("id",)),
            "validation utterances": describe_rows(held_out, ("id",)),
            "noises": None if noise is None else len(noise),
        },
        may_change=("data_dir", "val_dir", "noise", "skip_missing", "skip_damaged"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="avdiffuss",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"`{options.dataset}`: mixtures of {len(rows)} utterances",
            started_from=options.model,
        ),
    )


def read_rows(options: argparse.Namespace, root: Path, split: str) -> list[dict[str, str]]:
    """The utterances of a split, or of a folder of own clips."""
    if not root.is_dir():
        raise FileNotFoundError(f"`data_dir` ({root}) is no folder.")
    if options.dataset == "folder":
        rows = read_speaker_folders(root)
    else:
        rows = {"voxceleb2": voxceleb2, "lrs3": lrs3}[options.dataset](root, split, skip_missing=options.skip_missing)
    if options.skip_damaged:
        return keep_readable(rows, check_talking_face, "utterances")
    refuse_empty_files(row[kind] for row in rows for kind in ("audio", "video"))
    return rows


def check_talking_face(row: dict[str, str]) -> None:
    """Decode all of an utterance."""
    read_audio(row["audio"], name=row["audio"])
    for _ in VideoReader(row["video"], name=row["video"], strict=True).frames(FRAMES_PER_SECOND):
        pass


def load(options: argparse.Namespace) -> AVDiffuSSPipeline:
    """The pipeline to go on with, or a new one."""
    if options.model is None:
        return new_pipeline(options)
    pipe = load_checked_pipeline(AVDiffuSSPipeline, options.model)
    rate = pipe.processor.sampling_rate
    if rate != SAMPLING_RATE:
        raise ValueError(f"`model` ({options.model}) works at {rate} Hz; the datasets are read at {SAMPLING_RATE} Hz.")
    pipe.register_to_config(avzoo_source={"method": "avdiffuss", "variant": "trained"})
    return pipe


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline to go on with: a folder or a Hub id")
    parser.add_argument("--data_dir", type=Path, help="folder of the dataset's splits")
    parser.add_argument("--dataset", choices=["voxceleb2", "lrs3", "folder"], default="voxceleb2")
    parser.add_argument("--split", help="default: dev of VoxCeleb2, trainval of LRS3")
    parser.add_argument("--val_split", help="split to compute a validation loss on, such as test")
    parser.add_argument("--val_dir", type=Path, help="folder of these utterances (default: --data_dir)")
    parser.add_argument("--skip_missing", action="store_true", help="leave out utterances that have no video")
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, leave out what can't be read")
    parser.add_argument("--kind", choices=["speech", "noise", "speech and noise"], default="speech", help="of the rest")
    parser.add_argument("--noise", type=Path, help="folder of WAV files, such as AudioSet's")
    parser.add_argument("--noise_weight", type=float, default=0.5, help="of noise beside a voice")
    parser.add_argument("--snr_range", type=float, nargs=2, metavar="DB", help="-6 12; default: equal levels")
    parser.add_argument("--misaligned", action="store_true", help="pictures lag by up to a second, as the authors' did")
    parser.add_argument("--condition", choices=CONDITIONS, help="of a new pipeline (default: post_denoiser)")
    parser.add_argument("--share_visual_encoder", action="store_true", help="of a new pipeline: one for both networks")
    parser.add_argument("--denoiser_only", action="store_true", help="train the first network, without diffusion")
    parser.add_argument("--freeze_denoiser", action="store_true", help="train the second network only")
    parser.add_argument("--loss_type", choices=["mse", "mae"], default="mse")
    parser.add_argument(
        "--denoiser_weight", type=float, default=0.5, help="of the first network's loss; the rest is 1 -"
    )
    parser.add_argument("--reduction", choices=["sum", "mean"], default="sum", help="of the losses")
    parser.add_argument("--toy", action="store_true", help="drawn people who speak instead of a dataset")
    parser.add_argument("--toy_clips", type=int, default=200, help="with --toy: training clips of two people")
    parser.add_argument("--toy_test_clips", type=int, default=64, help="with --toy: mixtures for testing")
    parser.add_argument("--toy_steps", type=int, nargs=2, default=[1500, 900], help="with --toy: of each network")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: one run for each")
    parser.add_argument("--toy_sampling_steps", type=int, help="with --toy: not as many as the presets have")
    TrainingArguments.add_to(
        parser,
        output_dir="avdiffuss-trained",
        num_epochs=30,
        batch_size=4,
        optimizer="adam",
        learning_rate=1e-4,
        max_gradient_norm=None,
        ema_decay=0.999,
        checkpoint_every_steps=10_000,
    )
    options = parser.parse_args()
    if options.data_dir is None and not options.toy:
        parser.error("--data_dir must be given, or --toy")
    if options.dataset == "folder" and (options.split, options.val_split) != (None, None):
        parser.error("--dataset folder has no splits; name --data_dir, and --val_dir for a validation loss")
    if options.model is not None and (options.condition is not None or options.share_visual_encoder):
        parser.error("--condition and --share_visual_encoder are for a new pipeline; --model has its own")
    if options.denoiser_only and options.freeze_denoiser:
        parser.error("--denoiser_only and --freeze_denoiser leave nothing to train")
    options.split = options.split or {"voxceleb2": "dev", "lrs3": "trainval"}.get(options.dataset)
    return options


def new_pipeline(options: argparse.Namespace) -> AVDiffuSSPipeline:
    """Networks of the released size with random weights."""
    config, condition = AVDiffuSSVisualEncoderConfig(), options.condition or "post_denoiser"
    score_model = AVDiffuSSModel(num_spectrograms=3 if condition == "both" else 2, time_conditioned=True)
    return AVDiffuSSPipeline(
        denoiser=AVDiffuSSModel(),
        denoiser_visual_encoder=AVDiffuSSVisualEncoder(config),
        score_model=None if options.denoiser_only else score_model,
        score_visual_encoder=(
            None if options.denoiser_only or options.share_visual_encoder else AVDiffuSSVisualEncoder(config)
        ),
        scheduler=OUVEScheduler(),
        processor=AVDiffuSSProcessor(),
        condition=condition,
    )


class TrainedPipeline(AVDiffuSSTrainer):
    """The networks that learn. Saved, they are the whole pipeline."""

    def __init__(self, pipe: AVDiffuSSPipeline, denoiser_only: bool = False, freeze_denoiser: bool = False):
        second = (None, None) if denoiser_only else (pipe.score_model, pipe.score_visual_encoder)
        super().__init__(
            pipe.denoiser,
            pipe.denoiser_visual_encoder,
            pipe.scheduler,
            *second,
            condition=pipe.config.condition,
            freeze_denoiser=freeze_denoiser,
        )
        self.pipe = pipe

    def save_pretrained(self, folder: Path) -> None:
        self.pipe.save_pretrained(folder)


class SeparationStep:
    """(model, batch, step) -> losses: spectrograms, a time and noise for each clip, what the networks make of them."""

    def __init__(
        self, pipe: AVDiffuSSPipeline, loss_type: str = "mse", denoiser_weight: float = 0.5, reduction: str = "sum"
    ):
        self.processor, self.scheduler = pipe.processor, pipe.scheduler
        self.losses = {"loss_type": loss_type, "denoiser_weight": denoiser_weight, "reduction": reduction}

    def __call__(self, model: torch.nn.Module, batch: dict[str, Any], step: StepInfo) -> dict[str, torch.Tensor]:
        target, mixture = (self.processor.spectrogram(batch[name])[:, None] for name in ("target", "mixture"))
        generator = step.rank_generator
        earliest = self.scheduler.config.min_timestep
        times = torch.rand(len(target), generator=generator, device=target.device) * (1 - earliest) + earliest
        noise = torch.randn(target.shape, generator=generator, dtype=target.dtype, device=target.device)
        return separation_losses(model(target, mixture, batch["video"], times, noise), target, **self.losses)


def mean_loss(model, accelerator, mixtures, step: SeparationStep, batch_size: int, seed: int) -> dict[str, float]:
    """Mean losses of the same mixtures, times and noise each time; the main process computes them."""
    totals: dict[str, float] = {}
    if accelerator.is_main_process:
        place = StepInfo(0, 0, 0, 1, torch.Generator(), torch.Generator(accelerator.device).manual_seed(seed))
        for batch in torch.utils.data.DataLoader(mixtures, batch_size=batch_size):
            batch = {name: values.to(accelerator.device) for name, values in batch.items()}
            for name, value in step(model, batch, place).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch["target"])
    return {name: total / len(mixtures) for name, total in totals.items()}


if __name__ == "__main__":
    main()
