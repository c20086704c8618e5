r"""Train SlowFastSign: the glosses of a video of signing, learnt from sentences without times.

On PHOENIX14, from a network that was trained on videos of actions, as the authors begin:

    avzoo convert slowfast_cslr SLOWFAST_64x2_R101_50_50.pkl slowfast
    accelerate launch examples/train_slowfast_cslr.py --model slowfast --dataset phoenix14 \
        --data_dir phoenix-2014-multisigner --mixed_precision fp16 --output_dir signs

or on PHOENIX14-T (`--dataset phoenix14t`), CSL-Daily (`csl_daily`), or your own clips (`folder`): videos, or folders of
frames, and a table `glosses.csv` with the columns path and glosses, and perhaps split. `--model` may be a sign model,
too. The vocabulary is that of the data, or `--vocabulary_file`; glosses that the model knows keep their weights, and a
line says how many are new. Frames of the public data sets may be the owners' or resized: both become 256 x 256 as the
authors resize them.

A clip that has fewer steps of four frames than its glosses need can't be learnt from by CTC. Such clips are named
before training, with their numbers, and so are unknown glosses; `--skip_short` leaves the clips out.

Defaults are the authors' recipe (kaistmm/SlowFastSign@37d1b6c): Adam, 1e-4, weight decay 1e-4 inside Adam, two clips
per step, 80 epochs, a fifth of the rate after 40 and again after 60, cuts of 224 of 256 pixels, mirrored in half of the
draws, clips up to a fifth shorter or longer. Where that would leave fewer steps than the glosses need, a clip keeps as
many. The authors skip batches whose loss is not finite; here that ends the run. They choose the best epoch on dev;
`--metric_for_best_model WER --no_greater_is_better` keeps it, too.

On drawn signs, with nothing to download, the paper's claim in minutes, and a network that reads a drawn person:

    python examples/train_slowfast_cslr.py --toy --output_dir toy
    python examples/train_slowfast_cslr.py --toy --toy_world signs --output_dir toy
"""

import argparse
import logging
import os
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers import AutoModelForCTC

from avzoo import SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.data.gloss_vocabulary import read_glosses
from avzoo.data.lists import describe_rows, keep_readable, refuse_empty_files
from avzoo.data.sign_datasets import PUBLIC, SIGN_PLACES, add_sign_options, describe_framing, read_training_rows
from avzoo.data.sign_sentences import Row
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.slowfast_cslr.training_slowfast_cslr import (
    SignClips,
    SignCollator,
    adapt_vocabulary,
    check_frames,
    compute_sign_loss,
    refuse_short_clips,
    report_gaps,
    set_auxiliary_branches,
)
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.pipelines.sign_language_recognition.evaluation import HEADS, recognize_signs, score_answers
from avzoo.training import TrainingArguments, report_errors, train

