r"""Train an AST from coarse to fine: on short spectrograms first, at full resolution last.

On a public dataset as its owners lay it out, or on your own recordings, in a folder for each class (`--dataset folder`)
or named by a table of paths and labels (`--dataset csv`), from any AST or FlexiAST:

    accelerate launch examples/train_coarse_to_fine_ast.py --dataset esc50 --data_dir ESC-50-master --model AST_FOLDER \
        --temporal_compression pooling --phases 4:7 2:7 1:6 --output_dir ast-esc50

`--phases` names factor and epochs of each phase; `4:7x48` takes batches of 48 in it. The result is an ordinary AST, and
so is each phase's end in `output_dir/phase-<number>`, for its resolution. The defaults are the authors' recipe for AST
(Adam, rate 1e-5, batch 12, warm-up of 1000 steps in every phase; JiuFengSC/ElasticAST@da75493); their numbers of epochs
per phase are not known. Features of a phase are computed at its resolution, frame shift needs `factor` times fewer
FFTs.

On synthetic sound events, with nothing to download and no network, the paper's claim in minutes:

    python examples/train_coarse_to_fine_ast.py --toy --output_dir toy

It prints FLOPs, seconds and accuracy of straight training, of the three compressions, and of straight training on their
budget, over three seeds, and draws accuracy against FLOPs.
"""

import argparse
from functools import partial

import torch

