r"""Train cross-modal alignment: where in a picture what is heard is, learnt from videos without labels.

On VGGSound, a picture and ten seconds of sound for each clip, in the authors' layout:

    python examples/mine_neighbours.py --dataset vggsound --data_dir vggsound --list train.txt \
        --image_model openai/clip-vit-base-patch32 --audio_model MIT/ast-finetuned-audioset-10-10-0.4593 \
        --output neighbours.safetensors
    accelerate launch examples/train_ssl_alignment.py --dataset vggsound --data_dir vggsound --list train.txt \
        --neighbours neighbours.safetensors --output_dir ssl-alignment

or on Flickr-SoundNet (`--dataset flickr`), a table of pictures and sounds (`csv`), or a folder of your own videos
(`folder`): their middle frame and the sound around it. Every clip is seen in three views, as it is, augmented, and
replaced by a similar picture and a similar sound, and all nine pairs are to match. `--no_similar` needs no neighbours;
with `--no_augmented` as well one pair is left. Defaults are the authors' recipe (kaistmm/ssl_kccv@7e178e675f1b): Adam,
1e-4, weight decay 1e-4 inside Adam, batches of 16 and what is left of them, 80 epochs, a constant rate; weights from
scratch, or the picture's trunk from an ImageNet ResNet-18 (`--image_weights`). `--model` goes on with a model.

The authors evaluated on the whole VGG-SS test set every 1500 steps and kept the best checkpoint on it. Here a part of
the training list is held out and measured on (`--val_share`), and the last checkpoint is kept; with
`--metric_for_best_model "R@1 image to sound"` the best on that part, too. Published numbers have that advantage.
`--eval_dataset vggss --eval_root VGGSS` also reports a test set each time, which is not for choosing by.

On drawn scenes with their sounds, with nothing to download, the paper's claim in minutes:

    python examples/train_ssl_alignment.py --toy --output_dir toy
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.conversion.resnet18 import load_resnet18
from avzoo.data.image_sound_clips import CLIP_PLACES, add_training_clip_options, read_training_clips
from avzoo.data.lists import describe_rows
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.ssl_alignment.augmentation import JITTERS
from avzoo.models.ssl_alignment.neighbours import SimilarClips, read_neighbours
from avzoo.models.ssl_alignment.training_ssl_alignment import (
    AlignmentClips,
    AlignmentTraining,
    CentreClips,
    evaluate_alignment,
)
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.pipelines.sound_source_localization.evaluation import evaluate_localization
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS, read_test_set
from avzoo.training import TrainingArguments, report_errors, train


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import ssl_alignment

        ssl_alignment.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows, held_out = read_training_clips(options)
    similar = None
    if not options.no_similar:
        similar = SimilarClips(read_neighbours(*options.neighbours), [row["id"] for row in rows])
    torch.manual_seed(arguments.seed)  # of new weights
    model, processor = load(options)
    views = ["original"] + ["augmented"] * (not options.no_augmented) + ["similar"] * (similar is not None)
    network = AlignmentTraining(
        model,
        use_localization=options.terms != "alignment",
        use_alignment=options.terms != "localization",
        intra_modal=[(0, views.index(view)) for view in options.intra_modal],
        gather=options.gather,
        chunk_size=options.chunk_size,
    )
    clips = AlignmentClips(
        rows,
        processor,
        augmented=not options.no_augmented,
        similar=similar,
        jitter=options.jitter,
        turn_whole=options.turn_whole,
    )

    samples = list(read_test_set(options.eval_dataset, options.eval_root)) if options.eval_dataset else []

    def evaluate(network, accelerator):
        if not accelerator.is_main_process:
            return {}
        size = arguments.batch_size
        metrics = evaluate_alignment(network, CentreClips(held_out, processor), size, accelerator.device)
        if samples:
            report = evaluate_localization(network.model, processor, samples, options.eval_dataset, batch_size=size)
            scores = report.scores["model"].items()
            metrics |= {f"{options.eval_dataset} {name}": 100 * value for name, value in scores}
        return metrics

    train(
        network,
        clips,
        arguments,
        compute_loss=lambda network, batch, _: network(**batch),
        evaluate=evaluate,
        processor=processor,
        options=TrainingArguments.list_other_options(options)
        | {
            "training clips": describe_rows(rows, ("id",)),
            "held out clips": describe_rows(held_out, ("id",)),
            "neighbour lists": None if similar is None else similar.describe(),
        },
        may_change=(*CLIP_PLACES, "skip_damaged", "neighbours", "chunk_size", "eval_dataset", "eval_root"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="ssl_alignment",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"`{options.dataset}`: {len(rows)} clips for training, {len(held_out)} held out for evaluation, "
            f"views {', '.join(views)}",
            started_from=options.model or options.image_weights,
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_clip_options(parser)
    parser.add_argument("--eval_dataset", choices=PROTOCOLS, help="test set to report beside that part, in per cent")
    parser.add_argument("--eval_root", type=Path, help="folder of --eval_dataset, in its owners' layout")
    parser.add_argument("--model", help="model to go on with: a folder or a Hub id")
    parser.add_argument(
        "--image_weights", help="of a new model's picture trunk: an ImageNet ResNet-18, a file, folder or Hub id"
    )
    parser.add_argument("--level", type=float, help="of a new model: bring every clip to this RMS, such as 0.1")
    parser.add_argument(
        "--neighbours",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="lists of similar clips, or the authors' two JSON files",
    )
    parser.add_argument("--no_similar", action="store_true", help="without the view of similar clips")
    parser.add_argument("--no_augmented", action="store_true", help="without the augmented view")
    parser.add_argument("--terms", choices=["both", "localization", "alignment"], default="both", help="of the loss")
    parser.add_argument(
        "--intra_modal", nargs="+", choices=["augmented", "similar"], default=[], help="compare within a modality, too"
    )
    parser.add_argument("--plain_mean", action="store_true", help="average maps without a mask, the paper's formula")
    parser.add_argument("--jitter", choices=JITTERS, default="released", help="of colours (%(default)s)")
    parser.add_argument("--turn_whole", action="store_true", help="turn pictures with their frame")
    parser.add_argument("--gather", action="store_true", help="compare with the batches of all processes")
    parser.add_argument("--chunk_size", type=int, help="pictures compared at a time: less memory for large batches")
    parser.add_argument("--toy", action="store_true", help="drawn scenes with their sounds instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    TrainingArguments.add_to(
        parser,
        output_dir="ssl-alignment-trained",
        num_epochs=80,
        batch_size=16,
        optimizer="adam",
        learning_rate=1e-4,
        weight_decay=1e-4,
        max_gradient_norm=None,
        evaluate_every_epochs=1,
        checkpoint_every_steps=10_000,
    )
    options = parser.parse_args()
    if options.toy:
        return options
    if options.no_similar == (options.neighbours is not None):
        parser.error("give either --neighbours, which examples/mine_neighbours.py finds, or --no_similar")
    if options.neighbours is not None and len(options.neighbours) > 2:
        parser.error("--neighbours takes one file of ours, or the authors' two: pictures, then sounds")
    for view, is_left_out in (("augmented", options.no_augmented), ("similar", options.no_similar)):
        if is_left_out and view in options.intra_modal:
            parser.error(f"--intra_modal {view} needs the view that --no_{view} leaves out")
    if (options.eval_dataset is None) != (options.eval_root is None):
        parser.error("--eval_dataset and --eval_root belong together")
    if options.batch_size == 1 and not options.gather:
        parser.error("--batch_size must be 2 or more: a clip is told from the others of its batch, alone its loss is 0")
    for name in ("image_weights", "level"):
        if options.model is not None and getattr(options, name) is not None:
            parser.error(f"--{name} is for a new model; --model has its own")
    return options


def load(options: argparse.Namespace) -> tuple[SSLAlignmentForSoundLocalization, SSLAlignmentProcessor]:
    """The model to start from, and its processor."""
    if options.model is None:
        model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(soft_mask=not options.plain_mean))
        if options.image_weights is not None:
            load_resnet18(model.alignment.image_trunk, options.image_weights)
        return model, SSLAlignmentProcessor(level=options.level)
    model = load_checked_model(AutoModel, options.model)
    if not isinstance(model, SSLAlignmentForSoundLocalization):
        raise ValueError(
            f"`model` ({options.model}) is a {type(model).__name__}; a SSLAlignmentForSoundLocalization is needed."
        )
    if options.plain_mean:
        model.config.soft_mask = False
    model.config.confidence_threshold = None  # of the weights as they were
    return model, SSLAlignmentProcessor.from_pretrained(options.model)


if __name__ == "__main__":
    main()
