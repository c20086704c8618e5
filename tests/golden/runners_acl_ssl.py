"""How the golden case of ACL-SSL's evaluators is computed with this package: fixed thresholds, compared by >=."""

from collections.abc import Iterator

import numpy as np
import torch
from golden_case import Expected, GoldenCase

from avzoo.metrics import (
    area_thresholds,
    consensus_iou,
    consensus_iou_curve,
    draw_truth,
    f_measure_curves,
    mask_iou,
    max_f_measure,
    mean_of_batches,
    sounding_detection_scores,
    success_auc,
    success_rate,
    to_pixel_boxes,
)

AVS_BATCH = 5  # of the authors' script


def run_evaluation(case: GoldenCase, folder) -> Iterator[Expected]:
    results = score_vggss(case) | score_flickr(case) | score_avsbench(case) | score_extended(case)
    yield {
        name: torch.as_tensor(np.asarray(results[name], dtype=np.float64)).to(expected.dtype)
        for name, expected in case.outputs.items()
    }


def read_maps(case: GoldenCase, name: str) -> np.ndarray:
    """Bytes of small maps, each cell repeated."""
    small = (case.inputs[f"{name}_heatmap_u8"].numpy().astype(np.float32) + 0.5) / 256
    times = case.config["map_size"] // small.shape[-1]
    return small.repeat(times, axis=1).repeat(times, axis=2)


def read_truth(case: GoldenCase, name: str, count: int) -> np.ndarray:
    boxes, items = case.inputs[f"{name}_boxes"].numpy(), case.inputs[f"{name}_box_item"].numpy()
    size = case.config["map_size"]
    return draw_truth([to_pixel_boxes(boxes[items == item], "vggss", size) for item in range(count)], size)


def score_vggss(case: GoldenCase) -> dict[str, np.ndarray | list]:
    maps = read_maps(case, "vgg")
    truth = read_truth(case, "vgg", len(maps))
    curve = consensus_iou_curve(maps, truth, case.config["thresholds"])
    adaptive = consensus_iou(maps, truth, inclusive=True)
    medians, batch = area_thresholds(maps), case.config["batch"]
    first_medians = medians[np.arange(len(maps)) // batch * batch]
    return {
        "vgg_gt_area": truth.sum((1, 2)),
        "vgg_metrics": [[100 * success_rate(ious), 100 * success_auc(ious), 100 * ious.mean()] for ious in curve.T],
        "vgg_ciou_adaptive": adaptive,
        "vgg_ciou_adaptive_batched_quirk": consensus_iou(maps, truth, first_medians, inclusive=True),
        "vgg_metrics_adaptive": [100 * success_rate(adaptive), 100 * success_auc(adaptive)],
        "vgg_ciou_at_0.5": consensus_iou(maps, truth, 0.5, inclusive=True),
    }


def score_flickr(case: GoldenCase) -> dict[str, np.ndarray | list]:
    maps, size = read_maps(case, "flickr"), case.config["map_size"]
    boxes = [to_pixel_boxes(own, "flickr", size) for own in case.inputs["flickr_boxes"].numpy()]
    truth = draw_truth(boxes, size, consensus=True)
    curve = consensus_iou_curve(maps, truth, case.config["thresholds"])
    return {
        "flickr_gt_sum": truth.sum((1, 2)),
        "flickr_metrics": [[100 * success_rate(ious), 100 * success_auc(ious)] for ious in curve.T],
    }


def score_avsbench(case: GoldenCase) -> dict[str, np.ndarray | list | float]:
    maps = read_maps(case, "avs")
    truth = read_truth(case, "avs", len(maps))
    f_measure = 100 * max_f_measure(f_measure_curves(maps, truth))
    first = slice(0, AVS_BATCH)
    return {
        "avs_metrics": [
            [100 * mean_of_batches(mask_iou(maps, truth, threshold), AVS_BATCH), f_measure]
            for threshold in case.config["avs_thresholds"]
        ],
        "avs_miou_adaptive_first5": 100 * mask_iou(maps[first], truth[first], area_thresholds(maps[first])).mean(),
    }


def score_extended(case: GoldenCase) -> dict[str, list]:
    maps = read_maps(case, "ext")
    truth = read_truth(case, "ext", len(maps))
    confidences, is_sounding = (case.inputs[f"ext_{name}"].numpy() for name in ("confidence", "sounding"))
    curve = consensus_iou_curve(maps, truth, case.config["thresholds"], epsilon=1e-12)
    rows = []
    for ious in curve.T:
        scores = sounding_detection_scores(confidences, ious, is_sounding)
        f1 = 100 * scores["max_f1_of_ten"]
        rows.append([100 * scores["ap"], round(f1, 1), f1, scores["auc_sounding"]])
    return {"ext_metrics": rows}


RUNNERS = {"evaluation": run_evaluation}
