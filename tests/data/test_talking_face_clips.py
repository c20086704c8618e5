import copyreg
import io
import os
import pickle

import numpy as np
import pytest

from avzoo.data.lrs3 import lrs3
from avzoo.data.separation_pairs import read_pairs
from avzoo.data.voxceleb2 import voxceleb2

RATE = 16000
FACE = 16  # pixels; sizes don't matter here


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not decoded here")
    return str(path)


def ids(rows):
    return [row["id"] for row in rows]


# ------------------------------------------------------------------------------------------------ layouts


NAMES = ["id00012/21Uxsk56VDQ/00002", "id00012/21Uxsk56VDQ/00010", "id00017/-5_bHyvUGCs/00001"]


@pytest.fixture(params=[("wav", ".wav"), ("aac", ".m4a")], ids=["wav", "aac"])
def voxceleb2_root(request, tmp_path):
    folder, suffix = request.param
    for split in ("dev", "test"):
        for name in reversed(NAMES):
            touch(tmp_path / split / folder / f"{name}{suffix}")
            touch(tmp_path / split / "mp4" / f"{name}.mp4")
    return tmp_path


@pytest.fixture
def lrs3_root(tmp_path):
    """With sound beside the first video only, as many have it."""
    for name in ("0Fi83BHQsMA/00002", "0Fi83BHQsMA/00001", "-xyz_/00001"):
        touch(tmp_path / "test" / f"{name}.mp4")
        touch(tmp_path / "test" / f"{name}.txt")
    touch(tmp_path / "test" / "0Fi83BHQsMA" / "00001.wav")
    return tmp_path


@pytest.mark.parametrize("split", ["dev", "test"])
def test_rows_of_voxceleb2_are_sorted(voxceleb2_root, split):
    rows = voxceleb2(voxceleb2_root, split)
    assert ids(rows) == NAMES
    (sound,) = (voxceleb2_root / split).glob("*/id00017/*/*.[wm][a4][va]")
    video = voxceleb2_root / split / "mp4" / f"{NAMES[2]}.mp4"
    assert rows[2] == {"id": NAMES[2], "speaker": "id00017", "audio": str(sound), "video": str(video)}


def test_the_training_set_of_voxceleb2_is_meant_unless_told_otherwise(voxceleb2_root):
    assert voxceleb2(voxceleb2_root) == voxceleb2(voxceleb2_root, "dev")


def test_wav_files_are_preferred_to_the_owners_sounds(tmp_path):
    for path in ("wav/id1/v/1.wav", "aac/id1/v/1.m4a", "aac/id1/v/2.m4a", "mp4/id1/v/1.mp4", "mp4/id1/v/2.mp4"):
        touch(tmp_path / "dev" / path)
    assert [row["audio"] for row in voxceleb2(tmp_path)] == [str(tmp_path / "dev" / "wav" / "id1" / "v" / "1.wav")]


def test_missing_videos_are_counted_and_the_first_named(voxceleb2_root):
    for name in NAMES[1:]:
        (voxceleb2_root / "dev" / "mp4" / f"{name}.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 3 utterances have sound but no video.*00010\.mp4.*skip_mis"):
        voxceleb2(voxceleb2_root)
    assert ids(voxceleb2(voxceleb2_root, skip_missing=True)) == NAMES[:1]


def test_files_of_macos_are_passed_over(voxceleb2_root, lrs3_root):
    """Archives hold a ._name beside each name."""
    touch(voxceleb2_root / "dev" / "mp4" / "id00012" / "21Uxsk56VDQ" / "._00002.mp4")
    touch(lrs3_root / "test" / "0Fi83BHQsMA" / "._00001.wav")
    assert len(voxceleb2(voxceleb2_root)) == 3
    assert len(lrs3(lrs3_root)) == 3


def test_folders_that_are_missing_or_empty_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dev has neither of the folders `wav` and `aac`"):
        voxceleb2(tmp_path)
    (tmp_path / "dev" / "wav").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"There is no .*dev/wav/\*/\*/\*\.wav; is `root` the dataset's"):
        voxceleb2(tmp_path)
    touch(tmp_path / "dev" / "wav" / "id1" / "v" / "1.wav")
    with pytest.raises(FileNotFoundError, match=r"There is no .*dev/mp4/\*/\*/\*\.mp4, and no such folder; is"):
        voxceleb2(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"There is no .*test/\*/\*\.mp4, and no such folder; is"):
        lrs3(tmp_path)


