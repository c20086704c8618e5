"""VGG-SS: boxes around what sounds in a frame of 5158 clips of VGGSound, 221 classes; and its extended set.

    root/vggss.json                          boxes, from the owners (hche11/VGGSS, or `metadata/` of SLAVC's code)
        frames/zpWuikVorYg_000032.jpg        layout of LVS, EZ-VSL, SLAVC and ACL-SSL, or
        audio/zpWuikVorYg_000032.wav
        VGGSound_img/zpWuikVorYg_32000_42000/image_050.jpg      that of SSLalignment
        VGGSound_aud/zpWuikVorYg_32000_42000.wav

The boxes are of frame 125 of a 25 fps video (swimmiing/ACL-SSL, `VGGSS/README.md`). Many videos are gone: the authors
of SSLalignment had 4655.

Sources: kaistmm/SSLalignment@e7ae3c5 (`datasets_lvs.py`), stoneMo/SLAVC@05b429c (`datasets.py`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from avzoo.data.lists import PathLike, malformed, read_lines, read_records
from avzoo.data.localization_samples import (
    Names,
    OnMissing,
    Sample,
    find_folder,
    find_table,
    finish_samples,
    make_sample,
    read_box,
    read_json_list,
    read_text_field,
)

_NAME = re.compile(r"[\w-]{11}_\d{6}", re.ASCII)
_NAME_IN_MS = re.compile(r"([\w-]{11})_(\d+)000_\d+|([\w-]{11})_0_10000", re.ASCII)


def vggss(
    root: PathLike,
    *,
    table: PathLike | None = None,
    subset: PathLike | None = None,
    on_missing: OnMissing = "refuse",
) -> Iterator[Sample]:
    """The samples of VGG-SS, in the order of its JSON file, or of `subset`.

        [{"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[0.403125, 0.253125, 0.6, 0.75]]}, ...]

    Boxes are parts of width and height. Twelve of the released file have a coordinate of -2.9e16; they are clipped to
    [0, 1], as all code bases do, and are empty then.

    Args:
        root: folder of the layout above.
        table: the JSON file, if it lies elsewhere.
        subset: a list whose lines begin with a name, such as `vggss_heard_test.csv` or `ours_vggss.txt`.
        on_missing: of pictures and sounds: "refuse", "skip" them, or "keep" the rows.

    Raises:
        ValueError: a row of another form, a name that appears twice or is not in the JSON file; with file and line.
        FileNotFoundError: no list, no folders, or, with "refuse", files that are missing.
    """
    table = find_table(root, table, "vggss.json")
    samples = _read_samples(Path(root), table)
    if subset is not None:
        samples = _choose(samples, Path(subset), table)
    yield from finish_samples(list(samples.values()), subset or table, on_missing)


def vggss_extended(
    root: PathLike, *, table: PathLike | None = None, silent: PathLike | None = None, on_missing: OnMissing = "refuse"
) -> Iterator[Sample]:
    """VGG-SS, then as many pairs whose picture shows nothing that makes the sound: Extended VGG-SS of SLAVC.

        video,audio,label
        9PmzQI8ZYpg_000147,9PmzQI8ZYpg_000147,non-sounding                             (vggss_test_plus_silent.csv)

    Their media lie in `frames` and `audio`, or in `extend_frames` and `extend_audio` if there are such.

    Args:
        root, table, on_missing: as for [`vggss`].
        silent: the CSV file, if it lies elsewhere.

    Raises:
        ValueError, FileNotFoundError: as [`vggss`].
    """
    table = find_table(root, table, "vggss.json")
    silent = find_table(root, silent, "vggss_test_plus_silent.csv")
    samples = list(_read_samples(Path(root), table).values())
    samples += read_silent_pairs(Path(root), silent, _NAME, "vggss")
    yield from finish_samples(samples, silent, on_missing)


def read_silent_pairs(root: Path, table: Path, pattern: re.Pattern, box_format: str) -> list[Sample]:
    """The pairs of a `*_test_plus_silent.csv`; `pattern` is that of names."""
    pictures, sounds = find_folder(root, "extend_frames", "frames"), find_folder(root, "extend_audio", "audio")
    samples, names = [], Names(table)
    for line, fields in read_records(table):
        if line == 1 and fields == ["video", "audio", "label"]:
            continue
        if len(fields) != 3 or fields[2] != "non-sounding":
            raise malformed(table, line, f"expected video,audio,non-sounding, got {','.join(fields)[:80]!r}")
        for name in fields[:2]:
            if not pattern.fullmatch(name):
                raise malformed(table, line, f"{name[:80]!r} is no name of a clip of this data set")
        name = f"{fields[0]}+{fields[1]}"
        names.add(name, line)
        image, audio = pictures / f"{fields[0]}.jpg", sounds / f"{fields[1]}.wav"
        samples.append(make_sample(name, image, audio, [], box_format=box_format, is_sounding=False))
    return samples


def _read_samples(root: Path, table: Path) -> dict[str, Sample]:
    samples, names = {}, Names(table)
    pictures = find_folder(root, "frames", "VGGSound_img")
    sounds = find_folder(root, "audio" if pictures.name == "frames" else "VGGSound_aud")
    for line, entry in read_json_list(table):
        name = read_text_field(entry, "file", table, line)
        if not _NAME.fullmatch(name):
            raise malformed(table, line, f"`file` must be as zpWuikVorYg_000032, got {name[:80]!r}")
        names.add(name, line)
        boxes = entry.get("bbox")
        if not isinstance(boxes, list):
            raise malformed(table, line, f"`bbox` must be a list of boxes, got {str(boxes)[:80]}")
        boxes = [[min(max(value, 0), 1) for value in read_box(box, table, line, None)] for box in boxes]
        if pictures.name == "frames":
            image, audio = pictures / f"{name}.jpg", sounds / f"{name}.wav"
        else:
            start = int(name[12:])
            clip = f"{name[:11]}_{start * 1000}_{(start + 10) * 1000}"
            image, audio = pictures / clip / "image_050.jpg", sounds / f"{clip}.wav"
        class_name = read_text_field(entry, "class", table, line)
        samples[name] = make_sample(name, image, audio, boxes, box_format="vggss", class_name=class_name)
    return samples


def _choose(samples: dict[str, Sample], subset: Path, table: Path) -> dict[str, Sample]:
    chosen, names = {}, Names(subset)
    for line, text in read_lines(subset):
        name = text.split(",")[0]
        if match := _NAME_IN_MS.fullmatch(name):
            name = f"{match[1] or match[3]}_{int(match[2] or 0):06d}"
        if name not in samples:
            raise malformed(subset, line, f"{name[:80]!r} is not in {table.name}")
        names.add(name, line)
        chosen[name] = samples[name]
    return chosen


__all__ = ["read_silent_pairs", "vggss", "vggss_extended"]
