"""Face detection in single frames: detections, the detector protocol, and YuNet.

A detector only sees pixels. Boxes that you have already go around it: `avzoo.video.GivenBoxes`.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Detections:
    """Faces in one frame, in the detector's order.

    Args:
        boxes: (faces, 4) float64: x1, y1, x2, y2 in pixels of the frame; may reach beyond it.
        scores: (faces,) float64, higher is surer; the scale is the detector's. None: NaN for each.
        landmarks: (faces, 5, 2) float64, x and y of right eye, left eye, nose tip, right and left corner of the mouth
            ("right" as the person has it). None: the detector gives none.

    Raises:
        ValueError: shapes that don't fit each other, coordinates that are no numbers, x2 < x1 or y2 < y1.
    """

    boxes: np.ndarray
    scores: np.ndarray | None = None
    landmarks: np.ndarray | None = None

    def __post_init__(self):
        boxes = check_boxes(self.boxes, "`boxes`")
        scores = np.full(len(boxes), np.nan) if self.scores is None else np.asarray(self.scores, dtype=np.float64)
        if scores.shape != boxes.shape[:1]:
            raise ValueError(f"`scores` must be ({len(boxes)},), one for each box, got {scores.shape}.")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        if self.landmarks is not None:
            landmarks = np.asarray(self.landmarks, dtype=np.float64)
            if landmarks.shape != (len(boxes), 5, 2):
                raise ValueError(f"`landmarks` must be ({len(boxes)}, 5, 2), got {landmarks.shape}.")
            object.__setattr__(self, "landmarks", landmarks)

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def none(cls) -> "Detections":
        """Empty detections: a frame without a face, or one that was skipped."""
        return cls(np.zeros((0, 4)))


class FaceDetector(Protocol):
    """Anything that finds faces in frames: a model, a service, a function of yours."""

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Faces of each frame.

        Args:
            frames: (frames, height, width, 3) uint8 RGB.

        Returns:
            One `Detections` per frame, in order; frames without a face have an empty one.
        """
        ...


def check_boxes(boxes: Any, what: str) -> np.ndarray:
    """Check boxes and return them as (n, 4) float64.

    Raises:
        ValueError: another shape, NaN or infinite coordinates, x2 < x1 or y2 < y1; the message calls them `what`.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.shape == (0,):
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{what} must be (boxes, 4): x1, y1, x2, y2 in pixels, got {boxes.shape}.")
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{what}: box {first} is {boxes[first].tolist()}; expected finite pixels x1, y1, x2, y2 with x1 <= x2 and "
            "y1 <= y2. Boxes of the form x, y, width, height have to be converted first."
        )
    return boxes


def detect_faces(blocks: Iterable[np.ndarray], detector: FaceDetector, *, every: int = 1) -> list[Detections]:
    """Run a detector over a video, block by block, in memory bounded by the block.

    Args:
        blocks: (frames, height, width, 3) uint8 RGB each, as `avzoo.video.iter_video` yields them; one array of all
            frames is a block, too.
        detector: finds the faces of single frames.
        every: look at each n-th frame only, from the first. The others get no detections; the tracker fills such
            gaps by interpolation as long as its `max_gap` is at least `every`, and counts only frames that were
            looked at (5 or 10 save most of the time; the released models saw every frame).

    Returns:
        One `Detections` per frame of the video.

    Raises:
        ValueError: `every` below 1; a block of another shape; a detector that returns another number of frames.
        TypeError: a block that is not uint8.
    """
    if every < 1:
        raise ValueError(f"`every` must be at least 1, got {every}.")
    found: list[Detections] = []
    for frames in [blocks] if isinstance(blocks, np.ndarray) else blocks:
        frames = check_frames(frames)
        looked_at = range(-len(found) % every, len(frames), every)
        results = list(detector(frames[looked_at.start :: every])) if looked_at else []
        if len(results) != len(looked_at):
            raise ValueError(f"`detector` returned {len(results)} results for {len(looked_at)} frames.")
        of_block = [Detections.none() for _ in range(len(frames))]
        for index, result in zip(looked_at, results, strict=True):
            of_block[index] = result
        found += of_block
    return found


def check_frames(frames: Any) -> np.ndarray:
    """Check that frames are (frames, height, width, 3) uint8, and return them unchanged.

    Raises:
        TypeError: not a uint8 array. ValueError: another shape.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        what = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise TypeError(f"`frames` must be a uint8 array with values 0..255, got {what}.")
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"`frames` must be (frames, height, width, 3) RGB, got {frames.shape}.")
    return frames


