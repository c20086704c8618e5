"""VPO: pictures of COCO with a sound of one of its objects: VPO-SS with single sources, VPO-MS with several a picture.

    root/vpo_ss_bbox.json, vpo_ms_bbox.json                (SSLalignment's `metadata/`)
        COCO_AV/visual_frames/000000062491_432356.jpg      VPO-SS; `COCO_AV_MS` is VPO-MS. A root may be either folder
        COCO_AV/audio_wav/000000062491_432356.wav
        COCO_AV/gt_masks/000000062491_432356.jpg           may be left out

A name is the picture's number in COCO and the object's. Source: kaistmm/SSLalignment@e7ae3c5 (`datasets_lvs.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.box_lists import read_box_list
from avzoo.data.lists import PathLike
from avzoo.data.localization_samples import OnMissing, Sample, find_table, finish_samples


def vpo(
    root: PathLike,
    setting: Literal["ss", "ms"] = "ss",
    *,
    table: PathLike | None = None,
    on_missing: OnMissing = "refuse",
) -> Iterator[Sample]:
    """The samples of VPO-SS (890) or VPO-MS (2157), in file order; those of one picture share their `group`.

        [{"image": ".../000000062491_432356.jpg", "audio": ".../000000062491_432356.wav",
          "gt_box": [5.0, 32.0, 28.0, 124.0]}, ...]

    Args:
        setting: "ss" or "ms".
        root, table, on_missing: as for [`avzoo.data.is3.is3`], which is of the same form.

    Raises:
        ValueError, FileNotFoundError: as [`avzoo.data.is3.is3`].
    """
    check_choice("setting", setting, ("ss", "ms"))
    table = find_table(root, table, f"vpo_{setting}_bbox.json")
    own = Path(root, "COCO_AV" if setting == "ss" else "COCO_AV_MS")
    folder = own if own.is_dir() else Path(root)
    samples = read_box_list(folder, table, ("visual_frames",), ("audio_wav",), ("gt_masks",))
    yield from finish_samples(samples, table, on_missing)
