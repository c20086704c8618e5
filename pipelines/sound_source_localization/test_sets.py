"""The test sets of sound source localization, and what is particular to the evaluation on each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.avsbench import avsbench
from avzoo.data.flickr_soundnet import flickr_soundnet, flickr_soundnet_extended
from avzoo.data.is3 import is3
from avzoo.data.lists import PathLike
from avzoo.data.localization_samples import OnMissing, Sample
from avzoo.data.vggss import vggss, vggss_extended
from avzoo.data.vpo import vpo


@dataclass(frozen=True)
class Protocol:
    """How the published numbers on a test set are made.

    Args:
        title: for the report.
        upsampling: of maps, see [`avzoo.metrics.upsample_maps`]: kaistmm/SSLalignment's for each set, SLAVC's for the
            extended ones.
        inclusive: pixels equal to the threshold count.
        has_groups: IIoU and IAUC mean something: a picture is asked with several sounds, or a clip has several frames.
        has_retrieval: recall of retrieval by class is reported.
        is_consensus: three people's boxes make the truth.
        is_extended: some pairs don't sound: AP, F1 and LocAcc by a confidence.
    """

    title: str
    upsampling: Literal["half-pixel", "corners", "bicubic-corners"] = "corners"
    inclusive: bool = False
    has_groups: bool = False
    has_retrieval: bool = False
    is_consensus: bool = False
    is_extended: bool = False


_EXTENDED = {"upsampling": "bicubic-corners", "inclusive": True, "is_extended": True}

PROTOCOLS = {
    "vggss": Protocol("VGG-SS", "half-pixel", has_retrieval=True),
    "flickr": Protocol("SoundNet-Flickr", is_consensus=True),
    "is3": Protocol("IS3", has_groups=True),
    "s4": Protocol("AVSBench S4", has_groups=True),
    "ms3": Protocol("AVSBench MS3", has_groups=True),
    "vpo-ss": Protocol("VPO-SS", has_groups=True),
    "vpo-ms": Protocol("VPO-MS", has_groups=True),
    "vggss-extended": Protocol("Extended VGG-SS", **_EXTENDED),
    "flickr-extended": Protocol("Extended SoundNet-Flickr", is_consensus=True, **_EXTENDED),
}


def read_test_set(dataset: str, root: PathLike, on_missing: OnMissing = "keep") -> Iterator[Sample]:
    """The samples of a test set, see [`avzoo.data.localization_samples`].

    Args:
        dataset: one of `PROTOCOLS`.
        root: its folder, in the owners' layout.
        on_missing: of pictures and sounds: "refuse", "skip" them, or "keep" the rows, for an evaluation that counts.

    Raises:
        ValueError: another data set, or what its reader refuses. FileNotFoundError: no list, or no folders.
    """
    check_choice("dataset", dataset, PROTOCOLS)
    readers = {
        "vggss": vggss,
        "flickr": flickr_soundnet,
        "is3": is3,
        "vggss-extended": vggss_extended,
        "flickr-extended": flickr_soundnet_extended,
    }
    if dataset in readers:
        return readers[dataset](root, on_missing=on_missing)
    if dataset.startswith("vpo"):
        return vpo(root, dataset.removeprefix("vpo-"), on_missing=on_missing)
    return avsbench(root, dataset, on_missing=on_missing)


__all__ = ["PROTOCOLS", "Protocol", "read_test_set"]
