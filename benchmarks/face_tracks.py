"""Given boxes to tracks and crops: how many times faster than the video plays, one thread, and beside OpenCV.

    python benchmarks/face_tracks.py --seconds 20 --rounds 5

One face wanders over 640 x 360 frames at 25 per second; its boxes are given, so no detector runs. Each row tracks it
and cuts the crops that one family of networks takes. Beside it, the same crops by OpenCV, as the published scripts make
them (the whole frame is padded before a square is cut). Both sides give the same pixels, which is checked first. Shots
are found in the same frames, and a last table tracks the faces of ten crowded minutes. Times are CPU seconds of the
process, so that a busy machine counts little. Needs OpenCV (extra `faces`).
"""

import argparse
import statistics
import time

import cv2
import numpy as np
import torch

from avzoo.video import GivenBoxes, LowerFace, MouthHalf, TightFace, WholeFace, crop_track, detect_shots
from avzoo.video.tracking import median_filter

FPS, HEIGHT, WIDTH = 25, 360, 640


def wandering_boxes(num_frames: int, random: np.random.Generator) -> np.ndarray:
    """A face of about 120 pixels that moves a little in each frame and stays in the middle."""
    centres = [WIDTH / 2, HEIGHT / 2] + 40 * np.sin(np.arange(num_frames)[:, None] / [37, 53])
    centres += random.normal(0, 1, centres.shape)
    half = 60 + random.normal(0, 2, (num_frames, 1))
    return np.concatenate([centres - half, centres + half], axis=1)


def by_avzoo(convention):
    def crop(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        [track] = GivenBoxes(np.arange(len(frames)), boxes).tracks(len(frames))
        return crop_track(frames, track, convention)

    return crop


def published_squares(frames: np.ndarray, boxes: np.ndarray):
    x, y = (median_filter((boxes[:, axis] + boxes[:, axis + 2]) / 2, 13) for axis in (0, 1))
    halves = median_filter((boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2, 13)
    for frame, mx, my, half in zip(frames, x, y, halves, strict=True):
        border = int(half * 1.8)
        padded = np.pad(frame, ((border, border), (border, border), (0, 0)), constant_values=110)
        rows = slice(int(my + border - half), int(my + border + half * 1.8))
        columns = slice(int(mx + border - half * 1.4), int(mx + border + half * 1.4))
        yield cv2.resize(padded[rows, columns], (224, 224))


def tight_by_opencv(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    crops = []
    for frame, (x1, y1, x2, y2) in zip(frames, boxes.astype(int), strict=True):
        crops.append(cv2.resize(cv2.cvtColor(frame[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY), (112, 112)))
    return np.stack(crops)


def lower_by_opencv(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    squares = published_squares(frames, boxes)
    return np.stack([cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)[56:168, 56:168] for square in squares])


def whole_by_opencv(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    squares = published_squares(frames, boxes)
    return np.stack([cv2.resize(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), (112, 112)) for square in squares])


def mouth_by_opencv(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    crops = []
    for frame, (x1, y1, x2, y2) in zip(frames, boxes.astype(int), strict=True):
        crops.append(cv2.resize(frame[y1:y2, x1:x2], (96, 96))[48:])
    return np.stack(crops)


CONTENDERS = {
    "TightFace (LoCoNet)": (by_avzoo(TightFace()), tight_by_opencv),
    "LowerFace (TalkNet)": (by_avzoo(LowerFace()), lower_by_opencv),
    "WholeFace (AVDiffuSS)": (by_avzoo(WholeFace()), whole_by_opencv),
    "MouthHalf, opencv (VocaLiST)": (by_avzoo(MouthHalf(resize="opencv")), mouth_by_opencv),
    "MouthHalf, torch (its student)": (by_avzoo(MouthHalf()), None),
}


def seconds_of(function, *arguments) -> float:
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def crowd(num_frames: int, num_faces: int, random: np.random.Generator) -> GivenBoxes:
    """Faces in a row, each seen in nine of ten frames."""
    seen = np.argwhere(random.random((num_frames, num_faces)) < 0.9)
    corner = np.stack([60.0 * seen[:, 1], np.full(len(seen), 50.0)], axis=1) + random.normal(0, 1, (len(seen), 2))
    return GivenBoxes(seen[:, 0], np.concatenate([corner, corner + 48], axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the video")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    random = np.random.default_rng(0)
    num_frames = round(arguments.seconds * FPS)
    frames = random.integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    boxes = wandering_boxes(num_frames, random)
    print(f"{num_frames} frames of {WIDTH} x {HEIGHT}, one face, boxes given, 1 thread\n")
    print("| crops | median ms per frame | spread (min to max) | times real time | times OpenCV's |")
    print("|---|---|---|---|---|")
    for name, (ours, theirs) in CONTENDERS.items():
        if theirs is not None and not np.array_equal(ours(frames, boxes), theirs(frames, boxes)):
            raise SystemExit(f"{name}: the two sides give different pixels.")
        timings = {function: [] for function in (ours, theirs) if function is not None}
        for _ in range(arguments.rounds):
            for function, values in timings.items():
                values.append(1000 * seconds_of(function, frames, boxes) / num_frames)
        median = statistics.median(timings[ours])
        ratio = f"{median / statistics.median(timings[theirs]):.2f}" if theirs else "-"
        spread = f"{min(timings[ours]):.2f} to {max(timings[ours]):.2f}"
        print(f"| {name} | {median:.2f} | {spread} | {1000 / FPS / median:.0f} | {ratio} |")

    shots = statistics.median(1000 * seconds_of(detect_shots, frames) / num_frames for _ in range(arguments.rounds))
    print(f"\n`detect_shots`: {shots:.2f} ms per frame, {1000 / FPS / shots:.0f} times real time")

    print("\n| tracking only, 15 000 frames | boxes | tracks | CPU s | times real time |")
    print("|---|---|---|---|---|")
    for num_faces in (1, 4, 10):
        given = crowd(15_000, num_faces, random)
        found = given.tracks(15_000)
        seconds = seconds_of(given.tracks, 15_000)
        print(f"| {num_faces} faces | {len(given.boxes)} | {len(found)} | {seconds:.2f} | {600 / seconds:.0f} |")


if __name__ == "__main__":
    main()
