"""Detections, running a detector over a video, and YuNet with stand-ins for its network."""

import builtins
from pathlib import Path

import cv2
import numpy as np
import pytest

from avzoo.video import Detections, YuNetDetector, detect_faces
from avzoo.video.detection import non_maximum_suppression

# --- detections -------------------------------------------------------------------------------------------------------


def test_no_face_has_the_shapes_of_some():
    none = Detections.none()
    assert (len(none), none.boxes.shape, none.scores.shape, none.landmarks) == (0, (0, 4), (0,), None)
    assert Detections([]).boxes.shape == (0, 4)


def test_detections_without_scores_have_missing_ones():
    assert np.isnan(Detections([[0, 0, 1, 1]]).scores).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": [0, 0, 1, 1]}, r"`boxes` must be \(boxes, 4\): x1, y1, x2, y2 in pixels, got \(4,\)"),
        ({"boxes": [[0, 0, 1, np.nan]]}, "box 0 is .*expected finite pixels"),
        ({"boxes": [[0, 0, 1, 1], [50, 60, 20, 20]]}, "box 1 is .*x, y, width, height have to be converted"),
        ({"boxes": [[0, 0, 1, 1]], "scores": [1, 2]}, r"`scores` must be \(1,\), one for each box, got \(2,\)"),
        ({"boxes": [[0, 0, 1, 1]], "landmarks": np.zeros((1, 10))}, r"`landmarks` must be \(1, 5, 2\), got \(1, 10\)"),
    ],
)
def test_impossible_detections_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Detections(**fields)


# --- over a video -----------------------------------------------------------------------------------------------------


def numbered_frames(count):
    """Frames that hold their own number."""
    return np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 4, 6, 3), np.uint8)


class ReadsNumbers:
    """A detector whose score is the number that the frame holds."""

    def __init__(self):
        self.calls = []

    def __call__(self, frames):
        self.calls.append(len(frames))
        return [Detections([[0, 0, 2, 2]], [frame[0, 0, 0]]) for frame in frames]


@pytest.mark.parametrize("every", [1, 2, 5, 40])
@pytest.mark.parametrize("block_frames", [1, 3, 8, 32])
def test_each_nth_frame_is_looked_at_whatever_the_blocks(every, block_frames):
    frames = numbered_frames(32)
    blocks = (frames[start : start + block_frames] for start in range(0, 32, block_frames))
    found = detect_faces(blocks, ReadsNumbers(), every=every)
    assert len(found) == 32
    seen = {index: detections.scores.tolist() for index, detections in enumerate(found) if len(detections)}
    assert seen == {index: [index] for index in range(0, 32, every)}


def test_a_block_goes_to_the_detector_at_once():
    detector = ReadsNumbers()
    detect_faces(numbered_frames(32), detector, every=4)
    assert detector.calls == [8]


def test_a_video_without_frames_has_no_detections():
    assert detect_faces(iter([]), ReadsNumbers()) == []
    assert detect_faces(numbered_frames(0), ReadsNumbers()) == []


def test_bad_frames_options_or_results_are_refused():
    with pytest.raises(ValueError, match="`every` must be at least 1, got 0"):
        detect_faces(numbered_frames(3), ReadsNumbers(), every=0)
    with pytest.raises(ValueError, match="`detector` returned 1 results for 3 frames"):
        detect_faces(numbered_frames(3), lambda frames: [Detections.none()])
    with pytest.raises(TypeError, match=r"`frames` must be a uint8 array with values 0\.\.255, got float64"):
        detect_faces([numbered_frames(3) / 255], ReadsNumbers())
    with pytest.raises(ValueError, match=r"`frames` must be \(frames, height, width, 3\) RGB, got \(4, 6, 3\)"):
        detect_faces([numbered_frames(3)[0]], ReadsNumbers())


def test_of_boxes_that_overlap_the_best_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 4, 10, 14], [21, 0, 31, 10]], float)
    scores = [0.8, 0.9, 0.5, 0.7, 0.6]
    assert non_maximum_suppression(boxes, scores, 0.3).tolist() == [1, 4]
    assert non_maximum_suppression(boxes, scores, 0.4).tolist() == [1, 3, 4]
    assert non_maximum_suppression(boxes, scores, 0.99).tolist() == [1, 0, 3, 4, 2]
    assert non_maximum_suppression(np.zeros((0, 4)), [], 0.3).tolist() == []


