"""What a processor returns: tensors of torch, or NumPy's arrays on request."""

from collections.abc import Mapping

import torch
from transformers import BatchFeature

from avzoo.checks import check_choice


def make_batch(inputs: Mapping[str, torch.Tensor], return_tensors: str | None) -> BatchFeature:
    """The named inputs as "pt" (None: the same) or "np".

    Raises:
        ValueError: `return_tensors` is something else.
    """
    check_choice("return_tensors", "pt" if return_tensors is None else return_tensors, ("pt", "np"))
    if return_tensors == "np":
        return BatchFeature({name: value.numpy() for name, value in inputs.items()})
    return BatchFeature(dict(inputs))
