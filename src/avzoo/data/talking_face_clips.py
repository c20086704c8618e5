"""What data sets of talking faces share: utterances as rows, one face and one voice each.

A row is one utterance: {"id", "speaker", "audio": a path, "video": the path of an mp4 file}. Each video shows one face,
as VoxCeleb2 and LRS3 cut them.
"""

import glob
import os

from avzoo.data.lists import report_left_out

Row = dict[str, str]


def make_row(name: str, audio: str, video: str) -> Row:
    """One utterance; the first part of its name stands for the speaker."""
    return {"id": name, "speaker": name.split("/")[0], "audio": audio, "video": video}


def list_names(folder: str, pattern: str) -> set[str]:
    """Names of the files below a folder that match a pattern, without suffix; FileNotFoundError if there are none."""
    suffix = os.path.splitext(pattern)[1]
    names = {name.removesuffix(suffix) for name in glob.glob(pattern, root_dir=folder, recursive=True)}
    if not names:
        there = "" if os.path.isdir(folder) else ", and no such folder"
        raise FileNotFoundError(f"There is no {os.path.join(folder, pattern)}{there}; is `root` the dataset's folder?")
    return names


def keep_rows_with_video(rows: list[Row], with_video: set[str], skip_missing: bool) -> list[Row]:
    """The rows whose id is in `with_video`; FileNotFoundError for the others unless `skip_missing`."""
    missing = [row for row in rows if row["id"] not in with_video]
    if missing and not skip_missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(rows)} utterances have sound but no video; for the first there should be "
            f"{missing[0]['video']}. Pass skip_missing=True to read the others."
        )
    if missing:
        report_left_out(len(missing), len(rows), "utterances have sound but no video", missing[0]["video"])
    return [row for row in rows if row["id"] in with_video]
