"""What training ACL-SSL takes: clips as it sees them, and the network with its loss, of which only a part is trained.

    clips = ACLClips(rows, processor)
    train(ACLTraining(model), clips, arguments, compute_loss=lambda network, batch, _: network(**batch))

Source: swimmiing/ACL-SSL@57f4a6c (`Train_ACL.py`, `VGGSS/VGGSS_Dataset.py`), arXiv 2311.04066.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from avzoo.data.image_sound_clips import read_clip_picture, read_middle_sound
from avzoo.metrics import class_recall

from .loss_acl_ssl import ACLTerms
from .modeling_acl_ssl import ACLForSoundLocalization
from .processing_acl_ssl import ACLProcessor

Row = Mapping[str, str]
ENLARGEMENT = 1.1  # of a training picture, before a square of the network's size is cut out of it

# ---------------------------------------------------------------------------------------------------------------- clips


def draw_crop(picture: np.ndarray, size: int) -> torch.Tensor:
    """A picture as training sees it: squeezed to a square a tenth larger, cut at a random place, mirrored or not.

    Draws come from torch's global generator.

    Args:
        picture: (height, width, 3) uint8.
        size: of the result, pixels.

    Returns:
        (3, size, size) in [0, 1].
    """
    large = int(size * ENLARGEMENT)
    squeezed = Image.fromarray(picture).resize((large, large), Image.Resampling.BICUBIC)
    top, left = torch.randint(large - size + 1, (2,)).tolist()
    pixels = torch.from_numpy(np.array(squeezed)).permute(2, 0, 1)[:, top : top + size, left : left + size]
    return (pixels.flip(-1) if torch.rand(()) < 0.5 else pixels).float() / 255


def read_clip_features(row: Row, processor: ACLProcessor) -> torch.Tensor:
    """What the network hears of a clip: (frames, 128).

    Of a recording its beginning, as the processor cuts it; of a video the sound around its middle, where its picture
    is taken.

    Raises:
        OSError, ValueError: the file is missing or damaged, or has no sound.
    """
    if "video" in row:
        sound = read_middle_sound(row, processor.sampling_rate, processor.clip_samples)
        sound = processor.cut_clip(np.clip(sound, -1, 1))
    else:
        sound = processor.prepare_audio(row["audio"], name=row["audio"])
    return processor.compute_features(torch.from_numpy(sound)[None])[0]


class ACLClips(torch.utils.data.Dataset):
    """Clips of a picture and a sound, the picture cut and mirrored at random; the sound is as it is.

    A sample is `pixel_values` (3, image_size, image_size) and `input_features` (frames, 128). Draws come from torch's
    global generator, which the training loop seeds for each sample.

    Args:
        rows: {"id", "image", "audio"} or {"id", "video"}, see [`avzoo.data.image_sound_clips`].
        processor: of the network.
        augment: False: the whole picture, as in use, for evaluation.
    """

    def __init__(self, rows: Sequence[Row], processor: ACLProcessor, *, augment: bool = True):
        self.rows, self.processor, self.augment = list(rows), processor, augment

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.rows[index]
        picture = read_clip_picture(row)
        if self.augment:
            pixels = self.processor.normalize_pixels(draw_crop(picture, self.processor.image_size))
        else:
            pixels = self.processor.prepare_image(picture)
        return {"pixel_values": pixels, "input_features": read_clip_features(row, self.processor)}


# -------------------------------------------------------------------------------------------------------------- network


def compute_terms(
    model: ACLForSoundLocalization,
    pixel_values: torch.Tensor,
    input_features: torch.Tensor,
    generator: torch.Generator | None = None,
    encoded: tuple[BaseModelOutputWithPooling, BaseModelOutputWithPooling] | None = None,
) -> ACLTerms:
    """The losses of a batch of pairs, from one pass of the picture encoder for all pairs and one for masked pictures.

    Args:
        pixel_values: (batch, 3, height, width).
        input_features: (batch, frames, num_mel_bins).
        generator: draws the masks. None: torch's global one.
        encoded: features of the pictures and the sounds, where they are known already.
    """
    image, audio = encoded or (model.get_image_features(pixel_values), model.get_audio_features(input_features))
    logits = model.compute_logits(image, audio.last_hidden_state)
    features, _ = model.pool_features(image, logits)
    return model.compute_loss(pixel_values, logits, features, audio.last_hidden_state, generator)


class ACLTraining(nn.Module):
    """A network with its loss. Its state is what is trained: a checkpoint of a run leaves out the frozen networks.

    `save_pretrained` saves the whole network.

    Args:
        model: in training, changed in place.
    """

    def __init__(self, model: ACLForSoundLocalization):
        super().__init__()
        model.freeze()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, input_features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of a batch of pairs, and its terms.

        Args:
            pixel_values: (batch, 3, height, width).
            input_features: (batch, frames, num_mel_bins).

        Returns:
            "loss", and its terms "image", "feature" (log(batch) is chance) and "area".
        """
        terms = compute_terms(self.model, pixel_values, input_features)
        return {"loss": terms.loss} | {name: getattr(terms, name).detach() for name in ("image", "feature", "area")}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """The trained weights alone."""
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        prefix = kwargs.get("prefix", "")
        return {
            name: value
            for name, value in super().state_dict(*args, **kwargs).items()
            if name.removeprefix(prefix) in trained
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` gave; the frozen networks stay as they are."""
        missing = self.state_dict().keys() - state_dict.keys()
        unexpected = [name for name in state_dict if name not in self.state_dict()]
        if strict and (missing or unexpected):
            raise RuntimeError(f"missing: {sorted(missing)}; unexpected: {unexpected}.")
        loaded = super().load_state_dict(state_dict, strict=False, assign=assign)
        return type(loaded)(sorted(missing), unexpected)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        self.model.save_pretrained(folder)


# ----------------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def evaluate_acl(
    network: ACLTraining, clips: torch.utils.data.Dataset, batch_size: int, device: torch.device | str, seed: int = 0
) -> dict[str, float]:
    """How well held-out clips fit, without knowing where anything is.

    Args:
        network: in evaluation mode.
        clips: [`ACLClips`] without augmentation, at least two.
        batch_size: of the loss, whose chance level depends on it; a last, smaller batch has no part in the loss, unless
            it is the only one.
        seed: of the masks that the loss draws, the same in every call.

    Returns:
        "loss" and its terms "image", "feature" and "area", means over batches; "R@1 image to sound" and "R@1 sound to
        image", how often the nearest of all clips in CLIP's space is the own one, in per cent. Chance is 100 / clips.
    """
    model, generator = network.model, torch.Generator().manual_seed(seed)
    losses: dict[str, list[float]] = {name: [] for name in ("loss", "image", "feature", "area")}
    images, sounds = [], []
    for batch in torch.utils.data.DataLoader(clips, batch_size):
        batch = {name: value.to(device) for name, value in batch.items()}
        image = model.get_image_features(batch["pixel_values"])
        audio = model.get_audio_features(batch["input_features"])
        images.append(image.pooler_output.float().cpu())
        sounds.append(audio.pooler_output.float().cpu())
        if len(images[-1]) == min(batch_size, len(clips)):
            terms = compute_terms(model, **batch, generator=generator, encoded=(image, audio))
            for name, values in losses.items():
                values.append(float(getattr(terms, name)))
    images, sounds = torch.cat(images).numpy(), torch.cat(sounds).numpy()
    own = np.arange(len(images))
    return {name: float(np.mean(values)) for name, values in losses.items()} | {
        "R@1 image to sound": 100 * float(class_recall(images, sounds, own, [1])[0]),
        "R@1 sound to image": 100 * float(class_recall(sounds, images, own, [1])[0]),
    }


__all__ = ["ACLClips", "ACLTraining", "compute_terms", "draw_crop", "evaluate_acl", "read_clip_features"]
