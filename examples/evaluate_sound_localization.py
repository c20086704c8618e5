"""Evaluate a network of sound source localization on a public test set, by the protocol of the published numbers.

    python examples/evaluate_sound_localization.py --model MODEL_FOLDER --dataset is3 --root IS3

The layouts of the test sets are described in `avzoo/data/vggss.py`, `flickr_soundnet.py`, `is3.py`, `avsbench.py` and
`vpo.py`. Printed are cIoU and AUC in percent, their adaptive and interactive forms, and what else belongs to the test
set. Beside the model stand "centre prior", which looks at nothing, and "oracle", the truth itself: a result means
something between the two. Files that are missing, as many videos are by now, are counted and named. `--report` keeps
the IoU of each sample.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

from avzoo.pipelines.shared.commands import check_writable
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.pipelines.sound_source_localization.costs import count_localization_costs
from avzoo.pipelines.sound_source_localization.evaluation import evaluate_localization
from avzoo.pipelines.sound_source_localization.scoring import FIXED_THRESHOLDS
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS, read_test_set
from avzoo.training import report_errors


@report_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id")
    parser.add_argument("--dataset", choices=PROTOCOLS, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the test set, in its owners' layout")
    parser.add_argument("--upsampling", choices=("half-pixel", "corners"), help="default: the published numbers'")
    parser.add_argument("--objectness_weight", type=float, default=0.4, help="of the map against objectness")
    parser.add_argument(
        "--fixed_thresholds", action="store_true", help="also ACL-SSL's protocol: maps as they are, cut at 0.05 to 0.95"
    )
    parser.add_argument("--skip_damaged", action="store_true", help="count files that can't be decoded and go on")
    parser.add_argument("--report", type=Path, help=".json that keeps the scores and the IoU of each sample")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.report is not None:
        check_writable(options.report)
    samples = list(read_test_set(options.dataset, options.root))
    model = load_checked_model(AutoModel, options.model).to(options.device).eval()
    processor = AutoProcessor.from_pretrained(options.model)
    report = evaluate_localization(
        model,
        processor,
        samples,
        options.dataset,
        upsampling=options.upsampling,
        objectness_weight=options.objectness_weight,
        thresholds=FIXED_THRESHOLDS if options.fixed_thresholds else None,
        batch_size=options.batch_size,
        skip_damaged=options.skip_damaged,
        progress=True,
    )
    print(report.describe())
    costs = count_localization_costs(model, processor)
    pair, sound = costs.new_pair / 2e9, costs.new_sound / 2e9
    print(f"multiply-adds: {pair:.2f} G for a new pair, {sound:.2f} G for a new sound on a picture that is encoded")
    if options.report is not None:
        print(f"wrote {report.save(options.report)}")


if __name__ == "__main__":
    main()
