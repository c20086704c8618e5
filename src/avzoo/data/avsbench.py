"""AVSBench: masks of what sounds in five frames of a clip of 5 s; S4 has one source in a clip, MS3 several.

    root/s4_box.json, ms3_box.json           boxes (SSLalignment's `metadata/`); the masks are the owners'
        Single-source/s4_data/visual_frames/test/helicopter/0d9u2CymIxc/0d9u2CymIxc_1.png
        Single-source/s4_data/audio_wav/test/helicopter/0d9u2CymIxc.wav
        Single-source/s4_data/gt_masks/test/helicopter/0d9u2CymIxc/0d9u2CymIxc_1.png
        Multi-sources/ms3_data/visual_frames/rq5RDUm2Hnk_1/rq5RDUm2Hnk_1.mp4_1.png
        Multi-sources/ms3_data/audio_wav/test/rq5RDUm2Hnk_1.wav
        Multi-sources/ms3_data/gt_masks/test/rq5RDUm2Hnk_1/rq5RDUm2Hnk_1_1.png

Sources: OpenNLPLab/AVSBench (`avs_scripts/*/dataloader.py`), kaistmm/SSLalignment@e7ae3c5 (`datasets_lvs.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike, check_name, malformed
from avzoo.data.localization_samples import (
    Names,
    OnMissing,
    Sample,
    cut_path,
    find_folder,
    find_table,
    finish_samples,
    make_sample,
    read_box,
    read_json_list,
    read_text_field,
)

_FOLDERS = {"s4": ("Single-source/s4_data", "s4_data", "s4"), "ms3": ("Multi-sources/ms3_data", "ms3_data", "ms3")}


def avsbench(
    root: PathLike,
    setting: Literal["s4", "ms3"] = "s4",
    *,
    table: PathLike | None = None,
    on_missing: OnMissing = "refuse",
) -> Iterator[Sample]:
    """The test samples of AVSBench S4 (3700) or MS3 (320), in file order: five frames of a clip, with its one sound.

        [{"image": ".../visual_frames/test/helicopter/0d9u2CymIxc/0d9u2CymIxc_1.png",
          "audio": ".../audio_wav/test/helicopter/0d9u2CymIxc.wav", "gt_box": [21.0, 72.0, 196.0, 140.0]}, ...]

    Boxes are pixels of 224; 6 of S4 and 29 of MS3 are all zero: nothing sounds in these frames. `group` is the clip;
    recordings are cut as the authors of SSLalignment do for this data set, seconds 1 to 4 of 5.

    Args:
        root: folder of the layout above; `s4_data` and `ms3_data` may also lie in it directly.
        setting: "s4" or "ms3".
        table: the JSON file, if it lies elsewhere.
        on_missing: of pictures and sounds: "refuse", "skip" them, or "keep" the rows. A mask that isn't there is None.

    Raises:
        ValueError: an entry of another form, or a name that appears twice; with file and line.
        FileNotFoundError: no list, no folders, or, with "refuse", files that are missing.
    """
    check_choice("setting", setting, tuple(_FOLDERS))
    table = find_table(root, table, f"{setting}_box.json")
    folder = find_folder(root, *_FOLDERS[setting])
    pictures, sounds, masks = (folder / kind for kind in ("visual_frames", "audio_wav", "gt_masks"))
    samples, names = [], Names(table)
    for line, entry in read_json_list(table):
        paths = [read_text_field(entry, side, table, line) for side in ("image", "audio")]
        if setting == "s4":
            image = Path("test", cut_path(paths[0], 3, table, line, check_name))
            audio = Path("test", cut_path(paths[1], 2, table, line, check_name))
            mask, class_name = image, image.parts[1]
        else:
            image = Path(cut_path(paths[0], 2, table, line, check_name))
            audio = Path("test", cut_path(paths[1], 1, table, line, check_name))
            mask, class_name = Path("test", image.parent, image.name.replace(".mp4_", "_")), None
        name = "/".join(image.with_suffix("").parts[-2:] if setting == "ms3" else image.with_suffix("").parts[1:])
        clip, _, frame = image.stem.rpartition("_")
        if not clip or not frame.isdigit():
            raise malformed(table, line, f"expected a picture as clip_1.png, got {image.name!r}")
        names.add(name, line)
        samples.append(
            make_sample(
                name,
                pictures / image,
                sounds / audio,
                [read_box(entry.get("gt_box"), table, line)],
                group=clip,
                class_name=class_name,
                mask=str(masks / mask) if (masks / mask).is_file() else None,
                base_seconds=5.0,
                start_seconds=1.0,
            )
        )
    yield from finish_samples(samples, table, on_missing)
