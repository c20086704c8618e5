"""The toy checkpoint of SlowFastSign: it reads sentences of ten glosses, signed by a drawn person.

    python examples/train_slowfast_cslr.py --toy --toy_world signs --output_dir toy

`avzoo.toyworld.signs` draws 112 x 112 pixels, of which the network sees half as many each way. It has a block per
stage, and learns in two parts:

1. The pathways learn to name signs cut out of their sentences, where each begins and ends being known: a linear layer
   on their mean features. This stands in for what the released training begins with, the weights of a SlowFast that
   was trained to name what people do in short clips.
2. All of it learns to spell, by the losses of the method, without being told where a sign is: pieces of sentences of up
   to four glosses, and later whole ones. The distillation has a weight of 1, not 25.

Clips are cut, mirrored, moved and recoloured anew each time. Reported are word error rates of other sentences that went
through a video file, by the people of the training and by strangers. All data are synthetic.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from toy.runs import note, open_output, run_jobs, save_card, save_in_half
from toy.slowfast_cslr import Collator, score
from transformers import AutoModelForCTC, AutoProcessor

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.toyworld.signs import NUM_SIGNERS, Signs
from avzoo.training import StepInfo, TrainingArguments, train

GLOSSES = ("FATHER", "CHILD", "NOT", "RAIN", "BIG", "CAR", "EAT", "COME", "WORK", "MORNING")
SIZE = 56  # pixels, of the 112 that are drawn
NUM_CLIPS, NUM_TEST_CLIPS = 1200, 60
CLIPS_IN_A_FILE = 100
NETWORK = {
    "depths": (1, 1, 1, 1),
    "temporal_blocks": (1, 1, 1, 1),
    "width": 8,
    "beta_inverse": 2,
    "hidden_size": 128,
    "distillation_weight": 1.0,
    "dropout": 0.2,
    "lstm_dropout": 0.1,
}
PATHWAY_STEPS, STEPS = 300, 700
BATCH_SIZE = 6
LEARNING_RATE, WARMUP_STEPS = 3e-3, 30
MOST_GLOSSES = 4  # of a piece of a sentence
WHOLE = (0.5, 0.25)  # after this part of the steps, this part of the batches has whole sentences
EDGE = 3  # frames that are left of the ways into and out of a piece, at least
SHIFT = 4  # pixels
TESTS = {
    "people of the training": range(NUM_SIGNERS),
    "strangers": range(NUM_SIGNERS, 2 * NUM_SIGNERS),
}


@dataclass(frozen=True)
class Rendering:
    """Training clips to draw: those from `first` to `last`, into a file."""

    first: int
    last: int
    path: Path


def train_reader(options: argparse.Namespace) -> None:
    """Draw, train, test and print; save the network in `options.output_dir`."""
    begin = time.perf_counter()
    seed = options.toy_seeds[0]
    with open_output(options.output_dir) as (output, scratch):
        clips = []
        for job, _ in run_jobs(render, list_renderings(scratch)):
            clips += torch.load(job.path, weights_only=True)
        note(f"{len(clips)} training clips drawn", begin)
        processor = make_processor()
        torch.manual_seed(seed)
        network = SlowFastSignForCTC(SlowFastSignConfig(**NETWORK, vocab_size=processor.num_classes))
        fit_pathways(network, clips, processor, seed, scratch / "pathways")
        note("the pathways name signs", begin)
        fit_reader(network, clips, processor, seed, scratch / "reader")
        note("the network reads sentences", begin)
        save_in_half(network.without_auxiliary(), output)
        processor.save_pretrained(output)
        errors = {name: measure(output, scratch, signers) for name, signers in TESTS.items()}
        save_measured(output, errors)
    for name, error in errors.items():
        print(f"word error rate of {NUM_TEST_CLIPS} synthetic sentences by {name}: {error:.1f} %")
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


# -------------------------------------------------------------------------------------------------------------- clips


def make_processor() -> SlowFastSignProcessor:
    return SlowFastSignProcessor(GLOSSES, resize_size=SIZE, crop_size=SIZE)


def list_renderings(folder: Path) -> list[Rendering]:
    return [
        Rendering(first, min(first + CLIPS_IN_A_FILE, NUM_CLIPS), folder / f"clips-{first}.pt")
        for first in range(0, NUM_CLIPS, CLIPS_IN_A_FILE)
    ]


def render(job: Rendering) -> None:
    """Draw clips, as the network sees them, in a worker process."""
    processor, world = make_processor(), Signs(job.last, split="reader", vocabulary=GLOSSES)
    clips = []
    for index in range(job.first, job.last):
        clip = world[index]
        frames = torch.from_numpy(processor.prepare_frames(clip["frames"]))
        clips.append({"frames": frames, "glosses": clip["glosses"], "spans": clip["spans"]})
    torch.save(clips, job.path)


class Pieces(torch.utils.data.Dataset):
    """Pieces of sentences, and whole ones, in the order of training; draws come from the global generators.

    Args:
        clips: `frames` (frames, SIZE, SIZE, 3) uint8, `glosses` and `spans` of each.
        counts: glosses of each piece; 0 stands for a whole sentence.
    """

    def __init__(self, clips: Sequence[dict[str, Any]], counts: Sequence[int]):
        self.clips, self.counts = clips, counts
        # Clips that have so many glosses.
        self.rows = {
            count: [row for row, clip in enumerate(clips) if len(clip["glosses"]) >= count] for count in set(counts)
        }

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        count = int(self.counts[index])
        clip = self.clips[np.random.choice(self.rows[count])]
        first, last = 0, len(clip["glosses"])
        if count:
            first = np.random.randint(last - count + 1)
            last = first + count
        return change_looks(cut_piece(clip, first, last))


def cut_piece(clip: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """The glosses from `first` to before `last`, with a part of the ways into the first and out of the last."""
    frames, spans = clip["frames"], clip["spans"]
    earliest = spans[first - 1][1] if first else 0
    latest = spans[last][0] if last < len(spans) else len(frames)
    start = np.random.randint(earliest, max(spans[first][0] - EDGE, earliest) + 1)
    stop = np.random.randint(min(spans[last - 1][1] + EDGE, latest), latest + 1)
    return {
        "frames": frames[start:stop].numpy(),
        "glosses": clip["glosses"][first:last],
        "spans": [[begin - start, end - start] for begin, end in spans[first:last]],
    }


def change_looks(clip: dict[str, Any]) -> dict[str, Any]:
    """The clip mirrored or not, moved a little, and of other colours and another brightness."""
    frames = clip["frames"][:, :, ::-1] if np.random.rand() < 0.5 else clip["frames"]
    padded = np.pad(frames, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    top, left = np.random.randint(2 * SHIFT + 1, size=2)
    gains, offset = np.random.uniform(0.8, 1.2, 3), np.random.uniform(-15, 15)
    table = np.clip(np.arange(256)[:, None] * gains + offset, 0, 255).astype(np.uint8)
    moved = padded[:, top : top + SIZE, left : left + SIZE]
    frames = np.stack([table[moved[..., channel], channel] for channel in range(3)], axis=-1)
    return {**clip, "frames": frames}


# ----------------------------------------------------------------------------------------------------------- training


class SignNaming(nn.Module):
    """The pathways with a linear layer that names signs."""

    def __init__(self, network: SlowFastSignForCTC):
        super().__init__()
        config = network.config
        self.slowfast, self.dropout = network.slowfast, nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.slow_size + config.fast_size, config.vocab_size)

    def forward(self, pixel_values: torch.Tensor, spans: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss. `spans` (signs, 3): clip, first frame and frame after the last; `labels` (signs,)."""
        features = self.dropout(self.slowfast(pixel_values).last_hidden_state)
        means = torch.stack([features[clip, begin:end].mean(0) for clip, begin, end in spans.tolist()])
        return nn.functional.cross_entropy(self.classifier(means), labels)


