import json
import logging
import shutil

import pytest
from localization_sets import (
    AUTHORS,
    BAR,
    LEFT,
    RIGHT,
    write_annotation,
    write_json,
    write_picture,
    write_set,
    write_tone,
)

from avzoo.data.avsbench import avsbench
from avzoo.data.flickr_soundnet import flickr_soundnet, flickr_soundnet_extended, read_flickr_boxes
from avzoo.data.is3 import is3
from avzoo.data.localization_samples import read_json_list
from avzoo.data.vggss import vggss, vggss_extended
from avzoo.data.vpo import vpo


def names(samples) -> list[str]:
    return [sample["name"] for sample in samples]


# ------------------------------------------------------------------------------------------------ layouts


def test_vggss_comes_in_file_order(tmp_path):
    samples = list(vggss(write_set(tmp_path, "vggss")))
    assert names(samples)[:2] == ["abcdefghij0_000030", "abcdefghij1_000031"]
    assert samples[2] == {
        "name": "abcdefghij2_000032",
        "image": str(tmp_path / "frames/abcdefghij2_000032.jpg"),
        "audio": str(tmp_path / "audio/abcdefghij2_000032.wav"),
        "boxes": [[value / 224 for value in BAR]],
        "box_format": "vggss",
        "is_sounding": True,
        "group": "abcdefghij2_000032",
        "class_name": "blue",
        "mask": None,
        "base_seconds": 10.0,
        "start_seconds": 3.5,
        "missing": [],
    }


def test_vggss_is_found_in_the_layout_of_its_frames_by_milliseconds(tmp_path):
    write_picture(tmp_path / "VGGSound_img/zpWuikVorYg_32000_42000/image_050.jpg", {"red": LEFT})
    write_tone(tmp_path / "VGGSound_aud/zpWuikVorYg_32000_42000.wav", "red")
    write_json(tmp_path / "vggss.json", [{"file": "zpWuikVorYg_000032", "class": "elk", "bbox": [[0, 0, 1, 1]]}])
    assert names(vggss(tmp_path)) == ["zpWuikVorYg_000032"]


