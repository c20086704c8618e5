"""Plot of offset curves, and of offset and confidence over time."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avzoo.files import write_atomically


def plot_offsets(records: list[Mapping[str, Any]], path: str | os.PathLike) -> Path:
    """Plot the mean logit of each face over offsets; below it, offset and confidence over time.

    Args:
        records: of one video, with windows.
        path: of the picture, .png, .pdf or .svg; written atomically.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no record has a curve.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib.") from error
    plotted = [record for record in records if record["curve"]]
    if not plotted:
        raise ValueError("`records` has no curve to plot: no face was compared with sound.")
    figure = Figure(figsize=(9, 8), layout="constrained")
    curves, offsets, confidences = figure.subplots(3, 1, height_ratios=[2, 1, 1])
    for number, record in enumerate(plotted):
        colour, name = f"C{number % 10}", f"face {record['track_id']}: {record['label']}"
        points = [(offset, value) for offset, value in record["curve"].items() if value is not None]
        curves.plot(*zip(*points, strict=True), color=colour, marker=".", label=name)
        if record["offset_frames"] is not None:
            curves.axvline(record["offset_frames"], color=colour, linestyle=":")
        windows = record.get("windows", [])
        times = [window["start"] for window in windows]
        offsets.plot(times, [window["offset_frames"] for window in windows], ".", color=colour)
        confidences.plot(times, [window["confidence"] for window in windows], color=colour)
    curves.set(xlabel="offset (frames of 40 ms), positive: the sound is early", ylabel="mean logit")
    curves.legend()
    offsets.set(ylabel="offset (frames)")
    confidences.set(ylabel="confidence", xlabel="time (s)")
    for axis in (curves, offsets, confidences):
        axis.grid(alpha=0.3)
    with write_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    return Path(path)


__all__ = ["plot_offsets"]
