"""Scores of who is speaking, against numbers done by hand, the official script's, and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from avzoo.metrics import (
    COLUMBIA_PEOPLE,
    asw_scores,
    ava_average_precision,
    columbia_f1,
    equal_error_rate,
    match_ava,
    read_ava_csv,
    read_columbia_labels,
)

OFFICIAL = Path(__file__).parents[1] / "golden" / "cases" / "talknce" / "ava_map"
HEADER = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id"
BOX = "0.1,0.2,0.3,0.4"
ENTITY = "_madeUpVid1_0900_0960:1"


# --- AVA's average precision --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ((4, 3, 2, 1), (1, 1, 0, 0), 100),
        ((4, 3, 2, 1), (0, 0, 0, 1), 100 / 4),
        ((7,), (1,), 100),
        # Precision at the hits is 1/1 and 2/3, which already falls.
        ((0.9, 0.8, 0.7, 0.6), (1, 0, 1, 0), 100 * (1 + 2 / 3) / 2),
        ((0.6, 0.7, 0.8, 0.9), (0, 1, 0, 1), 100 * (1 + 2 / 3) / 2),  # the order of the rows does not count
        # At the hits 1/2 and 2/3: the first is raised to the second.
        ((4, 3, 2, 1), (0, 1, 1, 0), 100 * 2 / 3),
        # 1/1, then 2/4, 3/5 and 4/6: both in the middle are raised to the last.
        ((9, 8, 7, 6, 5, 4), (1, 0, 0, 1, 1, 1), 100 * (1 + 3 * 4 / 6) / 4),
        # Ties stay as given.
        ((5, 5), (1, 0), 100),
        ((5, 5), (0, 1), 50),
    ],
)
def test_average_precision_by_hand(scores, labels, expected):
    assert ava_average_precision(scores, labels) == pytest.approx(expected, rel=1e-15)


def test_average_precision_of_the_official_script():
    """What `run_evaluation` of kaistmm/TalkNCE@8666642 returns for these files; scikit-learn's would be 82.21."""
    assert ava_average_precision(
        *match_ava(OFFICIAL / "groundtruth.csv", OFFICIAL / "predictions.csv")
    ) == pytest.approx(82.53969507001526, rel=1e-12)


@pytest.mark.parametrize("metric", [ava_average_precision, asw_scores, equal_error_rate])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ((), (), r"not empty, got \(0,\)"),
        ((1, 2), (1,), r"got \(2,\) and \(1,\)"),
        (((1, 2),), ((0, 1),), r"got \(1, 2\)"),
        ((1, np.nan, np.inf), (1, 0, 1), "`scores` holds 2 values that are NaN or infinite"),
        ((1, 2), (1, 2), "`labels` must hold 0 and 1 only"),
        ((1, 2), (0, 0), "`labels`: (none of the 2 rows is 1|all 2 are 0)"),
    ],
)
def test_a_meaningless_score_is_refused(metric, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)


# --- AVA's files --------------------------------------------------------------------------------------------------


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def truth_line(timestamp, label, entity=ENTITY, box=BOX):
    return f"{entity[:11]},{timestamp},{box},{label},{entity}"


def guess_line(timestamp, score, entity=ENTITY, box=BOX):
    return f"{truth_line(timestamp, 'SPEAKING_AUDIBLE', entity, box)},{score}"


@pytest.fixture
def truth(tmp_path):
    lines = [truth_line("1.0", "NOT_SPEAKING"), truth_line("1.04", "SPEAKING_AUDIBLE")]
    return write(tmp_path / "truth.csv", *lines, truth_line("1.08", "SPEAKING_NOT_AUDIBLE"))


GUESSES = [guess_line("1.08", 0.3), guess_line("1.00", 0.1), guess_line("1.04", 0.2)]


def test_rows_are_joined_by_frame_in_the_order_of_the_truth(truth, tmp_path):
    guess = write(tmp_path / "guess.csv", f"{HEADER},score", *GUESSES)  # one with a header and one without
    scores, labels = match_ava(truth, guess)
    assert scores.tolist() == [0.1, 0.2, 0.3]  # "1.0" and "1.00" are one moment
    assert labels.tolist() == [0, 1, 0]  # speaking inaudibly is no positive
    assert ava_average_precision(scores, labels) == 50


