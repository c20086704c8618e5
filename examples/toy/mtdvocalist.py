"""MTDVocaLiST's claim on synthetic talkers; `train_mtdvocalist.py --toy` runs it.

For each seed, a teacher is trained with labels, then a small student three times from the same weights, on the same
windows in the same order: with labels alone, with labels and the teacher's logits (a control without the layers), and
with labels and the teacher's attention (MTD). All are tested on unseen clips and identities. Images, stem and stages
are reduced; the rest is the method unchanged.

Networks of different seeds are independent, so each is trained in its own process.
"""

import argparse
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from toy.runs import as_detected, note, open_output, save_card, worker_pool
from transformers.utils import logging

from avzoo import (
    MTDVocaLiSTConfig,
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTConfig,
    VocaLiSTForSequenceClassification,
    VocaLiSTProcessor,
)
from avzoo.metrics.synchronization import clip_offset, mean_offset_accuracy
from avzoo.models.mtdvocalist import teacher_trace
from avzoo.models.mtdvocalist.sampling import (
    SWAPPED_LABELS,
    SWAPPED_PAIRS,
    draw_two_windows,
    join_windows,
    window_loudness,
)
from avzoo.rates import SAMPLES_PER_FRAME
from avzoo.toyworld.talkers import Talkers
from avzoo.training import TrainingArguments, train

FACE_SIZE = 48  # pixels; the mouth is its lower half
MIN_GAP = 3  # frames between windows out of sync
MAX_SHIFT = 15
CLIPS_PER_BATCH = 32  # with two windows and four pairs each
LEARNING_RATE = 2e-3
TEACHER_WIDTHS, STUDENT_WIDTHS = (8, 16, 24, 32), (4, 8, 12, 16)
TEST_PAIRS_PER_CLIP = 10


@dataclass(frozen=True)
class Job:
    """One training run: network, teacher, steps, and the paths of its output and data."""

    name: str  # "teacher", or the targets of a student: "labels", "logits", "attention"
    seed: int
    steps: int
    teacher: Path | None
    output: Path
    data: Path


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the student trained with attention, first seed, in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        data = prepare_data(scratch, options.toy_clips, *options.toy_test_clips)
        note(f"{options.toy_clips} training clips rendered", begin)
        results = train_all(scratch, data, options, begin)
        save_shipped(output, scratch / f"attention-{options.toy_seeds[0]}", data, results["attention"][0])
    print(format_table(results))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


def prepare_data(folder: Path, num_clips: int, num_test_clips: int, num_shifted_clips: int) -> Path:
    """Write mouths, mel windows and loudness of all clips to one file; returns its path."""
    processor = VocaLiSTProcessor(face_size=FACE_SIZE)
    seen, unseen = [0, 72], [72, 96]
    parts = {
        "train": Talkers(num_clips, split="train", seconds=4.0, identities=seen, mouthing=0.0),
        "test": Talkers(num_test_clips, split="test", seconds=3.0, identities=unseen, mouthing=0.0),
        "shifted": Talkers(
            num_shifted_clips,
            split="shifted",
            seconds=3.0,
            identities=unseen,
            mouthing=0.0,
            offset_frames=[-MAX_SHIFT, MAX_SHIFT],
        ),
    }
    data = {name: [prepare_clip(clip, processor) for clip in clips.iterate()] for name, clips in parts.items()}
    torch.save(data, folder / "clips.pt")
    return folder / "clips.pt"


def prepare_clip(clip: dict, processor: VocaLiSTProcessor) -> dict:
    """Mouths, mel windows, loudness and offset of one clip."""
    crop = processor.convention
    boxes = as_detected(clip["boxes"][0], clip["seed"])
    mouths = [crop.cut(frame, box) for frame, box in zip(clip["frames"], boxes, strict=True)]
    samples, count = clip["audio"], processor.num_windows(len(mouths))
    length = processor.context_frames * SAMPLES_PER_FRAME
    starts = range(0, count * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME)
    return {
        "pixels": processor.to_pixel_values(np.stack(mouths)),  # (frames, 3, 24, 48) uint8
        "features": processor.audio_windows(processor.log_mel(torch.from_numpy(samples)), count),
        "loudness": torch.tensor([window_loudness(samples[start : start + length]) for start in starts]),
        "offset_frames": clip["offset_frames"],
    }


