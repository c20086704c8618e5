"""The claims of LTBS on single words of drawn talkers; `train_ltbs.py --toy` runs it.

A network sees a mouth and never hears it. From twelve words, two pairs of which look the same, it learns

1. that true units, pitch and energy make the spectrogram easier. Those that the network predicts itself do so for new
   clips of the people it knows; for strangers, of whom it tells a third of the units, they do not;
2. that an averaged spectrogram is too smooth, and that a flow gives its detail back: the likelihood of real ones
   rises, and so does the roughness over frequency;
3. that a flow can hold two spectra for one picture, where regression is near neither.

| network | conditions |
|---|---|
| without | constants in place of units, pitch and energy; the spectrogram's loss alone |
| with | the true ones for a third of the steps; then, in half of each batch, those it predicts |

The post-net is trained behind the second one, with all else frozen. Each seed has clips and first weights of its own,
which its networks share. Everything is measured on strangers: voices and faces that training has not seen. A judge that
has learned the words from real clips of the training voices says which word a made spectrogram is, and which one its
sound, made by Griffin and Lim's algorithm.

Units are clusters of spectrograms here, for there are no weights of HuBERT. A voice is the embedding of three other
clips, by the speaker encoder of the session embeddings that ship. Dropout of the conformer and smoothing of labels are
off: in so few steps they only slow the network down.

Open vocabulary is not shown, nor that real lips can be read: all words are known, and drawn mouths move by visemes.

The network of the first seed is saved, in float16, with a copy of the encoder of voices.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model
from torch import nn
from toy.runs import note, open_output, run_jobs, save_card, save_in_half
from toy.spoken_clips import (
    NUM_MEL_BINS,
    NUM_UNITS,
    VOICE_SIZE,
    Judge,
    SpokenClips,
    TalkingMouths,
    get_inputs,
    load_clips,
    load_speaker_encoder,
    load_speaker_features,
    recognize,
    render_clips,
    train_judge,
)
from transformers.utils import logging

from avzoo import FlowPostNet, LTBSConfig, LTBSForLipToSpeech
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.ltbs.loss_ltbs import flow_loss
from avzoo.models.ltbs.training_ltbs import AcousticTraining, PostNetTraining, make_constants
from avzoo.training import StepInfo, TrainingArguments, train

NETWORK = {
    "trunk_channels": (16, 32, 64, 80),
    "encoder_layers": 3,
    "decoder_layers": 1,
    "hidden_size": 96,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "conv_kernel_size": 7,
    "hidden_dropout": 0.0,
    "num_units": NUM_UNITS,
    "unit_layers": 2,
    "prosody_layers": 2,
    "predictor_hidden": 64,
    "predictor_dropout": 0.2,
    "variance_embed_dim": 32,
    "speaker_conditioning": "embedding",
    "speaker_embed_dim": 32,
    "speaker_encoder_dim": VOICE_SIZE,
    "postnet_hidden": 48,
    "postnet_steps": 4,
    "postnet_layers": 2,
    "postnet_dropout": 0.0,
    "postnet_prior": "standard",
    "variance_loss_weight": 0.2,
    "label_smoothing": 0.0,
}
NETWORKS = ("without", "with")
ACOUSTIC_STEPS, POSTNET_STEPS, SPECTRA_STEPS = 1400, 1200, 600
BATCH_SIZE = 16
LEARNING_RATE, WARMUP_STEPS = 1e-3, 50
GIVEN_UNTIL = 1 / 3  # of the steps: conditions are the true ones
NOISE_SCALE = 0.667
SPREAD = 0.1  # of two spectra, nats


@dataclass(frozen=True)
class Job:
    """Something to train: the clips of a seed and their judge, a network, or a flow of two spectra."""

    name: str
    seed: int
    data: Path
    output: Path


@dataclass
class Result:
    """What was measured of a job: {"strangers" or "known": {what: number}}, and seconds of a core."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0


