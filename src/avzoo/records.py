"""The common output format of all task pipelines, and its exports.

A record is a dict with `start` and `end` (seconds from the first picture of a video, or the first sample of a
recording), `label`, `score`, a `track_id` where there are tracks, and further fields of the task (`box`, `mask`,
`audio` ...). A record of a comparison has the two recordings, `first` and `second`, in place of times. The header names
task, model and source. JSON keeps all fields; the other formats keep those that they support, and those of times refuse
comparisons.
"""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avzoo.files import write_atomically

SCHEMA_VERSION = 1
_SURROGATES = re.compile("[\ud800-\udfff]")

ScoreMeaning = Literal["probability", "logit", "cosine", "distance", "deviation", "decibel"]


@dataclass(frozen=True)
class Records:
    """Records of one source and their header.

    Args:
        task: name of the task pipeline. model: folder or Hub id. source: what was analysed.
        score: what a score means.
        device, dtype: what the model ran on and in.
        records: in order of time, or of the list of comparisons; all with times, or all without.
        summary: what is said of the source as a whole; JSON alone has a place for it, beside the header.
        origin: seconds from the source's beginning, where players start to count, to where the records do: the first
            picture of a video. JSON has it in its header; the other formats add it to all times.
        notes: what may make the answer wrong, such as damage of the source; in JSON's header, where there are any.
    """

    task: str
    model: str
    source: str
    score: ScoreMeaning
    device: str
    dtype: str
    records: list[Mapping[str, Any]] = field(default_factory=list)
    summary: Mapping[str, Any] = field(default_factory=dict)
    origin: float = 0.0
    notes: Sequence[str] = ()

    def __post_init__(self):
        for index, record in enumerate(self.records):
            missing = [name for name in self.required if name not in record]
            if missing:
                raise ValueError(f"`records[{index}]` lacks {', '.join(missing)}; it has {', '.join(record)}.")

    @property
    def required(self) -> tuple[str, ...]:
        """Fields that every record has; the first record tells whether they are comparisons."""
        compares = bool(self.records) and "first" in self.records[0] and "start" not in self.records[0]
        return ("first", "second", "label", "score") if compares else ("start", "end", "label", "score")

    @property
    def header(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: getattr(self, name) for name in ("task", "model", "source", "score", "device", "dtype")},
            **({"origin": self.origin} if "start" in self.required else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    def _place(self) -> list[Mapping[str, Any]]:
        """The records with times from the source's beginning."""
        if not self.origin or "start" not in self.required:
            return list(self.records)
        moved = ("start", "end")
        return [dict(record) | {name: record[name] + self.origin for name in moved} for record in self.records]

    def to_json(self) -> str:
        text = (
            json.dumps({**self.header, **self.summary, "records": list(self.records)}, ensure_ascii=False, indent=2)
            + "\n"
        )
        # File names that are no UTF-8 have lone surrogates in Python, which no encoder takes; JSON can escape them.
        return _SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    def to_csv(self) -> str:
        """One row per record; columns are the fields of all records. Only JSON keeps nested tables and the header."""
        fields = dict.fromkeys(name for record in self.records for name in record)
        columns = [name for name in fields if not any(_is_table(record.get(name)) for record in self.records)]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns or self.required, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._place())
        return text.getvalue()

    def to_rttm(self) -> str:
        """NIST speaker lines; the speaker name is `track_id` if present, else `label`."""
        self._check_times("rttm")
        name = Path(self.source).stem.replace(" ", "_") or "source"
        return "".join(
            f"SPEAKER {name} 1 {record['start']:.3f} {record['end'] - record['start']:.3f} <NA> <NA> "
            f"{str(record.get('track_id', record['label'])).replace(' ', '_')} {record['score']:.4f} <NA>\n"
            for record in self._place()
        )

    def to_srt(self) -> str:
        self._check_times("srt")
        return "\n".join(
            f"{index}\n{_clock(record['start'], ',')} --> {_clock(record['end'], ',')}\n{record['label']}\n"
            for index, record in enumerate(self._place(), start=1)
        )

    def to_vtt(self) -> str:
        self._check_times("vtt")
        return "WEBVTT\n\n" + "\n".join(
            f"{_clock(record['start'], '.')} --> {_clock(record['end'], '.')}\n{record['label']}\n"
            for record in self._place()
        )

    def _check_times(self, format: str) -> None:
        if "start" not in self.required:
            raise ValueError(
                f"`format` {format!r} needs times; these records compare two recordings. Take json or csv."
            )

    def export(self, format: str) -> str:
        """The text of one of `FORMATS`.

        Raises:
            ValueError: a format that does not exist, or one of times for records without.
        """
        if format not in FORMATS:
            raise ValueError(f"`format` must be one of {', '.join(FORMATS)}, got {format!r}.")
        return FORMATS[format](self)

    def save(self, path: str | os.PathLike, format: str | None = None) -> Path:
        """Write one of `FORMATS` atomically; default format: the suffix of `path`."""
        path = Path(path)
        text = self.export(format or path.suffix.removeprefix("."))
        with write_atomically(path) as unfinished:
            unfinished.write_bytes(text.encode(errors="surrogateescape"))  # names as the file system has them
        return path


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and all(isinstance(part, Mapping) for part in value))


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


FORMATS: dict[str, Callable[[Records], str]] = {
    "json": Records.to_json,
    "csv": Records.to_csv,
    "rttm": Records.to_rttm,
    "srt": Records.to_srt,
    "vtt": Records.to_vtt,
}
__all__ = ["FORMATS", "SCHEMA_VERSION", "Records"]
