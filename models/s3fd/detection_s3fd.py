"""S3FD as a face detector for video frames: what TalkNet's demo makes of the network's answers."""

import os
from typing import Any

import numpy as np
import torch

from avzoo.video.detection import Detections, check_frames, non_maximum_suppression
from avzoo.video.resizing import scale_as_opencv

from .modeling_s3fd import SMALLEST_SIDE, S3FDForFaceDetection

# Inside the authors' network; nobody changes these.
_NMS_IN_NETWORK, _CANDIDATES, _KEPT = 0.3, 5000, 750


class S3FDDetector:
    """Finds faces in frames with a converted S3FD, as TalkNet's demo does (TaoRuijie/TalkNet-ASD@6d68214).

        find_faces = S3FDDetector.from_pretrained("./s3fd")
        detections = detect_faces(iter_video("clip.mp4", fps=25), find_faces)

    Frames are scaled first, because the cost grows with their area: at 0.25 a frame of 1280 x 720 takes 18 billion
    multiply-adds. The smallest faces that the network looks for, 16 pixels, are then 64 in the frame; take a larger
    scale for small videos.

    Args:
        model: the network; it runs where it is and in evaluation mode.
        scale: of the frames before they are looked at.
        confidence: faces with a lower probability are dropped.
        nms_threshold: of faces that overlap by more than this IoU the best one stays.
        batch_size: frames that go through the network at once.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        model: S3FDForFaceDetection,
        *,
        scale: float = 0.25,
        confidence: float = 0.9,
        nms_threshold: float = 0.1,
        batch_size: int = 8,
    ):
        for name, value in {"confidence": confidence, "nms_threshold": nms_threshold}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {value!r}.")
        for name, value in {"scale": scale, "batch_size": batch_size}.items():
            if value <= 0:
                raise ValueError(f"`{name}` must be above 0, got {value!r}.")
        self.model = model.eval()
        self.scale, self.confidence, self.nms_threshold = scale, confidence, nms_threshold
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, **options: Any) -> "S3FDDetector":
        """With the network of a folder that `avzoo convert s3fd` wrote, or of the Hub."""
        return cls(S3FDForFaceDetection.from_pretrained(folder), **options)

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Faces of each frame, best first.

        Args:
            frames: (frames, height, width, 3) uint8 RGB.

        Returns:
            One `Detections` per frame; scores are probabilities.

        Raises:
            ValueError: frames that are too small after scaling.
        """
        height, width = check_frames(frames).shape[1:3]
        if min(height, width) * self.scale < SMALLEST_SIDE:
            raise ValueError(
                f"`frames` of {width} x {height} pixels are too small at `scale` {self.scale}: S3FD needs "
                f"{SMALLEST_SIDE} pixels on both sides. Raise `scale`."
            )
        found: list[Detections] = []
        for start in range(0, len(frames), self.batch_size):
            small = scale_as_opencv(frames[start : start + self.batch_size], self.scale)
            pixel_values = torch.from_numpy(small).permute(0, 3, 1, 2).to(self.model.device)
            outputs = self.model(pixel_values)
            for boxes, scores in zip(outputs.boxes.cpu().numpy(), outputs.scores.float().cpu().numpy(), strict=True):
                found.append(self._detections(boxes, scores, width, height))
        return found

    def _detections(self, boxes: np.ndarray, scores: np.ndarray, width: int, height: int) -> Detections:
        # A box below the confidence suppresses none above it, so it can go first.
        sure = np.flatnonzero(scores > self.confidence)
        boxes, scores = boxes[sure], scores[sure]
        candidates = np.argsort(scores, kind="stable")[::-1][:_CANDIDATES]
        boxes, scores = boxes[candidates], scores[candidates]
        for threshold, count in ((_NMS_IN_NETWORK, _KEPT), (self.nms_threshold, None)):
            kept = non_maximum_suppression(boxes, scores, threshold)[:count]
            boxes, scores = boxes[kept], scores[kept]
        return Detections(boxes * np.float32([width, height, width, height]), scores)


__all__ = ["S3FDDetector"]