def show_claim(options: argparse.Namespace) -> None:
    """Train, measure and print; save the network of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        results: dict[tuple[str, int], Result] = {}
        for names in (("clips",), (*reversed(NETWORKS), "two spectra")):
            jobs = [
                Job(name, seed, scratch / f"clips-{seed}.pt", scratch / f"{name}-{seed}")
                for seed in options.toy_seeds
                for name in names
            ]
            for job, result in run_jobs(run, jobs):
                note(f"{job.name}, seed {job.seed}: {result.seconds:.0f} s of a core", begin)
                results[job.name, job.seed] = result
        print(table(results, options.toy_seeds))
        save_shipped(output, scratch, options.toy_seeds, results)
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


def run(job: Job) -> Result:
    """Do a job, in a worker process."""
    logging.disable_progress_bar()
    begin = time.process_time()
    values = {"clips": make_clips, "two spectra": learn_two_spectra}.get(job.name, train_network)(job)
    return Result(values, time.process_time() - begin)


def make_clips(job: Job) -> dict[str, dict[str, float]]:
    """Render the clips of a seed and train their judge."""
    data = render_clips(job.seed)
    data.save(job.data)
    judge = train_judge(data, job.seed, job.output)
    return {
        split: name_shares("real", recognize(judge, data.normalize(clips["mel"]), clips["words"]))
        for split, clips in data.splits.items()
        if split != "train"
    }


def name_shares(what: str, shares: Sequence[float]) -> dict[str, float]:
    return dict(zip((f"word, {what}", f"lip class, {what}", f"word of a pair, {what}"), shares, strict=True))


# ----------------------------------------------------------------------------------------------------------- networks


def make_network(data: SpokenClips, seed: int) -> LTBSForLipToSpeech:
    """A network with first weights of a seed, which begins with the mean spectrogram."""
    torch.manual_seed(seed)
    model = LTBSForLipToSpeech(LTBSConfig(**NETWORK))
    with torch.no_grad():
        model.ltbs.mel_projection.bias.copy_(data.mean)
        model.ltbs.mean_speaker.copy_(data.splits["train"]["voice_vectors"].mean(0))
        # The flow reads the coarse spectrogram as if each bin were normed.
        projection, size = model.postnet.condition_projection, model.config.hidden_size
        mean, scale = torch.zeros(size + NUM_MEL_BINS), torch.ones(size + NUM_MEL_BINS)
        mean[size:], scale[size:] = data.mean, data.std
        mean, scale = (values.repeat(model.config.postnet_squeeze) for values in (mean, scale))
        projection.direction.div_(scale[:, None])
        projection.length.copy_(projection.direction.norm(dim=(1, 2), keepdim=True))
        projection.bias.sub_(projection.compute_weight()[..., 0] @ mean)
    return model


def make_arguments(job: Job, stage: str, steps: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(job.output / stage),
        max_steps=steps,
        batch_size=BATCH_SIZE,
        drop_last=True,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_STEPS,
        schedule="cosine",
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )


def train_network(job: Job) -> dict[str, dict[str, float]]:
    """Train a network in one stage or, with conditions, in two; and measure it."""
    data = load_clips(job.data)
    model = make_network(data, job.seed)
    clips = TalkingMouths(data.splits["train"])
    uses_conditions = job.name == "with"

    def compute_loss(network: nn.Module, batch: dict[str, torch.Tensor], step: StepInfo) -> dict[str, torch.Tensor]:
        count = len(batch["mel_labels"])
        return network(batch, count if step.step < GIVEN_UNTIL * step.total_steps else count // 2)

    acoustic = AcousticTraining(model, uses_conditions)
    train(acoustic, clips, make_arguments(job, "acoustic", ACOUSTIC_STEPS), compute_loss=compute_loss)
    if uses_conditions:
        flow = PostNetTraining(model)
        train(
            flow,
            clips,
            make_arguments(job, "postnet", POSTNET_STEPS),
            compute_loss=lambda network, batch, _: network(batch),
        )
        model.ltbs.requires_grad_(True)
    model.eval().save_pretrained(job.output)
    data.make_processor().save_pretrained(job.output)
    judge = load_judge(job)
    return {split: measure(model, data, split, judge, uses_conditions) for split in ("strangers", "known")}


def load_judge(job: Job) -> Judge:
    judge = Judge()
    load_model(judge, job.output.parent / f"clips-{job.seed}" / "model.safetensors")
    return judge.eval()


# ---------------------------------------------------------------------------------------------------------- measuring


@torch.no_grad()
def measure(
    model: LTBSForLipToSpeech, data: SpokenClips, split: str, judge: Judge, uses_conditions: bool
) -> dict[str, float]:
    """All that is reported of a network on some test clips."""
    clips = data.splits[split]
    mel, words, units = clips["mel"], clips["words"], clips["units"]
    inputs = get_inputs(clips, slice(None))
    if not uses_conditions:
        told = make_constants(units)
        coarse = model.ltbs(**inputs, **told, return_dict=True).mel_coarse
        shares = recognize(judge, data.normalize(coarse), words)
        return {"L1": float((coarse - mel).abs().mean()), **name_shares("coarse", shares)}
    told = {"units": units, "pitch": clips["pitch"], "energy": clips["energy"]}
    given = model.ltbs(**inputs, **told, return_dict=True).mel_coarse
    acoustic = model.ltbs(**inputs, return_dict=True)
    coarse = acoustic.mel_coarse
    noise = torch.randn(coarse.shape, generator=torch.Generator().manual_seed(0))
    refined = model.refine(acoustic, noise, NOISE_SCALE)
    mask, condition = model.describe_frames(acoustic)
    latent, log_determinant = model.postnet(mel.mT, mask, condition)
    loud = find_loud_frames(mel)
    values = {
        "L1, given": float((given - mel).abs().mean()),
        "L1, predicted": float((coarse - mel).abs().mean()),
        "L1, refined": float((refined - mel).abs().mean()),
        "unit accuracy": float((acoustic.units == units).float().mean()),
        "pitch L1": float((acoustic.pitch - clips["pitch"]).abs().mean()),
        "energy L1": float((acoustic.energy - clips["energy"]).abs().mean()),
        "NLL, flow": float(flow_loss(latent, log_determinant, torch.zeros_like(latent), mask)),
        "NLL, one sigma": gaussian_nll(mel - coarse, torch.zeros_like(loud)),
        "NLL, two sigmas": gaussian_nll(mel - coarse, loud),
        "roughness, coarse": measure_roughness(coarse, loud) / measure_roughness(mel, loud),
        "roughness, refined": measure_roughness(refined, loud) / measure_roughness(mel, loud),
    }
    for name, made in (("coarse", coarse), ("refined", refined)):
        values |= name_shares(name, recognize(judge, data.normalize(made), words))
        again = hear_again(made, data)
        values |= name_shares(f"{name} as sound", recognize(judge, data.normalize(again), words))
    return values


def find_loud_frames(mel: torch.Tensor) -> torch.Tensor:
    """(clips, frames) bool: above the middle between quiet and loud frames of all clips."""
    level = mel.mean(2)
    low, high = torch.quantile(level, torch.tensor([0.05, 0.95]))
    return level > (low + high) / 2


def gaussian_nll(residual: torch.Tensor, loud: torch.Tensor) -> float:
    """Negative log likelihood per value of normal distributions of the best deviation per bin, of loud frames and of
    quiet ones: nats. The deviations are those of the very clips, which is more than a model could know."""
    total = 0.0
    for frames in (residual[loud], residual[~loud]):
        if len(frames):
            deviation = frames.square().mean(0).sqrt()
            total += len(frames) * float(deviation.log().mean() + 0.5 * math.log(2 * math.pi * math.e))
    return total / loud.numel()


def measure_roughness(mel: torch.Tensor, loud: torch.Tensor) -> float:
    """Variance of the second difference over bins in loud frames."""
    return float(mel.diff(n=2, dim=2)[loud].var())


def make_vocoder(data: SpokenClips) -> GriffinLimVocoder:
    mel = data.make_processor().mel_settings
    return GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(mel)).eval()


def hear_again(mel: torch.Tensor, data: SpokenClips) -> torch.Tensor:
    """The spectrograms of the sound that is made of spectrograms."""
    processor = data.make_processor()
    waveforms = make_vocoder(data)(mel)
    heard = [processor.mel_settings.compute(processor.prepare_sound(waveform)) for waveform in waveforms]
    return torch.stack(heard)[:, : mel.shape[1]]


# -------------------------------------------------------------------------------------------------------- two spectra


class TwoSpectra(torch.utils.data.Dataset):
    """One picture with one of two spectra, each in half of the draws.

    A sample has `condition` (16, 2), which tells nothing, and `mel` (80, 2): one of `modes` and noise.
    """

    def __init__(self, count: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(2, 1, 9, generator=generator)
        curves = nn.functional.interpolate(points, NUM_MEL_BINS, mode="linear", align_corners=True)[:, 0]
        self.modes = curves[..., None].expand(-1, -1, 2).clone()
        self.choices = torch.randint(2, (count,), generator=generator)
        self.noise = SPREAD * torch.randn(count, NUM_MEL_BINS, 2, generator=generator)
        self.conditions = torch.randn(count, 16, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"condition": self.conditions[index], "mel": self.modes[self.choices[index]] + self.noise[index]}


class SpectraRegression(nn.Module):
    """A condition to the spectrum that is nearest on average."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(16, 64, 1), nn.ReLU(), nn.Conv1d(64, NUM_MEL_BINS, 1))

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        return self.layers(condition)


