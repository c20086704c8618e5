"""A detector for drawn faces that needs no weights: it draws some, looks at them, and knows what to look for."""

import functools
from collections.abc import Iterator

import numpy as np
from PIL import Image

from avzoo.video.detection import Detections, check_frames, non_maximum_suppression

from .drawing.backgrounds import textured_background
from .drawing.canvas import Canvas, Generator, camera_noise, expose, illumination
from .drawing.faces import Expression, Pose, draw_face, face_box, random_face
from .drawing.visemes import VISEMES

_CELL = 4  # pixels of one cell of the histogram
_CELLS = 10  # cells along the window that is judged
_ORIENTATIONS = 8
_CONTEXT = 1.3  # side of the window / height of the face box
_STEP = 2 ** (1 / 3)  # from one size of faces to the next
_MARGIN = 0.12  # around the frame, in longer sides of it
_SIDE = _CELL * _CELLS
_PICTURES, _PICTURE_SIZE, _VIEWS = 200, 128, 3
_MISTAKEN_PICTURES, _MISTAKES = 60, 1500
_STRENGTH = 3.0  # of the ridge


class DrawnFaceDetector:
    """Finds the faces of `avzoo.toyworld`, and not much else: for real faces take a real detector.

    Made from drawings with a fixed seed, in a few seconds, once per process: histograms of gradients and mean colours
    on a grid of cells (Dalal and Triggs 2005), one linear function of them to tell faces from the rest, four more to
    say where the box lies.

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
        weights = _learned_weights()
        return [self._detect(frame, weights) for frame in check_frames(frames)]

    def _detect(self, frame: np.ndarray, weights: np.ndarray) -> Detections:
        windows, answers = [np.zeros((0, 3))], [np.zeros((0, weights.shape[1]))]
        for cells, corner, scale in _every_size(frame, self.min_size):
            places = np.argwhere(_scores(cells, weights) > self.score_threshold)
            windows.append(_windows_at(places, corner, scale))
            answers.append(_features_at(places, cells) @ weights)
        windows, answers = np.concatenate(windows), np.concatenate(answers)
        boxes = _boxes_of(windows, answers[:, 1:])
        kept = non_maximum_suppression(boxes, answers[:, 0], 0.3)
        return Detections(boxes[kept], answers[kept, 0])


def _features(image: Image.Image) -> np.ndarray:
    """A picture of whole cells to (rows, columns, channels) float32: gradients and colour of each cell."""
    grey = np.pad(np.asarray(image, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), 1, mode="edge")
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    orientation = (np.arctan2(down, across) * (_ORIENTATIONS / np.pi)).astype(int) % _ORIENTATIONS
    rows, columns = across.shape[0] // _CELL, across.shape[1] // _CELL
    cell = np.arange(rows).repeat(_CELL)[:, None] * columns + np.arange(columns).repeat(_CELL)
    histogram = np.bincount(
        (cell * _ORIENTATIONS + orientation).ravel(), np.hypot(across, down).ravel(), rows * columns * _ORIENTATIONS
    ).reshape(rows, columns, _ORIENTATIONS)
    # Relative to what is around, so that neither light nor contrast matters.
    energy = np.pad(np.square(histogram).sum(-1), 1, mode="edge")
    around = sum(energy[y : y + rows, x : x + columns] for y in range(3) for x in range(3))
    histogram = np.minimum(histogram / np.sqrt(around + 1600.0)[..., None], 0.5)
    colour = np.asarray(image.reduce(_CELL), np.float32)
    share = colour / (colour.sum(-1, keepdims=True) + 30.0) - 1 / 3
    return np.concatenate([histogram, 2 * share, np.ones((rows, columns, 1))], axis=-1).astype(np.float32)


def _every_size(frame: np.ndarray, min_size: float) -> Iterator[tuple[np.ndarray, float, float]]:
    """Cells of the frame at every size of faces: (rows, columns, channels), where they begin, pixels per pixel."""
    margin = round(_MARGIN * max(frame.shape[:2]))  # faces may reach beyond the frame
    padded = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    image = Image.fromarray(padded)
    side = _CONTEXT * min_size
    while side <= min(padded.shape[:2]):
        scale = side / _SIDE
        columns, rows = (int(extent / scale + 1e-6) // _CELL for extent in (image.width, image.height))
        box = (0, 0, columns * _CELL * scale, rows * _CELL * scale)
        yield (
            _features(image.resize((columns * _CELL, rows * _CELL), Image.Resampling.BILINEAR, box=box)),
            -margin,
            scale,
        )
        side *= _STEP


def _scores(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score of every window, by its first row and column of cells."""
    rows, columns, channels = cells.shape
    # First what each cell adds to the window that has it in each place, then the sum over places.
    by_place = weights[:, 0].reshape(channels, _CELLS * _CELLS).T @ cells.reshape(-1, channels).T
    by_place = by_place.reshape(_CELLS, _CELLS, rows, columns)
    scores = np.zeros((rows - _CELLS + 1, columns - _CELLS + 1), np.float32)
    for y in range(_CELLS):
        for x in range(_CELLS):
            scores += by_place[y, x, y : y + scores.shape[0], x : x + scores.shape[1]]
    return scores


