"""Small frozen components of VoiceLDM, trained from scratch on words in scenes; used by `voiceldm.py`.

Clips of 1.28 s, in which one of four voices says one of eight words in one of eight scenes. On them an autoencoder of
log-mels, CLAP with its tokenizer, and two judges of word and scene are trained; the content tokenizer has fixed
letters.
The vocoder is Griffin and Lim's algorithm, without training.

The components don't depend on each other, so each is trained in its own process.
"""

import io
import json
import string
import time
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_model
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from toy.runs import note, worker_pool
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer, SpeechT5Tokenizer
from transformers.utils import logging

from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram
from avzoo.processes import count_available_cores
from avzoo.toyworld.scene_words import SCENES, WORDS, SceneWords
from avzoo.training import StepInfo, TrainingArguments, train

SAMPLING_RATE, HOP = 16000, 160
SECONDS = 1.25  # as the pipeline counts
NUM_FRAMES = int(SECONDS * 1.024 / 0.01)  # 128
CLIP_SECONDS = NUM_FRAMES * HOP / SAMPLING_RATE  # 1.28: VoiceLDM trains on 1.024 times as much
NUM_MEL_BINS = 64
# Few voices, and words that begin at about the same time: more would take hours to learn.
WORLD: dict[str, Any] = {"num_speakers": 4, "snr_db": [3.0, 12.0], "centred": 0.7}
MEAN_LOG_MEL, STD_LOG_MEL = -4.9, 2.2

VAE_WIDTHS, LATENT_CHANNELS = (16, 16, 32, 64), 16
KL_WEIGHT = 1e-3
EMBEDDING_SIZE = 64
LETTERS = string.ascii_lowercase + string.digits + "'.,;:!?-\"()&"  # no "_": it stands for nothing being said
STEPS = {"vae": 1600, "clap": 500, "word": 700, "scene": 400}  # the longest first


@dataclass(frozen=True)
class Job:
    """One part to train: "vae", "clap", or the judge of "word" or "scene"."""

    name: str
    seed: int
    steps: int
    data: Path
    output: Path


# -------------------------------------------------------------------------------------------------- data


def prepare_data(folder: Path, num_clips: int, num_test_clips: int, seed: int) -> Path:
    """Log-mels, CLAP's features, labels and captions of all clips in one file."""
    data = {}
    with worker_pool(count_available_cores()) as pool:
        for split, count in (("train", num_clips), ("test", num_test_clips)):
            world = SceneWords(count, seed, split=split, seconds=CLIP_SECONDS, **WORLD)
            starts = range(0, count, 64)
            parts = list(pool.map(render_clips, [world] * len(starts), starts))
            data[split] = {
                name: torch.cat([part[name] for part in parts])
                for name in ("log_mel", "clap_features", "word", "scene")
            }
            data[split]["captions"] = [caption for part in parts for caption in part["captions"]]
    torch.save(data, folder / "clips.pt")
    return folder / "clips.pt"


def render_clips(world: SceneWords, start: int) -> dict[str, Any]:
    """64 clips as tensors; runs in a worker process."""
    clips = [world[index] for index in range(start, min(start + 64, len(world)))]
    audio = torch.from_numpy(np.stack([clip["audio"] for clip in clips]))
    return {
        "log_mel": log_mel_spectrogram(audio, NUM_FRAMES),
        "clap_features": compute_clap_features(audio),
        "word": torch.tensor([WORDS.index(clip["word"]) for clip in clips]),
        "scene": torch.tensor([SCENES.index(clip["scene"]) for clip in clips]),
        "captions": [clip["caption"] for clip in clips],
    }


def build_clap_extractor() -> ClapFeatureExtractor:
    """CLAP's feature extractor: at most 64 frames in two seconds, a small square input; shorter clips are padded."""
    return ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=SAMPLING_RATE,
        hop_length=512,
        max_length_s=2,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=8000,
        truncation="rand_trunc",
        padding="pad",
    )