def learn_two_spectra(job: Job) -> dict[str, dict[str, float]]:
    """Distances from the nearer mode, of regression and of samples, and how often a sample is near the first."""
    torch.manual_seed(job.seed)
    data, test = TwoSpectra(4096, job.seed), TwoSpectra(512, job.seed)
    mask = torch.ones(BATCH_SIZE * 4, 1, 2)

    def fit(network: nn.Module, stage: str, compute_loss: Callable) -> nn.Module:
        arguments = make_arguments(job, stage, SPECTRA_STEPS)
        arguments.batch_size = len(mask)
        train(network, data, arguments, compute_loss=compute_loss)
        return network.eval()

    def compute_flow_loss(network: nn.Module, batch: dict[str, torch.Tensor], _: Any) -> torch.Tensor:
        latent, log_determinant = network(batch["mel"], mask, batch["condition"])
        return flow_loss(latent, log_determinant, torch.zeros_like(latent), mask)

    regression = fit(
        SpectraRegression(),
        "regression",
        lambda network, batch, _: (network(batch["condition"]) - batch["mel"]).abs().mean(),
    )
    flow = fit(FlowPostNet(NUM_MEL_BINS, 16, hidden_size=48, num_steps=4, num_layers=2), "flow", compute_flow_loss)
    with torch.no_grad():
        condition = test.conditions
        noise = torch.randn(test.noise.shape, generator=torch.Generator().manual_seed(job.seed))
        every = torch.ones(len(test), 1, 2)
        samples = flow.invert(NOISE_SCALE * noise, every, condition)
        made = {"regression": regression(condition), "samples": samples}
        distances = {
            name: torch.stack([(values - mode).abs().mean((1, 2)) for mode in data.modes])
            for name, values in made.items()
        }
    values = {f"nearest mode, {name}": float(values.amin(0).mean()) for name, values in distances.items()}
    values["share of the first mode"] = float((distances["samples"].argmin(0) == 0).float().mean())
    values["modes apart"] = float((data.modes[0] - data.modes[1]).abs().mean())
    return {"two spectra": values}