# --- YuNet ------------------------------------------------------------------------------------------------------------


class StandIn:
    """What OpenCV's network does, with answers written in the pixels: red of the first row is the score in percent."""

    def __init__(self):
        self.sizes, self.frames = [], []

    def setInputSize(self, size):
        self.sizes.append(size)

    def detect(self, frame):
        assert frame.flags.c_contiguous
        assert frame.shape[1::-1] == self.sizes[-1]
        self.frames.append(frame)
        percents = [percent for percent in frame[0, :4, 2].tolist() if percent]  # BGR: red is last
        if not percents:
            return 1, None
        landmarks = [11, 12, 21, 22, 16, 17, 13, 27, 19, 28]
        return 1, np.array([[10, 10, 20, 30, *landmarks, percent / 100] for percent in percents], np.float32)


@pytest.fixture
def network(monkeypatch, tmp_path):
    stand_in = StandIn()
    stand_in.arguments = []
    monkeypatch.setattr(
        cv2.FaceDetectorYN, "create", lambda *arguments: stand_in.arguments.append(arguments) or stand_in
    )
    stand_in.path = tmp_path / "yunet.onnx"
    stand_in.path.write_bytes(b"weights")
    return stand_in


def frames_with_scores(*percents, size=(48, 64)):
    frames = np.zeros((len(percents), *size, 3), np.uint8)
    for frame, of_frame in zip(frames, percents, strict=True):
        frame[0, : len(of_frame), 0] = of_frame
    return frames


def test_yunets_rows_become_boxes_scores_and_landmarks(network):
    found = YuNetDetector(network.path, max_side=None)(frames_with_scores([80], [], [70, 90]))
    assert [len(detections) for detections in found] == [1, 0, 2]
    assert found[0].boxes.tolist() == [[10, 10, 30, 40]]
    np.testing.assert_allclose(found[0].scores, [0.8], rtol=1e-6)
    assert found[0].landmarks.tolist() == [[[11, 12], [21, 22], [16, 17], [13, 27], [19, 28]]]
    np.testing.assert_allclose(found[2].scores, [0.9, 0.7], rtol=1e-6)  # best first


def test_yunet_is_told_a_size_when_it_changes(network):
    detector = YuNetDetector(network.path)
    detector(frames_with_scores([80], [80]))
    detector(frames_with_scores([80]))
    detector(frames_with_scores([80], size=(30, 64)))
    assert network.sizes == [(64, 48), (64, 30)]


@pytest.mark.parametrize(
    ("size", "max_side", "small"),
    [((360, 640), 640, (640, 360)), ((1080, 1920), 640, (640, 360)), ((1919, 1079), 640, (360, 640))],
)
def test_large_frames_are_scaled_down_and_boxes_back(network, size, max_side, small):
    frames = frames_with_scores([], size=size)
    frames[0, :4] = (80, 0, 0)  # red
    detections = YuNetDetector(network.path, max_side=max_side)(frames)[0]
    assert network.sizes == [small]
    scale = np.array([size[1] / small[0], size[0] / small[1]])
    np.testing.assert_allclose(detections.boxes[0], np.array([10, 10, 30, 40]) * np.tile(scale, 2))
    np.testing.assert_allclose(detections.landmarks[0, 4], np.array([19, 28]) * scale)
    assert len(detections) == 4


def test_yunet_sees_what_opencv_would_scale(network):
    frame = np.random.default_rng(0).integers(0, 256, (90, 170, 3), dtype=np.uint8)
    YuNetDetector(network.path, max_side=100)(frame[None])
    assert np.array_equal(network.frames[0], cv2.resize(frame, (100, 53))[..., ::-1])


def test_yunet_takes_no_frames(network):
    assert YuNetDetector(network.path)(np.zeros((0, 48, 64, 3), np.uint8)) == []


def test_yunets_thresholds_are_passed_on(network):
    YuNetDetector(network.path, score_threshold=0.4, nms_threshold=0.2, max_faces=7)
    [(path, _, _, *settings)] = network.arguments
    assert (path, settings) == (str(network.path), [0.4, 0.2, 7])


