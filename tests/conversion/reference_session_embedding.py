"""Speaker encoders written a second time, plainly: float64, one recording, on the tensors of the authors' files.

From the description of each code base's arithmetic; nothing is shared with the models.
"""

import math

import torch
from torch.nn import functional

Weights = dict[str, torch.Tensor]
RATE = 16000


def embed(kind: str, file: Weights, waveform: torch.Tensor, settings: dict) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Speaker embedding and environment code of (samples,), float64."""
    weights = {key.removeprefix("__S__."): value.double() for key, value in file.items()}
    embedding, environment = FORWARD[kind](weights, waveform.double(), settings), None
    if "__DE__.encoder.1.weight" in weights:
        embedding = linear(weights, "__DE__.encoder.1", norm(weights, "__DE__.encoder.0", embedding))
        embedding, environment = embedding.split(
            [len(embedding[0]) - settings["environment"], settings["environment"]], dim=1
        )
    return embedding[0], None if environment is None else environment[0]


# --- layers -----------------------------------------------------------------------------------------------------------


def linear(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ weights[f"{name}.weight"].flatten(1).T + weights.get(f"{name}.bias", 0)


def pointwise(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return linear(weights, name, x.mT).mT


def norm(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, scale, shift = (
        weights[f"{name}.{leaf}"].reshape(1, -1, *[1] * (x.ndim - 2))
        for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def conv1d(weights: Weights, name: str, x: torch.Tensor, dilation: int = 1, mode: str = "constant") -> torch.Tensor:
    kernel = weights[f"{name}.weight"]
    reach = dilation * (kernel.shape[2] - 1) // 2
    if reach:
        x = functional.pad(x, (reach, reach), mode=mode)
    return functional.conv1d(x, kernel, weights[f"{name}.bias"], dilation=dilation)


def unit(weights, conv: str, norm_name: str, x, dilation: int = 1, mode: str = "constant") -> torch.Tensor:
    return norm(weights, norm_name, conv1d(weights, conv, x, dilation, mode).relu())


def res2net(parts: list[torch.Tensor], convolve, untouched: int) -> torch.Tensor:
    kept = parts.pop(untouched)
    results = []
    for index, part in enumerate(parts):
        results.append(convolve(index, part if index == 0 else part + results[-1]))
    results.insert(0 if untouched == 0 else len(results), kept)
    return torch.cat(results, dim=1)


def weighted(x: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean, and mean of squares, over time."""
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return (weights * x).sum(-1), (weights * x**2).sum(-1)


def with_context(x: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.mean(-1, keepdim=True).expand_as(x), std.expand_as(x)], dim=1)


# --- front ends -------------------------------------------------------------------------------------------------------


def mel(frequency):
    return 2595 * torch.log10(1 + torch.as_tensor(frequency, dtype=torch.float64) / 700)


def mel_points(count: int) -> torch.Tensor:
    return 700 * (10 ** (torch.linspace(0, float(mel(8000.0)), count, dtype=torch.float64) / 2595) - 1)


def clova_features(waveform: torch.Tensor, bands: int, preemphasis: bool, log: bool) -> torch.Tensor:
    if preemphasis:
        waveform = waveform - 0.97 * torch.cat([waveform[1:2], waveform[:-1]])
    window = torch.hamming_window(400, periodic=True, dtype=torch.float64)
    spectrum = torch.stft(
        waveform, 512, 160, 400, window, center=True, pad_mode="reflect", return_complex=True
    )  # (257, frames)
    points, bins = mel_points(bands + 2), torch.arange(257, dtype=torch.float64) * RATE / 512
    bank = torch.zeros(bands, 257, dtype=torch.float64)
    for band in range(bands):
        left, peak, right = points[band : band + 3].tolist()
        for index, frequency in enumerate(bins.tolist()):
            bank[band, index] = max(0, min((frequency - left) / (peak - left), (right - frequency) / (right - peak)))
    energies = bank @ spectrum.abs() ** 2 + 1e-6
    features = energies.log() if log else energies
    features = features - features.mean(1, keepdim=True)
    return (features / ((features**2).mean(1, keepdim=True) + 1e-5).sqrt())[None]


