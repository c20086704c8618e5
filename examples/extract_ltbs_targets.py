r"""Cut mouths and measure what LTBS is trained on, once for all epochs: spectrogram, pitch, energy, units of speech.

    python examples/extract_ltbs_targets.py --dataset grid --data_dir grid --output_dir targets/train \
        --hubert facebook/hubert-large-ll60k --centres centres.safetensors
    python examples/extract_ltbs_targets.py --dataset lrs3 --data_dir lrs3 --split test --output_dir targets/test \
        --hubert facebook/hubert-large-ll60k --centres centres.safetensors --processor targets/train

| dataset | what `--data_dir` is |
|---|---|
| grid | the folder of `s1` to `s34`; `--speakers s1 s2 s4 s29` takes only these |
| lip2wav | a speaker's folder, such as `Dataset/chem`; `--split` train, val or test |
| lrs2 | the folder of the videos' folders, with `--list` for `train.txt` or another |
| lrs3 | the folder of `pretrain`, `trainval` and `test`; `--split` one of them |
| folder | your own: a folder of mp4 files for each speaker |
| csv | your own: the folder of the clips, with `--list` for a table of path, speaker and perhaps audio and split |

Each clip becomes a safetensors file of the largest face's mouth (several if it is longer than `--max_seconds`) and a
JSON file that is written last: a run that was interrupted goes on where it stopped. `targets.json` lists all of them.
Clips without a face are left out and counted. Mouths that others have cut are taken as they are: `--mouths mouths` for
`mouths/s1/bbaf2n.mp4` and so on, 25 frames per second from the clip's first frame on; the network then knows their cut.

Centres that are not there are found by k-means on HuBERT's features of some clips and saved; give those of the training
set to all other sets, and its folder as `--processor`, whose mean and deviation of energy the network knows.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import HubertModel
from transformers.utils import PROCESSOR_NAME

from avzoo.checks import check_number, check_whole_number
from avzoo.data.grid import grid
from avzoo.data.lip2wav import lip2wav
from avzoo.data.lrs2 import lrs2
from avzoo.data.lrs3 import lrs3
from avzoo.data.speaker_folders import read_speaker_folders, read_speaker_table
from avzoo.files import write_atomically
from avzoo.hub.errors import explain_hub_errors
from avzoo.models.ltbs import LTBSProcessor
from avzoo.models.ltbs.speech_units import (
    align_units,
    cut_hubert,
    extract_hubert_features,
    find_units,
    fit_centres,
    load_centres,
    save_centres,
)
from avzoo.models.ltbs.target_files import read_clip_file, save_clip
from avzoo.pipelines.shared.face_detectors import DETECTORS, faces_from, whole_frame_track
from avzoo.pipelines.shared.saved_folders import explain_damage
from avzoo.rates import FRAMES_PER_SECOND
from avzoo.training import report_errors
from avzoo.video import Track, VideoReader, find_face_tracks, to_grey

SETTINGS, CLIPS = "settings.json", "targets.json"
DATASETS = ("grid", "lip2wav", "lrs2", "lrs3", "folder", "csv")


@report_errors
def main() -> None:
    options = parse_arguments()
    check_number("max_seconds", options.max_seconds, above=0)
    check_whole_number("every", options.every, at_least=1)
    rows = read_rows(options)
    refuse_taken_names(rows)
    processor = load_processor(options)
    extractor = load_units(options, rows, processor) if options.hubert else None
    check_settings(options, processor, extractor)
    left_out = []
    for row in tqdm(rows, unit="clip"):
        record = options.output_dir / f"{row['id']}.json"
        if not record.is_file():
            write_clip(row, record, options, processor, extractor)
        content = json.loads(record.read_text(encoding="utf-8"))
        left_out += [f"{row['id']}: {content['left_out']}"] if content["left_out"] else []
    clips = finish(rows, options, processor)
    seconds = sum(clip["frames"] for clip in clips) / FRAMES_PER_SECOND
    print(f"{options.output_dir / CLIPS}: {len(clips)} clips, {seconds / 60:.1f} minutes")
    if left_out:
        print(f"{len(left_out)} of {len(rows)} are left out, the first is {left_out[0]}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATASETS, required=True)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--list", type=Path, help="lrs2: train.txt, val.txt or test.txt; csv: the table")
    parser.add_argument("--split", help="lip2wav: train, val, test; lrs3: pretrain, trainval, test")
    parser.add_argument("--speakers", nargs="+", help="grid: take only these")
    parser.add_argument("--skip_missing", action="store_true", help="leave out clips that are not there")
    parser.add_argument("--skip_damaged", action="store_true", help="leave out clips that can't be read")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--processor", type=Path, help="folder of the training set's, which this set shares")
    parser.add_argument("--mel_type", choices=["hifigan", "centered"], default="hifigan")
    parser.add_argument("--hubert", help="folder or Hub id; without it no units are written")
    parser.add_argument("--layer", type=int, default=12, help="of HuBERT (%(default)s)")
    parser.add_argument("--centres", type=Path, help="safetensors file of k-means centres, found if it is not there")
    parser.add_argument(
        "--num_units", type=int, default=200, help="centres to find, where there is no file (%(default)s)"
    )
    parser.add_argument("--fit_clips", type=int, default=1000, help="clips to find them in (%(default)s)")
    parser.add_argument("--fit_frames", type=int, default=200_000, help="frames of these (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of k-means (%(default)s)")
    parser.add_argument("--max_seconds", type=float, default=10.0, help="cut longer clips (%(default)s)")
    parser.add_argument("--cropped", action="store_true", help="the videos are already cropped to one face")
    parser.add_argument("--mouths", type=Path, help="folder of ready mouths: an mp4 file for the id of each clip")
    parser.add_argument("--detector", choices=DETECTORS, help="default: yunet, which needs OpenCV")
    parser.add_argument("--detector_model", type=Path, help="YuNet's ONNX file, or folder of a converted S3FD")
    parser.add_argument("--every", type=int, default=1, help="find faces in each n-th frame only (%(default)s)")
    parser.add_argument("--device", help="of HuBERT (default: GPU if available, else CPU)")
    options = parser.parse_args()
    if options.hubert and options.centres is None:
        parser.error("--hubert needs --centres, a file to read or to write")
    if options.mouths and options.cropped:
        parser.error("--mouths and --cropped: choose one")
    return options


def read_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """{"id", "speaker", "audio", "video", perhaps "text"} of each clip."""
    split = {} if options.split is None else {"split": options.split}
    missing = {"skip_missing": options.skip_missing}
    if options.dataset == "grid":
        return grid(options.data_dir, options.speakers)
    if options.dataset == "lip2wav":
        return lip2wav(options.data_dir, **split, **missing)
    if options.dataset == "lrs3":
        return lrs3(options.data_dir, **split, **missing)
    if options.dataset == "folder":
        return read_speaker_folders(options.data_dir)
    if options.list is None:
        example = {"lrs2": "train.txt", "csv": "clips.csv"}[options.dataset]
        raise ValueError(f"--dataset {options.dataset} needs --list, such as {example}.")
    if options.dataset == "csv":
        return read_speaker_table(options.list, options.data_dir, **missing)
    rows = list(lrs2(options.data_dir, options.list, **missing))
    for row in rows:
        if Path(row["path"]).is_dir():
            raise ValueError(
                f"{row['path']} is a folder of faces, whose mouths lie elsewhere; give the owners' mp4 files."
            )
    return [
        {"id": row["id"], "speaker": row["id"].split("/")[0], "audio": row["path"], "video": row["path"]}
        for row in rows
    ]


def refuse_taken_names(rows: list[dict[str, Any]]) -> None:
    """Refuse clips whose record would be one of the folder's own files.

    Raises:
        ValueError: a clip is called so; rename it.
    """
    taken = {Path(name).stem for name in (SETTINGS, CLIPS, PROCESSOR_NAME)}
    for row in rows:
        if os.path.normpath(row["id"]) in taken:
            raise ValueError(f"a clip is called {row['id']}, as a file of `output_dir` is; rename it ({row['video']}).")


def load_processor(options: argparse.Namespace) -> LTBSProcessor:
    """That of another set, or a new one whose energy isn't fitted yet."""
    if options.processor is not None:
        with explain_damage(options.processor):
            return LTBSProcessor.from_pretrained(options.processor)
    num_units = options.num_units
    if options.centres is not None and options.centres.is_file():
        num_units = len(load_centres(options.centres))
    return LTBSProcessor(mel_type=options.mel_type, num_units=num_units)


