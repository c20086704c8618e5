"""IS3: 3240 generated pictures with two objects each, asked with the sound of the one and of the other.

    root/IS3_annotation.json                 or `synthetic3240_bbox.json` of SSLalignment's `metadata/`
        images/accordion_baby_10467_baby.jpg               or `visual_frames`; the same picture under two names
        audio_wav/accordion_baby_10467_baby.wav
        gt_segmentation/accordion_baby_10467_baby.jpg      or `gt_masks`; may be left out

Source: kaistmm/SSLalignment@e7ae3c5 (`README.md`, `datasets_lvs.py`).
"""

from collections.abc import Iterator
from pathlib import Path

from avzoo.data.box_lists import read_box_list
from avzoo.data.lists import PathLike
from avzoo.data.localization_samples import OnMissing, Sample, find_table, finish_samples


def is3(root: PathLike, *, table: PathLike | None = None, on_missing: OnMissing = "refuse") -> Iterator[Sample]:
    """The samples of IS3, in file order: 6480, two for each picture, whose `group` they share.

        [{"image": ".../accordion_female_10438_accordion.jpg", "audio": ".../accordion_female_10438_accordion.wav",
          "gt_box": [47.0, 99.0, 154.0, 185.0]}, ...]

    Boxes are pixels of 224. Of the authors' paths, only the last name counts. `class_name` is what follows its last
    underscore.

    Args:
        root: folder of the layout above.
        table: the JSON file, if it lies elsewhere.
        on_missing: of pictures and sounds: "refuse", "skip" them, or "keep" the rows.

    Raises:
        ValueError: an entry of another form, or a name that appears twice; with file and line.
        FileNotFoundError: no list, no folders, or, with "refuse", files that are missing.
    """
    table = find_table(root, table, "IS3_annotation.json", "synthetic3240_bbox.json")
    samples = read_box_list(
        Path(root), table, ("images", "visual_frames"), ("audio_wav",), ("gt_segmentation", "gt_masks")
    )
    for sample in samples:
        sample["class_name"] = sample["name"].rpartition("_")[2]
    yield from finish_samples(samples, table, on_missing)
