r"""Train VoiceLDM: denoiser and content encoder, on recordings of speech with transcripts.

On the lists of glory20h/voiceldm-data (columns file_path, text, data), each dataset in a folder of its own:

    accelerate launch examples/train_voiceldm.py --size s --speech cv1.csv as_speech_en.csv --noise noise_demand.csv \
        --data_dir cv=CommonVoice as_b=AudioSet/balanced as_ub=AudioSet/unbalanced demand=DEMAND --output_dir voiceldm

The frozen components (VAE, vocoder, CLAP, tokenizers) and the scheduler come from the authors' sources on the Hub, or
from local folders (`--part audioldm=FOLDER clap=FOLDER speecht5=FOLDER`). `--model` continues with a pipeline written
by `avzoo convert voiceldm` or this script. The recordings need no descriptions: a clip's description is CLAP's
embedding of its own audio. Defaults are the authors' recipe (glory20h/VoiceLDM@16ebc7a): AdamW, 2e-5, batches of 8, a
million steps, one condition in ten dropped, noise added to half of the CommonVoice clips.

`--cache DIR` stores latents and embeddings, which cost more to compute than the training itself at size s; each clip
then has the same noise in every epoch. `--ema_decay 0.9999`, `--snr_gamma 5` and `--mixed_precision bf16` are worth
trying.

On synthetic data, without a download, the paper's claim in minutes:

    python examples/train_voiceldm.py --toy --output_dir toy

For pairs of guidance scales it prints how often word and scene are recognised in the generated audio.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from avzoo import VoiceLDMPipeline
from avzoo.audio import read_audio
from avzoo.audio.resampling import resample
from avzoo.conversion.convert_voiceldm import new_pipeline
from avzoo.data.lists import describe_rows, keep_readable, refuse_empty_files
from avzoo.data.voiceldm_lists import read_voiceldm_lists
from avzoo.feature_cache import FeatureCache
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram
from avzoo.models.voiceldm.speech_in_noise import NUM_SAMPLES, SAMPLING_RATE, SpeechInNoise
from avzoo.models.voiceldm.training_voiceldm import VoiceLDMDenoiser, denoising_loss
from avzoo.pipelines.shared.saved_folders import load_checked_pipeline
from avzoo.training import StepInfo, TrainingArguments, report_errors, train

NUM_FRAMES = NUM_SAMPLES // 160


@report_errors
def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import voiceldm

        voiceldm.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    speech, noise, held_out = read_rows(options)
    torch.manual_seed(arguments.seed)
    pipe = load(options)
    # Cached features must be the same in every epoch.
    seed = None if options.cache is None else arguments.seed
    clips = SpeechInNoise(speech, noise, noise_probability=options.noise_probability, seed=seed)
    recordings = {name: describe_rows(rows, ("id", "text")) for name, rows in (("speech", speech), ("noise", noise))}
    settings = TrainingArguments.list_other_options(options) | {
        f"{name} rows": text for name, text in recordings.items()
    }
    cache = None
    if options.cache is not None:
        names = ("model", "part", "noise_probability", "speech rows", "noise rows")
        cache = FeatureCache(options.cache, len(clips), {name: settings[name] for name in names} | {"seed": seed})
    train(
        TrainedPipeline(pipe),
        ClipFeatures(clips, pipe.feature_extractor, cache, seed),
        arguments,
        data_collator=list,
        compute_loss=DenoisingStep(pipe, cache, options.null_probability, options.snr_gamma),
        evaluate=make_evaluation(pipe, held_out, arguments) if held_out else None,
        options=settings,
        may_change=("speech", "noise", "val_speech", "data_dir", "skip_missing", "skip_damaged", "cache"),
        write_card=lambda result, repository: write_trained_card(
            list_results(result),
            method="voiceldm",
            output_dir=arguments.output_dir,
            repository=repository,
            data=f"{len(speech)} recordings of speech with transcripts, {len(noise)} of noise",
            started_from=options.model,
        ),
    )


def read_rows(options: argparse.Namespace) -> list[list[dict[str, Any]]]:
    """The rows of the lists of speech, of noise and of speech for validation, each with an "id"."""
    parts = []
    for lists in (options.speech, options.noise, options.val_speech):
        rows = read_voiceldm_lists(lists, options.data_dir, skip_missing=options.skip_missing)
        rows = [{**row, "id": Path(row["path"]).name} for row in rows]
        if options.skip_damaged:
            rows = keep_readable(rows, lambda row: read_audio(row["path"], name=row["path"]), "recordings")
        else:
            refuse_empty_files(row["path"] for row in rows)
        parts.append(rows)
    if not parts[0]:
        raise ValueError("`speech`: the lists name no recording that can be used.")
    return parts


def make_evaluation(pipe: VoiceLDMPipeline, rows: list[dict[str, Any]], arguments: TrainingArguments):
    """An `evaluate` that gives the mean loss of clean clips, with the same noise and times each time."""
    clips = ClipFeatures(SpeechInNoise(rows, seed=arguments.seed), pipe.feature_extractor, None, arguments.seed)
    step = DenoisingStep(pipe, None, null_probability=0.0, snr_gamma=None)
    return partial(mean_loss, clips=clips, step=step, batch_size=arguments.batch_size, seed=arguments.seed)


def mean_loss(model, accelerator, clips, step, batch_size: int, seed: int) -> dict[str, float]:
    """{"loss": mean over the clips}; the main process computes it."""
    total, generator = 0.0, torch.Generator(accelerator.device).manual_seed(seed)
    if accelerator.is_main_process:
        place = StepInfo(0, 0, 0, 1, torch.Generator(), generator)
        for batch in torch.utils.data.DataLoader(clips, batch_size=batch_size, collate_fn=list):
            total += float(step(model, batch, place)) * len(batch)
    return {"loss": total / len(clips)}


def load(options: argparse.Namespace) -> VoiceLDMPipeline:
    """The pipeline to go on with, or a new one."""
    if options.model is None:
        return new_pipeline(options.size or "m", options.part)
    pipe = load_checked_pipeline(VoiceLDMPipeline, options.model)
    for part in ("vae", "audio_encoder", "feature_extractor", "description_encoder", "content_tokenizer"):
        if getattr(pipe, part) is None:
            raise ValueError(f"`{options.model}` was saved without its `{part}`, which training needs.")
    pipe.register_to_config(avzoo_source={"method": "voiceldm", "variant": "trained"})
    return pipe


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline to continue with: a folder or a Hub id")
    parser.add_argument("--size", choices=["s", "m"], help="size of a new denoiser (default: m)")
    parser.add_argument(
        "--part",
        nargs="+",
        default=[],
        metavar="NAME=SOURCE",
        help="of a new pipeline: folder or Hub id of a component that isn't trained",
    )
    parser.add_argument("--speech", type=Path, nargs="+", help="csv lists of recordings with transcripts")
    parser.add_argument("--noise", type=Path, nargs="+", default=[], help="csv lists of noise recordings")
    parser.add_argument("--val_speech", type=Path, nargs="+", default=[], help="csv lists for the validation loss")
    parser.add_argument(
        "--data_dir",
        nargs="+",
        metavar="DIR",
        help="folder of the recordings, or DATA=DIR for each value of the column `data`",
    )
    parser.add_argument("--skip_missing", action="store_true", help="skip missing recordings")
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, skip those that can't be read")
    parser.add_argument(
        "--noise_probability", type=float, default=0.5, help="probability of adding noise to a CommonVoice clip"
    )
    parser.add_argument(
        "--null_probability", type=float, default=0.1, help="probability of dropping a condition, each independently"
    )
    parser.add_argument("--snr_gamma", type=float, help="min-SNR weighting of the loss; 5 is common (default: none)")
    parser.add_argument("--cache", type=Path, help="folder of cached latents and embeddings")
    parser.add_argument(
        "--toy", action="store_true", help="train on spoken words in synthetic scenes instead of a dataset"
    )
    parser.add_argument("--toy_clips", type=int, default=3200, help="with --toy: training clips")
    parser.add_argument("--toy_test_clips", type=int, default=512, help="with --toy: test clips")
    parser.add_argument("--toy_part_steps", type=int, help="with --toy: training steps of each frozen part")
    parser.add_argument("--toy_steps", type=int, default=2500, help="with --toy: training steps of the denoiser")
    parser.add_argument("--toy_samples", type=int, default=128, help="with --toy: clips generated for each setting")
    parser.add_argument("--toy_sampling_steps", type=int, help="with --toy: sampling steps (default: the preset's)")
    TrainingArguments.add_to(
        parser,
        output_dir="voiceldm-trained",
        max_steps=1_000_000,
        batch_size=8,
        learning_rate=2e-5,
        weight_decay=1e-2,
        checkpoint_every_steps=20_000,
    )
    options = parser.parse_args()
    missing = [f"--{name}" for name in ("speech", "data_dir") if getattr(options, name) is None]
    if missing and not options.toy:
        parser.error(f"{' and '.join(missing)} are required without --toy")
    for name in ("part", "data_dir"):
        values = getattr(options, name) or []
        pairs = [value.split("=", 1) for value in values if "=" in value]
        if (
            len(pairs) not in (0, len(values))
            or (not pairs and len(values) > 1)
            or (name == "part" and values and not pairs)
        ):
            parser.error(f"--{name} takes {'' if name == 'part' else 'one folder, or '}pairs NAME=PLACE, got {values}")
        setattr(options, name, dict(pairs) if pairs or name == "part" else (values or [None])[0])
    if options.model is not None and (options.size is not None or options.part):
        parser.error("--size and --part are for a new pipeline; --model has its own")
    return options


class TrainedPipeline(VoiceLDMDenoiser):
    """The networks that are trained; `save_pretrained` saves the whole pipeline."""

    def __init__(self, pipe: VoiceLDMPipeline):
        super().__init__(pipe.unet, pipe.content_encoder)
        self.pipe = [pipe]  # in a list, so that its other networks aren't submodules

    def save_pretrained(self, folder: Path) -> None:
        self.pipe[0].save_pretrained(folder)


class ClipFeatures(torch.utils.data.Dataset):
    """Mel spectrogram, CLAP's input and text of each clip; the text alone where the features are cached."""

    def __init__(self, clips: SpeechInNoise, feature_extractor: Any, cache: FeatureCache | None, seed: int | None):
        self.clips, self.feature_extractor, self.cache, self.seed = clips, feature_extractor, cache, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.cache is not None and self.cache.read([index]) is not None:
            return {"number": index, "text": self.clips.speech_rows[index]["text"]}
        clip, rate = self.clips[index], self.feature_extractor.sampling_rate
        waveform = resample(clip["waveform"].numpy(), SAMPLING_RATE, rate)
        # CLAP takes a random 10 s of the 10.24. The loop seeds torch's generator for every sample.
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed + index)
        spare = max(len(waveform) - self.feature_extractor.nb_max_samples, 0)
        start = int(torch.randint(spare + 1, (), generator=generator))
        waveform = waveform[start : start + self.feature_extractor.nb_max_samples]
        features = self.feature_extractor(waveform, sampling_rate=rate, padding="pad", return_tensors="pt")
        return {
            "number": index,
            "text": clip["text"],
            "spectrogram": log_mel_spectrogram(clip["waveform"], NUM_FRAMES),
            "input_features": features["input_features"][0],
            "is_longer": features["is_longer"][0],
        }


