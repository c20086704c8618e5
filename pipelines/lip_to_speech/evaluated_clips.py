"""Clips to evaluate: folders of sound files that any system made, or videos that a pipeline gives their voice back."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import HubertModel

from avzoo.audio import read_audio
from avzoo.checks import check_choice
from avzoo.data.grid import grid
from avzoo.data.labelled_recordings import AUDIO_SUFFIXES
from avzoo.data.lip2wav import lip2wav
from avzoo.data.lists import PathLike, malformed, read_records
from avzoo.data.lrs2 import lrs2
from avzoo.data.lrs3 import lrs3
from avzoo.data.speaker_folders import read_speaker_folders, read_speaker_table
from avzoo.hub.errors import explain_hub_errors
from avzoo.metrics.speech_reconstruction import frame_distance, unit_accuracy
from avzoo.models.layers.vocoding import vocode
from avzoo.models.ltbs.speech_units import (
    align_units,
    cut_hubert,
    extract_hubert_features,
    find_units,
    load_centres,
)
from avzoo.pipelines.lip_to_speech.evaluation import RATE, SpeechClip
from avzoo.pipelines.shared.saved_folders import explain_damage
from avzoo.video import VideoReader

DATASETS = ("grid", "lip2wav", "lrs2", "lrs3", "folder", "csv")
MADE, VOCODED = "made", "vocoded"
_MELS = {"coarse": "mel_coarse", "refined": "mel"}  # names in the pipeline's answer
Row = Mapping[str, Any]

# Lists.


def read_test_rows(
    dataset: str,
    root: PathLike,
    *,
    split: str | None = None,
    list_path: PathLike | None = None,
    speakers: Sequence[str] | None = None,
    skip_missing: bool = False,
) -> list[dict[str, Any]]:
    """The clips of a test list: {"id", "speaker", "audio", "video", perhaps "text"}.

    The text is GRID's file name, or the "Text:" line of LRS2's and LRS3's `.txt` file beside the video.

    Args:
        dataset: of `DATASETS`; "folder" is a folder of mp4 files for each speaker, "csv" a table, see
            [`avzoo.data.speaker_folders`].
        root: folder of the data set.
        split: of lip2wav and lrs3.
        list_path: of lrs2 and csv.
        speakers: of grid.

    Raises:
        ValueError, OSError: what the reader of the data set raises; a list that is missing.
    """
    check_choice("dataset", dataset, DATASETS)
    chosen, missing = {} if split is None else {"split": split}, {"skip_missing": skip_missing}
    if dataset in ("lrs2", "csv") and list_path is None:
        raise ValueError(f"`dataset` {dataset} needs `list_path`, such as test.txt or clips.csv.")
    if dataset == "grid":
        rows = grid(root, speakers)
    elif dataset == "lip2wav":
        rows = lip2wav(root, **chosen, **missing)
    elif dataset == "lrs3":
        rows = lrs3(root, **chosen, **missing)
    elif dataset == "folder":
        rows = read_speaker_folders(root)
    elif dataset == "csv":
        rows = read_speaker_table(list_path, root, **missing)
    else:
        rows = [
            {"id": row["id"], "speaker": row["id"].split("/")[0], "audio": row["path"], "video": row["path"]}
            for row in lrs2(root, list_path, **missing)
        ]
    folder = next((row["video"] for row in rows if Path(row["video"]).is_dir()), None)
    if folder is not None:
        raise ValueError(f"{folder} is a folder of faces, whose mouths lie elsewhere; give the owners' mp4 files.")
    return [{**row, **_find_text(row)} for row in rows]


def _find_text(row: Row) -> dict[str, str]:
    path = Path(row["video"]).with_suffix(".txt")
    if "text" in row or not path.is_file():
        return {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, colon, text = line.partition(":")
        if colon and name.strip().lower() == "text" and text.strip():
            return {"text": text.strip()}
    return {}


def read_texts(path: PathLike) -> dict[str, str]:
    """What is said in each clip, of a table with a header: `id` (or `path`, whose suffix is cut) and `text`.

    Raises:
        ValueError: a missing column, a row of another length, an empty or repeated id; with file and line.
        OSError: it can't be read.
    """
    table = Path(path)
    records = read_records(table)
    line, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    key = next((name for name in ("id", "path") if name in header), None)
    if key is None or "text" not in header:
        raise malformed(table, line, f"expected a header with id (or path) and text, got {','.join(header)!r}")
    texts: dict[str, str] = {}
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = dict(zip(header, fields, strict=True))
        name = named[key].strip()
        name = os.path.splitext(name)[0] if key == "path" else name
        if not name or name in texts:
            raise malformed(table, line, f"{name!r} comes twice" if name else f"`{key}` is empty")
        texts[name] = named["text"].strip()
    if not texts:
        raise ValueError(f"{table} holds a header and no text.")
    return texts


# Folders of sound.


def read_sound_folders(
    made: Mapping[str, PathLike], real: PathLike, texts: Mapping[str, str] | None = None
) -> list["SoundPair"]:
    """Pair sounds that systems made with the real ones, by their paths without suffix.

    Args:
        made: {system: folder}. real: the folder of the recordings. Each in any format, at any rate.
        texts: {id: what is said}, the id being the path without suffix, such as "s1/bbaf2n".

    Returns:
        The pairs by id; [`SoundPair.read`] gives a [`SpeechClip`].

    Raises:
        FileNotFoundError: no such folder, no sounds in it, or sounds without their counterpart, by name.
        ValueError: two sounds of one name; texts of other clips only.
    """
    if not made:
        raise ValueError("`made` names no system.")
    folders = {system: _list_sounds(folder, system) for system, folder in made.items()}
    recordings = _list_sounds(real, "real")
    for system, sounds in folders.items():
        for lacking, others, folder in ((sounds, recordings, made[system]), (recordings, sounds, real)):
            missing = sorted(others.keys() - lacking.keys())
            if missing:
                raise FileNotFoundError(
                    f"`{folder}` lacks {len(missing)} of the {len(others)} sounds that its counterpart has: "
                    f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}."
                )
    if texts and not texts.keys() & recordings.keys():
        raise ValueError(
            f"`texts` are of no clip of `{real}`: the first text is of {next(iter(texts))!r}, the first sound is "
            f"{min(recordings)!r}."
        )
    return [
        SoundPair(name, recordings[name], {system: sounds[name] for system, sounds in folders.items()}, texts)
        for name in sorted(recordings)
    ]


class SoundPair:
    """Files of one clip."""

    def __init__(self, name: str, real: Path, made: Mapping[str, Path], texts: Mapping[str, str] | None):
        self.id, self.real, self.made, self.text = name, real, made, (texts or {}).get(name)

    def read(self) -> SpeechClip:
        """Decode them, mono at 16 kHz.

        Raises:
            ValueError: an empty or damaged file, by name.
        """
        made = {system: read_audio(path, RATE, name=system)[0] for system, path in self.made.items()}
        return SpeechClip(self.id, read_audio(self.real, RATE, name="real")[0], made, self.text)


def _list_sounds(folder: PathLike, name: str) -> dict[str, Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"`{name}` ({folder}) is no folder.")
    sounds: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in sounds:
            raise ValueError(f"`{name}`: {sounds[key]} and {path} would be one clip, {key!r}.")
        sounds[key] = path
    if not sounds:
        raise FileNotFoundError(f"`{name}` ({folder}) holds no sound ({', '.join(AUDIO_SUFFIXES)}).")
    return sounds


# Videos.


class UnitReader:
    """Sound at 16 kHz to units at the video's rate, by HuBERT and centres of k-means."""

    def __init__(self, model: HubertModel, centres: torch.Tensor):
        self.model, self.centres = model, centres

    @classmethod
    def load(cls, hubert: str, centres: PathLike, *, layer: int = 12, device: Any = None) -> "UnitReader":
        """Load both; arguments as of examples/extract_ltbs_targets.py."""
        with explain_damage(hubert), explain_hub_errors(hubert):
            model, report = HubertModel.from_pretrained(hubert, output_loading_info=True)
        missing = sorted(report["missing_keys"] - {"masked_spec_embed"})  # a vector for training
        if missing:
            raise ValueError(f"`hubert` ({hubert}) lacks {len(missing)} weights, the first is {missing[0]}.")
        found = load_centres(centres)
        if found.shape[1] != model.config.hidden_size:
            raise ValueError(
                f"`centres` ({centres}) have {found.shape[1]} numbers each, {hubert} gives {model.config.hidden_size}."
            )
        return cls(cut_hubert(model, layer).to(device or "cpu"), found)

    def __call__(self, waveform: torch.Tensor, num_frames: int) -> np.ndarray:
        units = find_units(extract_hubert_features(self.model, waveform), self.centres)
        return align_units(units, num_frames).numpy()