class UnitExtractor:
    """Sound at 16 kHz to units at the video's rate."""

    def __init__(self, model: HubertModel, centres: torch.Tensor):
        self.model, self.centres = model, centres

    def __call__(self, waveform: torch.Tensor, num_frames: int) -> torch.Tensor:
        wanted = num_frames * 16000 // FRAMES_PER_SECOND
        waveform = torch.nn.functional.pad(waveform[:wanted], (0, max(0, wanted - len(waveform))))
        return align_units(find_units(extract_hubert_features(self.model, waveform), self.centres), num_frames)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.centres.numpy().tobytes()).hexdigest()[:16]


def load_units(options: argparse.Namespace, rows: list[dict[str, Any]], processor: LTBSProcessor) -> UnitExtractor:
    """HuBERT up to a layer, with its centres; these are found first where there are none."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with explain_damage(options.hubert), explain_hub_errors(options.hubert):
        model, report = HubertModel.from_pretrained(options.hubert, output_loading_info=True)
    missing = sorted(report["missing_keys"] - {"masked_spec_embed"})  # a vector for training
    if missing:
        raise ValueError(f"`hubert` ({options.hubert}) lacks {len(missing)} weights, the first is {missing[0]}.")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = cut_hubert(model, options.layer).to(device)
    if not options.centres.is_file():
        generator = torch.Generator().manual_seed(options.seed)
        chosen = torch.randperm(len(rows), generator=generator)[: options.fit_clips].tolist()
        features = []
        for place in tqdm(sorted(chosen), desc="features for k-means", unit="clip"):
            try:
                part = extract_hubert_features(model, read_sound(rows[place], processor))
            except (ValueError, OSError) as error:
                refuse_or_tell(error, options)
                continue
            most = max(1, options.fit_frames // len(chosen))
            features.append(part[torch.randperm(len(part), generator=generator)[:most]])
        if not features:
            raise ValueError(f"none of the {len(chosen)} clips that --centres are to be found in can be read.")
        centres = fit_centres(torch.cat(features), options.num_units, generator=generator)
        options.centres.parent.mkdir(parents=True, exist_ok=True)
        save_centres(options.centres, centres)
    centres = load_centres(options.centres)
    if len(centres) != processor.num_units:
        raise ValueError(
            f"`centres` ({options.centres}) are {len(centres)}, the processor has {processor.num_units} units."
        )
    if centres.shape[1] != model.config.hidden_size:
        raise ValueError(
            f"`centres` ({options.centres}) have {centres.shape[1]} numbers each, {options.hubert} gives "
            f"{model.config.hidden_size}: they are of another network."
        )
    return UnitExtractor(model, centres)


def check_settings(options: argparse.Namespace, processor: LTBSProcessor, extractor: UnitExtractor | None) -> None:
    """Refuse a folder of other settings: half of its clips would be unlike the others."""
    settings = {name: value for name, value in processor.to_dict().items() if not name.startswith("energy_")}
    settings |= {"energy_type": processor.energy_type, "hubert": options.hubert, "cropped": options.cropped}
    settings |= {"max_seconds": options.max_seconds, "centres": extractor and extractor.digest}
    settings |= {"ready_mouths": True} if options.mouths else {}
    settings["layer"] = options.layer if options.hubert else None
    file = options.output_dir / SETTINGS
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        for name in {**stored, **settings}:
            if stored.get(name) != settings.get(name):
                raise ValueError(
                    f"`output_dir` ({options.output_dir}) was written with `{name}` {stored.get(name)!r}, this run has "
                    f"{settings.get(name)!r}; choose another folder."
                )
        return
    options.output_dir.mkdir(parents=True, exist_ok=True)
    with write_atomically(file) as unfinished:
        unfinished.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_clip(
    row: dict[str, Any],
    record: Path,
    options: argparse.Namespace,
    processor: LTBSProcessor,
    extractor: UnitExtractor | None,
) -> None:
    """The files of one clip, and last its record."""
    record.parent.mkdir(parents=True, exist_ok=True)
    found, left_out = [], None
    try:
        ready = None if options.mouths is None else read_ready_mouths(row, options, processor)
        found = list(find_pieces(row, options, ready))
        left_out = None if found else "no face"
    except (ValueError, OSError) as error:
        left_out = refuse_or_tell(error, options)
    pieces = []
    for piece in found:
        try:
            if ready is None:
                mouths = processor.read_mouths(row["video"], piece, name=row["id"])
            else:
                mouths = ready[piece.start_frame : piece.stop_frame]
            sound = read_sound(row, processor, piece)
            units = None if extractor is None else extractor(sound, len(mouths))
            measured = processor.measure_targets(sound, len(mouths))
        except (ValueError, OSError) as error:
            pieces, left_out = [], refuse_or_tell(error, options)
            break
        # Outside: a full disk is no damaged clip.
        path = record.with_name(f"{record.stem}-{piece.start_frame}.safetensors")
        save_clip(path, torch.from_numpy(mouths), measured, units)
        place = {"file": str(path.relative_to(options.output_dir)), "start_frame": piece.start_frame}
        pieces.append(place | {"frames": len(mouths)})
    with write_atomically(record) as unfinished:
        unfinished.write_text(json.dumps({"pieces": pieces, "left_out": left_out}), encoding="utf-8")


def refuse_or_tell(error: Exception, options: argparse.Namespace) -> str:
    """Why a clip is left out, with --skip_damaged."""
    if not options.skip_damaged:
        raise error
    return str(error)


def read_ready_mouths(row: dict[str, Any], options: argparse.Namespace, processor: LTBSProcessor) -> np.ndarray:
    """Mouths that others have cut, (frames, rows, columns) uint8."""
    path = options.mouths / f"{row['id']}.mp4"
    frames = VideoReader(path, name=str(path), strict=True).read(FRAMES_PER_SECOND)
    return processor.read_mouths(np.stack([to_grey(frame) for frame in frames]), name=str(path))


def find_pieces(row: dict[str, Any], options: argparse.Namespace, ready: np.ndarray | None = None) -> Iterator[Track]:
    """The track of the largest face, or of what is ready, in pieces of nearly equal length."""
    reader = VideoReader(
        row["video"] if ready is None else options.mouths / f"{row['id']}.mp4", name=row["id"], strict=True
    )
    if options.cropped or ready is not None:
        tracks = whole_frame_track(reader, FRAMES_PER_SECOND)
    else:
        faces = faces_from(options.detector, options.detector_model, reader.info.metadata)
        tracks = find_face_tracks(row["video"], faces, max_faces=1, every=options.every, name=row["id"])
    for track in tracks.tracks:
        parts = -(-len(track) // max(1, int(options.max_seconds * FRAMES_PER_SECOND)))
        for places in np.array_split(np.arange(len(track)), parts):
            points = None if track.landmarks is None else track.landmarks[places]
            yield Track(track.track_id, track.frames[places], track.boxes[places], track.scores[places], points)


def read_sound(row: dict[str, Any], processor: LTBSProcessor, piece: Track | None = None) -> torch.Tensor:
    """The sound of a clip, or of a piece of it."""
    wanted = {} if piece is None else {"start_frame": piece.start_frame, "num_frames": len(piece)}
    sound = row["audio"]
    if sound == row["video"]:
        reader = VideoReader(sound, name=row["id"], strict=True)
        sound, _ = reader.soundtrack(processor.sampling_rate)  # on the video's clock
    return processor.prepare_sound(sound, **wanted, name=row["id"])


def finish(rows: list[dict[str, Any]], options: argparse.Namespace, processor: LTBSProcessor) -> list[dict[str, Any]]:
    """Write the list of all clips and the processor, whose energy is fitted to them unless it was given."""
    clips = []
    for row in rows:
        content = json.loads((options.output_dir / f"{row['id']}.json").read_text(encoding="utf-8"))
        known = {name: row[name] for name in ("id", "speaker", "text", "split") if name in row}
        known["audio"] = os.path.relpath(row["audio"], options.data_dir)  # data sets move, and so do their targets
        known["is_video"] = row["audio"] == row["video"]
        clips += [known | piece for piece in content["pieces"]]
    if not clips:
        raise ValueError(f"no clip of {options.data_dir} has a face; nothing can be trained on it.")
    if options.processor is None and processor.energy_type == "linear":
        processor.fit_energy(read_clip_file(options.output_dir / clip["file"])["energy"] for clip in clips)
    processor.save_pretrained(options.output_dir)
    with write_atomically(options.output_dir / CLIPS) as unfinished:
        unfinished.write_text(json.dumps(clips, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return clips


if __name__ == "__main__":
    main()
