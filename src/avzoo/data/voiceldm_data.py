"""What VoiceLDM was trained on: the authors' lists of recordings with transcripts, and speech set in noise.

    speech = voiceldm_rows(["cv1.csv", "cv2.csv"], "cv-corpus-13/en")
    noise = voiceldm_rows("noise_demand.csv", "DEMAND")
    SceneSpeech(speech, noise)[0]      # {"waveform": (163840,) at 16 000 Hz, "text": "..."}

Nobody described these recordings: the description is taken from the sound itself, so noise that is mixed in becomes
part of what the network is asked for. Sources: glory20h/VoiceLDM@16ebc7a (`voiceldm/data.py`, `configs/`) and the lists
of glory20h/voiceldm-data@026f4ca.
"""

import csv
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avzoo.audio.reading import iter_audio, read_audio
from avzoo.audio.resampling import check_rate
from avzoo.audio.stretches import rate_and_length, read_stretch
from avzoo.data.draws import draw_uniform, draw_whole_number
from avzoo.data.lists import PathLike, check_name, malformed

COMMON_VOICE = "cv"  # what the column `data` calls it
NUM_SAMPLES = 163840  # 1024 frames of 160 samples: 10.24 s
SAMPLING_RATE = 16000


# -------------------------------------------------------------------------------------------------- rows


def voiceldm_rows(
    csv_paths: PathLike | Iterable[PathLike],
    root: PathLike | Mapping[str, PathLike],
    *,
    skip_missing: bool = False,
) -> list[dict[str, Any]]:
    """The recordings of one or more lists, in their order.

        file_path,data
        PSTATION/ch03.wav,demand                                                                 (noise_demand.csv)

        caption,file_path,text,data
        Waves roll in and a man speaks,107225.wav,"No, it's still there. I think it's huge.",ac  (ac_filtered.csv)

    Lists for training have the columns file_path, text and data; other columns, such as `caption`, are ignored. `text`
    stays as it is written: the authors' code changes neither case nor punctuation nor spaces. (They read with pandas,
    which makes NaN of a transcript such as "NA" or "null", and of an empty one; here all of these are text.)

    Args:
        csv_paths: a list or several, comma-separated with a header.
        root: folder that the paths start from, or one for each value of `data`, as the authors' configuration has it:
            {"as_b": "balanced_train_segments/audio", "as_e": ..., "as_ub": ..., "cv": ..., "voxceleb": ...}.
        skip_missing: leave out rows without a recording (videos of AudioSet vanish) instead of refusing.

    Returns:
        {"path", "text", "data"} for each row; `text` is None where the list has no such column.

    Raises:
        ValueError: no UTF-8 text, a column is missing, a row has more or fewer fields than the header, an empty path
            or `data`, a path that leads out of `root`, or a `data` for which `root` has no folder; with file and line.
        FileNotFoundError: recordings are not there: how many of the list, and the line of the first.
    """
    if isinstance(csv_paths, str | os.PathLike):
        csv_paths = [csv_paths]
    return [row for table in csv_paths for row in _rows_of(Path(table), root, skip_missing)]


def _rows_of(table: Path, root: PathLike | Mapping[str, PathLike], skip_missing: bool) -> list[dict[str, Any]]:
    records = _records(table)
    line, header = next(records, (1, []))
    if not {"file_path", "data"} <= set(header):
        raise malformed(table, line, f"expected a header with file_path, text and data, got {','.join(header)!r}")
    rows, missing, first = [], 0, ""
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = dict(zip(header, fields, strict=True))
        path = _path_below(root, named["file_path"], named["data"], table, line)
        if os.path.isfile(path):
            rows.append({"path": path, "text": named.get("text"), "data": named["data"]})
        else:
            missing += 1
            first = first or f"{path} (line {line})"
    if missing and not skip_missing:
        raise FileNotFoundError(
            f"{missing} of the {missing + len(rows)} recordings named by {table} are missing, the first is {first}. "
            "Pass skip_missing=True to read the others."
        )
    return rows


def _path_below(root: PathLike | Mapping[str, PathLike], file_path: str, data: str, table: Path, line: int) -> str:
    if not file_path.strip():
        raise malformed(table, line, "`file_path` is empty")
    if not data.strip():
        raise malformed(table, line, "`data` is empty")
    if file_path.startswith("/"):
        raise malformed(table, line, f"`file_path` must start from `root`, got {file_path!r}")
    for part in file_path.split("/"):
        check_name(part, table, line)
    if isinstance(root, Mapping):
        if data not in root:
            raise malformed(table, line, f"`data` is {data!r}, but `root` has folders only for {', '.join(root)}")
        root = root[data]
    return os.path.join(root, file_path)


