"""Embeddings of many recordings, each computed once, and the file that keeps them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avzoo.files import write_atomically
from avzoo.pipelines.shared.digests import digest_weights
from avzoo.pipelines.speaker_verification.enrolment import RecordingEmbedding
from avzoo.pipelines.speaker_verification.pipeline import SpeakerVerificationPipeline


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of recordings by name.

    Args:
        protocol: how the recordings were cut, see [`avzoo.metrics.trial_scoring`].
        model: digest of the weights, see [`avzoo.pipelines.shared.digests`].
        rows: {name: embedding}, all of the same form.
    """

    protocol: str
    model: str
    rows: dict[str, RecordingEmbedding]

    def stack(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Speaker and session embeddings of recordings, (recordings, crops, size) each."""
        rows = [self.rows[name] for name in names]
        session = None if rows[0].session is None else np.stack([row.session for row in rows])
        return np.stack([row.speaker for row in rows]), session

    def save(self, path: str | os.PathLike) -> Path:
        """Write a `.npz` file atomically: `names`, `speaker`, `session`, `seconds`, `sha256`, `protocol`, `model`."""
        names = list(self.rows)
        speaker, session = self.stack(names)
        arrays = {
            "names": np.array(names),
            "speaker": speaker,
            "seconds": np.array([self.rows[name].seconds for name in names]),
            "sha256": np.array([self.rows[name].sha256 for name in names]),
            "protocol": np.array(self.protocol),
            "model": np.array(self.model),
        }
        if session is not None:
            arrays["session"] = session
        with write_atomically(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **arrays)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "EmbeddingTable":
        """Read what [`save`] wrote.

        Raises:
            ValueError: another file, or a damaged one.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            names, sessions = found["names"].tolist(), found.get("session", [None] * len(found["names"]))
            parts = (found["speaker"], sessions, found["seconds"].tolist(), found["sha256"].tolist())
            rows = {name: RecordingEmbedding(*row) for name, row in zip(names, zip(*parts, strict=True), strict=True)}
            return cls(str(found["protocol"]), str(found["model"]), rows)
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, zlib and numpy have errors of their own
            raise ValueError(f"`{path}` holds no embeddings of `avzoo run speaker-verification`: {error}.") from error


def embed_recordings(
    pipe: SpeakerVerificationPipeline,
    names: Sequence[str],
    locate: Callable[[list[str]], list[Path]],
    protocol: str = "full",
    stored: Path | None = None,
    batch_size: int = 8,
    progress: bool = False,
) -> EmbeddingTable:
    """The embeddings of recordings, read from a file as far as it has them and computed else.

    Args:
        names: of the recordings; each is embedded once.
        locate: names -> paths of those that have to be read.
        stored: file of embeddings; written if it isn't there or lacks some. None: nothing is kept.

    Raises:
        ValueError: `stored` is of another model or protocol; what a recording raises.
    """
    model = digest_weights(pipe.model)
    table = EmbeddingTable(protocol, model, {})
    if stored is not None and stored.exists():
        table = EmbeddingTable.load(stored)
        for what, found, wanted in (("model", table.model, model), ("protocol", table.protocol, protocol)):
            if found != wanted:
                raise ValueError(f"`{stored}` holds embeddings of another {what}; name another file, or delete it.")
    missing = [name for name in dict.fromkeys(names) if name not in table.rows]
    if missing:
        made = pipe.embed(map(str, locate(missing)), protocol, batch_size=batch_size, names=missing)
        bar = tqdm(made, total=len(missing), unit="recording", disable=not progress)
        table.rows.update(zip(missing, bar, strict=True))
        if stored is not None:
            table.save(stored)
    return table


__all__ = ["EmbeddingTable", "embed_recordings"]
