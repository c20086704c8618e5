"""How the golden cases of coarse-to-fine AST are computed with this package: one function per kind."""

from collections.abc import Iterator

import torch
from golden_case import GoldenCase

from avzoo import CoarseToFineASTFeatureExtractor, CoarseToFineASTForAudioClassification
from avzoo.conversion import convert_checkpoint

Outputs = dict[str, torch.Tensor]


def extractor_of(case: GoldenCase, folder, **fields) -> Iterator[CoarseToFineASTFeatureExtractor]:
    """An extractor with the statistics of the case, as made and as saved and loaded."""
    sizes = case.config
    extractor = CoarseToFineASTFeatureExtractor(
        max_length=sizes["base_target_length"], mean=sizes["mean"], std=sizes["std"], **fields
    )
    yield extractor
    extractor.save_pretrained(folder)
    yield CoarseToFineASTFeatureExtractor.from_pretrained(folder)


def features(extractor: CoarseToFineASTFeatureExtractor, waveform: torch.Tensor) -> torch.Tensor:
    row = {"array": waveform.numpy(), "sampling_rate": 16000}
    # The authors' loader cuts to whole patches at full resolution, too, where ours has the length it was given.
    whole = extractor.num_frames // 16 * 16
    return extractor(row, max_length=whole, return_tensors="pt").input_values[0]


def run_frame_shift(case: GoldenCase, folder) -> Iterator[Outputs]:
    """Outputs are called "<clip>_hop20ms" or "<clip>_hop20ms_window50ms"; the window is 25 ms, or 25 ms * factor."""
    for extractor in extractor_of(case, folder, temporal_compression="frame_shift"):
        results = {}
        for name in case.outputs:
            clip, hop = name.split("_hop")
            hop, _, window = hop.partition("_window")
            factor = float(hop.removesuffix("ms")) / 10
            extractor.scale_window = bool(window)
            extractor.set_phase(factor)
            if window:
                assert int(25 * factor) == int(window.removesuffix("ms"))
            results[name] = features(extractor, case.inputs[f"wave_{clip}"])
        yield results


def run_pooling(case: GoldenCase, folder) -> Iterator[Outputs]:
    """Outputs are called "max_2", "mean_3"; or with the name of a clip before, where there are several."""
    for extractor in extractor_of(case, folder, temporal_compression="pooling"):
        results = {}
        for name in case.outputs:
            *clip, pooling, factor = name.split("_")
            extractor.set_phase(int(factor), pooling=pooling)
            results[name] = features(extractor, case.inputs["_".join(["wave", *clip])])
        yield results


def phases(model: CoarseToFineASTForAudioClassification, factors: list[float], folder) -> Iterator:
    """The phases in order: carried over in memory, and through a folder after each."""
    for index, factor in enumerate(factors, start=1):
        if index > 1:
            model.set_phase(factor)
        yield index, model


def reloaded_phases(model: CoarseToFineASTForAudioClassification, factors: list[float], folder) -> Iterator:
    for index, phase_model in phases(model, factors, folder):
        phase_model.save_pretrained(folder / str(index))
        model = CoarseToFineASTForAudioClassification.from_pretrained(folder / str(index))
        yield index, model


def start(case: GoldenCase, **phase) -> CoarseToFineASTForAudioClassification:
    config = {"num_attention_heads": case.config["num_heads"], **phase}
    return convert_checkpoint("coarse_to_fine_ast", case.checkpoint(), config=config)


@torch.no_grad()
def run_phase_transfer(case: GoldenCase, folder) -> Iterator[Outputs]:
    lengths, stride = case.config["phase_lengths"], case.config["stride"]
    factors = [lengths[-1] / length for length in lengths]
    fields = {
        "max_length": lengths[-1],
        "compression_factor": factors[0],
        "stride": None if stride == case.config["patch_size"] else stride,
    }
    if not all(factor.is_integer() for factor in factors):
        fields["temporal_compression"] = "frame_shift"  # which can any that make whole milliseconds
    for walk in (phases, reloaded_phases):
        results = {}
        for index, model in walk(start(case, **fields), factors, folder):
            assert list(model.config.position_grid) == case.config["phase_grids"][index - 1]
            results[f"pos_phase{index}"] = model.flexiast.embeddings.position_embeddings.clone()
            results[f"logits_phase{index}"] = model(case.inputs[f"x_phase{index}"]).logits
        direct = start(case, **fields)
        direct.set_phase(factors[-1])
        results[f"pos_phase{len(factors)}_direct"] = direct.flexiast.embeddings.position_embeddings
        yield {name: results[name] for name in case.outputs}


@torch.no_grad()
def run_patchify_transfer(case: GoldenCase, folder) -> Iterator[Outputs]:
    sizes = case.config["phase_patch_sizes"]
    factors = [frames / sizes[-1][1] for _, frames in sizes]
    fields = {"max_length": case.config["input_size"][1], "num_mel_bins": case.config["input_size"][0]}
    for walk in (phases, reloaded_phases):
        results = {}
        for method in ("pi", "bilinear"):
            model = start(
                case,
                **fields,
                resize_method=method,
                temporal_compression="patchify",
                compression_factor=factors[0],
            )
            for index, phase_model in walk(model, factors, folder / method):
                embeddings = phase_model.flexiast.embeddings
                assert list(phase_model.config.position_grid) == case.config["phase_grids"][index - 1]
                logits = phase_model(case.inputs["x"]).logits
                results[f"kernel_{method}_phase{index}"] = embeddings.patch_embeddings.weight.clone()
                results[f"pos_phase{index}"] = embeddings.position_embeddings.clone()
                results[f"logits_{method}_phase{index}"] = results[f"logits_phase{index}"] = logits
        yield {name: results[name] for name in case.outputs}


RUNNERS = {
    "frame_shift": run_frame_shift,
    "pooling": run_pooling,
    "phase_transfer": run_phase_transfer,
    "patchify_transfer": run_patchify_transfer,
}
