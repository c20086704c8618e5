"""Small checkpoints that ship with the package, trained on synthetic data by the zoo's own scripts."""

from pathlib import Path

from avzoo import zoo

_FOLDER = Path(__file__).parent / "toy_checkpoints"


def toy_checkpoint(method: str) -> str:
    """Return the folder of a method's toy checkpoint, for `from_pretrained`.

    Raises:
        ValueError: no method of that name, or it has no toy checkpoint.
    """
    folder = _FOLDER / zoo.find_row(method).name
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in _FOLDER.iterdir())) if _FOLDER.is_dir() else "none"
        raise ValueError(f"no toy checkpoint ships for {method!r}; there are: {there}.")
    return str(folder)
