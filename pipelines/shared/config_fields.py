"""Fields that a calibration writes into the config of a saved model."""

import json
from pathlib import Path
from typing import Any

from avzoo.files import write_atomically


def write_fields(folder: Path, fields: dict[str, Any]) -> Path:
    """Write fields into a folder's config.json atomically; the others stay.

    Raises:
        OSError: it isn't there or can't be written. ValueError: it is damaged.
    """
    path = Path(folder, "config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{path}` is not valid JSON: {error}.") from error
    text = json.dumps({**config, **fields}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with write_atomically(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return path


__all__ = ["write_fields"]
