"""How the golden cases of SlowFastSign are computed with this package: one function per kind."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from golden_case import Expected, GoldenCase

from avzoo.data.csl_daily import csl_daily
from avzoo.data.gloss_vocabulary import assign_numbers, count_glosses, number_glosses
from avzoo.data.phoenix14 import phoenix14
from avzoo.data.phoenix14t import phoenix14t
from avzoo.data.sign_sentences import format_stm
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


def run_annotations(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """The lines of the case in files that the readers take, each clip with one frame, which they don't open."""
    text = case.description["text"]
    results = {}
    for name, (reader, table, suffix, prefix) in DATA_SETS.items():
        root, lines = folder / name, text[name]
        write_lines(root / table, [text["headers"][name], *lines])
        if name == "CSL-Daily":
            write_lines(root / "split_1.txt", ["name|split", *(f"{line.split('|')[1]}|dev" for line in lines)])
        for line in lines:
            fields = line.split("|")
            place = {"phoenix2014": fields[1].rpartition("/")[0], "CSL-Daily": fields[1]}.get(name, fields[0])
            write_lines(root / prefix / place / f"1{suffix}", [])
        rows = reader(root, "dev")
        numbers = assign_numbers(list(count_glosses(rows)))
        incomplete = {gloss: number for gloss, number in numbers.items() if number != 3}
        frames = (root / prefix).parent if prefix.endswith("dev") else root / prefix
        results[f"expected.{name}"] = {
            "samples": [
                {
                    "fileid": row["id"],
                    "folder": f"{Path(os.path.relpath(row['path'], frames)).as_posix()}/*{suffix}",
                    "signer": row["signer"],
                    "label": row["text"],
                }
                for row in rows
            ],
            "vocabulary": [[gloss, numbers[gloss], count] for gloss, count in count_glosses(rows).items()],
            "label_ids": [number_glosses(row["glosses"], numbers) for row in rows],
            "label_ids_without_number_3": [number_glosses(row["glosses"], incomplete, unknown="drop") for row in rows],
            "stm": format_stm(rows),
        }
    sizes = [len(results[f"expected.{name}"]["vocabulary"]) for name in DATA_SETS]
    yield {"vocabulary_sizes": torch.tensor(sizes), **results}


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# Reader, table, frames' type and folder of the clips, by the name of the case.
DATA_SETS = {
    "phoenix2014": (phoenix14, "annotations/manual/dev.corpus.csv", ".png", "features/fullFrame-256x256px/dev"),
    "phoenix2014-T": (
        phoenix14t,
        "annotations/manual/PHOENIX-2014-T.dev.corpus.csv",
        ".png",
        "features/fullFrame-256x256px/dev",
    ),
    "CSL-Daily": (csl_daily, "video_map.txt", ".jpg", "sentence/frames_256x256"),
}

DATA_RUNNERS = {"annotations": run_annotations, "wer": run_word_error_rate}
RUNNERS = {**DATA_RUNNERS}