def test_vggss_boxes_are_clipped_to_the_picture(tmp_path):
    write_set(tmp_path, "vggss")
    entry = {"file": "abcdefghij0_000030", "class": "elk", "bbox": [[0.86, -0.1, 0.95, -2.88e16], [0, 0, 1.5, 1]]}
    write_json(tmp_path / "vggss.json", [entry])
    assert next(vggss(tmp_path))["boxes"] == [[0.86, 0, 0.95, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("line", ["abcdefghij3_000033", "abcdefghij3_33000_43000", "abcdefghij3_000033,dog"])
def test_a_subset_of_vggss_comes_in_its_own_order(tmp_path, line):
    write_set(tmp_path, "vggss")
    (tmp_path / "subset.txt").write_text(f"{line}\nabcdefghij1_000031\n")
    assert names(vggss(tmp_path, subset=tmp_path / "subset.txt")) == ["abcdefghij3_000033", "abcdefghij1_000031"]


def test_a_clip_that_begins_at_0_is_found_by_milliseconds(tmp_path):
    write_set(tmp_path, "vggss")
    write_json(tmp_path / "vggss.json", [{"file": "1F3_bvIT0ig_000000", "class": "elk", "bbox": [[0, 0, 1, 1]]}])
    (tmp_path / "subset.txt").write_text("1F3_bvIT0ig_0_10000\n")
    assert names(vggss(tmp_path, subset=tmp_path / "subset.txt", on_missing="keep")) == ["1F3_bvIT0ig_000000"]


def test_the_extended_vggss_ends_with_pairs_that_do_not_sound(tmp_path):
    samples = list(vggss_extended(write_set(tmp_path, "vggss-extended")))
    assert [sample["is_sounding"] for sample in samples] == [True] * 5 + [False] * 3
    assert samples[5]["name"] == "abcdefghij0_000030+abcdefghij1_000031"
    assert samples[5]["image"].endswith("frames/abcdefghij0_000030.jpg")
    assert samples[5]["audio"].endswith("audio/abcdefghij1_000031.wav")
    assert samples[5]["boxes"] == []


def test_media_of_silent_pairs_may_lie_apart(tmp_path):
    write_set(tmp_path, "vggss-extended")
    for kind in ("frames", "audio"):
        shutil.copytree(tmp_path / kind, tmp_path / f"extend_{kind}")
    assert list(vggss_extended(tmp_path))[5]["image"].endswith("extend_frames/abcdefghij0_000030.jpg")


def test_flickr_has_the_boxes_of_all_annotators(tmp_path):
    samples = list(flickr_soundnet(write_set(tmp_path, "flickr")))
    assert names(samples) == ["10000", "10001", "10002"]
    assert samples[0]["boxes"] == [[18, 36, 109, 219]] * 2
    assert samples[0]["box_format"] == "flickr"


def test_flickr_takes_the_first_picture_of_a_clips_folder(tmp_path):
    write_picture(tmp_path / "Flickr_Sound_Top5_Dataset_img_test/10000.mp4/000020.jpg", {"red": LEFT})
    write_picture(tmp_path / "Flickr_Sound_Top5_Dataset_img_test/10000.mp4/000001.jpg", {"red": LEFT})
    write_tone(tmp_path / "Flickr_Sound_Top5_Dataset_wav_test/10000.wav", "red")
    write_annotation(tmp_path / "Annotations/10000.xml", [[0, 0, 10, 10]])
    (tmp_path / "flickr_test.csv").write_text("10000,202\n")
    assert next(flickr_soundnet(tmp_path))["image"].endswith("10000.mp4/000001.jpg")


def test_the_extended_flickr_ends_with_pairs_that_do_not_sound(tmp_path):
    samples = list(flickr_soundnet_extended(write_set(tmp_path, "flickr-extended")))
    assert names(samples)[3:] == ["10000+10001", "10001+10002", "10002+10000"]
    assert [sample["is_sounding"] for sample in samples] == [True] * 3 + [False] * 3


def test_is3_groups_the_two_sounds_of_a_picture(tmp_path):
    samples = list(is3(write_set(tmp_path, "is3")))
    assert names(samples)[:2] == ["red_green_0_red", "red_green_0_green"]
    assert [sample["group"] for sample in samples[:3]] == ["red_green_0", "red_green_0", "green_blue_1"]
    assert samples[1]["class_name"] == "green"
    assert samples[1]["boxes"] == [RIGHT]
    assert samples[1]["mask"].endswith("gt_segmentation/red_green_0_green.jpg")


def test_is3_is_found_under_the_authors_other_names(tmp_path):
    write_set(tmp_path, "is3")
    (tmp_path / "images").rename(tmp_path / "visual_frames")
    shutil.rmtree(tmp_path / "gt_segmentation")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "IS3_annotation.json").rename(tmp_path / "metadata/synthetic3240_bbox.json")
    sample = next(is3(tmp_path))
    assert sample["image"] == str(tmp_path / "visual_frames/red_green_0_red.jpg")
    assert sample["mask"] is None


@pytest.mark.parametrize("setting", ["ss", "ms"])
def test_vpo_groups_the_sounds_of_a_picture(tmp_path, setting):
    samples = list(vpo(write_set(tmp_path, f"vpo-{setting}"), setting))
    assert [sample["group"] for sample in samples[:3]] == ["000000000000", "000000000000", "000000000001"]


def test_s4_has_five_frames_of_a_clip_and_its_masks(tmp_path):
    samples = list(avsbench(write_set(tmp_path, "s4"), "s4"))
    folder = tmp_path / "Single-source/s4_data"
    assert samples[4]["name"] == "red/0d9u2Cy_0xc/0d9u2Cy_0xc_5"
    assert samples[4]["image"] == str(folder / "visual_frames/test/red/0d9u2Cy_0xc/0d9u2Cy_0xc_5.png")
    assert samples[4]["audio"] == str(folder / "audio_wav/test/red/0d9u2Cy_0xc.wav")
    assert samples[4]["mask"] == str(folder / "gt_masks/test/red/0d9u2Cy_0xc/0d9u2Cy_0xc_5.png")
    assert {sample["group"] for sample in samples[:5]} == {"0d9u2Cy_0xc"}
    assert (samples[4]["base_seconds"], samples[4]["start_seconds"]) == (5.0, 1.0)
    assert samples[4]["class_name"] == "red"


def test_ms3_has_five_frames_of_a_clip_and_its_masks(tmp_path):
    samples = list(avsbench(write_set(tmp_path, "ms3"), "ms3"))
    folder = tmp_path / "Multi-sources/ms3_data"
    assert samples[0]["boxes"] == [[0, 0, 0, 0]]
    assert samples[1]["image"] == str(folder / "visual_frames/0d9u2Cy_0xc/0d9u2Cy_0xc.mp4_2.png")
    assert samples[1]["audio"] == str(folder / "audio_wav/test/0d9u2Cy_0xc.wav")
    assert samples[1]["mask"] == str(folder / "gt_masks/test/0d9u2Cy_0xc/0d9u2Cy_0xc_2.png")


# ------------------------------------------------------------------------------------------------ missing files


def test_missing_files_are_counted_and_named(tmp_path):
    write_set(tmp_path, "is3")
    (tmp_path / "images/red_green_0_green.jpg").unlink()
    (tmp_path / "audio_wav/blue_red_2_red.wav").unlink()
    message = (
        r"2 of the 6 samples of IS3_annotation\.json lack their picture or sound, the first is "
        r'.*red_green_0_green\.jpg\. Pass on_missing="skip"'
    )
    with pytest.raises(FileNotFoundError, match=message):
        next(is3(tmp_path))


def test_missing_files_can_be_left_out(tmp_path, caplog):
    write_set(tmp_path, "is3")
    (tmp_path / "images/red_green_0_green.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        samples = list(is3(tmp_path, on_missing="skip"))
    assert len(samples) == 5
    assert "1 of the 6 samples of IS3_annotation.json lack" in caplog.text


def test_rows_without_their_files_can_be_kept(tmp_path):
    write_set(tmp_path, "is3")
    (tmp_path / "images/red_green_0_green.jpg").unlink()
    samples = list(is3(tmp_path, on_missing="keep"))
    assert [len(sample["missing"]) for sample in samples] == [0, 1, 0, 0, 0, 0]
    assert samples[1]["missing"] == [str(tmp_path / "images/red_green_0_green.jpg")]


def test_another_choice_about_missing_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`on_missing` must be one of refuse, skip, keep, got 'ignore'"):
        next(is3(write_set(tmp_path, "is3"), on_missing="ignore"))


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vggss\.json is not there"):
        next(vggss(tmp_path))


def test_missing_folders_are_named(tmp_path):
    write_json(tmp_path / "vggss.json", [])
    with pytest.raises(FileNotFoundError, match="holds no folder frames or VGGSound_img"):
        next(vggss(tmp_path))


# ------------------------------------------------------------------------------------------------ damaged lists


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"file": "../../x_000030"}, r"line 1: `file` must be as zpWuikVorYg_000032, got '../../x_000030'"),
        ({"file": 7}, "line 1: `file` must be text, got 7"),
        ({"class": None}, "line 1: `class` must be text, got None"),
        ({"bbox": "all"}, "line 1: `bbox` must be a list of boxes, got all"),
        ({"bbox": [[0, 0, 1]]}, "line 1: a box must be four numbers"),
        ({"bbox": [[0, 0, 1, True]]}, "line 1: a box must be four numbers"),
        ({"bbox": [[0, 0, 1, float("nan")]]}, "line 1: a box must be four numbers"),
    ],
)
def test_an_entry_of_vggss_of_another_form_is_refused(tmp_path, entry, message):
    write_set(tmp_path, "vggss")
    write_json(
        tmp_path / "vggss.json", [{"file": "abcdefghij0_000030", "class": "elk", "bbox": [[0, 0, 1, 1]]} | entry]
    )
    with pytest.raises(ValueError, match=message):
        next(vggss(tmp_path))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"gt_box": [0, 0, 225, 10]}, r"line 1: a box must have whole numbers from 0 to 224, got \[0, 0, 225, 10\]"),
        ({"gt_box": [0, 0.5, 22, 10]}, "line 1: a box must have whole numbers"),
        ({"gt_box": None}, "line 1: a box must be four numbers"),
        ({"image": AUTHORS + ".."}, r"line 1: '\.\.' is not a plain file name"),
        ({"image": "a\\b_c.jpg"}, "is not a plain file name"),
        ({"audio": AUTHORS}, "line 1: '' is not a plain file name"),
        ({"image": AUTHORS + "dog.jpg"}, "line 1: expected the picture's name, _ and the object's, got 'dog.jpg'"),
    ],
)
def test_an_entry_of_is3_of_another_form_is_refused(tmp_path, entry, message):
    write_set(tmp_path, "is3")
    good = {"image": "a_b_0_a.jpg", "audio": "a_b_0_a.wav", "gt_box": [0, 0, 1, 1]}
    write_json(tmp_path / "IS3_annotation.json", [good | entry])
    with pytest.raises(ValueError, match=message):
        next(is3(tmp_path))