from avzoo import (
    CoarseToFineASTFeatureExtractor,
    CoarseToFineASTForAudioClassification,
    Phase,
    PhaseSchedule,
    train_in_phases,
)
from avzoo.checks import check_whole_number
from avzoo.conversion.any_ast import adapt_head, load_any_ast
from avzoo.data.audio_tagging import DATA_PLACES, add_tagging_options, read_tagging_data
from avzoo.metrics import accuracy, average_precision
from avzoo.model_cards.trained import write_trained_card
from avzoo.models.flexiast.augmentation import mask_spectrogram
from avzoo.models.flexiast.training_flexiast import TaggedClips, collate_clips
from avzoo.training import TrainingArguments, report_errors


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import coarse_to_fine_ast

        coarse_to_fine_ast.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    schedule = make_schedule(options)
    check_whole_number("phase_statistics", options.phase_statistics, at_least=0, unit="clips")
    data = read_tagging_data(options)
    torch.manual_seed(arguments.seed)  # of a new head
    model, extractor = load(options, data.names)
    print(f"the plan costs {schedule.full_epochs(model):.2f} epochs at full resolution")
    if options.phase_statistics:
        for phase in schedule.phases:
            extractor.set_phase(**phase.settings)
            extractor.measure_statistics(clip["path"] for clip in data.train[: options.phase_statistics])
    validation_clips = TaggedClips(data.validation, extractor)
    to_batch = partial(collate_clips, extractor=extractor, label2id=model.config.label2id)

    def augment(batch, step, phase):
        features = mask_spectrogram(
            batch["input_values"],
            step.rank_generator,
            max_mel_bins=phase.max_masked_mel_bins,
            max_frames=phase.max_masked_frames,
            value=float(extractor.normalize(torch.zeros(()))),
        )
        return {**batch, "input_values": features}

    result = train_in_phases(
        model,
        TaggedClips(data.train, extractor, options.mixup),
        arguments,
        schedule,
        data_collator=to_batch,
        batch_transform=augment,
        evaluate=partial(evaluate, dataset=validation_clips, to_batch=to_batch, batch_size=arguments.batch_size),
        processor=extractor,
        options=TrainingArguments.list_other_options(options) | data.describe(),
        may_change=DATA_PLACES,
        write_card=lambda result, repository: write_trained_card(
            {f"{name}, after {len(result.phases)} phases": f"{value:.4g}" for name, value in result.metrics.items()}
            | {"FLOPs of training": f"{result.flops:.3g}"},
            method="coarse_to_fine_ast",
            output_dir=arguments.output_dir,
            repository=repository,
            data=data.summarize(options),
            started_from=options.model,
        ),
    )
    for phase, done in zip(schedule.phases, result.phases, strict=True):
        print(
            f"factor {phase.compression_factor:g}: {done.steps} steps, {done.flops:.3g} FLOPs, {done.seconds:.0f} s, "
            + ", ".join(f"{name} {value:.4f}" for name, value in done.metrics.items())
        )
    print(f"in all {result.flops:.3g} FLOPs, {result.seconds:.0f} s")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tagging_options(parser)
    parser.add_argument("--model", help="AST or FlexiAST to start from: a folder, a checkpoint file or a Hub id")
    parser.add_argument("--temporal_compression", choices=["frame_shift", "pooling", "patchify"], default="pooling")
    parser.add_argument("--pooling", choices=["max", "mean"], default="max", help="of consecutive frames")
    parser.add_argument(
        "--phases",
        nargs="+",
        default=["4:7", "2:7", "1:6"],
        metavar="FACTOR:EPOCHS[xBATCH]",
        help="phases in their order (%(default)s)",
    )
    parser.add_argument("--patience", type=int, help="end a phase after so many evaluations without a gain")
    parser.add_argument("--allow_coarsening", action="store_true", help="let phases get coarser again")
    parser.add_argument("--phase_statistics", type=int, default=0, help="clips to measure each phase's mean and std on")
    parser.add_argument("--mixup", type=float, default=0.0, help="part of the clips mixed with another (AudioSet: 0.5)")
    parser.add_argument("--max_length", type=int, help="frames at full resolution, 100 per second; as the model has")
    parser.add_argument("--toy", action="store_true", help="synthetic sound events instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    parser.add_argument("--toy_clips", type=int, default=3200, help="with --toy: training clips")
    parser.add_argument("--toy_test_clips", type=int, default=400, help="with --toy: test clips")
    parser.add_argument("--toy_epochs", type=float, default=10, help="with --toy: epochs of straight training")
    parser.add_argument("--toy_width", type=int, nargs=2, default=[64, 2], help="with --toy: hidden size and layers")
    TrainingArguments.add_to(
        parser,
        output_dir="coarse-to-fine-ast-trained",
        batch_size=12,
        optimizer="adam",
        learning_rate=1e-5,
        adam_beta1=0.95,
        weight_decay=5e-7,
        max_gradient_norm=None,
        warmup_steps=1000,
        evaluate_every_epochs=1,
    )
    options = parser.parse_args()
    missing = [f"--{name}" for name in ("dataset", "model") if getattr(options, name) is None]
    if missing and not options.toy:
        parser.error(f"{', '.join(missing)} must be given, or --toy")
    return options


def make_schedule(options: argparse.Namespace) -> PhaseSchedule:
    """The phases of the command line."""
    phases = []
    for text in options.phases:
        factor, _, length = text.partition(":")
        epochs, _, batch_size = length.partition("x")
        try:
            sizes = {"compression_factor": float(factor), "num_epochs": float(epochs)}
            sizes["batch_size"] = int(batch_size) if batch_size else None
        except ValueError as error:
            hint = "is not FACTOR:EPOCHS or FACTOR:EPOCHSxBATCH, such as 4:7 or 4:7x48"
            raise SystemExit(f"--phases: {text!r} {hint}") from error
        phases.append(
            Phase(
                **sizes,
                patience=options.patience,
                schedule=options.schedule,
                warmup_steps=options.warmup_steps,
                schedule_milestones=options.schedule_milestones,
                schedule_factor=options.schedule_factor,
            )
        )
    metric = "mAP" if options.multi_label else "accuracy"
    return PhaseSchedule(phases, metric=metric, allow_coarsening=options.allow_coarsening)


def load(options: argparse.Namespace, names: list[str]):
    """The model to start from, with a head for these classes, and its feature extractor."""
    ast, extractor = load_any_ast(options.model)
    theirs = extractor.to_dict()
    if options.max_length is not None:
        check_whole_number("max_length", options.max_length, at_least=ast.config.patch_size[1], unit="frames")
        ast = ast.fold(num_frames=options.max_length)
    method = {"temporal_compression": options.temporal_compression, "pooling": options.pooling}
    model = CoarseToFineASTForAudioClassification.from_flexiast(ast, **method)
    config = model.config
    config.problem_type = "multi_label_classification" if options.multi_label else "single_label_classification"
    extractor = CoarseToFineASTFeatureExtractor(
        **{name: theirs[name] for name in ("sampling_rate", "mean", "std", "channels") if name in theirs},
        **method,
        num_mel_bins=config.num_mel_bins,
        max_length=config.max_length,
        frame_multiple=config.patch_size[1],
    )
    return adapt_head(model, names), extractor


def evaluate(model, accelerator, dataset: TaggedClips, to_batch, batch_size: int) -> dict[str, float]:
    """Accuracy, or for several labels mAP, at the resolution of the phase. The ranks share the clips."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, collate_fn=to_batch)
    scores, targets = [], []
    for batch in accelerator.prepare_data_loader(loader):
        targets.append(accelerator.gather_for_metrics(batch.pop("labels")).cpu())
        scores.append(accelerator.gather_for_metrics(model(**batch).logits.float()).cpu())
    logits, truth = torch.cat(scores).numpy(), torch.cat(targets).numpy()
    if model.config.problem_type != "multi_label_classification":
        return {"accuracy": accuracy(logits, truth)}
    present = truth.any(axis=0)  # average precision needs a positive clip
    return {"mAP": float(average_precision(logits[:, present], truth[:, present]).mean())}


if __name__ == "__main__":
    main()
