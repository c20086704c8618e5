r"""Train ACL-SSL: CLIP hears where in a picture the sound is, learnt from pictures with their sounds, without labels.

A frozen BEATs and a frozen CLIPSeg, 241 M weights, and between them 7.3 M that are trained. On VGGSound, in the
authors' layout, with the frozen networks of a converted folder:

    avzoo convert acl_ssl Param_best.pth acl-ssl --part beats=BEATS.pt --part clipseg=CIDAS/clipseg-rd64-refined
    accelerate launch examples/train_acl_ssl.py --model acl-ssl --dataset vggsound --data_dir vggsound \
        --list train.txt --output_dir acl-ssl-trained

or on Flickr-SoundNet (`--dataset flickr`), a table of pictures and sounds (`csv`), or a folder of your own videos
(`folder`): their middle frame and the sound around it. The trained weights are drawn anew, unless `--keep_trained`.
Defaults are the authors' recipe (swimmiing/ACL-SSL@57f4a6c; their paper's rate of 1e-3 is a misprint by their own
account): Adam, 1e-4, weight decay 1e-4 inside Adam, batches of 8 without the last, smaller one, 20 epochs, a constant
rate. Each process compares within its own batch. The authors' released weights are those of one process, which saw
half of the data in each epoch, its encoders in training mode (one layer of BEATs in twenty left out at random); here
encoders stay in evaluation mode, and processes average their gradients.

The authors chose the best epoch on the VGG-SS test set. Here a part of the training list is held out and measured on
(`--val_share`), and the last checkpoint is kept; with `--metric_for_best_model "R@1 image to sound"` the best on that
part, too. Published numbers have that advantage.

On drawn scenes with their sounds, with nothing to download, the method's claim in minutes:

    python examples/train_acl_ssl.py --toy --output_dir toy
"""

import argparse

import torch
from transformers import AutoModel

from avzoo import ACLForSoundLocalization, ACLProcessor
from avzoo.checks import check_number
from avzoo.data.image_sound_clips import CLIP_PLACES, add_training_clip_options, read_training_clips
from avzoo.data.lists import describe_rows
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.acl_ssl.training_acl_ssl import ACLClips, ACLTraining, evaluate_acl
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.training import TrainingArguments, report_errors, train


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import acl_ssl

        acl_ssl.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows, held_out = read_training_clips(options)
    torch.manual_seed(arguments.seed)  # of new weights
    model, processor = load(options)

    def evaluate(network, accelerator):
        if not accelerator.is_main_process:
            return {}
        clips = ACLClips(held_out, processor, augment=False)
        return evaluate_acl(network, clips, arguments.batch_size, accelerator.device)

    train(
        ACLTraining(model),
        ACLClips(rows, processor),
        arguments,
        compute_loss=lambda network, batch, _: network(**batch),
        evaluate=evaluate,
        processor=processor,
        options=TrainingArguments.list_other_options(options)
        | {
            "training clips": describe_rows(rows, ("id",)),
            "held out clips": describe_rows(held_out, ("id",)),
        },
        may_change=(*CLIP_PLACES, "skip_damaged"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="acl_ssl",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"`{options.dataset}`: {len(rows)} clips for training, {len(held_out)} held out for evaluation",
            started_from=options.model,
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_clip_options(parser)
    parser.add_argument("--model", help="folder or Hub id of an ACL-SSL model: its BEATs, CLIPSeg and processor")
    parser.add_argument("--keep_trained", action="store_true", help="go on with the model's trained weights, too")
    parser.add_argument(
        "--positive_area", type=float, help="share of a picture that a sounding object is expected to cover (0.4)"
    )
    parser.add_argument("--toy", action="store_true", help="drawn scenes with their sounds instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    TrainingArguments.add_to(
        parser,
        output_dir="acl-ssl-trained",
        num_epochs=20,
        batch_size=8,
        drop_last=True,
        optimizer="adam",
        learning_rate=1e-4,
        weight_decay=1e-4,
        max_gradient_norm=None,
        evaluate_every_epochs=1,
        checkpoint_every_steps=5_000,
    )
    options = parser.parse_args()
    if options.toy:
        return options
    if options.model is None:
        parser.error("--model is needed: a folder that `avzoo convert acl_ssl` wrote, with BEATs and CLIPSeg in it")
    if options.batch_size == 1:
        parser.error(
            "--batch_size must be 2 or more: a clip is told from the others of its batch, alone two of its losses are 0"
        )
    return options


def load(options: argparse.Namespace) -> tuple[ACLForSoundLocalization, ACLProcessor]:
    """The model to start from, and its processor."""
    model = load_checked_model(AutoModel, options.model)
    if not isinstance(model, ACLForSoundLocalization):
        raise ValueError(
            f"`model` ({options.model}) is a {type(model).__name__}; an ACLForSoundLocalization is needed."
        )
    if not options.keep_trained:
        model.reset_trained()
    if options.positive_area is not None:
        check_number("positive_area", options.positive_area, at_least=0, at_most=1, unit="of the picture")
        model.config.positive_area = options.positive_area
    model.config.confidence_threshold = None  # of the weights as they were
    return model, ACLProcessor.from_pretrained(options.model)


if __name__ == "__main__":
    main()
