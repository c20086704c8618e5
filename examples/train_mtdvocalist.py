r"""Train VocaLiST (the teacher) or MTDVocaLiST (the student), with a teacher or without.

On LRS2, as Wav2Lip's preprocessing script cuts its faces (folders of 0.jpg, 1.jpg, ... and audio.wav):

    accelerate launch examples/train_mtdvocalist.py --network teacher --data_dir lrs2_faces \
        --train_list pretrain.txt --val_list val.txt --output_dir vocalist --no_warmup
    accelerate launch examples/train_mtdvocalist.py --network student --teacher vocalist --data_dir lrs2_faces \
        --train_list pretrain.txt --val_list val.txt --output_dir mtdvocalist

`examples/cut_faces.py --layout faces` makes such folders and lists of your own videos.

`--teacher` takes any folder that `avzoo convert mtdvocalist` or this script wrote; without it a student is trained with
labels alone. Teacher and student may expect different pixels: the processor in each folder makes them. Defaults
are the authors' recipe for the student (xjchenGit/MTDVocaLiST@5795416): Adam, 5e-5, batches of 128, 80 epochs, warm-up
over ten of them, times 0.8 from the thirtieth on every twenty.

Training stays at a loss of 0.69 for a long time before it decreases. `--swap_windows` makes this plateau many times
shorter: it takes two windows of each clip, each with its own sound and with the other's, instead of the authors' one
pair. `--min_gap 8` helps, too: pairs out of sync are then at least 0.3 s apart.

On synthetic talkers, without a download, the paper's claim in minutes:

    python examples/train_mtdvocalist.py --toy --output_dir toy

It prints test loss and offset accuracy of students trained with labels, a teacher's logits, and its attention.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoProcessor

from avzoo import (
    MTDVocaLiSTConfig,
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTConfig,
    VocaLiSTForSequenceClassification,
    VocaLiSTProcessor,
)
from avzoo.data.lists import describe_rows, keep_readable
from avzoo.data.lrs2 import lrs2, read_lrs2_faces
from avzoo.hub.errors import explain_hub_errors
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.mtdvocalist import teacher_trace
from avzoo.models.mtdvocalist.sampling import (
    SWAPPED_LABELS,
    SWAPPED_PAIRS,
    draw_two_windows,
    draw_window_pair,
    join_windows,
    num_window_starts,
    window_loudness,
)
from avzoo.models.mtdvocalist.trace_cache import TraceCache
from avzoo.pipelines.shared.saved_folders import explain_damage, load_checked_model
from avzoo.rates import SAMPLES_PER_FRAME
from avzoo.training import TrainingArguments, report_errors, train


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import mtdvocalist

        mtdvocalist.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows = {"train": read_rows(options, options.train_list), "val": read_rows(options, options.val_list)}
    model, processor = load(options)
    teacher = teacher_processor = None
    if options.teacher is not None:
        with explain_damage(options.teacher), explain_hub_errors(options.teacher):
            teacher = load_checked_model(AutoModel, options.teacher).eval()
            teacher_processor = AutoProcessor.from_pretrained(options.teacher)
    windows = {
        part: WindowPairs(
            [row["path"] for row in of_part],
            processor,
            teacher_processor if part == "train" else None,
            min_gap=options.min_gap,
            swap=options.swap_windows,
            seed=None if part == "train" and not options.fixed_windows else arguments.seed,
        )
        for part, of_part in rows.items()
    }
    clips = {f"{part} clips": describe_rows(of_part, ("id",)) for part, of_part in rows.items()}
    cache = None
    if options.cache_teacher is not None:
        contents = {name: getattr(options, name) for name in ("teacher", "min_gap", "swap_windows", "seed")}
        cache = TraceCache(
            options.cache_teacher,
            len(windows["train"]) * windows["train"].pairs_per_clip,
            contents | {"train clips": clips["train clips"]},
        )
    train(
        model,
        windows["train"],
        arguments,
        data_collator=join_windows,
        compute_loss=partial(compute_loss, teacher=teacher, cache=cache),
        evaluate=partial(evaluate, windows=windows["val"], batch_size=arguments.batch_size),
        processor=processor,
        options=TrainingArguments.list_other_options(options) | clips,
        may_change=("data_dir", "train_list", "val_list", "skip_missing", "skip_damaged", "cache_teacher"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="mtdvocalist",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"{len(rows['train'])} clips of faces with sound for training, {len(rows['val'])} for evaluation",
            started_from=options.model,
        ),
    )


def read_rows(options: argparse.Namespace, table: Path) -> list[dict]:
    """The clips of a list."""
    rows = list(lrs2(options.data_dir, table, skip_missing=options.skip_missing))
    if options.skip_damaged:
        rows = keep_readable(rows, lambda row: list(read_lrs2_faces(row["path"])[0]), "clips")
    if not rows:
        raise ValueError(f"{table} names no clip that can be used.")
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["student", "teacher"], default="student")
    parser.add_argument("--model", help="folder or Hub id of a network to continue from")
    parser.add_argument("--teacher", help="folder or Hub id of a trained VocaLiST to distil into the student")
    parser.add_argument(
        "--distill", choices=["attention", "logits"], help="targets from the teacher (default: attention)"
    )
    parser.add_argument("--data_dir", type=Path, help="folder of the video folders")
    parser.add_argument("--train_list", type=Path, help="pretrain.txt")
    parser.add_argument("--val_list", type=Path, help="val.txt")
    parser.add_argument("--skip_missing", action="store_true", help="skip clips that do not exist")
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, skip those that can't be read")
    parser.add_argument("--min_gap", type=int, default=1, help="minimum distance of a pair out of sync, frames")
    parser.add_argument("--swap_windows", action="store_true", help="two windows per clip, in sync and swapped")
    parser.add_argument("--fixed_windows", action="store_true", help="use the same windows of each clip in every epoch")
    parser.add_argument("--cache_teacher", type=Path, help="folder for the teacher's targets; needs --fixed_windows")
    parser.add_argument("--no_warmup", action="store_true", help="constant learning rate, as the authors' teacher")
    parser.add_argument("--toy", action="store_true", help="train on synthetic talkers instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    parser.add_argument("--toy_clips", type=int, default=480, help="with --toy: training clips")
    parser.add_argument("--toy_test_clips", type=int, nargs=2, default=[60, 100], help="with --toy: in time, shifted")
    parser.add_argument("--toy_steps", type=int, nargs=2, default=[1500, 800], help="with --toy: teacher, student")
    TrainingArguments.add_to(
        parser,
        output_dir="mtdvocalist-trained",
        num_epochs=80,
        batch_size=128,
        drop_last=True,
        optimizer="adam",
        learning_rate=5e-5,
        max_gradient_norm=None,
        schedule="step",
        schedule_milestones=(30.0, 50.0, 70.0),
        schedule_factor=0.8,
        warmup_steps=7530,
        seed=20230101,
        evaluate_every_epochs=1,
        metric_for_best_model="f1",
    )
    options = parser.parse_args()
    if options.no_warmup:
        options.schedule, options.schedule_milestones, options.warmup_steps = "constant", (), 0
    missing = [f"--{name}" for name in ("data_dir", "train_list", "val_list") if getattr(options, name) is None]
    if missing and not options.toy:
        parser.error(f"{', '.join(missing)} must be given, or --toy")
    if options.teacher is not None and options.network == "teacher":
        parser.error("--teacher is for a student; leave it out, or pass --network student")
    if options.distill is not None and options.teacher is None:
        parser.error("--distill needs --teacher, whose targets it chooses")
    if options.cache_teacher is not None and not (options.fixed_windows and options.teacher):
        parser.error("--cache_teacher needs --teacher, and --fixed_windows: other windows have other targets")
    return options


def load(options: argparse.Namespace):
    """Load or make the network to train, and its processor."""
    torch.manual_seed(options.seed)
    if options.network == "teacher" and options.model is None:
        return VocaLiSTForSequenceClassification(VocaLiSTConfig()), VocaLiSTProcessor()
    distillation = {}
    if options.teacher is not None:
        target = options.distill or "attention"
        temperature = {"attention": 1.0, "logits": 5.0}[target]
        distillation = {"distillation": {"target": target, "temperature": temperature}}
    if options.model is not None:
        with explain_damage(options.model), explain_hub_errors(options.model):
            model = load_checked_model(AutoModel, options.model, **distillation)
            processor = AutoProcessor.from_pretrained(options.model)
        found = "student" if isinstance(model, MTDVocaLiSTForSequenceClassification) else "teacher"
        if found != options.network:
            raise ValueError(f"`network` is {options.network}, but `model` ({options.model}) is a {found}.")
        vars(model.config).pop("avzoo_source", None)  # of the file that was converted; this becomes another model
        return model, processor
    return MTDVocaLiSTForSequenceClassification(MTDVocaLiSTConfig(**distillation)), VocaLiSTProcessor()


class WindowPairs(torch.utils.data.Dataset):
    """Random windows of each clip and pairs of them; with a seed, the same ones every time.

    One pair, in sync or not; with `swap`, two windows and all four pairs. [`join_windows`] collates batches.
    """

    def __init__(
        self,
        clips: list[str],
        processor: VocaLiSTProcessor,
        teacher_processor: VocaLiSTProcessor | None = None,
        *,
        min_gap: int = 1,
        swap: bool = False,
        seed: int | None = None,
    ):
        if not clips:
            raise ValueError("`clips` is empty: no clip of the list was found.")
        self.clips, self.processor, self.teacher_processor = clips, processor, teacher_processor
        self.min_gap, self.swap, self.seed = min_gap, swap, seed
        self.pairs_per_clip = len(SWAPPED_PAIRS) if swap else 1

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        # The loop seeds torch's generator for every sample, differently in each epoch.
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed * len(self.clips) + index
        generator = torch.Generator().manual_seed(seed)
        clip = index
        for _ in range(1000):
            drawn = self._draw(self.clips[clip], generator)
            if drawn is not None:
                numbers = index * self.pairs_per_clip + torch.arange(self.pairs_per_clip)
                return {"numbers": numbers, **drawn}
            clip = int(torch.randint(len(self.clips), (), generator=generator))  # too short or too quiet: another one
        raise ValueError("1000 clips in a row are too short or too quiet to train on; check the data.")

    def _draw(self, clip: str, generator: torch.Generator) -> dict[str, torch.Tensor] | None:
        faces, samples = read_lrs2_faces(clip)
        context = self.processor.context_frames
        starts = num_window_starts(len(faces), window_frames=context)
        if starts <= self.min_gap:
            return None

        def sound(start: int) -> np.ndarray:
            return samples[start * SAMPLES_PER_FRAME : (start + context) * SAMPLES_PER_FRAME]

        draw = draw_two_windows if self.swap else draw_window_pair
        found = draw(starts, lambda start: window_loudness(sound(start)), generator, min_gap=self.min_gap)
        if found is None:
            return None
        if self.swap:
            video_starts = audio_starts = found
            pairs, labels = SWAPPED_PAIRS, SWAPPED_LABELS
        else:
            video_starts, audio_starts, pairs, labels = found[:1], found[1:2], [(0, 0)], [float(found[2])]
        pictures = [faces[start : start + context] for start in video_starts]
        sounds = torch.from_numpy(np.stack([sound(start) for start in audio_starts]))
        drawn = {
            "pixel_values": make_pixel_values(self.processor, pictures),
            "input_features": self.processor.window_mel(sounds),
            "pairs": torch.tensor(pairs),
            "labels": torch.tensor(labels),
        }
        if self.teacher_processor is not None:
            drawn["teacher_pixel_values"] = make_pixel_values(self.teacher_processor, pictures)
        return drawn


def make_pixel_values(processor: VocaLiSTProcessor, windows: list) -> torch.Tensor:
    """Faces of windows to (windows, frames, 3, rows, columns), as the processor's network expects them."""
    return torch.stack([processor.to_pixel_values(processor.crop_mouths(faces)) for faces in windows])