# ------------------------------------------------------------------------------------------------------------ results


@dataclass(frozen=True)
class Claim:
    """A bound of a number that is computed from the results of a seed."""

    text: str
    compute: Callable[[dict[str, dict[str, float]]], float]
    at_least: float = -math.inf
    at_most: float = math.inf

    def judge(self, numbers: Sequence[float]) -> str:
        mean = float(np.mean(numbers))
        verdict = "holds" if self.at_least <= mean <= self.at_most else "MISSED"
        bounds = [f"at least {self.at_least:g}"] * math.isfinite(self.at_least)
        bounds += [f"at most {self.at_most:g}"] * math.isfinite(self.at_most)
        seeds = " ".join(f"{number:.3f}" for number in numbers)
        return f"{verdict:<7}{self.text:<64}{mean:7.3f}  ({seeds})  {', '.join(bounds)}"


def reduce_l1(conditions: str) -> Callable[[dict[str, dict[str, float]]], float]:
    """How much lower the distance is than without conditions, a share."""
    return lambda all_values: 1 - all_values["with"][f"L1, {conditions}"] / all_values["without"]["L1"]


def gain_likelihood(sigmas: str) -> Callable[[dict[str, dict[str, float]]], float]:
    return lambda all_values: all_values["with"][f"NLL, {sigmas}"] - all_values["with"]["NLL, flow"]


