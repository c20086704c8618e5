r"""Find the clips that are similar to each clip, in the picture and in the sound, for `train_ssl_alignment.py`.

    python examples/mine_neighbours.py --dataset vggsound --data_dir vggsound --list train.txt \
        --image_model openai/clip-vit-base-patch32 --audio_model MIT/ast-finetuned-audioset-10-10-0.4593 \
        --output neighbours.safetensors

The encoders may be any of transformers that takes pictures (CLIP, ResNet, ViT, ...), or sound (AST, CLAP, ...), by name
or folder; a trained `ssl_alignment` model is both, which mines again with what it has learnt:

    python examples/mine_neighbours.py --dataset folder --data_dir videos \
        --image_model ssl-alignment --audio_model ssl-alignment --output neighbours.safetensors

The paper takes 1000 neighbours (arXiv 2309.10724); which encoders its authors took isn't in their code. Features are
computed once and kept in `--cache_dir`, as unit vectors of 16-bit numbers: a run that was interrupted goes on there.
The neighbours of these vectors are exact: cosines of all pairs, in blocks of bounded memory. 144,000 clips are 20
billion pairs, some twenty minutes of one CPU core. A clip is not its own neighbour. `--released_output` also writes
the authors' two JSON files.
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoProcessor

from avzoo import SSLAlignmentProcessor
from avzoo.checks import check_whole_number
from avzoo.data.image_sound_clips import add_clip_options, check_clip, list_files, read_clip_picture, read_clips
from avzoo.data.lists import describe_rows, keep_readable, refuse_empty_files
from avzoo.feature_cache import FeatureCache
from avzoo.hub.errors import explain_hub_errors
from avzoo.models.ssl_alignment.neighbours import (
    NeighbourLists,
    find_neighbours,
    save_neighbours,
    write_released_neighbours,
)
from avzoo.models.ssl_alignment.training_ssl_alignment import read_clip_sound
from avzoo.pipelines.shared.saved_folders import explain_damage
from avzoo.pipelines.sound_source_localization.encoding import digest_file
from avzoo.training import report_errors

CLIP_SECONDS = 10  # that an encoder of sound hears


@report_errors
def main() -> None:
    options = parse_arguments()
    check_whole_number("k", options.k, at_least=1)
    check_whole_number("batch_size", options.batch_size, at_least=1)
    rows = read_clips(options)
    if options.skip_damaged:
        rows = keep_readable(rows, check_clip, "clips")
    else:
        refuse_empty_files(list_files(rows))
    if len(rows) < 2:
        raise ValueError(f"`data_dir` ({options.data_dir}) holds {len(rows)} clip; neighbours need two at least.")
    k = min(options.k, len(rows) - 1)
    if k < options.k:
        print(f"{len(rows)} clips have {k} neighbours each, fewer than the {options.k} asked for", file=sys.stderr)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    tables = {}
    for kind, source in (("image", options.image_model), ("audio", options.audio_model)):
        features = compute_features(kind, source, rows, options, device)
        with tqdm(desc=f"{kind} neighbours", total=len(rows)) as bar:
            tables[kind] = find_neighbours(
                features, k, device=device, on_rows=lambda done, bar=bar: bar.update(done - bar.n)
            )
    lists = NeighbourLists([row["id"] for row in rows], **tables)
    save_neighbours(lists, options.output)
    if options.released_output is not None:
        write_released_neighbours(lists, *options.released_output)
    print(f"{options.output}: {k} neighbours of {len(rows)} clips, by picture and by sound")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clip_options(parser)
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, leave out what can't be read")
    parser.add_argument("--image_model", required=True, help="encoder of pictures: a folder or a Hub id")
    parser.add_argument("--audio_model", required=True, help="encoder of sound: a folder or a Hub id")
    parser.add_argument("--k", type=int, default=1000, help="neighbours of each clip (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--released_output", type=Path, nargs=2, metavar=("IMAGE", "AUDIO"), help="JSON files, too")
    parser.add_argument("--cache_dir", type=Path, help="folder of the features (default: OUTPUT.features)")
    parser.add_argument("--batch_size", type=int, default=32, help="clips encoded at a time (%(default)s)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that read files (%(default)s)")
    parser.add_argument("--device", help="default: GPU if available, else CPU")
    options = parser.parse_args()
    if options.cache_dir is None:
        options.cache_dir = options.output.with_name(f"{options.output.name}.features")
    return options


def compute_features(kind: str, source: str, rows: list, options: argparse.Namespace, device: str) -> np.ndarray:
    """Unit vectors (clips, size) of an encoder; those that are in the cache aren't computed again."""
    contents = {"kind": kind, "model": source, "clips": describe_rows(rows, ("id",))}
    if Path(source).is_dir():  # a model that is trained further keeps its folder
        files = sorted(path for path in Path(source).iterdir() if path.suffix in (".json", ".safetensors", ".bin"))
        contents["files"] = hashlib.sha256("".join(map(digest_file, files)).encode()).hexdigest()
    cache = FeatureCache(options.cache_dir / kind, len(rows), contents)
    missing = [place for place in range(len(rows)) if cache.read([place]) is None]
    if missing:
        read, encode = load_encoder(kind, source, device)
        loader = torch.utils.data.DataLoader(
            Inputs([rows[place] for place in missing], read),
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            collate_fn=list,
        )
        with tqdm(desc=f"{kind} features", total=len(rows), initial=len(rows) - len(missing)) as bar:
            for number, batch in enumerate(loader):
                places = missing[number * options.batch_size :][: len(batch)]
                vectors = encode(batch).float().cpu().numpy()
                lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
                for place, length in zip(places, lengths[:, 0], strict=True):
                    if not 0 < length < np.inf:
                        raise ValueError(
                            f"`{kind}_model` ({source}) gives {rows[place]['id']!r} a feature of length {length}."
                        )
                cache.write(places, {"feature": vectors / lengths})
                bar.update(len(batch))
    return cache.read(range(len(rows)))["feature"]


