r"""Train a vocoder, HiFi-GAN, or fine-tune one on the spectrograms that LTBS makes.

On a folder of recordings of speech, for the spectrograms of LTBS (16 kHz, 100 frames per second):

    accelerate launch examples/train_hifigan.py --data_dir recordings --output_dir vocoder

What comes out is transformers' `SpeechT5HifiGan`, with the settings of its spectrograms in its config; LTBS takes it as
`vocoder=`, or from the folder `vocoder/` inside its own. `--size v2` is a sixteenth of the work. Other spectrograms are
those of `--processor`, a folder of LTBS, or of `--model`, a vocoder to go on with.

A vocoder that has only heard recordings sounds metallic on spectrograms that a network predicts. So fine-tune it on
LTBS's, made of the true units, pitch and energy of its targets; those are made first, into `--mels`:

    accelerate launch examples/train_hifigan.py --model vocoder --ltbs ltbs --targets targets --data_dir grid \
        --mels mels --output_dir ltbs/vocoder --num_epochs 20

`--mels` alone takes spectrograms that are there: for each clip of the targets, or else for each recording of
`--data_dir`, a safetensors file of the same name with the tensor `mel`, (frames, bins).

Defaults are the authors' recipe (jik876/hifi-gan@4769534): segments of 51 frames (8160 samples, theirs 8192), 16 a
step, AdamW, 2e-4, betas 0.8 and 0.99, times 0.999 each epoch; least squares, twice the distance of features and 45
times that of spectrograms. Generator and discriminators are stepped by one optimizer, from the same weights; the
authors' generator meets discriminators that are a step ahead. The discriminators are saved beside the vocoder, in
`discriminators/`, to go on with; nothing else needs them. Measured is the mean absolute difference of the log-mel
spectrograms of made and real sound, up to half the sampling rate.
"""

import argparse
import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object, send_to_device
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import AutoModel, SpeechT5HifiGan

from avzoo import LTBSForLipToSpeech, LTBSProcessor
from avzoo.audio import MelSettings, normalize_peak, read_audio
from avzoo.checks import check_number, check_whole_number
from avzoo.data.labelled_recordings import AUDIO_SUFFIXES
from avzoo.data.lists import describe_rows, keep_readable, refuse_empty_files
from avzoo.files import write_atomically
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.hifigan import Discriminators
from avzoo.models.hifigan.training_hifigan import (
    SEGMENT_FRAMES,
    VocoderSegments,
    VocoderTraining,
    load_discriminators,
    measure_vocoder,
)
from avzoo.models.layers.vocoding import check_vocoder, load_vocoder, make_hifigan_config, read_mel_settings
from avzoo.models.ltbs.training_clips import (
    ClipCollator,
    LTBSClips,
    SpeakerTable,
    SpeakerVectors,
    hold_out,
    read_target_list,
)
from avzoo.models.ltbs.training_ltbs import draw_noise, take_conditions, take_inputs
from avzoo.pipelines.lip_to_speech.parts import choose_speaker_encoder
from avzoo.pipelines.shared.saved_folders import explain_damage, load_checked_model
from avzoo.pipelines.shared.speaker_vectors import embed_recordings, read_speaker_names
from avzoo.training import TrainingArguments, report_errors, train
from avzoo.video import VideoReader

logger = logging.getLogger("avzoo.examples.train_hifigan")
PEAK = 1 / 1.1  # of recordings, as LTBS's processor has it
SOURCE_FILE = "source.json"

Row = dict[str, Any]


