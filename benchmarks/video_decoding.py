"""Decoding video: `avzoo.video` beside PyAV's own loops, in time and in memory.

    python benchmarks/video_decoding.py --seconds 30 --rounds 5

The clip is made on the spot: moving gratings and fresh grain, 1080p, 30 frames per second, H.264 at a few Mbit/s, as
cameras and video sites have it. Every contender gets it as a path. The plain loop only decodes,
`for frame in container.decode(video=0)`, with all cores (`thread_type` "AUTO"), as avzoo does too; the second PyAV loop
also makes an RGB array of each frame. Rounds are interleaved, so that a busy machine slows everyone alike.

Peak memory is the largest resident set of a fresh process that does one thing, for the clip and for one three times as
long. It holds Python, PyAV and NumPy as well; the last row has a process that only imports them.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from avzoo.video import iter_video, read_video

HEIGHT, WIDTH, RATE = 1080, 1920, 30


def make_clip(path: Path, seconds: float, grain: int) -> None:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH].astype(np.float32)
    waves = [np.sin(columns / (60 + 10 * channel)) * np.cos(rows / (45 + 5 * channel)) for channel in range(3)]
    background = (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    noise = random.integers(0, grain + 1, (2 * HEIGHT, 2 * WIDTH, 1), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for index in range(round(seconds * RATE)):
            down, across = round(HEIGHT / 2 * (1 + np.sin(index / 50))), round(WIDTH / 2 * (1 + np.cos(index / 70)))
            picture = background[down : down + HEIGHT, across : across + WIDTH].copy()
            top, left = 7 * index % (HEIGHT - 200), 11 * index % (WIDTH - 200)
            picture[top : top + 200, left : left + 200] = 255 - picture[top : top + 200, left : left + 200]
            down, across = random.integers(HEIGHT), random.integers(WIDTH)
            picture += noise[down : down + HEIGHT, across : across + WIDTH]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def lengthen(short: Path, path: Path, times: int) -> None:
    """The same packets again and again."""
    with av.open(str(path), "w") as container:
        stream, shift = None, 0
        for _ in range(times):
            with av.open(str(short)) as source:
                video = source.streams.video[0]
                stream = stream or container.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        container.mux(packet)
                shift += video.duration


def plain_decoding(path: str) -> int:
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def plain_decoding_to_rgb(path: str) -> int:
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(len(frame.to_ndarray(format="rgb24")) > 0 for frame in container.decode(video=0))


def read_small(path: str) -> int:
    return len(read_video(path, 25, (224, 224)).frames)


def iterate_small(path: str) -> int:
    return sum(map(len, iter_video(path, 25, (224, 224))))


def iterate_whole(path: str) -> int:
    return sum(map(len, iter_video(path, 25, block_frames=8)))


def nothing(path: str) -> int:
    return 0


CONTENDERS = {
    "PyAV, decode only": plain_decoding,
    "PyAV, decode and to_ndarray(rgb24)": plain_decoding_to_rgb,
    "avzoo read_video, 25 fps, 224x224": read_small,
    "avzoo iter_video, 25 fps, 224x224": iterate_small,
    "avzoo iter_video, 25 fps, 1080x1920, blocks of 8": iterate_whole,
}


def peak_megabytes(name: str, path: Path) -> float:
    command = [sys.executable, __file__, "--alone", name, "--clip", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def alone(name: str, path: str) -> None:
    {**CONTENDERS, "nothing": nothing}[name](path)
    if sys.platform == "linux":  # where `ru_maxrss` would begin with the parent's
        lines = Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")))
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grain", type=int, default=16, help="levels of noise, which set the bit rate")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--clip", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        alone(arguments.alone, arguments.clip)
        return

    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "clip.mp4", Path(folder) / "long.mp4"
        make_clip(short, arguments.seconds, arguments.grain)
        lengthen(short, long, 3)
        counts = {name: contender(str(short)) for name, contender in CONTENDERS.items()}  # also the warm-up
        frames, resampled = round(arguments.seconds * RATE), round(arguments.seconds * 25)
        if set(counts.values()) != {frames, resampled}:
            raise SystemExit(f"Expected {frames} and {resampled} frames, got {counts}.")
        timings = {name: [] for name in CONTENDERS}
        for _ in range(arguments.rounds):
            for name, contender in CONTENDERS.items():
                start = time.perf_counter(), time.process_time()
                contender(str(short))
                timings[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))

        print(
            f"{arguments.seconds:g} s of {HEIGHT}x{WIDTH} H.264 at {RATE} frames per second, "
            f"{short.stat().st_size * 8e-6 / arguments.seconds:.1f} Mbit/s, {os.cpu_count()} cores, "
            f"PyAV {av.__version__}; medians of {arguments.rounds} rounds\n"
        )
        print("| what | frames | s (min to max) | CPU s | times decode only | CPU, too | peak MB | of the long clip |")
        print("|---|---|---|---|---|---|---|---|")
        medians = {
            name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in timings.items()
        }
        base_wall, base_cpu = medians["PyAV, decode only"]
        for name, (wall, cpu) in medians.items():
            walls = [row[0] for row in timings[name]]
            print(
                f"| {name} | {counts[name]} | {wall:.2f} ({min(walls):.2f} to {max(walls):.2f}) | {cpu:.2f} "
                f"| {wall / base_wall:.2f} | {cpu / base_cpu:.2f} "
                f"| {peak_megabytes(name, short):.0f} | {peak_megabytes(name, long):.0f} |"
            )
        print(f"| nothing but the imports | | | | | | {peak_megabytes('nothing', short):.0f} | |")


if __name__ == "__main__":
    main()