class Windows(torch.utils.data.Dataset):
    """Two random windows of each clip, each with its own sound and with the other's."""

    def __init__(self, clips: list[dict], processor: VocaLiSTProcessor):
        self.clips = [clip for clip in clips if (clip["loudness"] > 0.01).sum() > 10]
        self.processor = processor

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        # The loop seeds torch's generator for every sample, differently in each epoch.
        return self.draw(index, torch.Generator().manual_seed(int(torch.randint(2**62, ()))))

    def draw(self, index: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        starts = None
        while starts is None:
            clip = self.clips[index]
            loudness = clip["loudness"].numpy()
            starts = draw_two_windows(len(loudness), loudness, generator, min_gap=MIN_GAP)
            index = int(torch.randint(len(self.clips), (), generator=generator))
        return {
            "pixel_values": self.processor.video_windows(clip["pixels"])[list(starts)],
            "input_features": clip["features"][list(starts)],
            "pairs": torch.tensor(SWAPPED_PAIRS),
            "labels": torch.tensor(SWAPPED_LABELS),
        }


def train_all(scratch: Path, data: Path, options: argparse.Namespace, begin: float) -> dict[str, list[dict]]:
    """{"teacher", "labels", "logits", "attention": results per seed}."""
    teacher_steps, student_steps = options.toy_steps
    results: dict[tuple[str, int], dict] = {}
    with worker_pool(4 * len(options.toy_seeds)) as pool:

        def submit(name: str, seed: int, steps: int, teacher: Path | None = None) -> None:
            job = Job(name, seed, steps, teacher, scratch / f"{name}-{seed}", data)
            running[pool.submit(run, job)] = job

        running: dict[Future, Job] = {}
        for seed in options.toy_seeds:
            submit("teacher", seed, teacher_steps)
        for seed in options.toy_seeds:
            submit("labels", seed, student_steps)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, result = running.pop(future), future.result()
                results[job.name, job.seed] = result
                note(f"{job.name}, seed {job.seed}: " + ", ".join(f"{k} {v:.3f}" for k, v in result.items()), begin)
                if job.name == "teacher":
                    for name in ("logits", "attention"):
                        submit(name, job.seed, student_steps, job.output)
    names = ("teacher", "labels", "logits", "attention")
    return {name: [results[name, seed] for seed in options.toy_seeds] for name in names}


def make_network(name: str, seed: int):
    """Make a teacher or a student with random weights; students of one seed start from the same weights."""
    torch.manual_seed(seed)
    distillation = {
        "attention": {"target": "attention"},
        "logits": {"target": "logits", "temperature": 5.0},
    }.get(name)
    widths = TEACHER_WIDTHS if name == "teacher" else STUDENT_WIDTHS
    fields = {
        "hidden_size": widths[-1],
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "conv_channels": widths,
        "image_size": (FACE_SIZE // 2, FACE_SIZE),
        "visual_stages": ((5, 2, 4, 2, 0), (3, 2, 2, 1, 1), (3, 2, 2, 1, 1), (3, 1, 1, 0, 0)),
        "audio_stages": ((3, 2, 1, 1), (3, 2, 1, 1), (3, 2, 1, 1), (3, 2, 1, 0), (5, 1, 0, 0)),
        "skip_position_at_zero": False,
        "embedding_dropout": 0.0,
        "hidden_dropout": 0.0,
    }
    if name == "teacher":
        model = VocaLiSTForSequenceClassification(VocaLiSTConfig(**fields))
    else:
        model = MTDVocaLiSTForSequenceClassification(MTDVocaLiSTConfig(**fields, distillation=distillation))
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    # Small features let positions dominate from the first step, which so short a training needs.
    for encoder in (model.vocalist.visual_encoder, model.vocalist.audio_encoder):
        torch.nn.init.constant_(encoder.blocks[-1].norm.weight, 0.15)
    return model


def run(job: Job) -> dict[str, float]:
    """Train one network and test it; runs in a worker process."""
    logging.disable_progress_bar()
    data = torch.load(job.data, weights_only=True)
    processor = VocaLiSTProcessor(face_size=FACE_SIZE)
    teacher = None
    if job.teacher is not None:
        teacher = VocaLiSTForSequenceClassification.from_pretrained(job.teacher).eval()

    def loss(model, batch, step):
        if teacher is None:
            return model(**batch).loss
        return model(**batch, teacher=teacher_trace(teacher, *(batch[name] for name in INPUTS))).loss

    arguments = TrainingArguments(
        output_dir=str(job.output),
        max_steps=job.steps,
        batch_size=CLIPS_PER_BATCH,
        drop_last=True,
        learning_rate=LEARNING_RATE,
        schedule="cosine",
        warmup_steps=50,
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # bars of parallel processes would overwrite each other
    )
    model = make_network(job.name, job.seed)
    windows = Windows(data["train"], processor)
    train(model, windows, arguments, data_collator=join_windows, compute_loss=loss, processor=processor)
    return test(model, processor, data)


INPUTS = ("pixel_values", "input_features", "pairs")


@torch.inference_mode()
def test(model, processor: VocaLiSTProcessor, data: dict[str, list[dict]]) -> dict[str, float]:
    """Loss and accuracy on pairs; offsets of single windows, of windows in context, and of whole shifted clips."""
    model.eval()
    windows, generator = Windows(data["test"], processor), torch.Generator().manual_seed(0)
    indices = [index for index in range(len(windows)) for _ in range(TEST_PAIRS_PER_CLIP)]
    logits, labels = [], []
    for start in range(0, len(indices), 16):
        batch = join_windows([windows.draw(index, generator) for index in indices[start : start + 16]])
        logits.append(model(*(batch[name] for name in INPUTS[:2]), pairs=batch["pairs"]).logits[:, 0])
        labels.append(batch["labels"])
    logits, labels = torch.cat(logits), torch.cat(labels)

    clips = [score_clip(model, processor, clip, clip) for clip in data["test"]]
    single, context = mean_offset_accuracy(clips, (5, 15))
    found = [clip_offset(score_clip(model, processor, clip, clip)).offset_frames for clip in data["shifted"]]
    errors = np.array(found) - [clip["offset_frames"] for clip in data["shifted"]]
    return {
        "loss": float(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)),
        "pairs": float(((logits > 0) == (labels > 0.5)).float().mean()),
        "windows": float(single),
        "windows in context": float(context),
        "clips": float(np.mean(np.abs(errors) <= 1)),
    }


def score_clip(model, processor: VocaLiSTProcessor, clip: dict, sound: dict) -> np.ndarray:
    """Score the video of one clip against the sound of a clip, its own or another's."""
    video_windows = processor.video_windows(clip["pixels"])
    return model.score_offsets(video_windows, sound["features"], MAX_SHIFT).numpy()


def format_table(results: dict[str, list[dict[str, float]]]) -> str:
    columns = ("loss", "pairs", "windows", "windows in context", "clips")
    lines = [
        "tested on clips and people never seen: loss and accuracy on pairs (chance 0.693, 0.500); offsets within one",
        f"frame of windows of 5 frames, of 15, and of clips of 3 s shifted by -{MAX_SHIFT} to {MAX_SHIFT} frames "
        f"(chance {3 / (2 * MAX_SHIFT + 1):.3f})",
        f"{'learned by':<12}" + "".join(f"{name:>20}" for name in columns),
    ]
    for name, of_seeds in results.items():
        means = (np.mean([result[column] for result in of_seeds]) for column in columns)
        lines.append(f"{name:<12}" + "".join(f"{mean:20.3f}" for mean in means))
        for result in of_seeds:
            lines.append(f"{'':<12}" + "".join(f"{result[column]:20.3f}" for column in columns))
    pairs = list(zip(results["labels"], results["attention"], strict=True))
    controls = list(zip(results["labels"], results["logits"], strict=True))

    def changes(of: list, column: str) -> str:
        values = [after[column] - before[column] for before, after in of]
        return f"{np.mean(values):+.3f} ({' '.join(f'{value:+.3f}' for value in values)})"

    return "\n".join(
        [
            *lines,
            "",
            f"attention against labels alone: loss {changes(pairs, 'loss')}, windows within one frame "
            f"{changes(pairs, 'windows')}",
            f"logits against labels alone:    loss {changes(controls, 'loss')}, windows within one frame "
            f"{changes(controls, 'windows')}",
        ]
    )


def save_shipped(output: Path, trained: Path, data: Path, result: dict[str, float]) -> None:
    """Save model, processor and card as one folder for `from_pretrained`, without the distillation loss."""
    model = MTDVocaLiSTForSequenceClassification.from_pretrained(trained)
    model.eval().config.distillation, model.mtd_loss = None, None
    processor = VocaLiSTProcessor.from_pretrained(trained)
    clips = torch.load(data, weights_only=True)["shifted"]
    matched, mismatched = (
        [clip_offset(score_clip(model, processor, *pair)).confidence for pair in zip(clips, sounds, strict=True)]
        for sounds in (clips, clips[1:] + clips[:1])
    )
    # Exceeded by a twentieth of the clips whose sound belongs to another clip.
    model.config.min_confidence = round(float(np.quantile(mismatched, 0.95)), 3)
    reliable = np.mean(np.array(matched) >= model.config.min_confidence)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    measured = {
        f"{len(clips)} clips of 3 s, shifted by -15 to 15 frames, found within one frame": f"{result['clips']:.3f}",
        "windows of 5 frames found within one frame": f"{result['windows']:.3f}",
        "windows of 15 frames": f"{result['windows in context']:.3f}",
        "accuracy and loss on pairs": f"{result['pairs']:.3f}, {result['loss']:.3f}",
        "of them reliable, at a `min_confidence` that 5 % with someone else's sound reach": f"{reliable:.3f}",
    }
    save_card("mtdvocalist", output, measured)
