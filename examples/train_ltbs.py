r"""Train LTBS: speech for a silent video of lips, in two stages or at once.

Mouths are cut, and spectrograms, pitch, energy and units measured, once for all epochs; GRID, Lip2Wav, LRS2, LRS3 and
your own clips become folders of one kind:

    python examples/extract_ltbs_targets.py --dataset grid --data_dir grid --output_dir targets \
        --hubert facebook/hubert-large-ll60k --centres centres.safetensors
    accelerate launch examples/train_ltbs.py --stage acoustic --targets targets --output_dir acoustic
    accelerate launch examples/train_ltbs.py --stage postnet --targets targets --model acoustic --output_dir ltbs

| stage | what is trained |
|---|---|
| acoustic | lips to units, pitch and energy, and these to a coarse spectrogram |
| postnet | the flow that gives it its detail back; all else is frozen, and the likelihood is the loss |
| joint | both at once, as the public implementation does |

In the acoustic stage the spectrogram is made of true units, pitch and energy; from `--predictions_from` of the steps
on, in `--predicted_share` of the clips, of those that the network predicts. Without this it makes poor speech of its
own predictions. The first batch sets the norms of a new flow, which is computed in float32 under mixed precision, too.

Speakers are the rows of a table (the default, for people who are all in the training), or embeddings of another clip of
the same person, by any network that `pipeline("speaker-verification")` takes: `--speaker_encoder FOLDER --data_dir
grid`, the folder of the recordings. It is saved in `speaker_encoder/` beside the model. `--speakers none` knows nobody.

Clips for validation are those whose `split` says so, of `--val_targets`, of `--val_speakers`, or `--val_share` of all.
Measured are the distances of the coarse and the refined spectrogram, as the mean absolute difference (L1), the share of
units that are right, pitch, energy, and the negative log likelihood (NLL) per value, in nats. A sampled spectrogram is
farther from the real one than the average of all that are possible, so a good flow has the greater L1. With `--vocoder`
the sound of some clips is left in `samples/` at each evaluation.

Defaults are the public implementation's (YangKangJNU/LTBS@6c977e1): rate 1e-4 after 100 steps, linear to 0 in 200
epochs, 16 clips a step; its optimizer is ADOPT, here it is AdamW. Weights of the losses are fields of `--config`, a
JSON file of what differs from LTBSConfig's defaults.

On drawn people who say one word, with nothing to download, the claims in half an hour:

    python examples/train_ltbs.py --toy --output_dir toy
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object, send_to_device
from torch import nn
from transformers import AutoModel

from avzoo import LTBSConfig, LTBSForLipToSpeech, LTBSProcessor
from avzoo.audio import write_wav
from avzoo.checks import check_number, check_whole_number
from avzoo.conversion.checkpoints import read_json
from avzoo.data.lists import describe_rows
from avzoo.hub.errors import explain_hub_errors
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.layers.vocoding import load_vocoder, vocode
from avzoo.models.ltbs.training_clips import (
    ClipCollator,
    LTBSClips,
    SpeakerTable,
    SpeakerVectors,
    count_minutes,
    hold_out,
    measure_mean_spectrogram,
    read_target_list,
)
from avzoo.models.ltbs.training_ltbs import (
    AcousticTraining,
    JointTraining,
    PostNetTraining,
    average,
    draw_noise,
    initialize_flow,
    measure_batch,
    set_mean_spectrogram,
)
from avzoo.pipelines.lip_to_speech.parts import SPEAKER_ENCODER, choose_speaker_encoder, load_speaker_encoder
from avzoo.pipelines.shared.saved_folders import explain_damage, load_checked_model
from avzoo.pipelines.shared.speaker_vectors import (
    SPEAKERS_FILE,
    embed_recordings,
    find_embedding_size,
    read_speaker_names,
)
from avzoo.training import StepInfo, TrainingArguments, report_errors, train


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import ltbs

        ltbs.show_claim(options)
        return
    check_options(options)
    arguments = TrainingArguments.from_namespace(options)
    rows, held_out = read_rows(options)
    processor = load_processor([*options.targets, *options.val_targets])
    torch.manual_seed(arguments.seed)  # of new weights
    model, speakers = load(options, rows, processor)
    encoder = find_speaker_encoder(options, model, arguments)
    if encoder is not None:
        vectors = embed_recordings(encoder, rows + held_out, options.data_dir, options.speaker_recordings)
        speakers = partial(SpeakerVectors, vectors=vectors)
        model.ltbs.mean_speaker.copy_(speakers(rows).mean)
    network = make_network(options, model)
    collate = ClipCollator(processor)
    settings = {"max_frames": options.max_frames, "grey": round(255 * model.config.pixel_mean)}
    clips = LTBSClips(rows, processor, speakers and speakers(rows), augment=options.augment, **settings)
    measured = LTBSClips(held_out, processor, speakers and speakers(held_out), augment=False)
    if options.stage != "acoustic":
        begin_flow(options, model, clips, collate, arguments)
    vocoder = load_vocoder(options.vocoder, processor.mel_settings) if options.vocoder else None
    minutes = " and ".join(
        f"{len(part)} clips ({count_minutes(part, processor.frame_rate):.1f} minutes) for {purpose}"
        for part, purpose in ((rows, "training"), (held_out, "validation"))
    )
    train(
        network,
        clips,
        arguments,
        data_collator=collate,
        compute_loss=make_loss(options),
        evaluate=partial(
            evaluate, options=options, clips=measured, collate=collate, vocoder=vocoder, arguments=arguments
        ),
        processor=SavedParts(processor, speakers.names if isinstance(speakers, TableOf) else None, encoder),
        options=TrainingArguments.list_other_options(options)
        | {
            "training clips": describe_rows(rows, ("name", "speaker", "frames")),
            "validation clips": describe_rows(held_out, ("name", "speaker", "frames")),
        },
        may_change=("targets", "val_targets", "data_dir", "model", "speaker_encoder", "vocoder", "num_samples"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="ltbs",
            output_dir=arguments.output_dir,
            repository=repository,
            data=minutes,
            started_from=options.model,
            facts={"speakers": model.config.speaker_conditioning},
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("acoustic", "postnet", "joint"), default="acoustic")
    parser.add_argument("--targets", type=Path, nargs="+", default=[], help="folders of extract_ltbs_targets.py")
    parser.add_argument("--val_targets", type=Path, nargs="+", default=[], help="such folders, for validation")
    parser.add_argument("--val_speakers", nargs="+", help="hold these speakers out for validation")
    parser.add_argument("--val_share", type=float, default=0.05, help="else, part of the clips (%(default)s)")
    parser.add_argument("--model", help="network to begin from: a folder or a Hub id; the postnet stage needs one")
    parser.add_argument("--config", type=Path, help="of a new network: JSON file of fields that differ from defaults")
    parser.add_argument(
        "--speakers",
        choices=("table", "embedding", "none"),
        help="of a new network (default: embedding with --speaker_encoder, else table)",
    )
    parser.add_argument("--speakers_file", type=Path, help="names in a table's order, if --model has no speakers.json")
    parser.add_argument("--speaker_encoder", help="folder or Hub id (default: speaker_encoder/ beside --model)")
    parser.add_argument("--data_dir", type=Path, help="folder of the recordings that --speaker_encoder listens to")
    parser.add_argument("--speaker_recordings", type=int, default=20, help="of each speaker, at most (%(default)s)")
    parser.add_argument("--predictions_from", type=float, default=2 / 3, help="part of the acoustic steps (two thirds)")
    parser.add_argument("--predicted_share", type=float, default=0.5, help="of the clips from then on (%(default)s)")
    parser.add_argument(
        "--postnet_given",
        action="store_true",
        help="postnet: make the condition of true units, pitch and energy, not of predicted ones",
    )
    parser.add_argument(
        "--max_frames", type=int, help="longest training clip, in video frames; a random part of longer ones is taken"
    )
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--noise_scale", type=float, default=0.667, help="of samples in validation (%(default)s)")
    parser.add_argument("--vocoder", help="folder or Hub id, to hear some clips of the validation")
    parser.add_argument(
        "--num_samples", type=int, default=4, help="with --vocoder: number of these clips (%(default)s)"
    )
    parser.add_argument("--toy", action="store_true", help="drawn people who say one word instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    TrainingArguments.add_to(
        parser,
        output_dir="ltbs-trained",
        num_epochs=200,
        batch_size=16,
        learning_rate=1e-4,
        schedule="linear",
        warmup_steps=100,
        evaluate_every_epochs=1,
        checkpoint_every_steps=2_000,
    )
    options = parser.parse_args()
    if options.toy:
        return options
    if not options.targets:
        parser.error("--targets must be given, or --toy")
    if options.stage == "postnet" and options.model is None:
        parser.error("--stage postnet needs --model, which the acoustic stage has left")
    if options.model is not None and (options.config or options.speakers):
        parser.error("--config and --speakers are for a new network; --model has its own")
    if options.model is None:
        options.speakers = options.speakers or ("embedding" if options.speaker_encoder else "table")
        if (options.speakers == "embedding") != (options.speaker_encoder is not None):
            parser.error("--speaker_encoder and --speakers embedding belong together")
    if options.val_targets and options.val_speakers:
        parser.error("--val_targets and --val_speakers: choose one")
    return options


def check_options(options: argparse.Namespace) -> None:
    for name in ("predictions_from", "predicted_share"):
        check_number(name, getattr(options, name), at_least=0, at_most=1)
    check_number("val_share", options.val_share, above=0, below=1)
    check_number("noise_scale", options.noise_scale, at_least=0)
    for name in ("speaker_recordings", "num_samples"):
        check_whole_number(name, getattr(options, name), at_least=1)
    if options.max_frames is not None:
        check_whole_number("max_frames", options.max_frames, at_least=1)


# ---------------------------------------------------------------------------------------------------------------- data


def read_rows(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Clips to train on, and clips to measure on."""
    rows = [row for folder in options.targets for row in read_target_list(folder)]
    if options.val_targets:
        return rows, [row for folder in options.val_targets for row in read_target_list(folder)]
    return hold_out(rows, options.val_share, options.val_speakers)


