"""Voices as vectors, for networks that are given a speaker: some recordings of each, embedded by another network."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers.utils import cached_file

from avzoo.models.ltbs.training_clips import choose_recordings

logger = logging.getLogger(__name__)

SPEAKERS_FILE = "speakers.json"


def find_embedding_size(encoder: Any) -> int:
    """Width of the embeddings of a [`SpeakerVerificationPipeline`]."""
    noise = 0.1 * torch.randn(2 * int(encoder.rate), generator=torch.Generator().manual_seed(0))
    return next(iter(encoder.embed([noise.numpy()]))).speaker.shape[-1]


def embed_recordings(
    encoder: Any, rows: Sequence[Mapping[str, Any]], data_dir: str | os.PathLike | None, most: int = 20
) -> dict[str, torch.Tensor]:
    """Embed some recordings of each speaker; the processes of a run share the work, and each gets all.

    Recordings that are silent or too short are left out, and counted in the log.

    Args:
        encoder: a [`SpeakerVerificationPipeline`].
        rows: with "id", "name", "speaker", and "audio", a path below `data_dir`.
        most: recordings of a speaker.

    Returns:
        {"id" of a row: (size,)}.

    Raises:
        ValueError: no `data_dir`, or rows that name no recording. FileNotFoundError: recordings are missing.
    """
    if data_dir is None:
        raise ValueError("`data_dir` is needed with a speaker encoder: the folder of the recordings of the targets.")
    chosen = choose_recordings(rows, most)
    without = [row["name"] for row in chosen if "audio" not in row]
    if without:
        raise ValueError(f"`targets`: {without[0]} names no recording; run extract_ltbs_targets.py again.")
    paths = [os.path.join(data_dir, row["audio"]) for row in chosen]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} recordings to embed are missing, the first is {missing[0]}; is "
            f"`data_dir` ({data_dir}) the one of the extraction?"
        )
    state, own, complaints = PartialState(), {}, []
    for place in range(state.process_index, len(chosen), state.num_processes):
        name = chosen[place]["id"]
        try:
            vector = next(iter(encoder.embed([paths[place]], names=[name]))).speaker[0]
            own[name] = torch.from_numpy(vector.copy())
        except ValueError as error:
            complaints.append(str(error))
    vectors = {name: vector for part in gather_object([own]) for name, vector in part.items()}
    complaints = gather_object(complaints)
    if complaints and state.is_main_process:
        logger.warning(f"{len(complaints)} of the {len(chosen)} recordings have no voice, the first: {complaints[0]}")
    return vectors


def read_speaker_names(model: str | os.PathLike, count: int, file: str | os.PathLike | None = None) -> list[str]:
    """The names of the rows of a network's table.

    Args:
        model: folder or Hub id, whose speakers.json holds them.
        count: rows of the table.
        file: a JSON list instead.

    Raises:
        ValueError: there is no such file, or it holds another number of names.
    """
    if file is None:
        file = cached_file(os.fspath(model), SPEAKERS_FILE, _raise_exceptions_for_missing_entries=False)
    if file is None:
        raise ValueError(
            f"`model` ({model}) has a table of {count} speakers and no {SPEAKERS_FILE} that names them; give "
            "--speakers_file, a JSON list of their names in the table's order."
        )
    try:
        names = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{file}` is not valid JSON: {error}.") from error
    if not isinstance(names, list) or len(names) != count or len(set(map(str, names))) != count:
        raise ValueError(f"`{file}` must be a list of {count} different names, got {str(names)[:100]}.")
    return list(map(str, names))


__all__ = ["SPEAKERS_FILE", "embed_recordings", "find_embedding_size", "read_speaker_names"]