class Inputs(torch.utils.data.Dataset):
    """What an encoder takes of each clip, read by processes that load data."""

    def __init__(self, rows: list, read: Callable[[dict], np.ndarray]):
        self.rows, self.read = rows, read

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.read(self.rows[index])


class ReadSound:
    """(row) -> samples at an encoder's rate."""

    def __init__(self, sampling_rate: int):
        self.processor = SSLAlignmentProcessor(sampling_rate=sampling_rate)

    def __call__(self, row: dict) -> np.ndarray:
        return read_clip_sound(row, self.processor, CLIP_SECONDS * self.processor.sampling_rate)


def load_encoder(kind: str, source: str, device: str) -> tuple[Callable[[dict], np.ndarray], Callable[[list], Any]]:
    """(function that reads a clip, function that encodes a batch of what was read: (clips, size))."""
    with explain_damage(source), explain_hub_errors(source):
        processor = load_processor(kind, source)
        model, report = AutoModel.from_pretrained(source, output_loading_info=True)
    # Classifiers of transformers come without the layer that their bare model pools by: it would be random.
    missing = sorted(report["missing_keys"])
    has_pooler = not any("pooler." in key for key in missing)
    others = [key for key in missing if "pooler." not in key]
    if others:
        raise ValueError(f"`{kind}_model` ({source}) lacks {len(others)} weights, the first is {others[0]}.")
    encode_side = getattr(model, f"get_{kind}_features", model)
    if encode_side is model and hasattr(model, "get_text_features"):
        raise ValueError(f"`{kind}_model` ({source}) is a {type(model).__name__}, which has no {kind} side.")
    model.to(device).eval()
    rate = getattr(processor, "sampling_rate", None)
    if kind == "audio" and rate is None:
        raise ValueError(f"`audio_model` ({source}) has a processor without a sampling rate: it takes no sound.")

    @torch.no_grad()
    def encode(batch: list) -> torch.Tensor:
        if kind == "image":
            inputs = processor(images=batch, return_tensors="pt")
        elif isinstance(processor, SSLAlignmentProcessor):
            inputs = processor(audio=batch, sampling_rate=rate)
        else:
            inputs = processor(batch, sampling_rate=rate, return_tensors="pt")
        names = ("pixel_values", "input_features", "input_values", "is_longer", "attention_mask")
        output = encode_side(**{name: inputs[name].to(device) for name in names if name in inputs})
        if isinstance(output, torch.Tensor):
            return output.flatten(1)
        pooled = output.get("pooler_output")
        if pooled is not None and has_pooler:
            return pooled.flatten(1)  # of convolutional networks (clips, size, 1, 1)
        hidden_states = output.last_hidden_state
        return hidden_states.mean((2, 3)) if hidden_states.ndim == 4 else hidden_states.mean(1)

    return (read_clip_picture if kind == "image" else ReadSound(rate)), encode


def load_processor(kind: str, source: str) -> Any:
    """The part of a model's processor that takes pictures, or sound."""
    logging.getLogger("transformers").setLevel(logging.ERROR)  # advice about backends, a line for each class
    part = {"image": AutoImageProcessor, "audio": AutoFeatureExtractor}[kind]
    try:
        return part.from_pretrained(source)
    except (OSError, ValueError) as error:
        try:
            processor = AutoProcessor.from_pretrained(source)
        except (OSError, ValueError):
            raise error from None
        if not isinstance(processor, SSLAlignmentProcessor):
            raise ValueError(f"`{kind}_model` ({source}) has no processor of its own for {kind}.") from error
        return processor


if __name__ == "__main__":
    main()
