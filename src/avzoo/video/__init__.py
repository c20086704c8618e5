"""Video in, faces out: reading and writing, drawing, face detection, tracking, shots, crops.

Every name is imported when it is first used.
"""

import importlib

_NAMES = {
    "crops": [
        "CropConvention",
        "LowerFace",
        "MouthHalf",
        "MouthSquare",
        "TightFace",
        "WholeFace",
        "crop_track",
        "crop_tracks",
        "grey_face",
        "iter_track_crops",
    ],
    "detection": ["Detections", "FaceDetector", "YuNetDetector", "detect_faces"],
    "drawing": [
        "HeatOverlay",
        "contact_sheet",
        "draw_boxes",
        "draw_cursor",
        "draw_heatmap",
        "draw_label",
        "score_colour",
        "stack",
        "timeline",
        "track_colour",
        "waveform_strip",
        "write_picture",
    ],
    "face_tracks": ["find_face_tracks", "render_face_tracks"],
    "frame_folders": ["list_frames", "read_frames"],
    "pictures": ["read_picture"],
    "reading": ["VideoReader", "iter_video", "probe_video", "read_video"],
    "rendering": ["render_video"],
    "resizing": [
        "resize_as_opencv",
        "resize_as_torch",
        "resize_lanczos_as_opencv",
        "scale_as_opencv",
        "to_grey",
        "to_hsv",
    ],
    "shifting": ["shift_sound"],
    "shots": ["detect_shots"],
    "track_files": ["FaceTracks", "GivenBoxes", "load_tracks", "save_tracks"],
    "tracking": ["Track", "smooth_scores", "track_faces"],
    "video": ["Video", "VideoInfo"],
    "writing": ["VideoWriter", "write_video"],
}
_MODULE_OF = {name: f"avzoo.video.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str):
    if name in _MODULE_OF:
        value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
        return value
    raise AttributeError(f"module 'avzoo.video' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
