"""Lists of speaker verification trials: two recordings, and whether one person speaks in both.

trials = read_trials("veri_test.txt")
paths = trials.locate("voxceleb1/wav")              # missing recordings are told here
scores = score_trials(embeddings_of(paths), trials.pairs)
equal_error_rate(scores, trials.require_labels())
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from avzoo.data.lists import PathLike, check_relative_path, malformed, read_lines

_KALDI_LABELS = {"nontarget": 0, "target": 1}


@dataclass(frozen=True, eq=False)
class Trials:
    """A list of trials.

    Args:
        name: of the list, for reports.
        recordings: every recording once, in the order in which the list mentions them first.
        pairs: (trials, 2) int64, rows of `recordings`: enrolment, test.
        labels: (trials,) int64, 1 = same speaker. None: the list has none.
    """

    name: str
    recordings: tuple[str, ...]
    pairs: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pairs)

    @classmethod
    def from_names(cls, name: str, names: Iterable[tuple[str, str]], labels: ArrayLike | None = None) -> "Trials":
        """Make a list from pairs of recordings' names.

        Raises:
            ValueError: no pairs, or labels that are not one of 0 and 1 for each.
        """
        rows: dict[str, int] = {}
        pairs = [[rows.setdefault(recording, len(rows)) for recording in pair] for pair in names]
        if not pairs:
            raise ValueError(f"{name} holds no trials.")
        if labels is not None:
            labels = np.asarray(labels)
            if labels.shape != (len(pairs),) or not np.isin(labels, (0, 1)).all():
                raise ValueError(f"`labels` must be 0 or 1 for each of the {len(pairs)} trials, got {labels.shape}.")
            labels = labels.astype(np.int64)
        return cls(name, tuple(rows), np.array(pairs, dtype=np.int64), labels)

    @cached_property
    def sha256(self) -> str:
        """Digest of the pairs of names, whatever their order, their labels and the list's format."""
        pairs = sorted(sorted(self.recordings[index] for index in pair) for pair in self.pairs)
        return hashlib.sha256("".join(f"{first}\t{second}\n" for first, second in pairs).encode()).hexdigest()

    @property
    def num_self_trials(self) -> int:
        """Number of trials of a recording against itself; they say nothing about a system."""
        return int(np.count_nonzero(self.pairs[:, 0] == self.pairs[:, 1]))

    def require_labels(self) -> np.ndarray:
        """The labels; a ValueError if the list has none."""
        if self.labels is None:
            raise ValueError(f"{self.name} has no labels: its trials can be scored, but no error rate can be computed.")
        return self.labels

    def locate(self, root: PathLike | Mapping[str, Path]) -> list[Path]:
        """The file of every recording, in the order of `recordings`.

        Args:
            root: folder that the names are relative to, or {name: path}, see [`avzoo.data.kaldi_lists.read_wav_scp`].

        Raises:
            ValueError: names that the mapping doesn't have: how many, and the first.
            FileNotFoundError: files are missing: how many, and the first.
        """
        if isinstance(root, Mapping):
            unknown = [name for name in self.recordings if name not in root]
            if unknown:
                raise ValueError(f"{len(unknown)} recordings of {self.name} have no path, the first is {unknown[0]!r}.")
            paths = [Path(root[name]) for name in self.recordings]
        else:
            paths = [Path(root, name) for name in self.recordings]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of the {len(paths)} recordings named by {self.name} are missing, the first is "
                f"{missing[0]}."
            )
        return paths


def read_trials(path: PathLike) -> Trials:
    """Read a list of one of three formats; its first line tells which.

        1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav        VoxCeleb: 1 = same speaker, 0 = not
        id10270-x6uYqmx31kE-00001 id10270-8jEAjG6SegY-00008 target           Kaldi, wespeaker: target or nontarget
        voxsrc/00001.wav voxsrc/00002.wav                                    VoxSRC: no labels

    A trial of a recording against itself is kept; `num_self_trials` counts them.

    Raises:
        ValueError: with file and line number: a label other than these, another number of fields, a name that leads
            out of the root, or the trial of an earlier line with another label. No trials at all.
        FileNotFoundError: there is no such list.
    """
    table = Path(path)
    names, labels, label_of, checked = [], [], {}, set()
    for line, label, pair in _parse_lines(table):
        for name in pair:
            if name not in checked:
                check_relative_path(name, table, line)
                checked.add(name)
        if label_of.setdefault((min(pair), max(pair)), label) != label:
            raise malformed(table, line, f"{pair[0]} and {pair[1]} had another label in an earlier line")
        names.append(pair)
        labels.append(label)
    return Trials.from_names(table.name, names, None if labels and labels[0] is None else labels)


def _parse_lines(table: Path) -> Iterator[tuple[int, int | None, tuple[str, str]]]:
    """(line number, label, two names)."""
    form = None
    for line, text in read_lines(table):
        fields = text.split()
        if form is None:
            form = _recognize(fields)
        if form == "unlabelled" and len(fields) == 2:
            yield line, None, (fields[0], fields[1])
        elif form == "unlabelled" or len(fields) != 3:
            wanted = "two names, as in the lines before" if form == "unlabelled" else "a label and two names"
            raise malformed(table, line, f"expected {wanted}, got {text!r}")
        elif form == "kaldi":
            if fields[2] not in _KALDI_LABELS:
                raise malformed(table, line, f"the label must be target or nontarget, got {fields[2]!r}")
            yield line, _KALDI_LABELS[fields[2]], (fields[0], fields[1])
        else:
            if fields[0] not in ("0", "1"):
                raise malformed(table, line, f"the label must be 0 or 1, got {fields[0]!r}")
            yield line, int(fields[0]), (fields[1], fields[2])


def _recognize(fields: list[str]) -> str:
    if len(fields) == 2:
        return "unlabelled"
    return "kaldi" if fields[-1] in _KALDI_LABELS else "voxceleb"


__all__ = ["Trials", "read_trials"]