class DenoisingStep:
    """The loss of a batch: encode with the frozen networks, drop conditions, add noise, predict it."""

    def __init__(
        self, pipe: VoiceLDMPipeline, cache: FeatureCache | None, null_probability: float, snr_gamma: float | None
    ):
        self.pipe, self.cache, self.null_probability, self.snr_gamma = pipe, cache, null_probability, snr_gamma
        self.scheduler = DDIMScheduler.from_config(
            pipe.scheduler.config
        )  # also if the pipeline samples with another one
        self.frozen = [network.eval().requires_grad_(False) for network in (pipe.vae, pipe.audio_encoder)]
        self.null_description = pipe.encode_description("")

    def __call__(self, model: torch.nn.Module, batch: list[dict[str, Any]], step: StepInfo) -> torch.Tensor:
        generator, pipe = step.rank_generator, self.pipe
        device = generator.device
        mean, std, description = (part.to(device) for part in self.encode(batch, device))

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator, device=device)

        dropped = draw(2, len(batch)) < self.null_probability
        description = torch.where(dropped[0][:, None], self.null_description.to(device), description)
        texts = ["" if null else sample["text"] for null, sample in zip(dropped[1].tolist(), batch, strict=True)]
        limit = pipe.content_encoder.config.max_text_positions
        tokens = pipe.content_tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        tokens = tokens.to(device)

        noises = [torch.randn(mean.shape, generator=generator, device=device) for _ in range(2)]
        latents = (mean + std * noises[0]) * pipe.vae.config.scaling_factor
        timesteps = (draw(len(batch)) * self.scheduler.config.num_train_timesteps).long()
        noisy = self.scheduler.add_noise(latents, noises[1], timesteps)
        prediction = model(noisy, timesteps, description, tokens.input_ids, tokens.attention_mask)
        return denoising_loss(prediction, latents, noises[1], timesteps, self.scheduler, self.snr_gamma)

    @torch.no_grad()
    def encode(self, batch: list[dict[str, Any]], device: torch.device) -> list[torch.Tensor]:
        """Return mean and standard deviation of each clip's latents, and its description embedding."""
        numbers = [sample["number"] for sample in batch]
        arrays = None if self.cache is None else self.cache.read(numbers)
        if arrays is not None:
            return [torch.from_numpy(array) for array in arrays.values()]
        vae, audio_encoder = (network.to(device) for network in self.frozen)
        samples = [sample for sample in batch if "spectrogram" in sample]
        spectrograms, features, is_longer = (
            torch.stack([sample[name] for sample in samples]).to(device)
            for name in ("spectrogram", "input_features", "is_longer")
        )
        posterior = vae.encode(spectrograms[:, None]).latent_dist
        description = audio_encoder(input_features=features, is_longer=is_longer).audio_embeds
        computed = [posterior.mean, posterior.std, description]
        if self.cache is None:
            return computed
        named = {name: part.cpu().numpy() for name, part in zip(("mean", "std", "description"), computed, strict=True)}
        self.cache.write([sample["number"] for sample in samples], named)
        return self.encode(batch, device)


if __name__ == "__main__":
    main()
