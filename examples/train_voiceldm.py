"""Train VoiceLDM: denoiser and content encoder, on recordings of speech with transcripts.

On the lists of glory20h/voiceldm-data (columns file_path, text, data), each dataset in a folder of its own:

    accelerate launch examples/train_voiceldm.py --size s --speech cv1.csv as_speech_en.csv --noise noise_demand.csv \
        --data_dir cv=CommonVoice as_b=AudioSet/balanced as_ub=AudioSet/unbalanced demand=DEMAND --output_dir voiceldm

What stays as it is (VAE, vocoder, CLAP, tokenizers, scheduler) comes from the authors' sources on the Hub, or from
local folders (`--part audioldm=FOLDER clap=FOLDER speecht5=FOLDER`). `--model` goes on with a pipeline that `avzoo
convert voiceldm` or this script wrote. Nobody has to describe the recordings: a clip's description is CLAP's embedding
of its own sound. Defaults are the authors' recipe (glory20h/VoiceLDM@16ebc7a): AdamW, 2e-5, batches of 8, a million
steps, one condition in ten dropped, clips of CommonVoice set in noise half of the time.

`--cache DIR` keeps latents and embeddings, whose computing costs more than the training itself at size s; each clip is
then set in the same noise every time. `--ema_decay 0.9999`, `--snr_gamma 5` and `--mixed_precision bf16` are worth
trying.

On spoken words in synthetic scenes, with nothing to download and no network, the paper's claim in minutes:

    python examples/train_voiceldm.py --toy --output_dir toy

It prints, for pairs of guidance scales, how often the word and the scene of what is generated are recognised.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from avzoo import VoiceLDMPipeline
from avzoo.audio.resampling import resample
from avzoo.conversion.convert_voiceldm import new_pipeline
from avzoo.data.voiceldm_data import NUM_SAMPLES, SAMPLING_RATE, SceneSpeech, voiceldm_rows
from avzoo.feature_cache import FeatureCache
from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram
from avzoo.models.voiceldm.training_voiceldm import VoiceLDMDenoiser, denoising_loss
from avzoo.training import StepInfo, TrainingArguments, train

NUM_FRAMES = NUM_SAMPLES // 160


def main() -> None:
    options = parse_arguments()
    if options.toy:
        from toy import voiceldm

        voiceldm.show_claim(options)
        return
    arguments = TrainingArguments.from_namespace(options)
    torch.manual_seed(arguments.seed)
    pipe = (
        VoiceLDMPipeline.from_pretrained(options.model) if options.model else new_pipeline(options.size, options.part)
    )
    for part in ("vae", "audio_encoder", "feature_extractor", "description_encoder", "content_tokenizer"):
        if getattr(pipe, part) is None:
            raise ValueError(f"`{options.model}` was saved without its `{part}`, which training needs.")
    speech, noise = (
        voiceldm_rows(lists, options.data_dir, skip_missing=options.skip_missing)
        for lists in (options.speech, options.noise)
    )
    # What is to be kept has to be the same in every epoch.
    seed = None if options.cache is None else arguments.seed
    clips = SceneSpeech(speech, noise, noise_probability=options.noise_probability, seed=seed)
    kept = None if options.cache is None else FeatureCache(options.cache, len(clips))
    train(
        TrainedPipeline(pipe),
        HeardClips(clips, pipe.feature_extractor, kept, seed),
        arguments,
        data_collator=list,
        compute_loss=DenoisingStep(pipe, kept, options.null_probability, options.snr_gamma),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline to go on with: a folder or a Hub id")
    parser.add_argument("--size", choices=["s", "m"], default="m", help="of a new denoiser")
    parser.add_argument("--part", nargs="+", default=[], metavar="NAME=SOURCE", help="where other parts come from")
    parser.add_argument("--speech", type=Path, nargs="+", help="lists of recordings with transcripts")
    parser.add_argument("--noise", type=Path, nargs="+", default=[], help="lists of noises")
    parser.add_argument(
        "--data_dir", nargs="+", metavar="DIR", help="where their paths start, or DATA=DIR for each data"
    )
    parser.add_argument("--skip_missing", action="store_true", help="leave out recordings that are not there")
    parser.add_argument("--noise_probability", type=float, default=0.5, help="of setting a CommonVoice clip in noise")
    parser.add_argument("--null_probability", type=float, default=0.1, help="of dropping a condition, each by itself")
    parser.add_argument("--snr_gamma", type=float, help="min-SNR weighting of the loss; 5 is common")
    parser.add_argument("--cache", type=Path, help="folder for latents and embeddings")
    parser.add_argument("--toy", action="store_true", help="spoken words in synthetic scenes instead of a dataset")
    parser.add_argument("--toy_clips", type=int, default=3200, help="with --toy: training clips")
    parser.add_argument("--toy_test_clips", type=int, default=512, help="with --toy: clips for testing")
    parser.add_argument("--toy_part_steps", type=int, help="with --toy: training steps of each frozen part")
    parser.add_argument("--toy_steps", type=int, default=2500, help="with --toy: training steps of the denoiser")
    parser.add_argument("--toy_samples", type=int, default=128, help="with --toy: generated for each setting")
    parser.add_argument("--toy_sampling_steps", type=int, help="with --toy: not as many as the presets have")
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
        parser.error(f"{' and '.join(missing)} must be given, or --toy")
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
    return options


class TrainedPipeline(VoiceLDMDenoiser):
    """The networks that learn. Saved, they are the whole pipeline."""

    def __init__(self, pipe: VoiceLDMPipeline):
        super().__init__(pipe.unet, pipe.content_encoder)
        self.pipe = [pipe]  # in a list, so that its other networks don't become part of this one

    def save_pretrained(self, folder: Path) -> None:
        self.pipe[0].save_pretrained(folder)


class HeardClips(torch.utils.data.Dataset):
    """Clips as mel spectrogram, as CLAP's input, and as text; as text alone where the rest is kept."""

    def __init__(self, clips: SceneSpeech, feature_extractor: Any, kept: FeatureCache | None, seed: int | None):
        self.clips, self.feature_extractor, self.kept, self.seed = clips, feature_extractor, kept, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.kept is not None and self.kept.read([index]) is not None:
            return {"number": index, "text": self.clips.speech_rows[index]["text"]}
        clip, rate = self.clips[index], self.feature_extractor.sampling_rate
        heard = resample(clip["waveform"].numpy(), SAMPLING_RATE, rate)
        # CLAP hears 10 s of the 10.24, somewhere. The loop seeds torch's generator for every sample.
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed + index)
        spare = max(len(heard) - self.feature_extractor.nb_max_samples, 0)
        start = int(torch.randint(spare + 1, (), generator=generator))
        heard = heard[start : start + self.feature_extractor.nb_max_samples]
        features = self.feature_extractor(heard, sampling_rate=rate, padding="pad", return_tensors="pt")
        return {
            "number": index,
            "text": clip["text"],
            "spectrogram": log_mel_spectrogram(clip["waveform"], NUM_FRAMES),
            "input_features": features["input_features"][0],
            "is_longer": features["is_longer"][0],
        }


