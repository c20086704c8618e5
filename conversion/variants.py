"""Which variant of a method a checkpoint is: what was asked for, else what its shapes or its file name tell."""

from collections.abc import Sequence
from pathlib import PurePath

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint

AS_ASKED, BY_SHAPES, BY_FILE_NAME = "as asked", "by its shapes", "by its file name"


def choose_variant(row: zoo.Row, fitting: Sequence[str], checkpoint: Checkpoint) -> tuple[str, str]:
    """The variant, and how it was told: by its shapes if one fits them, else by the name of the released file.

    Args:
        fitting: names of the variants that the shapes fit.

    Raises:
        ValueError: several fit, and the name is none of theirs; the message lists them.
    """
    if len(fitting) == 1:
        return fitting[0], BY_SHAPES
    variants = [row.find_variant(name) for name in fitting]
    for variant in variants:
        if is_released_file(variant, checkpoint.file):
            return variant.name, BY_FILE_NAME
    listed = "; ".join(
        f"{variant.name}{f' ({variant.checkpoint})' if variant.checkpoint else ''}: {variant.summary}"
        for variant in variants
    )
    unnamed = "it has no file name" if checkpoint.file is None else "its file name is none of theirs"
    raise ValueError(
        f"{checkpoint.name} can be any of {len(variants)} variants of {row.name}: their shapes are the same, and "
        f"{unnamed}. Say which it is with --variant NAME, or variant=NAME in Python: {listed}"
    )


def is_released_file(variant: zoo.Variant, file: str | None) -> bool:
    """Whether a file has the name under which the variant was released; folder and case of the suffix don't matter."""
    if file is None or variant.checkpoint is None:
        return False
    ours, theirs = PurePath(file), PurePath(variant.checkpoint)
    return (ours.stem, ours.suffix.lower()) == (theirs.stem, theirs.suffix.lower())


__all__ = ["AS_ASKED", "BY_FILE_NAME", "BY_SHAPES", "choose_variant", "is_released_file"]
