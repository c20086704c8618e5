"""How the golden cases of TalkNCE are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import numpy as np
import torch
from golden_case import GoldenCase

from avzoo import S3FDForFaceDetection
from avzoo.audio import align_to_video, speech_features_mfcc, vggish_log_mel
from avzoo.conversion import convert_checkpoint
from avzoo.video.crops import LowerFace, grey_face
from avzoo.video.detection import Detections
from avzoo.video.resizing import resize_as_opencv
from avzoo.video.tracking import smooth_scores, track_faces

Outputs = dict[str, torch.Tensor]


def run_tracking(case: GoldenCase, folder) -> Iterator[Outputs]:
    config = case.config
    rows = case.inputs["detections"].numpy()
    detections = [
        Detections(rows[rows[:, 0] == frame, 1:5], rows[rows[:, 0] == frame, 5])
        for frame in range(config["num_frames"])
    ]
    tracks = track_faces(
        detections,
        iou_threshold=config["iou_threshold"],
        min_detections=config["min_track"],
        max_gap=config["max_missed"],
        min_face_size=config["min_face_size"],
    )
    convention = LowerFace(
        margin=config["crop_scale"], kernel_size=config["medfilt_kernel"], pad_value=config["pad_value"]
    )
    regions = convention.regions(tracks[config["cropped_track"]].boxes)
    frames = case.inputs["frames"].numpy()  # BGR throughout, and only the first ones of the track
    squares = [convention.square(frame, region) for frame, region in zip(frames, regions, strict=False)]
    crops = [convention.cut(frame[..., ::-1], region) for frame, region in zip(frames, regions, strict=False)]
    table = [np.column_stack([np.full(len(track), track.track_id), track.frames, track.boxes]) for track in tracks]
    outputs = {
        "tracks": np.concatenate(table),
        "crop_boxes": regions,
        "crops_bgr": np.stack([resize_as_opencv(square, convention.side, convention.side) for square in squares]),
        "crops_grey": np.stack(crops),
        "smooth_scores": smooth_scores(case.inputs["raw_scores"].numpy()),
    }
    yield {name: torch.from_numpy(value) for name, value in outputs.items()}


def run_face_preprocess(case: GoldenCase, folder) -> Iterator[Outputs]:
    yield {
        name: torch.from_numpy(
            grey_face(case.inputs[name.replace("grey", "crop")].numpy(), case.config["size"], order="bgr")
        )
        for name in case.outputs
    }


@torch.no_grad()
def run_s3fd_raw(case: GoldenCase, folder) -> Iterator[Outputs]:
    converted = convert_checkpoint("s3fd", case.checkpoint(), config=case.config)
    converted.save_pretrained(folder)
    for model in (converted, S3FDForFaceDetection.from_pretrained(folder)):
        outputs = model(case.inputs["image"].permute(2, 0, 1)[None])
        yield {
            "loc": outputs.box_offsets[0],
            "face_prob": outputs.scores[0],
            "priors": outputs.priors,
            "boxes": outputs.boxes[0],
        }


def run_audio_features(case: GoldenCase, folder) -> Iterator[Outputs]:
    results = {}
    for index, clip in enumerate(case.config["clips"]):
        waveform = case.inputs[f"audio_{index}"] / 32768  # int16, exact in float32
        timing = {"fps": clip["fps"], "sampling_rate": case.config["sampling_rate"]}
        results[f"log_mel_{index}"] = align_to_video(vggish_log_mel(waveform, **timing), clip["num_frames"])
        results[f"mfcc_{index}"] = align_to_video(speech_features_mfcc(waveform, **timing), clip["num_frames"])
    yield results


RUNNERS = {
    "audio_features": run_audio_features,
    "tracking": run_tracking,
    "face_preprocess": run_face_preprocess,
    "s3fd_raw": run_s3fd_raw,
}
