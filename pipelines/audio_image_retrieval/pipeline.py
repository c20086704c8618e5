"""Retrieval between pictures and sounds: find pictures by a sound, and sounds by a picture."""

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from avzoo.checks import check_choice, check_whole_number
from avzoo.files import fill_folder
from avzoo.pipelines.audio_image_retrieval.index import AUDIO, IMAGE, INDEX_FILE, KINDS, FeatureIndex
from avzoo.pipelines.shared.digests import digest_weights
from avzoo.pipelines.shared.image_sound import ImageSoundPipeline, are_several
from avzoo.video.pictures import read_picture

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif")
_NO_PICTURES = ("MPEG", "HDF5", "GRIB", "BUFR", "WMF", "EPS", "PDF")  # that Pillow opens nevertheless
_SAVE_EVERY = 2000  # items


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter which cannot work."""
    unknown = parameters.keys() - {"top_k", "among", "sampling_rate"}
    if unknown:
        raise TypeError(f"audio-image-retrieval has no parameter {sorted(unknown)[0]!r}.")
    check_whole_number("top_k", parameters.get("top_k", 5), at_least=1)
    check_choice("among", parameters.get("among"), (None, *KINDS))
    if parameters.get("sampling_rate") is not None:
        check_whole_number("sampling_rate", parameters["sampling_rate"], at_least=1, unit="Hz")


class AudioImageRetrievalPipeline(ImageSoundPipeline):
    """`transformers.pipeline("audio-image-retrieval")`: pictures by a sound, sounds by a picture.

        find = pipeline("audio-image-retrieval", model=folder)
        find.index(["dog.jpg", "street.jpg"], audio=["siren.wav"])
        find("bark.wav", top_k=5)           # [{"name": "dog.jpg", "kind": "image", "score": 0.62}, ...]
        find("street.jpg")                  # sounds
        find.remove("dog.jpg")              # a file that changed: find.index(["dog.jpg"], replace=True)
        find.save("media_index")            # find.load("media_index"), with the same model

    Pictures and sounds are what "sound-source-localization" takes; the model hears the part of a sound that its
    processor cuts out. Each is one vector of unit length, the model's `pooler_output`.

    Parameters, at construction or at each call:
        top_k: number of answers, best first; default 5.
        among: "image" or "audio": what is searched. None: the other kind than the query's.
        sampling_rate: Hz, of bare samples. None: the model's rate.
        batch_size: pictures, or sounds, per forward pass; default 8.

    Returns, for a query, a list of {"name", "kind", "score"}; the score is the cosine of both vectors, from -1 to 1. Of
    equal scores, the first that was indexed comes first.

    Raises:
        ValueError: nothing of the wanted kind is indexed; what reading the query raises.
    """

    task_name = "audio-image-retrieval"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._stored: FeatureIndex | None = None

    @property
    def stored(self) -> FeatureIndex:
        """The index."""
        if self._stored is None:  # digests of large weights take seconds
            self._stored = self._make_index()
        return self._stored

    def _sanitize_parameters(self, **parameters) -> tuple[dict, dict, dict]:
        check_parameters(parameters)
        return {}, {}, parameters

    def __call__(
        self,
        query: Any = None,
        *,
        image: Any = None,
        audio: Any = None,
        batch_size: int | None = None,
        **parameters: Any,
    ) -> list[Any]:
        """Search the index.

        Args:
            query: a picture or a sound; a file tells which by its name's suffix or its content. Or a list of them,
                which gives a list of answers.
            image, audio: say which it is.
            parameters: see the class.
        """
        settings = {**self._postprocess_params, **self._sanitize_parameters(**parameters)[2]}
        batch_size = self.choose_batch_size(batch_size)
        given = {
            name: value for name, value in (("query", query), ("image", image), ("audio", audio)) if value is not None
        }
        if len(given) != 1:
            raise ValueError(f"pass one of `query`, `image` and `audio`, got {' and '.join(given) or 'none'}.")
        ((name, value),) = given.items()
        several = are_several(value)
        queries = list(value) if several else [value]
        if not queries:
            raise ValueError(f"`{name}` is an empty list.")
        kinds = [guess_kind(one) if name == "query" else name for one in queries]
        wanted = [settings.get("among") or (AUDIO if kind == IMAGE else IMAGE) for kind in kinds]
        for kind in wanted:
            if not self.stored.names(kind):
                what = {IMAGE: "pictures", AUDIO: "sounds"}[kind]
                raise ValueError(f"no {what} are indexed, so none can be found; call `index` or `load` first.")
        answers = []
        labels = [name if len(queries) == 1 else f"{name}[{number}]" for number in range(len(queries))]
        rate = settings.get("sampling_rate")
        for one, kind, target, label in zip(queries, kinds, wanted, labels, strict=True):
            vector = self._encode(kind, [self._read(kind, one, label, rate)])[0]
            found = self.stored.search(target, vector, settings.get("top_k", 5))
            answers.append([{"name": name, "kind": target, "score": score} for name, score in found])
        return answers if several else answers[0]

    def index(
        self,
        images: Any = (),
        audio: Any = (),
        *,
        folder: str | os.PathLike | None = None,
        replace: bool = False,
        skip_broken: bool = False,
        sampling_rate: int | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> int:
        """Add pictures and sounds to the index; what it has by name already is not encoded again.

        Args:
            images, audio: paths, which are the names; or {name: anything that can be read}.
            folder: where the index is kept. What is there is loaded first, before what was indexed until now; it is
                written at the end, after every 2000 items, and when an error ends the call: so a later call goes on
                where this one was.
            replace: encode again what is there by name.
            skip_broken: leave out, with a warning, what can't be read, instead of raising.
            sampling_rate, batch_size: see the class. progress: a bar on stderr.

        Returns:
            Number of items that were added or replaced.

        Raises:
            ValueError: no items; the folder's index is of another model. What reading raises.
            BlockingIOError: another process is filling `folder`.
        """
        items = {IMAGE: name_items("images", images), AUDIO: name_items("audio", audio)}
        if not any(items.values()):
            raise ValueError("`images` and `audio` are both empty; there is nothing to index.")
        batch_size = self.choose_batch_size(batch_size)
        check_parameters({"sampling_rate": sampling_rate})
        sampling_rate = sampling_rate or self._postprocess_params.get("sampling_rate")
        if folder is None:
            return self._add(items, None, replace, skip_broken, sampling_rate, batch_size, progress)
        with fill_folder(folder):
            if Path(folder, INDEX_FILE).is_file():
                before = self.stored
                self.load(folder)
                self.stored.add_missing(before)
            return self._add(items, Path(folder), replace, skip_broken, sampling_rate, batch_size, progress)

    def remove(self, names: Any, *, folder: str | os.PathLike | None = None) -> int:
        """Take pictures and sounds out of the index, such as those whose files are gone.

        Args:
            names: one or more, as the answers have them.
            folder: where an index is kept, which is loaded first, in place of the present one, and written again.

        Returns:
            Number of items that were taken out.

        Raises:
            ValueError: a name that isn't indexed; then nothing is taken out. What [`load`] raises.
            BlockingIOError: another process is filling `folder`.
        """
        names = list(name_items("names", names))
        if folder is not None:
            with fill_folder(folder):
                self.load(folder)
                count = self.remove(names)
                self.stored.save(folder)
                return count
        unknown = [name for name in names if not any(self.stored.has(kind, name) for kind in KINDS)]
        if unknown:
            raise ValueError(
                f"`names`: {len(unknown)} of the {len(names)} are not indexed, the first is {unknown[0]!r}."
            )
        return sum(self.stored.remove(kind, names) for kind in KINDS)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the index into a folder: names as JSON, vectors as safetensors.

        Raises:
            ValueError: nothing is indexed. OSError: it can't be written.
        """
        if not len(self.stored):
            raise ValueError("nothing is indexed; call `index` first.")
        with fill_folder(folder):
            return self.stored.save(folder)

    def load(self, folder: str | os.PathLike) -> None:
        """Take the index that [`save`] wrote, in place of the present one.

        Raises:
            ValueError: its vectors are of another model, or of another preprocessing; it is damaged.
            FileNotFoundError: no index is there.
        """
        found, own = FeatureIndex.load(folder), self._make_index()
        for what, its, ours in (
            ("model, or of its weights in another precision", found.model, own.model),
            ("processor", found.processor, own.processor),
        ):
            if its != ours:
                raise ValueError(
                    f"`{folder}` holds an index of another {what} (digest {its[:12]}, here {ours[:12]}): vectors "
                    "of two can't be compared. Load what it was made with, or index into another folder."
                )
        self._stored = found

    def _make_index(self) -> FeatureIndex:
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        return FeatureIndex(digest_weights(self.model), hashlib.sha256(settings.encode()).hexdigest())

    def _add(
        self,
        items: Mapping[str, Mapping[str, Any]],
        folder: Path | None,
        replace: bool,
        skip_broken: bool,
        sampling_rate: int | None,
        batch_size: int,
        progress: bool,
    ) -> int:
        added = unsaved = 0
        batch: list[tuple[str, np.ndarray]] = []

        def encode(kind: str) -> None:
            nonlocal added, unsaved
            if batch:
                names, contents = zip(*batch, strict=True)
                batch.clear()
                self.stored.add(kind, names, self._encode(kind, list(contents)))
                added, unsaved = added + len(names), unsaved + len(names)
            if folder is not None and unsaved >= _SAVE_EVERY:
                self.stored.save(folder)
                unsaved = 0

        waiting = {
            kind: [name for name in named if replace or not self.stored.has(kind, name)]
            for kind, named in items.items()
        }
        try:
            with tqdm(total=sum(map(len, waiting.values())), unit="item", disable=not progress) as bar:
                for kind, names in waiting.items():
                    try:
                        for item in self._iter_read(kind, names, items[kind], skip_broken, sampling_rate, bar):
                            batch.append(item)
                            if len(batch) == batch_size:
                                encode(kind)
                    finally:
                        encode(kind)  # what was read before an error, too
        finally:
            if folder is not None and (unsaved or not Path(folder, INDEX_FILE).is_file()) and len(self.stored):
                self.stored.save(folder)
        return added

    def _iter_read(
        self,
        kind: str,
        names: Iterable[str],
        items: Mapping[str, Any],
        skip_broken: bool,
        sampling_rate: int | None,
        bar: Any,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(name, pixels or clip) of what can be read."""
        for name in names:
            bar.update()
            try:
                yield name, self._read(kind, items[name], f"{kind} {name}", sampling_rate)
            except (ValueError, OSError) as error:
                if not skip_broken:
                    raise
                warnings.warn(f"left out: {error}", stacklevel=4)

    def _read(self, kind: str, item: Any, label: str, sampling_rate: int | None) -> np.ndarray:
        if kind == IMAGE:
            return read_picture(item, name=label)
        clip = self.read_clip(item, sampling_rate, label)
        if clip.is_silent:
            raise ValueError(
                f"`{label}`: the {self.processor.clip_seconds:g} s that the model hears are digital silence; nothing "
                "tells what it could be found by."
            )
        return clip.samples

    def _encode(self, kind: str, contents: list[np.ndarray]) -> np.ndarray:
        features = self.encode_images(contents) if kind == IMAGE else self.encode_clips(contents)
        vectors = features.pooler_output.float().cpu().numpy()
        if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
            raise ValueError(f"`model`: its vectors are NaN, infinite or 0; its weights are {self.dtype}, try float32.")
        return vectors


def name_items(argument: str, items: Any) -> dict[str, Any]:
    """{name: item} of a mapping, or of paths.

    Raises:
        TypeError: an item without a name.
    """
    if isinstance(items, Mapping):
        for name in items:
            if not isinstance(name, str):
                raise TypeError(f"`{argument}`: names must be text, got {name!r}.")
        return dict(items)
    if isinstance(items, str | os.PathLike):
        items = [items]
    if not isinstance(items, Iterable):
        raise TypeError(f"`{argument}` must hold paths, got {type(items).__name__}.")
    named = {}
    for item in items:
        if not isinstance(item, str | os.PathLike):
            raise TypeError(
                f"`{argument}` must hold paths, got {type(item).__name__}; pass {{name: item}} for anything else."
            )
        named[os.fspath(item)] = item
    return named


def guess_kind(query: Any) -> Literal["image", "audio"]:
    """Whether a query is a picture or a sound.

    By its type; of a file by its suffix, else by whether Pillow knows its content. Sounds of videos are sounds.

    Raises:
        OSError: a file that can't be opened.
    """
    if isinstance(query, Mapping):
        if "array" in query or "raw" in query:
            return AUDIO
        content = query.get("bytes") if query.get("bytes") is not None else query.get("path")
        return AUDIO if content is None else guess_kind(content)
    if isinstance(query, Image.Image):
        return IMAGE
    if hasattr(query, "dtype") and hasattr(query, "ndim"):  # an array or a tensor
        return IMAGE if query.ndim > 1 and str(query.dtype).rpartition(".")[2] == "uint8" else AUDIO
    if isinstance(query, str | os.PathLike):
        path = os.fspath(query)
        if path.lower().endswith(PICTURE_SUFFIXES):
            return IMAGE
        if path.lower().startswith(("http://", "https://")):
            return AUDIO
        with open(path, "rb") as file:
            return IMAGE if _is_picture(file) else AUDIO
    if isinstance(query, bytes | bytearray | memoryview):
        return IMAGE if _is_picture(io.BytesIO(query)) else AUDIO
    return AUDIO


def _is_picture(file: Any) -> bool:
    with contextlib.suppress(Exception), warnings.catch_warnings():  # Pillow's errors are of many classes
        warnings.simplefilter("ignore")
        with Image.open(file) as picture:
            return picture.format not in _NO_PICTURES
    return False


__all__ = ["PICTURE_SUFFIXES", "AudioImageRetrievalPipeline", "guess_kind"]
