"""How the golden cases of SlowFastSign are computed with this package: one function per kind."""

from collections.abc import Iterator

import torch
from golden_case import Expected, GoldenCase

from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import decode_greedily, merge_adjacent, search_beams

# Decoding.


def run_decode(case: GoldenCase, folder) -> Iterator[Expected]:
    settings = case.config
    assert settings["cutoff_prob"] == 1.0  # which leaves nothing out
    options = {"num_beams": settings["beam_width"], "top_classes": settings["cutoff_top_n"], "blank": settings["blank"]}
    results = {name: torch.full(value.shape, -1, dtype=value.dtype) for name, value in case.outputs.items()}
    for row, length in enumerate(case.inputs["lengths"].tolist()):
        logits = case.inputs["logits"][:length, row]
        beams = search_beams(logits, **options)
        answers = {
            "beam_ids": merge_adjacent(beams[0]).ids,
            "greedy_ids": merge_adjacent(decode_greedily(logits, blank=settings["blank"])).ids,
        }
        for name, ids in answers.items():
            results[name][row, : len(ids)] = torch.tensor(ids)
        results["nbest_scores"][row] = torch.tensor([-beam.score for beam in beams])
        results["nbest_lengths"][row] = torch.tensor([len(beam.ids) for beam in beams])
        for place, beam in enumerate(beams):
            results["nbest_ids"][row, place, : len(beam.ids)] = torch.tensor(beam.ids)
            results["nbest_timesteps"][row, place, : len(beam.ids)] = torch.tensor(beam.steps)
    yield results


DECODING_RUNNERS = {"decode": run_decode}
RUNNERS = {**DECODING_RUNNERS}
