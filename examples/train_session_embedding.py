r"""Train a session network on a speaker encoder, or the encoder itself.

On VoxCeleb as its owners lay it out (speaker/video/file; a video is a session), on top of a trained encoder:

    accelerate launch examples/train_session_embedding.py --data_dir voxceleb2/dev/aac --model ENCODER_FOLDER \
        --musan musan --rooms RIRS_NOISES/simulated_rirs --output_dir session-embedding

The encoder stays bit for bit as it is. A step takes two recordings of two sessions of each speaker; the recordings of a
session get one draw of noise or room. `--stored_copies 5` embeds every recording five times first, each time with other
draws, which then are sessions too, and trains on what is stored: much faster, fewer draws. What is measured is how well
one session is told from two on speakers held out. `--trials LIST --trials_dir FOLDER` names a development list (not the
one you report), on which the weight of the compensation and the threshold are fitted, and saved with the model.

`--train encoder` trains the encoder by voxceleb_trainer's recipe (clovaai/voxceleb_trainer@f51bab8): Adam, rate 1e-3,
times 0.95 every ten epochs, crops of 2 s, 200 speakers per step and none twice, at most 500 recordings of each per
epoch; `--speaker_loss aam_softmax` or `softmax_prototypical`. Without `--model` it begins from random weights:

    accelerate launch examples/train_session_embedding.py --train encoder --data_dir voxceleb2/dev/aac \
        --architecture ecapa_tdnn --output_dir encoder

On made voices in made sessions, with nothing to download, the paper's claim in minutes:

    python examples/train_session_embedding.py --toy --output_dir toy
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import AutoModelForAudioXVector

from avzoo import (
    SessionEmbeddingForXVector,
    SpeakerEncoderConfig,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
)
from avzoo.audio import read_audio
from avzoo.data.lists import describe_rows
from avzoo.data.musan import musan, simulated_rooms
from avzoo.data.trial_lists import Trials, read_trials
from avzoo.data.voxceleb import keep_speakers_with_sessions, read_voxceleb_list, voxceleb_utterances
from avzoo.metrics import equal_error_rate, score_trials
from avzoo.metrics.verification import calibrate
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.session_embedding import SessionAugmentation, SpeakerEncoderOutput, fit_compensation
from avzoo.models.session_embedding.configuration_session_embedding import DIALECTS
from avzoo.models.session_embedding.training_session_embedding import (
    SessionCopies,
    SessionRecordings,
    SpeakerRecordings,
    SpeakerSampler,
    SpeakerTraining,
    StoredSessions,
    StoredSessionTraining,
    collate_sessions,
    session_error_rate,
)
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.training import TrainingArguments, report_errors, train

SAMPLING_RATE = 16000
MOST_SECONDS = 10  # of a recording that is embedded whole
RECIPES = {
    "head": {
        "output_dir": "session-embedding-trained",
        "num_epochs": 200,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "evaluate_every_epochs": 10,
    },
    "encoder": {
        "output_dir": "speaker-encoder-trained",
        "num_epochs": 500,
        "batch_size": 200,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "max_gradient_norm": None,
        "schedule": "step",
        "schedule_milestones": tuple(range(10, 500, 10)),
        "schedule_factor": 0.95,
        "drop_last": True,
        "evaluate_every_epochs": 10,
    },
}


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import session_embedding

        session_embedding.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    rows, held_out = read_rows(options, arguments.seed)
    trials = read_trials(options.trials) if options.trials else None
    paths = trials.locate(options.trials_dir) if trials else []
    augment = make_augmentation(options)
    torch.manual_seed(arguments.seed)  # of new weights
    counts = f"{len(rows)} recordings for training, {len(held_out)} of other speakers for evaluation"
    reporting = {
        "options": TrainingArguments.list_other_options(options)
        | {
            f"{part} recordings": describe_rows(some, ("speaker", "session"))
            for part, some in (("training", rows), ("held out", held_out))
        },
        "may_change": ("data_dir", "musan", "rooms", "trials_dir"),
        "write_card": lambda result, repository: write_trained_card(
            list_results(result),
            method="session_embedding",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"{counts}; the compensation was fitted on {trials.name}" if trials else counts,
            started_from=options.model,
        ),
    }
    train_part = {"head": train_head, "encoder": train_encoder}[options.train]
    train_part(options, arguments, rows, held_out, trials, paths, augment, reporting)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", choices=RECIPES, default="head", help="what is trained; the other defaults follow")
    chosen = argparse.ArgumentParser(add_help=False, parents=[parser], conflict_handler="resolve")
    recipe = RECIPES[chosen.parse_known_args()[0].train]
    parser.add_argument("--data_dir", type=Path, help="folder of speaker/video/file")
    parser.add_argument("--list", type=Path, help="speakers and paths below --data_dir (default: all that is there)")
    parser.add_argument("--validation_speakers", type=int, default=40, help="held out to measure")
    parser.add_argument("--model", help="encoder, or model with a session network to go on with: a folder or a Hub id")
    parser.add_argument("--musan", type=Path, help="MUSAN, to add noise, music and babble")
    parser.add_argument("--rooms", type=Path, help="`simulated_rirs`, to add rooms")
    parser.add_argument("--crop_seconds", type=float, default=2.0, help="of a training recording")
    parser.add_argument("--trials", type=Path, help="development list of trials, which the compensation is fitted on")
    parser.add_argument("--trials_dir", type=Path, help="folder of the recordings that --trials names")
    parser.add_argument("--session_source", choices=["embedding", "pooled"], help="what the session network sees")
    parser.add_argument("--session_loss", choices=["logistic", "margin", "cosine", "cosine-balanced"])
    parser.add_argument("--compensation", choices=["linear", "q_stack"], default="linear", help="form to fit")
    parser.add_argument("--stored_copies", type=int, default=0, help="embed first, so many times; 0: at every step")
    parser.add_argument("--architecture", choices=DIALECTS, default="ecapa_tdnn", help="of a new encoder")
    parser.add_argument("--speaker_loss", choices=["aam_softmax", "softmax_prototypical"], default="aam_softmax")
    parser.add_argument("--margin", type=float, default=0.1, help="of aam_softmax")
    parser.add_argument("--scale", type=float, default=30.0, help="of aam_softmax")
    parser.add_argument("--most_utterances", type=int, default=500, help="of a speaker in an epoch")
    parser.add_argument("--toy", action="store_true", help="made voices in made sessions instead of a dataset")
    parser.add_argument("--toy_seeds", type=int, nargs="+", default=[0, 1, 2], help="with --toy: seeds to report")
    parser.add_argument("--toy_encoder_steps", type=int, default=250, help="with --toy: steps of the encoder")
    parser.add_argument("--toy_head_steps", type=int, default=300, help="with --toy: steps of each session network")
    parser.add_argument("--toy_trials", type=int, default=3000, help="with --toy: of each list, a multiple of 4")
    TrainingArguments.add_to(parser, **recipe)
    options = parser.parse_args()
    if options.toy:
        return options
    if options.data_dir is None:
        parser.error("--data_dir must be given, or --toy")
    if options.train == "head" and options.model is None:
        parser.error("--model must be given: a session network stands on a trained encoder")
    if (options.trials is None) != (options.trials_dir is None):
        parser.error("--trials and --trials_dir belong together")
    return options


def read_rows(options: argparse.Namespace, seed: int) -> tuple[list, list]:
    """Rows to train on, and those of the speakers that are held out."""
    rows = read_voxceleb_list(options.list, options.data_dir) if options.list else voxceleb_utterances(options.data_dir)
    if options.train == "head":
        rows, skipped = keep_speakers_with_sessions(rows)
        if skipped:
            print(f"{skipped} speakers have one session only and are left out", file=sys.stderr)
    speakers = sorted({row["speaker"] for row in rows})
    if not 2 <= options.validation_speakers <= len(speakers) - 2:
        raise ValueError(
            f"`validation_speakers` must be from 2 to {len(speakers) - 2}, which leaves two of the {len(speakers)} "
            f"speakers to train on; got {options.validation_speakers}."
        )
    drawn = np.random.default_rng(seed).permutation(len(speakers))[: options.validation_speakers]
    held_out = {speakers[index] for index in drawn}
    return [row for row in rows if row["speaker"] not in held_out], [row for row in rows if row["speaker"] in held_out]


def make_augmentation(options: argparse.Namespace) -> SessionAugmentation | None:
    """Whichever kinds of noise and room there are files for; None: recordings as they are."""
    noises = musan(options.musan) if options.musan else {}
    rooms = simulated_rooms(options.rooms) if options.rooms else []
    kinds = [*(["music", "babble", "noise"] if noises else []), *(["room"] if rooms else [])]
    return SessionAugmentation(noises, rooms, ["none", *kinds]) if kinds else None


def load(options: argparse.Namespace) -> torch.nn.Module:
    """The model to start from."""
    if options.model is None:
        dialect = DIALECTS[options.architecture][0]
        return SpeakerEncoderForXVector(SpeakerEncoderConfig(architecture=options.architecture, dialect=dialect))
    return load_checked_model(AutoModelForAudioXVector, options.model)


def train_head(options, arguments, rows, held_out, trials, paths, augment, reporting) -> None:
    """Train the session network of a model; its encoder stays as it is."""
    model = load(options)
    fields = {name: getattr(options, name) for name in ("session_source", "session_loss") if getattr(options, name)}
    if not isinstance(model, SessionEmbeddingForXVector):
        model = SessionEmbeddingForXVector.from_encoder(model, **fields)
    elif any(getattr(model.config, name) != value for name, value in fields.items()):
        raise ValueError(f"`model` ({options.model}) has a session network of its own, which {fields} can't change.")
    if model.session_head is None:
        raise ValueError(f"`model` ({options.model}) takes its session embeddings from the encoder: nothing to train.")
    model.config.compensation = model.config.threshold = None  # of the network as it was
    model.to(PartialState(cpu=arguments.cpu).device).eval()
    # The encoder doesn't change: what is measured on is embedded once.
    measured = partial(
        evaluate_head,
        held_out=held_out,
        vectors=embed_recordings(model.encoder, [row["audio"] for row in held_out]),
        trials=trials,
        trial_vectors=embed_recordings(model.encoder, paths) if trials else None,
        compensation=options.compensation,
    )
    crop_samples = round(options.crop_seconds * SAMPLING_RATE)
    shared = {"data_collator": collate_sessions, "processor": SpeakerFeatureExtractor(), **reporting}
    if not options.stored_copies:
        data = SessionRecordings(rows, crop_samples, augment)
        train(model, data, arguments, evaluate=lambda model, _: measured(model), **shared)
        return
    copies = SessionCopies(rows, crop_samples, augment, options.stored_copies, arguments.seed)
    stored = embed_all(model.encoder, len(copies), copies.__getitem__)
    name = "pooled" if model.config.session_source == "pooled" else "embeddings"
    data = StoredSessions(
        torch.cat([sample[name] for sample in stored]),
        [sample["session"] for sample in stored for _ in sample[name]],
        [sample["speaker"] for sample in stored for _ in sample[name]],
    )
    network = StoredSessionTraining(model)
    train(network, data, arguments, evaluate=lambda network, _: measured(network.model), **shared)


@torch.no_grad()
def embed_all(encoder, count: int, read: Callable[[int], dict]) -> list[dict]:
    """What `read` gives, with the encoder's outputs in place of `input_values`, in order; the ranks share the work."""
    state, own = PartialState(), []
    for index in range(state.process_index, count, state.num_processes):
        sample = read(index)
        output = encoder(sample.pop("input_values").to(encoder.device), return_dict=True)
        vectors = {name: output[name].cpu() for name in ("embeddings", "pooled") if output.get(name) is not None}
        own.append((index, sample | vectors))
    samples = dict(gather_object(own))
    return [samples[index] for index in range(count)]