def _records(table: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of each record: a quoted transcript may go over several lines."""
    with open(table, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark in front
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:  # not a blank line
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise malformed(table, line, str(error)) from error
        except UnicodeDecodeError as error:
            raise malformed(table, line, f"not UTF-8 text ({error.reason})") from error


# ------------------------------------------------------------------------------------------------- clips


class SceneSpeech(torch.utils.data.Dataset):
    """Clips of one length with their transcripts, some set in noise, as VoiceLDM was trained.

    A recording of any format and rate is resampled, its channels are averaged, and its first `num_samples` samples
    taken; a shorter one is followed by zeros. Rows of CommonVoice, which are clean, get noise half of the time: a
    random stretch of a random noise recording, at a signal-to-noise ratio drawn evenly from `snr_db`. The speech keeps
    its level; the noise is multiplied by 10^((speech dB - noise dB - SNR) / 20), powers being means over the clip, its
    zeros included. Sums may leave [-1, 1] and are not clipped. Where speech or noise is silent nothing is mixed.

    Texts come as the rows have them. That training replaces one in ten by the empty text is left to the training loop.
    Of more than two channels the authors' code takes the first; here all are averaged.

    Args:
        speech_rows: {"path", "text", "data"}, see [`voiceldm_rows`].
        noise_rows: {"path", ...}. Empty: nothing is mixed.
        num_samples: length of a clip.
        sampling_rate: Hz.
        noise_probability: for a row that may be mixed.
        snr_db: lowest and highest ratio, dB.
        mixed_data: values of `data` that may be mixed.
        seed: makes item i the same whenever it is read, as cached latents need it; it then depends on the seed, i, and
            the rows. None: drawn anew each time from torch's global generator, which the training loop seeds.

    Raises:
        ValueError: no speech rows, one without text, or an argument out of its range. On reading an item: what
            [`avzoo.audio.read_audio`] raises.
    """

    def __init__(
        self,
        speech_rows: Sequence[Mapping[str, Any]],
        noise_rows: Sequence[Mapping[str, Any]] = (),
        *,
        num_samples: int = NUM_SAMPLES,
        sampling_rate: int = SAMPLING_RATE,
        noise_probability: float = 0.5,
        snr_db: tuple[float, float] = (4.0, 20.0),
        mixed_data: Collection[str] = (COMMON_VOICE,),
        seed: int | None = None,
    ):
        if not len(speech_rows):
            raise ValueError("`speech_rows` is empty: no recording of the lists was found.")
        for index, row in enumerate(speech_rows):
            if not isinstance(row.get("text"), str):
                raise ValueError(
                    f"`speech_rows[{index}]` ({row['path']}) has no text; a list without the column `text` is one of "
                    "noise, pass its rows as `noise_rows`."
                )
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
        if not 0 <= noise_probability <= 1:
            raise ValueError(f"`noise_probability` must be from 0 to 1, got {noise_probability}.")
        lowest, highest = snr_db
        if not -math.inf < lowest <= highest < math.inf:
            raise ValueError(f"`snr_db` must be two finite numbers, the lower first, got ({lowest}, {highest}).")
        self.speech_rows, self.noise_rows = speech_rows, noise_rows
        self.num_samples, self.sampling_rate = num_samples, check_rate(sampling_rate, "sampling_rate")
        self.noise_probability, self.snr_db = noise_probability, (lowest, highest)
        self.mixed_data = {mixed_data} if isinstance(mixed_data, str) else set(mixed_data)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.speech_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.speech_rows[index]
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed * len(self) + index % len(self)
        generator = torch.Generator().manual_seed(seed)
        waveform = self._start_of(row["path"])
        if (
            len(self.noise_rows)
            and row["data"] in self.mixed_data
            and draw_uniform(0, 1, generator) < self.noise_probability
        ):
            noise_row = self.noise_rows[draw_whole_number(len(self.noise_rows), generator)]
            noise = self._stretch_of(noise_row["path"], generator)
            waveform = _with_noise(waveform, noise, draw_uniform(*self.snr_db, generator))
        return {"waveform": torch.from_numpy(waveform), "text": row["text"]}

    def _start_of(self, path: PathLike) -> np.ndarray:
        seconds = self.num_samples / self.sampling_rate
        return self._of_full_length(next(iter_audio(path, self.sampling_rate, block_seconds=seconds)))

    def _stretch_of(self, path: PathLike, generator: torch.Generator) -> np.ndarray:
        """A random stretch of a recording, read without the rest of it where the format allows."""
        rate, found = self.sampling_rate, rate_and_length(path)
        if found is None:
            samples, _ = read_audio(path, rate)
            start = draw_whole_number(max(0, len(samples) - self.num_samples) + 1, generator)
            return self._of_full_length(samples[start:])
        source_rate, length = found
        start = draw_whole_number(max(0, round(length * rate / source_rate) - self.num_samples) + 1, generator)
        return self._of_full_length(read_stretch(path, start, self.num_samples, rate))

    def _of_full_length(self, samples: np.ndarray) -> np.ndarray:
        full = np.zeros(self.num_samples, np.float32)
        full[: len(samples)] = samples[: self.num_samples]
        return full


def _with_noise(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    powers = [float(np.square(samples, dtype=np.float64).mean()) for samples in (speech, noise)]
    if not all(powers):
        return speech
    speech_db, noise_db = (10 * math.log10(power) for power in powers)
    return (speech + 10 ** ((speech_db - noise_db - snr_db) / 20) * noise.astype(np.float64)).astype(np.float32)
