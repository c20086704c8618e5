"""The toy checkpoint of SlowFastSign: it reads sentences of ten glosses, signed by a drawn person.

    python examples/train_slowfast_cslr.py --toy --toy_world signs --output_dir toy

`avzoo.toyworld.signs` draws 112 x 112 pixels; half of that is seen, after the pictures went through a video file, as
they do in use. The network is that of `slowfast_cslr.py`, a block per stage, and learns in two parts:

1. The pathways learn to name signs cut out of their sentences, where each begins and ends being known: a linear layer on
   their mean features. This stands in for the weights that the released training begins with, of SlowFast as it was
   trained to name what people do in short clips.
2. All of it learns to spell, by the losses of the method, without knowing where a sign is: pieces of sentences of one to
   four glosses, and whole ones. The distillation has a weight of 1, not 25.

Clips are mirrored, moved and recoloured as they are drawn. Reported are word error rates of other sentences, by the same
people and by people that no training has seen, by greedy decoding and by beam search. All data are synthetic.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from toy.runs import note, open_output, run_jobs, save_card, save_in_half
from toy.slowfast_cslr import Collator, make_tokenizer
from transformers.utils import logging

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.metrics.sign_glosses import word_error_rate
from avzoo.toyworld.signs import NUM_SIGNERS, Signs
from avzoo.training import TrainingArguments, train
from avzoo.video import read_video, write_video

GLOSSES = ("FATHER", "CHILD", "NOT", "RAIN", "BIG", "CAR", "EAT", "COME", "WORK", "MORNING")
SIZE = 56  # pixels, of the 112 that are drawn
NUM_CLIPS, NUM_TEST_CLIPS = 1200, 96
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
PATHWAY_STEPS, STEPS = 600, 2400
BATCH_SIZE = 6
LEARNING_RATE, WARMUP_STEPS = 3e-3, 30
PIECE = (3, 4)  # glosses of the pieces that the pathways learn from
WHOLE_FROM = 0.6  # part of the steps after which every other batch has whole sentences
SHIFT = 4  # pixels


@dataclass(frozen=True)
class Rendering:
    """Clips to draw: those from `first` to `last` of a split, into a file."""

    split: str
    first: int
    last: int
    path: Path


def train_reader(options: argparse.Namespace) -> None:
    """Draw, train, test and print; save the network in `options.output_dir`."""
    begin = time.perf_counter()
    logging.disable_progress_bar()
    seed = options.toy_seeds[0]
    with open_output(options.output_dir) as (output, scratch):
        clips = load_clips(draw_clips(scratch, "train", NUM_CLIPS))
        note(f"{NUM_CLIPS} training clips drawn", begin)
        processor = SlowFastSignProcessor(make_tokenizer(GLOSSES), resize_size=SIZE, crop_size=SIZE)
        torch.manual_seed(seed)
        network = SlowFastSignForCTC(SlowFastSignConfig(**NETWORK, vocab_size=1 + len(GLOSSES)))
        fit_pathways(network, clips, processor, seed, scratch / "pathways")
        note("the pathways know signs", begin)
        fit_reader(network, clips, processor, seed, scratch / "reader")
        note("trained", begin)
        save_in_half(network.without_auxiliary(), output)
        processor.save_pretrained(output)
        measured = {name: measure(output, split, signers) for name, (split, signers) in TESTS.items()}
        save_measured(output, measured)
    for name, values in measured.items():
        print(f"{name}: " + ", ".join(f"{value:.1f} % by {decoder}" for decoder, value in values.items()))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")
