"""What `import avzoo` costs beside what it stands on, and how fast the command line answers.

    python benchmarks/import_time.py --rounds 7

Every run is a Python process of its own; the rows are interleaved, so that a busy machine slows all alike. Prints the
median wall time, the spread (fastest to slowest), and the ratio of medians to the baseline row.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

BASELINE = "import torch, transformers.modeling_utils"
ROWS = {
    BASELINE: ["-c", BASELINE],
    "the same, after import avzoo": ["-c", f"import avzoo; {BASELINE}"],
    "import avzoo; avzoo.FlexiASTForAudioClassification": ["-c", "import avzoo; avzoo.FlexiASTForAudioClassification"],
    "import avzoo": ["-c", "import avzoo"],
    "avzoo --help": ["-m", "avzoo.cli", "--help"],
    "avzoo list": ["-m", "avzoo.cli", "list"],
    "python alone": ["-c", "pass"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="runs of each row that count; one more goes before them")
    options = parser.parse_args()

    times: dict[str, list[float]] = {name: [] for name in ROWS}
    for turn in range(options.rounds + 1):
        for name, arguments in ROWS.items():
            elapsed = seconds(arguments)
            if turn:  # the first fills the disk cache and writes bytecode
                times[name].append(elapsed)

    baseline = statistics.median(times[BASELINE])
    print(f"Wall seconds, {options.rounds} runs each, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    print("| what | median | spread | ratio to the first row |")
    print("|---|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| `{name}` | {median:.3f} | {min(values):.3f} - {max(values):.3f} | {median / baseline:.2f} |")


if __name__ == "__main__":
    main()
