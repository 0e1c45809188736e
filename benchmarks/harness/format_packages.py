"""Readers of data sets by packages that other people use, each imported when it is called.

A reader takes a folder that a writer filled, and what a package needs beside (a list of the images,
a folder of them) is added to a copy.  Where a package does not read a field, `Reader.gives` says
so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmarks.harness import format_pixels as pixels
from benchmarks.harness import format_readers as described
from benchmarks.harness.format_readers import Found, image, segment, xyxy

ALL = ("label", "mask", "box", "score")


@dataclasses.dataclass(frozen=True)
class Reader:
    """A way to read a format that is independent of gsam."""

    name: str
    """What it is called on the page."""
    read: Callable[[Path], list[Found]]
    packages: tuple[str, ...] = ()
    """Distributions that it needs, the first of which has the page's version."""
    gives: tuple[str, ...] = ALL
    """Fields that it reads."""
    huge: bool = False
    """Whether it is given the mask of a huge image, which others hold several times."""

    @property
    def version(self) -> str | None:
        """The version of its package; None where one of its packages is not installed."""
        try:
            versions = [importlib.metadata.version(package) for package in self.packages]
        except importlib.metadata.PackageNotFoundError:
            return None
        return versions[0] if versions else ""


def _coco_row(coco: Any, entry: Found) -> Found:
    from pycocotools import mask

    runs = pixels.runs_of(mask.decode(coco.annToRLE(entry))) if entry["segmentation"] else None
    label = coco.loadCats(entry["category_id"])[0]["name"]
    return segment(label, runs, xyxy(entry["bbox"]), entry.get("score"))


def _images_of(coco: Any) -> list[Found]:
    names, _ = described.names_of_coco(coco.dataset)
    rows = {number: coco.loadAnns(coco.getAnnIds(imgIds=[number])) for number in names}
    return [image(name, [_coco_row(coco, entry) for entry in rows[number]]) for number, name in names.items()]


def coco_by_pycocotools(folder: Path) -> list[Found]:
    """``pycocotools.coco.COCO``, masks by ``annToRLE``."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return _images_of(COCO(next(folder.glob("*.json"))))


def results_by_pycocotools(folder: Path) -> list[Found]:
    """``COCO.loadRes``, as its evaluation does."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(folder.parent / described.TRUTH).loadRes(str(folder / "results.json"))
    for entry in found.dataset["annotations"]:
        if isinstance(entry["segmentation"], list):  # the corners of its box, which loadRes adds
            entry["segmentation"] = None
    return _images_of(found)


