"""Lists of pictures, sounds and boxes as the authors of SSLalignment made them for IS3 and VPO."""

from collections.abc import Sequence
from pathlib import Path

from avzoo.data.lists import check_name, malformed
from avzoo.data.localization_samples import (
    Names,
    Sample,
    cut_path,
    find_folder,
    make_sample,
    read_box,
    read_json_list,
    read_text_field,
)


def read_box_list(
    root: Path, table: Path, pictures: Sequence[str], sounds: Sequence[str], masks: Sequence[str]
) -> list[Sample]:
    """The samples of a list whose entries have `image`, `audio` and `gt_box`; `group` is the name before the last "_".

    Args:
        pictures, sounds, masks: names that the folders may have; the masks' may be missing.

    Raises:
        ValueError: an entry of another form, or a name that appears twice; with file and line.
        FileNotFoundError: no folder of pictures or of sounds.
    """
    folders = [find_folder(root, *names) for names in (pictures, sounds)]
    mask_folder = next((root / name for name in masks if (root / name).is_dir()), None)
    samples, names = [], Names(table)
    for line, entry in read_json_list(table):
        image, audio = (
            cut_path(read_text_field(entry, side, table, line), 1, table, line, check_name)
            for side in ("image", "audio")
        )
        name = Path(image).stem
        group, _, own = name.rpartition("_")
        if not group or not own:
            raise malformed(table, line, f"expected the picture's name, _ and the object's, got {image!r}")
        names.add(name, line)
        mask = None if mask_folder is None else mask_folder / image
        samples.append(
            make_sample(
                name,
                folders[0] / image,
                folders[1] / audio,
                [read_box(entry.get("gt_box"), table, line)],
                group=group,
                mask=str(mask) if mask is not None and mask.is_file() else None,
            )
        )
    return samples
