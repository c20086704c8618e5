r"""Evaluate SlowFastSign on PHOENIX14, PHOENIX14-T, CSL-Daily or your own clips, as the published numbers were made.

    python examples/evaluate_slowfast_cslr.py --model SIGN_FOLDER --dataset phoenix14 \
        --data_dir phoenix-2014-multisigner --split test --official_padding --output_dir report

Printed is the word error rate, in percent, of the answer and of the head before the LSTM ("conv", the authors'
auxiliary one). `--official_padding` reads two clips at a time that see each other's padding, as the authors' code does;
without it each clip gets what it gets alone. Hypotheses of the public data sets are cleaned by PHOENIX's table, those
of your own (`--dataset folder`, a table of paths and glosses) are compared as they are, unless `--clean_up` says
otherwise. `--output_dir` keeps the references (.stm), the hypotheses of both heads (.ctm) and each clip's alignment
(.json).

Published for the released weights (dev / test): PHOENIX14 18.01 / 18.28, PHOENIX14-T 17.66 / 18.71, CSL-Daily
25.49 / 24.85. Those contain two faults of the authors' scripts, worth up to 0.09 points, which are not repeated here:
see `avzoo/metrics/sign_glosses.py`.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCTC

from avzoo import SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.data.sign_datasets import PUBLIC, add_sign_options, read_sign_rows
from avzoo.data.sign_sentences import SPLITS
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.pipelines.sign_language_recognition.evaluation import evaluate_signs
from avzoo.training import report_errors


@report_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id")
    add_sign_options(parser)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--clean_up", choices=("phoenix", "none"), help="of hypotheses (folder: none, others: phoenix)")
    parser.add_argument("--num_beams", type=int, default=10, help="of the search; 1: greedily (%(default)s)")
    parser.add_argument("--official_padding", action="store_true", help="batches of two, as the authors' code has them")
    parser.add_argument("--output_dir", type=Path, help="keep report.json, references.stm and hypotheses.ctm there")
    parser.add_argument("--batch_size", type=int, default=1, help="clips at a time, which changes no answer")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that read clips")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.output_dir is not None and options.output_dir.exists() and not options.output_dir.is_dir():
        raise NotADirectoryError(f"`output_dir` ({options.output_dir}) is a file.")
    rows = read_sign_rows(options, options.split)
    model = load_checked_model(AutoModelForCTC, options.model)
    if not isinstance(model, SlowFastSignForCTC):
        raise ValueError(f"`model` ({options.model}) is a {type(model).__name__}; a SlowFastSignForCTC is needed.")
    processor = SlowFastSignProcessor.from_pretrained(options.model)
    if processor.glosses is None:
        raise ValueError(
            f"`model` ({options.model}) has no vocabulary: it would answer numbers. Convert it again with "
            "--part labels=gloss_dict.npy."
        )
    vocabulary = set(processor.glosses)
    words = [gloss for row in rows for gloss in row["glosses"]]
    unknown = [gloss for gloss in words if gloss not in vocabulary]
    if unknown:
        print(
            f"{len(unknown)} of the {len(words)} glosses of the references are not in the model's vocabulary, the "
            f"first is {unknown[0]!r}; each is an error.",
            file=sys.stderr,
        )
    clean_up = options.clean_up or ("phoenix" if options.dataset in PUBLIC else "none")
    report = evaluate_signs(
        model.to(options.device),
        processor,
        rows,
        clean_up=None if clean_up == "none" else clean_up,
        num_beams=options.num_beams,
        batch_size=options.batch_size,
        official_padding=options.official_padding,
        num_workers=options.num_workers,
        progress=True,
    )
    print(report.describe())
    if options.output_dir is not None:
        for path in report.save(options.output_dir):
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