def sa1b_by_pycocotools(folder: Path) -> list[Found]:
    """``pycocotools.mask.decode``."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_bytes())
        rows = [
            segment(a["label"], _decoded(a["segmentation"]), xyxy(a["bbox"]), a["predicted_iou"])
            for a in content["annotations"]
        ]
        found.append(image(content["image"]["file_name"], rows))
    return found


def jsonl_by_pycocotools(folder: Path) -> list[Found]:
    """``pycocotools.mask.decode``."""
    found = []
    for line in (folder / "scenes.jsonl").read_text("utf-8").split("\n"):
        if line:
            scene = json.loads(line)
            rows = [segment(s["label"], _decoded(s["mask"]), s["box"], s["score"]) for s in scene["segments"]]
            found.append(image(scene["image"], rows))
    return found


def _by_supervision(data: Any) -> list[Found]:
    found = []
    for path, seen in data.annotations.items():
        rows = []
        for i in range(len(seen)):
            runs = None if seen.mask is None else pixels.runs_of(np.asarray(seen.mask[i]))
            rows.append(segment(data.classes[seen.class_id[i]], runs, seen.xyxy[i].tolist()))
        found.append(image(Path(path).name, rows))
    return found


def coco_by_supervision(folder: Path) -> list[Found]:
    """``DetectionDataset.from_coco``."""
    import supervision

    images, file = str(folder.parent / "images"), str(next(folder.glob("*.json")))
    return _by_supervision(supervision.DetectionDataset.from_coco(images, file, force_masks=_has_masks(folder)))


def _has_masks(folder: Path) -> bool:
    return b'"counts"' in next(folder.glob("*.json")).read_bytes()


def yolo_by_supervision(folder: Path) -> list[Found]:
    """``DetectionDataset.from_yolo``."""
    import supervision

    images, labels, names = folder.parent / "images", folder / "labels", folder / "data.yaml"
    return _by_supervision(supervision.DetectionDataset.from_yolo(str(images), str(labels), str(names)))


def voc_by_supervision(folder: Path) -> list[Found]:
    """``DetectionDataset.from_pascal_voc``, which reads boxes."""
    import supervision

    images, files = folder.parent / "images", folder / "Annotations"
    return _by_supervision(supervision.DetectionDataset.from_pascal_voc(str(images), str(files)))


def _by_datumaro(path: Path, name: str, *, groups: bool = True, **options: Any) -> list[Found]:
    import datumaro

    data = datumaro.Dataset.import_from(str(path), name, **options)
    labels = data.categories().get(datumaro.AnnotationType.label)
    found = []
    for item in data:
        rows: dict[Any, Found] = {}
        for i, one in enumerate(item.annotations):
            label = one.attributes.get("label") if labels is None else labels[one.label].name
            score = one.attributes.get("score")
            known = None if score is None else float(score)
            row = rows.setdefault((groups and one.group) or -i - 1, segment(label, score=known))
            if one.type == datumaro.AnnotationType.bbox:
                row["box"] = xyxy(one.get_bbox())
            elif one.type == datumaro.AnnotationType.mask:
                row["runs"] = pixels.runs_of(np.asarray(one.image))
        found.append(image(f"{item.id}.png", list(rows.values())))
    return found


def coco_by_datumaro(folder: Path) -> list[Found]:
    """Format ``coco_instances``."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(folder.parent / "images", Path(place) / "images")
        (Path(place) / "annotations").mkdir()
        file = shutil.copy(next(folder.glob("*.json")), Path(place) / "annotations" / "instances_default.json")
        return _by_datumaro(Path(file), "coco_instances")


def sa1b_by_datumaro(folder: Path) -> list[Found]:
    """Format ``segment_anything``."""
    return _by_datumaro(folder, "segment_anything")


def cvat_by_datumaro(folder: Path) -> list[Found]:
    """Format ``cvat``."""
    with tempfile.TemporaryDirectory() as place:
        whole = shutil.copytree(folder, Path(place) / "cvat")
        shutil.copytree(folder.parent / "images", whole / "images")
        return _by_datumaro(whole, "cvat")


def voc_by_datumaro(folder: Path) -> list[Found]:
    """Format ``voc_instance_segmentation`` for masks, ``voc_detection`` where there are none."""
    with tempfile.TemporaryDirectory() as place:
        whole = shutil.copytree(folder, Path(place) / "voc")
        masks = (whole / "SegmentationObject").is_dir()
        name = "voc_instance_segmentation" if masks else "voc_detection"
        found = _by_datumaro(whole, name, groups=False, coordinate_mode="voc-one-based")
        sizes = {one["image"]: described.size_of(folder.parent / "images" / one["image"]) for one in found}
        return [image(one["image"], _joined(one["segments"], sizes[one["image"]])) for one in found]


def _joined(rows: list[Found], size: tuple[int, int]) -> list[Found]:
    """Objects of boxes and of masks that datumaro gives one by one: those of one place are one."""
    boxes = [row for row in rows if row["runs"] is None]
    for row in rows:
        if row["runs"] is not None:
            seen = [float(v) for v in pixels.bounds(row["runs"], size)]
            same = next(
                (b for b in boxes if b["runs"] is None and b["label"] == row["label"] and b["box"] == seen), row
            )
            same["runs"] = row["runs"]
            boxes += [row] if same is row else []
    return boxes


