r"""Evaluate LTBS on GRID, Lip2Wav, LRS2, LRS3 or your own videos, or compare any system's sounds with the real ones.

    python examples/evaluate_ltbs.py --model LTBS_FOLDER --dataset grid --data_dir grid --speakers s1 s2 --faces frame \
        --voice other --asr openai/whisper-small.en --output report.json --clips clips.csv
    python examples/evaluate_ltbs.py --made my_wavs --real real_wavs --texts texts.csv --asr openai/whisper-small.en

Printed are word and character error rate (with `--asr`), STOI, ESTOI, ESTOI at the best lag, PESQ, moments of pitch,
distance of melodies, energy error, variance and detail of spectra, share of right units (with `--hubert`), and errors
of the coarse and the refined spectrogram. The column "vocoded" is the real spectrogram through the same vocoder, the
ceiling of all that this vocoder can sound like; "real" is the recording.

Error rates of different recognisers can't be compared: the report holds the recogniser's name, the normalisation of
texts, and the rate of the real recordings. Sound and video of GRID don't always start together, hence the best lag.

| dataset | what `--data_dir` is |
|---|---|
| grid | the folder of `s1` to `s34` |
| lip2wav | a speaker's folder; `--split` train, val or test; its texts are not part of it, give `--texts` |
| lrs2 | the folder of the videos' folders, with `--list test.txt` |
| lrs3 | the folder of `pretrain`, `trainval` and `test`; `--split` one of them |
| folder | your own: a folder of mp4 files for each speaker |
| csv | your own, with `--list clips.csv`: columns path, speaker, and perhaps audio |

`--texts` is a table with the columns id (or path) and text; the id of a clip is its path without suffix.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from avzoo.audio import write_wav
from avzoo.pipelines.lip_to_speech.evaluated_clips import (
    DATASETS,
    MADE,
    VOCODED,
    UnitReader,
    read_sound_folders,
    read_test_rows,
    read_texts,
    speak_clips,
)
from avzoo.pipelines.lip_to_speech.evaluation import RATE, SpeechClip, load_recognizer, score_speech
from avzoo.pipelines.shared.commands import check_writable, silence_hub
from avzoo.pipelines.shared.saved_folders import load_task_pipeline
from avzoo.pipelines.shared.speaker_vectors import read_speaker_names
from avzoo.training import report_errors

VOICES = ("own", "other", "mean", "table")


@report_errors
def main() -> None:
    options = parse_arguments()
    for name in ("output", "clips"):
        path = getattr(options, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"--{name} ({path}): there is no folder {path.absolute().parent}.")
        if path is not None:
            check_writable(path)
    texts = None if options.texts is None else read_texts(options.texts)
    told: dict[str, object] = {}
    if options.made is not None:
        folders = {MADE: options.made} | ({} if options.vocoded is None else {VOCODED: options.vocoded})
        pairs = read_sound_folders(folders, options.real, texts)
        clips, total = (pair.read() for pair in pairs), len(pairs)
        told |= {name: str(folder) for name, folder in {**folders, "real": options.real}.items()}
    else:
        clips, total = speak(options, texts, told)
    recognizer = None
    if options.asr is not None:
        recognizer = load_recognizer(options.asr, language=options.asr_language, device=options.device)
    report = score_speech(
        clips,
        recognizer=recognizer,
        max_lag_seconds=options.max_lag,
        options=told,
        total=total,
        progress=True,
    )
    print(report.describe())
    if options.output is not None:
        report.save(options.output)
        print(f"wrote {options.output}")
    if options.clips is not None:
        report.save_clips(options.clips)
        print(f"wrote {options.clips}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of an LTBS")
    parser.add_argument("--dataset", choices=DATASETS)
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--list", type=Path, help="lrs2: test.txt or another; csv: the table")
    parser.add_argument("--split", help="lip2wav: train, val, test; lrs3: pretrain, trainval, test")
    parser.add_argument("--speakers", nargs="+", help="grid: take only these")
    parser.add_argument("--skip_missing", action="store_true", help="leave out clips that are not there")
    parser.add_argument("--limit", type=int, help="only the first clips, as a trial")
    parser.add_argument("--vocoder", help="folder or Hub id (default: the one beside the model, else Griffin-Lim)")
    parser.add_argument("--speaker_encoder", help="folder or Hub id (default: the one beside the model)")
    parser.add_argument(
        "--voice",
        help="own: of the sound that is to be made, which flatters; other: of another clip of the speaker; mean: none "
        "is given; table: the speaker's row; or a recording for all (default: table if there is one, else mean)",
    )
    parser.add_argument("--speakers_file", type=Path, help="names of the rows, if the model has no speakers.json")
    parser.add_argument("--noise_scale", type=float, default=0.667, help="of the flow (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument("--faces", help='detector, boxes, or "frame": videos are cropped to one face')
    parser.add_argument("--detector_model", type=Path, help="YuNet's ONNX file, or folder of a converted S3FD")
    parser.add_argument("--hubert", help="folder or Hub id, for the share of right units")
    parser.add_argument("--centres", type=Path, help="safetensors file of the k-means centres of the training set")
    parser.add_argument("--layer", type=int, default=12, help="of HuBERT (%(default)s)")
    parser.add_argument("--save_sounds", type=Path, help="folder for what is made, vocoded and real, as wav files")
    parser.add_argument("--made", type=Path, help="folder of sounds that any system made, in place of --model")
    parser.add_argument("--real", type=Path, help="folder of the recordings, named alike")
    parser.add_argument("--vocoded", type=Path, help="folder of the vocoded recordings, if there are any")
    parser.add_argument("--texts", type=Path, help="table of id and text")
    parser.add_argument("--asr", help="folder or Hub id of a speech recogniser")
    parser.add_argument("--asr_language", help="of a recogniser that knows several, such as en")
    parser.add_argument("--max_lag", type=float, default=0.2, help="of ESTOI at the best lag, s; 0: none (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the report there, JSON")
    parser.add_argument("--clips", type=Path, help="write the scores of each clip there, CSV")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    of_sounds, of_videos = (options.made, options.real), (options.model, options.dataset, options.data_dir)
    given, others = (of_sounds, of_videos) if any(of_sounds) else (of_videos, of_sounds)
    if not all(given) or any(others):
        parser.error("give --model, --dataset and --data_dir, or --made and --real")
    if (options.hubert is None) != (options.centres is None):
        parser.error("--hubert and --centres belong together")
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    if options.voice not in (None, *VOICES) and not Path(options.voice).is_file():
        parser.error(f"--voice must be {', '.join(VOICES)} or a recording; {options.voice} is neither")
    return options


def speak(
    options: argparse.Namespace, texts: dict[str, str] | None, told: dict[str, object]
) -> tuple[Iterator[SpeechClip], int]:
    """Clips whose sound the model makes, and how many; `told` gets what the report says of them."""
    rows = read_test_rows(
        options.dataset,
        options.data_dir,
        split=options.split,
        list_path=options.list,
        speakers=options.speakers,
        skip_missing=options.skip_missing,
    )
    chosen = rows[: options.limit]
    parts = {name: getattr(options, name) for name in ("vocoder", "speaker_encoder") if getattr(options, name)}
    silence_hub()
    pipe = load_task_pipeline("lip-to-speech", options.model, options.device, **parts)
    has_table = pipe.model.config.speaker_conditioning == "table"
    voice, table = options.voice or ("table" if has_table else "mean"), None
    if voice == "table":
        if not has_table:
            raise ValueError(f"--voice table: `model` ({options.model}) has no table of speakers.")
        table = read_speaker_names(options.model, pipe.model.config.num_speakers, options.speakers_file)
    elif has_table:
        raise ValueError(f"--voice {voice}: `model` ({options.model}) has a table of speakers; leave --voice out.")
    units = None
    if options.hubert is not None:
        units = UnitReader.load(options.hubert, options.centres, layer=options.layer, device=options.device)
    told |= {"model": options.model, "dataset": f"{options.dataset} ({options.data_dir})", "voice": voice}
    told |= {"noise": f"{options.noise_scale:g}, seed {options.seed}", "vocoder": pipe.vocoder_name}
    faces = {"faces": options.faces, "detector_model": options.detector_model}
    clips = speak_clips(
        pipe,
        chosen,
        voice=voice,
        table=table,
        texts=texts,
        units=units,
        seed=options.seed,
        keep=None if options.save_sounds is None else SoundFolder(options.save_sounds),
        noise_scale=options.noise_scale,
        **{name: value for name, value in faces.items() if value is not None},
    )
    return clips, len(chosen)


class SoundFolder:
    """Writes the sounds of clips, a folder for each system, so that others can be compared with the same."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, name: str, clip: SpeechClip) -> None:
        for system, sound in {**clip.made, "real": clip.real}.items():
            path = self.folder / system / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_wav(path, sound, RATE)


if __name__ == "__main__":
    main()
