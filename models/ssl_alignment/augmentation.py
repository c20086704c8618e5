"""Views of a clip for training: an original and an augmented picture, a centre window of the sound and a moved one.

    views = AlignmentViews()
    picture = views.draw_augmented_picture(Image.open("image_050.jpg"), generator)  # 224 x 224
    window = views.draw_window(clip, generator)                                     # 3 of 10 s

Original: the picture's short side to 246, a random crop of 224, mirrored in half of the draws; the centre 3 s.

Augmented: the picture turned by 0, 90, 180 or 270 degrees; colours changed in 4 of 5 draws, blurred in half of them;
resized, cropped and mirrored as the original; upside down in half of the draws; moved by up to a fifth of its side;
grey in 1 of 5. The sound: 3 s from anywhere.

Similar: as the original, picture and sound each of another clip (`neighbours.py`).

Turns, jitter and blur come before resizing, on the picture as it is stored. Operations follow torchvision 0.13's
definitions for PIL pictures. Source: kaistmm/ssl_kccv@7e178e675f1b (`Alignment/datasets/dataloader_vggss.py`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.data.draws import draw_uniform, draw_whole_number

from .processing_ssl_alignment import resize_short_side

# Ranges of the factors of brightness, contrast and saturation, and of the shift of hue in turns of the colour wheel.
JITTERS = {
    # What the authors' code says: such a picture keeps at most 0.4 of its brightness, contrast and saturation.
    "released": ((0.0, 0.4), (0.0, 0.1)),
    # What the same numbers mean where torchvision gets one instead of two; the authors probably wanted this.
    "symmetric": ((0.6, 1.4), (-0.1, 0.1)),
    "none": None,
}
ENLARGEMENT = 1.1  # of the short side, before the crop
LONGEST_SIDES = 32  # short sides that a long one may have; of a longer strip, which would fill the memory, the middle


@dataclass(frozen=True)
class AlignmentViews:
    """Draws of the views of a clip; every draw takes a `torch.Generator` on the CPU.

    Args:
        image_size: side of a view in pixels.
        window_samples: length of a sound view.
        clip_samples: length that a clip's sound is repeated or cut to before the window is taken from it.
        jitter: "released" (the authors' ranges), "symmetric" or "none"; see `JITTERS`.
        turn_whole: turn the whole picture. The authors turn within the frame: what of an oblong picture leaves the
            frame is lost, and the rest is black.

    Raises:
        ValueError: a size below 1, a window longer than the clip, an unknown jitter.
    """

    image_size: int = 224
    window_samples: int = 48_000
    clip_samples: int = 160_000
    jitter: str = "released"
    turn_whole: bool = False

    def __post_init__(self):
        check_whole_number("image_size", self.image_size, at_least=2, unit="pixels")
        check_whole_number("window_samples", self.window_samples, at_least=1)
        check_whole_number("clip_samples", self.clip_samples, at_least=1)
        check_choice("jitter", self.jitter, JITTERS)
        if self.window_samples > self.clip_samples:
            raise ValueError(
                f"`window_samples` ({self.window_samples}) must not be more than `clip_samples` ({self.clip_samples})."
            )

    # ------------------------------------------------------------------------------------------------------- pictures

    def draw_original_picture(self, picture: Image.Image, generator: torch.Generator) -> Image.Image:
        """A random crop, perhaps mirrored: (image_size, image_size) RGB."""
        return mirror(self._draw_crop(picture.convert("RGB"), generator), bool(draw_whole_number(2, generator)))

    def draw_augmented_picture(self, picture: Image.Image, generator: torch.Generator) -> Image.Image:
        """A picture changed as the table above says: (image_size, image_size) RGB."""
        turns = draw_whole_number(4, generator)
        picture = turn(picture.convert("RGB"), turns, self.turn_whole)
        if draw_whole_number(5, generator):
            picture = self._draw_jitter(picture, generator)
        if draw_whole_number(2, generator):
            picture = blur(picture, draw_uniform(0.1, 2.0, generator))
        picture = self._draw_crop(picture, generator)
        picture = mirror(picture, bool(draw_whole_number(2, generator)))
        if draw_whole_number(2, generator):
            picture = ImageOps.flip(picture)
        farthest = self.image_size / 5
        right, down = (round(draw_uniform(-farthest, farthest, generator)) for _ in range(2))
        picture = translate(picture, right, down)
        return to_grey(picture) if draw_uniform(0, 1, generator) < 0.2 else picture

    def _draw_crop(self, picture: Image.Image, generator: torch.Generator) -> Image.Image:
        longest = LONGEST_SIDES * min(picture.size)
        if max(picture.size) > longest:
            left, top = (max(0, side - longest) // 2 for side in picture.size)
            picture = picture.crop((left, top, picture.width - left, picture.height - top))
        picture = Image.fromarray(resize_short_side(np.asarray(picture), int(self.image_size * ENLARGEMENT)))
        left, top = (draw_whole_number(side - self.image_size + 1, generator) for side in picture.size)
        return picture.crop((left, top, left + self.image_size, top + self.image_size))

    def _draw_jitter(self, picture: Image.Image, generator: torch.Generator) -> Image.Image:
        if JITTERS[self.jitter] is None:
            return picture
        factors, turns = JITTERS[self.jitter]
        operations = [
            (adjust_brightness, draw_uniform(*factors, generator)),
            (adjust_contrast, draw_uniform(*factors, generator)),
            (adjust_saturation, draw_uniform(*factors, generator)),
            (shift_hue, draw_uniform(*turns, generator)),
        ]
        for index in torch.randperm(len(operations), generator=generator).tolist():
            operation, amount = operations[index]
            picture = operation(picture, amount)
        return picture

    # --------------------------------------------------------------------------------------------------------- sounds

    @property
    def first_sample(self) -> int:
        """Where the centre window begins in a clip."""
        return (self.clip_samples - self.window_samples) // 2

    def fill_clip(self, samples: np.ndarray) -> np.ndarray:
        """Repeat a sound that is shorter than a clip, and cut one that is longer after the clip: (clip_samples,)."""
        samples = _check_samples(samples)
        if len(samples) < self.clip_samples:
            samples = np.tile(samples, self.clip_samples // len(samples) + 1)
        return samples[: self.clip_samples]

    def cut_centre(self, samples: np.ndarray) -> np.ndarray:
        """The window in the middle of a clip: (window_samples,)."""
        return self._cut(samples, self.first_sample)

    def draw_window(self, samples: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """A window from anywhere in a clip, so that any of its samples may be the first one: (window_samples,).

        The last place, which ends with the clip, is never drawn: of 10 s the window moves by -56,000 to 55,999 samples.
        """
        places = max(1, 2 * self.first_sample)
        return self._cut(samples, draw_whole_number(places, generator))

    def _cut(self, samples: np.ndarray, first: int) -> np.ndarray:
        return self.fill_clip(samples)[first : first + self.window_samples]


def cut_around(samples: np.ndarray, middle: int, num_samples: int) -> np.ndarray:
    """Samples around a place of a recording, so that sample `middle` becomes number `num_samples // 2`.

    The recording is moved no further than its ends allow; one that is shorter than `num_samples` is repeated in both
    directions, which keeps its middle where the picture of a short video was taken.

    Args:
        samples: (samples,).
        middle: number of a sample.
        num_samples: how many are wanted.
    """
    samples = _check_samples(samples)
    first = middle - num_samples // 2
    if len(samples) < num_samples:
        return samples[np.arange(first, first + num_samples) % len(samples)]
    first = min(max(first, 0), len(samples) - num_samples)
    return samples[first : first + num_samples]


def _check_samples(samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"`samples` must be (samples,) and not empty, got {samples.shape}.")
    return samples


# ------------------------------------------------------------------------------------- operations on pictures, RGB


def mirror(picture: Image.Image, is_mirrored: bool) -> Image.Image:
    """Exchange left and right, if `is_mirrored`."""
    return ImageOps.mirror(picture) if is_mirrored else picture


def turn(picture: Image.Image, turns: int, whole: bool = False) -> Image.Image:
    """Turn counter-clockwise by `turns` times 90 degrees, within the frame, or (`whole`) with the frame."""
    return picture.rotate(90 * turns, expand=whole)


def adjust_brightness(picture: Image.Image, factor: float) -> Image.Image:
    """Multiply all colours; 1 changes nothing, 0 is black."""
    return _blend(Image.new("RGB", picture.size), picture, factor)


def adjust_contrast(picture: Image.Image, factor: float) -> Image.Image:
    """Multiply the distance from the mean grey; 1 changes nothing, 0 is that grey everywhere."""
    mean = int(np.asarray(picture.convert("L")).mean() + 0.5)
    return _blend(Image.new("RGB", picture.size, (mean, mean, mean)), picture, factor)


def adjust_saturation(picture: Image.Image, factor: float) -> Image.Image:
    """Multiply the distance from each pixel's own grey; 1 changes nothing, 0 is a grey picture."""
    return _blend(to_grey(picture), picture, factor)


def shift_hue(picture: Image.Image, turns: float) -> Image.Image:
    """Turn the colour wheel; 1/3 makes green of red. The steps are 1/255 turn, as torchvision has them.

    Args:
        turns: from -0.5 to 0.5.
    """
    check_number("turns", turns, at_least=-0.5, at_most=0.5)
    hue, saturation, value = picture.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int64) + int(turns * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert("RGB")


def blur(picture: Image.Image, sigma: float) -> Image.Image:
    """Gaussian blur with a kernel of 3 x 3 pixels; beyond its edge the picture is reflected.

    Args:
        sigma: standard deviation in pixels.
    """
    check_number("sigma", sigma, above=0, unit="pixels")
    side = np.exp(-0.5 / sigma**2)
    centre, side = 1 / (1 + 2 * side), side / (1 + 2 * side)
    pixels = np.asarray(picture, np.float32)
    for axis in (0, 1):
        # A line of one pixel has no second one to reflect.
        widths = [(1, 1) if place == axis else (0, 0) for place in range(3)]
        padded = np.pad(pixels, widths, mode="reflect" if pixels.shape[axis] > 1 else "edge")
        before, after = (np.take(padded, range(first, first + pixels.shape[axis]), axis) for first in (0, 2))
        pixels = centre * pixels + side * (before + after)
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def translate(picture: Image.Image, right: int, down: int) -> Image.Image:
    """Move by whole pixels; what becomes free is black."""
    moved = Image.new("RGB", picture.size)
    moved.paste(picture, (right, down))
    return moved


def to_grey(picture: Image.Image) -> Image.Image:
    """Three equal channels of brightness, 0.299 R + 0.587 G + 0.114 B."""
    return picture.convert("L").convert("RGB")


def _blend(start: Image.Image, end: Image.Image, factor: float) -> Image.Image:
    """start + factor * (end - start), rounded down, clipped to 0..255."""
    check_number("factor", factor, at_least=0)
    return Image.blend(start, end, factor)


__all__ = [
    "JITTERS",
    "AlignmentViews",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_saturation",
    "blur",
    "cut_around",
    "mirror",
    "shift_hue",
    "to_grey",
    "translate",
    "turn",
]
