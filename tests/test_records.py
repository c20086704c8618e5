"""Records and their exports, written out by hand."""

import json
import os

import pytest

from avzoo.records import FORMATS, Records

HEADER = {
    "task": "audio-classification",
    "model": "toy",
    "source": "my dog.wav",
    "score": "probability",
    "device": "cpu",
    "dtype": "float32",
}
RECORDS = [
    {"start": 0.0, "end": 1.5, "label": "Dog, barking", "score": 0.75},
    {"start": 3661.25, "end": 3662.0, "label": "Glocke läutet", "score": 0.5, "track_id": "track 1"},
]


def records(*rows, **header):
    return Records(**{**HEADER, **header}, records=list(rows))


def test_json_keeps_header_and_every_field():
    text = records(*RECORDS).to_json()
    assert json.loads(text) == {"schema_version": 1, **HEADER, "origin": 0.0, "records": RECORDS}
    assert "läutet" in text
    assert text.endswith("}\n")


def test_csv_has_a_column_for_every_field_of_any_record():
    assert records(*RECORDS).to_csv() == (
        'start,end,label,score,track_id\n0.0,1.5,"Dog, barking",0.75,\n3661.25,3662.0,Glocke läutet,0.5,track 1\n'
    )


def test_rttm_names_tracks_where_there_are_some():
    assert records(*RECORDS).to_rttm() == (
        "SPEAKER my_dog 1 0.000 1.500 <NA> <NA> Dog,_barking 0.7500 <NA>\n"
        "SPEAKER my_dog 1 3661.250 0.750 <NA> <NA> track_1 0.5000 <NA>\n"
    )


def test_srt_counts_from_one_and_has_commas():
    assert records(*RECORDS).to_srt() == (
        "1\n00:00:00,000 --> 00:00:01,500\nDog, barking\n\n2\n01:01:01,250 --> 01:01:02,000\nGlocke läutet\n"
    )


def test_vtt_begins_with_its_name_and_has_points():
    assert records(*RECORDS).to_vtt() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nDog, barking\n\n01:01:01.250 --> 01:01:02.000\nGlocke läutet\n"
    )


def test_no_records_are_still_a_file_of_the_format():
    empty = records()
    assert json.loads(empty.to_json())["records"] == []
    assert empty.to_csv() == "start,end,label,score\n"
    assert empty.to_rttm() == ""
    assert empty.to_srt() == ""
    assert empty.to_vtt() == "WEBVTT\n\n"


def test_times_round_into_the_next_minute():
    record = {"start": 59.9996, "end": 3599.9999, "label": "a", "score": 1.0}
    assert "00:01:00,000 --> 01:00:00,000" in records(record).to_srt()


def test_a_record_without_its_fields_is_refused():
    with pytest.raises(ValueError, match=r"`records\[1\]` lacks end, score; it has start, label"):
        records(RECORDS[0], {"start": 0.0, "label": "a"})


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="`format` must be one of json, csv, rttm, srt, vtt, got 'xml'"):
        records().export("xml")


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_the_exported_text(format, tmp_path):
    path = records(*RECORDS).save(tmp_path / f"out.{format}")
    assert path.read_text(encoding="utf-8") == records(*RECORDS).export(format)
    assert os.listdir(tmp_path) == [f"out.{format}"]


def test_a_file_is_replaced_and_the_format_can_be_given(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    records(*RECORDS).save(path, "csv")
    assert path.read_text(encoding="utf-8") == records(*RECORDS).to_csv()


@pytest.mark.parametrize("format", ["json", "csv"])
def test_file_names_that_are_no_utf8_are_written(format, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    record = {"first": name, "second": "straße.jpg", "label": "image", "score": 0.5}
    path = Records("t", "m", name, "cosine", "cpu", "float32", [record]).save(tmp_path / f"out.{format}")
    if format == "json":
        assert json.loads(path.read_text(encoding="utf-8"))["records"] == [record]
    else:
        assert path.read_bytes().splitlines()[1] == b"caf\xe9.wav," + "straße.jpg,image,0.5".encode()


def test_an_ending_that_is_no_format_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="got 'txt'"):
        records().save(tmp_path / "out.txt")
    assert os.listdir(tmp_path) == []


def test_tables_within_a_record_are_for_json_only():
    nested = {"start": 0.0, "end": 1.0, "label": "a", "score": 1.0, "box": [1, 2, 3, 4]}
    records = [{**nested, "windows": [{"start": 0.0}], "curve": {1: 2.0}}, {**nested, "windows": [], "curve": {}}]
    written = Records("task", "model", "a.mp4", "logit", "cpu", "float32", records)
    assert written.to_csv().splitlines()[0] == "start,end,label,score,box"
    assert json.loads(written.to_json())["records"][0]["windows"] == [{"start": 0.0}]


# Comparisons of two recordings.

PAIRS = [
    {"first": "a.wav", "second": "b.wav", "label": "same speaker", "score": 0.75, "session_similarity": 0.5},
    {"first": "a.wav", "second": "c.wav", "label": "other speaker", "score": -0.25},
]


def test_comparisons_have_recordings_in_place_of_times():
    assert json.loads(records(*PAIRS).to_json())["records"] == PAIRS
    assert records(*PAIRS).to_csv() == (
        "first,second,label,score,session_similarity\n"
        "a.wav,b.wav,same speaker,0.75,0.5\na.wav,c.wav,other speaker,-0.25,\n"
    )


@pytest.mark.parametrize("format", ["rttm", "srt", "vtt"])
def test_formats_of_times_refuse_comparisons_and_write_nothing(format, tmp_path):
    with pytest.raises(ValueError, match=f"`format` '{format}' needs times; these records compare two recordings"):
        records(*PAIRS).save(tmp_path / f"out.{format}")
    assert os.listdir(tmp_path) == []


def test_a_comparison_without_its_fields_is_refused():
    with pytest.raises(ValueError, match=r"`records\[1\]` lacks second; it has first, label, score"):
        records(PAIRS[0], {"first": "a.wav", "label": "same speaker", "score": 1.0})
    with pytest.raises(ValueError, match=r"`records\[1\]` lacks first, second; it has start"):
        records(PAIRS[0], RECORDS[0])
    with pytest.raises(ValueError, match=r"`records\[1\]` lacks start, end; it has first"):
        records(RECORDS[0], PAIRS[0])


def test_what_other_programs_read_is_on_the_clock_of_the_file():
    """The first picture comes 2 s after the file's beginning."""
    made = records(*RECORDS, origin=2.0)
    assert json.loads(made.to_json())["origin"] == 2
    assert json.loads(made.to_json())["records"] == RECORDS
    assert made.to_srt().splitlines()[1] == "00:00:02,000 --> 00:00:03,500"
    assert made.to_vtt().splitlines()[2] == "00:00:02.000 --> 00:00:03.500"
    assert made.to_rttm().split()[3:5] == ["2.000", "1.500"]
    assert made.to_csv().splitlines()[1].startswith("2.0,3.5,")


def test_notes_are_in_the_header_of_json():
    header = {"schema_version": 1, **HEADER, "origin": 0.0, "notes": ["sound is missing at 3.00 s"]}
    assert json.loads(records(*RECORDS, notes=["sound is missing at 3.00 s"]).to_json()) == {
        **header,
        "records": RECORDS,
    }
