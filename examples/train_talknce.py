r"""Train an active speaker detector, LoCoNet or TalkNet, with or without the TalkNCE loss.

On AVA-ActiveSpeaker, as LoCoNet's and TalkNet's scripts lay it out (csv/train_orig.csv, csv/val_orig.csv, and the faces
and sounds of tracks under clips_videos/ and clips_audios/, each with train/ and val/):

    accelerate launch examples/train_talknce.py --data_dir AVADataPath --host loconet --talknce_weight 0.3 \
        --output_dir loconet

The defaults are the authors' recipe for LoCoNet (kaistmm/TalkNCE@8666642): Adam, rate 5e-5, times 0.95 each epoch, 25
epochs, a clip per process and step, at most 200 frames. TalkNet's (TaoRuijie/TalkNet-ASD@6d68214) is `--host talknet
--learning_rate 1e-4 --max_frames 0`, where clips of several lengths may share a batch: padding changes nothing.
`examples/cut_faces.py --layout tracks` makes this layout of your own videos.
`--model` goes on with a model that `avzoo convert talknce` or this script wrote. What is measured is AVA's mAP on the
validation tracks.

On drawn people who speak, with nothing to download, the paper's claim in minutes:

    python examples/train_talknce.py --toy --output_dir toy

It prints average precision without the loss, with it on the frames where a face speaks, and with it on all frames.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

from avzoo import (
    ActiveSpeakerProcessor,
    LoCoNetConfig,
    LoCoNetForActiveSpeakerDetection,
    TalkNetConfig,
    TalkNetForActiveSpeakerDetection,
)
from avzoo.data.ava_active_speaker import ava_tracks, ava_videos, read_ava_clip
from avzoo.data.lists import describe_rows, keep_readable
from avzoo.hub.errors import explain_hub_errors
from avzoo.metrics import ava_average_precision
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.talknce.training_talknce import ActiveSpeakerClips, collate_clips
from avzoo.pipelines.shared.saved_folders import explain_damage, load_checked_model
from avzoo.training import TrainingArguments, report_errors, train


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import talknce

        talknce.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows = {split: tracks(options, split) for split in ("train", "val")}
    torch.manual_seed(arguments.seed)
    model, processor = load(options)
    train_clips = ActiveSpeakerClips(rows["train"], processor, options.max_frames or None, augment=options.augment)
    test_clips = ActiveSpeakerClips(rows["val"], processor, None, augment=False, min_overlap=0.0)
    train(
        model,
        train_clips,
        arguments,
        data_collator=collate_clips,
        compute_loss=loss_of,
        evaluate=partial(evaluate, clips=test_clips),
        processor=processor,
        options=TrainingArguments.list_other_options(options)
        | {f"{split} tracks": describe_rows(part, ("entity_id", "labels")) for split, part in rows.items()},
        may_change=("data_dir", "skip_missing", "skip_damaged"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="talknce",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"{len(rows['train'])} face tracks for training, {len(rows['val'])} for evaluation",
            started_from=options.model,
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", choices=["loconet", "talknet"], help="network (default: --model's, else loconet)")
    parser.add_argument("--model", help="model to go on with: a folder or a Hub id")
    parser.add_argument("--data_dir", type=Path, help="folder of csv/, clips_videos/ and clips_audios/")
    parser.add_argument("--skip_missing", action="store_true", help="leave out tracks whose files are not there")
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, leave out what can't be read")
    parser.add_argument("--talknce_weight", type=float, default=0.3, help="of the loss; 0: without")
    parser.add_argument("--nce_frames", choices=["speaking", "all"], default="speaking", help="frames it acts on")
    parser.add_argument("--max_frames", type=int, default=200, help="of a training clip; 0: whole tracks")
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--toy", action="store_true", help="drawn people who speak instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    parser.add_argument("--toy_clips", type=int, default=360, help="with --toy: training clips")
    parser.add_argument("--toy_test_clips", type=int, default=100, help="with --toy: test clips")
    parser.add_argument("--toy_steps", type=int, default=520, help="with --toy: optimizer steps of each run")
    TrainingArguments.add_to(
        parser,
        output_dir="talknce-trained",
        num_epochs=25,
        batch_size=1,
        optimizer="adam",
        learning_rate=5e-5,
        max_gradient_norm=None,
        schedule="step",
        schedule_milestones=tuple(range(1, 25)),
        schedule_factor=0.95,
        evaluate_every_epochs=1,
        metric_for_best_model="mAP",
    )
    options = parser.parse_args()
    if options.data_dir is None and not options.toy:
        parser.error("--data_dir must be given, or --toy")
    if options.model is None or options.toy:
        options.host = options.host or "loconet"
    return options


def load(options: argparse.Namespace):
    """The model to start from, and its processor."""
    loss = {"talknce_weight": options.talknce_weight, "nce_frames": options.nce_frames}
    if options.model:
        with explain_damage(options.model), explain_hub_errors(options.model):
            model = load_checked_model(AutoModel, options.model, **loss)
            processor = AutoProcessor.from_pretrained(options.model)
        if options.host not in (None, model.config.model_type):
            raise ValueError(f"`host` is {options.host}, but `model` ({options.model}) is a {model.config.model_type}.")
        vars(model.config).pop("avzoo_source", None)  # of the file that was converted; this becomes another model
        return model, processor
    if options.host == "loconet":
        # The authors start the audio encoder from VGGish's weights; random ones need normalized features.
        config = LoCoNetConfig(**loss, log_mel_mean=9.0, log_mel_std=2.0)
        return LoCoNetForActiveSpeakerDetection(config), ActiveSpeakerProcessor()
    processor = ActiveSpeakerProcessor("mfcc", score="logit", durations=(1, 2, 3, 4, 5, 6), num_speakers=1)
    return TalkNetForActiveSpeakerDetection(TalkNetConfig(**loss)), processor


def tracks(options: argparse.Namespace, split: str) -> list[dict]:
    """The tracks of a split; an error if there are none, or none in which a face speaks."""
    root = options.data_dir
    table = root / "csv" / f"{split}_orig.csv"
    faces, sounds = root / "clips_videos" / split, root / "clips_audios" / split
    rows = list(ava_tracks(table, faces, sounds, skip_missing=options.skip_missing))
    if options.skip_damaged:
        videos = ava_videos(rows)
        rows = keep_readable(
            rows, lambda row: read_ava_clip(videos[row["video_id"]], row["entity_id"], num_speakers=1), "tracks"
        )
    if not any(row["labels"].any() for row in rows):
        raise ValueError(f"{table}: in none of the {len(rows)} tracks that can be used a face speaks.")
    return rows


def loss_of(model, batch, step) -> dict[str, torch.Tensor]:
    """The loss, and its parts for the log."""
    output = model(**batch)
    parts = ("loss", "loss_av", "loss_audio", "loss_visual", "loss_nce")
    return {name: output[name] for name in parts if output.get(name) is not None}


def evaluate(model, accelerator, clips: ActiveSpeakerClips) -> dict[str, float]:
    """AVA's mAP over all frames of all tracks, each scored whole. The ranks share the tracks."""
    loader = torch.utils.data.DataLoader(clips, batch_size=1, collate_fn=collate_clips)
    scores, labels = [], []
    for batch in accelerator.prepare_data_loader(loader):
        logits = model(batch["pixel_values"], batch["input_features"]).logits
        pair = torch.stack([logits[0, 0].float().softmax(-1)[:, 1], batch["labels"][0, 0].float()])
        pair = accelerator.pad_across_processes(pair[None], dim=2, pad_index=-1)
        for score, label in accelerator.gather_for_metrics(pair):
            scores.append(score[label >= 0].cpu())
            labels.append(label[label >= 0].cpu())
    return {"mAP": ava_average_precision(torch.cat(scores).double().numpy(), torch.cat(labels).long().numpy())}


if __name__ == "__main__":
    main()
