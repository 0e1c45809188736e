"""Readers of data sets, written from the formats' own descriptions and from nothing of gsam's.

Each takes a folder that a writer filled and gives its images, see `image` and `segment`.  They need
the standard library, NumPy and Pillow.  Sizes that a format does not have come from the images in
the folder ``images`` beside.
"""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import format_pixels as pixels

Found = dict[str, Any]
TRUTH = "truth.json"
"""Beside the folder of COCO results: images and categories to which they belong."""


def segment(
    label: str | None,
    runs: Sequence[int] | None = None,
    box: Sequence[float] | None = None,
    score: float | None = None,
) -> Found:
    """Describe an object: label, mask as runs, box x0 y0 x1 y1; None of what is not there."""
    corners = None if box is None else [float(v) for v in box]
    return {"label": label, "runs": None if runs is None else list(runs), "box": corners, "score": score}


def image(name: str, segments: Sequence[Found]) -> Found:
    """Describe an image."""
    return {"image": name, "segments": list(segments)}


def xyxy(box: Sequence[float]) -> list[float]:
    """x y width height -> x0 y0 x1 y1."""
    x, y, width, height = box
    return [x, y, x + width, y + height]


def names_of_coco(content: Mapping[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    """Names of images and of categories by their ids."""
    images = {entry["id"]: entry.get("file_name") or entry["coco_url"] for entry in content["images"]}
    return images, {entry["id"]: entry["name"] for entry in content["categories"]}


def grouped(images: Mapping[int, str], annotations: Sequence[Found], found: Callable[[Found], Found]) -> list[Found]:
    """Images with the objects that annotations tell of."""
    rows: dict[int, list[Found]] = {number: [] for number in images}
    for entry in annotations:
        rows[entry["image_id"]].append(found(entry))
    return [image(name, rows[number]) for number, name in images.items()]


def _coco_entry(entry: Found, names: Mapping[int, str]) -> Found:
    area = entry["segmentation"]
    runs = pixels.coco_runs(area["counts"]) if area else None
    return segment(names[entry["category_id"]], runs, xyxy(entry["bbox"]), entry.get("score"))


def coco(folder: Path) -> list[Found]:
    """COCO instances, or LVIS."""
    content = json.loads(next(folder.glob("*.json")).read_bytes())
    images, names = names_of_coco(content)
    return grouped(images, content["annotations"], lambda entry: _coco_entry(entry, names))


def coco_results(folder: Path) -> list[Found]:
    """COCO results, whose images and categories are those of a truth."""
    images, names = names_of_coco(json.loads((folder.parent / TRUTH).read_bytes()))
    entries = json.loads((folder / "results.json").read_bytes())
    return grouped(images, entries, lambda entry: _coco_entry(entry, names))


def sa1b(folder: Path) -> list[Found]:
    """SA-1B, with labels beside its own keys."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_bytes())
        rows = [
            segment(a["label"], pixels.coco_runs(a["segmentation"]["counts"]), xyxy(a["bbox"]), a["predicted_iou"])
            for a in content["annotations"]
        ]
        found.append(image(content["image"]["file_name"], rows))
    return found


def jsonl(folder: Path) -> list[Found]:
    """Scenes as JSON lines."""
    found = []
    for line in (folder / "scenes.jsonl").read_text("utf-8").split("\n"):
        if line:
            scene = json.loads(line)
            rows = [
                segment(s["label"], s["mask"] and pixels.coco_runs(s["mask"]["counts"]), s["box"], s["score"])
                for s in scene["segments"]
            ]
            found.append(image(scene["image"], rows))
    return found


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of a PNG, from its first bytes."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return height, width


def yolo_names(text: str) -> dict[int, str]:
    """The classes of a ``data.yaml`` whose names are a mapping to quoted texts."""
    lines = re.findall(r"^ +(\d+): (.*)$", text.partition("names:")[2], re.MULTILINE)
    return {int(number): json.loads(name) for number, name in lines}


def yolo(folder: Path) -> list[Found]:
    """YOLO: outlines, or boxes as centre and sides, in shares of the image's sides."""
    names = yolo_names((folder / "data.yaml").read_text("utf-8"))
    found = []
    for path in sorted((folder.parent / "images").glob("*.png")):
        height, width = size_of(path)
        rows = []
        for line in (folder / "labels" / f"{path.stem}.txt").read_text("utf-8").splitlines():
            number, *values = line.split()
            points = np.array(values, float).reshape(-1, 2) * [width, height]
            if len(points) == 2:
                half = points[1] / 2
                rows.append(segment(names[int(number)], None, [*(points[0] - half), *(points[0] + half)]))
            else:
                mask = pixels.fill(points.round(6), (height, width))
                rows.append(segment(names[int(number)], pixels.runs_of(mask), [*points.min(0), *points.max(0)]))
        found.append(image(path.name, rows))
    return found


def voc(folder: Path) -> list[Found]:
    """Pascal VOC: objects of the XML, the n-th with the pixels n of ``SegmentationObject``."""
    found = []
    for path in sorted((folder / "Annotations").rglob("*.xml")):
        root = ElementTree.parse(path).getroot()
        areas = folder / "SegmentationObject" / f"{path.stem}.png"
        numbers = np.array(Image.open(areas)) if areas.is_file() else None
        rows = []
        for i, one in enumerate(root.iter("object"), 1):
            x0, y0, x1, y1 = (float(one.findtext(f"bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax"))
            mask = None if numbers is None or not (numbers == i).any() else pixels.runs_of(numbers == i)
            rows.append(segment(one.findtext("name"), mask, [x0 - 1, y0 - 1, x1, y1]))
        found.append(image(root.findtext("filename", ""), rows))
    return found


def labelme(folder: Path) -> list[Found]:
    """LabelMe: rectangles, and masks as PNGs of their bounds."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_bytes())
        size = content["imageHeight"], content["imageWidth"]
        rows = []
        for shape in content["shapes"]:
            (x0, y0), (x1, y1) = shape["points"]
            if shape["shape_type"] == "rectangle":
                rows.append(segment(shape["label"], None, [x0, y0, x1, y1], shape.get("score")))
                continue
            mask = np.zeros(size, bool)
            mask[y0 : y1 + 1, x0 : x1 + 1] = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
            rows.append(segment(shape["label"], pixels.runs_of(mask), [x0, y0, x1 + 1, y1 + 1], shape.get("score")))
        found.append(image(content["imagePath"], rows))
    return found


def cvat_shape(element: ElementTree.Element, size: tuple[int, int]) -> tuple[list[int] | None, list[float], Any]:
    """Runs, box and score of a shape of CVAT."""
    given = next((a.text for a in element.iter("attribute") if a.get("name") == "score"), None)
    score = None if given is None else float(given)
    if element.tag == "box":
        return None, [float(element.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr")], score
    left, top, width, height = (int(element.attrib[name]) for name in ("left", "top", "width", "height"))
    runs = [int(run) for run in element.attrib["rle"].split(",")]
    mask = pixels.crop(runs, (left, top, width, height), size)
    return pixels.runs_of(mask), [left, top, left + width, top + height], score


def cvat(folder: Path) -> list[Found]:
    """CVAT for images 1.1."""
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    declared = {label.findtext("name") for label in root.iterfind("meta/task/labels/label")}
    found = []
    for one in root.iterfind("image"):
        size = int(one.attrib["height"]), int(one.attrib["width"])
        rows = [segment(s.get("label"), *cvat_shape(s, size)) for s in one if s.get("label") in declared]
        found.append(image(one.attrib["name"], rows))
    return found


def label_studio_rows(
    folder: Path, labels: set[str], unpacked: Callable[[list[int], tuple[int, int]], NDArray[Any]]
) -> Iterator[Found]:
    """Label Studio's tasks: brushes and rectangles whose labels the configuration knows."""
    for task in json.loads((folder / "tasks.json").read_bytes()):
        rows = []
        for one in task["predictions"][0]["result"]:
            value, size = one["value"], (one["original_height"], one["original_width"])
            (label,) = value[one["type"]]
            if label not in labels:
                continue
            if "rle" in value:
                rows.append(segment(label, pixels.runs_of(unpacked(value["rle"], size)), None, one.get("score")))
            else:
                corners = np.reshape(xyxy([value[name] for name in ("x", "y", "width", "height")]), (2, 2))
                box = (corners * size[::-1] / 100).ravel().tolist()
                rows.append(segment(label, None, box, one.get("score")))
        yield image(task["data"]["image"], rows)


def label_studio(folder: Path) -> list[Found]:
    """Label Studio, whose brushes are unpacked bit by bit."""
    config = ElementTree.parse(folder / "config.xml").getroot()
    labels = {label.get("value", "") for label in config.iter("Label")}
    return list(label_studio_rows(folder, labels, pixels.brush))


def _png(path: Path) -> NDArray[Any]:
    with Image.open(path) as opened:
        return np.array(opened)


def png_masks(folder: Path) -> list[Found]:
    """A folder of PNGs for each image, 0 outside and 255 inside, and ``index.json``."""
    found = []
    for path in sorted(folder.rglob("index.json")):
        content = json.loads(path.read_bytes())
        rows = [
            segment(s["label"], s["mask"] and pixels.runs_of(_png(path.parent / s["mask"])), s["box"], s["score"])
            for s in content["segments"]
        ]
        found.append(image(content["image"], rows))
    return found


def png_ids(folder: Path) -> list[Found]:
    """A PNG of ids for each image, and a JSON of the same name."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        content, ids = json.loads(path.read_bytes()), _png(path.with_suffix(".png"))
        rows = [segment(s["label"], pixels.runs_of(ids == s["id"]), s["box"], s["score"]) for s in content["segments"]]
        found.append(image(content["image"], rows))
    return found


def png_palette(folder: Path) -> list[Found]:
    """A PNG of classes for each image, and the names of the classes; 255 is not judged."""
    names = json.loads((folder / "id2label.json").read_bytes())
    found = []
    for path in sorted(folder.rglob("*.png")):
        kinds = _png(path)
        seen = [int(kind) for kind in np.unique(kinds) if kind not in (0, 255)]
        found.append(image(path.name, [segment(names[str(k)], pixels.runs_of(kinds == k)) for k in seen]))
    return found


def cvat_video(folder: Path) -> list[Found]:
    """CVAT for video 1.1: shapes of tracks by frame; frames come in their order."""
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    size = (int(root.findtext(".//original_size/height", "0")), int(root.findtext(".//original_size/width", "0")))
    frames: dict[int, list[Found]] = {}
    for track in root.iterfind("track"):
        for shape in track:
            if shape.get("outside") == "0":
                row = segment(track.get("label"), *cvat_shape(shape, size))
                frames.setdefault(int(shape.attrib["frame"]), []).append(row)
    return [image(f"frame_{number:06d}", frames[number]) for number in sorted(frames)]


READERS: Mapping[str, Callable[[Path], list[Found]]] = {
    "jsonl": jsonl,
    "coco": coco,
    "coco_results": coco_results,
    "lvis": coco,
    "sa1b": sa1b,
    "yolo": yolo,
    "voc": voc,
    "labelme": labelme,
    "cvat": cvat,
    "cvat_video": cvat_video,
    "label_studio": label_studio,
}
"""By the format's name."""
