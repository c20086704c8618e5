"""VoiceLDM's claim on spoken words in synthetic scenes; run by `train_voiceldm.py --toy`.

A tiny VoiceLDM is trained from scratch as in the paper, on latents of clips with one of eight words in one of eight
scenes: the description is CLAP's embedding of the clip's own audio, and each condition is dropped one time in ten. Then
it generates from random pairs of caption and word, at pairs of guidance scales and at single scales, and two judges,
trained on real clips, recognise word and scene.

The frozen components (autoencoder, CLAP, tokenizers) and the judges are trained in `voiceldm_parts.py`.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from toy.runs import note, open_output, save_card
from toy.voiceldm_parts import (
    EMBEDDING_SIZE,
    LATENT_CHANNELS,
    NUM_FRAMES,
    SECONDS,
    Judge,
    build_clap_extractor,
    load_data,
    load_judges,
    prepare_data,
    train_parts,
)
from train_voiceldm import DenoisingStep, TrainedPipeline
from transformers import (
    ClapAudioModelWithProjection,
    ClapTextModelWithProjection,
    RobertaTokenizer,
    SpeechT5Tokenizer,
)
from transformers.utils import logging

from avzoo import VoiceLDMContentEncoder, VoiceLDMContentEncoderConfig, VoiceLDMPipeline
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram
from avzoo.pipelines.text_to_audio.presets import PRESETS
from avzoo.toyworld.scene_words import SCENES, WORDS
from avzoo.training import TrainingArguments, train
from avzoo.training.half_precision import save_in_half

DUAL_SCALES = [(desc, cont) for desc in (0, 2, 6) for cont in (0, 2, 6)]
SINGLE_SCALES = [1.5, 3, 6]
DEFAULT_SCALES = {"desc_guidance_scale": 2.0, "cont_guidance_scale": 3.0}
BATCH_SIZE = 64


@dataclass(frozen=True)
class Scores:
    """Results of the judges for one setting: accuracies, and mean log-probabilities of the true classes."""

    guidance: str  # "dual" or "single"
    scales: tuple[float, ...]
    word: float
    scene: float
    word_log_probability: float
    scene_log_probability: float


def show_claim(options: argparse.Namespace) -> None:
    """Train, generate, judge and print; save the pipeline and the plot in `options.output_dir`."""
    begin = time.perf_counter()
    logging.set_verbosity_error()
    with open_output(options.output_dir) as (output, scratch):
        path = prepare_data(scratch, options.toy_clips, options.toy_test_clips, options.seed)
        note(f"{options.toy_clips} training clips rendered", begin)
        train_parts(scratch, path, options.seed, begin, options.toy_part_steps)
        data, judges = load_data(path), load_judges(scratch)
        pipe = build_pipeline(scratch, options.seed, options.toy_sampling_steps)
        train_denoiser(pipe, data["train"], scratch / "denoiser", options)
        note("denoiser trained", begin)
        grid = judge_grid(pipe, judges, data["test"], options)
        note("grid judged", begin)
        save_shipped(pipe, output, measure_saved(pipe, judges, data["test"], options, output))
    print(format_table(grid))
    print(plot_grid(grid, output / "grid.png"))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; pipeline saved in {output}")


def build_pipeline(folder: Path, seed: int, sampling_steps: int | None) -> VoiceLDMPipeline:
    """Build the pipeline; denoiser and content encoder are not yet trained."""
    settings = {"audio_length_in_s": SECONDS, **DEFAULT_SCALES}
    if sampling_steps is not None:
        settings["num_inference_steps"] = sampling_steps
    torch.manual_seed(seed)
    content_tokenizer = SpeechT5Tokenizer.from_pretrained(folder / "content_tokenizer")
    content_encoder = VoiceLDMContentEncoder(
        VoiceLDMContentEncoderConfig(
            vocab_size=len(content_tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            max_relative_position=16,
            max_text_positions=64,
            max_frames=128,
            upsampler_dropout=0.0,
            initializer_range=0.7,  # the released one starts from a trained encoder; small ones drown in positions
        )
    )
    unet = UNet2DConditionModel(
        sample_size=(NUM_FRAMES // 8, 8),
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(48, 64, 96),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=64,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=EMBEDDING_SIZE,
        class_embeddings_concat=True,
    )
    scheduler = DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",  # small networks learn it in minutes
    )
    clap = folder / "clap"
    pipe = VoiceLDMPipeline(
        unet=unet,
        content_encoder=content_encoder,
        scheduler=scheduler,
        vae=AutoencoderKL.from_pretrained(folder / "vae").eval(),
        vocoder=GriffinLimVocoder(GriffinLimVocoderConfig()),
        description_encoder=ClapTextModelWithProjection.from_pretrained(clap).eval(),
        description_tokenizer=RobertaTokenizer.from_pretrained(clap),
        content_tokenizer=content_tokenizer,
        audio_encoder=ClapAudioModelWithProjection.from_pretrained(clap).eval(),
        feature_extractor=build_clap_extractor(),
        null_content="",
        presets={name: {**preset, **settings} for name, preset in PRESETS.items()},
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.use_preset("fast")


# ----------------------------------------------------------------------------------------------- training


class PreparedStep(DenoisingStep):
    """The training step on precomputed latents and descriptions."""

    def __init__(self, pipe: VoiceLDMPipeline, arrays: list[torch.Tensor], null_probability: float):
        super().__init__(pipe, cache=None, null_probability=null_probability, snr_gamma=None)
        self.arrays = arrays

    def encode(self, batch: list[dict[str, Any]], device: torch.device) -> list[torch.Tensor]:
        numbers = [sample["number"] for sample in batch]
        return [array[numbers] for array in self.arrays]


def train_denoiser(pipe: VoiceLDMPipeline, data: dict[str, Any], folder: Path, options: argparse.Namespace) -> None:
    with torch.no_grad():
        posteriors = [pipe.vae.encode(part[:, None]).latent_dist for part in data["log_mel"].split(64)]
        described = [pipe.audio_encoder(input_features=part).audio_embeds for part in data["clap_features"].split(64)]
    means = torch.cat([posterior.mean for posterior in posteriors])
    deviations = torch.cat([posterior.std for posterior in posteriors])
    clips = [{"number": number, "text": WORDS[word]} for number, word in enumerate(data["word"].tolist())]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=options.toy_steps,
        batch_size=32,
        drop_last=True,
        learning_rate=2e-3,
        weight_decay=1e-2,
        schedule="cosine",
        warmup_steps=min(100, options.toy_steps // 2),
        ema_decay=0.99,
        seed=options.seed,
        cpu=True,
        progress_bar=options.progress_bar,
    )
    step = PreparedStep(pipe, [means, deviations, torch.cat(described)], options.null_probability)
    train(TrainedPipeline(pipe), clips, arguments, data_collator=list, compute_loss=step)


# ------------------------------------------------------------------------------------------------ judging


@torch.no_grad()
def generate(pipe: VoiceLDMPipeline, data: dict[str, Any], options: argparse.Namespace, **settings: Any):
    """Return results and true classes: every combination of word and scene, with captions of the test clips."""
    random = np.random.default_rng(options.seed)
    count = options.toy_samples
    truth = {
        "word": torch.arange(count) % len(WORDS),
        "scene": torch.arange(count) // len(WORDS) % len(SCENES),
    }
    captions = [
        [caption for caption, of in zip(data["captions"], data["scene"].tolist(), strict=True) if of == scene]
        for scene in range(len(SCENES))
    ]
    descriptions = [str(random.choice(captions[scene])) + "." for scene in truth["scene"].tolist()]
    words = [WORDS[word] for word in truth["word"].tolist()]
    results = []
    for start in range(0, count, BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        numbers = range(start, min(start + BATCH_SIZE, count))
        noise = [torch.Generator().manual_seed(options.seed * 1_000_000 + number) for number in numbers]
        results.append(pipe(descriptions[part], words[part], generator=noise, **settings).audios)
    return torch.cat(results), truth


@torch.no_grad()
def judge(judges: dict[str, Judge], log_mels: torch.Tensor, truth: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the fields of [`Scores`] but guidance and scales."""
    heard = {}
    for name, network in judges.items():
        scores = network(log_mels).log_softmax(-1)
        heard[name] = float(scores.argmax(-1).eq(truth[name]).double().mean())
        heard[f"{name}_log_probability"] = float(scores.gather(1, truth[name][:, None]).mean())
    return heard