def test_rows_of_lrs3_take_the_sound_beside_the_video_or_in_it(lrs3_root):
    rows = lrs3(lrs3_root)
    assert ids(rows) == ["-xyz_/00001", "0Fi83BHQsMA/00001", "0Fi83BHQsMA/00002"]
    assert [row["speaker"] for row in rows] == ["-xyz_", "0Fi83BHQsMA", "0Fi83BHQsMA"]
    stem = str(lrs3_root / "test" / "0Fi83BHQsMA" / "0000")
    assert (rows[1]["audio"], rows[1]["video"]) == (f"{stem}1.wav", f"{stem}1.mp4")
    assert (rows[2]["audio"], rows[2]["video"]) == (f"{stem}2.mp4", f"{stem}2.mp4")


def test_a_video_missing_beside_its_sound_is_noticed_in_lrs3(lrs3_root):
    (lrs3_root / "test" / "0Fi83BHQsMA" / "00001.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 utterances have sound but no video.*00001\.mp4"):
        lrs3(lrs3_root)
    assert ids(lrs3(lrs3_root, skip_missing=True)) == ["-xyz_/00001", "0Fi83BHQsMA/00002"]


def test_other_splits_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`split` must be one of dev, test, got 'train'"):
        voxceleb2(tmp_path, "train")
    with pytest.raises(ValueError, match=r"`split` must be one of pretrain, trainval, test, got '\.\.'"):
        lrs3(tmp_path, "..")


# -------------------------------------------------------------------------------------------------- pairs


AUTHORS_DISK = "/mnt/datasets/lip_reading/lrs3/test"


def write_pickle(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def pair(first, second):
    return {"identifier1": first, "identifier2": second}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pairs_of_voxceleb2_become_rows(voxceleb2_root, protocol):
    path = write_pickle(voxceleb2_root / "vox_test.pckl", [pair(NAMES[2], NAMES[0]), pair(*NAMES[:2])], protocol)
    rows = voxceleb2(voxceleb2_root, "test")
    assert read_pairs(path, voxceleb2_root, "voxceleb2") == [(rows[2], rows[0]), (rows[0], rows[1])]


@pytest.mark.parametrize("folder", [f"{AUTHORS_DISK}/", "/test/", "", "/etc/../test/test/"])
def test_paths_of_the_authors_disk_are_looked_for_below_root(lrs3_root, folder):
    names = [f"{folder}0Fi83BHQsMA/00002.wav", f"{folder}0Fi83BHQsMA/00001.wav"]
    path = write_pickle(lrs3_root / "lrs3_test.pckl", [pair(*names)])
    rows = lrs3(lrs3_root, "test")
    assert read_pairs(path, lrs3_root, "lrs3") == [(rows[2], rows[1])]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("voxceleb2", "../../etc/passwd"),
        ("voxceleb2", "id1/../00001"),
        ("voxceleb2", "/id1/v/00001"),
        ("voxceleb2", "id1/v"),
        ("voxceleb2", "id1/v/00001.wav"),
        ("voxceleb2", "id1/v/00001\n"),
        ("voxceleb2", "id1\\v/v/0"),
        ("voxceleb2", ""),
        ("lrs3", f"{AUTHORS_DISK}/../00001.wav"),
        ("lrs3", f"{AUTHORS_DISK}/v/...wav"),
        ("lrs3", "/mnt/datasets/lrs3/trainval/v/00001.wav"),
        ("lrs3", "elsewhere/test/v/00001.wav"),
        ("lrs3", f"{AUTHORS_DISK}/v/00001"),
        ("lrs3", "v/00001.mp4"),
        ("lrs3", "C:/v/00001.wav"),
    ],
)
def test_a_name_that_is_none_or_leads_elsewhere_is_refused(tmp_path, kind, name):
    good = NAMES[0] if kind == "voxceleb2" else "v/00001.wav"
    path = write_pickle(tmp_path / "list.pckl", [pair(good, good), pair(good, name)])
    with pytest.raises(ValueError, match=r"list\.pckl, pair 2: expected (speaker/video|video/utterance\.wav).*, got '"):
        read_pairs(path, tmp_path, kind, skip_missing=True)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class AskingWhere:
    def __reduce__(self):
        return os.getcwd, ()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_pickle_is_run(tmp_path, protocol):
    path = write_pickle(tmp_path / "list.pckl", [pair("a/b/c", Harmful(tmp_path / "ran"))], protocol)
    with pytest.raises(ValueError, match=r"list\.pckl is damaged, or no pickled list of pairs: it asks for .*mkdir"):
        read_pairs(path, tmp_path, "voxceleb2")
    assert not (tmp_path / "ran").exists()