logger = logging.getLogger("avzoo.examples.train_slowfast_cslr")
LOSS_WEIGHTS = ("conv_loss_weight", "distillation_weight", "slow_loss_weight", "fast_loss_weight")


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import sign_reader, slowfast_cslr

        run = sign_reader.train_reader if options.toy_world == "signs" else slowfast_cslr.show_claim
        run(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows, dev, glosses = read_training_rows(options, options.dev_share)
    torch.manual_seed(arguments.seed)  # of new weights
    model, processor = load(options, glosses)
    rows, dev = check_readable(rows, options, processor), check_readable(dev, options, processor)
    rows = refuse_short_clips(rows, processor, skip_short=options.skip_short, unknown=options.unknown_glosses)
    report_gaps(rows)
    clips = SignClips(
        rows,
        processor,
        unknown=options.unknown_glosses,
        strength=options.rescaling,
        mirror_share=options.mirror_share,
    )
    clean_up = "phoenix" if options.dataset in PUBLIC else None

    def evaluate(network, accelerator):  # the processes share the clips
        share = dev[accelerator.process_index :: accelerator.num_processes]
        answers = recognize_signs(
            network, processor, share, num_beams=options.num_beams, num_workers=arguments.num_workers
        )
        parts = gather_object([answers])
        answers = {head: {name: part for one in parts for name, part in one[head].items()} for head in HEADS}
        rates = score_answers(dev, answers, clean_up).rates
        return {"WER": rates["sequence"].value, "WER conv": rates["conv"].value}

    train(
        model,
        clips,
        arguments,
        data_collator=SignCollator(processor),
        compute_loss=compute_sign_loss,
        evaluate=evaluate,
        processor=processor,
        options=TrainingArguments.list_other_options(options)
        | {
            "training clips": describe_rows(rows, ("id", "glosses")),
            "validation clips": describe_rows(dev, ("id", "glosses")),
            "vocabulary": describe_rows([{"gloss": gloss} for gloss in processor.glosses], ("gloss",)),
        },
        may_change=(*SIGN_PLACES, "model", "vocabulary_file", "num_beams", "skip_short", "skip_damaged"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="slowfast_cslr",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"`{options.dataset}`: {len(rows)} clips for training, {len(dev)} for validation, "
            f"{len(processor.glosses)} glosses",
            started_from=options.model,
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sign_options(parser)
    parser.add_argument("--dev_share", type=float, default=0.1, help="folder without splits: part to validate on")
    parser.add_argument("--model", help="folder or Hub id of a converted SlowFast, or of a sign model")
    parser.add_argument("--vocabulary_file", type=Path, help="gloss_dict.npy, or a text of one gloss per line")
    parser.add_argument(
        "--unknown_glosses", choices=("error", "drop"), default="error", help="what the vocabulary file lacks"
    )
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, leave out what can't be read")
    parser.add_argument("--skip_short", action="store_true", help="leave out clips too short for their glosses")
    parser.add_argument("--rescaling", type=float, default=0.2, help="clips get up to so much shorter or longer")
    parser.add_argument("--mirror_share", type=float, default=0.5, help="part of the clips that are mirrored")
    parser.add_argument("--no_auxiliary_branches", action="store_true", help="without losses of either pathway alone")
    parser.add_argument("--mask_padded_rows", action="store_true", help="distillation over real steps only")
    for name in LOSS_WEIGHTS:
        parser.add_argument(f"--{name}", type=float, help="default: the model's, as released")
    parser.add_argument("--num_beams", type=int, default=10, help="of the search in validation; 1: greedily")
    parser.add_argument("--toy", action="store_true", help="drawn signs instead of a dataset")
    parser.add_argument(
        "--toy_world",
        choices=("rapid_signs", "signs"),
        default="rapid_signs",
        help="with --toy: shapes that swing fast, for the claim, or a drawn person (%(default)s)",
    )
    parser.add_argument(
        "--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report; of signs the first"
    )
    TrainingArguments.add_to(
        parser,
        output_dir="slowfast-cslr-trained",
        num_epochs=80,
        batch_size=2,
        optimizer="adam",
        learning_rate=1e-4,
        weight_decay=1e-4,
        max_gradient_norm=None,
        schedule="step",
        schedule_milestones=(40, 60),
        schedule_factor=0.2,
        evaluate_every_epochs=1,
        checkpoint_every_steps=2_000,
    )
    options = parser.parse_args()
    if not options.toy and options.model is None:
        parser.error(
            "--model is needed: a folder that `avzoo convert slowfast_cslr` wrote, of SLOWFAST_64x2_R101_50_50.pkl or "
            "of a sign model"
        )
    return options


def check_readable(rows: list[Row], options: argparse.Namespace, processor: SlowFastSignProcessor) -> list[Row]:
    """The rows whose clips can be read; without `--skip_damaged`, those that can't are told when they are read."""
    if options.skip_damaged:
        return keep_readable(rows, lambda row: check_frames(row, processor), "clips")
    refuse_empty_files(row["path"] for row in rows if os.path.isfile(row["path"]))
    return rows


def load(options: argparse.Namespace, glosses: list[str]) -> tuple[SlowFastSignForCTC, SlowFastSignProcessor]:
    """The model to start from, with a classifier for these glosses, and its processor."""
    model = load_checked_model(AutoModelForCTC, options.model)
    if not isinstance(model, SlowFastSignForCTC):
        raise ValueError(f"`model` ({options.model}) is a {type(model).__name__}; a SlowFastSignForCTC is needed.")
    processor = SlowFastSignProcessor.from_pretrained(options.model)
    if options.vocabulary_file is not None:
        glosses = read_glosses(options.vocabulary_file)
    elif set(glosses) <= set(processor.glosses or []):
        glosses = processor.glosses  # the model knows all of them, and perhaps more
    framing = describe_framing(options.dataset, processor.resize_size)
    model, processor, of_vocabulary = adapt_vocabulary(model, processor, glosses, **framing)
    model, of_branches = set_auxiliary_branches(model, not options.no_auxiliary_branches)
    for notice in (of_vocabulary, of_branches):
        if notice is not None:
            logger.warning(notice)
    for name in LOSS_WEIGHTS:
        if getattr(options, name) is not None:
            setattr(model.config, name, getattr(options, name))
    if options.mask_padded_rows:
        model.config.count_padded_rows = False
    model.config.validate()
    return model, processor


if __name__ == "__main__":
    main()
