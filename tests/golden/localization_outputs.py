"""What a case of kind "metrics" holds: scores of maps, of extended test sets and of retrieval, without a model."""

import re

import numpy as np
import torch
from golden_case import Expected, GoldenCase

from avzoo.metrics import (
    area_thresholds,
    class_recall,
    consensus_iou,
    draw_truth,
    localization_scores,
    mix_objectness,
    normalize_maps,
    slavc_confidence,
    sounding_detection_scores,
    truth_areas,
    upsample_maps,
)
from avzoo.metrics.localization import group_of

# The case's names, in the order of its `summary`, to those of `localization_scores` without and with objectness.
SUMMARY = {
    "AUC": "auc",
    "AUC_adap": "adaptive_auc",
    "AUC_adap_ogl": "ogl.adaptive_auc",
    "AUC_ogl": "ogl.auc",
    "IAUC": "iauc",
    "IAUC_adap": "adaptive_iauc",
    "IIoU": "iiou",
    "IIoU_adap": "adaptive_iiou",
    "cIoU": "ciou",
    "cIoU_adap": "adaptive_ciou",
    "cIoU_adap_ogl": "ogl.adaptive_ciou",
    "cIoU_ogl": "ogl.ciou",
    "mean_ciou": "mean_iou",
}
EXTENDED = {
    "AP_all": "ap",
    "AP_visible": "ap_sounding",
    "AUC_visible": "auc_sounding",
    "F1_at_default": "f1",
    "max_F1": "max_f1",
    "precision_all": "precision",
    "precision_at_50": "loc_acc",
    "precision_visible": "precision_sounding",
}


def localization_outputs(case: GoldenCase) -> Expected:
    """{output name: tensor or table} of what the case's inputs allow to compute."""
    results: Expected = {}
    if "heatmap" in case.inputs:
        results |= score_maps(case)
        results["confidence"] = slavc_confidence(case.inputs["heatmap"][:, 0].numpy(), size=case.config["map_size"])
    if "ext.confidence" in case.inputs:
        confidences, ious, boxes = (case.inputs[f"ext.{name}"].numpy() for name in ("confidence", "ciou", "n_boxes"))
        stated = re.search(r"threshold (0\.\d+)", case.description.get("meaning", {}).get("ext.summary", ""))
        scores = sounding_detection_scores(confidences, ious, boxes > 0, float(stated[1]) if stated else 0.55)
        results["values.extended"] = {name: scores[own] for name, own in EXTENDED.items()}
        results["ext.summary"] = np.array([scores[own] for own in EXTENDED.values()])
        results["ext.f1_curve"] = scores["f1_curve"]
    if "retrieval.label" in case.inputs:
        results["retrieval"] = retrieve(case)
    return {
        name: value if isinstance(value, dict) else torch.as_tensor(value).to(case.outputs[name].dtype)
        for name, value in results.items()
        if name in case.outputs
    }


def score_maps(case: GoldenCase) -> dict[str, np.ndarray | dict]:
    size = case.config["map_size"]
    # Rows of -1 are no boxes; slices of NumPy end at the border.
    boxes = [[box for box in own if box[0] >= 0] for own in case.inputs["boxes"].clamp(max=size).tolist()]
    truth = draw_truth(boxes, size, consensus=case.config["gt_format"] == "flickr")
    groups = [group_of(name) for name in case.config["names"]]
    results: dict[str, np.ndarray | dict] = {}
    for convention, method in (("halfpixel", "half-pixel"), ("corners", "corners")):
        maps, objectness = (
            normalize_maps(upsample_maps(case.inputs[name][:, 0].numpy(), size, method))
            for name in ("heatmap", "objectness")
        )
        scores = {}
        for ending, kind in (("", maps), ("_ogl", mix_objectness(maps, objectness, case.config["ogl_alpha"]))):
            ious = consensus_iou(kind, truth)
            adaptive = consensus_iou(kind, truth, area_thresholds(kind, truth_areas(truth)))
            results |= {f"{convention}.ciou{ending}": ious, f"{convention}.ciou_adap{ending}": adaptive}
            prefix = "ogl." if ending else ""
            scores |= {prefix + name: score for name, score in localization_scores(ious, adaptive, groups).items()}
        table = {name: scores[own] for name, own in SUMMARY.items()}
        results |= {f"values.{convention}": table, f"{convention}.summary": np.array(list(table.values()))}
    return results


def retrieve(case: GoldenCase) -> np.ndarray:
    """Sound to picture, then picture to sound, of raw features, then of projected ones; R@1, 5, 10 each."""
    tensors = {
        name: case.inputs[f"retrieval.{name}"].numpy() for name in ("audio", "image_proj", "audio_proj", "label")
    }
    raw = case.inputs["retrieval.image_map"].flatten(2).mean(-1).numpy()
    pairs = ((tensors["audio"], raw), (tensors["audio_proj"], tensors["image_proj"]))
    return np.concatenate(
        [
            class_recall(*direction, tensors["label"])
            for sounds, pictures in pairs
            for direction in ((sounds, pictures), (pictures, sounds))
        ]
    )
