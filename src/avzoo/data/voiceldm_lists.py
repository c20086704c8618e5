"""VoiceLDM's training data: the authors' lists of recordings with transcripts, and of noises.

    rows = read_voiceldm_lists(["cv1.csv", "cv2.csv"], "cv-corpus-13/en")

Source: the lists of glory20h/voiceldm-data@026f4ca.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avzoo.data.lists import PathLike, check_name, malformed, read_records, report_left_out


def read_voiceldm_lists(
    csv_paths: PathLike | Iterable[PathLike],
    root: PathLike | Mapping[str, PathLike],
    *,
    skip_missing: bool = False,
) -> list[dict[str, Any]]:
    """Read the recordings of one or more lists, in their order.

        file_path,data
        PSTATION/ch03.wav,demand                                                                 (noise_demand.csv)

        caption,file_path,text,data
        Waves roll in and a man speaks,107225.wav,"No, it's still there. I think it's huge.",ac  (ac_filtered.csv)

    Lists for training have the columns file_path, text and data; other columns, such as `caption`, are ignored. `text`
    is returned unchanged: case, punctuation and spaces stay, as in the authors' code. (They read with pandas, which
    makes NaN of a transcript such as "NA" or "null", and of an empty one; here all of these are text.)

    Args:
        csv_paths: one list or several, comma-separated with a header.
        root: folder that the paths are relative to, or one for each value of `data`, as in the authors' configuration:
            {"as_b": "balanced_train_segments/audio", "as_e": ..., "as_ub": ..., "cv": ..., "voxceleb": ...}.
        skip_missing: omit rows without a recording (videos of AudioSet are deleted over time) instead of raising.

    Returns:
        {"path", "text", "data"} for each row; `text` is None where the list has no such column.

    Raises:
        ValueError: no UTF-8 text, a missing column, a row with more or fewer fields than the header, an empty path or
            `data`, a path outside of `root`, or a `data` for which `root` has no folder; with file and line.
        FileNotFoundError: recordings are missing: how many of the list, and the line of the first.
    """
    if isinstance(csv_paths, str | os.PathLike):
        csv_paths = [csv_paths]
    return [row for table in csv_paths for row in _read_list(Path(table), root, skip_missing)]


def _read_list(table: Path, root: PathLike | Mapping[str, PathLike], skip_missing: bool) -> list[dict[str, Any]]:
    records = read_records(table)
    line, header = next(records, (1, []))
    if not {"file_path", "data"} <= set(header):
        raise malformed(table, line, f"expected a header with file_path, text and data, got {','.join(header)!r}")
    rows, missing, first = [], 0, ""
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = dict(zip(header, fields, strict=True))
        path = _resolve_path(root, named["file_path"], named["data"], table, line)
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
    if missing:
        report_left_out(missing, missing + len(rows), f"recordings named by {table} are missing", first)
    return rows


def _resolve_path(root: PathLike | Mapping[str, PathLike], file_path: str, data: str, table: Path, line: int) -> str:
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


__all__ = ["read_voiceldm_lists"]
