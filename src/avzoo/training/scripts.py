"""What training scripts share on the command line."""

import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

# Errors that explain invalid input; any other is a bug and keeps its traceback. The parser sees to types.
EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, StrictDataclassError)


def report_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a script: an error of its input is one line on stderr, and exit status 1."""

    @functools.wraps(main)
    def run() -> None:
        if os.environ.get("RANK", "0") != "0":  # the main process says it for all
            logging.getLogger("avzoo").setLevel(logging.ERROR)
        try:
            main()
        except EXPECTED as error:
            print(f"{Path(sys.argv[0]).name}: {_in_one_line(error)}", file=sys.stderr)
            raise SystemExit(1) from error

    return run


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__  # without the name of the validator
    text = str(error)
    if "Original Traceback" in text:  # of a process that loads data
        lines = text.splitlines()
        stack = max(number for number, line in enumerate(lines) if line[:1].isspace())
        text = " ".join(lines[stack + 1 :]).split(": ", 1)[-1]  # without the class of the error
    # Functions name their argument, which is this option of a script.
    return re.sub(r"\bPass (\w+)=True", r"Pass --\1", " ".join(text.split())) or type(error).__name__