class DenoisingStep:
    """(model, batch, step) -> loss: what the frozen networks see, conditions dropped, noise added, noise told."""

    def __init__(
        self, pipe: VoiceLDMPipeline, kept: FeatureCache | None, null_probability: float, snr_gamma: float | None
    ):
        self.pipe, self.kept, self.null_probability, self.snr_gamma = pipe, kept, null_probability, snr_gamma
        self.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)  # whichever one the pipeline generates with
        self.frozen = [network.eval().requires_grad_(False) for network in (pipe.vae, pipe.audio_encoder)]
        self.null_description = pipe.encode_description("")

    def __call__(self, model: torch.nn.Module, batch: list[dict[str, Any]], step: StepInfo) -> torch.Tensor:
        generator, pipe = step.rank_generator, self.pipe
        device = generator.device
        mean, std, description = (part.to(device) for part in self.seen(batch, device))

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
    def seen(self, batch: list[dict[str, Any]], device: torch.device) -> list[torch.Tensor]:
        """Mean and deviation of each clip's latents, and its description."""
        numbers = [sample["number"] for sample in batch]
        arrays = None if self.kept is None else self.kept.read(numbers)
        if arrays is not None:
            return [torch.from_numpy(array) for array in arrays.values()]
        vae, audio_encoder = (network.to(device) for network in self.frozen)
        heard = [sample for sample in batch if "spectrogram" in sample]
        spectrograms, features, is_longer = (
            torch.stack([sample[name] for sample in heard]).to(device)
            for name in ("spectrogram", "input_features", "is_longer")
        )
        posterior = vae.encode(spectrograms[:, None]).latent_dist
        description = audio_encoder(input_features=features, is_longer=is_longer).audio_embeds
        computed = [posterior.mean, posterior.std, description]
        if self.kept is None:
            return computed
        named = {name: part.cpu().numpy() for name, part in zip(("mean", "std", "description"), computed, strict=True)}
        self.kept.write([sample["number"] for sample in heard], named)
        return self.seen(batch, device)


if __name__ == "__main__":
    main()