@report_errors
def main() -> None:
    options = parse_arguments()
    check_number("val_share", options.val_share, above=0, below=1)
    check_whole_number("discriminator_divisor", options.discriminator_divisor, at_least=1)
    arguments = TrainingArguments.from_namespace(options)
    processor = load_processor(options)
    torch.manual_seed(arguments.seed)  # of new weights
    generator = load(options, processor)
    mel = read_mel_settings(generator.config)
    rows, read = read_rows(options, processor, mel)
    if options.ltbs is not None:
        make_spectrograms(options, rows, processor, arguments)
    if options.mels is not None:
        rows = find_spectrograms(rows, options.mels)
    rows, held_out = hold_out(rows, options.val_share)
    discriminators = Discriminators(divisor=options.discriminator_divisor)
    if options.model is not None and not load_discriminators(options.model, discriminators):
        logger.warning(f"`model` ({options.model}) has no discriminators beside it; new ones have to learn first.")
    kind = "recordings" if options.targets is None else "clips"
    train(
        VocoderTraining(generator, discriminators),
        VocoderSegments(rows, read, mel, options.segment_frames),
        arguments,
        compute_loss=lambda network, batch, _: network(**batch),
        evaluate=partial(evaluate, rows=held_out, read=read),
        options=TrainingArguments.list_other_options(options)
        | {
            "training recordings": describe_rows(rows, ("name",)),
            "validation recordings": describe_rows(held_out, ("name",)),
        },
        may_change=("data_dir", "targets", "model", "ltbs", "mels", "processor", "skip_damaged", "speaker_encoder"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="hifigan",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"{len(rows)} {kind} for training, {len(held_out)} for validation"
            + ("" if options.mels is None else "; the spectrograms were a network's"),
            started_from=options.model,
        ),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of recordings, or that of the targets")
    parser.add_argument("--targets", type=Path, help="folder of extract_ltbs_targets.py: learn from its clips alone")
    parser.add_argument("--mels", type=Path, help="folder of spectrograms to learn from, in place of the recordings'")
    parser.add_argument("--ltbs", help="folder or Hub id of the LTBS that makes those of --mels that are not there")
    parser.add_argument("--noise_scale", type=float, default=0.667, help="of the spectrograms it makes (%(default)s)")
    parser.add_argument("--speakers_file", type=Path, help="names in its table's order, if it has no speakers.json")
    parser.add_argument("--speaker_encoder", help="folder or Hub id (default: speaker_encoder/ beside --ltbs)")
    parser.add_argument("--model", help="vocoder to go on with: a folder or a Hub id")
    parser.add_argument("--processor", help="of a new vocoder: folder of LTBS whose spectrograms it is for")
    parser.add_argument("--size", choices=("v1", "v2"), help="of a new vocoder (default: v1)")
    parser.add_argument("--segment_frames", type=int, default=SEGMENT_FRAMES, help="of a training sample (%(default)s)")
    parser.add_argument("--discriminator_divisor", type=int, default=1, help="of the published numbers of channels")
    parser.add_argument("--val_share", type=float, default=0.02, help="part of the recordings to measure on")
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, leave out what can't be read")
    TrainingArguments.add_to(
        parser,
        output_dir="hifigan-trained",
        num_epochs=3100,
        batch_size=16,
        drop_last=True,
        learning_rate=2e-4,
        adam_beta1=0.8,
        adam_beta2=0.99,
        weight_decay=0.01,
        max_gradient_norm=None,
        schedule="exponential",
        schedule_factor=0.999,
        evaluate_every_steps=1_000,
        checkpoint_every_steps=5_000,
    )
    options = parser.parse_args()
    if options.ltbs is not None and None in (options.targets, options.mels):
        parser.error("--ltbs needs --targets, of which it makes spectrograms, and --mels, where they are kept")
    if options.model is not None and options.size is not None:
        parser.error("--size is of a new vocoder; --model has its own")
    if options.targets is not None and options.processor is not None:
        parser.error("--processor: the targets have one")
    return options


# ---------------------------------------------------------------------------------------------------------------- data


def load_processor(options: argparse.Namespace) -> LTBSProcessor | None:
    """The processor whose spectrograms are meant, if one is named."""
    source = options.targets or options.processor
    if source is None:
        return None
    with explain_damage(source):
        return LTBSProcessor.from_pretrained(source)


def read_rows(
    options: argparse.Namespace, processor: LTBSProcessor | None, mel: MelSettings
) -> tuple[list[Row], Callable[[Row], torch.Tensor]]:
    """Recordings, or clips of targets, and what reads one: (samples,)."""
    if options.targets is not None:
        rows = read_target_list(options.targets)
        without = [row["name"] for row in rows if "audio" not in row]
        if without:
            raise ValueError(f"`targets`: {without[0]} names no recording; run extract_ltbs_targets.py again.")
        rows = [row | {"recording": options.data_dir / row["audio"]} for row in rows]
        read = partial(read_clip_sound, processor=processor)
    else:
        rows = list_recordings(options.data_dir)
        read = partial(read_recording, rate=mel.sampling_rate, peak=PEAK if processor is None else processor.peak)
    missing = [row["recording"] for row in rows if not row["recording"].is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(rows)} recordings are missing, the first is {missing[0]}; is `data_dir` "
            f"({options.data_dir}) the one of the extraction?"
        )
    if options.skip_damaged:
        rows = keep_readable(rows, read, "recordings")
    else:
        refuse_empty_files(row["recording"] for row in rows)
    return rows, read


def list_recordings(root: Path) -> list[Row]:
    """The recordings below a folder, sorted."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not paths:
        there = "" if root.is_dir() else ", and no such folder"
        raise FileNotFoundError(f"`data_dir` ({root}) holds no recording{there}; known are {' '.join(AUDIO_SUFFIXES)}.")
    names = [str(path.relative_to(root)) for path in paths]
    return [
        {"id": name, "name": os.path.splitext(name)[0], "recording": path}
        for name, path in zip(names, paths, strict=True)
    ]


def read_recording(row: Row, rate: int, peak: float) -> torch.Tensor:
    samples, _ = read_audio(row["recording"], rate, name=str(row["recording"]))
    return normalize_peak(torch.from_numpy(samples), peak)[0]


def read_clip_sound(row: Row, processor: LTBSProcessor) -> torch.Tensor:
    """The sound of a clip of targets, as it was measured."""
    sound: Any = row["recording"]
    if row["is_video"]:
        sound = VideoReader(sound, name=str(sound)).soundtrack(processor.sampling_rate)[0]  # on the video's clock
    place = {"start_frame": row["start_frame"], "num_frames": row["frames"]}
    return processor.prepare_sound(sound, **place, name=str(row["recording"]))


def find_spectrograms(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Rows with their files of spectrograms."""
    rows = [row | {"mel": folder / f"{row['name']}.safetensors"} for row in rows]
    missing = [row["mel"] for row in rows if not row["mel"].is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(rows)} recordings have no spectrogram, the first that is missing is "
            f"{missing[0]}; with --ltbs and --targets they are made."
        )
    return rows


