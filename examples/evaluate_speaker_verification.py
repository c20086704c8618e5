r"""Evaluate a speaker encoder, or a session model on one, on VoxCeleb1's lists of trials.

    python examples/evaluate_speaker_verification.py --model ENCODER_FOLDER --data_dir voxceleb1/wav \
        --lists veri_test2.txt list_test_all2.txt list_test_hard2.txt

Each recording is embedded once, whatever the number of lists and trials. `--protocol` says how two recordings are
compared: "full" (whole recordings, as speechbrain and wespeaker), "crops-distance" (ten crops of 4.015 s, as
voxceleb_trainer prints its numbers) or "crops-cosine". `--cohort LIST` adds AS-norm. Printed are the equal error rate
and minDCF in each code base's convention, of the speaker similarity and of the compensated score.
"""

import argparse
from pathlib import Path

import torch

from avzoo.data.trial_lists import Trials, read_trials
from avzoo.metrics.trial_scoring import PROTOCOLS
from avzoo.pipelines.shared.saved_folders import load_task_pipeline
from avzoo.pipelines.speaker_verification.stored_embeddings import embed_recordings
from avzoo.pipelines.speaker_verification.trials import (
    average_cohort,
    describe_scores,
    locate_recordings,
    read_cohort,
    score_list,
)
from avzoo.training import report_errors


@report_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of the recordings that the lists name")
    parser.add_argument("--lists", type=Path, nargs="+", required=True, help="lists of trials")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="full")
    parser.add_argument("--cohort", type=Path, help="list of recordings for AS-norm, with --protocol full")
    parser.add_argument("--embeddings", type=Path, help=".npz that keeps the embeddings")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.cohort is not None and options.protocol != "full":
        raise ValueError(f"--cohort needs --protocol full, got {options.protocol}.")
    lists = [read_trials(path) for path in options.lists]
    members = [] if options.cohort is None else read_cohort(options.cohort)
    names = list(
        dict.fromkeys([name for trials in lists for name in trials.recordings] + [name for _, name in members])
    )
    locate = locate_recordings(Trials.from_names("the lists", [(name, name) for name in names]), options.data_dir)
    pipe = load_task_pipeline("speaker-verification", options.model, options.device)
    table = embed_recordings(pipe, names, locate, options.protocol, options.embeddings, options.batch_size, True)
    cohort = average_cohort(members, table) if members else None
    for trials in lists:
        print(
            describe_scores(trials, score_list(trials, table, pipe.find_rule(), cohort), options.protocol), end="\n\n"
        )


if __name__ == "__main__":
    main()
