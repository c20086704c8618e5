import io
import os
import pickle

import numpy as np
import pytest

from avzoo.data.gloss_vocabulary import (
    assign_numbers,
    build_vocabulary,
    count_glosses,
    identify_vocabulary,
    number_glosses,
    read_glosses,
)

ENTRIES = {"ABEND": [1, 113], "REGEN": [2, 41], "ÜBER": [3, 1]}


def write_npy(path, value, protocol=4):
    array = np.empty((), dtype=object)
    array[()] = value
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    pickle.dump(array, file, protocol=protocol)
    path.write_bytes(file.getvalue())
    return path


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_vocabulary_is_sorted_by_code_point():
    rows = [{"glosses": ["loc-NORD", "REGEN", "__ON__"]}, {"glosses": ["ÜBER", "REGEN", "4"]}]
    assert build_vocabulary(rows) == ["4", "REGEN", "__ON__", "loc-NORD", "ÜBER"]
    assert count_glosses(rows)["REGEN"] == 2


def test_numbers_begin_with_1():
    assert assign_numbers(["A", "B"]) == {"A": 1, "B": 2}


def test_a_vocabulary_with_a_gloss_twice_is_refused():
    with pytest.raises(ValueError, match="`glosses` hold 'A' twice, as number 1 and 3"):
        assign_numbers(["A", "B", "A"])
    with pytest.raises(ValueError, match="`glosses` must be words without blanks, got 'A B' as number 1"):
        assign_numbers(["A B"])


def test_an_unknown_gloss_is_refused_with_similar_ones():
    with pytest.raises(
        ValueError, match="`clip 7` hold 'morgn', which the vocabulary of 2 glosses lacks; similar are "
    ):
        number_glosses(["REGEN", "morgn"], {"MORGEN": 1, "REGEN": 2}, name="clip 7")


def test_unknown_glosses_can_be_dropped_as_the_authors_do():
    assert number_glosses(["A", "?", "C", "A"], {"A": 1, "C": 3}, unknown="drop") == [1, 3, 1]


def test_a_published_vocabulary_is_told_by_its_digest():
    assert identify_vocabulary(["A", "B"]) is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_authors_dictionary_is_read_in_any_protocol(tmp_path, protocol):
    path = write_npy(tmp_path / "gloss_dict.npy", ENTRIES, protocol)
    assert np.load(path, allow_pickle=True).item() == ENTRIES  # the file is what numpy takes it for
    assert read_glosses(path) == ["ABEND", "REGEN", "ÜBER"]


def test_a_dictionary_that_numpy_saved_is_read(tmp_path):
    np.save(tmp_path / "gloss_dict.npy", ENTRIES)
    assert read_glosses(tmp_path / "gloss_dict.npy") == ["ABEND", "REGEN", "ÜBER"]


def test_a_dictionary_of_an_older_numpy_is_read(tmp_path):
    path = write_npy(tmp_path / "gloss_dict.npy", ENTRIES, 2)
    content = path.read_bytes()
    assert b"numpy._core" in content
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert read_glosses(path) == ["ABEND", "REGEN", "ÜBER"]


def test_glosses_come_in_the_order_of_their_numbers(tmp_path):
    path = write_npy(tmp_path / "gloss_dict.npy", {"B": [2, 1], "A": [3, 1], "C": [1, 1]})
    assert read_glosses(path) == ["C", "B", "A"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["alone", "as a value", "in a list"])
def test_a_dictionary_that_would_run_code_is_refused_and_runs_none(tmp_path, protocol, place):
    made = tmp_path / "made"
    payload = Payload(made)
    value = {"alone": payload, "as a value": {"A": payload}, "in a list": {"A": [1, payload]}}[place]
    path = write_npy(tmp_path / "gloss_dict.npy", value, protocol)
    with pytest.raises(ValueError, match=r"needs `\w+.mkdir` to be unpickled, which could run code; it is not opened"):
        read_glosses(path)
    assert not made.exists()
    np.load(path, allow_pickle=True)
    assert made.exists()  # so the file does what it is refused for


def test_an_array_of_code_instead_of_the_dictionary_is_refused(tmp_path):
    path = tmp_path / "gloss_dict.npy"
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(file.getvalue() + b"cbuiltins\neval\n(S'open(\"made\")'\ntR.")
    with pytest.raises(ValueError, match=r"needs `builtins.eval` to be unpickled"):
        read_glosses(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"A": [1, 5], "B": [3, 5]}, "must number its 2 glosses from 1 on; number 2 is missing"),
        ({"A": [0, 5], "B": [1, 5]}, "must number its 2 glosses from 1 on; number 2 is missing"),
        ({"A": [1, 5], "B": [1, 5]}, "has number 1 twice: 'A' and 'B'"),
        ({"A": [True, 5]}, r"'A' holds a list, expected \[number, count\]"),
        ({"A": "1"}, r"'A' holds '1', expected \[number, count\]"),
        ({"A B": [1, 5]}, "holds 'A B', expected glosses without blanks"),
        ({3: [1, 5]}, "holds 3, expected glosses without blanks"),
        ({}, "must number its 0 glosses from 1 on; there is none"),
        ([1, 2], "holds a list, expected a dictionary"),
        (None, "holds a nonetype, expected a dictionary"),
    ],
)
def test_a_dictionary_of_something_else_is_refused(tmp_path, entries, message):
    with pytest.raises(ValueError, match=message):
        read_glosses(write_npy(tmp_path / "gloss_dict.npy", entries))


def test_an_array_of_numbers_is_refused(tmp_path):
    np.save(tmp_path / "numbers.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"holds an array of int64 and shape \(3,\), expected one dictionary"):
        read_glosses(tmp_path / "numbers.npy")


@pytest.mark.parametrize("length", [3, 20, 150, -30, -2])
def test_a_dictionary_that_is_cut_short_is_damaged(tmp_path, length):
    path = write_npy(tmp_path / "gloss_dict.npy", ENTRIES)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises((OSError, ValueError), match=r"gloss_dict.npy"):
        read_glosses(path)


def test_a_text_of_one_gloss_per_line_is_read(tmp_path):
    path = tmp_path / "glosses.txt"
    path.write_bytes("\ufeffABEND\r\nREGEN\r\n\r\nÜBER".encode())
    assert read_glosses(path) == ["ABEND", "REGEN", "ÜBER"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\nB\nA\n", "line 3: 'A' is also in line 1"),
        ("A\nB C\n", "line 2: expected one gloss, without blanks, got 'B C'"),
        ("\n", "holds no gloss"),
        ("", "holds no gloss"),
    ],
)
def test_a_text_that_is_no_vocabulary_is_refused(tmp_path, text, message):
    path = tmp_path / "glosses.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_glosses(path)


def test_a_bare_pickle_is_refused(tmp_path):
    path = tmp_path / "gloss_dict.pkl"
    path.write_bytes(pickle.dumps(ENTRIES))
    with pytest.raises(ValueError, match=r"is a pickle; expected gloss_dict.npy or a text of one gloss per line"):
        read_glosses(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocabulary `.*missing.npy` does not exist"):
        read_glosses(tmp_path / "missing.npy")
    with pytest.raises(IsADirectoryError, match=r"is a folder; pass gloss_dict.npy or a text file"):
        read_glosses(tmp_path)
