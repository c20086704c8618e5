"""ESC-50: environmental sounds, 50 classes, five folds."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from avzoo.data.labelled_recordings import keep_existing, parse_whole_number, read_csv_rows
from avzoo.data.lists import PathLike, check_name, malformed

_HEADER = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]


def esc50(
    root: PathLike, *, folds: Collection[int] | None = None, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """ESC-50: `meta/esc50.csv` and the recordings in `audio/`.

        filename,fold,target,category,esc10,src_file,take
        1-100032-A-0.wav,1,0,dog,True,100032,A

    Args:
        root: folder that holds `meta` and `audio`.
        folds: only these of the five folds. None: all.
        skip_missing: leave out rows without a recording instead of refusing.

    Yields: `id`, `path`, `labels` (the category), `fold`.
    """
    audio, rows = Path(root, "audio"), []
    table = Path(root, "meta", "esc50.csv")
    for line, fields in read_csv_rows(table, num_fields=len(_HEADER)):
        if line == 1:
            if fields != _HEADER:
                raise malformed(table, line, f"expected the header {','.join(_HEADER)}, got {','.join(fields)}")
            continue
        filename, fold, _, category, *_ = fields
        fold = parse_whole_number(fold, "fold", table, line)
        if not 1 <= fold <= 5:
            raise malformed(table, line, f"`fold` must be from 1 to 5, got {fold}")
        check_name(filename, table, line)
        if not category:
            raise malformed(table, line, "`category` is empty")
        if folds is None or fold in folds:
            rows.append({"id": Path(filename).stem, "path": audio / filename, "labels": [category], "fold": fold})
    yield from keep_existing(rows, table, skip_missing)