def take(job: str, what: str) -> Callable[[dict[str, dict[str, float]]], float]:
    return lambda all_values: all_values[job][what]


CLAIMS = (
    Claim("coarse L1 lower by, conditions given", reduce_l1("given"), at_least=0.15),
    Claim("coarse L1 lower by, conditions predicted", reduce_l1("predicted"), at_least=0.02),
    Claim("likelihood gain over one sigma per bin, nats", gain_likelihood("one sigma"), at_least=0.5),
    Claim("likelihood gain over sigmas of loud and quiet, nats", gain_likelihood("two sigmas"), at_least=0.3),
    Claim("roughness over bins, coarse over real", take("with", "roughness, coarse"), at_most=0.4),
    Claim("roughness over bins, refined over real", take("with", "roughness, refined"), at_least=0.6, at_most=1.4),
    Claim(
        "two spectra: nearest mode, samples over regression",
        lambda values: (
            values["two spectra"]["nearest mode, samples"] / values["two spectra"]["nearest mode, regression"]
        ),
        at_most=0.5,
    ),
    Claim("two spectra: share of the first mode", take("two spectra", "share of the first mode"), 0.2, 0.8),
    Claim("word, real sound", take("clips", "word, real"), at_least=0.85),
    Claim("word, refined, as sound", take("with", "word, refined as sound"), at_least=0.5),
    Claim("lip class, refined, as sound", take("with", "lip class, refined as sound"), at_least=0.7),
    Claim(
        "word of a pair that looks alike, refined, as sound", take("with", "word of a pair, refined as sound"), 0.3, 0.7
    ),
)


def collect(results: dict[tuple[str, int], Result], seed: int, split: str) -> dict[str, dict[str, float]]:
    """{job: {what: number}} of a seed."""
    jobs = [name for name, other in results if other == seed]
    return {name: results[name, seed].values.get(split, results[name, seed].values.get(name, {})) for name in jobs}


def table(results: dict[tuple[str, int], Result], seeds: Sequence[int]) -> str:
    """The claims, and all numbers, as means over seeds."""
    strangers = [collect(results, seed, "strangers") for seed in seeds]
    known = [collect(results, seed, "known") for seed in seeds]
    lines = [f"strangers, mean of seeds {', '.join(map(str, seeds))} (seed by seed)", ""]
    lines += [claim.judge([claim.compute(values) for values in strangers]) for claim in CLAIMS]
    lines += ["", f"{'':<46}{'strangers':>11}{'known':>9}"]
    for job in strangers[0]:
        for what in strangers[0][job]:
            numbers = [np.mean([values[job].get(what, np.nan) for values in rows]) for rows in (strangers, known)]
            lines.append(f"{job + ': ' + what:<46}{numbers[0]:11.3f}{numbers[1]:9.3f}")
    seconds = sum(result.seconds for result in results.values()) / len(seeds)
    return "\n".join([*lines, "", f"{seconds:.0f} s of a core for each seed"])


def save_shipped(output: Path, scratch: Path, seeds: Sequence[int], results: dict[tuple[str, int], Result]) -> None:
    """The first seed's network, its processor, card and speaker encoder, as one folder."""
    data = load_clips(scratch / f"clips-{seeds[0]}.pt")
    model = LTBSForLipToSpeech.from_pretrained(scratch / f"with-{seeds[0]}")
    save_in_half(model, output)
    data.make_processor().save_pretrained(output)
    save_in_half(load_speaker_encoder(), output / "speaker_encoder")
    load_speaker_features().save_pretrained(output / "speaker_encoder")
    strangers = [collect(results, seed, "strangers") for seed in seeds]
    measured = {
        f"{claim.text}, strangers, seed by seed": ", ".join(f"{claim.compute(values):.3f}" for values in strangers)
        for claim in CLAIMS
    }
    save_card("ltbs", output, measured)
