"""Files of cross-modal alignment, LVS, EZ-VSL, FNAC and SLAVC at any size, and what their authors compute with them.

`SMALL` has the shapes, [`small_file`] draws the weights. [`localize`] is written from the papers' formulas over the
authors' keys, with nothing of the package.
"""

import torch
from small_session_embedding import Shapes, draw, linear, norm
from torch.nn import functional

RELEASED = (64, 128, 256, 512)
WIDTHS = (6, 8, 10, 12)


def resnet18(prefix: str = "", widths=RELEASED, channels: int = 3, classes: int | None = None) -> Shapes:
    """torchvision's names; `classes` None: its `fc` was replaced by nothing."""
    shapes = {f"{prefix}conv1.weight": (widths[0], channels, 7, 7)} | norm(f"{prefix}bn1", widths[0])
    before = widths[0]
    for stage, width in enumerate(widths, start=1):
        for block in range(2):
            name = f"{prefix}layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (width, before, 3, 3)} | norm(f"{name}.bn1", width)
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3)} | norm(f"{name}.bn2", width)
            if stage > 1 and block == 0:
                shapes |= {f"{name}.downsample.0.weight": (width, before, 1, 1)} | norm(f"{name}.downsample.1", width)
            before = width
    return shapes | ({} if classes is None else linear(f"{prefix}fc", classes, before))


def lvs(widths=RELEASED) -> Shapes:
    """248 tensors: each trunk has the stems of pictures, sounds and flow, and a head."""
    shapes: Shapes = {}
    for trunk in ("imgnet.", "audnet."):
        shapes |= {f"{trunk}conv1_a.weight": (widths[0], 1, 7, 7)}
        shapes |= {f"{trunk}conv1_flow.weight": (widths[0], 6, 7, 7)}
        shapes |= resnet18(trunk, widths, classes=1000)
    return shapes


def alignment(widths=RELEASED, dim: int = 512) -> Shapes:
    """261 tensors."""
    size = widths[-1]
    shapes = lvs(widths) | linear("img_proj", dim, size) | linear("aud_proj", dim, size)
    return shapes | linear("vision_fc1", size, 2 * size, 1, 1) | linear("conv3", 1, 1, 1, 1) | norm("norm3", 1)


def single(widths=RELEASED, dim: int = 512) -> Shapes:
    """EZ-VSL and FNAC."""
    shapes = resnet18("imgnet.", widths) | linear("img_proj", dim, widths[-1], 1, 1)
    return shapes | resnet18("audnet.", widths, channels=1) | linear("aud_proj", dim, widths[-1])


def dual(widths=RELEASED, dim: int = 512) -> Shapes:
    """SLAVC: two projections a side, and a slow copy of everything."""
    shapes: Shapes = {}
    for prefix in ("", "momentum_"):
        shapes |= resnet18(f"{prefix}imgnet.", widths) | resnet18(f"{prefix}audnet.", widths, channels=1)
        for index in ("1", "2"):
            shapes |= linear(f"{prefix}img_proj{index}", dim, widths[-1], 1, 1)
            shapes |= linear(f"{prefix}aud_proj{index}", dim, widths[-1])
    return shapes


SMALL = {
    "alignment": alignment(WIDTHS, dim=5),
    "lvs": lvs(WIDTHS),
    "ezvsl": single(WIDTHS, dim=7),
    "fnac": single(WIDTHS, dim=12),
    "slavc": dual(WIDTHS, dim=7),
}


def small_file(name: str) -> dict[str, torch.Tensor]:
    """Weights of one of `SMALL`, the same in every call."""
    return {key: draw(key, shape) for key, shape in SMALL[name].items()}


def small_objectness(widths=WIDTHS) -> dict[str, torch.Tensor]:
    return {key: draw(key, shape) for key, shape in resnet18(widths=widths, classes=1000).items()}


def run_trunk(weights: dict, prefix: str, x: torch.Tensor, last_stride: int, stem: str = "conv1") -> torch.Tensor:
    def normalize(name: str, x: torch.Tensor) -> torch.Tensor:
        mean, variance, scale, shift = (
            weights[f"{prefix}{name}.{leaf}"].double()[:, None, None]
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def convolve(name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        weight = weights[f"{prefix}{name}.weight"].double()
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    x = normalize("bn1", convolve(stem, x.double(), 2)).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage, stride in zip((1, 2, 3, 4), (1, 2, 2, last_stride), strict=True):
        for block in range(2):
            name, step = f"layer{stage}.{block}", stride if block == 0 else 1
            answer = normalize(f"{name}.bn1", convolve(f"{name}.conv1", x, step)).relu()
            answer = normalize(f"{name}.bn2", convolve(f"{name}.conv2", answer, 1))
            if f"{prefix}{name}.downsample.0.weight" in weights:
                x = normalize(f"{name}.downsample.1", convolve(f"{name}.downsample.0", x, step))
            x = (answer + x).relu()
    return x


def localize(kind: str, weights: dict, pixels: torch.Tensor, sounds: torch.Tensor) -> torch.Tensor:
    """The map of each picture and its own sound, float64; EZ-VSL, FNAC and SLAVC divide theirs by 0.03."""
    ours = kind in ("alignment", "lvs")
    image = run_trunk(weights, "imgnet.", pixels, 1 if ours else 2)
    audio = run_trunk(weights, "audnet.", sounds, 1 if ours else 2, "conv1_a" if ours else "conv1").amax((2, 3))
    endings = {"slavc": ("1", "2")}.get(kind, ("",))
    maps = []
    for ending in endings:
        first, second = image, audio
        if not ours:
            projections = [
                weights[f"{side}_proj{ending}.{leaf}"].double() for side in ("img", "aud") for leaf in LEAVES
            ]
            first, second = functional.conv2d(image, *projections[:2]), functional.linear(audio, *projections[2:])
        first, second = functional.normalize(first, dim=1), functional.normalize(second, dim=1)
        maps.append(torch.einsum("nchw,nc->nhw", first, second))
    return sum(maps) / len(maps)


LEAVES = ("weight", "bias")
