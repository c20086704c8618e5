"""Speech Commands v2: single words, one folder each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avzoo.data.labelled_recordings import check_split, keep_existing
from avzoo.data.lists import PathLike, check_name, malformed, read_lines

BACKGROUND_NOISE = "_background_noise_"


def speech_commands(
    root: PathLike, *, split: str | None = None, background_noise: bool = False, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """Speech Commands v2: a folder per word; two lists name the recordings that are not for training.

        backward/0165e0e8_nohash_0.wav        (a line of validation_list.txt or testing_list.txt)

    Args:
        root: folder that holds the word folders and the lists.
        split: only this split. None: all.
        background_noise: also yield the long recordings of `_background_noise_`; they belong to no split and have
            that name as label.
        skip_missing: leave out listed recordings that are not there instead of refusing.

    Yields: `id` ("word/file"), `path`, `labels` (the word), `split`; sorted by word and file name.
    """
    check_split(split)
    root = Path(root)
    listed: dict[str, str] = {}
    missing: list[dict[str, Any]] = []
    for name, listed_split in (("validation_list.txt", "validation"), ("testing_list.txt", "test")):
        table = root / name
        for line, text in read_lines(table):
            word, slash, filename = text.partition("/")
            if not slash or not filename.endswith(".wav"):
                raise malformed(table, line, f"expected word/file.wav, got {text!r}")
            check_name(word, table, line)
            check_name(filename, table, line)
            if listed.setdefault(text, listed_split) != listed_split:
                raise malformed(table, line, f"{text!r} is also in validation_list.txt")
            if split in (None, listed_split):
                missing.append({"id": text, "path": root / word / filename})
    list(keep_existing(missing, root, skip_missing))  # only to refuse

    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"):
        for path in sorted(folder.glob("*.wav")):
            name = f"{folder.name}/{path.name}"
            row_split = listed.get(name, "train")
            if split in (None, row_split):
                yield {"id": name[: -len(".wav")], "path": str(path), "labels": [folder.name], "split": row_split}
    if background_noise:
        for path in sorted((root / BACKGROUND_NOISE).glob("*.wav")):
            yield {"id": f"{BACKGROUND_NOISE}/{path.stem}", "path": str(path), "labels": [BACKGROUND_NOISE]}
