"""S3FD as a face detector for video frames, with the post-processing of TalkNet's demo."""

import os
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from avzoo.checks import check_number, check_whole_number
from avzoo.hub.errors import explain_hub_errors
from avzoo.video.detection import Detections, check_frames, non_maximum_suppression
from avzoo.video.resizing import scale_as_opencv

from .configuration_s3fd import S3FDConfig
from .modeling_s3fd import SMALLEST_SIDE, S3FDForFaceDetection

# Constants of the authors' network.
_NMS_IN_NETWORK, _MAX_CANDIDATES, _MAX_DETECTIONS = 0.3, 5000, 750


class S3FDDetector:
    """Detects faces in frames with a converted S3FD, as TalkNet's demo does (TaoRuijie/TalkNet-ASD@6d68214).

        find_faces = S3FDDetector.from_pretrained("./s3fd")
        detections = detect_faces(iter_video("clip.mp4", fps=25), find_faces)

    Frames are scaled first, because the cost grows with their area: at 0.25 a frame of 1280 x 720 takes 18 billion
    multiply-adds. The smallest detectable face, 16 pixels after scaling, is then 64 pixels in the frame; use a larger
    scale for small videos.

    Args:
        model: the network; it stays on its device and is set to evaluation mode.
        scale: factor by which frames are resized before detection.
        confidence: minimum probability of a face.
        nms_threshold: of faces that overlap by more than this IoU, only the best one is kept.
        batch_size: frames per forward pass.

    Raises:
        ValueError: an argument out of range.
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
        check_number("confidence", confidence, at_least=0, at_most=1)
        check_number("nms_threshold", nms_threshold, at_least=0, at_most=1)
        check_number("scale", scale, above=0)
        check_whole_number("batch_size", batch_size, at_least=1)
        self.model = model.eval()
        self.scale, self.confidence, self.nms_threshold = scale, confidence, nms_threshold
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, **options: Any) -> "S3FDDetector":
        """Make a detector from a folder that `avzoo convert s3fd` wrote, or from the Hub.

        Raises:
            OSError: there is none; what the Hub is the reason for is explained in one line.
            ValueError: it holds another model.
        """
        with explain_hub_errors(folder):
            try:
                kind = S3FDConfig.get_config_dict(folder)[0].get("model_type", S3FDConfig.model_type)
                if kind != S3FDConfig.model_type:
                    raise ValueError(f"`{folder}` holds no S3FD: its `model_type` is {kind!r}.")
                model, info = S3FDForFaceDetection.from_pretrained(folder, output_loading_info=True)
            except (AttributeError, LookupError, RuntimeError, TypeError, SafetensorError) as error:
                reason = " ".join(str(error).split())[:300]
                raise OSError(f"`{folder}` can't be loaded, it is damaged or another model's ({reason}).") from error
        if info["missing_keys"]:  # transformers would draw them at random
            raise ValueError(f"`{folder}` holds no S3FD: {len(info['missing_keys'])} of its weights are not there.")
        return cls(model, **options)

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Detect the faces of each frame, best first.

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
            outputs = self.model(pixel_values, return_dict=True)
            for boxes, scores in zip(outputs.boxes.cpu().numpy(), outputs.scores.float().cpu().numpy(), strict=True):
                found.append(self._select_detections(boxes, scores, width, height))
        return found

    def _select_detections(self, boxes: np.ndarray, scores: np.ndarray, width: int, height: int) -> Detections:
        # A box below the confidence suppresses none above it, so it can be dropped first.
        confident = np.flatnonzero(scores > self.confidence)
        boxes, scores = boxes[confident], scores[confident]
        candidates = np.argsort(scores, kind="stable")[::-1][:_MAX_CANDIDATES]
        boxes, scores = boxes[candidates], scores[candidates]
        for threshold, count in ((_NMS_IN_NETWORK, _MAX_DETECTIONS), (self.nms_threshold, None)):
            kept = non_maximum_suppression(boxes, scores, threshold)[:count]
            boxes, scores = boxes[kept], scores[kept]
        return Detections(boxes * np.float32([width, height, width, height]), scores)


__all__ = ["S3FDDetector"]
