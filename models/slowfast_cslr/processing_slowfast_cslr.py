"""Videos of signing to what SlowFastSign sees, and its answers to glosses.

Facts: kaistmm/SlowFastSign@37d1b6c (`preprocess/dataset_preprocess.py`, `dataset/dataloader_video.py`,
`utils/video_augmentation.py`).
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from avzoo.checks import check_number, check_whole_number
from avzoo.data.gloss_vocabulary import assign_numbers, number_glosses
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import SavedProcessorMixin, list_items, name_items
from avzoo.video import VideoReader
from avzoo.video.frame_folders import FrameFolder
from avzoo.video.resizing import resize_as_opencv, resize_lanczos_as_opencv

from .decoding_slowfast_cslr import GlossLanguageModel, Hypothesis, decode_glosses
from .loss_slowfast_cslr import IGNORED


class SlowFastSignProcessor(SavedProcessorMixin):
    """Videos to `pixel_values`, sentences of glosses to `labels`, logits to sentences.

        inputs = processor(videos="weather.mp4")
        inputs.pixel_values  # (1, frames, 3, 224, 224), uint8
        processor.decode(model(**inputs).logits[0])[0].ids

    Frames are cut in their middle to the shape of those the network was trained on, squeezed to a square as these were
    (by OpenCV's Lanczos filter, 8 x 8 pixels), and cut again. Frames that are such a square already are taken as they
    are.

    Args:
        glosses: the vocabulary; the first has number 1, the blank is 0. None: glosses are known by number.
        resize_size: side of the square, pixels.
        crop_size: side of the cut from its middle, pixels.
        aspect_ratio: width / height of the frames of training; None: others are squeezed whatever their shape.
        top_rows: rows cut off the square's top, after which it is stretched again (CSL-Daily's).
        frame_rate: to which videos are brought; frames in memory and folders of frames have it unless `source_fps`
            says otherwise.
        edge_frames: copies of the first frame before a clip, and of the last behind it.
        step_frames: a clip's length is filled to a multiple of it, by copies of the last frame.
        alpha: so is that of a batch.
    """

    model_input_names = ["pixel_values", "attention_mask"]

    def __init__(
        self,
        glosses: Sequence[str] | None = None,
        resize_size: int = 256,
        crop_size: int = 224,
        aspect_ratio: float | None = None,
        top_rows: int = 0,
        frame_rate: float = 25,
        edge_frames: int = 6,
        step_frames: int = 4,
        alpha: int = 4,
    ):
        counts = {"resize_size": resize_size, "crop_size": crop_size, "step_frames": step_frames, "alpha": alpha}
        for name, value in counts.items():
            check_whole_number(name, value, at_least=1)
        for name, value in {"top_rows": top_rows, "edge_frames": edge_frames}.items():
            check_whole_number(name, value, at_least=0)
        if not crop_size <= resize_size or top_rows >= resize_size:
            raise ValueError(
                f"`crop_size` ({crop_size}) must be at most `resize_size` ({resize_size}), and `top_rows` ({top_rows}) "
                "less."
            )
        check_number("frame_rate", frame_rate, above=0, unit="frames per second")
        if aspect_ratio is not None:
            check_number("aspect_ratio", aspect_ratio, above=0)
        if isinstance(glosses, str):
            raise TypeError(f"`glosses` must be a list of glosses, got the text {glosses!r}.")
        super().__init__()
        self.glosses = None if glosses is None else list(glosses)
        self._numbers = assign_numbers(self.glosses or [])
        self.resize_size, self.crop_size = resize_size, crop_size
        self.aspect_ratio, self.top_rows = aspect_ratio, top_rows
        self.frame_rate = frame_rate
        self.edge_frames, self.step_frames, self.alpha = edge_frames, step_frames, alpha

    def __call__(
        self,
        videos: Any = None,
        text: str | Sequence[str] | None = None,
        source_fps: float | None = None,
        *,
        return_tensors: Literal["pt", "np"] | None = "pt",
    ) -> BatchFeature:
        """A batch of videos, of sentences, or of both.

        Args:
            videos: a video or a list of them, each what [`avzoo.video.read_video`] takes, or a folder of frames.
            text: a sentence or a list of them, glosses parted by blanks.
            source_fps: of frames in memory and of folders; None: `frame_rate`.
            return_tensors: "pt" for torch's tensors (None: the same), "np" for NumPy's arrays.

        Returns:
            pixel_values (videos, frames, 3, crop_size, crop_size) uint8, which the network normalises itself;
            attention_mask (videos, frames), where lengths differ; labels (sentences, glosses), -100 behind the end.

        Raises:
            ValueError: nothing is given, an empty list, an unknown gloss; what reading a file raises.
        """
        if videos is None and text is None:
            raise ValueError("`videos` and `text` are both None; at least one is needed.")
        inputs = {}
        if videos is not None:
            listed = list_items("videos", videos, is_single_video)
            names = name_items("videos", listed)
            inputs |= self.pad(
                [self.read_frames(video, source_fps, name=name) for video, name in zip(listed, names, strict=True)]
            )
        if text is not None:
            sentences = list_items("text", text, lambda given: isinstance(given, str))
            numbers = [
                torch.tensor(self.encode_glosses(sentence, name=name), dtype=torch.long)
                for sentence, name in zip(sentences, name_items("text", sentences), strict=True)
            ]
            inputs["labels"] = torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=IGNORED)
        return make_batch(inputs, return_tensors)

    # ---------------------------------------------------------------------------------------------------------- videos

    def read_frames(self, video: Any, source_fps: float | None = None, *, name: str = "video") -> np.ndarray:
        """A whole video as the network sees it but for the padding: (frames, crop_size, crop_size, 3) uint8."""
        return np.concatenate(list(self.iter_frames(video, source_fps, name=name)))

    def iter_frames(
        self, video: Any, source_fps: float | None = None, *, block_frames: int = 32, name: str = "video"
    ) -> Iterator[np.ndarray]:
        """The same, block by block; see [`avzoo.video.iter_video`]."""
        if source_fps is None:
            source_fps = self.frame_rate
        check_number("source_fps", source_fps, above=0, unit="frames per second")
        if isinstance(video, str | os.PathLike) and os.path.isdir(video):
            video = FrameFolder(video)
        reader = VideoReader(video, source_fps=source_fps, name=name)
        for block in reader.frames(self.frame_rate, block_frames=block_frames):
            yield self.prepare_frames(block)

    def prepare_frames(self, frames: np.ndarray) -> np.ndarray:
        """(frames, rows, columns, 3) uint8 of any size to (frames, crop_size, crop_size, 3)."""
        size = self.resize_size
        if frames.shape[1:3] != (size, size):
            frames = shrink(cut_to_ratio(frames, self.aspect_ratio), size)
            frames = resize_lanczos_as_opencv(frames, size, size)
        if self.top_rows:
            frames = resize_as_opencv(frames[:, self.top_rows :], size, size)
        top, left, height, width = find_crop(size, size, self.crop_size)
        return frames[:, top : top + height, left : left + width]

    def pad(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Clips (frames, rows, columns, 3) of one size to `pixel_values`, and `attention_mask` where lengths differ."""
        lengths = [self.count_padded(len(clip)) for clip in clips]
        longest = -(-max(lengths) // self.alpha) * self.alpha
        places = np.arange(longest) - self.edge_frames
        padded = np.stack([clip[places.clip(0, len(clip) - 1)] for clip in clips])
        inputs = {"pixel_values": torch.from_numpy(padded).permute(0, 1, 4, 2, 3).contiguous()}
        if min(lengths) < longest:
            inputs["attention_mask"] = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        return inputs

    def count_padded(self, frames: int) -> int:
        """Frames of a clip with what is before and behind it."""
        return -(-frames // self.step_frames) * self.step_frames + 2 * self.edge_frames

    def count_steps(self, frames: int) -> int:
        """Steps of the answer to a clip of so many frames."""
        return -(-frames // self.step_frames)

    # --------------------------------------------------------------------------------------------------------- glosses

    @property
    def num_classes(self) -> int | None:
        """Glosses and the blank."""
        return None if self.glosses is None else len(self.glosses) + 1

    def encode_glosses(
        self, text: str | Sequence[str], *, unknown: Literal["error", "drop"] = "error", name: str = "text"
    ) -> list[int]:
        """The numbers of a sentence's glosses, which are parted by blanks or listed.

        Raises:
            ValueError: the vocabulary lacks one (`unknown="drop"` leaves it out, as the authors do), or there is none.
        """
        if self.glosses is None:
            raise ValueError("this processor has no vocabulary: set its `glosses`, or save it with them.")
        words = text.split() if isinstance(text, str) else list(text)
        return number_glosses(words, self._numbers, unknown=unknown, name=name)

    def name_gloss(self, number: int) -> str:
        """The gloss of a number from 1 on; without a vocabulary the number itself."""
        return str(number) if self.glosses is None else self.glosses[number - 1]

    def spell(self, numbers: Sequence[int]) -> str:
        """The glosses of some numbers, parted by blanks."""
        return " ".join(map(self.name_gloss, numbers))

    def decode(
        self,
        logits: torch.Tensor | np.ndarray,
        *,
        num_beams: int = 10,
        n_best: int = 1,
        language_model: GlossLanguageModel | None = None,
    ) -> list[Hypothesis]:
        """The best sentences for the logits of one clip, (steps, vocab_size); see [`decode_glosses`].

        Raises:
            ValueError: logits of another vocabulary; what [`decode_glosses`] raises.
        """
        num_classes = np.shape(logits)[-1]
        if self.glosses is not None and num_classes != self.num_classes:
            raise ValueError(
                f"`logits` are of {num_classes} classes, the vocabulary has {len(self.glosses)} glosses and the "
                "blank: network and processor do not belong together."
            )
        return decode_glosses(logits, num_beams=num_beams, n_best=n_best, language_model=language_model)

    def batch_decode(
        self, logits: torch.Tensor | np.ndarray, lengths: Sequence[int] | torch.Tensor | None = None, **options: Any
    ) -> list[list[Hypothesis]]:
        """The same of each clip of a batch, (clips, steps, vocab_size); `lengths` are the steps of each, None: all."""
        steps = logits.shape[1]
        counts = [steps] * len(logits) if lengths is None else [int(length) for length in lengths]
        if len(counts) != len(logits):
            raise ValueError(f"`lengths` must be a number of steps for each of {len(logits)} clips, got {len(counts)}.")
        for index, count in enumerate(counts):
            check_whole_number(f"lengths[{index}]", count, at_least=0, at_most=steps)
        return [self.decode(rows[:count], **options) for rows, count in zip(logits, counts, strict=True)]


def is_single_video(videos: Any) -> bool:
    """Whether `videos` is one video, which may be a list of its frames."""
    if isinstance(videos, list | tuple):
        return bool(videos) and (isinstance(videos[0], Image.Image) or getattr(videos[0], "ndim", 0) in (2, 3))
    return getattr(videos, "ndim", 4) != 5


def find_crop(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the middle of a frame; sides that are smaller stay as they are."""
    top, left = (max(0, round((side - size) / 2)) for side in (height, width))
    return top, left, min(height, size), min(width, size)


def cut_to_ratio(frames: np.ndarray, ratio: float | None) -> np.ndarray:
    """The middle of frames, of a given width / height; of what differs by less than a pixel nothing is cut."""
    rows, columns = frames.shape[1:3]
    if ratio is None:
        return frames
    if columns > rows * ratio:
        width = max(1, round(rows * ratio))
        left = (columns - width) // 2
        return frames[:, :, left : left + width]
    height = max(1, min(rows, round(columns / ratio)))
    top = (rows - height) // 2
    return frames[:, top : top + height]


def shrink(frames: np.ndarray, size: int) -> np.ndarray:
    """Averages of whole blocks of pixels where frames are more than two times as large as is needed.

    The Lanczos filter sees 8 x 8 pixels however large the picture is; it would skip the others.
    """
    rows, columns = (max(1, side // (2 * size)) for side in frames.shape[1:3])
    if rows == columns == 1:
        return frames
    height, width = (side // block * block for side, block in zip(frames.shape[1:3], (rows, columns), strict=True))
    blocks = frames[:, :height, :width].reshape(len(frames), height // rows, rows, width // columns, columns, 3)
    means = blocks.mean(axis=(2, 4), dtype=np.float32)
    return np.rint(means).astype(np.uint8)


__all__ = ["SlowFastSignProcessor"]
