"""How the golden cases of TalkNCE are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import numpy as np
import torch
from golden_case import GoldenCase

from avzoo import ActiveSpeakerProcessor, S3FDForFaceDetection, TalkNCELoss
from avzoo.audio import align_to_video, speech_features_mfcc, vggish_log_mel
from avzoo.conversion import convert_checkpoint
from avzoo.metrics import ava_average_precision, match_ava
from avzoo.models.talknce.scenes import FaceTrack, SceneScorer
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
    squares = [convention.cut_square(frame, region) for frame, region in zip(frames, regions, strict=False)]
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


def run_ava_map(case: GoldenCase, folder) -> Iterator[Outputs]:
    scores, labels = (case.inputs[name].numpy() for name in ("scores", "labels"))
    yield {"average_precision": torch.tensor(ava_average_precision(scores, labels), dtype=torch.float64)}
    files = [case.folder / name for name in ("groundtruth.csv", "predictions.csv")]
    if all(file.is_file() for file in files):
        read_scores, read_labels = match_ava(*files)
        np.testing.assert_array_equal(read_labels, labels)
        np.testing.assert_array_equal(read_scores, scores)
        yield {"average_precision": torch.tensor(ava_average_precision(read_scores, read_labels), dtype=torch.float64)}


def saved(model, folder):
    """As converted, then as saved and loaded."""
    yield model
    model.save_pretrained(folder)
    yield type(model).from_pretrained(folder)


@torch.no_grad()
def run_loconet(case: GoldenCase, folder) -> Iterator[Outputs]:
    sizes, inputs = case.config, case.inputs
    config = {"cross_attention_query": "own" if sizes.get("adjust_attention") else "other"}
    converted = convert_checkpoint("talknce", case.checkpoint(), config=config)
    assert converted.config.num_speakers == sizes["num_speakers"]
    assert converted.config.num_context_layers == sizes["av_layers"]
    order = ActiveSpeakerProcessor(num_speakers=sizes["num_speakers"]).fill_speakers(inputs["face_crops"].shape[1])
    faces, labels, masks = (inputs[name][:, order] for name in ("face_crops", "labels", "masks"))
    for model in saved(converted, folder):
        outputs = model(faces, inputs["log_mel"][:, 0], labels=labels, face_mask=masks)
        scores = outputs.logits.softmax(-1)[..., 1]
        yield {
            "audio_embeds": outputs.audio_embeddings[:, 0],
            **embeddings_of(outputs),
            "scores": scores[:, 0],
            "loss_nce": outputs.loss_nce,
            "correct_frames": ((scores.round() == labels) * masks).sum(),
            "num_frames": masks.sum(),
        }


def embeddings_of(outputs) -> Outputs:
    return {
        "visual_embeds": outputs.visual_embeddings,
        "audio_cross": outputs.audio_hidden_state,
        "visual_cross": outputs.visual_hidden_state,
        "av_features": outputs.last_hidden_state,
        **{name: outputs[name] for name in ("logits", "logits_audio", "logits_visual", "loss")},
        **{name: outputs[name] for name in ("loss_av", "loss_audio", "loss_visual")},
    }


@torch.no_grad()
def run_talknet(case: GoldenCase, folder) -> Iterator[Outputs]:
    """The tracks of a case are those of one clip, joined as the authors' code joins them."""
    inputs = case.inputs
    converted = convert_checkpoint("talknce", case.checkpoint(), variant="talknet", config={"join_tracks": True})
    for model in saved(converted, folder):
        outputs = model(inputs["face_crops"][None], inputs["mfcc"][None], labels=inputs["labels"][None])
        results = {"audio_embeds": outputs.audio_embeddings, **embeddings_of(outputs)}
        results = {name: value[0] if value.ndim == 4 else value for name, value in results.items()}
        results["scores"] = results["logits"].softmax(-1)[..., 1]
        results["correct_frames"] = (results["scores"].round() == inputs["labels"]).sum()
        yield results


@torch.no_grad()
def run_talknet_windows(case: GoldenCase, folder) -> Iterator[Outputs]:
    """Scored with kept features, and checked against windows scored one by one."""
    processor = ActiveSpeakerProcessor(audio_features="mfcc", num_speakers=1)
    rows = speech_features_mfcc(processor.audio(case.inputs["audio"]))
    faces = case.inputs["face_crops"]
    frames = min(len(rows) // 4, len(faces))
    track = FaceTrack(0, faces[:frames], rows[: 4 * frames])
    converted = convert_checkpoint("talknce", case.checkpoint(), variant="talknet")
    for model in saved(converted, folder):
        scores = SceneScorer(model, [track]).scores(0, case.config["durations"])
        mean = scores.mean(0)
        yield {"scores_per_duration": scores, "mean_scores": mean, "scores": (mean * 10).round() / 10}


def run_talknce_loss(case: GoldenCase, folder) -> Iterator[Outputs]:
    loss, results = TalkNCELoss(temperature=case.config["temperature"]), {}
    for name in case.outputs:
        what, _, kind = name.partition("_") if name.startswith("loss") else name.rpartition("_")
        audio, visual = (case.inputs[f"{part}_embeds"].clone().requires_grad_() for part in ("audio", "visual"))
        value = loss(audio, visual, case.inputs[f"labels_{kind}"])
        if what == "loss":
            results[name] = value
        else:
            value.backward()
            results[name] = {"grad_audio": audio, "grad_visual": visual}[what].grad
    yield results


RUNNERS = {
    "loconet": run_loconet,
    "talknet": run_talknet,
    "talknet_windows": run_talknet_windows,
    "talknce_loss": run_talknce_loss,
    "ava_map": run_ava_map,
    "audio_features": run_audio_features,
    "tracking": run_tracking,
    "face_preprocess": run_face_preprocess,
    "s3fd_raw": run_s3fd_raw,
}
