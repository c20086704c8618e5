"""Small files of each method's authors lie beside the tests, in small_<method>.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