def embed_recordings(encoder, paths: Sequence[str | Path]) -> SpeakerEncoderOutput:
    """The encoder's output for recordings, each read whole up to `MOST_SECONDS`."""

    def read(index: int) -> dict:
        samples, _ = read_audio(paths[index], SAMPLING_RATE)
        return {"input_values": torch.from_numpy(samples[: MOST_SECONDS * SAMPLING_RATE])[None]}

    samples = embed_all(encoder, len(paths), read)
    return SpeakerEncoderOutput(**{name: torch.cat([sample[name] for sample in samples]) for name in samples[0]})


def evaluate_head(
    model, held_out, vectors, trials: Trials | None, trial_vectors, compensation: str
) -> dict[str, float]:
    """How well sessions of held-out speakers are told apart, in per cent; fits the compensation that is saved."""

    def embed_sessions(output: SpeakerEncoderOutput) -> np.ndarray:
        moved = SpeakerEncoderOutput(**{name: value.to(model.device) for name, value in output.items()})
        return model.embed_session(moved).float().cpu().numpy()

    ids = ([row[name] for row in held_out] for name in ("session", "speaker"))
    metrics = {"session_EER": session_error_rate(embed_sessions(vectors), *ids)}
    if trials is not None:
        labels = trials.require_labels()
        speaker = score_trials(trial_vectors.embeddings, trials.pairs, "full")
        session = score_trials(embed_sessions(trial_vectors), trials.pairs, "full")
        fitted = fit_compensation(trials, speaker, session, compensation)
        scores = fitted(speaker, session)
        model.config.compensation, model.config.threshold = fitted.to_config(), calibrate(scores, labels).threshold
        metrics |= {"development_EER": equal_error_rate(speaker, labels)}
        metrics |= {"development_EER_compensated": equal_error_rate(scores, labels)}
    return metrics


