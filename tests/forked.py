"""Programs that need a Python process of their own, without the seconds that importing torch would cost each of them.

They are forked off one process that has imported torch and other packages, but none of avzoo, transformers and
diffusers. A program is a list of steps of Python; programs that begin with the same steps share a process up to where
they part. Run as a script, this file is the process that forks.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

# What avzoo, transformers and diffusers import, themselves left out.
PACKAGES = [
    *("accelerate.hooks", "av", "huggingface_hub.hf_api", "PIL.ImageOps", "requests", "safetensors.torch"),
    *("scipy.optimize", "scipy.stats", "sentencepiece", "soundfile", "soxr", "tokenizers", "torch._dynamo"),
]


class Forked:
    """Runs programs in fresh processes. The one they are forked off is started with the first call."""

    server: subprocess.Popen | None = None

    def __call__(self, programs: dict[str, list[str]]) -> None:
        """Run {name: steps}, and fail with the names of all programs that failed and with what was written."""
        if self.server is None:
            command = [sys.executable, __file__]
            self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with tempfile.TemporaryDirectory() as folder:
            self.server.stdin.write(json.dumps([folder, programs]) + "\n")
            self.server.stdin.flush()
            passed = json.loads(self.server.stdout.readline())
            failed = [name for name in programs if name not in passed]
            assert not failed, f"{failed}\n" + Path(folder, "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        if self.server is not None:
            self.server.communicate()


def run_each(programs: dict[str, list[str]], variables: dict, passed: Path) -> None:
    """Run every first step in a fork of this process, and the steps after it in forks of that one.

    Args:
        programs: {name: steps that are left}.
        variables: the names that earlier steps defined.
        passed: the file that the names of those that passed are written to, a line each.
    """
    by_step: dict[str, dict[str, list[str]]] = {}
    for name, (step, *rest) in programs.items():
        by_step.setdefault(step, {})[name] = rest
    for step, together in by_step.items():
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        try:
            exec(step, variables)
            for name, rest in together.items():
                if not rest:
                    with passed.open("a", encoding="utf-8") as file:
                        print(json.dumps(name), file=file)
            run_each({name: rest for name, rest in together.items() if rest}, variables, passed)
        except BaseException:
            print(f"\n{list(together)} failed at {step!r}", file=sys.stderr)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(0)


def serve() -> None:
    """Run the programs of every line of standard input, and answer with the names of those that passed."""
    answers = os.fdopen(os.dup(1), "w")
    gc.disable()  # imports make much and drop little, so collecting takes a sixth of their time
    sys.path[0] = ""  # as after `python -c`; it was the folder of the tests
    for name in PACKAGES:
        importlib.import_module(name)
    assert not {"avzoo", "diffusers", "transformers"} & sys.modules.keys()
    gc.freeze()
    for line in sys.stdin:
        folder, programs = json.loads(line)
        passed = Path(folder, "passed")
        passed.touch()
        with open(Path(folder, "log"), "wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        run_each(programs, {"__name__": "__main__"}, passed)
        names = [json.loads(name) for name in passed.read_text(encoding="utf-8").splitlines()]
        print(json.dumps(names), file=answers, flush=True)


if __name__ == "__main__":
    serve()
