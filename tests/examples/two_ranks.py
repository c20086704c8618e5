"""Runs an example on two ranks: python two_ranks.py SCRIPT OPTIONS ...

As `accelerate launch` does, but both are forked from a process that has imported what the example does.
"""

import importlib.util
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.launch_script import on_two_ranks

if __name__ == "__main__":
    torch.set_num_threads(1)  # a thread pool doesn't survive a fork
    sys.argv = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("example", sys.argv[0])
    module = sys.modules["example"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    on_two_ranks(lambda rank: module.main())