def test_no_path_of_avsbench_leads_out_of_the_root(tmp_path):
    write_set(tmp_path, "s4")
    entry = {"image": "x/../../secret_1.png", "audio": "red/clip.wav", "gt_box": [0, 0, 1, 1]}
    write_json(tmp_path / "s4_box.json", [entry])
    with pytest.raises(ValueError, match=r"s4_box.json, line 1: '\.\.' is not a plain file name"):
        next(avsbench(tmp_path, "s4"))


@pytest.mark.parametrize(
    ("dataset", "reader", "table", "name"),
    [("is3", is3, "IS3_annotation.json", "red_green_0_red"), ("vggss", vggss, "vggss.json", "abcdefghij0_000030")],
)
def test_a_name_that_appears_twice_is_refused_with_both_lines(tmp_path, dataset, reader, table, name):
    write_set(tmp_path, dataset)
    entries = json.loads((tmp_path / table).read_text())
    lines = ",\n".join(json.dumps(entry) for entry in [*entries[:2], entries[0]])
    (tmp_path / table).write_text(f"[\n{lines}\n]")
    with pytest.raises(ValueError, match=rf"{table}, line 4: {name} appears twice, first in line 2"):
        next(reader(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a JSON list of objects"),
        ('\n\n{"a": 1}', "line 3: expected a JSON list of objects"),
        ('[{"a": 1},\n 7]', "line 2: expected an object, got 7"),
        ('[{"a": 1},\n{"a": }]', "line 2: no JSON"),
        ('[{"a": 1}\n{"a": 2}]', "line 2: the list has no end, or a comma is missing"),
        ('[{"a": 1},\n{"a": 2}', "the list has no end"),
        ('[{"a": 1}]\n\nmore', "line 3: something follows the list"),
        ('[{"a": 1},\n]', "line 2: no JSON"),
        ("[" * 100_000, "line 1: no JSON|expected an object"),
    ],
)
def test_a_damaged_json_list_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(ValueError, match=rf"list.json, .*{message}"):
        list(read_json_list(tmp_path / "list.json"))