# 4 kB with YuNet's inputs and outputs: the score of a block of 8 x 8 pixels is how much redder than green it
# is, its box is the block around its corner, and its landmarks lie on a diagonal 0, 8, 16, 24 and 32 pixels from there.
RED_BLOCKS = Path(__file__).parent / "red_blocks.onnx"


def test_opencv_runs_a_network_of_yunets_form():
    frames = np.zeros((3, 120, 160, 3), np.uint8)
    frames[0, 16:24, 40:48] = (255, 0, 0)
    frames[1, 16:24, 40:48] = (0, 0, 255)  # blue
    frames[2, 80:88, 8:16] = (230, 0, 0)
    frames[2, 40:48, 96:104] = (255, 0, 0)
    one, none, two = YuNetDetector(RED_BLOCKS)(frames)
    assert one.boxes.tolist() == [[36, 12, 44, 20]]
    assert one.landmarks.tolist() == [[[40, 20], [48, 28], [56, 36], [64, 44], [72, 52]]]
    assert len(none) == 0
    assert two.boxes.tolist() == [[92, 36, 100, 44], [4, 76, 12, 84]]
    np.testing.assert_allclose(two.scores, [1, 230 / 255], rtol=1e-6)


def test_opencv_runs_it_on_frames_of_every_size():
    detector = YuNetDetector(RED_BLOCKS, max_side=640)
    for height, width, factor in ((120, 160, 1), (77, 90, 1), (720, 1280, 2), (1280, 720, 2)):
        frame = np.zeros((1, height, width, 3), np.uint8)
        frame[0, 16 * factor : 24 * factor, 40 * factor : 48 * factor, 0] = 255
        assert (detector(frame)[0].boxes / factor).tolist() == [[36, 12, 44, 20]]


def test_scores_below_the_threshold_are_dropped():
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[0, 16:24, 40:48, 0] = 150
    assert len(YuNetDetector(RED_BLOCKS)(frame)[0]) == 0
    assert len(YuNetDetector(RED_BLOCKS, score_threshold=0.5)(frame)[0]) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"score_threshold": 1.5}, r"`score_threshold` must be in \[0, 1\], got 1.5"),
        ({"nms_threshold": -1}, r"`nms_threshold` must be in \[0, 1\], got -1"),
        ({"max_faces": 0}, "`max_faces` must be at least 1, got 0"),
        ({"max_side": 0}, "`max_side` must be at least 1, got 0"),
    ],
)
def test_a_bad_option_of_yunet_is_refused(network, option, message):
    with pytest.raises(ValueError, match=message):
        YuNetDetector(network.path, **option)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`model` .*nowhere\.onnx is no file"):
        YuNetDetector(tmp_path / "nowhere.onnx")
    with pytest.raises(FileNotFoundError, match="is no file"):
        YuNetDetector(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>quota exceeded</html>", bytes(5000)], ids=["empty", "page", "zeros"])
def test_a_damaged_model_is_refused(tmp_path, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"`model` .*yunet\.onnx can't be read by OpenCV .* face_detection_yunet_2026may"):
        YuNetDetector(path)


@pytest.mark.parametrize(
    ("version", "name"),
    [("4.13.0", "face_detection_yunet_2023mar.onnx"), ("5.0.0", "face_detection_yunet_2026may.onnx")],
)
def test_the_file_for_the_installed_opencv_is_downloaded_once(network, monkeypatch, version, name):
    asked = []
    monkeypatch.setattr(cv2, "__version__", version)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *what: asked.append(what) or str(network.path))
    assert YuNetDetector().model == network.path
    assert asked == [("opencv/face_detection_yunet", name)]


def test_a_failed_download_is_an_error_that_asks_for_a_model_path(monkeypatch):
    def no_route(*what):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_route)
    with pytest.raises(OSError, match=r"face_detection_yunet_.*can't be downloaded from .*pass its path as `model`"):
        YuNetDetector()


def test_a_missing_opencv_is_an_error_that_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without_opencv(name, *arguments, **options):
        if name == "cv2":
            raise ModuleNotFoundError("No module named 'cv2'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_opencv)
    with pytest.raises(ImportError, match=r"pip install opencv-python-headless"):
        YuNetDetector()


def test_an_old_opencv_is_refused(monkeypatch):
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    with pytest.raises(ImportError, match=r"has no YuNet; version 4\.8 or later is needed"):
        YuNetDetector()