def test_columns_go_by_the_header_where_there_is_one(tmp_path):
    path = write(
        tmp_path / "t.csv",
        "label,more,entity_id,video_id,frame_timestamp,entity_box_y2,entity_box_x2,entity_box_y1,entity_box_x1",
        f'NOT_SPEAKING,"a, b",{ENTITY},{ENTITY[:11]},7.5,0.4,0.3,0.2,0.1',
        "",
    )
    rows = read_ava_csv(path)
    assert (len(rows), rows.lines.tolist(), rows.timestamps.tolist()) == (1, [2], [7.5])
    assert rows.boxes.tolist() == [[0.1, 0.2, 0.3, 0.4]]
    assert (rows.entity_ids, rows.labels, rows.scores) == ([ENTITY], ["NOT_SPEAKING"], None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (GUESSES[:2], r"truth\.csv, line 2: the frame at 1\.04 s of _madeUp.* is not in .*guess\.csv.*1 of 3"),
        (
            [*GUESSES, guess_line("1.12", 0)],
            r"guess\.csv, line 4: the frame at 1\.12 s .* is not in .*truth\.csv.*1 of 4",
        ),
        # As many rows in both: the official script would score the two that match.
        ([*GUESSES[:2], guess_line("9.0", 0)], r"guess\.csv, line 3: the frame at 9\.0 s"),
        ([*GUESSES, GUESSES[0]], r"guess\.csv, line 4: the frame at 1\.08 s .* appears twice, first in line 1"),
        (
            [*GUESSES[:2], guess_line("1.04", 0, box="0.1,0.2,0.3,0.40000001")],
            r"guess\.csv, line 3: the box .*0\.40000001\] is not that of .*truth\.csv, line 2, .*1 of 3 boxes",
        ),
        ([truth_line("1.0", "NOT_SPEAKING") + ",0.5"], r"line 1: `label` must be SPEAKING_AUDIBLE, got 'NOT_SPEAKING'"),
        ([GUESSES[0], guess_line("1.0", "nan")], r"line 2: NaN or infinite numbers, .*nan"),
        ([GUESSES[0], guess_line("1.0", "")], r"line 2: expected numbers, got '1\.0,0\.1,0\.2,0\.3,0\.4,'"),
        ([truth_line("1.0", "SPEAKING_AUDIBLE")], r"line 1: expected 9 fields .* or a header, got 8"),
        ([f"{HEADER}", truth_line("1.0", "SPEAKING_AUDIBLE")], r"line 1: the header must have score once"),
        ([GUESSES[0], GUESSES[1] + ",1"], r"line 2: expected 9 fields, got 10"),
        ([GUESSES[0], '"' + GUESSES[1]], r"guess\.csv, line 2: unexpected end of data"),
        ([""], r"guess\.csv holds no rows"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_by_file_and_line(truth, tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        match_ava(truth, write(tmp_path / "guess.csv", *lines))


def test_boxes_may_differ_by_rounding(truth, tmp_path):
    near = [line.replace(BOX, "0.1,0.2,0.3,0.4000000001") for line in GUESSES]
    assert match_ava(truth, write(tmp_path / "guess.csv", *near))[0].tolist() == [0.1, 0.2, 0.3]


def test_unknown_labels_and_strange_bytes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv, line 1: `label` must be NOT_SPEAKING or .*, got 'speaking'"):
        read_ava_csv(write(tmp_path / "t.csv", truth_line("1.0", "speaking")))
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"t\.csv, after line 0: not UTF-8"):
        read_ava_csv(tmp_path / "t.csv")


# --- Columbia -----------------------------------------------------------------------------------------------------


def person(*rows):
    return np.array(rows)


# The square from (10, 10) to (30, 30) in half-size pixels is (20, 20, 60, 60) in the video.
SEEN = (20, 20, 60, 60)


def bell(labels, frames, boxes, scores, **options):
    return columbia_f1({"bell": labels}, frames, boxes, scores, people=["bell"], **options)["bell"]


def test_columbia_by_hand():
    # Four labelled frames, 0, 1, 2 and 3 at 25 per second: hit, missed, false alarm, rightly silent. F1 = 2/(2+1+1).
    labels = person((0, 10, 10, 20, 1), (2, 10, 10, 20, 1), (3, 10, 10, 20, 0), (4, 10, 10, 20, 0))
    assert [int(frame / 29.97 * 25) for frame in (0, 2, 3, 4)] == [0, 1, 2, 3]
    assert bell(labels, [0, 1, 2, 3], [SEEN] * 4, [1.0, -1.0, 2.0, -0.5]) == 50


def test_the_mean_is_over_the_five_people_without_abbas():
    labels = {name: person((0, 10, 10, 20, 1)) for name in (*COLUMBIA_PEOPLE, "abbas")}
    labels["sick"] = person((0, 200, 10, 20, 1))  # nobody is found there
    result = columbia_f1(labels, [0], [SEEN], [1.0])
    assert result == {"bell": 100, "boll": 100, "lieb": 100, "long": 100, "sick": 0, "mean": 80}


@pytest.mark.parametrize(
    ("box", "f1"),
    [
        ((20, 20, 60, 60), 100),
        ((10, 10, 20, 20), 0),  # (5, 5, 10, 10) in half the pixels, and so beside the face
        ((30, 30, 40, 40), 100),  # a small box inside: all of it is common, although of the union 1/16 is
        ((-20, 20, 60, 60), 0),  # half of it, 400 of 800, which is not more than half
        ((-19, 20, 60, 60), 0),  # -19 // 2 is -10: rounded down
        ((-17, 20, 60, 60), 100),  # -9, so 400 of 780
        ((20, 20, 20, 60), 0),  # no area
    ],
)
def test_a_found_face_must_lie_on_the_labelled_one_by_more_than_half_of_itself(box, f1):
    assert bell(person((0, 10, 10, 20, 1)), [0], [box], [1.0]) == f1


def test_the_face_of_most_overlap_decides_and_then_the_higher_score():
    labels = person((0, 10, 10, 20, 1))
    assert bell(labels, [0, 0], [(16, 20, 56, 60), SEEN], [-1.0, 1.0]) == 100
    assert bell(labels, [0, 0], [SEEN, (16, 20, 56, 60)], [-1.0, 1.0]) == 0
    assert bell(labels, [0, 0], [SEEN, SEEN], [-1.0, 1.0]) == 100


def test_scores_are_rounded_to_two_decimals_before_the_threshold():
    labels = person((0, 10, 10, 20, 1))
    assert bell(labels, [0], [SEEN], [0.004]) == 0
    assert bell(labels, [0], [SEEN], [0.006]) == 100


def test_labels_after_the_video_do_not_count():
    labels = person((0, 10, 10, 20, 1), (30, 10, 10, 20, 1))
    assert bell(labels, [0], [SEEN], [1.0]) == pytest.approx(100 * 2 / 3)
    assert bell(labels, [0], [SEEN], [1.0], num_frames=25) == 100


def test_a_video_without_found_faces_scores_0():
    assert bell(person((0, 10, 10, 20, 1)), [], [], []) == 0


@pytest.mark.parametrize(
    ("labels", "frames", "boxes", "scores", "message"),
    [
        ({}, [0], [SEEN], [1.0], "`labels` lacks bell"),
        ({"bell": person((0, 10, 10, 20, 0))}, [0], [SEEN], [1.0], "bell speaks in no frame"),
        ({"bell": []}, [0], [SEEN], [1.0], "bell speaks in no frame"),
        ({}, [0, 1], [SEEN], [1.0], r"got \(2,\), \(1, 4\) and \(1,\)"),
        ({}, [0], [SEEN], [np.nan], "`scores` holds 1 NaN"),
        ({}, [0.5], [SEEN], [1.0], "`frames` must be whole numbers"),
        ({}, [-1], [SEEN], [1.0], "`frames` must be whole numbers from 0"),
    ],
)
def test_bad_columbia_labels_or_predictions_are_refused(labels, frames, boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        columbia_f1(labels, frames, boxes, scores, people=["bell"])


def test_columbia_labels_are_read(tmp_path):
    write(tmp_path / "bell.txt", "2502\t267\t97\t94\t0", "", "2503\t267\t97\t94\t1\tmore")
    write(tmp_path / "abbas.txt", "1\t2\t3\t4\t1")
    labels = read_columbia_labels(tmp_path)
    assert list(labels) == ["abbas", "bell"]
    assert labels["bell"].tolist() == [[2502, 267, 97, 94, 0], [2503, 267, 97, 94, 1]]


@pytest.mark.parametrize(
    "line", ["1\t2\t3\t4", "1 2 3 4 1", "1\t2\t3\t4\t2", "1\t2\t3\t0\t1", "-1\t2\t3\t4\t1", "a\t2\t3\t4\t1"]
)
def test_malformed_columbia_labels_are_refused_by_file_and_line(tmp_path, line):
    write(tmp_path / "bell.txt", "1\t2\t3\t4\t1", line)
    with pytest.raises(ValueError, match=r"bell\.txt, line 2: expected"):
        read_columbia_labels(tmp_path)


def test_a_folder_without_columbia_labels_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no label files"):
        read_columbia_labels(tmp_path)


# --- ASW ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ((4, 3, 2, 1), (1, 1, 0, 0), 0),
        ((4, 3, 2, 1), (0, 0, 1, 1), 100),
        ((4, 3, 2, 1), (1, 0, 1, 0), 50),
        ((5, 5, 5), (1, 0, 0), 50),
        # Points (false accepts, false rejects): (0, 1), (0, 1/2), (1/3, 1/2), (1/3, 0), ...: equal at 1/3.
        ((5, 4, 3, 2, 1), (1, 0, 1, 0, 0), 100 / 3),
        # A tie of one positive and two negatives: from (0, 1/2) straight to (1, 0), which meets at 1/3.
        ((9, 5, 5, 5), (1, 1, 0, 0), 100 / 3),
    ],
)
def test_equal_error_rate_by_hand(scores, labels, expected):
    assert equal_error_rate(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_asw_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    scores = np.round(random.standard_normal(300) + labels, 1)  # with ties
    false_accepts, hits, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    grid = np.linspace(0, 1, 200001)
    crossing = grid[np.argmin(np.abs(1 - np.interp(grid, false_accepts, hits) - grid))]
    result = asw_scores(scores, labels)
    assert result["AP"] == pytest.approx(100 * sklearn_metrics.average_precision_score(labels, scores))
    assert result["AUROC"] == pytest.approx(100 * sklearn_metrics.roc_auc_score(labels, scores))
    assert result["EER"] == pytest.approx(100 * crossing, abs=1e-3)


def test_asw_needs_both_kinds_of_labels():
    with pytest.raises(ValueError, match="all 2 are 1; both 0 and 1 are needed"):
        asw_scores((1, 2), (1, 1))