def _windows_at(places: np.ndarray, corner: float, scale: float) -> np.ndarray:
    """Rows and columns of cells to left, top, side in pixels of the frame."""
    return np.concatenate(
        [places[:, ::-1] * (_CELL * scale) + corner, np.full((len(places), 1), _SIDE * scale)], axis=1
    )


def _features_at(places: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(windows, features), in the order of the weights: channel, row, column."""
    windows = np.lib.stride_tricks.sliding_window_view(cells, (_CELLS, _CELLS), axis=(0, 1))
    return windows[places[:, 0], places[:, 1]].reshape(len(places), cells.shape[2] * _CELLS**2)


def _boxes_of(windows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Windows (left, top, side) and where in them the box lies, (x, y, width, height) as shares, to boxes."""
    centre = windows[:, :2] + windows[:, 2:] * (0.5 + offsets[:, :2])
    half = windows[:, 2:] * np.maximum(offsets[:, 2:], 0.1) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _offsets_of(window: tuple[float, float, float], box: np.ndarray) -> list[float]:
    left, top, side = window
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return [
        (centre_x - left) / side - 0.5,
        (centre_y - top) / side - 0.5,
        (box[2] - box[0]) / side,
        (box[3] - box[1]) / side,
    ]


@functools.cache
def _learned_weights() -> np.ndarray:
    """(features of a window, 5): the score and where the box lies."""
    generator = np.random.default_rng(2011)
    pictures = [_picture(generator) for _ in range(_PICTURES)]
    faces, offsets, others = [], [], []
    for picture, box in pictures:
        image = _with_margin(picture)
        for _ in range(_VIEWS):
            window = _window_around(box, generator)
            faces.append(_window_features(image, window))
            offsets.append(_offsets_of(window, box))
        for _ in range(2 * _VIEWS):
            others.append(_window_features(image, _window_elsewhere(box, generator)))
    faces, offsets, others = np.stack(faces), np.array(offsets), np.stack(others)
    weights = _fitted(faces, offsets, others)
    # What it takes for faces now and are none is what it can learn most from.
    mistakes = np.concatenate([_mistaken(picture, box, weights) for picture, box in pictures[:_MISTAKEN_PICTURES]])
    worst = np.argsort(-(mistakes @ weights[:, 0]), kind="stable")[:_MISTAKES]
    return _fitted(faces, offsets, np.concatenate([others, mistakes[worst]]))


def _picture(generator: Generator) -> tuple[np.ndarray, np.ndarray]:
    """One face somewhere in front of something, and its box."""
    size = _PICTURE_SIZE
    canvas = Canvas(size, size, textured_background(generator, size, size))
    scale = generator.uniform(14, 42)
    x, y = generator.uniform(0.8 * scale, size - 0.8 * scale, 2)
    pose = Pose(x, y, scale, generator.normal(0, 5), generator.uniform(-1, 1), generator.uniform(-0.8, 0.8))
    lids, gaze_x, gaze_y = float(generator.random() < 0.15), *generator.uniform(-1, 1, 2)
    expression = Expression(lids, gaze_x, gaze_y, generator.uniform(-0.5, 1), generator.uniform(-1, 1))
    shape = list(VISEMES.values())[generator.integers(len(VISEMES))].shape
    face = random_face(generator)
    draw_face(canvas, face, pose, expression, shape)
    frame = expose(canvas.array(), illumination(generator, size, size))
    frame = camera_noise(frame[None], generator, generator.uniform(0.5, 5))[0]
    return frame, np.array(face_box(face, pose, shape.opening))


def _window_around(box: np.ndarray, generator: Generator) -> tuple[float, float, float]:
    side = _CONTEXT * (box[3] - box[1]) * _STEP ** generator.uniform(-0.6, 0.6)
    shift = generator.uniform(-0.06, 0.06, 2) * side
    return (box[0] + box[2] - side) / 2 + shift[0], (box[1] + box[3] - side) / 2 + shift[1], side


def _window_elsewhere(box: np.ndarray, generator: Generator) -> tuple[float, float, float]:
    while True:
        side = generator.uniform(20, 90)
        left, top = generator.uniform(-0.15 * _PICTURE_SIZE, 1.15 * _PICTURE_SIZE - side, 2)
        if _overlap(np.array([[left, top, side]]), box)[0] < 0.4:
            return left, top, side


def _overlap(windows: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of each window and the window that would suit the box."""
    side = _CONTEXT * (box[3] - box[1])
    suited = np.array([(box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2])
    shared = np.minimum(windows[:, :2] + windows[:, 2:], suited + side) - np.maximum(windows[:, :2], suited)
    area = np.prod(np.maximum(shared, 0), axis=1)
    return area / (windows[:, 2] ** 2 + side**2 - area)


def _with_margin(picture: np.ndarray) -> Image.Image:
    """The picture with half a picture of its edges' colours around."""
    margin = _PICTURE_SIZE // 2
    return Image.fromarray(np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="edge"))


def _window_features(image: Image.Image, window: tuple[float, float, float]) -> np.ndarray:
    """(features,) of one window, the cells around it taken into account."""
    left, top, side = window
    border, margin = side / _CELLS, _PICTURE_SIZE // 2
    box = (left - border + margin, top - border + margin, left + side + border + margin, top + side + border + margin)
    cut = image.resize((_SIDE + 2 * _CELL,) * 2, Image.Resampling.BILINEAR, box=box)
    return _features(cut)[1:-1, 1:-1].transpose(2, 0, 1).ravel()


def _mistaken(picture: np.ndarray, box: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Features of the windows that look like faces and lie elsewhere."""
    found = []
    for cells, corner, scale in _every_size(picture, 18.0):
        places = np.argwhere(_scores(cells, weights) > -0.3)
        elsewhere = _overlap(_windows_at(places, corner, scale), box) < 0.4
        found.append(_features_at(places[elsewhere], cells))
    return np.concatenate(found)


def _fitted(faces: np.ndarray, offsets: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Ridge regression: of +1 and -1 on all windows, of the offsets on the faces."""

    def solved(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        inputs = inputs.astype(np.float64)
        return np.linalg.solve(inputs.T @ inputs + _STRENGTH * np.eye(inputs.shape[1]), inputs.T @ targets)

    signs = np.concatenate([np.ones(len(faces)), -np.ones(len(others))])
    score = solved(np.concatenate([faces, others]), signs[:, None])
    return np.concatenate([score, solved(faces, offsets)], axis=1).astype(np.float32)
