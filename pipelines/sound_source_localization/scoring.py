"""Maps to scores as they come, with those of the middle of the picture and of the truth itself beside them."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from transformers.utils import ModelOutput

from avzoo.data.localization_samples import Sample
from avzoo.metrics.localization import (
    area_thresholds,
    consensus_iou,
    consensus_iou_curve,
    localization_scores,
    success_auc,
    success_rate,
    truth_areas,
)
from avzoo.metrics.localization_maps import (
    MAP_SIZE,
    center_prior,
    draw_truth,
    mix_objectness,
    normalize_maps,
    oracle_maps,
    to_pixel_boxes,
    upsample_maps,
)
from avzoo.metrics.mask_segmentation import f_measure_curves, mask_iou, max_f_measure, mean_of_batches
from avzoo.metrics.retrieval import class_recall
from avzoo.metrics.sounding_detection import slavc_confidence, sounding_detection_scores
from avzoo.pipelines.sound_source_localization.test_sets import Protocol
from avzoo.video import read_picture

MODEL, WITH_OBJECTNESS, PRIOR, ORACLE = "model", "model with objectness", "centre prior", "oracle"
MASK_THRESHOLD = 0.5  # of normalized maps, for mIoU
FIXED_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # of maps as they are; ACL-SSL's
_AVSBENCH_BATCH = 5  # of ACL-SSL's evaluation

_RANKS = (1, 5, 10)


class Scorer:
    """Scores of maps as they come; the priors' too."""

    def __init__(
        self,
        protocol: Protocol,
        upsampling: str,
        objectness_weight: float | None,
        confidence_threshold: float | None = None,
        thresholds: tuple[float, ...] | None = None,
    ):
        self.protocol, self.upsampling, self.objectness_weight = protocol, upsampling, objectness_weight
        self.confidence_threshold, self.thresholds = confidence_threshold, thresholds
        self.confidence_name = "maximum"
        self.places: dict[str, int] = {}  # of samples in the lists below
        self._columns: dict[str, list[np.ndarray]] = {}

    def add(
        self,
        samples: Sequence[Sample],
        maps: np.ndarray,
        objectness: np.ndarray | None,
        confidences: np.ndarray | None = None,
        heatmaps: np.ndarray | None = None,
    ) -> None:
        """Score the maps (samples, rows, columns) of one picture, and its objectness (rows, columns).

        Args:
            confidences: (samples,), of the model. None: the maxima of the maps.
            heatmaps: (samples, MAP_SIZE, MAP_SIZE), cut at the fixed thresholds.

        Raises:
            ValueError: values that are NaN or infinite.
        """
        kinds = {"similarity map": maps, "objectness": objectness, "confidence": confidences, "heatmap": heatmaps}
        for kind, values in kinds.items():
            if values is not None and not np.isfinite(values).all():
                raise ValueError(f"the {kind} of {samples[0]['name']} has values that are NaN or infinite.")
        for sample in samples:
            self.places[sample["name"]] = len(self.places)
        truth = draw_truth(
            [to_pixel_boxes(sample["boxes"], sample["box_format"], MAP_SIZE) for sample in samples],
            MAP_SIZE,
            consensus=self.protocol.is_consensus,
        )
        large = normalize_maps(upsample_maps(maps, MAP_SIZE, self.upsampling))
        rows = {MODEL: large}
        if objectness is not None:
            own = normalize_maps(upsample_maps(objectness[None], MAP_SIZE, self.upsampling))
            rows[WITH_OBJECTNESS] = mix_objectness(large, np.broadcast_to(own, large.shape), self.objectness_weight)
        rows |= {PRIOR: np.broadcast_to(center_prior(), large.shape), ORACLE: oracle_maps(truth)}
        areas = truth_areas(truth)
        masks = read_masks(samples)
        for row, values in rows.items():
            fixed = {"inclusive": self.protocol.inclusive}
            self._append(row, consensus_iou(values, truth, **fixed))
            self._append(f"{row}, adaptive", consensus_iou(values, truth, area_thresholds(values, areas), **fixed))
            if masks is not None:
                values = masks.astype(np.float64) if row == ORACLE else values
                self._append(f"{row}, mask", mask_iou(values, masks, MASK_THRESHOLD))
                self._append(f"{row}, curve", f_measure_curves(values, masks))
        self._append("truth", truth.any(axis=(1, 2)))
        self._append("has mask", np.full(len(samples), masks is not None))
        if confidences is not None:
            self.confidence_name = "confidence"
        self._append("confidence", maps.max(axis=(1, 2)) if confidences is None else confidences)
        if heatmaps is not None:
            epsilon = 1e-12 if self.protocol.is_extended else 0.0
            self._append("fixed", consensus_iou_curve(heatmaps, truth, self.thresholds, epsilon=epsilon))
            if masks is not None:
                self._append("fixed mask", np.stack([mask_iou(heatmaps, masks, bound) for bound in self.thresholds], 1))
                self._append("fixed curve", f_measure_curves(heatmaps, masks))
        if self.protocol.is_extended:
            self._append("slavc", slavc_confidence(maps, 1.0))

    def finish(self, samples: Sequence[Sample]) -> tuple[dict[str, dict[str, float]], list[str]]:
        """Scores of every row, and notes.

        Raises:
            ValueError: no sample has a truth.
        """
        has_truth = self._column("truth", samples)
        if not has_truth.any():
            raise ValueError(f"`samples`: the truth of all {len(samples)} is empty, so that every score would be 0.")
        sounding = np.array([sample["is_sounding"] for sample in samples])
        chosen = [sample for sample in samples if sample["is_sounding"]]
        groups = [sample["group"] for sample in chosen] if self.protocol.has_groups else None
        rows = [row for row in (MODEL, WITH_OBJECTNESS, PRIOR, ORACLE) if row in self._columns]
        scores, notes = {}, []
        if empty := int((~has_truth & sounding).sum()):
            notes.append(f"samples with an empty truth: {empty}; they count 0 whatever the map")
        for row in rows:
            ious = [self._column(name, chosen) for name in (row, f"{row}, adaptive")]
            scores[row] = localization_scores(*ious, groups)
        if self.protocol.is_extended:
            notes += self._score_detection(samples, sounding, scores)
        if f"{MODEL}, mask" in self._columns:
            notes += self._score_masks(samples, scores)
        return scores, notes

    def score_thresholds(self, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        """{threshold: scores} of maps as they are, by ACL-SSL's protocol (swimmiing/ACL-SSL@57f4a6c).

        Pixels equal to a threshold count, but not for `miou`, which is a mean of the means of five samples each;
        `f_measure` does not depend on the threshold. `ap` and `max_f1_of_ten` are by the model's confidence.
        """
        if self.thresholds is None:
            return {}
        curve = self._column("fixed", samples)
        sounding = np.array([sample["is_sounding"] for sample in samples])
        scores = {}
        for place, threshold in enumerate(self.thresholds):
            ious = curve[sounding, place]
            found = {"ciou": success_rate(ious), "auc": success_auc(ious), "mean_iou": float(ious.mean())}
            if self.protocol.is_extended:
                pairs = self._column("confidence", samples), curve[:, place], sounding
                detection = sounding_detection_scores(*pairs)
                found |= {name: detection[name] for name in ("ap", "max_f1_of_ten")}
            if "fixed mask" in self._columns:
                ious, curves = (np.concatenate(self._columns[name]) for name in ("fixed mask", "fixed curve"))
                if len(ious) == len(samples):  # in the order of the list, as batches of the authors are
                    order = [self.places[sample["name"]] for sample in samples]
                    found["miou"] = mean_of_batches(ious[order, place], _AVSBENCH_BATCH)
                    if not np.isnan(curves).any(axis=1).all():
                        found["f_measure"] = max_f_measure(curves)
            scores[f"{threshold:g}"] = found
        return scores

    def collect_ious(self, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
        """{row: (samples,)}, in the order of the samples."""
        wanted = [row for row in self._columns if row.split(",")[0] in (MODEL, WITH_OBJECTNESS, PRIOR, ORACLE)]
        wanted = [row for row in wanted if not row.endswith((", mask", ", curve"))]
        return {row: self._column(row, samples) for row in wanted}

    def _score_detection(self, samples: Sequence[Sample], sounding: np.ndarray, scores: dict[str, dict]) -> list[str]:
        confidences = {row: self._column("slavc", samples) for row in scores}
        # The prior has no confidence: it takes all pairs for sounding, and has no order for an AP. The oracle's falls,
        # since SLAVC's AP doesn't count the recall that the pairs of the highest confidence have together.
        confidences[PRIOR] = np.zeros(len(samples))
        confidences[ORACLE] = sounding - 0.5 * np.arange(len(samples)) / len(samples)
        for row in scores:
            found = sounding_detection_scores(confidences[row], self._column(row, samples), sounding)
            names = ("ap", "ap_sounding", "max_f1_of_ten", "max_f1", "loc_acc")
            scores[row] |= {name: found[name] for name in (names[2:] if row == PRIOR else names)}
        notes = [
            f"pairs that don't sound: {int((~sounding).sum())}; cIoU and AUC are of the others",
            "ap and max_f1 by SLAVC's confidence, the largest quarter's mean of a map; "
            + f"*_by_{self.confidence_name} by {'its maximum' if self.confidence_name == 'maximum' else 'the own one'}",
        ]
        threshold = self.confidence_threshold
        pairs = (self._column("confidence", samples), self._column(MODEL, samples), sounding)
        found = sounding_detection_scores(*pairs, 0.5 if threshold is None else threshold)
        by = f"by_{self.confidence_name}"
        scores[MODEL] |= {f"ap_{by}": found["ap"], f"max_f1_{by}": found["max_f1"]}
        if threshold is not None:
            scores[MODEL]["f1_of_decision"] = found["f1"]
            name = self.confidence_name
            notes.append(f"f1_of_decision: sounding from a {name} of {threshold} on, as the model decides")
        return notes

    def _score_masks(self, samples: Sequence[Sample], scores: dict[str, dict]) -> list[str]:
        has_mask = self._column("has mask", samples)
        for row in scores:
            curves = np.concatenate(self._columns[f"{row}, curve"])
            scores[row]["miou"] = float(np.concatenate(self._columns[f"{row}, mask"]).mean())
            if not np.isnan(curves).any(axis=1).all():
                scores[row]["f_measure"] = max_f_measure(curves)
        count = int(has_mask.sum())
        where = "" if count == len(samples) else f" of the {count} samples whose mask is there"
        return [f"miou{where} at {MASK_THRESHOLD} of normalized maps; f_measure at the best of 255 thresholds"]

    def _append(self, name: str, values: np.ndarray) -> None:
        self._columns.setdefault(name, []).append(values)

    def _column(self, name: str, samples: Sequence[Sample]) -> np.ndarray:
        return np.concatenate(self._columns[name])[[self.places[sample["name"]] for sample in samples]]


class RetrievalVectors:
    """Vectors of pairs, for the recall of retrieval by class.

    Args:
        has_projections: `pooler_output` is another vector than `last_hidden_state`.
    """

    def __init__(self, has_projections: bool = True) -> None:
        self.has_projections = has_projections
        self._vectors: dict[str, dict[str, np.ndarray]] = {}

    def add(self, samples: Sequence[Sample], picture: ModelOutput, sounds: ModelOutput) -> None:
        """Note the vectors of one picture and its sounds."""
        raw = picture.last_hidden_state
        vectors: dict[str, torch.Tensor] = {}
        if raw.ndim == 4 and sounds.last_hidden_state.shape[1:] == raw.shape[1:2]:
            vectors |= {"raw image": raw.mean((2, 3)), "raw audio": sounds.last_hidden_state}
        image, audio = picture.pooler_output, sounds.pooler_output
        if self.has_projections and image is not None and audio is not None and image.shape[-1] == audio.shape[-1]:
            vectors |= {"projected image": image, "projected audio": audio}
        for number, sample in enumerate(samples):
            self._vectors[sample["name"]] = {
                name: value[number if name.endswith("audio") else 0].float().cpu().numpy()
                for name, value in vectors.items()
            }

    def finish(self, samples: Sequence[Sample]) -> tuple[dict[str, float], list[str]]:
        """{"raw A->I R@1": recall, ...} of the samples whose class is known, and notes."""
        chosen = [sample for sample in samples if sample["class_name"] is not None]
        classes = [sample["class_name"] for sample in chosen]
        if len(set(classes)) < 2:
            return {}, [f"no recall of retrieval: the samples have {len(set(classes))} class"]
        recalls = {}
        for kind in ("raw", "projected"):
            sides = {
                side: [self._vectors[sample["name"]].get(f"{kind} {side}") for sample in chosen]
                for side in ("image", "audio")
            }
            if sides["image"][0] is None:
                continue
            for name, query, gallery in (("A->I", "audio", "image"), ("I->A", "image", "audio")):
                found = class_recall(np.stack(sides[query]), np.stack(sides[gallery]), classes, _RANKS)
                recalls |= {f"{kind} {name} R@{rank}": float(part) for rank, part in zip(_RANKS, found, strict=True)}
        return recalls, [f"R@k: a gallery of {len(chosen)} pairs, {len(set(classes))} classes; a hit is of the class"]


def read_masks(samples: Sequence[Sample]) -> np.ndarray | None:
    """The masks of samples, (samples, MAP_SIZE, MAP_SIZE) bool, or None if one has none.

    Raises:
        OSError: a mask can't be opened. ValueError: it is damaged.
    """
    if any(sample["mask"] is None for sample in samples):
        return None
    masks = []
    for sample in samples:
        try:
            grey = Image.fromarray(read_picture(sample["mask"], name="mask")).convert("L")
        except ValueError as error:
            raise ValueError(f"`samples`: {sample['name']}: {error}") from error
        if grey.size != (MAP_SIZE, MAP_SIZE):
            grey = grey.resize((MAP_SIZE, MAP_SIZE), Image.Resampling.NEAREST)
        masks.append(np.asarray(grey) >= 128)
    return np.stack(masks)


__all__ = [
    "FIXED_THRESHOLDS",
    "MODEL",
    "ORACLE",
    "PRIOR",
    "WITH_OBJECTNESS",
    "RetrievalVectors",
    "Scorer",
    "read_masks",
]
