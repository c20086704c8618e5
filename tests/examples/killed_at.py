"""Runs an example until an optimizer step, where it is gone as by SIGKILL: killed_at.py STEP SCRIPT OPTIONS ..."""

import os
import runpy
import signal
import sys
from pathlib import Path

from avzoo.training import loop

if __name__ == "__main__":
    last_step, sys.argv = int(sys.argv[1]), sys.argv[2:]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    apply = loop._Run._optimizer_step

    def apply_or_die(run: loop._Run, batches: list) -> None:
        if run.state.step == last_step:
            os.kill(os.getpid(), signal.SIGKILL)
        apply(run, batches)

    loop._Run._optimizer_step = apply_or_die
    runpy.run_path(sys.argv[0], run_name="__main__")
