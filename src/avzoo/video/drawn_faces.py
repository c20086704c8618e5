"""A detector of drawn faces, with its weights beside it."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from avzoo.video.detection import Detections, check_frames, non_maximum_suppression

TOYWORLD_COMMENT = "avzoo toyworld"  # start of the comment tag in toyworld's videos, which marks their faces as drawn
WEIGHTS_FILE = Path(__file__).with_suffix(".safetensors")

CELL = 3  # pixels of one cell of the histogram
CELLS = 10  # cells along the window that is judged
CONTEXT = 1.3  # side of the window / height of the face box
STEP = 2 ** (1 / 3)  # from one size of faces to the next
SIDE = CELL * CELLS
_ORIENTATIONS = 8  # a power of two
_MARGIN = 0.12  # around the frame, in longer sides of it
_CONTRAST = (10.0 * CELL) ** 2  # gradient energy of a cell below which its histogram fades


class DrawnFaceDetector:
    """Finds the faces of `avzoo.toyworld`, and not much else: for real faces take a real detector.

    Histograms of gradients and mean colours on a grid of cells (Dalal and Triggs 2005), one linear function of them to
    tell faces from the rest, four more to say where the box lies. The weights lie beside this module;
    `python -m avzoo.toyworld.fit_face_detector` fits them again.

    Args:
        score_threshold: faces below it are dropped; what looks like a drawn face scores about 1, the rest about -1.
        min_size: height of the smallest face box that is looked for, pixels.

    Raises:
        ValueError: `min_size` below 12.
    """

    def __init__(self, score_threshold: float = 0.2, min_size: float = 24.0):
        if min_size < 12:
            raise ValueError(f"`min_size` must be at least 12 pixels, got {min_size}; smaller faces are a blur.")
        self.score_threshold, self.min_size = score_threshold, min_size

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Faces of each frame, best first.

        Args:
            frames: (frames, height, width, 3) uint8 RGB.
        """
        weights = _load_weights()
        return [self._detect(frame, weights) for frame in check_frames(frames)]

    def _detect(self, frame: np.ndarray, weights: np.ndarray) -> Detections:
        windows, answers = [np.zeros((0, 3))], [np.zeros((0, weights.shape[1]))]
        for cells, corner, scale in compute_pyramid(frame, self.min_size):
            places = np.argwhere(score_windows(cells, weights) > self.score_threshold)
            windows.append(locate_windows(places, corner, scale))
            answers.append(gather_features(places, cells) @ weights)
        windows, answers = np.concatenate(windows), np.concatenate(answers)
        boxes = _decode_boxes(windows, answers[:, 1:])
        kept = non_maximum_suppression(boxes, answers[:, 0], 0.3)
        return Detections(boxes[kept], answers[kept, 0])


def compute_features(image: Image.Image) -> np.ndarray:
    """A picture of whole cells to (rows, columns, channels) float32: gradients and colour of each cell."""
    grey = np.pad(np.asarray(image, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), 1, mode="edge")
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    orientation = (np.arctan2(down, across) * (_ORIENTATIONS / np.pi)).astype(int) & (_ORIENTATIONS - 1)
    rows, columns = across.shape[0] // CELL, across.shape[1] // CELL
    cell = np.arange(rows).repeat(CELL)[:, None] * columns + np.arange(columns).repeat(CELL)
    histogram = np.bincount(
        (cell * _ORIENTATIONS + orientation).ravel(),
        np.sqrt(across**2 + down**2).ravel(),
        rows * columns * _ORIENTATIONS,
    ).reshape(rows, columns, _ORIENTATIONS)
    # Relative to what is around, so that neither light nor contrast matters.
    energy = np.pad(np.square(histogram).sum(-1), 1, mode="edge")
    around = sum(energy[y : y + rows, x : x + columns] for y in range(3) for x in range(3))
    histogram = np.minimum(histogram / np.sqrt(around + _CONTRAST)[..., None], 0.5)
    colour = np.asarray(image.reduce(CELL), np.float32)
    share = colour / (colour.sum(-1, keepdims=True) + 30.0) - 1 / 3
    return np.concatenate([histogram, 2 * share, np.ones((rows, columns, 1))], axis=-1).astype(np.float32)


def compute_pyramid(frame: np.ndarray, min_size: float) -> Iterator[tuple[np.ndarray, float, float]]:
    """Cells of the frame at every size of faces: (rows, columns, channels), where they begin, pixels per pixel."""
    margin = round(_MARGIN * max(frame.shape[:2]))  # faces may reach beyond the frame
    padded = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    image = Image.fromarray(padded)
    side = CONTEXT * min_size
    while side <= min(padded.shape[:2]):
        scale = side / SIDE
        columns, rows = (int(extent / scale + 1e-6) // CELL for extent in (image.width, image.height))
        box = (0, 0, columns * CELL * scale, rows * CELL * scale)
        yield (
            compute_features(image.resize((columns * CELL, rows * CELL), Image.Resampling.BILINEAR, box=box)),
            -margin,
            scale,
        )
        side *= STEP


def score_windows(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score of every window, by its first row and column of cells."""
    rows, columns, channels = cells.shape
    # First what each cell adds to the window that has it in each place, then the sum over places.
    by_place = weights[:, 0].reshape(channels, CELLS * CELLS).T @ cells.reshape(-1, channels).T
    by_place = by_place.reshape(CELLS, CELLS, rows, columns)
    scores = np.zeros((rows - CELLS + 1, columns - CELLS + 1), np.float32)
    for y in range(CELLS):
        for x in range(CELLS):
            scores += by_place[y, x, y : y + scores.shape[0], x : x + scores.shape[1]]
    return scores


def locate_windows(places: np.ndarray, corner: float, scale: float) -> np.ndarray:
    """Rows and columns of cells to left, top, side in pixels of the frame."""
    return np.concatenate([places[:, ::-1] * (CELL * scale) + corner, np.full((len(places), 1), SIDE * scale)], axis=1)


def gather_features(places: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(windows, features), in the order of the weights: channel, row, column."""
    windows = np.lib.stride_tricks.sliding_window_view(cells, (CELLS, CELLS), axis=(0, 1))
    return windows[places[:, 0], places[:, 1]].reshape(len(places), cells.shape[2] * CELLS**2)


def _decode_boxes(windows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Windows (left, top, side) and where in them the box lies, (x, y, width, height) as shares, to boxes."""
    centre = windows[:, :2] + windows[:, 2:] * (0.5 + offsets[:, :2])
    half = windows[:, 2:] * np.maximum(offsets[:, 2:], 0.1) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


@functools.cache
def _load_weights() -> np.ndarray:
    """(features of a window, 5): the score and where the box lies."""
    return load_file(WEIGHTS_FILE)["weights"]