def test_not_even_harmless_classes_get_through(tmp_path):
    path = write_pickle(tmp_path / "list.pckl", [pair("a/b/c", np.float64(1))])
    with pytest.raises(ValueError, match=r"it asks for .*numpy.*, but a list of pairs holds no code"):
        read_pairs(path, tmp_path, "voxceleb2")


def test_objects_stored_elsewhere_are_refused(tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, content):
            return "elsewhere" if content == "a/b/c" else None

    stored = io.BytesIO()
    Pickler(stored).dump([pair("a/b/c", "a/b/d")])
    (tmp_path / "list.pckl").write_bytes(stored.getvalue())
    with pytest.raises(ValueError, match=r"list\.pckl is damaged, or no pickled list of pairs"):
        read_pairs(tmp_path / "list.pckl", tmp_path, "voxceleb2")


def test_registered_code_is_refused_too(tmp_path):
    """Python's pickle remembers what such a number stands for, and doesn't ask again."""
    module = os.getcwd.__module__
    copyreg.add_extension(module, "getcwd", 0x7FFFFF00)
    try:
        path = write_pickle(tmp_path / "list.pckl", [pair("a/b/c", AskingWhere())])
        pickle.loads(path.read_bytes())
        with pytest.raises(ValueError, match=r"list\.pckl is damaged, .*: it asks for registered code"):
            read_pairs(path, tmp_path, "voxceleb2")
    finally:
        copyreg.remove_extension(module, "getcwd", 0x7FFFFF00)


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_damaged_list_is_named(tmp_path, cut):
    path = write_pickle(tmp_path / "list.pckl", [pair(NAMES[0], NAMES[1])])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"list\.pckl is damaged, or no pickled list of pairs"):
        read_pairs(path, tmp_path, "voxceleb2")


def test_a_pointer_in_place_of_the_list_is_named(tmp_path):
    (tmp_path / "list.pckl").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"list\.pckl is damaged, or no pickled list of pairs"):
        read_pairs(tmp_path / "list.pckl", tmp_path, "voxceleb2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pair("a/b/c", "a/b/d"), r"expected a list of pairs, at least one, got \{'identifier1'"),
        ([], r"expected a list of pairs, at least one, got \[\]"),
        ([pair("a/b/c", "a/b/d"), ["a/b/c", "a/b/d"]], r"pair 2: expected a dict of two strings, got \['a/b/c'"),
        ([pair("a/b/c", 1)], r"pair 1: expected a dict of two strings, got \{"),
        ([pair("a/b/c", b"a/b/d")], r"pair 1: expected a dict of two strings"),
        ([{"identifier1": "a/b/c"}], r"pair 1: expected a dict of two strings"),
        ([{**pair("a/b/c", "a/b/d"), "third": "a/b/e"}], r"pair 1: expected a dict of two strings"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_pairs(write_pickle(tmp_path / "list.pckl", content), tmp_path, "voxceleb2")


def test_pairs_without_files_are_counted_and_the_first_named(voxceleb2_root):
    pairs = [pair(*NAMES[:2]), pair(NAMES[0], NAMES[2]), pair(*NAMES[1:])]
    path = write_pickle(voxceleb2_root / "vox_test.pckl", pairs)
    (voxceleb2_root / "test" / "mp4" / f"{NAMES[2]}.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 3 pairs of .*vox_test\.pckl lack .*00001\.mp4 \(pair 2\)"):
        read_pairs(path, voxceleb2_root, "voxceleb2")
    assert len(read_pairs(path, voxceleb2_root, "voxceleb2", skip_missing=True)) == 1


def test_a_missing_list_and_another_kind_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vox_test\.pckl"):
        read_pairs(tmp_path / "vox_test.pckl", tmp_path, "voxceleb2")
    with pytest.raises(ValueError, match=r"`kind` must be one of voxceleb2, lrs3, got 'vox'"):
        read_pairs(tmp_path / "vox_test.pckl", tmp_path, "vox")