def judge_grid(
    pipe: VoiceLDMPipeline, judges: dict[str, Judge], data: dict[str, Any], options: argparse.Namespace
) -> list[Scores]:
    """Spectrograms at every pair of scales and at single scales, all from the same noise, by the fast sampler."""
    settings = [("dual", scales) for scales in DUAL_SCALES] + [("single", (scale,)) for scale in SINGLE_SCALES]
    grid = []
    for guidance, scales in settings:
        names = ("desc_guidance_scale", "cont_guidance_scale") if guidance == "dual" else ("guidance_scale",)
        named = dict(zip(names, scales, strict=True))
        spectrograms, truth = generate(pipe, data, options, output_type="mel", **named)
        grid.append(Scores(guidance, scales, **judge(judges, spectrograms[:, 0], truth)))
    return grid


def format_table(grid: list[Scores]) -> str:
    lines = ["guidance  scales      word   scene   log p(word)  log p(scene)"]
    for heard in grid:
        scales = "".join(f"{scale:>5g}" for scale in heard.scales)
        lines.append(
            f"{heard.guidance:<8}{scales:<10}{heard.word:9.3f}{heard.scene:8.3f}"
            f"{heard.word_log_probability:12.2f}{heard.scene_log_probability:14.2f}"
        )
    at = {heard.scales: heard for heard in grid}
    for what, end in (("desc", (6, 0)), ("cont", (0, 6))):
        start, raised = at[0, 0], at[end]
        lines.append(
            f"{what}_guidance_scale alone from 0 to 6: scene {raised.scene - start.scene:+.3f} (log p "
            f"{raised.scene_log_probability - start.scene_log_probability:+.2f}), word {raised.word - start.word:+.3f} "
            f"(log p {raised.word_log_probability - start.word_log_probability:+.2f})"
        )
    return "\n".join(lines)