class YuNetDetector:
    """YuNet through OpenCV: a face detector of 0.2 MB that runs in real time on one core.

    Facts from opencv/opencv_zoo (models/face_detection_yunet, MIT licence for model and weights) and "YuNet: A Tiny
    Millisecond-level Face Detector" (Machine Intelligence Research 2023). It finds faces of about 10 to 300 pixels, so
    larger frames are scaled down first; boxes and landmarks come back in pixels of the frame that was given.

    Needs OpenCV: `pip install opencv-python-headless`. The model is no part of that package: a file of yours, or one
    download from the Hub repository `opencv/face_detection_yunet`, which is then kept in the Hub's cache.

    Args:
        model: path of a YuNet ONNX file. None: the file made for the installed OpenCV, downloaded at first use.
        score_threshold: faces below it are dropped, 0..1.
        nms_threshold: of faces that overlap by more than this IoU the best one stays.
        max_faces: at most as many in a frame, the best ones.
        max_side: frames whose longer side exceeds it are scaled down to it, pixels. None: never. Measured on seven
            faces each in frames of 1920 x 1080: at 640 all of 60 pixels were found in 14 ms, at 960 all of 40 in 30
            ms, at 1920 all of 20 in 107 ms.
        min_track_score: mean score that a track needs, see [`avzoo.video.find_face_tracks`]. Faces that talk to a
            camera have 0.93 and more; fists and patterns that pass for a while less than 0.8.

    Raises:
        ImportError: OpenCV is not installed, or is older than 4.8.
        OSError: the model file is missing or damaged, or can't be downloaded.
        ValueError: a threshold out of its range.
    """

    REPOSITORY = "opencv/face_detection_yunet"
    # The network is the same. OpenCV 5 wants inputs of any size declared in the file, OpenCV 4 can't read that.
    FILES = {4: "face_detection_yunet_2023mar.onnx", 5: "face_detection_yunet_2026may.onnx"}

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        score_threshold: float = 0.7,
        nms_threshold: float = 0.3,
        max_faces: int = 5000,
        max_side: int | None = 960,
        min_track_score: float = 0.8,
    ):
        thresholds = {"score_threshold": score_threshold, "nms_threshold": nms_threshold}
        for name, value in (thresholds | {"min_track_score": min_track_score}).items():
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {value!r}.")
        for name, value in {"max_faces": max_faces, "max_side": max_side}.items():
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value!r}.")
        cv2 = _import_opencv()
        self.max_side, self.min_track_score = max_side, min_track_score
        self.model = self._download(cv2) if model is None else Path(model)
        if not self.model.is_file():
            raise FileNotFoundError(f"`model` {self.model} is no file; YuNet needs its ONNX file there.")
        try:
            with _quiet(cv2):
                # The size is set again for each size of frames that comes.
                self._network = cv2.FaceDetectorYN.create(
                    os.fspath(self.model), "", (320, 320), score_threshold, nms_threshold, max_faces
                )
        except cv2.error as error:
            raise OSError(
                f"`model` {self.model} can't be read by OpenCV {cv2.__version__}: it is damaged, no YuNet, or made for "
                f"another version (OpenCV 4: {self.FILES[4]}, OpenCV 5: {self.FILES[5]})."
            ) from error
        self._size: tuple[int, int] | None = None

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Faces of each frame, best first.

        Args:
            frames: (frames, height, width, 3) uint8 RGB.

        Returns:
            One `Detections` with landmarks per frame.
        """
        height, width = check_frames(frames).shape[1:3]
        if not len(frames) or not height or not width:
            return [Detections.none() for _ in frames]
        factor = 1.0 if self.max_side is None else min(1.0, self.max_side / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        if size != self._size:
            self._network.setInputSize(size)
            self._size = size
        scale = np.array([width / size[0], height / size[1]])  # not quite 1 / factor: sides are whole pixels
        return [self._detections(self._detect_rows(frame, size), scale) for frame in frames]

    def _detect_rows(self, frame: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
        small = _import_opencv().resize(frame, size)
        return self._network.detect(np.ascontiguousarray(small[..., ::-1]))[1]  # it takes BGR

    @staticmethod
    def _detections(rows: np.ndarray | None, scale: np.ndarray) -> Detections:
        """Rows of x, y, width, height, five landmarks (x, y), score."""
        if rows is None:
            return Detections.none()
        rows = np.asarray(rows, dtype=np.float64)
        corner, extent = rows[:, :2] * scale, rows[:, 2:4] * scale
        landmarks = rows[:, 4:14].reshape(-1, 5, 2) * scale
        best_first = np.argsort(-rows[:, 14], kind="stable")
        return Detections(
            np.concatenate([corner, corner + extent], axis=1)[best_first], rows[best_first, 14], landmarks[best_first]
        )

    def _download(self, cv2: Any) -> Path:
        from huggingface_hub import hf_hub_download

        name = self.FILES[5 if int(cv2.__version__.split(".")[0]) >= 5 else 4]
        try:
            return Path(hf_hub_download(self.REPOSITORY, name))
        except Exception as error:  # no network, a proxy, a renamed file: all have the same way out
            raise OSError(
                f"YuNet's file {name} can't be downloaded from https://huggingface.co/{self.REPOSITORY} "
                f"({type(error).__name__}). Fetch it (0.2 MB) where there is a network and pass its path as `model` "
                "(`detector_model` of pipelines, --detector-model), or give boxes of your own."
            ) from error


@contextlib.contextmanager
def _quiet(cv2: Any) -> Iterator[None]:
    """Inside, OpenCV writes no warnings to stderr."""
    logging = getattr(getattr(cv2, "utils", None), "logging", None)
    if logging is None:
        yield
        return
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def _import_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "YuNet runs in OpenCV, which is not installed: pip install opencv-python-headless. Without it, boxes of "
            "your own and S3FD work."
        ) from error
    if not hasattr(cv2, "FaceDetectorYN"):
        raise ImportError(
            f"OpenCV {cv2.__version__} has no YuNet; version 4.8 or later is needed: "
            "pip install -U opencv-python-headless."
        )
    return cv2


def non_maximum_suppression(boxes: np.ndarray, scores: Sequence[float] | np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes kept when each, best first, removes those with an IoU above `threshold`.

    Args:
        boxes: (n, 4) x1, y1, x2, y2. scores: (n,).

    Returns:
        Indices of those that stay, best first; of equal scores the one that comes later.
    """
    boxes = np.asarray(boxes)
    order = np.argsort(scores, kind="stable")[::-1]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        together = areas[rest] - common + areas[best]
        order = rest[common <= threshold * together]
    return np.array(kept, dtype=np.int64)


__all__ = ["Detections", "FaceDetector", "YuNetDetector", "detect_faces"]