def compute_clap_features(audio: torch.Tensor) -> torch.Tensor:
    """(clips, samples) to (clips, 1, 63, 64)."""
    return build_clap_extractor()(list(audio.numpy()), sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features


def load_data(path: Path) -> dict[str, dict[str, Any]]:
    return torch.load(path, weights_only=True, mmap=True)


# ----------------------------------------------------------------------------------------------- training


def train_parts(folder: Path, data: Path, seed: int, begin: float, steps: int | None = None) -> None:
    """Train every part in `folder`/<name>, for `STEPS` or as long as is said, and make the content's tokenizer."""
    train_content_tokenizer(folder / "content_tokenizer")
    jobs = [Job(name, seed, steps or usual, data, folder / name) for name, usual in STEPS.items()]
    with worker_pool(len(jobs)) as pool:
        running = {pool.submit(run, job): job for job in jobs}
        for future in as_completed(running):
            note(f"{running[future].name}: {future.result():.0f} s", begin)


def run(job: Job) -> float:
    """Train one part; seconds. Runs in a worker process."""
    begin = time.perf_counter()
    logging.disable_progress_bar()
    torch.manual_seed(job.seed)
    data = load_data(job.data)["train"]
    kinds: dict[str, Callable[[Job, dict[str, Any]], None]] = {
        "vae": train_vae,
        "clap": train_clap,
        "word": train_judge,
        "scene": train_judge,
    }
    kinds[job.name](job, data)
    return time.perf_counter() - begin


def training_arguments(job: Job, **settings: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(job.output),
        max_steps=job.steps,
        schedule="one_cycle",
        warmup_steps=job.steps // 10,
        drop_last=True,
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
        **settings,
    )


class Judge(nn.Module):
    """Log-mels (clips, 128, 64) to scores of classes."""

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (16, 32, 48, 64)):
        super().__init__()
        layers, before = [], 1
        for level, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            if level > 1:
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * before * NUM_MEL_BINS // 16, num_classes))

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        hidden = self.features((log_mels[:, None] - MEAN_LOG_MEL) / STD_LOG_MEL)  # (clips, width, 8, 4)
        # Pooled over time.
        return self.classifier(torch.cat([hidden.mean(2), hidden.amax(2)], 1).flatten(1))


def train_judge(job: Job, data: dict[str, Any]) -> None:
    classes = {"word": WORDS, "scene": SCENES}[job.name]

    def vary(batch: list[torch.Tensor], step: StepInfo) -> list[torch.Tensor]:
        """Augment: random level, random equaliser, and noise as of random phases."""
        log_mels, labels = batch
        draw = step.rank_generator
        count = len(log_mels)
        curve = nn.functional.interpolate(
            0.4 * torch.randn(count, 1, 5, generator=draw), NUM_MEL_BINS, mode="linear", align_corners=True
        )
        level = 0.5 * torch.randn(count, 1, 1, generator=draw)
        noise = 1.2 * torch.rand(count, 1, 1, generator=draw) * torch.randn(log_mels.shape, generator=draw)
        return [log_mels + curve + level + noise, labels]

    def loss(model: nn.Module, batch: list[torch.Tensor], step: StepInfo) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    arguments = training_arguments(job, batch_size=64, learning_rate=4e-3, weight_decay=0.05)
    clips = TensorDataset(data["log_mel"], data[job.name])
    train(Judge(len(classes)), clips, arguments, compute_loss=loss, batch_transform=vary)


def train_vae(job: Job, data: dict[str, Any]) -> None:
    depth = len(VAE_WIDTHS)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=VAE_WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
    )
    with torch.no_grad():  # start at the mean of log-mels, not at 0
        vae.decoder.conv_out.weight.mul_(STD_LOG_MEL)
        vae.decoder.conv_out.bias.fill_(MEAN_LOG_MEL)
    vae = vae.to(memory_format=torch.channels_last)

    def loss(model: AutoencoderKL, batch: list[torch.Tensor], step: StepInfo) -> dict[str, torch.Tensor]:
        log_mels = batch[0][:, None].contiguous(memory_format=torch.channels_last)
        posterior = model.encode(log_mels).latent_dist
        latents = posterior.sample(step.rank_generator)
        difference = (model.decode(latents).sample - log_mels).abs().mean()
        information = posterior.kl().mean() / latents[0].numel()
        return {"loss": difference + KL_WEIGHT * information, "difference": difference, "information": information}

    arguments = training_arguments(job, batch_size=4, learning_rate=3e-3, adam_beta2=0.98)
    train(vae, TensorDataset(data["log_mel"]), arguments, compute_loss=loss)
    vae.to(memory_format=torch.contiguous_format)
    with torch.inference_mode():
        latents = [vae.encode(part[:, None]).latent_dist.mode() for part in data["log_mel"][:512].split(64)]
    vae.register_to_config(scaling_factor=round(1 / float(torch.cat(latents).std()), 5))
    vae.save_pretrained(job.output)