def compute_loss(model, batch, step, teacher=None, cache: TraceCache | None = None) -> dict[str, torch.Tensor]:
    """Loss and its parts; `teacher`, if given, is moved to the batch's device."""
    numbers, teacher_pixels = batch.pop("numbers"), batch.pop("teacher_pixel_values", None)
    if teacher is None:
        return {"loss": model(**batch).loss}
    features = batch["input_features"]

    def compute():
        return teacher_trace(teacher.to(features.device), teacher_pixels, features, batch["pairs"])

    trace = compute() if cache is None else cache.get(numbers.tolist(), compute)
    outputs = model(**batch, teacher=trace.to(features.device))
    parts = ("loss", "classification_loss", "distillation_loss")
    return {name: getattr(outputs, name) for name in parts}


def evaluate(model, accelerator, windows: WindowPairs, batch_size: int) -> dict[str, float]:
    """Loss, accuracy, and the weighted F1 of logits above 0.5, by which the authors select the best model."""
    loader = torch.utils.data.DataLoader(windows, batch_size=batch_size, collate_fn=join_windows)
    logits, labels = [], []
    for batch in accelerator.prepare_data_loader(loader):
        scores = model(batch["pixel_values"], batch["input_features"], pairs=batch["pairs"]).logits[:, 0].float()
        gathered = accelerator.gather_for_metrics((scores, batch["labels"]))
        logits.append(gathered[0].cpu())
        labels.append(gathered[1].cpu())
    logits, labels = torch.cat(logits), torch.cat(labels)
    return {
        "loss": float(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)),
        "accuracy": float(((logits > 0) == (labels > 0.5)).float().mean()),
        "f1": weighted_f1(logits > 0.5, labels > 0.5),
    }


def weighted_f1(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    """F1 of both classes, weighted by their frequency; 0 for a class that neither occurs nor is predicted."""
    total = 0.0
    for of_class in (False, True):
        right = float(((predicted == of_class) & (truth == of_class)).sum())
        both = float((predicted == of_class).sum() + (truth == of_class).sum())
        total += (2 * right / both if both else 0.0) * float((truth == of_class).float().mean())
    return total


if __name__ == "__main__":
    main()
