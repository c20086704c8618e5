r"""Train a FlexiAST: an audio tagger for every patch size.

On a public dataset as its owners lay it out, or on your own recordings, in a folder for each class (`--dataset folder`)
or named by a table of paths and labels (`--dataset csv`), from any AST or FlexiAST:

    accelerate launch examples/train_flexiast.py --dataset esc50 --data_dir ESC-50-master \
        --model MIT/ast-finetuned-audioset-10-10-0.4593 --output_dir flexiast-esc50
    accelerate launch examples/train_flexiast.py --dataset folder --data_dir recordings --model AST_FOLDER \
        --output_dir flexiast-mine

The defaults are the authors' recipe for VGGSound (JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8): Adam, rate 1e-5, full for
two epochs and then halved every epoch, a random patch size per step. `--fixed_patch_size` trains a plain AST, the stage
before. Every process draws the same size, so ranks never wait for each other.

On synthetic sound events, with nothing to download and no network, the paper's claim in minutes:

    python examples/train_flexiast.py --toy --output_dir toy

It prints accuracy by patch size for a plain AST, the same AST flexified, and two controls, over three seeds.
"""

import argparse
from functools import partial

import numpy as np
import torch

from avzoo.checks import check_whole_number
from avzoo.conversion.any_ast import adapt_head, load_any_ast
from avzoo.data.audio_tagging import DATA_PLACES, add_tagging_options, read_tagging_data
from avzoo.metrics import accuracy, average_precision
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.flexiast.augmentation import mask_spectrogram
from avzoo.models.flexiast.training_flexiast import TaggedClips, collate_clips
from avzoo.training import TrainingArguments, report_errors, train

SQUARE_SIZES = [8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48]


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import flexiast

        flexiast.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    data = read_tagging_data(options)
    torch.manual_seed(arguments.seed)  # of new classes in the head
    model, extractor = load(options, data.names)
    validation_clips = TaggedClips(data.validation, extractor)
    to_batch = partial(collate_clips, extractor=extractor, label2id=model.config.label2id)
    normalized_zero = float(extractor.normalize(torch.zeros(())))

    def augment(batch, step):
        features = mask_spectrogram(batch["input_values"], step.rank_generator, value=normalized_zero)
        return {**batch, "input_values": features}

    def loss(model, batch, step):
        return model(**batch, generator=None if options.fixed_patch_size else step.generator).loss

    train(
        model,
        TaggedClips(data.train, extractor, options.mixup),
        arguments,
        data_collator=to_batch,
        batch_transform=augment,
        compute_loss=loss,
        evaluate=partial(evaluate, dataset=validation_clips, to_batch=to_batch, batch_size=arguments.batch_size),
        processor=extractor,
        options=TrainingArguments.list_other_options(options) | data.describe(),
        may_change=DATA_PLACES,
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="flexiast",
            output_dir=arguments.output_dir,
            repository=repository,
            data=data.summarize(options),
            started_from=options.model,
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tagging_options(parser)
    parser.add_argument("--model", help="AST or FlexiAST to start from: a folder, a checkpoint file or a Hub id")
    parser.add_argument("--patch_sizes", type=int, nargs="+", default=SQUARE_SIZES, help="sizes to draw from")
    parser.add_argument("--fixed_patch_size", action="store_true", help="train at the base size only: a plain AST")
    parser.add_argument("--mixup", type=float, default=0.0, help="part of the clips mixed with another (AudioSet: 0.5)")
    parser.add_argument("--max_length", type=int, default=1024, help="frames of an input, 100 per second")
    parser.add_argument("--toy", action="store_true", help="synthetic sound events instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    parser.add_argument("--toy_clips", type=int, default=3200, help="with --toy: training clips")
    parser.add_argument("--toy_test_clips", type=int, default=400, help="with --toy: test clips")
    parser.add_argument("--toy_epochs", type=float, nargs=2, default=[2.25, 7], help="with --toy: plain, then flexible")
    parser.add_argument("--toy_width", type=int, nargs=2, default=[64, 2], help="with --toy: hidden size and layers")
    parser.add_argument("--toy_controls", action=argparse.BooleanOptionalAction, default=True)
    TrainingArguments.add_to(
        parser,
        output_dir="flexiast-trained",
        num_epochs=20,
        batch_size=12,
        optimizer="adam",
        learning_rate=1e-5,
        adam_beta1=0.95,
        weight_decay=5e-7,
        max_gradient_norm=None,
        schedule="step",
        schedule_milestones=tuple(range(2, 20)),
        warmup_steps=1000,
        evaluate_every_epochs=1,
    )
    options = parser.parse_args()
    missing = [f"--{name}" for name in ("dataset", "model") if getattr(options, name) is None]
    if missing and not options.toy:
        parser.error(f"{', '.join(missing)} must be given, or --toy")
    return options


def load(options: argparse.Namespace, names: list[str]):
    """The model to start from, with a head for these classes, and its feature extractor."""
    check_whole_number("max_length", options.max_length, at_least=max(options.patch_sizes), unit="frames")
    model, extractor = load_any_ast(options.model, variant="flexify")
    extractor.max_length = options.max_length
    config = model.config
    config.patch_sizes = list(options.patch_sizes)
    config.problem_type = "multi_label_classification" if options.multi_label else "single_label_classification"
    return adapt_head(model, names), extractor


def evaluate(model, accelerator, dataset: TaggedClips, to_batch, batch_size: int) -> dict[str, float]:
    """Accuracy, or for several labels mAP, at every patch size, and their mean. The ranks share the clips."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, collate_fn=to_batch)
    scores: dict[tuple[int, int], list[torch.Tensor]] = {size: [] for size in model.config.patch_sizes}
    targets = []
    for batch in accelerator.prepare_data_loader(loader):
        targets.append(accelerator.gather_for_metrics(batch.pop("labels")).cpu())
        for size, results in scores.items():
            logits = model(**batch, patch_size=size).logits.float()
            results.append(accelerator.gather_for_metrics(logits).cpu())
    truth = torch.cat(targets).numpy()
    several = model.config.problem_type == "multi_label_classification"
    present = truth.any(axis=0)  # average precision needs a positive clip
    metrics = {}
    for (mel_bins, frames), results in scores.items():
        logits = torch.cat(results).numpy()
        if several:
            metrics[f"mAP_{mel_bins}x{frames}"] = float(average_precision(logits[:, present], truth[:, present]).mean())
        else:
            metrics[f"accuracy_{mel_bins}x{frames}"] = accuracy(logits, truth)
    return metrics | {"mean": float(np.mean(list(metrics.values())))}


if __name__ == "__main__":
    main()
