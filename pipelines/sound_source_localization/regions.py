"""Connected regions of a mask, and their boxes."""

import numpy as np

Box = tuple[int, int, int, int]


def find_boxes(mask: np.ndarray, heat: np.ndarray) -> list[Box]:
    """Boxes of the regions of a mask, the hottest first; pixels of one region touch along edges.

    Args:
        mask: (height, width) bool.
        heat: (height, width); a region is as hot as its hottest pixel. Of equally hot ones the larger comes first.

    Returns:
        (x1, y1, x2, y2) in pixels; x2 and y2 lie one behind the last pixel.
    """
    height, width = mask.shape
    framed = np.zeros((height, width + 2), np.int8)
    framed[:, 1:-1] = mask
    steps = np.diff(framed, axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    if not len(rows):
        return []
    # The hottest pixel of each run; the element behind the last pixel keeps the last index in range.
    edges = np.stack([rows * width + starts, rows * width + stops], axis=1).ravel()
    hottest = np.maximum.reduceat(np.append(heat.ravel(), -np.inf), edges)[::2]
    _, labels = np.unique(_join_runs(rows, starts, stops), return_inverse=True)
    count = labels.max() + 1
    box, heats = np.empty((count, 4), np.int64), np.full(count, -np.inf)
    box[:, :2], box[:, 2:] = max(height, width), 0
    np.minimum.at(box[:, 0], labels, starts)
    np.minimum.at(box[:, 1], labels, rows)
    np.maximum.at(box[:, 2], labels, stops)
    np.maximum.at(box[:, 3], labels, rows + 1)
    np.maximum.at(heats, labels, hottest)
    areas = np.bincount(labels, stops - starts)
    order = np.lexsort((box[:, 0], box[:, 1], -areas, -heats))
    return [tuple(row) for row in box[order].tolist()]


def _join_runs(rows: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A number for each run of pixels in a row, equal for those of one region; runs are in reading order."""
    parents = list(range(len(rows)))

    def find_root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    begins = np.searchsorted(rows, np.arange(rows[-1] + 2)).tolist()  # first run of each row
    starts, stops = starts.tolist(), stops.tolist()
    for row in range(len(begins) - 2):
        above, below = begins[row], begins[row + 1]
        while above < begins[row + 1] and below < begins[row + 2]:
            if starts[above] < stops[below] and starts[below] < stops[above]:
                parents[find_root(below)] = find_root(above)
            if stops[above] < stops[below]:
                above += 1
            else:
                below += 1
    return np.array([find_root(run) for run in range(len(parents))])


__all__ = ["Box", "find_boxes"]
