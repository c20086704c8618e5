"""Kaldi's lists of recordings, which wespeaker uses too: `wav.scp` and `utt2spk`."""

import os
from collections.abc import Iterator
from pathlib import Path

from avzoo.data.lists import PathLike, find_missing_audio, keep_complete, malformed, read_lines


def read_wav_scp(path: PathLike, root: PathLike) -> dict[str, Path]:
    """{utterance: path} of a `wav.scp`, in its order, whether the files exist or not.

        id10001-1zcIwhmdeo4-00001 wav/id10001/1zcIwhmdeo4/00001.wav

    Args:
        root: folder that relative paths are relative to, and that all paths lie in.

    Raises:
        ValueError: with file and line number: no path, a command (Kaldi would run it), a path out of the root, an
            utterance given twice. No utterances.
    """
    table, top = Path(path), os.path.abspath(root)
    paths: dict[str, Path] = {}
    for line, utterance, value in _read_pairs(table, "a path"):
        if value.endswith("|") or value.startswith("|"):
            raise malformed(table, line, f"{value!r} is a command; only paths are read")
        found = os.path.abspath(os.path.join(top, value))
        if "\0" in value or os.path.commonpath([top, found]) != top or found == top:
            raise malformed(table, line, f"{value!r} lies outside of `root` ({root})")
        if utterance in paths:
            raise malformed(table, line, f"{utterance!r} is there twice")
        paths[utterance] = Path(found)
    return paths


def read_utt2spk(path: PathLike) -> dict[str, str]:
    """{utterance: speaker} of an `utt2spk`, in its order.

        id10001-1zcIwhmdeo4-00001 id10001

    Raises:
        ValueError: with file and line number: other than two fields, an utterance given twice. No utterances.
    """
    table, speakers = Path(path), {}
    for line, utterance, speaker in _read_pairs(table, "a speaker"):
        if len(speaker.split()) != 1:
            raise malformed(table, line, f"expected an utterance and a speaker, got {speaker!r} for the speaker")
        if utterance in speakers:
            raise malformed(table, line, f"{utterance!r} is there twice")
        speakers[utterance] = speaker
    return speakers


def kaldi_utterances(folder: PathLike, root: PathLike, *, skip_missing: bool = False) -> list[dict[str, str]]:
    """Rows {"id", "speaker", "audio"} of a folder with `wav.scp` and `utt2spk`, in the order of `wav.scp`.

    Args:
        root: see [`read_wav_scp`].
        skip_missing: leave out utterances whose file is missing instead of refusing.

    Raises:
        ValueError: what the two readers raise; an utterance that only one of them has.
        FileNotFoundError: files are missing: how many, and the first.
    """
    paths, speakers = read_wav_scp(Path(folder, "wav.scp"), root), read_utt2spk(Path(folder, "utt2spk"))
    if lonely := sorted(paths.keys() ^ speakers.keys()):
        where = "wav.scp" if lonely[0] in paths else "utt2spk"
        raise ValueError(
            f"{folder}: {len(lonely)} utterances are in one of wav.scp and utt2spk only, the first is {lonely[0]!r} "
            f"in {where}."
        )
    rows = [{"id": name, "speaker": speakers[name], "audio": os.fspath(path)} for name, path in paths.items()]
    complaint = f"recordings named by {Path(folder, 'wav.scp')} are missing"
    return list(keep_complete(rows, find_missing_audio, complaint, skip_missing))


def _read_pairs(table: Path, value: str) -> Iterator[tuple[int, str, str]]:
    """(line number, utterance, the rest of the line)."""
    line = 0
    for line, text in read_lines(table):
        fields = text.split(maxsplit=1)
        if len(fields) != 2:
            raise malformed(table, line, f"expected an utterance and {value}, got {text!r}")
        yield line, *fields
    if not line:
        raise ValueError(f"{table} holds no utterances.")


__all__ = ["kaldi_utterances", "read_utt2spk", "read_wav_scp"]