class Pairs(Dataset):
    """CLAP's features of a clip, and its caption, with a full stop or without."""

    def __init__(self, features: torch.Tensor, captions: list[str], tokenizer: RobertaTokenizer):
        self.features = features
        stopped = tokenizer([f"{caption}." for caption in captions], padding=True, return_tensors="pt")
        width = stopped["input_ids"].shape[1]
        bare = tokenizer(captions, padding="max_length", max_length=width, return_tensors="pt")
        self.forms = [stopped, bare]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        form = self.forms[int(torch.randint(len(self.forms), ()))]
        names = ("input_ids", "attention_mask")
        return {"input_features": self.features[index], **{name: form[name][index] for name in names}}


def train_clap(job: Job, data: dict[str, Any]) -> None:
    """Train CLAP by its contrastive loss and the distance of the two embeddings, whose weight grows to one.

    The denoiser is trained with embeddings of audio and sampled with embeddings of text.
    """
    tokenizer = train_caption_tokenizer(data["captions"], job.output)
    config = ClapConfig(
        projection_dim=EMBEDDING_SIZE,
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "max_position_embeddings": 66,
            "projection_dim": EMBEDDING_SIZE,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        audio_config={
            "spec_size": 64,
            "num_mel_bins": 64,
            "patch_size": 4,
            "patch_stride": [4, 4],
            "window_size": 4,
            "patch_embeds_hidden_size": 24,
            "depths": [1, 1, 1],  # a fourth stage would be smaller than its window
            "num_attention_heads": [2, 4, 4],
            "hidden_size": 96,
            "projection_dim": EMBEDDING_SIZE,
            "hidden_dropout_prob": 0.0,
            "enable_fusion": False,
        },
    )

    def loss(model: ClapModel, batch: dict[str, torch.Tensor], step: StepInfo) -> dict[str, torch.Tensor]:
        outputs = model(**batch, return_loss=True)
        sound = model.audio_projection(outputs.audio_model_output.pooler_output)
        text = model.text_projection(outputs.text_model_output.pooler_output)
        distance = (sound - text).square().sum(1).mean() / sound.square().sum(1).mean()
        total = outputs.loss + step.step / step.total_steps * distance
        return {"loss": total, "contrastive": outputs.loss, "distance": distance}

    arguments = training_arguments(job, batch_size=64, learning_rate=3e-3, weight_decay=0.01)
    pairs = Pairs(data["clap_features"], data["captions"], tokenizer)
    train(ClapModel(config), pairs, arguments, compute_loss=loss, processor=build_clap_extractor())


def train_caption_tokenizer(captions: list[str], folder: Path) -> RobertaTokenizer:
    """CLAP's kind of tokenizer, with the words of the captions."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        (f"{caption}." for caption in captions), vocab_size=500, special_tokens=special, show_progress=False
    )
    vocabulary_file, merges_file = trained.save_model(str(folder))
    vocabulary = json.loads(Path(vocabulary_file).read_text("utf-8"))
    lines = Path(merges_file).read_text("utf-8").splitlines()[1:]
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=[tuple(line.split(" ")) for line in lines])
    for file in (vocabulary_file, merges_file):
        Path(file).unlink()
    tokenizer.save_pretrained(folder)
    return tokenizer


def train_content_tokenizer(folder: Path) -> SpeechT5Tokenizer:
    """SpeechT5's kind of tokenizer: characters, large letters as small ones."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS)] * 2),
        model_writer=model,
        model_type="char",
        vocab_size=200,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc_cf",
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    file = folder / "spm_char.model"
    file.write_bytes(model.getvalue())
    tokenizer = SpeechT5Tokenizer(str(file))
    tokenizer.save_pretrained(folder)
    return tokenizer


# ----------------------------------------------------------------------------------------------- measuring


def load_judges(folder: Path) -> dict[str, Judge]:
    judges = {"word": Judge(len(WORDS)), "scene": Judge(len(SCENES))}
    for name, judge in judges.items():
        load_model(judge, folder / name / "model.safetensors")
        judge.eval()
    return judges
