"""Files of each code base's speaker encoders, at any size: {key: tensor} as released, random weights.

Each function gives {key: shape} of one network; the defaults are the released sizes.
"""

import zlib

import torch

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, *rest: int, bias: bool = True) -> Shapes:
    """A linear layer or a convolution."""
    return {f"{name}.weight": (out, *rest)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, size: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (size,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def ecapa_speechbrain(
    width: int = 1024, mels: int = 80, joined: int = 3072, squeeze: int = 128, attention: int = 128, size: int = 192
) -> Shapes:
    def unit(name: str, out: int, *rest: int) -> Shapes:
        return linear(f"{name}.conv.conv", out, *rest) | norm(f"{name}.norm.norm", out)

    shapes = unit("blocks.0", width, mels, 5)
    for block in ("blocks.1", "blocks.2", "blocks.3"):
        shapes |= unit(f"{block}.tdnn1", width, width, 1)
        for part in range(7):
            shapes |= unit(f"{block}.res2net_block.blocks.{part}", width // 8, width // 8, 3)
        shapes |= unit(f"{block}.tdnn2", width, width, 1)
        shapes |= linear(f"{block}.se_block.conv1.conv", squeeze, width, 1)
        shapes |= linear(f"{block}.se_block.conv2.conv", width, squeeze, 1)
    shapes |= unit("mfa", joined, 3 * width, 1) | unit("asp.tdnn", attention, 3 * joined, 1)
    shapes |= linear("asp.conv.conv", joined, attention, 1) | norm("asp_bn.norm", 2 * joined)
    return shapes | linear("fc.conv", size, 2 * joined, 1)


def wespeaker_ecapa(
    width: int = 512,
    mels: int = 80,
    joined: int = 1536,
    squeeze: int = 128,
    attention: int = 128,
    size: int = 192,
    context: bool = True,
) -> Shapes:
    shapes = linear("layer1.conv", width, mels, 5) | norm("layer1.bn", width)
    for layer in (2, 3, 4):
        block = f"layer{layer}.se_res2block"
        shapes |= linear(f"{block}.0.conv", width, width, 1) | norm(f"{block}.0.bn", width)
        for part in range(7):
            shapes |= linear(f"{block}.1.convs.{part}", width // 8, width // 8, 3)
            shapes |= norm(f"{block}.1.bns.{part}", width // 8)
        shapes |= linear(f"{block}.2.conv", width, width, 1) | norm(f"{block}.2.bn", width)
        shapes |= linear(f"{block}.3.linear1", squeeze, width) | linear(f"{block}.3.linear2", width, squeeze)
    shapes |= linear("conv", joined, 3 * width, 1)
    shapes |= linear("pool.linear1", attention, joined * (3 if context else 1), 1)
    shapes |= linear("pool.linear2", joined, attention, 1) | norm("bn", 2 * joined)
    return shapes | linear("linear", size, 2 * joined)


def residual_stages(channels: tuple[int, ...], shortcut: str, squeezes: bool, depths=(3, 4, 6, 3)) -> Shapes:
    shapes: Shapes = {}
    previous = channels[0]
    for stage, (width, depth) in enumerate(zip(channels, depths, strict=True), start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            shapes |= linear(f"{name}.conv1", width, previous, 3, 3, bias=False) | norm(f"{name}.bn1", width)
            shapes |= linear(f"{name}.conv2", width, width, 3, 3, bias=False) | norm(f"{name}.bn2", width)
            if squeezes:
                shapes |= linear(f"{name}.se.fc.0", width // 8, width) | linear(f"{name}.se.fc.2", width, width // 8)
            if block == 0 and stage > 1:
                shapes |= linear(f"{name}.{shortcut}.0", width, previous, 1, 1, bias=False)
                shapes |= norm(f"{name}.{shortcut}.1", width)
            previous = width
    return shapes


def wespeaker_resnet34(channels=(32, 64, 128, 256), mels: int = 80, size: int = 256) -> Shapes:
    shapes = linear("conv1", channels[0], 1, 3, 3, bias=False) | norm("bn1", channels[0])
    shapes |= residual_stages(channels, "shortcut", squeezes=False)
    return shapes | linear("seg_1", size, 2 * channels[-1] * mels // 8)


def clova(shapes: Shapes) -> Shapes:
    return {f"__S__.{key}": shape for key, shape in shapes.items()}


def resnetse34l(
    channels=(16, 32, 64, 128), mels: int = 40, size: int = 512, deviation: bool = False, table: bool = True
) -> Shapes:
    width = channels[-1]
    shapes = {"attention": (width, 1)} | linear("conv1", channels[0], 1, 7, 7, bias=False) | norm("bn1", channels[0])
    shapes |= residual_stages(channels, "downsample", squeezes=True) | linear("sap_linear", width, width)
    shapes |= {"torchfb.mel_scale.fb": (257, mels), "torchfb.spectrogram.window": (400,)} if table else {}
    shapes |= linear("fc", size, width * (2 if deviation else 1))
    return clova(shapes) | {"__L__.w": (), "__L__.b": ()}


def clova_attention(seen: int, attention: int, scored: int) -> Shapes:
    shapes = linear("attention.0", attention, seen, 1) | norm("attention.2", attention)
    return shapes | linear("attention.3", scored, attention, 1)


def codes(pooled: int, speaker: int, environment: int) -> Shapes:
    """The disentangler, and what only its training needs."""
    both = speaker + environment
    shapes = norm("__DE__.encoder.0", pooled) | linear("__DE__.encoder.1", both, pooled)
    shapes |= norm("__DE__.decoder.0", both) | linear("__DE__.decoder.1", pooled, both)
    shapes |= linear("__E_E__.classifier.2", 4, environment) | linear("__E_S__.classifier.2", 4, speaker)
    return shapes | linear("__L__.softmax.fc", 9, speaker) | {"__L__.angleproto.w": (), "__L__.angleproto.b": ()}


def resnetse34v2(
    channels=(32, 64, 128, 256),
    mels: int = 64,
    size: int = 512,
    attention: int = 128,
    deviation: bool = True,
    environment: int = 0,
) -> Shapes:
    seen = channels[-1] * mels // 8
    pooled = seen * (2 if deviation else 1)
    shapes = linear("conv1", channels[0], 1, 3, 3) | norm("bn1", channels[0])
    shapes |= residual_stages(channels, "downsample", squeezes=True) | clova_attention(seen, attention, seen)
    shapes |= {"torchfb.0.flipped_filter": (1, 1, 2), "torchfb.1.mel_scale.fb": (257, mels)}
    shapes |= {"torchfb.1.spectrogram.window": (400,)}
    if environment:
        return clova(shapes) | codes(pooled, size, environment)
    shapes |= linear("fc", size, pooled)
    return clova(shapes) | linear("__L__.softmax.fc", 9, size)


def clova_blocks(width: int, first: int) -> Shapes:
    shapes: Shapes = {}
    for block in ("layer1", "layer2", "layer3"):
        shapes |= linear(f"{block}.conv1", width, first, 1) | norm(f"{block}.bn1", width)
        for part in range(7):
            shapes |= linear(f"{block}.convs.{part}", width // 8, width // 8, 3)
            shapes |= norm(f"{block}.bns.{part}", width // 8)
        shapes |= linear(f"{block}.conv3", width, width, 1) | norm(f"{block}.bn3", width)
        first = width
    return shapes


def rawnet3(
    width: int = 1024,
    joined: int = 1536,
    filters: int = 256,
    taps: int = 251,
    attention: int = 128,
    size: int = 256,
    per_channel: bool = True,
) -> Shapes:
    shapes = {"preprocess.0.flipped_filter": (1, 1, 2), "preprocess.1.weight": (1,), "preprocess.1.bias": (1,)}
    shapes |= {"conv1.filterbank.low_hz_": (filters // 2, 1), "conv1.filterbank.band_hz_": (filters // 2, 1)}
    shapes |= {"conv1.filterbank.window_": (taps // 2,), "conv1.filterbank.n_": (1, taps // 2)}
    shapes |= norm("bn1", filters) | clova_blocks(width, filters)
    for block in ("layer1", "layer2", "layer3"):
        shapes |= {f"{block}.afms.alpha": (width, 1)} | linear(f"{block}.afms.fc", width, width)
    if filters != width:
        shapes |= linear("layer1.residual.0", width, filters, 1, bias=False)
    shapes |= linear("layer4", joined, 3 * width, 1)
    shapes |= clova_attention(3 * joined, attention, joined if per_channel else 1)
    shapes |= norm("bn5", 2 * joined) | linear("fc6", size, 2 * joined) | norm("bn6", size)
    return clova(shapes) | {"__L__.weight": (9, size)}


def ecapa_disentangler(
    width: int = 1024,
    mels: int = 80,
    joined: int = 1536,
    squeeze: int = 128,
    attention: int = 128,
    size: int = 256,
    environment: int = 256,
) -> Shapes:
    shapes = linear("conv1", width, mels, 5) | norm("bn1", width) | clova_blocks(width, width)
    for block in ("layer1", "layer2", "layer3"):
        shapes |= linear(f"{block}.se.se.1", squeeze, width, 1) | norm(f"{block}.se.se.3", squeeze)
        shapes |= linear(f"{block}.se.se.4", width, squeeze, 1)
    shapes |= linear("layer4", joined, 3 * width, 1) | clova_attention(3 * joined, attention, joined)
    shapes |= {"torchmfcc.0.flipped_filter": (1, 1, 2), "torchmfcc.1.mel_scale.fb": (257, mels)}
    return clova(shapes) | {"__S__.torchmfcc.1.spectrogram.window": (400,)} | codes(2 * joined, size, environment)


CHANNELS = (8, 8, 16, 24)
# {name: (kind, shapes of the file, fields of the config that shapes do not tell)}
SMALL: dict[str, tuple[str, Shapes, dict]] = {
    "ecapa_speechbrain": (
        "ecapa_speechbrain",
        ecapa_speechbrain(width=16, mels=24, joined=20, squeeze=5, attention=6, size=7),
        {},
    ),
    "wespeaker_ecapa": (
        "wespeaker_ecapa",
        wespeaker_ecapa(width=16, mels=24, joined=20, squeeze=5, attention=6, size=7),
        {},
    ),
    "wespeaker_ecapa without context": (
        "wespeaker_ecapa",
        wespeaker_ecapa(width=24, mels=40, joined=12, squeeze=5, attention=6, size=7, context=False),
        {},
    ),
    "wespeaker_resnet34": ("wespeaker_resnet34", wespeaker_resnet34(CHANNELS, mels=24, size=7), {}),
    "resnetse34l": ("resnetse34l", resnetse34l(CHANNELS, mels=24, size=7), {}),
    "resnetse34l with deviations": ("resnetse34l", resnetse34l(CHANNELS, mels=32, size=7, deviation=True), {}),
    "resnetse34l on energies": (
        "resnetse34l",
        resnetse34l(CHANNELS, mels=24, size=7, table=False),
        {"num_mel_bins": 24, "use_log": False},
    ),
    "resnetse34v2": ("resnetse34v2", resnetse34v2(CHANNELS, mels=24, size=7, attention=6), {}),
    "resnetse34v2 SAP": (
        "resnetse34v2",
        resnetse34v2(CHANNELS, mels=40, size=7, attention=6, deviation=False),
        {"use_log": False},
    ),
    "resnetse34v2 with codes": (
        "resnetse34v2_disentangler",
        resnetse34v2(CHANNELS, mels=24, size=7, attention=6, environment=5),
        {},
    ),
    "rawnet3": ("rawnet3", rawnet3(width=16, joined=20, filters=12, taps=51, attention=6, size=7), {}),
    "rawnet3 ASP": (
        "rawnet3",
        rawnet3(width=24, joined=20, filters=24, taps=251, attention=6, size=7, per_channel=False),
        {"sinc_stride": 16},
    ),
    "ecapa_disentangler": (
        "ecapa_disentangler",
        ecapa_disentangler(width=16, mels=24, joined=20, squeeze=5, attention=6, size=7, environment=7),
        {},
    ),
    "ecapa_disentangler, codes of two sizes": (
        "ecapa_disentangler",
        ecapa_disentangler(width=16, mels=24, joined=20, squeeze=5, attention=6, size=9, environment=4),
        {"use_log": False},
    ),
}


def small_file(name: str) -> dict[str, torch.Tensor]:
    """Weights of one of `SMALL`, the same in every call."""
    return {key: draw(key, shape) for key, shape in SMALL[name][1].items()}


def draw(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(5)
    if key.endswith(("low_hz_", "band_hz_")):
        return torch.rand(shape, generator=generator) * 3500
    normal = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return normal.abs() + 0.5
    if len(shape) < 2:
        return 0.2 * normal + (1.0 if key.endswith("weight") else 0.0)
    return normal / torch.Size(shape[1:]).numel() ** 0.5
