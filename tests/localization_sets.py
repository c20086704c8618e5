"""Small test sets of sound localization in the owners' layouts: coloured rectangles on black, each colour with a tone.

`write_set(root, dataset)` writes one, [`ColourModel`] solves it: it points at the colour of the tone it hears.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

COLOURS = ("red", "green", "blue")
TONES_HZ = {"red": 500, "green": 2500, "blue": 5500}
LEFT, RIGHT, BAR = [16, 32, 96, 192], [128, 32, 208, 192], [0, 0, 224, 112]  # pixels of 224
AUTHORS = "/home/authors/data/"


def write_picture(path: Path, boxes: dict[str, list[int]]) -> None:
    """A picture of 224 x 224 with a rectangle of each colour."""
    pixels = np.zeros((224, 224, 3), dtype=np.uint8)
    for colour, (x1, y1, x2, y2) in boxes.items():
        pixels[y1:y2, x1:x2, COLOURS.index(colour)] = 255
    save_picture(path, pixels)


def write_mask(path: Path, box: list[int]) -> None:
    pixels = np.zeros((224, 224), dtype=np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    save_picture(path, pixels)


def save_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(pixels).save(path, **options)


def write_tone(path: Path, colour: str, seconds: float = 1.0, gain: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(int(16000 * seconds)) / 16000
    soundfile.write(path, gain * np.sin(2 * np.pi * TONES_HZ[colour] * times), 16000)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_set(root: Path, dataset: str) -> Path:
    """Write a test set of a few samples, and return its root."""
    root.mkdir(parents=True, exist_ok=True)
    WRITERS[dataset](root)
    return root


def write_vggss(root: Path) -> None:
    entries = []
    for number, (colour, box) in enumerate(
        [("red", LEFT), ("green", RIGHT), ("blue", BAR), ("red", RIGHT), ("green", LEFT)]
    ):
        name = f"abcdefghij{number}_{30 + number:06d}"
        write_picture(root / "frames" / f"{name}.jpg", {colour: box})
        write_tone(root / "audio" / f"{name}.wav", colour)
        entries.append({"file": name, "class": colour, "bbox": [[value / 224 for value in box]]})
    write_json(root / "vggss.json", entries)


def write_vggss_extended(root: Path) -> None:
    write_vggss(root)
    rows = ["video,audio,label"]
    rows += [f"abcdefghij{n}_{30 + n:06d},abcdefghij{m}_{30 + m:06d},non-sounding" for n, m in ((0, 1), (1, 2), (2, 0))]
    (root / "vggss_test_plus_silent.csv").write_text("\n".join(rows), encoding="utf-8")


def write_flickr(root: Path) -> None:
    lines = []
    for number, (colour, box) in enumerate([("red", LEFT), ("green", RIGHT), ("blue", BAR)]):
        name = f"1000{number}"
        write_picture(root / "frames" / f"{name}.jpg", {colour: box})
        write_tone(root / "audio" / f"{name}.wav", colour)
        write_annotation(root / "Annotations" / f"{name}.xml", [[value * 256 // 224 for value in box]] * 2)
        lines.append(f"{name},{number}")
    (root / "flickr_test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_annotation(path: Path, boxes: list[list[int]]) -> None:
    names = ("xmin", "ymin", "xmax", "ymax")
    elements = [
        f"<person><bbox><id>{number}</id>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, box, strict=True))
        + "</bbox></person>"
        for number, box in enumerate(boxes)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<annotation>\n" + "\n".join(elements) + "\n</annotation>\n", encoding="utf-8")


def write_flickr_extended(root: Path) -> None:
    write_flickr(root)
    rows = ["video,audio,label", "10000,10001,non-sounding", "10001,10002,non-sounding", "10002,10000,non-sounding"]
    (root / "flickr_test_plus_silent.csv").write_text("\n".join(rows), encoding="utf-8")


def write_is3(root: Path) -> None:
    write_pairs(root, root / "IS3_annotation.json", "images", "gt_segmentation", "{first}_{second}_{number}_{colour}")


def write_vpo(root: Path, setting: str) -> None:
    folder = root / ("COCO_AV" if setting == "ss" else "COCO_AV_MS")
    write_pairs(folder, root / f"vpo_{setting}_bbox.json", "visual_frames", "gt_masks", "00000000000{number}_{index}")


def write_pairs(folder: Path, table: Path, pictures: str, masks: str, pattern: str) -> None:
    """Pictures with two rectangles, which lie there twice, under the name of the one and of the other."""
    entries = []
    for number, (first, second) in enumerate([("red", "green"), ("green", "blue"), ("blue", "red")]):
        boxes = {first: LEFT, second: RIGHT}
        for index, (colour, box) in enumerate(boxes.items()):
            name = pattern.format(first=first, second=second, number=number, colour=colour, index=index)
            write_picture(folder / pictures / f"{name}.jpg", boxes)
            write_tone(folder / "audio_wav" / f"{name}.wav", colour, gain=0.5 - 0.01 * number)
            write_mask(folder / masks / f"{name}.jpg", box)
            entries.append(
                {
                    "image": f"{AUTHORS}visual_frames/{name}.jpg",
                    "audio": f"{AUTHORS}audio_wav/{name}.wav",
                    "gt_box": [float(value) for value in box],
                }
            )
    write_json(table, entries)


def write_avsbench(root: Path, setting: str) -> None:
    """Clips of 5 s whose tone is heard from second 1 to 4 only; outside there is another."""
    entries = []
    for number, (colour, other) in enumerate([("red", "green"), ("green", "blue")]):
        clip = f"0d9u2Cy_{number}xc"
        if setting == "s4":
            folder, pictures, sound = (
                root / "Single-source/s4_data",
                f"test/{colour}/{clip}/{clip}_",
                f"{colour}/{clip}",
            )
            masks = pictures
        else:
            folder, pictures, sound = root / "Multi-sources/ms3_data", f"{clip}/{clip}.mp4_", clip
            masks = f"test/{clip}/{clip}_"
        write_clip(folder / "audio_wav" / "test" / f"{sound}.wav", colour, other)
        for frame in range(1, 6):
            box = [0, 0, 0, 0] if (setting, number, frame) == ("ms3", 0, 1) else LEFT
            write_picture(folder / "visual_frames" / f"{pictures}{frame}.png", {colour: LEFT, other: RIGHT})
            write_mask(folder / "gt_masks" / f"{masks}{frame}.png", box)
            entries.append(
                {
                    "image": f"{AUTHORS}visual_frames/{pictures}{frame}.png",
                    "audio": f"{AUTHORS}audio_wav/test/{sound}.wav",
                    "gt_box": [float(value) for value in box],
                }
            )
    write_json(root / f"{setting}_box.json", entries)


def write_clip(path: Path, colour: str, other: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(16000 * 5) / 16000
    tones = np.where((times >= 1) & (times < 4), TONES_HZ[colour], TONES_HZ[other])
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * tones * times), 16000)


WRITERS = {
    "vggss": write_vggss,
    "flickr": write_flickr,
    "is3": write_is3,
    "s4": lambda root: write_avsbench(root, "s4"),
    "ms3": lambda root: write_avsbench(root, "ms3"),
    "vpo-ss": lambda root: write_vpo(root, "ss"),
    "vpo-ms": lambda root: write_vpo(root, "ms"),
    "vggss-extended": write_vggss_extended,
    "flickr-extended": write_flickr_extended,
}


class ColourModel(torch.nn.Module):
    """Red sounds low, green in the middle, blue high: the map is 1 where the colour is that of the tone, else 0."""

    def __init__(self, use_objectness: bool = False):
        super().__init__()
        self.config = SimpleNamespace(use_objectness=use_objectness)
        self.encoded = {"image": 0, "audio": 0, "objectness": 0}

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        self.encoded["image"] += len(pixel_values)
        deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        colours = torch.nn.functional.avg_pool2d(pixel_values * deviation + mean, 16)
        cells = torch.where(colours.amax(1, keepdim=True) > 0.3, colours.clamp(min=0), torch.zeros(()))
        unit = torch.nn.functional.normalize(cells, dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=unit, pooler_output=unit.amax((2, 3)))

    def get_audio_features(self, input_features: torch.Tensor) -> BaseModelOutputWithPooling:
        self.encoded["audio"] += len(input_features)
        loudest = input_features[:, 0].mean(-1).argmax(-1)  # of 257 bins, 31.25 Hz each
        which = (loudest > 40).long() + (loudest > 120).long()
        unit = torch.nn.functional.one_hot(which, 3).float()
        return BaseModelOutputWithPooling(last_hidden_state=unit, pooler_output=unit)

    def get_objectness(self, pixel_values: torch.Tensor) -> torch.Tensor:
        self.encoded["objectness"] += len(pixel_values)
        return torch.nn.functional.avg_pool2d(pixel_values.amax(1), 32).clamp(min=0)

    def compute_similarity_maps(self, image_features, audio_features) -> torch.Tensor:
        return torch.einsum("ichw,sc->ishw", image_features.last_hidden_state, audio_features.last_hidden_state)
