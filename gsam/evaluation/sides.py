"""The two sides of a comparison as they are read from files."""

from __future__ import annotations

from pathlib import Path

from gsam.errors import UsageError
from gsam.evaluation import coco_truth
from gsam.evaluation.compared import Truth
from gsam.results.formats import known
from gsam.results.formats.dataset import DataSet

FOLDERS = ("", "images", "JPEGImages")
"""Where the images of a data set usually are, in its folder or the one above it."""


def image_places(path: Path, images: Path | None = None) -> list[Path]:
    """List the folders in which the images of a data set are looked for.

    Args:
        path: Its file or folder: its own folder and the one above, there in ``images``,
            ``JPEGImages``, or a folder called like the end of the file's name:
            ``annotations/instances_val2017.json`` has its images in ``val2017``.
        images: The only folder, instead of all these.
    """
    if images is not None:
        return [images]
    folder = path if path.is_dir() else path.parent
    split = "" if path.is_dir() else path.stem.rpartition("_")[2]
    usual = [base / name for base in (folder, folder.absolute().parent) for name in (*FOLDERS, split)]
    return list(dict.fromkeys(usual))


def read_truth(path: Path, name: str | None = None, images: Path | None = None, lvis: bool | None = None) -> Truth:
    """Read a data set of true masks.

    Args:
        path: Its file or folder, of any format that `gsam.results.formats.known.read` reads.
        name: The format; by default the one that it looks like.
        images: The folder of the images, for a format that does not tell their sizes.
        lvis: Whether the rules of LVIS count; by default where the file has LVIS's lists.

    Raises:
        UsageError: It cannot be read, or is to be of LVIS and is not (``format_unknown``,
            ``format_unreadable``).
    """
    if path.exists() and (name or known.recognised(path)) in ("coco", "lvis"):
        return coco_truth.read(path, lvis)
    data = known.read(path, name, images)
    if lvis:
        raise UsageError(f"{path} is not of LVIS, which only JSON of LVIS v1 is", "format_unreadable")
    return Truth(data.labels, data.open, data.problems)


def read_found(path: Path | str, truth: Truth, name: str | None = None, images: Path | None = None) -> DataSet:
    """Read a data set of found masks: of any format, or COCO results with the ids of the truth.

    Args:
        path: Its file or folder, or the URL of what ``gsam label`` wrote.
        truth: The truth, whose images were read.
        name: The format; by default the one that it looks like.
        images: The folder of the images, for a format that does not tell their sizes.

    Raises:
        UsageError: It cannot be read (``format_unknown``, ``format_unreadable``).
    """
    if isinstance(path, str) and "://" in path:
        return known.read(path, name)
    path = Path(path)
    if name == "coco_results" or (name is None and _is_results(path)):
        return coco_truth.read_results(path, truth)
    if path.exists() and (name or known.recognised(path)) in ("coco", "lvis"):
        return coco_truth.read(path, lvis=False)
    return known.read(path, name, images)


def _is_results(path: Path) -> bool:
    if not path.is_file() or path.suffix != ".json":
        return False
    with path.open("rb") as file:
        head = file.read(known.HEAD).decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    return head.startswith("[") and ('"image_id"' in head or not head[1:].lstrip("\r\n\t ]"))
