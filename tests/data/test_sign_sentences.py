"""The three data sets of signing, and your own tables: made-up lines in the owners' layouts."""

import pytest

from avzoo.data.csl_daily import csl_daily
from avzoo.data.own_signs import read_sign_table, split_signs
from avzoo.data.phoenix14 import phoenix14
from avzoo.data.phoenix14t import phoenix14t
from avzoo.data.sign_sentences import format_ctm, format_stm

PHOENIX14 = "id|folder|signer|annotation"
PHOENIX14_ROWS = [
    "03March_2010_heute-2|03March_2010_heute-2/1/*.png|Signer01|WIND cl-KOMMEN S+H",
    "03March_2010_heute-1|03March_2010_heute-1/1/*.png|Signer04|__ON__ MORGEN  loc-NORD REGEN",
]
PHOENIX14T = "name|video|start|end|speaker|orth|translation"
PHOENIX14T_ROWS = ["05May-9|05May-9/1/*.png|-1|-1|Signer08|DRUCK TIEF|tiefer druck"]
CSL = "index|name|length|gloss|char|word|postag"
CSL_ROWS = ["0|S000001_P0000_T00|54|他 今天 4|他|他|r", "1|S000002_P0000_T00|60|今天 好 好|好|好|t"]


def write_table(path, *lines, end="\n", mark=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((mark + "".join(f"{line}{end}" for line in lines)).encode())
    return path


def make_phoenix14(root, *rows, split="dev", **style):
    rows = rows or PHOENIX14_ROWS
    table = write_table(root / "annotations" / "manual" / f"{split}.corpus.csv", PHOENIX14, *rows, **style)
    for row in rows:
        write_table(root / "features" / "fullFrame-256x256px" / split / row.split("|")[0] / "1" / "1.png")
    return table


def make_csl(root, *, splits=("S000001_P0000_T00|train", "S000002_P0000_T00|dev"), rows=CSL_ROWS):
    write_table(root / "video_map.txt", CSL, *rows, mark="\ufeff", end="\r\n")
    write_table(root / "split_1.txt", "name|split", *splits)
    for row in rows:
        write_table(root / "sentence" / "frames_256x256" / row.split("|")[1] / "000000.jpg")


def test_phoenix14_comes_in_the_order_of_its_table(tmp_path):
    make_phoenix14(tmp_path)
    first, second = phoenix14(tmp_path, "dev")
    frames = tmp_path / "features" / "fullFrame-256x256px" / "dev"
    assert first == {
        "id": "03March_2010_heute-2",
        "path": str(frames / "03March_2010_heute-2" / "1"),
        "signer": "Signer01",
        "text": "WIND cl-KOMMEN S+H",
        "glosses": ["WIND", "cl-KOMMEN", "S+H"],
        "split": "dev",
    }
    assert second["text"] == "__ON__ MORGEN  loc-NORD REGEN"
    assert second["glosses"] == ["__ON__", "MORGEN", "loc-NORD", "REGEN"]


def test_the_owners_frames_are_taken_where_none_are_resized(tmp_path):
    make_phoenix14(tmp_path)
    (tmp_path / "features" / "fullFrame-256x256px").rename(tmp_path / "features" / "fullFrame-210x260px")
    assert "fullFrame-210x260px" in phoenix14(tmp_path, "dev")[0]["path"]


@pytest.mark.parametrize("style", [{"end": "\r\n"}, {"mark": "\ufeff"}, {"end": "\n\n"}])
def test_windows_files_and_blank_lines_are_read(tmp_path, style):
    make_phoenix14(tmp_path / "plain")
    make_phoenix14(tmp_path / "other", **style)
    texts = [[row["text"] for row in phoenix14(tmp_path / name, "dev")] for name in ("plain", "other")]
    assert texts[0] == texts[1]


def make_long_training_table(root):
    rows = [f"clip{number}|clip{number}/1/*.png|Signer01|WIND" for number in range(2392)]
    write_table(root / "annotations" / "manual" / "train.corpus.csv", PHOENIX14, *rows)
    for name in ("clip0", "clip2390"):
        write_table(root / "features" / "fullFrame-256x256px" / "train" / name / "1" / "1.png")


def test_row_2390_of_the_training_table_is_left_out_and_said(tmp_path, caplog):
    make_long_training_table(tmp_path)
    rows = phoenix14(tmp_path, "train", skip_missing=True)
    assert [row["id"] for row in rows] == ["clip0"]
    assert "line 2392: row 2390 (clip2390) is left out as broken" in caplog.text


def test_row_2390_can_be_kept(tmp_path):
    make_long_training_table(tmp_path)
    rows = phoenix14(tmp_path, "train", skip_missing=True, drop_broken=False)
    assert [row["id"] for row in rows] == ["clip0", "clip2390"]


def test_phoenix14t_ignores_the_column_of_videos(tmp_path):
    write_table(tmp_path / "annotations" / "manual" / "PHOENIX-2014-T.dev.corpus.csv", PHOENIX14T, *PHOENIX14T_ROWS)
    folder = tmp_path / "features" / "fullFrame-256x256px" / "dev" / "05May-9"
    write_table(folder / "images0001.png")
    (row,) = phoenix14t(tmp_path, "dev")
    assert (row["path"], row["signer"], row["glosses"]) == (str(folder), "Signer08", ["DRUCK", "TIEF"])


def test_csl_daily_is_divided_by_its_split_file(tmp_path):
    make_csl(tmp_path)
    (train,) = csl_daily(tmp_path, "train")
    (dev,) = csl_daily(tmp_path, "dev")
    assert (train["id"], train["signer"], train["glosses"]) == ("S000001_P0000_T00", "unknown", ["他", "今天", "4"])
    assert dev["path"] == str(tmp_path / "sentence" / "frames_256x256" / "S000002_P0000_T00")


def test_clips_without_a_split_are_for_training(tmp_path, caplog):
    make_csl(tmp_path, splits=("S000002_P0000_T00|dev", "S999999_P0000_T00|dev"))
    assert [row["id"] for row in csl_daily(tmp_path, "train")] == ["S000001_P0000_T00"]
    assert "1 of the 2 clips of video_map.txt have no split and are for training" in caplog.text


def test_the_last_clip_of_a_split_is_read(tmp_path):
    make_csl(tmp_path, splits=("S000001_P0000_T00|dev", "S000002_P0000_T00|dev"))
    assert len(csl_daily(tmp_path, "dev")) == 2


def test_a_split_that_does_not_exist_is_refused(tmp_path):
    for reader in (phoenix14, phoenix14t, csl_daily):
        with pytest.raises(ValueError, match="`split` must be one of train, dev, test, got 'val'"):
            reader(tmp_path, "val")
    make_csl(tmp_path, splits=("S000001_P0000_T00|valid",))
    with pytest.raises(ValueError, match=r"split_1.txt, line 2: `split` must be one of train, dev, test, got 'valid'"):
        csl_daily(tmp_path, "dev")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a|a/1/*.png|Signer01| ", r"dev.corpus.csv, line 4: the annotation of 'a' is empty"),
        ("a|a/1/*.png|Signer01", r"line 4: expected 4 fields \(id\|folder\|signer\|annotation\), got 3"),
        ("a|a/1/*.png|Signer01|WIND|REGEN", r"line 4: expected 4 fields .*, got 5"),
        (PHOENIX14_ROWS[0], r"line 4: the id '03March_2010_heute-2' is also in line 2"),
        ("a|a/1/*.jpg|Signer01|WIND", r"line 4: expected a folder and \*.png, such as NAME/1/\*.png, got 'a/1/\*.jpg'"),
        ("a|../a/1/*.png|Signer01|WIND", r"line 4: '../a/1' leads out of the root"),
        ("../a|a/1/*.png|Signer01|WIND", r"line 4: '../a' is not a plain file name"),
        ("a b|a/1/*.png|Signer01|WIND", r"line 4: the id 'a b' has a blank inside"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(tmp_path, row, message):
    table = make_phoenix14(tmp_path)
    write_table(table, PHOENIX14, *PHOENIX14_ROWS, row)
    with pytest.raises(ValueError, match=message):
        phoenix14(tmp_path, "dev")


def test_a_table_with_another_header_is_refused(tmp_path):
    write_table(tmp_path / "annotations" / "manual" / "dev.corpus.csv", *PHOENIX14_ROWS)
    with pytest.raises(ValueError, match=r"line 1: expected the header id\|folder\|signer\|annotation, got 03March"):
        phoenix14(tmp_path, "dev")


def test_an_empty_table_is_refused(tmp_path):
    table = write_table(tmp_path / "annotations" / "manual" / "dev.corpus.csv")
    with pytest.raises(ValueError, match=r"dev.corpus.csv is empty; expected the header id\|folder"):
        phoenix14(tmp_path, "dev")
    write_table(table, PHOENIX14)
    with pytest.raises(ValueError, match="holds a header and no sentence"):
        phoenix14(tmp_path, "dev")


def test_a_table_that_is_no_text_is_refused(tmp_path):
    table = make_phoenix14(tmp_path)
    table.write_bytes(table.read_bytes() + "ä|".encode("latin-1"))
    with pytest.raises(ValueError, match="line 4: not UTF-8 text"):
        phoenix14(tmp_path, "dev")


def test_clips_without_frames_are_counted(tmp_path):
    make_phoenix14(tmp_path)
    folder = tmp_path / "features" / "fullFrame-256x256px" / "dev" / "03March_2010_heute-1" / "1"
    (folder / "1.png").unlink()  # an empty folder has none, either
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 2 clips of dev.corpus.csv have no frames, the first is .*-1/1"
    ):
        phoenix14(tmp_path, "dev")
    assert [row["id"] for row in phoenix14(tmp_path, "dev", skip_missing=True)] == ["03March_2010_heute-2"]


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dev.corpus.csv"):
        phoenix14(tmp_path, "dev")


def test_own_clips_are_files_and_folders(tmp_path):
    write_table(tmp_path / "a.mp4")
    write_table(tmp_path / "frames" / "b" / "1.jpg")
    table = write_table(
        tmp_path / "signs.csv",
        "Path,glosses,split,id,signer,note",
        "a.mp4,MORGEN  REGEN,train,,,x",
        "frames/b,NACHT,validation,clip2,ben,",
    )
    assert read_sign_table(table) == [
        {
            "id": "a.mp4",
            "path": str(tmp_path / "a.mp4"),
            "signer": "unknown",
            "text": "MORGEN  REGEN",
            "glosses": ["MORGEN", "REGEN"],
            "split": "train",
        },
        {
            "id": "clip2",
            "path": str(tmp_path / "frames" / "b"),
            "signer": "ben",
            "text": "NACHT",
            "glosses": ["NACHT"],
            "split": "dev",
        },
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label", "a.mp4,A"], "line 1: expected a header with path and glosses, .*, got 'path,label'"),
        (["path,glosses", "a.mp4"], "line 2: expected 2 fields, got 1"),
        (["path,glosses", "a.mp4,"], "line 2: the annotation of 'a.mp4' is empty"),
        (["path,glosses", "../a.mp4,A"], "line 2: '../a.mp4' is no path below"),
        (["path,glosses", ",A"], "line 2: '' is no path below"),
        (["path,glosses,split", "a.mp4,A,dev2"], "line 2: `split` must be one of train, .*, got 'dev2'"),
        (["path,glosses", "a.mp4,A", "a.mp4,B"], "line 3: the id 'a.mp4' is also in line 2"),
        (["path,glosses"], "holds a header and no sentence"),
    ],
)
def test_a_broken_own_table_is_refused_with_its_line(tmp_path, lines, message):
    write_table(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=message):
        read_sign_table(write_table(tmp_path / "signs.csv", *lines))


def test_missing_own_clips_are_counted(tmp_path):
    table = write_table(tmp_path / "signs.csv", "path,glosses", "a.mp4,A", "b.mp4,B")
    write_table(tmp_path / "a.mp4")
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 clips of signs.csv have no frames, the first is .*b.mp4"):
        read_sign_table(table)


def make_rows(*splits):
    return [{"id": str(number), "split": split} for number, split in enumerate(splits)]


def test_clips_are_divided_by_the_table():
    train, held_out = split_signs(make_rows("train", "dev", "train", "test"))
    assert [row["id"] for row in train] == ["0", "2"]
    assert [row["id"] for row in held_out] == ["1"]


def test_clips_without_a_split_are_divided_alike_each_time():
    rows = make_rows(*[""] * 20)
    train, held_out = split_signs(rows, 0.2)
    assert (len(train), len(held_out)) == (16, 4)
    assert {row["id"] for row in split_signs(rows[::-1], 0.2)[1]} == {row["id"] for row in held_out}


def test_a_division_without_clips_on_a_side_is_refused():
    with pytest.raises(ValueError, match=r"needs clips of split train, and of dev or test; it has \['train'\]"):
        split_signs(make_rows("train", "train"))
    with pytest.raises(ValueError, match=r"`dev_share` \(0.9\) leaves no clip of 2 to train on"):
        split_signs(make_rows("", ""), 0.9)


def test_references_are_written_for_sclite():
    rows = [{"id": "a", "signer": "Signer01", "text": "WIND  REGEN"}]
    assert format_stm(rows) == "a 1 Signer01 0.0 1.79769e+308 WIND  REGEN\n"


def test_hypotheses_are_written_for_sclite():
    timed = [{"label": "WIND", "start": 0.4, "end": 0.56}]
    assert format_ctm({"a": timed, "b": [], "c": ["A", "B"]}) == (
        "a 1 0.40 0.16 WIND\nc 1 0.00 0.01 A\nc 1 0.01 0.01 B\n"
    )


def test_blanks_in_names_are_no_ends_of_fields():
    row = {"id": "my clip.mp4", "signer": "Anna B", "text": "WIND"}
    assert format_stm([row]) == "my_clip.mp4 1 Anna_B 0.0 1.79769e+308 WIND\n"
    assert format_ctm({"my clip.mp4": ["WIND"]}) == "my_clip.mp4 1 0.00 0.01 WIND\n"
