"""Your own clips of faces that talk, one face and one voice each: a folder of mp4 files for each speaker.

clips/anna/1.mp4         (and 1.wav beside it, if the sound is not the video's own)
clips/anna/talk/2.mp4
clips/ben/1.mp4
"""

import os
from pathlib import Path

from avzoo.data.lists import PathLike
from avzoo.data.talking_face_clips import Row, list_names, make_row


def read_speaker_folders(root: PathLike) -> list[Row]:
    """The clips, sorted by their id, "speaker/clip".

    Raises:
        FileNotFoundError: no such folder, or no mp4 file in a speaker's folder.
    """
    root = os.fspath(root)
    rows = []
    for name in sorted(list_names(root, "*/**/*.mp4")):
        stem = os.path.join(root, name)
        rows.append(make_row(name, stem + (".wav" if Path(stem + ".wav").is_file() else ".mp4"), stem + ".mp4"))
    return rows


__all__ = ["read_speaker_folders"]
