"""Sound source localization: where in a picture, or in a video, what is heard is, and whether it is there at all."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from avzoo.checks import check_number, check_whole_number
from avzoo.pipelines.shared.feature_rows import join_rows, take_rows
from avzoo.pipelines.shared.image_sound import (
    Clip,
    ImageSoundPipeline,
    are_several,
    is_digital_silence,
    label_source,
)
from avzoo.pipelines.shared.recordings import read_once
from avzoo.pipelines.sound_source_localization.decisions import decide
from avzoo.pipelines.sound_source_localization.drawing import write_heat_video
from avzoo.pipelines.sound_source_localization.maps import find_peak, make_heatmap, mark_area
from avzoo.pipelines.sound_source_localization.windows import FrameWithSound, WindowedVideo
from avzoo.video.pictures import read_picture
from avzoo.video.reading import VideoReader
from avzoo.video.video import Video
from avzoo.video.writing import VideoWriter

_FLAGS = ("return_boxes", "objectness", "return_maps", "progress")
_PARAMETERS = (
    *("threshold", "mask_threshold", "area", "sampling_rate", "frames_per_second", "smoothing", "render"),
    *_FLAGS,
)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter which cannot work."""
    unknown = parameters.keys() - set(_PARAMETERS)
    if unknown:
        raise TypeError(f"sound-source-localization has no parameter {sorted(unknown)[0]!r}.")
    for name in _FLAGS:
        if not isinstance(parameters.get(name, False), bool):
            raise TypeError(f"`{name}` must be True or False, got {parameters[name]!r}.")
    if parameters.get("threshold") is not None:
        check_number("threshold", parameters["threshold"])
    check_number("mask_threshold", parameters.get("mask_threshold", 0.5), above=0, at_most=1)
    if parameters.get("area") is not None:
        check_number("area", parameters["area"], above=0, at_most=1)
    if parameters.get("sampling_rate") is not None:
        check_whole_number("sampling_rate", parameters["sampling_rate"], at_least=1, unit="Hz")
    check_number("frames_per_second", parameters.get("frames_per_second", 4), above=0, at_most=1000)
    check_whole_number("smoothing", parameters.get("smoothing", 3), at_least=1)
    if parameters.get("smoothing", 3) % 2 == 0:
        raise ValueError(f"`smoothing` must be an odd number of frames, got {parameters['smoothing']}.")
    if parameters.get("render") is not None:
        VideoWriter(parameters["render"], 25)  # refuses a wrong path


class FrameMap(NamedTuple):
    """What the model says of one frame of a video.

    Args:
        index: of the frame.
        similarity: (rows, columns), raw.
        confidence: that the sound is of something in the picture.
        is_silent: its window of sound is digital silence.
        objectness: (rows, columns), where it is mixed in.
    """

    index: int
    similarity: np.ndarray
    confidence: float
    is_silent: bool
    objectness: np.ndarray | None


