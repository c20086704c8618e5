"""Evaluate VocaLiST or MTDVocaLiST on LRS2, by the protocol of the papers.

    python examples/evaluate_mtdvocalist.py --model mtdvocalist --data_dir lrs2_faces --list test.txt

Clips are face boxes cropped by Wav2Lip's script (folders of 0.jpg, 1.jpg, ... and audio.wav). For 5 to 15 frames of
context it prints the share of windows whose offset is found within one frame, mean over windows and then over clips:
under the protocol of the published numbers, and under the exact one, which leaves out impossible offsets.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModel, AutoProcessor

from avzoo.data.lrs2 import lrs2, read_lrs2_faces
from avzoo.metrics.synchronization import CONTEXTS, mean_offset_accuracy
from avzoo.pipelines.shared.saved_folders import load_checked_model
from avzoo.training import report_errors


@report_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of the video folders")
    parser.add_argument("--list", type=Path, required=True, help="test.txt")
    parser.add_argument("--skip_missing", action="store_true", help="skip clips that do not exist")
    parser.add_argument("--limit", type=int, help="maximum number of clips")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    model = load_checked_model(AutoModel, options.model).eval().to(options.device)
    processor = AutoProcessor.from_pretrained(options.model)
    clips = list(lrs2(options.data_dir, options.list, skip_missing=options.skip_missing))[: options.limit]

    official, exact, skipped = [], [], 0
    for clip in tqdm(clips, unit="clip"):
        faces, samples = read_lrs2_faces(clip["path"])
        if len(faces) <= processor.context_frames:
            skipped += 1
            continue
        windows = processor(list(faces), samples, sampling_rate=16000)
        # The authors omit the last window of a clip.
        pairs = windows.pixel_values[:-1], windows.input_features[:-1]
        official.append(model.score_offsets(*pairs, protocol="official").numpy())
        exact.append(model.score_offsets(*pairs).numpy())
    settings = {"window_frames": processor.context_frames}
    print(f"{len(official)} clips" + (f", {skipped} too short" if skipped else ""))
    print("context (frames)  " + "".join(f"{context:>8}" for context in CONTEXTS))
    for name, scores in (("official", official), ("exact", exact)):
        accuracies = mean_offset_accuracy(scores, CONTEXTS, protocol=name, **settings)
        print(f"{name:<18}" + "".join(f"{100 * value:8.2f}" for value in np.asarray(accuracies)))


if __name__ == "__main__":
    main()
