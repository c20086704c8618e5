"""MUSAN's music, speech and noise, and OpenSLR's simulated room responses, in their owners' layout.

musan/music/fma/music-fma-0000.wav                          (or cut into pieces, a folder deeper)
RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav
"""

from pathlib import Path

from avzoo.data.lists import PathLike

CATEGORIES = ("music", "noise", "speech")
ROOMS = ("smallroom", "mediumroom", "largeroom")


def musan(root: PathLike) -> dict[str, list[str]]:
    """{category: paths of its recordings, sorted}, for "music", "noise" and "speech".

    Raises:
        FileNotFoundError: a category is missing or has no .wav files.
    """
    return {category: _list_recordings(Path(root, category), "MUSAN") for category in CATEGORIES}


def simulated_rooms(root: PathLike) -> list[str]:
    """Paths of the simulated room responses, sorted; `root` is the folder of `smallroom`, `mediumroom`, `largeroom`.

    Raises:
        FileNotFoundError: none of the three is there, or one has no .wav files.
    """
    folders = [Path(root, room) for room in ROOMS if Path(root, room).is_dir()]
    if not folders:
        raise FileNotFoundError(f"{root} has none of the folders {', '.join(ROOMS)}; is it `simulated_rirs`?")
    return [path for folder in sorted(folders) for path in _list_recordings(folder, "simulated_rirs")]


def _list_recordings(folder: Path, name: str) -> list[str]:
    paths = sorted(str(path) for path in folder.rglob("*.wav"))
    if not paths:
        there = "" if folder.is_dir() else ", and no such folder"
        raise FileNotFoundError(f"There are no .wav files below {folder}{there}; is `root` the folder of {name}?")
    return paths


__all__ = ["musan", "simulated_rooms"]
