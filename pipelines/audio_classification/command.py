"""`avzoo run audio-classification`."""

import argparse
from typing import Any

from avzoo.pipelines.shared.commands import TaskCommand


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patch-size", type=int, nargs="+", metavar="N", help="one number, or mel bins and frames")
    parser.add_argument("--top-k", type=int, default=1, help="labels per window")
    parser.add_argument("--pooled", action="store_true", help="one result for the whole recording")


def _read_parameters(options: argparse.Namespace) -> dict[str, Any]:
    size = options.patch_size
    return {
        "patch_size": size[0] if size and len(size) == 1 else size,
        "top_k": options.top_k,
        "return_windows": not options.pooled,
        "return_times": True,
    }


COMMAND = TaskCommand(
    help="Label the sounds of a recording, window by window.",
    score="probability",
    add_options=_add_options,
    parameters=_read_parameters,
)
