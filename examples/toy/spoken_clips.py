"""Clips of spoken words as tensors, and a judge that tells which word a spectrogram is; used by `ltbs.py`.

Clips are `avzoo.toyworld.spoken_words`': one of twelve words in a second. 24 of the 36 English voices are for training,
with eight faces each. Test clips are of two kinds: new clips of these people, and clips of strangers, the other 12
voices with faces of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from toy.runs import as_detected

from avzoo import (
    LTBSProcessor,
    SessionEmbeddingForXVector,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
    toy_checkpoint,
)
from avzoo.models.ltbs.augmentation_ltbs import augment_mouths
from avzoo.models.ltbs.speech_units import find_units, fit_centres
from avzoo.toyworld.caption_words import ENGLISH_SPEAKERS
from avzoo.toyworld.spoken_words import LIP_CLASS_OF, LIP_CLASSES, WORDS, SpokenWords, english_identities
from avzoo.training import StepInfo, TrainingArguments, train
from avzoo.video import Track

STRANGERS = ENGLISH_SPEAKERS[1::3]
KNOWN = tuple(voice for voice in ENGLISH_SPEAKERS if voice not in STRANGERS)
NUM_FACES = 8  # of each voice in training
PEOPLE = {
    "train": english_identities(range(NUM_FACES), KNOWN),
    "known": english_identities(range(NUM_FACES), KNOWN),
    "strangers": english_identities(range(NUM_FACES, NUM_FACES + 4), STRANGERS),
}
NUM_CLIPS = {"train": 1600, "known": 144, "strangers": 144}
NUM_FRAMES, NUM_MEL_FRAMES, NUM_MEL_BINS = 25, 100, 80
MOUTH_SIZE, CROP_SIZE = 36, 32
NUM_UNITS = 50
VOICE_SIZE, SAMPLE_CLIPS = 64, 3  # of a speaker embedding; clips that are joined to a voice sample
DELTA_WEIGHT = 2.0  # of the change over time among the features of units
JUDGE_STEPS, JUDGE_BATCH_SIZE = 1200, 32
MOST_SHIFT = 5  # bins by which a judge's training clips are moved
LIP_CLASS_OF_WORD = torch.tensor([LIP_CLASSES.index(LIP_CLASS_OF[word]) for word in WORDS])

Clips = dict[str, torch.Tensor]


@dataclass(frozen=True)
class SpokenClips:
    """All clips of a seed.

    Args:
        splits: {"train", "known", "strangers": clips}; clips are mouths (clips, 25, 36, 36) uint8, mel (clips, 100, 80)
            natural logarithm, units, pitch and energy (clips, 25), voice_vectors (clips, 64), voices, words (clips,).
        mean, std: (80,), of each bin over the training clips.
        centres: (units, 80), of the units.
        energy: mean and deviation of its logarithm over the training clips.
    """

    splits: dict[str, Clips]
    mean: torch.Tensor
    std: torch.Tensor
    centres: torch.Tensor
    energy: tuple[float, float]

    def make_processor(self) -> LTBSProcessor:
        """The processor that goes with a network that has learned from these clips."""
        return make_processor(*self.energy)

    def normalize(self, mel: torch.Tensor) -> torch.Tensor:
        """Each bin less its mean, over its deviation."""
        return (mel - self.mean) / self.std

    def save(self, path: Path) -> None:
        tensors = {"mean": self.mean, "std": self.std, "centres": self.centres, "energy": torch.tensor(self.energy)}
        torch.save({"splits": self.splits, **tensors}, path)


def load_clips(path: Path) -> SpokenClips:
    data = torch.load(path, weights_only=True, mmap=True)
    energy = tuple(data["energy"].tolist())
    return SpokenClips(data["splits"], data["mean"], data["std"], data["centres"], energy)


def make_processor(energy_mean: float = 0.0, energy_std: float = 1.0) -> LTBSProcessor:
    return LTBSProcessor(
        crop_size=CROP_SIZE,
        mouth_size=MOUTH_SIZE,
        num_units=NUM_UNITS,
        energy_mean=energy_mean,
        energy_std=energy_std,
    )


# ---------------------------------------------------------------------------------------------------------- rendering


def render_clips(seed: int, num_clips: dict[str, int] = NUM_CLIPS) -> SpokenClips:
    """Render and prepare all clips of a seed; about a minute of one core."""
    processor = make_processor()
    splits = {
        split: prepare(SpokenWords(count, seed, split=split, identities=PEOPLE[split]), processor)
        for split, count in num_clips.items()
    }
    training = splits["train"]
    energy = (float(training["energy"].mean()), float(training["energy"].std(correction=0)))
    mean, std = training["mel"].mean((0, 1)), training["mel"].std((0, 1))
    centres = None
    sounds = {split: (clips["voices"], clips.pop("sounds")) for split, clips in splits.items()}
    for split, clips in splits.items():
        clips["energy"] = (clips["energy"] - energy[0]) / energy[1]
        features = describe_sound((clips["mel"] - mean) / std)
        if centres is None:
            generator = torch.Generator().manual_seed(seed)
            centres = fit_centres(features.flatten(0, 1), NUM_UNITS, generator=generator, num_starts=1)
        clips["units"] = find_units(features.flatten(0, 1), centres).view(features.shape[:2])
        voices, sound = sounds["train" if split == "known" else split]
        clips["voice_vectors"] = describe_voices(sound[find_others(clips["voices"], voices)].flatten(1))
    return SpokenClips(splits, mean, std, centres, energy)


def prepare(world: SpokenWords, processor: LTBSProcessor) -> Clips:
    """Mouths as they are cut from detected faces, spectrograms, pitch and energy (not normalised yet), and labels.

    And sounds (clips, 16000), as recorded.
    """
    names = ("mouths", "mel", "pitch", "energy", "voices", "words", "sounds")
    parts: dict[str, list] = {name: [] for name in names}
    for index, clip in enumerate(world):
        boxes = as_detected(clip["boxes"][0], index)
        track = Track(0, np.arange(len(boxes)), boxes)
        targets = processor.prepare_targets(processor.prepare_sound(clip["audio"]), NUM_FRAMES)
        parts["mouths"].append(torch.from_numpy(processor.read_mouths(clip["frames"], track)))
        parts["mel"].append(targets["mel_labels"])
        parts["pitch"].append(targets["pitch_labels"])
        parts["energy"].append(targets["energy_labels"])
        parts["voices"].append(torch.tensor(clip["identity"] % 96))
        parts["words"].append(torch.tensor(WORDS.index(clip["word"])))
        parts["sounds"].append(torch.from_numpy(clip["audio"]))
    return {name: torch.stack(values) for name, values in parts.items()}


def describe_sound(mel: torch.Tensor) -> torch.Tensor:
    """What units are told by: normalised spectrograms (clips, 100, 80) to (clips, 25, 80).

    The bins and twice their change from the frame before to the one behind, averaged over each video frame.
    """
    padded = torch.cat([mel[:, :1], mel, mel[:, -1:]], dim=1)
    change = (padded[:, 2:] - padded[:, :-2]) / 2
    return (mel + DELTA_WEIGHT * change).unflatten(1, (NUM_FRAMES, -1)).mean(2)


def find_others(voices: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(clips, 3): for each of the `voices`, places among `others` where it is heard, too.

    Where both are the same clips, these are the next ones of the voice, and not the clip itself if there are four.
    """
    found = torch.empty(len(voices), SAMPLE_CLIPS, dtype=torch.long)
    for voice in voices.unique():
        rows, there = ((clips == voice).nonzero()[:, 0] for clips in (voices, others))
        places = torch.arange(len(rows))[:, None] + torch.arange(1, SAMPLE_CLIPS + 1)
        found[rows] = there[places % len(there)]
    return found