def speak_clips(
    pipe: Any,
    rows: Sequence[Row],
    *,
    voice: Literal["own", "other", "mean", "table"] | str | os.PathLike = "mean",
    table: Sequence[str] | None = None,
    texts: Mapping[str, str] | None = None,
    units: Callable[[torch.Tensor, int], np.ndarray] | None = None,
    seed: int = 0,
    keep: Callable[[str, SpeechClip], None] | None = None,
    **options: Any,
) -> Iterator[SpeechClip]:
    """Give videos their voice back: clips with the systems "made" and "vocoded", the ceiling that the vocoder sets.

    The largest face of each video speaks. The real sound is that of its frames, at the peak that the processor gives
    it, and "vocoded" is its spectrogram through the same vocoder. Noise of a clip is drawn by `seed` and its id, so
    that neither order nor number of clips changes it.

    Args:
        pipe: `transformers.pipeline("lip-to-speech")`.
        rows: of [`read_test_rows`].
        voice: "own": the speaker's voice is taken from the very sound that is to be made, which flatters; "other": from
            the next clip of the speaker in the list; "mean": no speaker is given; "table": the row of the speaker's
            name in `table`; or a recording for all.
        table: names of speakers by row.
        texts: {id: what is said}, before those of the rows.
        units: sound and number of frames to units, such as [`UnitReader`]; adds the share that is right.
        keep: called with each id and clip, to store its sounds.
        options: of the pipeline: faces, detector_model, every, noise_scale, ...

    Raises:
        ValueError: no face in a video, no other clip of a speaker, a speaker who isn't in the table; by the clip's id.
    """
    processor = pipe.processor
    voices = _Voices(rows, voice, table, processor)
    for row in rows:
        try:
            clip = _speak(pipe, row, voices, texts or {}, units, seed, options)
        except (ValueError, OSError) as error:
            kind = ValueError if isinstance(error, ValueError) else OSError
            raise kind(f"{row['id']}: {error}") from error
        if keep is not None:
            keep(row["id"], clip)
        yield clip