# ------------------------------------------------------------------------------------------------------------ networks


def load(options: argparse.Namespace, processor: LTBSProcessor | None) -> SpeechT5HifiGan:
    """The generator to begin with."""
    if options.model is None:
        mel = MelSettings() if processor is None else processor.mel_settings
        return SpeechT5HifiGan(make_hifigan_config(mel, options.size or "v1"))
    with explain_damage(options.model):
        generator = load_vocoder(options.model)
    if not isinstance(generator, SpeechT5HifiGan):
        raise ValueError(f"`model` ({options.model}) is a {type(generator).__name__}, which can't be trained.")
    if processor is None:
        read_mel_settings(generator.config)
    else:
        check_vocoder(generator.config, processor.mel_settings, f"model ({options.model})")
    vars(generator.config).pop("avzoo_source", None)  # of the file that was converted; this becomes another model
    return generator


@torch.no_grad()
def make_spectrograms(
    options: argparse.Namespace, rows: Sequence[Row], processor: LTBSProcessor, arguments: TrainingArguments
) -> None:
    """Write those of LTBS that are not there, of the true units, pitch and energy; the processes share the work."""
    state = PartialState(cpu=arguments.cpu)
    if state.is_main_process:
        check_source(options)
    state.wait_for_everyone()
    left = [place for place, row in enumerate(rows) if not (options.mels / f"{row['name']}.safetensors").is_file()]
    if not left:
        return
    model = load_checked_model(AutoModel, options.ltbs)
    if not isinstance(model, LTBSForLipToSpeech):
        raise ValueError(f"`ltbs` ({options.ltbs}) is a {type(model).__name__}; an LTBSForLipToSpeech is needed.")
    processor.check_model(model.config)
    clips = LTBSClips(rows, processor, find_speakers(options, model, rows, state.device), augment=False)
    collate, is_fine = ClipCollator(processor), bool(model.postnet.steps[0].norm.is_initialized)
    if not is_fine and state.is_main_process:
        logger.warning(f"`ltbs` ({options.ltbs}) has a flow that was never trained; its coarse spectrograms are taken.")
    model.to(state.device).eval()
    own = left[state.process_index :: state.num_processes]
    for place in tqdm(own, desc="spectrograms", unit="clip", disable=not state.is_main_process):
        batch = send_to_device(collate([clips[place]]), state.device)
        acoustic = model.ltbs(**take_inputs(batch), **take_conditions(batch), return_dict=True)
        noise = draw_noise(batch["mel_labels"], [place], arguments.seed)
        mel = model.refine(acoustic, noise, options.noise_scale) if is_fine else acoustic.mel_coarse
        path = options.mels / f"{rows[place]['name']}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as unfinished:
            save_file({"mel": mel[0].float().cpu().contiguous()}, unfinished)
    state.wait_for_everyone()


def check_source(options: argparse.Namespace) -> None:
    """Refuse a folder of spectrograms of another network: half of them would be unlike the others."""
    file, source = options.mels / SOURCE_FILE, {"ltbs": options.ltbs, "noise_scale": options.noise_scale}
    if not file.is_file():
        options.mels.mkdir(parents=True, exist_ok=True)
        with write_atomically(file) as unfinished:
            unfinished.write_text(json.dumps(source) + "\n", encoding="utf-8")
    elif (stored := json.loads(file.read_text(encoding="utf-8"))) != source:
        raise ValueError(
            f"`mels` ({options.mels}) holds spectrograms of {stored}, not of {source}; choose another folder."
        )


def find_speakers(
    options: argparse.Namespace, model: LTBSForLipToSpeech, rows: Sequence[Row], device: torch.device
) -> SpeakerTable | SpeakerVectors | None:
    """What tells LTBS who speaks."""
    config = model.config
    if config.speaker_conditioning == "table":
        return SpeakerTable(rows, read_speaker_names(options.ltbs, config.num_speakers, options.speakers_file))
    if config.speaker_conditioning == "none":
        return None
    encoder = choose_speaker_encoder(options.speaker_encoder, model, device)
    if encoder is None:
        raise ValueError(
            f"`speaker_encoder` is needed: `ltbs` ({options.ltbs}) is given embeddings, and has none inside."
        )
    return SpeakerVectors(rows, embed_recordings(encoder, rows, options.data_dir))


def evaluate(
    network: VocoderTraining, accelerator: Accelerator, rows: Sequence[Row], read: Callable[[Row], torch.Tensor]
) -> dict[str, float]:
    """Mean over recordings; the processes share them."""
    own = rows[accelerator.process_index :: accelerator.num_processes]
    totals = gather_object([measure_vocoder(network, own, read)])
    return {"mel L1": sum(total for total, _ in totals) / sum(count for _, count in totals)}


if __name__ == "__main__":
    main()