def load_speaker_encoder() -> SpeakerEncoderForXVector:
    """The encoder of the session embeddings that ship. It was trained on some of these voices, with other words.

    Of the strangers it has heard 7 of 12.
    """
    return SessionEmbeddingForXVector.from_pretrained(toy_checkpoint("session_embedding")).encoder.eval()


def load_speaker_features() -> SpeakerFeatureExtractor:
    """What brings a voice sample to that encoder."""
    return SpeakerFeatureExtractor.from_pretrained(toy_checkpoint("session_embedding"))


@torch.no_grad()
def describe_voices(sounds: torch.Tensor) -> torch.Tensor:
    """Speaker embeddings (clips, 64) of voice samples (clips, samples)."""
    encoder = load_speaker_encoder()
    extract = load_speaker_features()
    inputs = extract(list(sounds.numpy()), sampling_rate=extract.sampling_rate, return_tensors="pt")
    return torch.cat([encoder(values, return_dict=True).embeddings for values in inputs["input_values"].split(16)])


class TalkingMouths(torch.utils.data.Dataset):
    """Training clips, cut and mirrored at random, each with one of the samples of its voice.

    Draws come from torch's global generator, which the training loop seeds.
    """

    def __init__(self, clips: Clips):
        self.clips = clips
        self.rows_of_voice = {int(v): (clips["voices"] == v).nonzero()[:, 0] for v in clips["voices"].unique()}

    def __len__(self) -> int:
        return len(self.clips["words"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        clips = self.clips
        draws = {"crop_size": CROP_SIZE, "most_masked": 0, "erase_probability": 0.0}
        same = self.rows_of_voice[int(clips["voices"][index])]
        other = same[torch.randint(len(same), ())]
        return {
            "pixel_values": augment_mouths(clips["mouths"][index].clone(), torch.default_generator, **draws),
            "speaker_embeddings": clips["voice_vectors"][other],
            "unit_labels": clips["units"][index],
            "pitch_labels": clips["pitch"][index],
            "energy_labels": clips["energy"][index],
            "mel_labels": clips["mel"][index],
        }


def get_inputs(clips: Clips, rows: slice) -> dict[str, torch.Tensor]:
    """What a network is given of test clips: the middle of each mouth, and the voice as it is in other clips."""
    edge = (MOUTH_SIZE - CROP_SIZE) // 2
    inside = slice(edge, edge + CROP_SIZE)
    return {
        "pixel_values": clips["mouths"][rows, :, inside, inside].clone(),
        "speaker_embeddings": clips["voice_vectors"][rows],
    }


# -------------------------------------------------------------------------------------------------------------- judge


class Judge(nn.Module):
    """Normalised spectrograms (clips, frames, 80) to scores of words."""

    def __init__(self, width: int = 64):
        super().__init__()
        layers, channels = [], NUM_MEL_BINS
        for _ in range(3):
            layers += [nn.Conv1d(channels, width, 5, stride=2, padding=2), nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, len(WORDS)))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        hidden = self.features(mel.mT)
        return self.classifier(torch.cat([hidden.mean(2), hidden.amax(2)], dim=1))


def train_judge(data: SpokenClips, seed: int, output: Path) -> Judge:
    """Train a judge on the real sound of the training clips."""
    torch.manual_seed(seed)
    judge, clips = Judge(), data.splits["train"]
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=JUDGE_STEPS,
        batch_size=JUDGE_BATCH_SIZE,
        drop_last=True,
        learning_rate=2e-3,
        weight_decay=0.01,
        schedule="cosine",
        seed=seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )

    def vary(batch: Sequence[torch.Tensor], step: StepInfo) -> list[torch.Tensor]:
        """Another vocal tract (all bins moved), another level, another equaliser, and noise."""
        mel, words = batch
        draw = step.rank_generator
        shifts = torch.randint(-MOST_SHIFT, MOST_SHIFT + 1, (len(mel), 1), generator=draw)
        bins = (torch.arange(NUM_MEL_BINS) + shifts).clamp(0, NUM_MEL_BINS - 1)
        mel = mel.gather(2, bins[:, None].expand(mel.shape))
        curve = torch.randn(len(mel), 1, 5, generator=draw)
        curve = nn.functional.interpolate(0.15 * curve, NUM_MEL_BINS, mode="linear", align_corners=True)
        level = 0.15 * torch.randn(len(mel), 1, 1, generator=draw)
        noise = 0.3 * torch.rand(len(mel), 1, 1, generator=draw) * torch.randn(mel.shape, generator=draw)
        return [mel + curve + level + noise, words]

    dataset = torch.utils.data.TensorDataset(data.normalize(clips["mel"]), clips["words"])
    train(
        judge,
        dataset,
        arguments,
        batch_transform=vary,
        compute_loss=lambda judge, batch, _: nn.functional.cross_entropy(judge(batch[0]), batch[1]),
    )
    return judge.eval()


@torch.no_grad()
def recognize(judge: Judge, mel: torch.Tensor, words: torch.Tensor) -> tuple[float, float, float]:
    """Shares of clips whose word, and whose lip class, is recognised; and of words among those that look alike."""
    heard = judge(mel).argmax(1)
    right, class_right = heard == words, LIP_CLASS_OF_WORD[heard] == LIP_CLASS_OF_WORD[words]
    alike = torch.tensor([WORDS[word] != LIP_CLASS_OF[WORDS[word]] for word in words.tolist()])
    return float(right.float().mean()), float(class_right.float().mean()), float(right[alike].float().mean())