def _speak(
    pipe: Any,
    row: Row,
    voices: "_Voices",
    texts: Mapping[str, str],
    units: Callable[[torch.Tensor, int], np.ndarray] | None,
    seed: int,
    options: Mapping[str, Any],
) -> SpeechClip:
    processor = pipe.processor
    seed = int.from_bytes(hashlib.sha256(f"{seed}/{row['id']}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(seed)
    (face,) = pipe(row["video"], speaker=voices.find(row), generator=generator, max_faces=1, **options)
    num_frames = len(face["units"])
    real = read_real_sound(row, processor, round(face["start"] * processor.frame_rate), num_frames)
    measured = processor.measure_targets(real, num_frames)
    with torch.inference_mode():
        vocoded = vocode(pipe.vocoder, measured["mel"][None].to(pipe.device))[0].float().cpu().numpy()
    mel = measured["mel"].numpy()
    measures = {f"mel_l1_{kind}": frame_distance(face[key], mel) for kind, key in _MELS.items()}
    if units is not None:
        try:
            measures["unit_accuracy"] = unit_accuracy(face["units"], units(real, num_frames))
        except ValueError:  # no frame with a unit
            measures["unit_accuracy"] = None
    made = {MADE: face["audio"], VOCODED: vocoded[: len(face["audio"])]}
    text = texts.get(row["id"], row.get("text"))
    return SpeechClip(row["id"], real.numpy(), made, text, {MADE: measures})


def read_real_sound(row: Row, processor: Any, start_frame: int = 0, num_frames: int | None = None) -> torch.Tensor:
    """The sound of a clip from a frame on, on the video's clock, filled with silence to the frames: (samples,)."""
    sound = row["audio"]
    if sound == row["video"]:
        sound = VideoReader(sound, name=row["id"]).soundtrack(processor.sampling_rate)[0]
    wanted = {"start_frame": start_frame, "num_frames": num_frames}
    waveform = processor.prepare_sound(sound, **wanted, name=row["id"])
    if num_frames is None:
        return waveform
    missing = num_frames * processor.samples_per_frame - len(waveform)
    return torch.nn.functional.pad(waveform, (0, max(0, missing)))


class _Voices:
    """What the pipeline gets as `speaker` for each clip."""

    def __init__(self, rows: Sequence[Row], voice: Any, table: Sequence[str] | None, processor: Any):
        if voice == "table" and table is None:
            raise ValueError('`voice` "table" needs `table`, the names of the speakers by row.')
        self.voice, self.table, self.processor = voice, table, processor
        self.others: dict[str, list[Row]] = {}
        for row in rows:
            self.others.setdefault(row["speaker"], []).append(row)

    def find(self, row: Row) -> Any:
        if self.voice == "mean":
            return None
        if self.voice == "own":
            return self._read(row)
        if self.voice == "table":
            if row["speaker"] not in self.table:
                raise ValueError(
                    f"speaker {row['speaker']!r} is not in the network's table: {', '.join(self.table[:10])}."
                )
            return list(self.table).index(row["speaker"])
        if self.voice == "other":
            clips = self.others[row["speaker"]]
            if len(clips) < 2:
                raise ValueError(f'speaker {row["speaker"]!r} has no other clip in the list; take `voice` "own".')
            place = next(index for index, clip in enumerate(clips) if clip["id"] == row["id"])
            return self._read(clips[(place + 1) % len(clips)])
        return os.fspath(self.voice)

    def _read(self, row: Row) -> dict[str, Any]:
        waveform = read_real_sound(row, self.processor)
        return {"array": waveform.numpy(), "sampling_rate": self.processor.sampling_rate}


__all__ = [
    "DATASETS",
    "MADE",
    "VOCODED",
    "SoundPair",
    "UnitReader",
    "read_real_sound",
    "read_sound_folders",
    "read_test_rows",
    "read_texts",
    "speak_clips",
]
