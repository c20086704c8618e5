"""Fit the weights of the drawn-face detector and write them beside its module. Takes about 15 s.

    python -m avzoo.toyworld.fit_face_detector

To be run again when the drawing of faces or the features of the detector change. The same seed gives the same weights.
"""

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from avzoo.files import write_atomically
from avzoo.video.drawn_faces import (
    CELL,
    CELLS,
    CONTEXT,
    SIDE,
    STEP,
    WEIGHTS_FILE,
    compute_features,
    compute_pyramid,
    gather_features,
    locate_windows,
    score_windows,
)

from .drawing.backgrounds import textured_background
from .drawing.canvas import Canvas, Generator, camera_noise, expose, illumination
from .drawing.faces import Expression, Pose, draw_face, face_box, random_face
from .drawing.visemes import VISEMES

_PICTURES, _PICTURE_SIZE, _VIEWS = 800, 128, 3
_SEARCHED_PICTURES, _HARD_NEGATIVES = 400, 8000
_STRENGTH = 3.0  # of the ridge


def fit_face_detector() -> np.ndarray:
    """Draw faces with a fixed seed and fit the weights of the detector to them.

    Returns:
        (features of a window, 5) float32: the weights of the score, then of the centre (x, y), width and height of the
        box, as shares of the window.
    """
    generator = np.random.default_rng(2011)
    pictures = [_draw_picture(generator) for _ in range(_PICTURES)]
    faces, offsets, others = [], [], []
    for picture, box in pictures:
        image = _pad_picture(picture)
        for _ in range(_VIEWS):
            window = _sample_window_on(box, generator)
            faces.append(_compute_window_features(image, window))
            offsets.append(_encode_box(window, box))
        for _ in range(2 * _VIEWS):
            others.append(_compute_window_features(image, _sample_window_off(box, generator)))
    faces, offsets, others = np.stack(faces), np.array(offsets), np.stack(others)
    weights = _solve_weights(faces, offsets, others)
    # Hard negatives: false positives of the first fit are what the second learns most from.
    searched = pictures[:_SEARCHED_PICTURES]
    negatives = np.concatenate([_find_false_positives(picture, box, weights) for picture, box in searched])
    hardest = np.argsort(-(negatives @ weights[:, 0]), kind="stable")[:_HARD_NEGATIVES]
    return _solve_weights(faces, offsets, np.concatenate([others, negatives[hardest]]))


def _draw_picture(generator: Generator) -> tuple[np.ndarray, np.ndarray]:
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


def _sample_window_on(box: np.ndarray, generator: Generator) -> tuple[float, float, float]:
    """A window (left, top, side) around the box, a little off in place and size."""
    side = CONTEXT * (box[3] - box[1]) * STEP ** generator.uniform(-0.6, 0.6)
    shift = generator.uniform(-0.06, 0.06, 2) * side
    return (box[0] + box[2] - side) / 2 + shift[0], (box[1] + box[3] - side) / 2 + shift[1], side


def _sample_window_off(box: np.ndarray, generator: Generator) -> tuple[float, float, float]:
    """A window (left, top, side) of the picture that does not show the face as a whole."""
    while True:
        side = generator.uniform(20, 90)
        left, top = generator.uniform(-0.15 * _PICTURE_SIZE, 1.15 * _PICTURE_SIZE - side, 2)
        if _measure_overlap(np.array([[left, top, side]]), box)[0] < 0.4:
            return left, top, side


def _encode_box(window: tuple[float, float, float], box: np.ndarray) -> list[float]:
    """Centre (x, y) from that of the window, width and height of the box, as shares of the window."""
    left, top, side = window
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return [
        (centre_x - left) / side - 0.5,
        (centre_y - top) / side - 0.5,
        (box[2] - box[0]) / side,
        (box[3] - box[1]) / side,
    ]


def _measure_overlap(windows: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of each window and the window that would suit the box."""
    side = CONTEXT * (box[3] - box[1])
    suited = np.array([(box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2])
    shared = np.minimum(windows[:, :2] + windows[:, 2:], suited + side) - np.maximum(windows[:, :2], suited)
    area = np.prod(np.maximum(shared, 0), axis=1)
    return area / (windows[:, 2] ** 2 + side**2 - area)


def _pad_picture(picture: np.ndarray) -> Image.Image:
    """The picture with half a picture of its edges' colours around."""
    margin = _PICTURE_SIZE // 2
    return Image.fromarray(np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="edge"))


def _compute_window_features(image: Image.Image, window: tuple[float, float, float]) -> np.ndarray:
    """(features,) of one window, the cells around it taken into account."""
    left, top, side = window
    border, margin = side / CELLS, _PICTURE_SIZE // 2
    box = (left - border + margin, top - border + margin, left + side + border + margin, top + side + border + margin)
    cut = image.resize((SIDE + 2 * CELL,) * 2, Image.Resampling.BILINEAR, box=box)
    return compute_features(cut)[1:-1, 1:-1].transpose(2, 0, 1).ravel()


def _find_false_positives(picture: np.ndarray, box: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Features of the windows that look like faces and lie elsewhere."""
    found = []
    for cells, corner, scale in compute_pyramid(picture, 18.0):
        places = np.argwhere(score_windows(cells, weights) > -0.3)
        elsewhere = _measure_overlap(locate_windows(places, corner, scale), box) < 0.4
        found.append(gather_features(places[elsewhere], cells))
    return np.concatenate(found)


def _solve_weights(faces: np.ndarray, offsets: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Ridge regression: of +1 and -1 on all windows, of the offsets on the faces."""

    def solve(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        inputs = inputs.astype(np.float64)
        return np.linalg.solve(inputs.T @ inputs + _STRENGTH * np.eye(inputs.shape[1]), inputs.T @ targets)

    signs = np.concatenate([np.ones(len(faces)), -np.ones(len(others))])
    score = solve(np.concatenate([faces, others]), signs[:, None])
    return np.concatenate([score, solve(faces, offsets)], axis=1).astype(np.float32)


def main() -> None:
    """Write the file of weights."""
    with write_atomically(WEIGHTS_FILE) as unfinished:
        save_file({"weights": fit_face_detector()}, unfinished)


if __name__ == "__main__":
    main()
