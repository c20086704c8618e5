"""A model zoo for speech and audio-visual methods, in the style of transformers and diffusers.

`import avzoo` registers the zoo's models with transformers' Auto classes, `pipeline` and diffusers. It imports neither
torch nor transformers: registration waits until those are imported, and each public name is imported on first use.
"""

import importlib

from avzoo import zoo
from avzoo.zoo.registration import register_everywhere

__version__ = "0.1.0"

_MODULE_OF = {name: f"avzoo.{module}" for row in zoo.ROWS for module, names in row.exports.items() for name in names}
_MODULE_OF["toy_checkpoint"] = "avzoo.zoo.toy"

__all__ = ["__version__", "zoo", *sorted(_MODULE_OF)]

register_everywhere()


def __getattr__(name: str):
    if name in _MODULE_OF:
        value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
        return value
    raise AttributeError(f"module 'avzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
