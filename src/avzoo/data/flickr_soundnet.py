"""SoundNet-Flickr: 250 pictures of Flickr videos in which three people drew boxes, and the extended set.

    root/flickr_test.csv                     the 250 names (`metadata/` of SLAVC's and SSLalignment's code)
        Annotations/10000130166.xml          boxes, from the owners (ardasnck/learning_to_localize_sound_source)
        frames/10000130166.jpg               layout of LVS, EZ-VSL, SLAVC and ACL-SSL, or
        audio/10000130166.wav
        Flickr_Sound_Top5_Dataset_img_test/10000130166.mp4/*.jpg        that of SSLalignment: the first picture
        Flickr_Sound_Top5_Dataset_wav_test/10000130166.wav

An annotation file has an element per annotator, and in it elements `bbox`: a name or number first, then xmin, ymin,
xmax and ymax on a grid of 256. Truth is half of the number of boxes over a pixel, at most 1, so that what one person
alone marked counts half.

Sources: kaistmm/SSLalignment@e7ae3c5 (`datasets_lvs.py`), stoneMo/SLAVC@05b429c (`datasets.py`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from avzoo.data.lists import PathLike, malformed, read_lines
from avzoo.data.localization_samples import (
    Names,
    OnMissing,
    Sample,
    find_folder,
    find_table,
    finish_samples,
    make_sample,
    read_box,
)
from avzoo.data.vggss import read_silent_pairs

_NAME = re.compile(r"\d{1,20}", re.ASCII)
_LARGEST = 256


def flickr_soundnet(
    root: PathLike,
    *,
    table: PathLike | None = None,
    annotations: PathLike | None = None,
    on_missing: OnMissing = "refuse",
) -> Iterator[Sample]:
    """The samples of SoundNet-Flickr's test set, in the order of its list.

        10000130166,202                                                                         (flickr_test.csv)

    Args:
        root: folder of the layout above.
        table: the list, if it lies elsewhere.
        annotations: folder of the XML files, if it lies elsewhere.
        on_missing: of pictures and sounds: "refuse", "skip" them, or "keep" the rows.

    Raises:
        ValueError: a row of another form, a name that appears twice, or a damaged XML file; with file and line.
        FileNotFoundError: no list, no folders, no XML file of a name, or, with "refuse", media that are missing.
    """
    table = find_table(root, table, "flickr_test.csv")
    yield from finish_samples(_read_samples(Path(root), table, annotations), table, on_missing)


def flickr_soundnet_extended(
    root: PathLike,
    *,
    table: PathLike | None = None,
    silent: PathLike | None = None,
    annotations: PathLike | None = None,
    on_missing: OnMissing = "refuse",
) -> Iterator[Sample]:
    """SoundNet-Flickr, then as many pairs whose picture shows nothing that makes the sound: Extended Flickr of SLAVC.

        video,audio,label
        10000130166,10437048305,non-sounding                                          (flickr_test_plus_silent.csv)

    Args, Raises: as [`flickr_soundnet`]; `silent` is the CSV file, if it lies elsewhere.
    """
    table = find_table(root, table, "flickr_test.csv")
    silent = find_table(root, silent, "flickr_test_plus_silent.csv")
    samples = _read_samples(Path(root), table, annotations)
    samples += read_silent_pairs(Path(root), silent, _NAME, "flickr")
    yield from finish_samples(samples, silent, on_missing)


def read_flickr_boxes(path: PathLike) -> list[list[float]]:
    """The boxes of an annotation file, all annotators' in one list, on a grid of 256.

    Raises:
        ValueError: no XML, a document type (entities could be of any size), or a `bbox` of another form; with line.
    """
    path = Path(path)
    boxes: list[list[float]] = []
    texts: list[str] | None = None  # of the children of the `bbox` that is open
    depth, box_depth, box_line = 0, 0, 0
    parser = expat.ParserCreate()

    def open_element(name: str, attributes: dict) -> None:
        nonlocal texts, depth, box_depth, box_line
        depth += 1
        if texts is None and name == "bbox":
            texts, box_depth, box_line = [], depth, parser.CurrentLineNumber
        elif texts is not None:
            texts.append("")

    def read_characters(text: str) -> None:
        if texts and depth > box_depth:
            texts[-1] += text

    def close_element(name: str) -> None:
        nonlocal texts, depth
        if texts is not None and depth == box_depth:
            numbers = [_read_number(text) for text in texts[1:]]
            boxes.append(read_box(numbers, path, box_line, _LARGEST))
            texts = None
        depth -= 1

    def refuse_doctype(*arguments) -> None:
        raise malformed(path, parser.CurrentLineNumber, "a document type is refused")

    parser.StartElementHandler, parser.EndElementHandler = open_element, close_element
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = read_characters, refuse_doctype
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise malformed(path, error.lineno, f"no XML ({error})") from error
    return boxes


def _read_number(text: str) -> int | str:
    text = text.strip()
    return int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text


def _read_samples(root: Path, table: Path, annotations: PathLike | None) -> list[Sample]:
    folder = find_folder(root, "Annotations") if annotations is None else Path(annotations)
    pictures = find_folder(root, "frames", "Flickr_Sound_Top5_Dataset_img_test")
    sounds = find_folder(root, "audio" if pictures.name == "frames" else "Flickr_Sound_Top5_Dataset_wav_test")
    samples, names = [], Names(table)
    for line, text in read_lines(table):
        name = text.split(",")[0]
        if not _NAME.fullmatch(name):
            raise malformed(table, line, f"expected the number of a video first, got {text[:80]!r}")
        names.add(name, line)
        image = pictures / f"{name}.jpg"
        if pictures.name != "frames":
            image = min((pictures / f"{name}.mp4").glob("*.jpg"), default=pictures / f"{name}.mp4")
        boxes = read_flickr_boxes(folder / f"{name}.xml")
        if not boxes:
            raise malformed(folder / f"{name}.xml", 1, "there is no `bbox`")
        samples.append(make_sample(name, image, sounds / f"{name}.wav", boxes, box_format="flickr"))
    return samples
