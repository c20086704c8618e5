"""What training cross-modal alignment takes: views of clips, and the network with the loss of all their pairs.

    clips = AlignmentClips(rows, processor, similar=SimilarClips(lists, [row["id"] for row in rows]))
    network = AlignmentTraining(SSLAlignmentForSoundLocalization(SSLAlignmentConfig()))
    train(network, clips, arguments, compute_loss=lambda network, batch, _: network(**batch))

Source: kaistmm/ssl_kccv@7e178e675f1b (`Alignment/train.py`), arXiv 2309.10724.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from avzoo.audio.reading import read_audio
from avzoo.checks import check_whole_number
from avzoo.data.image_sound_clips import read_clip_picture, read_middle_sound
from avzoo.metrics.retrieval import class_recall

from .augmentation import AlignmentViews, cut_around
from .loss_ssl_alignment import AlignmentTerms, AlignmentView, alignment_loss
from .modeling_ssl_alignment import SSLAlignmentForSoundLocalization, SSLAlignmentModel
from .neighbours import SimilarClips
from .processing_ssl_alignment import SSLAlignmentProcessor

Row = Mapping[str, str]
USUAL_SECONDS = 10.0  # of a clip that a window moves in, where the processor has no length for it

# ---------------------------------------------------------------------------------------------------------------- clips


def make_views(processor: SSLAlignmentProcessor, **settings: Any) -> AlignmentViews:
    """The views that fit a processor: the size of its pictures, the length of its clips and of what they are cut from.

    Args:
        settings: `jitter` and `turn_whole` of [`AlignmentViews`].
    """
    seconds = max(processor.base_seconds or USUAL_SECONDS, processor.clip_seconds)
    return AlignmentViews(
        processor.image_size, processor.clip_samples, int(seconds * processor.sampling_rate), **settings
    )


def read_clip_sound(row: Row, processor: SSLAlignmentProcessor, num_samples: int) -> np.ndarray:
    """The sound of a clip: (num_samples,), in [-1, 1], around the time of its picture.

    Of a recording, its beginning where the processor has `base_seconds` (VGGSound's and Flickr's clips are that long,
    the picture in their middle), else its middle; of a video, the sound around its middle. Shorter ones are repeated.

    Raises:
        OSError, ValueError: the file is missing or damaged, or has no sound.
    """
    rate = processor.sampling_rate
    if "video" in row:
        samples = read_middle_sound(row, rate, num_samples)
    else:
        samples, _ = read_audio(row["audio"], rate, channels=processor.channels, name=row["audio"])
        if processor.base_seconds is not None:
            samples = np.tile(samples, -(-num_samples // len(samples)))[:num_samples]
    return np.clip(cut_around(samples, len(samples) // 2, num_samples), -1, 1)


class AlignmentClips(torch.utils.data.Dataset):
    """Clips as two or three views of picture and sound: original, augmented, similar.

    A sample is `pixel_values` (views, 3, rows, columns) and `input_features` (views, 1, bins, frames). Draws come from
    torch's global generator, which the training loop seeds for each sample.

    Args:
        rows: {"id", "image", "audio"} or {"id", "video"}, see [`avzoo.data.image_sound_clips`].
        processor: of the network.
        augmented: make the augmented view.
        similar: draws of similar clips, whose ids are those of `rows`. None: no similar view.
        settings: `jitter` and `turn_whole` of [`AlignmentViews`].
    """

    def __init__(
        self,
        rows: Sequence[Row],
        processor: SSLAlignmentProcessor,
        *,
        augmented: bool = True,
        similar: SimilarClips | None = None,
        **settings: Any,
    ):
        self.rows, self.processor = list(rows), processor
        self.augmented, self.similar = augmented, similar
        self.views = make_views(processor, **settings)
        self.places = {row["id"]: place for place, row in enumerate(self.rows)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row, views = self.rows[index], self.views
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        picture, sound = self._read_picture(row), self._read_sound(row)
        pictures = [views.draw_original_picture(picture, generator)]
        windows = [views.cut_centre(sound)]
        if self.augmented:
            pictures.append(views.draw_augmented_picture(picture, generator))
            windows.append(views.draw_window(sound, generator))
        if self.similar is not None:
            image_row, audio_row = (self.rows[self.places[name]] for name in self.similar.draw(row["id"], generator))
            pictures.append(views.draw_original_picture(self._read_picture(image_row), generator))
            windows.append(views.cut_centre(self._read_sound(audio_row)))
        pixels = torch.from_numpy(np.stack([np.asarray(view) for view in pictures])).permute(0, 3, 1, 2)
        return {
            "pixel_values": self.processor.normalize_pixels(pixels.float() / 255),
            "input_features": self.processor.compute_features(torch.from_numpy(np.stack(windows))),
        }

    def _read_picture(self, row: Row) -> Image.Image:
        return Image.fromarray(read_clip_picture(row))

    def _read_sound(self, row: Row) -> np.ndarray:
        return read_clip_sound(row, self.processor, self.views.clip_samples)


class CentreClips(torch.utils.data.Dataset):
    """Clips as the network sees them in use, for evaluation: the whole picture, and the window in the middle.

    A sample is `pixel_values` (3, rows, columns) and `input_features` (1, bins, frames).

    Args:
        rows, processor: as for [`AlignmentClips`].
    """

    def __init__(self, rows: Sequence[Row], processor: SSLAlignmentProcessor):
        self.rows, self.processor, self.views = list(rows), processor, make_views(processor)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.rows[index]
        window = self.views.cut_centre(read_clip_sound(row, self.processor, self.views.clip_samples))
        return {
            "pixel_values": self.processor.prepare_image(read_clip_picture(row)),
            "input_features": self.processor.compute_features(torch.from_numpy(window)[None])[0],
        }


# -------------------------------------------------------------------------------------------------------------- network


class AlignmentTraining(nn.Module):
    """A network with the loss of all pairs of views; saved is the network alone.

    Each view is a forward pass of its own, so that batch norms take their statistics of one view at a time, and move
    the running ones once a view. Temperatures and mask are those of the network's config. What no term reaches
    (projections without the terms on them) is left as it is.

    Args:
        model: in training, changed in place.
        use_localization, use_alignment: the terms on the maps, and on the projections.
        intra_modal: pairs of views, as in [`alignment_loss`].
        gather: over processes: compare with the pictures and sounds of all of them, as one process with the whole
            batch does.
        chunk_size: of [`alignment_loss`], for large batches.

    Raises:
        ValueError: no term is left, or one needs projections that the network doesn't have.
    """

    def __init__(
        self,
        model: SSLAlignmentForSoundLocalization | SSLAlignmentModel,
        *,
        use_localization: bool = True,
        use_alignment: bool = True,
        intra_modal: Sequence[tuple[int, int]] = (),
        gather: bool = False,
        chunk_size: int | None = None,
    ):
        super().__init__()
        if chunk_size is not None:
            check_whole_number("chunk_size", chunk_size, at_least=1)
        config = model.config
        if config.projection_dim is None and (intra_modal or not use_localization):
            raise ValueError(
                "the network has no projections (`config.projection_dim` is None), which `intra_modal` and "
                "`use_localization=False` need."
            )
        if not use_localization and not use_alignment:
            raise ValueError("`use_localization` and `use_alignment` are both False: no term is left.")
        self.model = model
        self.use_localization, self.use_alignment = (
            use_localization,
            use_alignment and config.projection_dim is not None,
        )
        self.intra_modal, self.gather, self.chunk_size = tuple(intra_modal), gather, chunk_size
        network = model.alignment if isinstance(model, SSLAlignmentForSoundLocalization) else model
        unreached: list[nn.Module | None] = []
        if not self.use_alignment and not self.intra_modal:
            unreached += [network.image_projection, network.audio_projection]
        if not use_localization:
            unreached += [network.image_localization, network.audio_localization]
        for module in unreached:
            if module is not None:
                module.requires_grad_(False)

    def forward(self, pixel_values: torch.Tensor, input_features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of a batch, and its parts.

        Args:
            pixel_values: (batch, views, 3, rows, columns).
            input_features: (batch, views, 1, bins, frames).

        Returns:
            "loss", the sum of all terms; and the mean of a term of each kind: "localization", "alignment" and
            "intra_modal". log(batch) is chance.
        """
        views = [self.encode(*view) for view in zip(pixel_values.unbind(1), input_features.unbind(1), strict=True)]
        terms = self.compare(views)
        kinds = {"localization": terms.localization, "alignment": terms.alignment, "intra_modal": terms.intra_modal}
        return {"loss": terms.loss} | {name: values.detach().mean() for name, values in kinds.items() if len(values)}

    def encode(self, pixel_values: torch.Tensor, input_features: torch.Tensor) -> AlignmentView:
        """One view: (batch, 3, rows, columns) and (batch, 1, bins, frames)."""
        return self.make_view(
            self.model.get_image_features(pixel_values), self.model.get_audio_features(input_features)
        )

    def make_view(self, image: BaseModelOutputWithPooling, audio: BaseModelOutputWithPooling) -> AlignmentView:
        """The view that features of pictures and of sounds are."""
        embeds = (None, None)
        if self.model.config.projection_dim is not None:
            embeds = (image.pooler_output, audio.pooler_output)
        return AlignmentView(image.last_hidden_state, audio.last_hidden_state, *embeds)

    def compare(self, views: Sequence[AlignmentView]) -> AlignmentTerms:
        """The terms of all pairs of views; with `gather`, in training, of the views of all processes."""
        config = self.model.config
        if (
            self.gather
            and self.training
            and torch.distributed.is_initialized()
            and torch.distributed.get_world_size() > 1
        ):
            views = [gather_view(view) for view in views]
        # Similarities are divided by a few hundredths: with the 8 bits of bfloat16 they would be off by tenths then.
        with torch.autocast(views[0].image_map.device.type, enabled=False):
            return alignment_loss(
                [_as_float(view) for view in views],
                temperature=config.temperature,
                mask_threshold=config.mask_threshold if config.soft_mask else None,
                mask_temperature=config.mask_temperature,
                use_localization=self.use_localization,
                use_alignment=self.use_alignment,
                intra_modal=self.intra_modal if self.training else (),
                chunk_size=self.chunk_size,
            )

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        self.model.save_pretrained(folder)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations to save memory; running statistics of batch norms then move twice in each pass."""
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # transformers now, and before
        getattr(self.model, next(name for name in names if hasattr(self.model, name)))()


def gather_view(view: AlignmentView) -> AlignmentView:
    """The views of all processes, in their order, each (processes * batch, ...); all must have one batch size.

    Gradients go back to the process that made a feature. The loss of the whole batch, computed on every process alike,
    then has the gradient that one process would have, once gradients of parameters are averaged over processes.
    """
    return _map_view(_Gather.apply, view)


def _as_float(view: AlignmentView) -> AlignmentView:
    return _map_view(torch.Tensor.float, view)


def _map_view(function: Callable[[torch.Tensor], torch.Tensor], view: AlignmentView) -> AlignmentView:
    features = (view.image_map, view.audio_vector, view.image_embeds, view.audio_embeds)
    return AlignmentView(*(None if value is None else function(value) for value in features))


class _Gather(torch.autograd.Function):
    """Join the tensors of all processes; a process gets the sum of all processes' gradients of its own."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        own = value.contiguous()
        parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, own)
        ctx.first, ctx.length = torch.distributed.get_rank() * len(own), len(own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total[ctx.first : ctx.first + ctx.length]


# ----------------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def evaluate_alignment(
    network: AlignmentTraining, clips: torch.utils.data.Dataset, batch_size: int, device: torch.device | str
) -> dict[str, float]:
    """How well held-out clips fit: the loss of their one pair of views, and the retrieval of each other's other side.

    Args:
        network: in evaluation mode.
        clips: [`CentreClips`], at least two.
        batch_size: of the loss, whose chance level depends on it; a last, smaller batch has no part in the loss, unless
            it is the only one.

    Returns:
        "loss" (the sum of the terms of one pair of views, mean over batches) and "R@1 image to sound" and "R@1 sound to
        image": how often the nearest of all clips is the own one, in per cent. Chance is 100 / clips.
    """
    losses, images, sounds = [], [], []
    for batch in torch.utils.data.DataLoader(clips, batch_size=batch_size):
        image = network.model.get_image_features(batch["pixel_values"].to(device))
        audio = network.model.get_audio_features(batch["input_features"].to(device))
        images.append(image.pooler_output.float().cpu())
        sounds.append(audio.pooler_output.float().cpu())
        if len(images[-1]) == min(batch_size, len(clips)):
            losses.append(float(network.compare([network.make_view(image, audio)]).loss))
    images, sounds, ids = torch.cat(images).numpy(), torch.cat(sounds).numpy(), np.arange(len(clips))
    return {
        "loss": float(np.mean(losses)),
        "R@1 image to sound": 100 * float(class_recall(images, sounds, ids, ranks=[1])[0]),
        "R@1 sound to image": 100 * float(class_recall(sounds, images, ids, ranks=[1])[0]),
    }


__all__ = [
    "AlignmentClips",
    "AlignmentTraining",
    "CentreClips",
    "evaluate_alignment",
    "gather_view",
    "make_views",
    "read_clip_sound",
]
