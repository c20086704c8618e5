"""A convolution and its batch norm, which are one convolution where the norm's statistics are constants.

In evaluation on a CPU, without gradients, each batch norm is folded into the convolution before it, and channels come
last in memory where there are two dimensions. Weights and their names stay as they are; whatever changes their values
makes the folded copies anew.
"""

import weakref

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor

_LARGE = 100_000  # values of a convolution
_SAMPLED = 251  # one of so many values of a large one is compared; no kernel and no width is a multiple of it
_FUNCTIONS = {
    (nn.Conv1d, nn.BatchNorm1d): nn.functional.conv1d,
    (nn.Conv2d, nn.BatchNorm2d): nn.functional.conv2d,
    (nn.Conv3d, nn.BatchNorm3d): nn.functional.conv3d,
}


class NormedConvolution(nn.Module):
    """A convolution of one to three dimensions, and its batch norm."""

    def __init__(self, convolution: nn.Module, norm: nn.Module):
        super().__init__()
        self.convolution, self.norm = convolution, norm
        self._folded: FoldedConvolution | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if not can_fold(self, hidden_states):
            return self.norm(self.convolution(hidden_states))
        folded = self._fold()
        convolution = self.convolution
        options = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
        return _FUNCTIONS[type(convolution), type(self.norm)](hidden_states, folded.weight, folded.bias, *options)

    def _fold(self) -> "FoldedConvolution":
        """The one convolution that does both, made anew where a value of what it is made of has changed."""
        folded = self._folded
        if folded is None or not folded.is_of(self):
            folded = self._folded = FoldedConvolution(self)
        return folded

    def train(self, mode: bool = True) -> "NormedConvolution":
        self._folded = None
        return super().train(mode)

    def _apply(self, *arguments, **options) -> "NormedConvolution":
        self._folded = None  # of another device or precision it is of no use, and takes memory
        return super()._apply(*arguments, **options)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_folded": None}  # copies and pickles make their own


class FoldedConvolution:
    """Weight and bias of a convolution and a norm in one, and what tells whether these still have the same values.

    Tensors count what is done to them, but not what is done to their `.data` or through NumPy. So values are compared,
    too: all of the norm and of small convolutions, every 251st of large ones, of which every filter has several. To
    compare all of them would take a tenth of the pass of one picture.
    """

    def __init__(self, layer: NormedConvolution):
        weight, norm, bias = layer.convolution.weight.detach(), layer.norm, layer.convolution.bias
        scale, shift, mean, variance = (part.detach().double() for part in list_parts(layer)[1:5])
        scale = scale * (variance + norm.eps).rsqrt()
        folded = (weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))).to(weight.dtype)
        self.weight = folded.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else folded
        offset = -mean if bias is None else bias.detach().double() - mean
        self.bias = (shift + offset * scale).to(weight.dtype)
        is_large = weight.numel() > _LARGE and not weight.is_inference()  # such tensors count nothing
        self.step = _SAMPLED if is_large else 1
        # Weak references: a new tensor may have the address, and even the count, of one that was freed.
        self.parts = [weakref.ref(part) for part in list_parts(layer)]
        self.changes, self.values = count_changes(layer), [values.clone() for values in self.sample(layer)]

    def sample(self, layer: NormedConvolution) -> list[torch.Tensor]:
        """The values that are compared."""
        weight, *numbers = (part.detach() for part in list_parts(layer))
        return [weight.flatten()[:: self.step], *numbers]

    def is_of(self, layer: NormedConvolution) -> bool:
        """Whether the layer has the values that it had."""
        return (
            all(reference() is part for reference, part in zip(self.parts, list_parts(layer), strict=True))
            and self.changes == count_changes(layer)
            and all(map(torch.equal, self.values, self.sample(layer)))
        )


def list_parts(layer: NormedConvolution) -> list[torch.Tensor]:
    """The tensors that a folded convolution is made of, the weight first."""
    convolution, norm = layer.convolution, layer.norm
    parts = [convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    return parts if convolution.bias is None else [*parts, convolution.bias]


def count_changes(layer: NormedConvolution) -> list[int | None]:
    """What autograd counts of operations in place on each of them."""
    return [None if part.is_inference() else part._version for part in list_parts(layer)]


def can_fold(layer: NormedConvolution, hidden_states: torch.Tensor) -> bool:
    """Whether norms are constants here: evaluation without gradients, on a CPU, outside graphs that are recorded.

    Convolutions and norms that somebody replaced (adapters, parametrizations) or listens to (hooks) are called.
    """
    convolution, norm = layer.convolution, layer.norm
    if (type(convolution), type(norm)) not in _FUNCTIONS or has_hooks(convolution, norm):
        return False
    weight = convolution.weight
    return (
        not norm.training
        and not torch.is_grad_enabled()
        and hidden_states.device.type == "cpu"
        and weight.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and all(has_values(tensor) for tensor in (hidden_states, weight, norm.weight))
    )


def has_hooks(*modules: nn.Module) -> bool:
    """Whether a call of one of them does more than its forward."""
    return any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in modules)


def has_values(tensor: torch.Tensor) -> bool:
    """Whether a tensor has values of its own; those of `torch.func.vmap` and of simulated runs have none."""
    return type(tensor) in (torch.Tensor, nn.Parameter) and not is_functorch_wrapped_tensor(tensor)


__all__ = ["NormedConvolution", "can_fold", "has_hooks", "has_values"]
