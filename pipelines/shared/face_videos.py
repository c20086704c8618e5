"""What task pipelines do alike that judge the faces of a video by its sound."""

import os
from typing import Any, ClassVar

from transformers import AutoModel
from transformers.pipelines.base import Pipeline

from avzoo.pipelines.shared.face_detectors import WHOLE_FRAME, faces_from, whole_frame_track
from avzoo.pipelines.shared.recordings import read_once
from avzoo.video import FaceTracks, find_face_tracks
from avzoo.video.reading import VideoReader

# `Pipeline.__call__` keeps `batch_size` for videos per batch and hands it to no step, so it goes by this name there.
_BATCH_SIZE = "_batch_size"


class FaceVideoPipeline(Pipeline):
    """One video or several in, a list of records for each; a subclass scores the faces that are found.

    Class attributes of a subclass:
        task_name: in `transformers.pipeline`.
        steps: names of the parameters of `preprocess`, `_forward` and `postprocess`.
    """

    task_name: ClassVar[str]
    steps: ClassVar[tuple[tuple[str, ...], ...]]

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    @classmethod
    def register(cls, registry) -> None:
        """Serve this task in `registry`, a transformers `PipelineRegistry`."""
        # Not by register_pipeline: what it enters saves its module beside the weights, as if it was installed nowhere.
        task = {"impl": cls, "pt": (AutoModel,), "type": "multimodal"}
        registry.supported_tasks.setdefault(cls.task_name, task)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model and its processor, which transformers' own method leaves out."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def __call__(self, video: Any, batch_size: int | None = None, **parameters: Any) -> list:
        """The faces of one video, or of each of a list of them; see the class for parameters."""
        if isinstance(video, list | tuple):
            return [self(one, batch_size=batch_size, **parameters) for one in video]
        if batch_size is not None:
            parameters[_BATCH_SIZE] = batch_size
        return super().__call__(video, **parameters)

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Raise a ValueError or TypeError that names the parameter which cannot work."""
        raise NotImplementedError

    def _sanitize_parameters(self, **parameters) -> tuple[dict, dict, dict]:
        if _BATCH_SIZE in parameters:
            parameters["batch_size"] = parameters.pop(_BATCH_SIZE)
        self.check_parameters(parameters)
        unknown = parameters.keys() - {name for names in self.steps for name in names}
        if unknown:
            raise TypeError(f"{self.task_name} has no parameter {sorted(unknown)[0]!r}.")
        return tuple({name: parameters[name] for name in names if name in parameters} for names in self.steps)


def open_face_video(
    video: Any,
    faces: Any,
    detector_model: str | os.PathLike | None,
    fps: int,
    without_sound: str,
    **options: Any,
) -> tuple[VideoReader, FaceTracks]:
    """Open a video with sound, and find the tracks of its faces or take the whole frame as one.

    Args:
        video: a path, the bytes of a file, a file object or an [`avzoo.video.Video`].
        faces: as [`faces_from`] takes it, or "frame".
        detector_model: YuNet's ONNX file or the folder of a converted S3FD.
        fps: frames per second of the tracks.
        without_sound: what follows from a missing sound track, for the error.
        options: of [`avzoo.video.find_face_tracks`].

    Returns:
        A reader of the video, and the tracks.

    Raises:
        ValueError: no sound track; and what reading and detection raise.
    """
    video = read_once(video)
    reader = VideoReader(video)
    if reader.info.sampling_rate is None:
        raise ValueError(f"`video`{name_file(video)} has no sound track, so {without_sound}.")
    return reader, find_video_faces(video, reader, faces, detector_model, fps, **options)


def find_video_faces(
    video: Any, reader: VideoReader, faces: Any, detector_model: str | os.PathLike | None, fps: int, **options: Any
) -> FaceTracks:
    """Find the tracks of a video's faces, or take the whole frame as one.

    Args:
        video: of `reader`; no file object, which can't be read twice.
        faces, detector_model, fps, options: as for [`open_face_video`].

    Raises:
        What reading and detection raise.
    """
    if isinstance(faces, str) and faces == WHOLE_FRAME:
        return whole_frame_track(reader, fps)
    detector = faces_from(faces, detector_model, reader.info.metadata)
    return find_face_tracks(video, detector, fps=fps, **options)


def name_file(source: Any) -> str:
    """The name of a file in brackets, for messages: ` (clip.mp4)`; empty for what is no path."""
    return f" ({os.path.basename(source)})" if isinstance(source, str | os.PathLike) else ""