def load_processor(folders: Sequence[Path]) -> LTBSProcessor:
    """The processor of all folders.

    Raises:
        ValueError: they have different ones; the first setting in which they differ is named.
    """
    processors = []
    for folder in folders:
        with explain_damage(folder):
            processors.append(LTBSProcessor.from_pretrained(folder))
        refuse_another_processor(processors[0], processors[-1], folders[0], folder)
    return processors[0]


def refuse_another_processor(first: LTBSProcessor, other: LTBSProcessor, *names: str | Path) -> None:
    ours, theirs = first.to_dict(), other.to_dict()
    different = [name for name in ours if ours[name] != theirs.get(name) and name != "processor_class"]
    if different:
        name = different[0]
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` have different processors: `{name}` is {ours[name]!r} and "
            f"{theirs.get(name)!r}. Extract the targets with --processor, the folder of the other."
        )


# ------------------------------------------------------------------------------------------------------------- network


class TableOf:
    """Speakers as rows of a table: the names, and what samples of some clips tell."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> SpeakerTable:
        return SpeakerTable(rows, self.names)


def load(
    options: argparse.Namespace, rows: Sequence[dict[str, Any]], processor: LTBSProcessor
) -> tuple[LTBSForLipToSpeech, TableOf | None]:
    """The network to begin from, and the speakers of its table if it has one."""
    if options.model is None:
        return make_new(options, rows, processor)
    model = load_checked_model(AutoModel, options.model)
    if not isinstance(model, LTBSForLipToSpeech):
        raise ValueError(f"`model` ({options.model}) is a {type(model).__name__}; an LTBSForLipToSpeech is needed.")
    vars(model.config).pop("avzoo_source", None)  # of the file that was converted; this becomes another model
    processor.check_model(model.config)
    with explain_damage(options.model), explain_hub_errors(options.model):
        own = LTBSProcessor.from_pretrained(options.model)
    refuse_another_processor(own, processor, options.model, options.targets[0])
    if model.config.speaker_conditioning != "table":
        return model, None
    return model, TableOf(read_speaker_names(options.model, model.config.num_speakers, options.speakers_file))


def make_new(
    options: argparse.Namespace, rows: Sequence[dict[str, Any]], processor: LTBSProcessor
) -> tuple[LTBSForLipToSpeech, TableOf | None]:
    """A new network for some targets."""
    fields = read_json(options.config) if options.config else {}
    unknown = sorted(fields.keys() - LTBSConfig().to_dict().keys())
    if unknown:
        raise ValueError(f"`config` ({options.config}): LTBSConfig has no field {unknown[0]!r}.")
    names = sorted({row["speaker"] for row in rows})
    fields |= {"num_mel_bins": processor.num_mel_bins, "num_units": processor.num_units}
    fields |= {"sampling_rate": processor.sampling_rate, "hop_length": processor.hop_size}
    fields |= {"upsample_factor": processor.upsample_factor, "fps": processor.frame_rate}
    fields |= {"speaker_conditioning": options.speakers}
    if options.speakers == "table":
        fields["num_speakers"] = len(names)
    if options.speakers == "embedding":
        with explain_hub_errors(options.speaker_encoder):
            encoder = load_speaker_encoder(options.speaker_encoder, None)
        fields["speaker_encoder_dim"] = find_embedding_size(encoder)
    model = LTBSForLipToSpeech(LTBSConfig(**fields))
    set_mean_spectrogram(model, measure_mean_spectrogram(rows))
    return model, TableOf(names) if options.speakers == "table" else None


def make_network(options: argparse.Namespace, model: LTBSForLipToSpeech) -> nn.Module:
    """The network with the loss of its stage."""
    if options.stage == "acoustic":
        return AcousticTraining(model)
    return JointTraining(model) if options.stage == "joint" else PostNetTraining(model, options.postnet_given)


def make_loss(options: argparse.Namespace) -> Callable[[nn.Module, dict[str, torch.Tensor], StepInfo], Any]:
    def compute_loss(network: nn.Module, batch: dict[str, torch.Tensor], step: StepInfo) -> Any:
        if options.stage != "acoustic":
            return network(batch)
        count = len(batch["mel_labels"])
        if step.step < options.predictions_from * step.total_steps:
            return network(batch, count)
        # Rounded at random, so that batches of one clip have their share, too; alike on every process.
        return network(
            batch, count - int(options.predicted_share * count + float(torch.rand((), generator=step.generator)))
        )

    return compute_loss


def begin_flow(
    options: argparse.Namespace,
    model: LTBSForLipToSpeech,
    clips: LTBSClips,
    collate: ClipCollator,
    arguments: TrainingArguments,
) -> None:
    """Norm a new flow by a batch of all processes; a resumed run takes the norms of its checkpoint instead."""
    if bool(model.postnet.steps[0].norm.is_initialized):
        return
    state = PartialState(cpu=arguments.cpu)
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(arguments.seed))
    batch = collate([clips[place] for place in order[: arguments.batch_size * state.num_processes].tolist()])
    given = options.stage == "joint" or options.postnet_given
    initialize_flow(model.to(state.device), send_to_device(batch, state.device), given)


# ------------------------------------------------------------------------------------------------------------ speakers


def find_speaker_encoder(
    options: argparse.Namespace, model: LTBSForLipToSpeech, arguments: TrainingArguments
) -> Any | None:
    """The pipeline that embeds voices; None for networks that are given none."""
    if model.config.speaker_conditioning != "embedding":
        if options.speaker_encoder is not None:
            raise ValueError(
                f"`speaker_encoder`: `model` ({options.model}) has the speaker conditioning "
                f"{model.config.speaker_conditioning!r} and is given no embeddings."
            )
        return None
    device = PartialState(cpu=arguments.cpu).device
    encoder = choose_speaker_encoder(options.speaker_encoder, model, device)
    if encoder is None:
        raise ValueError(
            f"`speaker_encoder` is needed: `model` ({options.model}) is given embeddings of "
            f"{model.config.given_speaker_dim} numbers; name the network that made those of its training."
        )
    size = find_embedding_size(encoder)
    if size != model.config.given_speaker_dim:
        name = options.speaker_encoder or f"beside {options.model}"
        raise ValueError(
            f"`speaker_encoder` ({name}) gives embeddings of {size} numbers, the network takes "
            f"{model.config.given_speaker_dim}."
        )
    return encoder


class SavedParts:
    """What is saved beside a network: its processor, the names of its speakers, and their encoder."""

    def __init__(self, processor: LTBSProcessor, names: list[str] | None, encoder: Any | None):
        self.processor, self.names, self.encoder = processor, names, encoder

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        self.processor.save_pretrained(folder)
        if self.names is not None:
            text = json.dumps(self.names, ensure_ascii=False, indent=1) + "\n"
            (Path(folder) / SPEAKERS_FILE).write_text(text, encoding="utf-8")
        if self.encoder is not None:
            self.encoder.model.save_pretrained(Path(folder) / SPEAKER_ENCODER)
            self.encoder.feature_extractor.save_pretrained(Path(folder) / SPEAKER_ENCODER)


# ---------------------------------------------------------------------------------------------------------- validation


def evaluate(
    network: nn.Module,
    accelerator: Accelerator,
    options: argparse.Namespace,
    clips: LTBSClips,
    collate: ClipCollator,
    vocoder: Any | None,
    arguments: TrainingArguments,
) -> dict[str, float]:
    """Means over all values of the clips for validation; the processes share them. Noise depends on the clip alone."""
    model, measures_flow, totals = network.model, options.stage != "acoustic", []
    own = range(accelerator.process_index, len(clips), accelerator.num_processes)
    for places in (own[first : first + arguments.batch_size] for first in range(0, len(own), arguments.batch_size)):
        batch = send_to_device(collate([clips[place] for place in places]), accelerator.device)
        noise = draw_noise(batch["mel_labels"], places, arguments.seed)
        totals.append(measure_batch(model, batch, noise, options.noise_scale, measures_flow))
    if vocoder is not None and accelerator.is_main_process:
        vocoder.to(accelerator.device)
        write_samples(model, options, clips, collate, vocoder, arguments)
    return average(gather_object(totals))


def write_samples(
    model: LTBSForLipToSpeech,
    options: argparse.Namespace,
    clips: LTBSClips,
    collate: ClipCollator,
    vocoder: Any,
    arguments: TrainingArguments,
) -> None:
    """The sound of the first clips, as the network makes it and as the vocoder makes it of the true spectrogram."""
    folder = Path(arguments.output_dir) / "samples"
    for place in range(min(options.num_samples, len(clips))):
        batch = send_to_device(collate([clips[place]]), model.device)
        inputs = {name: batch[name] for name in ("pixel_values", "speaker_ids", "speaker_embeddings") if name in batch}
        mel = {"true": batch["mel_labels"]}
        if options.stage == "acoustic":
            mel["made"] = model.ltbs(**inputs, return_dict=True).mel_coarse
        else:
            noise = draw_noise(batch["mel_labels"], [place], arguments.seed)
            mel["made"] = model.generate(**inputs, noise=noise, noise_scale=options.noise_scale).mel
        for name, values in mel.items():
            path = folder / f"{clips.rows[place]['name'].replace(os.sep, '-')}-{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = vocode(vocoder, values)[0].float().cpu().clamp(-1, 1).numpy()
            write_wav(path, samples, model.config.sampling_rate)


if __name__ == "__main__":
    main()
