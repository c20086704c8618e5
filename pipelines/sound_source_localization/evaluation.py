"""Evaluation on the test sets of sound source localization, with what no model would score beside it.

    samples = read_test_set("is3", "IS3")
    report = evaluate_localization(model, processor, samples, "is3")
    print(report.describe())

A picture in the middle of which something sounds is no proof that a model listens: on VGG-SS, "always the centre" has a
cIoU of 34.6 % and the truth itself 50.8 %, and all published results lie between. Hence both are in every report.

Each picture and each sound is encoded once, however many pairs it is in, and the maps of a batch of pictures are scored
before the next is encoded, so that memory does not grow with the test set.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers.utils import ModelOutput

from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.data.localization_samples import SAMPLE_FIELDS, Sample
from avzoo.metrics.localization_maps import MAP_SIZE, UPSAMPLING, to_pixel_boxes
from avzoo.pipelines.shared.feature_rows import join_rows, take_rows
from avzoo.pipelines.sound_source_localization.encoding import (
    digest_file,
    encode_batches,
    evaluation_mode,
    use_base_seconds,
)
from avzoo.pipelines.sound_source_localization.reports import LocalizationReport
from avzoo.pipelines.sound_source_localization.scoring import MODEL, RetrievalVectors, Scorer
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS, Protocol


@torch.inference_mode()
def evaluate_localization(
    model: Any,
    processor: Any,
    samples: Iterable[Sample],
    dataset: str,
    *,
    upsampling: str | None = None,
    objectness_weight: float | None = 0.4,
    thresholds: Sequence[float] | None = None,
    batch_size: int = 16,
    skip_damaged: bool = False,
    progress: bool = False,
) -> LocalizationReport:
    """Score a model on a test set by the protocol of the published numbers.

    Args:
        model: has `get_image_features`, `get_audio_features`, `compute_similarity_maps` and, where
            `config.use_objectness`, `get_objectness`; such as [`SSLAlignmentForSoundLocalization`].
        processor: of the model. Where it has `base_seconds`, the samples' are used.
        samples: see [`read_test_set`]; those with `missing` files are counted and left out.
        dataset: one of `PROTOCOLS`: "vggss", "flickr", "is3", "s4", "ms3", "vpo-ss", "vpo-ms", "vggss-extended",
            "flickr-extended".
        upsampling: of maps; None: the one of the published numbers, see [`choose_upsampling`]. Numbers by another are
            not comparable.
        objectness_weight: of the similarity map against objectness, for a second row where the model has that; None:
            without it.
        thresholds: rising, in [0, 1], such as `FIXED_THRESHOLDS`: also score maps as they are, cut at each of them,
            by ACL-SSL's protocol. For models with `has_absolute_maps`.
        batch_size: pictures, and sounds, at a time.
        skip_damaged: count files that can't be decoded and go on, instead of refusing them.
        progress: show a bar.

    Raises:
        TypeError, ValueError: an option out of its range; no samples, none with files, a name that appears twice, or no
            sample with a truth; a damaged file, a map of NaN or infinite values, with the sample's name.
    """
    # 1. Check inputs
    check_choice("dataset", dataset, PROTOCOLS)
    protocol = PROTOCOLS[dataset]
    check_choice("upsampling", upsampling, (None, *UPSAMPLING))
    check_whole_number("batch_size", batch_size, at_least=1)
    if objectness_weight is not None:
        check_number("objectness_weight", objectness_weight, at_least=0, at_most=1)
    _check_thresholds(thresholds, model)
    listed = list(samples)
    _check_samples(listed)
    listed = [dict(sample) for sample in listed]
    present = [sample for sample in listed if not sample["missing"]]
    if not present:
        first = f", the first is {listed[0]['missing'][0]}" if listed else ""
        raise ValueError(f"`samples`: none of the {len(listed)} has its picture and its sound{first}.")
    has_objectness = objectness_weight is not None and getattr(model.config, "use_objectness", False)
    processor = use_base_seconds(processor, present)
    parameter = next(model.parameters(), torch.zeros(()))
    damaged: dict[str, str] = {}
    owners = _find_owners(present)

    def report_damage(key: tuple[str, str], error: Exception) -> None:
        names = [sample["name"] for sample in owners[key]]
        if not skip_damaged:
            raise ValueError(f"`samples`: {names[0]}: {error}") from error
        damaged.update(dict.fromkeys(names, str(error)))

    def encode(side: str, keyword: str, output: str) -> Iterator[tuple[list, torch.Tensor]]:
        items = [(key, own[0][side]) for key, own in owners.items() if key[0] == side]
        bar = tqdm(items, unit=side, disable=not progress)

        def prepare(path: str) -> torch.Tensor:
            return processor(**{keyword: path}, return_tensors="pt")[output]

        for keys, inputs in encode_batches(bar, prepare, batch_size, report_damage):
            yield keys, inputs.to(parameter.device, parameter.dtype)

    # 2. Encode the sounds, whose vectors are small, and then the pictures, batch by batch, with the pairs of each
    if upsampling is None:
        upsampling = choose_upsampling(protocol, model.config)
    threshold = getattr(model.config, "confidence_threshold", None)
    weight = objectness_weight if has_objectness else None
    scorer = Scorer(protocol, upsampling, weight, threshold, None if thresholds is None else tuple(thresholds))
    has_projections = getattr(model.config, "projection_dim", 0) is not None
    vectors = RetrievalVectors(has_projections) if protocol.has_retrieval else None
    with evaluation_mode(model):
        sounds: dict[Any, ModelOutput] = {}
        for keys, inputs in encode("audio", "audio", "input_features"):
            features = model.get_audio_features(inputs)
            sounds |= {key: take_rows(features, [row]) for row, key in enumerate(keys)}
        for keys, inputs in encode("image", "images", "pixel_values"):
            features = model.get_image_features(inputs)
            objectness = model.get_objectness(inputs).float().cpu().numpy() if has_objectness else None
            for row, key in enumerate(keys):
                own = [sample for sample in owners[key] if sample["audio_key"] in sounds]
                if not own:
                    continue
                picture = take_rows(features, [row])
                heard = join_rows([sounds[sample["audio_key"]] for sample in own])
                maps = model.compute_similarity_maps(picture, heard)[0].float().cpu().numpy()
                guide = None if objectness is None else objectness[row]
                heatmaps = confidences = None
                if hasattr(model, "compute_confidence"):
                    confidences = model.compute_confidence(picture, heard)[0].float().cpu().numpy()
                if thresholds is not None:
                    large = model.compute_similarity_maps(picture, heard, (MAP_SIZE, MAP_SIZE))
                    heatmaps = large[0].float().cpu().numpy()
                scorer.add(own, maps, guide, confidences, heatmaps)
                if vectors is not None:
                    vectors.add(own, picture, heard)

    # 3. Score them
    evaluated = [sample for sample in present if sample["name"] in scorer.places]
    if not evaluated:
        name, reason = next(iter(damaged.items()))
        raise ValueError(f"`samples`: none of the {len(present)} could be read; the first is {name}: {reason}")
    scores, notes = scorer.finish(evaluated)
    if vectors is not None:
        recalls, more = vectors.finish(evaluated)
        scores[MODEL] |= recalls
        notes += more
    notes += _note_groups(protocol, listed, evaluated)
    return LocalizationReport(
        dataset=dataset,
        options={
            "upsampling": scorer.upsampling,
            "objectness_weight": scorer.objectness_weight,
            "thresholds": None if thresholds is None else list(thresholds),
        },
        num_listed=len(listed),
        num_evaluated=len(evaluated),
        missing=[sample["name"] for sample in listed if sample["missing"]],
        damaged=damaged,
        scores=scores,
        names=[sample["name"] for sample in evaluated],
        ious=scorer.collect_ious(evaluated),
        notes=notes,
        at_thresholds=scorer.score_thresholds(evaluated),
    )


def choose_upsampling(protocol: Protocol, config: Any) -> str:
    """The upsampling by which the authors scored networks of this kind on a test set.

    Those with projections before the map (EZ-VSL, FNAC, SLAVC) have aligned corners on VGG-SS, too.
    """
    if protocol.upsampling == "half-pixel" and getattr(config, "localization_projection", None) is not None:
        return "corners"
    return protocol.upsampling


def _check_thresholds(thresholds: Sequence[float] | None, model: Any) -> None:
    if thresholds is None:
        return
    values = np.asarray(thresholds, dtype=np.float64)
    if values.ndim != 1 or not values.size or values.min() < 0 or values.max() > 1 or (np.diff(values) <= 0).any():
        raise ValueError(f"`thresholds` must be numbers in [0, 1] that rise, got {list(thresholds)}.")
    if not getattr(model, "has_absolute_maps", False):
        raise ValueError(
            f"`thresholds` are for maps that mean the same in every picture; those of a {type(model).__name__} don't, "
            "they are normalized one by one. Leave it out."
        )


def _check_samples(samples: Sequence[Mapping[str, Any]]) -> None:
    if not samples:
        raise ValueError("`samples` is empty.")
    seen: set[str] = set()
    for number, sample in enumerate(samples):
        if absent := [name for name in SAMPLE_FIELDS if name not in sample]:
            raise ValueError(
                f"`samples[{number}]` has no {', '.join(absent)}; see avzoo.data.localization_samples.make_sample."
            )
        if sample["name"] in seen:
            raise ValueError(f"`samples` holds {sample['name']} twice.")
        seen.add(sample["name"])
        try:
            to_pixel_boxes(sample["boxes"], sample["box_format"])
        except ValueError as error:
            raise ValueError(f"`samples`: {sample['name']}: {error}") from error


def _find_owners(samples: Sequence[Sample]) -> dict[tuple[str, str], list[Sample]]:
    """{(side, digest of a file): the samples that have it}, in order of their first; notes the sound's key in each."""
    owners: dict[tuple[str, str], list[Sample]] = {}
    digests: dict[str, str] = {}
    for sample in samples:
        for side in ("audio", "image"):
            path = sample[side]
            if path not in digests:
                digests[path] = digest_file(path)
            key = (side, digests[path])
            sample[f"{side}_key"] = key
            owners.setdefault(key, []).append(sample)
    return owners


def _note_groups(protocol: Protocol, listed: Sequence[Sample], evaluated: Sequence[Sample]) -> list[str]:
    if not protocol.has_groups or len(listed) == len(evaluated):
        return []
    there = {sample["name"] for sample in evaluated}
    incomplete = {sample["group"] for sample in listed if sample["name"] not in there}
    incomplete &= {sample["group"] for sample in evaluated}
    if not incomplete:
        return []
    return [f"incomplete groups: {len(incomplete)}; their IIoU is of the samples that are there"]


__all__ = ["LocalizationReport", "choose_upsampling", "evaluate_localization"]
