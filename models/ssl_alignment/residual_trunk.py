"""The residual trunk of both sides: ResNet-18's layout with a stride of our own for each stage.

In evaluation on a CPU, without gradients, each batch norm is folded into the convolution before it, and channels come
last in memory. Weights and their names stay as they are; whatever changes their values makes the folded copies anew.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

_LARGE = 100_000  # values of a convolution
_SAMPLED = 251  # one of so many values of a large one is compared; no kernel and no width is a multiple of it


class NormedConvolution(nn.Module):
    """A convolution without bias, and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        padding = kernel_size // 2
        self.convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self._folded: FoldedConvolution | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if not can_fold(self, hidden_states):
            return self.norm(self.convolution(hidden_states))
        folded = self._fold()
        stride, padding = self.convolution.stride, self.convolution.padding
        return nn.functional.conv2d(hidden_states, folded.weight, folded.bias, stride, padding)

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
        weight, norm = layer.convolution.weight.detach(), layer.norm
        scale, shift, mean, variance = (part.detach().double() for part in list_parts(layer)[1:])
        scale = scale * (variance + norm.eps).rsqrt()
        folded = (weight.double() * scale[:, None, None, None]).to(weight.dtype)
        self.weight = folded.contiguous(memory_format=torch.channels_last)
        self.bias = (shift - mean * scale).to(weight.dtype)
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
    norm = layer.norm
    return [layer.convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]


def count_changes(layer: NormedConvolution) -> list[int | None]:
    """What autograd counts of operations in place on each of them."""
    return [None if part.is_inference() else part._version for part in list_parts(layer)]


def can_fold(layer: NormedConvolution, hidden_states: torch.Tensor) -> bool:
    """Whether norms are constants here: evaluation without gradients, on a CPU, outside graphs that are recorded.

    Convolutions and norms that somebody replaced (adapters, parametrizations) or listens to (hooks) are called.
    """
    convolution, norm = layer.convolution, layer.norm
    if type(convolution) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or has_hooks(convolution, norm):
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


class ResidualBlock(GradientCheckpointingLayer):
    """Two convolutions of 3 x 3; the input is added, through a convolution of 1 x 1 where its shape differs."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = NormedConvolution(in_channels, channels, 3, stride)
        self.conv2 = NormedConvolution(channels, channels, 3)
        has_same_shape = stride == 1 and in_channels == channels
        self.shortcut = None if has_same_shape else NormedConvolution(in_channels, channels, 1, stride)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        hidden_states = self.conv2(self.conv1(hidden_states).relu_())
        return hidden_states.add_(residual).relu_()


class ResidualTrunk(nn.Module):
    """(batch, in_channels, rows, columns) to (batch, channels of the last stage, rows', columns').

    The last operation is the last block's ReLU: every value is 0 or more.
    """

    def __init__(self, in_channels: int, hidden_sizes: Sequence[int], depths: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.stem = NormedConvolution(in_channels, hidden_sizes[0], 7, 2)
        self.stages = nn.ModuleList()
        width = hidden_sizes[0]
        for channels, depth, stride in zip(hidden_sizes, depths, strides, strict=True):
            blocks = nn.ModuleList()
            for index in range(depth):
                blocks.append(ResidualBlock(width, channels, stride if index == 0 else 1))
                width = channels
            self.stages.append(blocks)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.to(self.stem.convolution.weight.dtype)
        hidden_states = self.stem(inputs).relu_()  # rows / 2
        if can_fold(self.stem, inputs):  # pooling, too, is several times faster with channels last
            hidden_states = hidden_states.contiguous(memory_format=torch.channels_last)
        hidden_states = nn.functional.max_pool2d(hidden_states, 3, 2, padding=1)  # rows / 4
        for blocks in self.stages:
            for block in blocks:
                hidden_states = block(hidden_states)
        return hidden_states


__all__ = ["NormedConvolution", "ResidualBlock", "ResidualTrunk"]