def speechbrain_features(waveform: torch.Tensor, bands: int) -> torch.Tensor:
    window = torch.hamming_window(400, periodic=True, dtype=torch.float64)
    spectrum = torch.stft(waveform, 400, 160, 400, window, center=True, pad_mode="constant", return_complex=True)
    points = mel_points(bands + 2)
    bins = torch.linspace(0, 8000, 201, dtype=torch.float64)
    width = points[1:-1] - points[:-2]
    bank = (1 - (bins - points[1:-1, None]).abs() / width[:, None]).clamp_min(0)
    decibels = 10 * torch.log10((bank @ spectrum.abs() ** 2).clamp_min(1e-10))
    decibels = decibels.clamp_min(float(decibels.max()) - 80)
    return (decibels - decibels.mean(1, keepdim=True))[None]


def kaldi_features(waveform: torch.Tensor, bands: int) -> torch.Tensor:
    frames = (waveform * 32768).unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    frames = frames - 0.97 * torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    window = 0.54 - 0.46 * torch.cos(2 * math.pi * torch.arange(400, dtype=torch.float64) / 399)
    power = torch.fft.rfft(frames * window, 512).abs()[:, :256] ** 2

    def kaldi_mel(frequency):
        return 1127 * torch.log1p(torch.as_tensor(frequency, dtype=torch.float64) / 700)

    position = kaldi_mel(torch.arange(256, dtype=torch.float64) * RATE / 512)
    edges = torch.linspace(float(kaldi_mel(20.0)), float(kaldi_mel(8000.0)), bands + 2, dtype=torch.float64)
    step = edges[1] - edges[0]
    bank = (1 - (position - edges[1:-1, None]).abs() / step).clamp_min(0)
    features = (bank @ power.T).clamp_min(torch.finfo(torch.float32).eps).log()
    return (features - features.mean(1, keepdim=True))[None]


def sinc_filters(low_hz: torch.Tensor, band_hz: torch.Tensor, taps: int) -> torch.Tensor:
    """(2 * bands, taps): all cosines, then all sines, tap by tap."""
    half = taps // 2
    filters = torch.zeros(2 * len(low_hz), taps, dtype=torch.float64)
    for index, (low, band) in enumerate(zip(low_hz.flatten().tolist(), band_hz.flatten().tolist(), strict=True)):
        low = 50 + abs(low)
        high = min(max(low + 50 + abs(band), 50), 8000)
        filters[index, half] = 1.0
        for tap in range(half):
            angle = 2 * math.pi * (tap - half) / RATE
            window = 0.54 - 0.46 * math.cos(2 * math.pi * tap / (taps - 1))
            scale = window / (angle / 2) / (2 * (high - low))
            cosine = (math.sin(high * angle) - math.sin(low * angle)) * scale
            sine = (math.cos(low * angle) - math.cos(high * angle)) * scale
            filters[index, tap] = filters[index, taps - 1 - tap] = cosine
            filters[len(low_hz) + index, tap] = sine
            filters[len(low_hz) + index, taps - 1 - tap] = -sine
    return filters


# --- networks ---------------------------------------------------------------------------------------------------------


def ecapa_speechbrain(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    x = speechbrain_features(waveform, weights["blocks.0.conv.conv.weight"].shape[1])

    def tdnn(name, x, dilation=1):
        return unit(weights, f"{name}.conv.conv", f"{name}.norm.norm", x, dilation, "reflect")

    x, outputs = tdnn("blocks.0", x), []
    for block, dilation in ((1, 2), (2, 3), (3, 4)):
        name, residual = f"blocks.{block}", x
        x = tdnn(f"{name}.tdnn1", x)
        x = res2net(
            list(x.chunk(8, dim=1)),
            lambda part, y, name=name, dilation=dilation: tdnn(f"{name}.res2net_block.blocks.{part}", y, dilation),
            untouched=0,
        )
        x = tdnn(f"{name}.tdnn2", x)
        gate = linear(weights, f"{name}.se_block.conv1.conv", x.mean(-1)).relu()
        x = x * linear(weights, f"{name}.se_block.conv2.conv", gate).sigmoid()[..., None] + residual
        outputs.append(x)
    x = tdnn("mfa", torch.cat(outputs, dim=1))
    std = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True).clamp_min(1e-12).sqrt()
    scores = tdnn("asp.tdnn", with_context(x, std)).tanh()
    scores = pointwise(weights, "asp.conv.conv", scores)
    mean, square = weighted(x, scores)
    pooled = torch.cat([mean, (square - mean**2).clamp_min(1e-12).sqrt()], dim=1)
    return linear(weights, "fc.conv", norm(weights, "asp_bn.norm", pooled))