class SoundSourceLocalizationPipeline(ImageSoundPipeline):
    """`transformers.pipeline("sound-source-localization")`: where is what is heard?

        locate = pipeline("sound-source-localization", model=folder)
        answer = locate({"image": "street.jpg", "audio": "siren.wav"}, return_boxes=True)
        answer["confidence"], answer["meaning"], answer["heatmap"], answer["boxes"]
        locate({"image": "room.jpg", "audio": ["piano.wav", "dog.wav"]})   # the picture is encoded once
        for part in locate("street.mp4", render="heat.mp4"):
            print(part["start"], part["end"], part["label"], part["box"])

    A picture is what [`avzoo.video.read_picture`] takes (any file, upright by its EXIF; arrays; PIL). A sound is a path
    or URL, the bytes of a file, samples at `sampling_rate`, or a row {"array", "sampling_rate"}; 0.1 s or more, any
    rate and channel count. The model hears the part that its processor cuts out. A list of pairs gives a list, a data
    set or another stream an iterator. In place of "audio", a pair may have "text", or texts, for models with
    `get_text_features`.

    A video is a path, the bytes of a file, a file object or an [`avzoo.video.Video`]. Every k-th frame is looked at
    with the sound around it, see [`WindowedVideo`]; each window is encoded once, and memory does not grow with the
    length. [`stream`] gives the records one by one.

    Parameters, at construction or at each call:
        threshold: confidence from which what is heard is in the picture. None: the model's `confidence_threshold`; if
            that is None too, nothing is decided, and `sounds` is None.
        return_boxes: also give `mask`, `boxes` and `box`. Videos: `boxes`; they always have `box`.
        mask_threshold: heat from which a pixel is marked, 0 to 1; 0.5 is half of the map's range.
        area: share of the picture that is marked instead, its hottest pixels.
        objectness: mix in where things are, whatever is heard: 0.4 of the map + 0.6 of the objectness. For models
            with `config.use_objectness`. The confidence stays that of the map.
        sampling_rate: Hz, of bare samples. None: the model's rate.
        frames_per_second: of a video, that are looked at: every k-th frame, k the nearest whole number. Default 4.
        smoothing: of a video: looked-at frames, odd, whose maps and confidences are averaged around each frame (fewer
            at the ends; also across cuts of the film; not across digital silence); 1: none. Default 3.
        return_maps: the records of a video have `similarity`, too.
        render: of a video: path of an mp4 to write with the heat drawn in.
        batch_size: pictures, or sounds, per forward pass; default 8.
        progress: bars on stderr, of a video.

    Returns, of a picture and a sound (a list of these where "audio" is a list):
        confidence: maximum of the raw similarity map, or what the model's `compute_confidence` gives where it has that.
        sounds: whether it reaches `threshold`; False of digital silence; None without a threshold.
        threshold, label, meaning: the one that decided; "sounding", "not sounding", "silent" or "not decided"; all
            this in words.
        heatmap: (height, width) float32 of the picture, upright, 0 at its least and 1 at its most similar place. Of
            models whose maps mean the same in every picture (`has_absolute_maps`, such as ACL-SSL): the map itself,
            enlarged, so that nothing is marked where nothing is found.
        similarity: (rows, columns) float32, the raw map of what the processor keeps of the picture: all of it, or with
            `image_resize="pil_short_side"` the square in its middle, beside which there is no heat.
        peak: (x, y), the middle of the most similar cell, in pixels of the picture; None in a constant map.
        mask: (height, width) bool. boxes: of its regions, the hottest first, (x1, y1, x2, y2) in pixels, x2 and y2
            excluded. box: the first. Empty and None where `sounds` is False or nothing stands out.
        seconds: length of the sound as far as it was read.

    Returns, of a video, a list of records, one per frame that was looked at:
        start, end: seconds; until the next one.
        score: confidence. label, sounds, box, peak: as above.

    Raises:
        ValueError: a video without sound or picture, a sound below 0.1 s, objectness of a model without; what reading
            raises.
    """

    task_name = "sound-source-localization"
    needed_methods = ("get_image_features", "get_audio_features", "compute_similarity_maps")

    def _sanitize_parameters(self, **parameters) -> tuple[dict, dict, dict]:
        check_parameters(parameters)
        return {}, {}, parameters

    def __call__(self, inputs: Any, batch_size: int | None = None, **parameters: Any) -> Any:
        """Locate the sound of a pair {"image", "audio"}, of a video, or of each of many; see the class."""
        settings, batch_size = self._settle(parameters), self.choose_batch_size(batch_size)
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise ValueError("`inputs` is an empty list.")
            if all(map(is_pair, inputs)):
                return self._locate_in_pictures(list(inputs), settings, batch_size)
            if settings.get("render") is not None:
                raise ValueError(f"`render` is for one video, got a list of {len(inputs)}.")
            return [self(one, batch_size=batch_size, **parameters) for one in inputs]
        if is_pair(inputs):
            return self._locate_in_pictures([inputs], settings, batch_size)[0]
        if is_stream(inputs):
            return self._locate_in_stream(inputs, batch_size, parameters)
        return self._locate_in_video(inputs, settings, batch_size)

    def stream(self, video: Any, batch_size: int | None = None, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The records of a video, each as soon as it is known; with the raw map, `similarity`."""
        settings, batch_size = self._settle(parameters), self.choose_batch_size(batch_size)
        if settings.get("render") is not None:
            raise ValueError("`render` belongs to a call of the pipeline; pass `stream`'s records to write_heat_video.")
        return self._iter_records(open_video(video), settings, batch_size)

    def find_threshold(self, threshold: float | None = None) -> float | None:
        """Confidence from which what is heard is in the picture; `threshold` stands for the model's own if given."""
        return getattr(self.model.config, "confidence_threshold", None) if threshold is None else threshold

    @property
    def sees_middle_only(self) -> bool:
        """Whether the processor cuts the middle out of pictures that are no squares, as its option for LVS does."""
        return getattr(self.processor, "image_resize", None) == "pil_short_side"

    @property
    def has_absolute_maps(self) -> bool:
        """Whether the model's maps are from 0 to 1 by themselves and mean the same in every picture."""
        return getattr(self.model, "has_absolute_maps", False)

    def compute_map(self, image_features: Any, other_features: Any) -> tuple[np.ndarray, np.ndarray]:
        """Raw similarity of one picture with each of several sounds, and the confidence that each is in the picture.

        Returns:
            (sounds, rows, columns) and (sounds,), float32.

        Raises:
            ValueError: one is NaN or infinite.
        """
        with torch.no_grad(), self.device_placement():
            maps = self.model.compute_similarity_maps(image_features, other_features)[0].float().cpu().numpy()
            confidences = maps.max((1, 2))
            if hasattr(self.model, "compute_confidence"):
                confidences = self.model.compute_confidence(image_features, other_features)[0].float().cpu().numpy()
        if not np.isfinite(maps).all() or not np.isfinite(confidences).all():
            raise ValueError(f"`model`: its maps are NaN or infinite; its weights are {self.dtype}, try float32.")
        return maps, confidences

    def make_heatmap(
        self, similarity: np.ndarray, size: tuple[int, int], objectness: np.ndarray | None = None
    ) -> np.ndarray:
        """The heat map of a picture of this size, see [`maps.make_heatmap`]."""
        kind = {"middle_only": self.sees_middle_only, "absolute": self.has_absolute_maps}
        return make_heatmap(similarity, *size, objectness, **kind)

    def _settle(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        settings = {**self._postprocess_params, **self._sanitize_parameters(**parameters)[2]}
        if settings.get("objectness") and not getattr(self.model.config, "use_objectness", False):
            raise ValueError(
                "`objectness` needs a model with an objectness network; `use_objectness` of this one's config is False."
            )
        return settings

    def _locate_in_stream(self, inputs: Iterable[Any], batch_size: int, parameters: Mapping[str, Any]) -> Iterator[Any]:
        waiting = iter(inputs)
        while some := list(itertools.islice(waiting, batch_size)):
            yield from self(some, batch_size=batch_size, **parameters)

    # Pictures.

    def _locate_in_pictures(
        self, pairs: list[Mapping[str, Any]], settings: Mapping[str, Any], batch_size: int
    ) -> list[Any]:
        if settings.get("render") is not None:
            raise ValueError("`render` is for videos; draw the answer of a picture by `draw_answer`.")
        answers = []
        for start in range(0, len(pairs), batch_size):
            some = pairs[start : start + batch_size]
            names = ["" if len(pairs) == 1 else f"inputs[{start + number}]: " for number in range(len(some))]
            pictures = [
                read_picture(pair["image"], name=f"{name}image") for pair, name in zip(some, names, strict=True)
            ]
            pixel_values = self.processor(images=pictures)["pixel_values"]
            image_features = self.run_model("get_image_features", pixel_values=pixel_values)
            objectness = self._compute_objectness(pixel_values) if settings.get("objectness") else None
            queries = [self._read_queries(pair, settings, name) for pair, name in zip(some, names, strict=True)]
            encoded = iter(self._encode_queries([query for own in queries for query in own], batch_size))
            for number, (pair, picture, own) in enumerate(zip(some, pictures, queries, strict=True)):
                rows = slice(number, number + 1)
                features = join_rows([next(encoded) for _ in own])
                found = zip(*self.compute_map(take_rows(image_features, rows), features), own, strict=True)
                guide = None if objectness is None else objectness[number]
                told = [
                    self._answer(similarity, float(confidence), guide, picture.shape[:2], query, settings)
                    for similarity, confidence, query in found
                ]
                answers.append(told if are_several(pair.get("audio", pair.get("text"))) else told[0])
        return answers

    def _read_queries(self, pair: Mapping[str, Any], settings: Mapping[str, Any], name: str) -> list[Clip | str]:
        """The sounds of a pair as clips, or its texts."""
        kind = "audio" if "audio" in pair else "text"
        if kind == "text" and not hasattr(self.model, "get_text_features"):
            raise ValueError(f'`{name}text`: a {type(self.model).__name__} takes no text; pass "audio".')
        given = list(pair[kind]) if are_several(pair[kind]) else [pair[kind]]
        if not given:
            raise ValueError(f"`{name}{kind}` is an empty list.")
        if kind == "text":
            for index, text in enumerate(given):
                if not isinstance(text, str):
                    place = f"{name}text" if len(given) == 1 else f"{name}text[{index}]"
                    raise TypeError(f"`{place}` must be a text, such as 'a dog barking', got {type(text).__name__}.")
            return given
        labels = [f"{name}audio" if len(given) == 1 else f"{name}audio[{index}]" for index in range(len(given))]
        rate = settings.get("sampling_rate")
        return [self.read_clip(sound, rate, label) for sound, label in zip(given, labels, strict=True)]

    def _encode_queries(self, queries: list[Clip | str], batch_size: int) -> Iterator[Any]:
        """Features of each clip or text, encoded in batches of one kind."""
        start = 0
        while start < len(queries):
            is_text = isinstance(queries[start], str)
            some = []
            for query in queries[start : start + batch_size]:
                if isinstance(query, str) != is_text:
                    break
                some.append(query)
            if is_text:
                features = self.run_model("get_text_features", **self.processor(text=some))
            else:
                features = self.encode_clips([query.samples for query in some])
            yield from (take_rows(features, slice(row, row + 1)) for row in range(len(some)))
            start += len(some)

    def _answer(
        self,
        similarity: np.ndarray,
        confidence: float,
        objectness: np.ndarray | None,
        size: tuple[int, int],
        query: Clip | str,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        threshold = self.find_threshold(settings.get("threshold"))
        decision = decide(confidence, threshold, isinstance(query, Clip) and query.is_silent)
        heatmap = self.make_heatmap(similarity, size, objectness)
        guided = None if objectness is None else heatmap
        answer = {
            "confidence": confidence,
            "sounds": decision.sounds,
            "threshold": threshold,
            "label": decision.label,
            "meaning": decision.meaning,
            "heatmap": heatmap,
            "similarity": similarity,
            "peak": find_peak(similarity, *size, guided, middle_only=self.sees_middle_only),
            "seconds": query.seconds if isinstance(query, Clip) else None,
        }
        if settings.get("return_boxes"):
            mask, boxes = np.zeros(size, bool), []
            if decision.sounds is not False:
                mask, boxes = mark_area(heatmap, settings.get("mask_threshold", 0.5), settings.get("area"))
            answer |= {"mask": mask, "boxes": boxes, "box": boxes[0] if boxes else None}
        return answer

    def _compute_objectness(self, pixel_values: torch.Tensor) -> np.ndarray:
        return self.run_model("get_objectness", pixel_values=pixel_values).float().cpu().numpy()

    # Videos.

    def _locate_in_video(self, video: Any, settings: Mapping[str, Any], batch_size: int) -> list[dict[str, Any]]:
        reader = open_video(video)
        records, render = [], settings.get("render")
        is_there = render is not None and isinstance(video, str | os.PathLike) and os.path.exists(render)
        if is_there and os.path.samefile(video, render):
            raise ValueError(f"`render` ({render}) is the video itself; name another file.")

        def keep(found: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            for record in found:
                kept = dict(record)
                if not settings.get("return_maps"):
                    del kept["similarity"]
                    kept.pop("objectness", None)
                    kept.pop("middle_only", None)
                    kept.pop("absolute", None)
                records.append(kept)
                yield record

        found = keep(self._iter_records(reader, settings, batch_size))
        if render is None:
            deque(found, maxlen=0)
        else:
            write_heat_video(reader, found, Path(render), progress=settings.get("progress", False))
        return records

    def _iter_records(
        self, reader: VideoReader, settings: Mapping[str, Any], batch_size: int
    ) -> Iterator[dict[str, Any]]:
        repeat = getattr(self.processor, "repeats_short_sounds", True)
        video = WindowedVideo(reader, settings.get("frames_per_second", 4.0), self.rate, self.clip_samples, repeat)
        size = reader.info.height, reader.info.width
        threshold, half = self.find_threshold(settings.get("threshold")), settings.get("smoothing", 3) // 2
        maps = self._iter_maps(video, settings, batch_size)
        total = None if reader.info.duration is None else round(reader.info.duration * reader.fps / video.step)
        with tqdm(total=total, unit="frame", desc="sounds", disable=not settings.get("progress", False)) as bar:
            for near, current in iter_neighbourhoods(maps, max(half, 1)):
                similarity, objectness, confidence = average_near(near, current, half)
                decision = decide(confidence, threshold, current.is_silent)
                heatmap = self.make_heatmap(similarity, size, objectness)
                guided = None if objectness is None else heatmap
                boxes = []
                if decision.sounds is not False:
                    boxes = mark_area(heatmap, settings.get("mask_threshold", 0.5), settings.get("area")).boxes
                stop = current.index + video.step  # the next one, unless this is the last
                if video.num_frames is not None:
                    stop = min(stop, video.num_frames)
                record = {
                    "start": video.find_seconds(current.index),
                    "end": video.find_seconds(stop),
                    "label": decision.label,
                    "score": confidence,
                    "sounds": decision.sounds,
                    "box": boxes[0] if boxes else None,
                    "peak": find_peak(similarity, *size, guided, middle_only=self.sees_middle_only),
                    "similarity": similarity,
                }
                if settings.get("return_boxes"):
                    record["boxes"] = boxes
                if objectness is not None:
                    record["objectness"] = objectness
                if self.sees_middle_only:
                    record["middle_only"] = True
                if self.has_absolute_maps:
                    record["absolute"] = True
                yield record
                bar.update()

    def _iter_maps(self, video: WindowedVideo, settings: Mapping[str, Any], batch_size: int) -> Iterator[FrameMap]:
        """The map of each frame that is looked at; each window of sound is encoded once."""

        def prepare(frame: np.ndarray) -> torch.Tensor:
            return self.processor(images=[frame])["pixel_values"]

        windows: dict[int, tuple[Any, bool]] = {}  # first sample -> features, whether it is silent
        batch: list[FrameWithSound] = []

        def compute() -> Iterator[FrameMap]:
            new = dict.fromkeys(frame.first_sample for frame in batch if frame.first_sample not in windows)
            clips = [video.read_window(first) for first in new]
            for old in [first for first in windows if first not in {frame.first_sample for frame in batch}]:
                del windows[old]
            if clips:
                sounds = self.encode_clips(clips)
                for row, (first, clip) in enumerate(zip(new, clips, strict=True)):
                    windows[first] = take_rows(sounds, slice(row, row + 1)), is_digital_silence(clip)
            pixel_values = torch.cat([frame.picture for frame in batch])
            images = self.run_model("get_image_features", pixel_values=pixel_values)
            objectness = self._compute_objectness(pixel_values) if settings.get("objectness") else None
            for row, frame in enumerate(batch):
                sound, is_silent = windows[frame.first_sample]
                maps, confidences = self.compute_map(take_rows(images, slice(row, row + 1)), sound)
                guide = None if objectness is None else objectness[row]
                yield FrameMap(frame.index, maps[0], float(confidences[0]), is_silent, guide)

        for frame in video.iterate(prepare):
            batch.append(frame)
            if len(batch) == batch_size:
                yield from compute()
                batch.clear()
        if batch:
            yield from compute()


def is_pair(inputs: Any) -> bool:
    """Whether it is a picture with its sound or text.

    Raises:
        ValueError: a picture without either, or with both.
    """
    if not isinstance(inputs, Mapping) or not {"image", "audio", "text"} & inputs.keys():
        return False
    if "image" not in inputs or ("audio" in inputs) == ("text" in inputs):
        raise ValueError(
            '`inputs` must be {"image": ..., "audio": ...}, or a video; got a dict with the keys '
            f"{', '.join(map(str, inputs))}."
        )
    unknown = inputs.keys() - {"image", "audio", "text"}
    if unknown:
        raise ValueError(f'`inputs` has the key {sorted(map(str, unknown))[0]!r}; expected "image" and "audio".')
    return True


def is_stream(inputs: Any) -> bool:
    """Whether it is a data set or a generator of inputs, and no video."""
    if isinstance(
        inputs, str | bytes | bytearray | memoryview | os.PathLike | Mapping | np.ndarray | torch.Tensor | Video
    ):
        return False
    if hasattr(inputs, "read") or hasattr(inputs, "get_frame_at"):
        return False
    return hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__")


def open_video(video: Any) -> VideoReader:
    """Open a video with sound.

    Raises:
        ValueError: no sound track; what reading raises.
    """
    video = read_once(video)
    reader = VideoReader(video)
    if reader.info.sampling_rate is None:
        raise ValueError(
            f"{label_source(video, 'video')} has no sound track, so nothing in it can be heard. For a picture and a "
            'sound pass {"image": ..., "audio": ...}.'
        )
    return reader


def iter_neighbourhoods(maps: Iterator[FrameMap], reach: int) -> Iterator[tuple[list[FrameMap], FrameMap]]:
    """Each map with those up to `reach` places before and after it, itself included; fewer at the ends."""
    near: deque[FrameMap] = deque()
    place = 0  # of the current one in `near`
    for found in maps:
        near.append(found)
        if len(near) - place > reach:
            yield list(near), near[place]
            place += 1
            if place > reach:
                near.popleft()
                place -= 1
    while place < len(near):
        yield list(near), near[place]
        place += 1
        if place > reach:
            near.popleft()
            place -= 1


def average_near(near: list[FrameMap], current: FrameMap, half: int) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Mean map, mean objectness and mean confidence of a frame and its `half` neighbours on each side.

    Frames in digital silence are left alone and left out.
    """
    place = next(number for number, frame in enumerate(near) if frame is current)
    used = [frame for frame in near[max(0, place - half) : place + half + 1] if not frame.is_silent]
    if current.is_silent or len(used) == 1:
        used = [current]
    similarity = np.mean([frame.similarity for frame in used], axis=0, dtype=np.float32)
    confidence = float(np.mean([frame.confidence for frame in used]))
    if current.objectness is None:
        return similarity, None, confidence
    return similarity, np.mean([frame.objectness for frame in used], axis=0, dtype=np.float32), confidence


__all__ = ["SoundSourceLocalizationPipeline", "check_parameters"]
