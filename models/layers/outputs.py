"""What every `forward` takes beside its inputs: the form of its output, and what the config asks of it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

EXTRA_OUTPUTS = ("output_hidden_states", "output_attentions")


def with_output_options(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a model's `forward` that returns a `ModelOutput`, so that it also takes `return_dict`.

    `return_dict=False`, or `config.return_dict`, gives a tuple without what is None. `output_hidden_states` and
    `output_attentions` come from the config where a call leaves them out.

    Raises:
        ValueError: the config asks for an output that this `forward` does not have.
    """
    signature = inspect.signature(forward)
    known = [name for name in EXTRA_OUTPUTS if name in signature.parameters]

    @functools.wraps(forward)
    def wrapper(self, *args, return_dict: bool | None = None, **kwargs):
        for name in EXTRA_OUTPUTS:
            if name in known:
                kwargs[name] = getattr(self.config, name) if kwargs.get(name) is None else kwargs[name]
            elif getattr(self.config, name):
                raise ValueError(
                    f"`config.{name}` is {getattr(self.config, name)}, but {type(self).__name__} has no such output. "
                    "Set it to False."
                )
        output = forward(self, *args, **kwargs)
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    option = inspect.Parameter("return_dict", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=bool | None)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])
    return wrapper
