"""Face crops as each family of face networks was trained with.

| convention | network | what it shows |
|---|---|---|
| [`TightFace`] | LoCoNet, TalkNCE | the box as annotated, grey, 112 x 112 |
| [`LowerFace`] | TalkNet's demo | nose to chin at twice the scale, grey, 112 x 112, steadied over time |
| [`WholeFace`] | AVDiffuSS | the face with some hair and neck, grey, 112 x 112, steadied over time |
| [`MouthHalf`] | VocaLiST and its student | the lower half of the box, colour, 48 x 96 |
| [`MouthSquare`] | LTBS | the mouth, by landmarks where there are any, grey, 96 x 96, steadied over time |

A network loses accuracy on crops of another convention, so take the one its weights were trained with. Crops are uint8;
what each network does to values (scaling, colour order) is its processor's.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from avzoo.video.detection import check_boxes, check_frames
from avzoo.video.resizing import ChannelOrder, resize_as_opencv, resize_as_torch, to_grey
from avzoo.video.tracking import Track, median_filter


class CropConvention(Protocol):
    """How to cut a face: first the regions of all frames of a track, then each frame by itself."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one crop."""
        ...

    def regions(self, boxes: np.ndarray) -> np.ndarray:
        """Region to cut in each frame, (n, numbers), from the boxes of a whole track, (n, 4)."""
        ...

    def cut(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Cut the region of one frame, (height, width, 3) RGB, to one crop."""
        ...


@runtime_checkable
class LandmarkConvention(CropConvention, Protocol):
    """A convention that looks at landmarks, too."""

    def find_regions(self, track: Track) -> np.ndarray:
        """Region to cut in each frame of a track, (n, numbers)."""
        ...


@dataclass(frozen=True)
class TightFace:
    """The box and nothing around it, grey: AVA-ActiveSpeaker, LoCoNet and TalkNCE.

    Coordinates are cut to whole pixels towards 0 and to the frame; a box without a pixel in the frame gives zeros,
    which is how these networks see a missing face. Grey first, then OpenCV's bilinear resizing; the aspect ratio is
    not kept. Facts: kaistmm/TalkNCE@8666642, dataLoader_multiperson.py.

    Args:
        size: side of the crop, pixels.
    """

    size: int = 112

    @property
    def shape(self) -> tuple[int, int]:
        return (self.size, self.size)

    def regions(self, boxes: np.ndarray) -> np.ndarray:
        return boxes

    def cut(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        pixels = cut_box(frame, region)
        return grey_face(pixels, self.size) if pixels.size else np.zeros(self.shape, np.uint8)


@dataclass(frozen=True)
class _SteadySquare:
    """A square around the face, steadied over time: the cut of SyncNet's scripts, of TalkNet's demo and its tracks.

    With s half of the box's larger side and (x, y) its centre, each median-filtered over time: rows y - s to
    y + (1 + 2 margin) s, columns x - (1 + margin) s to x + (1 + margin) s, grey 110 beyond the frame. Facts:
    TaoRuijie/TalkNet-ASD@6d68214, demoTalkNet.py, crop_video.
    """

    margin: float = 0.4
    kernel_size: int = 13
    pad_value: int = 110
    side: int = 224

    def regions(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) boxes to (n, 3): centre x, centre y and half size, after the median filter.

        Tracks of less than half a kernel are left as they are: the zeros that the filter sees beyond their ends would
        win everywhere.
        """
        corners = check_boxes(boxes, "`boxes`")
        squares = np.stack(
            [
                (corners[:, 0] + corners[:, 2]) / 2,
                (corners[:, 1] + corners[:, 3]) / 2,
                np.maximum(corners[:, 3] - corners[:, 1], corners[:, 2] - corners[:, 0]) / 2,
            ],
            axis=1,
        )
        return squares if len(squares) <= self.kernel_size // 2 else median_filter(squares, self.kernel_size)

    def cut_square(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Cut the square's pixels, any channel order; at least one pixel."""
        x, y, half = region.tolist()
        height, width = frame.shape[:2]
        # The original pads the whole frame and cuts then; the same pixels, and the same rounding, without the copy.
        border = int(half * (1 + 2 * self.margin))
        top, bottom = int(y + border - half), int(y + border + half * (1 + 2 * self.margin))
        left, right = int(x + border - half * (1 + self.margin)), int(x + border + half * (1 + self.margin))
        top, bottom = max(top, 0) - border, min(bottom, height + 2 * border) - border
        left, right = max(left, 0) - border, min(right, width + 2 * border) - border
        return cut_window(frame, (top, bottom), (left, right), self.pad_value)


@dataclass(frozen=True)
class LowerFace(_SteadySquare):
    """Nose to chin, steadied over time, grey: TalkNet as its demo feeds it.

    A square with margins is resized to `side` and its centre kept, `size` x `size`: about 0.7 s to both sides of the
    face's centre, 0.3 s above and 1.1 s below, s being half the box's larger side. The authors write the squares to a
    lossy video in between; that is left out.

    Args:
        margin: of the square, in units of s (their "crop scale").
        kernel_size: frames of the median filter over centre and size, odd.
        pad_value: grey level beyond the frame.
        side: of the square after resizing, pixels.
        size: of the crop, pixels.
    """

    size: int = 112

    def __post_init__(self):
        if not 1 <= self.size <= self.side:
            raise ValueError(f"`size` must be from 1 to `side` ({self.side}), got {self.size}.")

    @property
    def shape(self) -> tuple[int, int]:
        return (self.size, self.size)

    def cut(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        first = int(self.side / 2 - self.size / 2)
        centre = slice(first, first + self.size)
        square = self.cut_square(frame, region)
        return to_grey(resize_as_opencv(square, self.side, self.side, rows=centre, columns=centre))


@dataclass(frozen=True)
class WholeFace(_SteadySquare):
    """The face with some hair and neck, steadied over time, grey: AVDiffuSS.

    AVDiffuSS was trained on the 224 x 224 face videos of VoxCeleb2. Those are taken here to be cut like the tracks of
    the same group's published scripts, the square of [`LowerFace`], whole; the script that made the data set itself is
    not public. The square is resized to `side` first, as those videos are, then grey, then resized to `size`. Footage
    that is such a face video already needs only [`grey_face`]. Facts: kaistmm/AVDiffuSS@86d8203, test_whole.py.

    Args:
        margin: of the square, in units of half the box's larger side; 0.4 is the scripts'.
        kernel_size: frames of the median filter over centre and size, odd.
        pad_value: grey level beyond the frame.
        side: of the square after resizing, pixels.
        size: of the crop, pixels.
    """

    size: int = 112

    @property
    def shape(self) -> tuple[int, int]:
        return (self.size, self.size)

    def cut(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        return grey_face(resize_as_opencv(self.cut_square(frame, region), self.side, self.side), self.size)


@dataclass(frozen=True)
class MouthHalf:
    """The lower half of the face box in colour: VocaLiST and its distilled student.

    The box as it is (no margin, nothing steadied, cut to whole pixels and to the frame) is resized to `size` x `size`,
    and the rows from `size // 2` on are kept. A box without a pixel in the frame gives zeros. Facts:
    xjchenGit/MTDVocaLiST@5795416, test_stu.py; vskadandale/vocalist@c265b59, test_lrs2.py. Crops are RGB; the
    teacher's processor turns them to BGR and divides by 255, the student's keeps 0..255.

    Args:
        size: side of the resized face, pixels.
        resize: "torch" without antialiasing (the released student), "torch-antialias" (students trained with
            torchvision 0.17 or later), or "opencv" (the original teacher).
    """

    size: int = 96
    resize: Literal["torch", "torch-antialias", "opencv"] = "torch"

    def __post_init__(self):
        if self.resize not in ("torch", "torch-antialias", "opencv"):
            raise ValueError(f'`resize` must be "torch", "torch-antialias" or "opencv", got {self.resize!r}.')

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.size - self.size // 2, self.size, 3)

    def regions(self, boxes: np.ndarray) -> np.ndarray:
        return boxes

    def cut(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        pixels = cut_box(frame, region)
        return self.cut_face(pixels) if pixels.size else np.zeros(self.shape, np.uint8)

    def cut_face(self, face: np.ndarray) -> np.ndarray:
        """Cut the mouth half of a picture that is the face box already, (height, width, 3) RGB."""
        lower = slice(self.size // 2, None)
        if self.resize == "opencv":
            return resize_as_opencv(face, self.size, self.size, rows=lower)
        return resize_as_torch(face, self.size, self.size, antialias=self.resize == "torch-antialias", rows=lower)


@dataclass(frozen=True)
class MouthSquare:
    """A square around the mouth, grey, steadied over time: lip reading, and LTBS.

    With landmarks its centre lies between the corners of the mouth, and its side is `scale` times the larger of two
    distances: from eye to eye, and from the middle between them to that between the corners. The larger one, because a
    head that turns away brings its eyes together. Without landmarks it is the middle of the lower half of the face box.
    Centre and side are averaged over `smoothing` frames. Grey first, then OpenCV's bilinear resizing; beyond the frame
    its outermost pixels go on.

    Networks of this kind were trained on mouths of 96 x 96 pixels that are centred by landmarks (AV-HuBERT's
    preparation, which also turns faces upright; here they aren't turned). How large theirs show the mouth can't be told
    from five points, so `scale` is a choice of this package: train and run with the same one.

    Args:
        size: side of the crop, pixels.
        scale: side of the square, see above.
        smoothing: frames of the running mean, odd; fewer at the ends of a track.
    """

    size: int = 96
    scale: float = 1.4
    smoothing: int = 13

    def __post_init__(self):
        if not self.size >= 1 or not self.scale > 0:
            raise ValueError(f"`size` ({self.size}) must be at least 1, `scale` ({self.scale}) above 0.")
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ValueError(f"`smoothing` must be an odd number of at least 1, got {self.smoothing!r}.")

    @property
    def shape(self) -> tuple[int, int]:
        return (self.size, self.size)

    def regions(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) boxes to (n, 3): centre x, centre y and side."""
        corners = check_boxes(boxes, "`boxes`")
        half_height = (corners[:, 3] - corners[:, 1]) / 2
        squares = [(corners[:, 0] + corners[:, 2]) / 2, corners[:, 1] + 1.5 * half_height, half_height]
        return self._steady(np.stack(squares, axis=1))

    def find_regions(self, track: Track) -> np.ndarray:
        """The same of a track, by its landmarks where it has any."""
        if track.landmarks is None:
            return self.regions(track.boxes)
        right_eye, left_eye, _, right_corner, left_corner = track.landmarks.swapaxes(0, 1)
        mouth = (right_corner + left_corner) / 2
        between_eyes = np.linalg.norm(right_eye - left_eye, axis=1)
        to_mouth = np.linalg.norm((right_eye + left_eye) / 2 - mouth, axis=1)
        side = self.scale * np.maximum(between_eyes, to_mouth)
        return self._steady(np.concatenate([mouth, side[:, None]], axis=1))

    def cut(self, frame: np.ndarray, region: np.ndarray) -> np.ndarray:
        x, y, side = region.tolist()
        side = max(1, round(side))
        top, left = round(y - side / 2), round(x - side / 2)
        rows = np.arange(top, top + side).clip(0, frame.shape[0] - 1)
        columns = np.arange(left, left + side).clip(0, frame.shape[1] - 1)
        return grey_face(frame[rows[:, None], columns], self.size)

    def _steady(self, regions: np.ndarray) -> np.ndarray:
        """The running mean of each column; near the ends over the frames that there are."""
        half = self.smoothing // 2
        sums = np.concatenate([np.zeros((1, regions.shape[1])), np.cumsum(regions, axis=0)])
        every = np.arange(len(regions))
        first, stop = np.maximum(every - half, 0), np.minimum(every + half + 1, len(regions))
        return (sums[stop] - sums[first]) / (stop - first)[:, None]


def grey_face(picture: np.ndarray, size: int = 112, order: ChannelOrder = "rgb") -> np.ndarray:
    """Convert colour face picture(s) to grey `size` x `size` ones: grey first, then OpenCV's bilinear resizing.

    Args:
        picture: (height, width, 3) or (frames, height, width, 3) uint8.
        size: side of the result, pixels.
        order: which colour comes first.

    Returns:
        (size, size) or (frames, size, size) uint8.

    Raises:
        TypeError: not uint8. ValueError: another shape, or a side of 0 pixels.
    """
    grey = to_grey(picture, order)
    if grey.ndim == 3:
        return resize_as_opencv(grey[..., None], size, size)[..., 0]
    return resize_as_opencv(grey, size, size)


def cut_window(frame: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], fill: int = 0) -> np.ndarray:
    """Cut rows and columns [first, last) of a frame; pixels beyond the frame are `fill`.

    At least one pixel, of `fill` where there is none between first and last.
    """
    (top, bottom), (left, right) = rows, columns
    height, width = frame.shape[:2]
    cut = np.full((max(bottom - top, 1), max(right - left, 1), *frame.shape[2:]), fill, np.uint8)
    inside = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    if inside[0].start < inside[0].stop and inside[1].start < inside[1].stop:
        there = slice(inside[0].start - top, inside[0].stop - top), slice(inside[1].start - left, inside[1].stop - left)
        cut[there] = frame[inside]
    return cut


def cut_box(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Cut a box, coordinates truncated towards 0 to whole pixels and to the frame; may be empty."""
    x1, y1, x2, y2 = (max(0, int(side)) for side in box.tolist())
    return frame[y1:y2, x1:x2]


def crop_track(
    frames: np.ndarray | Iterable[np.ndarray], track: Track, convention: CropConvention, *, first_frame: int = 0
) -> np.ndarray:
    """The crops of one track.

    Args:
        frames: (frames, height, width, 3) uint8 RGB, or blocks of such, as `avzoo.video.iter_video` yields them.
        track: whose boxes to cut.
        convention: one of `TightFace()`, `LowerFace()`, `WholeFace()`, `MouthHalf()`, `MouthSquare()`, or your own.
        first_frame: number of the first frame in `frames`.

    Returns:
        (len(track), *convention.shape) uint8.

    Raises:
        ValueError: the track has frames that `frames` does not.
    """
    return crop_tracks(frames, [track], convention, first_frame=first_frame)[0]


def crop_tracks(
    frames: np.ndarray | Iterable[np.ndarray],
    tracks: Sequence[Track],
    convention: CropConvention,
    *,
    first_frame: int = 0,
) -> list[np.ndarray]:
    """The crops of several tracks in one pass over the video; arguments are those of [`crop_track`].

    Only the crops are held in memory, and one block of frames.
    """
    crops = [np.empty((len(track), *convention.shape), np.uint8) for track in tracks]
    filled = [0] * len(tracks)
    for index, frame_numbers, block in iter_track_crops(frames, tracks, convention, first_frame=first_frame):
        offset = int(frame_numbers[0]) - tracks[index].start_frame
        crops[index][offset : offset + len(block)] = block
        filled[index] += len(block)
    for track, count in zip(tracks, filled, strict=True):
        if count < len(track):
            raise ValueError(
                f"`frames` end before track {track.track_id}, or begin after: {count} of its {len(track)} frames "
                f"({track.start_frame} to {track.stop_frame - 1}) were there."
            )
    return crops


def iter_track_crops(
    frames: np.ndarray | Iterable[np.ndarray],
    tracks: Sequence[Track],
    convention: CropConvention,
    *,
    first_frame: int = 0,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The crops of several tracks, block by block, in memory bounded by the block.

    Args are those of [`crop_track`].

    Yields:
        For each block and each track that is in it: the track's place in `tracks`, its frame numbers (n,), and its
        crops (n, *convention.shape) uint8.
    """
    if isinstance(convention, LandmarkConvention):
        regions = [convention.find_regions(track) for track in tracks]
    else:
        regions = [convention.regions(track.boxes) for track in tracks]
    first = first_frame
    for block in [frames] if isinstance(frames, np.ndarray) else frames:
        block = check_frames(block)
        for index, track in enumerate(tracks):
            begin = max(track.start_frame, first)
            end = min(track.stop_frame, first + len(block))
            if begin < end:
                numbers = np.arange(begin, end)
                crops = [
                    convention.cut(block[number - first], regions[index][number - track.start_frame])
                    for number in range(begin, end)
                ]
                yield index, numbers, np.stack(crops)
        first += len(block)


__all__ = [
    "CropConvention",
    "LandmarkConvention",
    "LowerFace",
    "MouthHalf",
    "MouthSquare",
    "TightFace",
    "WholeFace",
    "crop_track",
    "crop_tracks",
    "grey_face",
    "iter_track_crops",
]