def train_encoder(options, arguments, rows, held_out, trials, paths, augment, reporting) -> None:
    """Train a speaker encoder."""
    encoder = load(options)
    if not isinstance(encoder, SpeakerEncoderForXVector):
        raise ValueError(
            f"`model` ({options.model}) is a {type(encoder).__name__}; a SpeakerEncoderForXVector is needed."
        )
    utterances = 2 if options.speaker_loss == "softmax_prototypical" else 1
    data = SpeakerRecordings(rows, round(options.crop_seconds * SAMPLING_RATE), augment, utterances)
    network = SpeakerTraining(encoder, len(data), options.speaker_loss, options.margin, options.scale)
    batch_size = arguments.batch_size * PartialState(cpu=arguments.cpu).num_processes
    train(
        network,
        data,
        arguments,
        compute_loss=lambda network, batch, _: network(**batch)._asdict(),
        sampler=SpeakerSampler(data.count_visits(options.most_utterances), batch_size),
        evaluate=lambda network, _: evaluate_encoder(network.model, held_out, trials, paths),
        processor=SpeakerFeatureExtractor(),
        **reporting,
    )


def evaluate_encoder(encoder, held_out, trials: Trials | None, paths: Sequence[Path]) -> dict[str, float]:
    """Equal error rate in per cent, of the trials or else of all pairs of held-out recordings."""
    if trials is None:
        first, second = np.triu_indices(len(held_out), 1)
        speakers = np.array([row["speaker"] for row in held_out])
        pairs, labels = np.stack([first, second], axis=1), speakers[first] == speakers[second]
        paths = [row["audio"] for row in held_out]
    else:
        pairs, labels = trials.pairs, trials.require_labels()
    return {"EER": equal_error_rate(score_trials(embed_recordings(encoder, paths).embeddings, pairs, "full"), labels)}


if __name__ == "__main__":
    main()