def plot_grid(grid: list[Scores], path: Path) -> str:
    """Words against scenes, one line for each content scale, and one for single guidance."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed"
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, 2)
    kinds = (("word", "scene"), ("word_log_probability", "scene_log_probability"))
    for axis, (word, scene) in zip(axes, kinds, strict=True):
        lines = {f"dual, cont {cont}": [h for h in grid if h.scales[1:] == (cont,)] for cont in (0, 2, 6)}
        lines["single"] = [h for h in grid if h.guidance == "single"]
        for name, points in lines.items():
            style = "k--s" if name == "single" else "-o"
            values = [(getattr(h, word), getattr(h, scene)) for h in points]
            axis.plot(*zip(*values, strict=True), style, label=name)
            for heard, value in zip(points, values, strict=True):
                axis.annotate(", ".join(f"{scale:g}" for scale in heard.scales), value, fontsize=8)
        axis.set(xlabel=word.replace("_", " "), ylabel=scene.replace("_", " "))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle("Words against scenes; numbers are desc and cont scale, or the single scale")
    figure.savefig(path, dpi=120)
    return f"plot: {path}"


# ------------------------------------------------------------------------------------------------- saving


def measure_saved(
    pipe: VoiceLDMPipeline,
    judges: dict[str, Judge],
    data: dict[str, Any],
    options: argparse.Namespace,
    output: Path,
) -> dict[str, Any]:
    """Judge waveforms of the saved pipeline, whose weights were rounded to float16."""
    save_in_half(pipe, output)
    saved = VoiceLDMPipeline.from_pretrained(output)
    saved.set_progress_bar_config(disable=True)
    results: dict[str, Any] = {}
    for preset in ("fast", "reference"):
        saved.use_preset(preset)
        waveforms, truth = generate(saved, data, options, output_type="pt")
        heard = judge(judges, log_mel_spectrogram(torch.nn.functional.pad(waveforms, (0, 480)), NUM_FRAMES), truth)
        for name, classes in (("word", WORDS), ("scene", SCENES)):
            what = f"{name} recognised in {len(waveforms)} waveforms, preset {preset} (chance {1 / len(classes):.3f})"
            results[what] = f"{heard[name]:.3f}"
    real = judge(judges, data["log_mel"], {name: data[name] for name in judges})
    for name in judges:
        results[f"{name} recognised in real clips"] = f"{real[name]:.3f}"
    return results


def save_shipped(pipe: VoiceLDMPipeline, output: Path, results: dict[str, Any]) -> None:
    save_card("voiceldm", output, results, "python examples/train_voiceldm.py --toy")