def test_a_json_list_of_other_bytes_is_refused_with_its_line(tmp_path):
    (tmp_path / "list.json").write_bytes(b'[{"a": 1},\n{"a": "\xff"}]')
    with pytest.raises(ValueError, match=r"list\.json, line 2: not UTF-8 text"):
        list(read_json_list(tmp_path / "list.json"))


def test_an_empty_list_is_refused(tmp_path):
    write_set(tmp_path, "is3")
    write_json(tmp_path / "IS3_annotation.json", [])
    with pytest.raises(ValueError, match=r"IS3_annotation\.json lists no sample"):
        next(is3(tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("abcdefghij0_000030,abcdefghij1_000031", "line 2: expected video,audio,non-sounding"),
        ("abcdefghij0_000030,abcdefghij1_000031,sounding", "line 2: expected video,audio,non-sounding"),
        ("../x,abcdefghij1_000031,non-sounding", r"line 2: '\.\./x' is no name of a clip"),
    ],
)
def test_a_silent_pair_of_another_form_is_refused(tmp_path, row, message):
    write_set(tmp_path, "vggss-extended")
    (tmp_path / "vggss_test_plus_silent.csv").write_text(f"video,audio,label\n{row}\n")
    with pytest.raises(ValueError, match=message):
        next(vggss_extended(tmp_path))


def test_a_subset_with_a_strange_name_is_refused(tmp_path):
    write_set(tmp_path, "vggss")
    (tmp_path / "subset.txt").write_text("abcdefghij1_000031\nabcdefghij9_000039\n")
    with pytest.raises(ValueError, match=r"subset.txt, line 2: 'abcdefghij9_000039' is not in vggss.json"):
        next(vggss(tmp_path, subset=tmp_path / "subset.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<bbox><id>0</id>", "line 2: no XML"),
        (
            "<annotation>\n<p><bbox><id>0</id><a>1</a><a>2</a><a>3</a></bbox></p></annotation>",
            "line 2: a box must be four",
        ),
        ("<a>\n<bbox><i/><x>1</x><x>2</x><x>3</x><x>wide</x></bbox></a>", "line 2: a box must be four numbers"),
        ("<a><bbox><i/><x>1</x><x>2</x><x>3</x><x>257</x></bbox></a>", "whole numbers from 0 to 256"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>\n<a/>', "line 1: a document type is refused"),
    ],
)
def test_a_damaged_annotation_of_flickr_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "1.xml").write_text(text)
    with pytest.raises(ValueError, match=rf"1.xml, .*{message}"):
        read_flickr_boxes(tmp_path / "1.xml")


def test_an_annotation_of_flickr_without_boxes_is_refused(tmp_path):
    write_set(tmp_path, "flickr")
    (tmp_path / "Annotations/10001.xml").write_text("<annotation/>")
    with pytest.raises(ValueError, match=r"10001.xml, line 1: there is no `bbox`"):
        next(flickr_soundnet(tmp_path))


@pytest.mark.parametrize("row", ["../../etc/passwd,1", "x,1"])
def test_a_line_of_flickr_that_names_no_video_is_refused(tmp_path, row):
    write_set(tmp_path, "flickr")
    (tmp_path / "flickr_test.csv").write_text(f"10000,1\n{row}\n")
    with pytest.raises(ValueError, match=r"flickr_test\.csv, line 2: expected the number of a video first"):
        next(flickr_soundnet(tmp_path))
