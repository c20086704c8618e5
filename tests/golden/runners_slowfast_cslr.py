"""How the golden cases of SlowFastSign are computed with this package: one function per kind."""

from collections.abc import Iterator

import torch
from golden_case import Expected, GoldenCase

from avzoo.metrics.sign_glosses import clean_glosses, word_error_rate

# Evaluation and data.


def run_word_error_rate(case: GoldenCase, folder) -> Iterator[Expected]:
    config, text = case.config, case.description["text"]
    references, hypotheses = dict(text["references"]), dict(text["hypotheses"])
    costs = tuple(config[f"cost_{step}"] for step in ("substitution", "deletion", "insertion"))
    result = word_error_rate(references, hypotheses, "phoenix", costs=costs)
    unit_costs = word_error_rate(references, hypotheses, "phoenix", costs=(1, 1, 1))
    yield {
        "counts": torch.from_numpy(result.counts),
        "wer": torch.tensor(result.value, dtype=torch.float64),
        "text.cleaned": {name: clean_glosses(hypotheses.get(name, [])) for name in references},
        "text.alignments": [[list(pair.reference), list(pair.hypothesis)] for pair in result.alignments],
        "text.unit_cost_errors": unit_costs.totals["errors"],
    }


DATA_RUNNERS = {"wer": run_word_error_rate}
RUNNERS = {**DATA_RUNNERS}
