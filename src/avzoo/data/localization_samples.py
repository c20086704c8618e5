"""What readers of sound localization test sets share; each data set has a file of its own.

A reader is a generator of dicts, one per pair of a picture and a sound, in file order:

    name           unique within the data set
    image, audio   paths, to be decoded later
    boxes          [[x1, y1, x2, y2], ...] where the sound comes from, in the file's units; [] or an empty box: nowhere
    box_format     those units: "vggss", "flickr" or "pixels", for [`avzoo.metrics.to_pixel_boxes`]
    is_sounding    False: a pair of an extended set, whose picture shows nothing that makes the sound
    group          what is judged together for IIoU, such as one picture with its two sounds
    class_name     of the sounding object; None: the data set does not say
    mask           path of a picture that is not black where the sound comes from; None: there are only boxes
    base_seconds   length that the authors repeat a recording to, or cut it to, before they take 3 s of it
    start_seconds  where those 3 s begin
    missing        the paths of `image` and `audio` that are not there; [] where both are

A row that does not look like the owners' is a `ValueError` with file and line. Names that lead out of the root (`..`,
absolute paths) are refused in the same way. Test lists shrink as videos vanish: what is missing is refused, left out
and counted in the log, or kept with its `missing`, as `on_missing` says.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike, keep_complete, malformed

Sample = dict[str, Any]
OnMissing = Literal["refuse", "skip", "keep"]

BASE_SECONDS, START_SECONDS = 10.0, 3.5  # of most test sets
MAP_SIZE = 224  # of boxes in pixels
SAMPLE_FIELDS = ("name", "image", "audio", "boxes", "box_format", "is_sounding", "group", "class_name", "mask")
SAMPLE_FIELDS += ("base_seconds", "start_seconds", "missing")


def make_sample(name: str, image: PathLike, audio: PathLike, boxes: list[list[float]], **fields: Any) -> Sample:
    """A row as described above, its other fields at what most data sets have."""
    sample: Sample = {
        "name": name,
        "image": os.fspath(image),
        "audio": os.fspath(audio),
        "boxes": boxes,
        "box_format": "pixels",
        "is_sounding": True,
        "group": name,
        "class_name": None,
        "mask": None,
        "base_seconds": BASE_SECONDS,
        "start_seconds": START_SECONDS,
        "missing": [],
    }
    if unknown := fields.keys() - sample.keys():
        raise TypeError(f"a sample has no {sorted(unknown)}.")
    return sample | fields


def finish_samples(samples: Sequence[Sample], table: PathLike, on_missing: OnMissing) -> Iterator[Sample]:
    """The samples, with `missing` set; those without their files as `on_missing` says.

    Raises:
        ValueError: the list is empty. FileNotFoundError: files are missing and `on_missing` is "refuse".
    """
    check_choice("on_missing", on_missing, ("refuse", "skip", "keep"))
    if not samples:
        raise ValueError(f"{table} lists no sample.")
    for sample in samples:
        sample["missing"] = [sample[side] for side in ("image", "audio") if not os.path.isfile(sample[side])]
    if on_missing == "keep":
        yield from samples
        return
    complaint = f"samples of {Path(table).name} lack their picture or sound"
    try:
        yield from keep_complete(samples, lambda row: next(iter(row["missing"]), None), complaint, on_missing == "skip")
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).replace("skip_missing=True", 'on_missing="skip"')) from None


def read_json_list(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, entry) of a JSON file that holds a list of objects; most are one line long.

    Raises:
        ValueError: no UTF-8, no such JSON, or an entry that is no object; with file and line.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = table.read_bytes()[: error.start].count(b"\n") + 1
        raise malformed(table, line, f"not UTF-8 text ({error.reason})") from error
    decoder, place, line, counted = json.JSONDecoder(), _skip(text, 0), 1, 0
    if text[place : place + 1] != "[":
        raise malformed(table, text.count("\n", 0, place) + 1, "expected a JSON list of objects")
    place = _skip(text, place + 1)
    more = text[place : place + 1] != "]"
    place = place if more else _skip(text, place + 1)
    while more:
        line, counted = line + text.count("\n", counted, place), place
        try:
            entry, place = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError) as error:
            raise malformed(table, getattr(error, "lineno", line), f"no JSON ({error})") from error
        if not isinstance(entry, dict):
            raise malformed(table, line, f"expected an object, got {str(entry)[:80]}")
        yield line, entry
        place = _skip(text, place)
        if text[place : place + 1] not in (",", "]"):
            raise malformed(table, text.count("\n", 0, place) + 1, "the list has no end, or a comma is missing")
        more = text[place] == ","
        place = _skip(text, place + 1)
    if place < len(text):
        raise malformed(table, text.count("\n", 0, place) + 1, "something follows the list")


def read_text_field(entry: dict[str, Any], field: str, table: Path, line: int) -> str:
    """A field of an entry that has to be text."""
    value = entry.get(field)
    if not isinstance(value, str) or not value:
        raise malformed(table, line, f"`{field}` must be text, got {value!r}")
    return value


def read_box(box: Any, table: Path, line: int, largest: int | None = MAP_SIZE) -> list[float]:
    """x1, y1, x2, y2 of an entry, checked.

    Args:
        largest: whole numbers from 0 to this. None: any finite numbers.
    """
    numbers = isinstance(box, list | tuple) and len(box) == 4
    numbers = numbers and all(type(value) in (int, float) and math.isfinite(value) for value in box)
    if not numbers:
        raise malformed(table, line, f"a box must be four numbers x1, y1, x2, y2, got {str(box)[:80]}")
    if largest is not None and not all(0 <= value <= largest and value == int(value) for value in box):
        raise malformed(table, line, f"a box must have whole numbers from 0 to {largest}, got {list(box)}")
    return list(box) if largest is None else [int(value) for value in box]


class Names:
    """The names of a list, each once."""

    def __init__(self, table: Path):
        self.table = table
        self.lines: dict[str, int] = {}

    def add(self, name: str, line: int) -> None:
        """Note a name.

        Raises:
            ValueError: it was there before; with both lines.
        """
        if name in self.lines:
            raise malformed(self.table, line, f"{name} appears twice, first in line {self.lines[name]}")
        self.lines[name] = line


def find_table(root: PathLike, table: PathLike | None, *names: str) -> Path:
    """The list of a data set: the one given, or the first of `names` in the root or in its folder `metadata`.

    Raises:
        FileNotFoundError: there is none.
    """
    places = [Path(root, *folder, name) for name in names for folder in ((), ("metadata",))]
    places = places if table is None else [Path(table)]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"{places[0]} is not there: the list of the data set, from its owners or authors.")


def find_folder(root: PathLike, *names: str) -> Path:
    """The first of the folders `names` that is in the root.

    Raises:
        FileNotFoundError: none is.
    """
    for name in names:
        if Path(root, name).is_dir():
            return Path(root, name)
    raise FileNotFoundError(f"{root} holds no folder {' or '.join(names)}.")


def cut_path(path: str, parts: int, table: Path, line: int, check: Callable[[str, Path, int], None]) -> str:
    """The last `parts` names of a path of the authors' machine, checked."""
    names = path.split("/")[-parts:]
    if len(names) != parts:
        raise malformed(table, line, f"expected a path that ends in {parts} names, got {path!r}")
    for name in names:
        check(name, table, line)
    return "/".join(names)


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place