def cvat_by_sdk(folder: Path) -> list[Found]:
    """``cvat_sdk.masks.decode_mask``, on the numbers that CVAT keeps of a mask."""
    from cvat_sdk.masks import decode_mask

    found = []
    for one in ElementTree.parse(folder / "annotations.xml").getroot().iterfind("image"):
        height, width = int(one.attrib["height"]), int(one.attrib["width"])
        rows = []
        for shape in one:
            runs = None
            if shape.tag == "mask":
                left, top, across, down = (int(shape.attrib[k]) for k in ("left", "top", "width", "height"))
                kept = [*map(int, shape.attrib["rle"].split(",")), left, top, left + across - 1, top + down - 1]
                runs = pixels.runs_of(decode_mask(kept, image_width=width, image_height=height))
            rows.append(segment(shape.get("label"), runs))
        found.append(image(one.attrib["name"], rows))
    return found


def label_studio_by_sdk(folder: Path) -> list[Found]:
    """``label_studio_sdk.converter.brush.decode_rle`` and ``parse_config``."""
    from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
    from label_studio_sdk.converter.brush import decode_rle

    controls = parse_config((folder / "config.xml").read_text("utf-8"))
    labels = {label for control in controls.values() for label in control["labels"]}
    unpacked: Callable[..., Any] = lambda packed, size: decode_rle(packed).reshape(*size, 4)[..., 3] >= 128  # noqa: E731
    return list(described.label_studio_rows(folder, labels, unpacked))


def parquet_by_pyarrow(folder: Path) -> list[Found]:
    """``pyarrow.parquet.read_table``, masks by ``pycocotools.mask.decode``."""
    import pyarrow.parquet

    found = []
    for row in pyarrow.parquet.read_table(folder / "scenes.parquet").to_pylist():
        rows = [segment(s["label"], _decoded(s["mask"]), s["box"], s["score"]) for s in row["segments"]]
        found.append(image(row["image"], rows))
    return found


def _decoded(area: Found | None) -> list[int] | None:
    from pycocotools import mask

    return None if area is None else pixels.runs_of(mask.decode(area))


OWN = "described"
_COCO = Reader("pycocotools", coco_by_pycocotools, ("pycocotools",), huge=True)
_COCO_SV = Reader("supervision", coco_by_supervision, ("supervision",), ("label", "mask", "box"))
_COCO_DM = Reader("datumaro", coco_by_datumaro, ("datumaro",), ("label", "mask", "score"))
PACKAGES: Mapping[str, tuple[Reader, ...]] = {
    "jsonl": (Reader("pycocotools", jsonl_by_pycocotools, ("pycocotools",), huge=True),),
    "coco": (_COCO, _COCO_SV, _COCO_DM),
    "coco_results": (Reader("pycocotools", results_by_pycocotools, ("pycocotools",), huge=True),),
    "lvis": (_COCO, _COCO_SV),
    "sa1b": (
        Reader("pycocotools", sa1b_by_pycocotools, ("pycocotools",), huge=True),
        Reader("datumaro", sa1b_by_datumaro, ("datumaro",), ("mask",)),
    ),
    "yolo": (Reader("supervision", yolo_by_supervision, ("supervision",), ("label", "mask", "box")),),
    "voc": (
        Reader("datumaro", voc_by_datumaro, ("datumaro",), ("label", "mask", "box")),
        Reader("supervision", voc_by_supervision, ("supervision",), ("label", "box")),
    ),
    "parquet": (Reader("pyarrow", parquet_by_pyarrow, ("pyarrow", "pycocotools"), huge=True),),
    "cvat": (
        Reader("cvat-sdk", cvat_by_sdk, ("cvat-sdk",), ("label", "mask")),
        Reader("datumaro", cvat_by_datumaro, ("datumaro",)),
    ),
    "cvat_video": (Reader("datumaro", cvat_by_datumaro, ("datumaro",)),),
    "png_masks": (Reader("Pillow", described.png_masks, ("pillow",)),),
    "png_ids": (Reader("Pillow", described.png_ids, ("pillow",)),),
    "png_palette": (Reader("Pillow", described.png_palette, ("pillow",)),),
    "label_studio": (Reader("label-studio-sdk", label_studio_by_sdk, ("label-studio-sdk",)),),
}
"""By the format's name, the first asked first."""


def readers_of(name: str) -> tuple[Reader, ...]:
    """Every independent reader of a format, installed or not; the one of this repository last."""
    own = described.READERS.get(name)
    return (*PACKAGES.get(name, ()), *([Reader(OWN, own, huge=True)] if own else []))