class SignCollator:
    """Clips to the arguments of [`SignNaming`]."""

    def __init__(self, processor: SlowFastSignProcessor):
        self.processor = processor

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        edge = self.processor.edge_frames
        spans = [
            (number, begin + edge, end + edge) for number, clip in enumerate(clips) for begin, end in clip["spans"]
        ]
        names = [gloss for clip in clips for gloss in clip["glosses"]]
        return {
            "pixel_values": self.processor(videos=[clip["frames"] for clip in clips])["pixel_values"],
            "spans": torch.tensor(spans),
            "labels": torch.tensor(self.processor.encode_glosses(names)),
        }


def fit_pathways(network, clips, processor, seed: int, output: Path) -> None:
    """Part 1."""
    counts = np.full(PATHWAY_STEPS * BATCH_SIZE, min(MOST_GLOSSES, max(len(clip["glosses"]) for clip in clips)))
    arguments = make_arguments(output, seed)
    train(
        SignNaming(network), Pieces(clips, counts), arguments, data_collator=SignCollator(processor), compute_loss=call
    )


def fit_reader(network, clips, processor, seed: int, output: Path) -> None:
    """Part 2."""
    generator = np.random.default_rng([seed, 0x52])
    counts = generator.integers(1, MOST_GLOSSES + 1, STEPS)
    late, share = WHOLE
    counts[(np.arange(STEPS) >= late * STEPS) & (generator.random(STEPS) < share)] = 0
    pieces = Pieces(clips, np.repeat(counts, BATCH_SIZE))  # clips of a batch are about as long
    train(network, pieces, make_arguments(output, seed), data_collator=Collator(processor))


def call(network: nn.Module, batch: dict[str, torch.Tensor], step: StepInfo) -> torch.Tensor:
    return network(**batch)


def make_arguments(output: Path, seed: int) -> TrainingArguments:
    """One pass over the data in their order."""
    return TrainingArguments(
        output_dir=str(output),
        num_epochs=1,
        batch_size=BATCH_SIZE,
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_STEPS,
        schedule="cosine",
        max_gradient_norm=5.0,
        shuffle=False,
        seed=seed,
        cpu=True,
    )


# ------------------------------------------------------------------------------------------------------------ results


def measure(model: Path, scratch: Path, signers: Sequence[int]) -> float:
    """Word error rate in percent of the saved network, on sentences of any length that went through video files."""
    network, processor = AutoModelForCTC.from_pretrained(model), AutoProcessor.from_pretrained(model)
    world = Signs(NUM_TEST_CLIPS, split="reader test", vocabulary=GLOSSES, signers=list(signers))
    clips = [{"frames": str(world.write(clip, scratch)[0]), "glosses": clip["glosses"]} for clip in world]
    return score(network, processor, clips)


def save_measured(output: Path, errors: dict[str, float]) -> None:
    """The card with what was measured."""
    measured = {
        f"word error rate of {NUM_TEST_CLIPS} synthetic sentences of 1 to 8 glosses, greedy decoding, {name}": (
            f"{error:.1f} %"
        )
        for name, error in errors.items()
    }
    save_card("slowfast_cslr", output, measured)