def wespeaker_ecapa(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    x = kaldi_features(waveform, weights["layer1.conv.weight"].shape[1])
    x, outputs = unit(weights, "layer1.conv", "layer1.bn", x), []
    for layer, dilation in ((2, 2), (3, 3), (4, 4)):
        name, residual = f"layer{layer}.se_res2block", x
        x = unit(weights, f"{name}.0.conv", f"{name}.0.bn", x)
        x = res2net(
            list(x.chunk(8, dim=1)),
            lambda part, y, name=name, dilation=dilation: unit(
                weights, f"{name}.1.convs.{part}", f"{name}.1.bns.{part}", y, dilation
            ),
            untouched=7,
        )
        x = unit(weights, f"{name}.2.conv", f"{name}.2.bn", x)
        gate = linear(weights, f"{name}.3.linear1", x.mean(-1)).relu()
        x = x * linear(weights, f"{name}.3.linear2", gate).sigmoid()[..., None] + residual
        outputs.append(x)
    x = pointwise(weights, "conv", torch.cat(outputs, dim=1)).relu()
    seen = x
    if weights["pool.linear1.weight"].shape[1] == 3 * x.shape[1]:
        seen = with_context(x, (x.var(-1, keepdim=True) + 1e-7).sqrt())
    scores = pointwise(weights, "pool.linear2", pointwise(weights, "pool.linear1", seen).tanh())
    mean, square = weighted(x, scores)
    pooled = torch.cat([mean, (square - mean**2).clamp_min(1e-7).sqrt()], dim=1)
    return linear(weights, "linear", norm(weights, "bn", pooled))


def conv2d(weights: Weights, name: str, x: torch.Tensor, stride=1) -> torch.Tensor:
    kernel = weights[f"{name}.weight"]
    return functional.conv2d(x, kernel, weights.get(f"{name}.bias"), stride, padding=kernel.shape[-1] // 2)


def residual(weights: Weights, x: torch.Tensor, strides: tuple[int, ...], shortcut: str, norm_last: bool):
    for stage, stride in enumerate(strides, start=1):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in weights:
            name, before = f"layer{stage}.{block}", x
            x = conv2d(weights, f"{name}.conv1", x, stride if block == 0 else 1)
            x = norm(weights, f"{name}.bn1", x.relu()) if norm_last else norm(weights, f"{name}.bn1", x).relu()
            x = norm(weights, f"{name}.bn2", conv2d(weights, f"{name}.conv2", x))
            if f"{name}.se.fc.0.weight" in weights:
                gate = linear(weights, f"{name}.se.fc.0", x.mean((2, 3))).relu()
                x = x * linear(weights, f"{name}.se.fc.2", gate).sigmoid()[..., None, None]
            if f"{name}.{shortcut}.0.weight" in weights:
                before = conv2d(weights, f"{name}.{shortcut}.0", before, stride)
                before = norm(weights, f"{name}.{shortcut}.1", before)
            x, block = (x + before).relu(), block + 1
    return x


def wespeaker_resnet34(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    bands = weights["seg_1.weight"].shape[1] // 2 // len(weights["layer4.0.conv1.weight"]) * 8
    x = norm(weights, "bn1", conv2d(weights, "conv1", kaldi_features(waveform, bands)[None])).relu()
    x = residual(weights, x, (1, 2, 2, 2), "shortcut", norm_last=False).flatten(1, 2)
    return linear(weights, "seg_1", torch.cat([x.mean(-1), (x.var(-1) + 1e-7).sqrt()], dim=1))


def resnetse34l(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    x = clova_features(waveform, settings["num_mel_bins"], preemphasis=False, log=settings.get("use_log", True))
    x = norm(weights, "bn1", functional.conv2d(x[None], weights["conv1.weight"], stride=(2, 1), padding=3)).relu()
    x = residual(weights, x, (1, 2, 2, 1), "downsample", norm_last=True).mean(2)
    scores = linear(weights, "sap_linear", x.mT).tanh() @ weights["attention"]
    mean, square = weighted(x, scores.mT)
    if weights["fc.weight"].shape[1] == 2 * len(mean[0]):
        mean = torch.cat([mean, (square - mean**2).clamp_min(1e-5).sqrt()], dim=1)
    return linear(weights, "fc", mean)


def clova_scores(weights: Weights, seen: torch.Tensor) -> torch.Tensor:
    hidden = norm(weights, "attention.2", pointwise(weights, "attention.0", seen).relu())
    return pointwise(weights, "attention.3", hidden)


def resnetse34v2(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    x = clova_features(waveform, settings["num_mel_bins"], preemphasis=True, log=settings.get("use_log", True))
    x = norm(weights, "bn1", conv2d(weights, "conv1", x[None]).relu())
    x = residual(weights, x, (1, 2, 2, 2), "downsample", norm_last=True).flatten(1, 2)
    mean, square = weighted(x, clova_scores(weights, x))
    if "fc.weight" not in weights:  # the disentangler's
        return torch.cat([square.clamp_min(1e-4).sqrt(), (square - mean**2).clamp_min(1e-4).sqrt()], dim=1)
    if weights["fc.weight"].shape[1] == 2 * x.shape[1]:
        mean = torch.cat([mean, (square - mean**2).clamp_min(1e-5).sqrt()], dim=1)
    return linear(weights, "fc", mean)


def clova_block(weights: Weights, name: str, x: torch.Tensor, dilation: int) -> torch.Tensor:
    x = unit(weights, f"{name}.conv1", f"{name}.bn1", x)
    x = res2net(
        list(x.chunk(8, dim=1)),
        lambda part, y: unit(weights, f"{name}.convs.{part}", f"{name}.bns.{part}", y, dilation),
        untouched=7,
    )
    return unit(weights, f"{name}.conv3", f"{name}.bn3", x)


def ecapa_disentangler(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    x = clova_features(waveform, weights["conv1.weight"].shape[1], preemphasis=True, log=settings.get("use_log", True))
    total = unit(weights, "conv1", "bn1", x)
    outputs = []
    for layer, dilation in ((1, 2), (2, 3), (3, 4)):
        name = f"layer{layer}"
        x = clova_block(weights, name, total, dilation)
        gate = norm(weights, f"{name}.se.se.3", linear(weights, f"{name}.se.se.1", x.mean(-1)).relu())
        x = x * linear(weights, f"{name}.se.se.4", gate).sigmoid()[..., None] + total
        outputs.append(x)
        total = total + x
    x = pointwise(weights, "layer4", torch.cat(outputs, dim=1)).relu()
    mean, square = weighted(x, clova_scores(weights, with_context(x, x.var(-1, keepdim=True).clamp_min(1e-4).sqrt())))
    return torch.cat([square.clamp_min(1e-4).sqrt(), (square - mean**2).clamp_min(1e-4).sqrt()], dim=1)


def rawnet3(weights: Weights, waveform: torch.Tensor, settings: dict) -> torch.Tensor:
    waveform = waveform - 0.97 * torch.cat([waveform[1:2], waveform[:-1]])
    waveform = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-4).sqrt()
    waveform = waveform * weights["preprocess.1.weight"] + weights["preprocess.1.bias"]
    taps = 2 * len(weights["conv1.filterbank.window_"]) + 1
    filters = sinc_filters(weights["conv1.filterbank.low_hz_"], weights["conv1.filterbank.band_hz_"], taps)
    windows = waveform.unfold(0, taps, settings.get("sinc_stride", 10))
    x = ((filters @ windows.T).abs() + 1e-6).log()
    x = (x - x.mean(1, keepdim=True))[None]

    def block(name, x, dilation, pool):
        shortcut = f"{name}.residual.0"
        before = pointwise(weights, shortcut, x) if f"{shortcut}.weight" in weights else x
        x = clova_block(weights, name, x, dilation) + before
        x = functional.max_pool1d(x, pool) if pool > 1 else x
        gate = linear(weights, f"{name}.afms.fc", x.mean(-1)).sigmoid()
        return (x + weights[f"{name}.afms.alpha"]) * gate[..., None]

    first = block("layer1", x, 2, 5)
    second = block("layer2", first, 3, 3)
    pooled = functional.max_pool1d(first, 3)
    third = block("layer3", pooled + second, 4, 1)
    x = pointwise(weights, "layer4", torch.cat([pooled, second, third], dim=1)).relu()
    std = x.var(-1, keepdim=True).clamp(1e-4, 1e4).sqrt()
    mean, square = weighted(x, clova_scores(weights, with_context(x, std)))
    pooled = torch.cat([mean, (square - mean**2).clamp(1e-4, 1e4).sqrt()], dim=1)
    return linear(weights, "fc6", norm(weights, "bn5", pooled))


FORWARD = {
    "ecapa_speechbrain": ecapa_speechbrain,
    "wespeaker_ecapa": wespeaker_ecapa,
    "wespeaker_resnet34": wespeaker_resnet34,
    "resnetse34l": resnetse34l,
    "resnetse34v2": resnetse34v2,
    "resnetse34v2_disentangler": resnetse34v2,
    "ecapa_disentangler": ecapa_disentangler,
    "rawnet3": rawnet3,
}
