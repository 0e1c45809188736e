"""The images that a student learns from, without labels, and the teacher's embeddings of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam import files
from gsam.dataset.sources import collect
from gsam.errors import ImageError, UsageError
from gsam.inputs.image import Picture, open_image
from gsam.models.promptable import PromptableSegmenter
from gsam.runtime.batch import gather
from gsam.training.kept_features import KeptFeatures
from gsam.training.step import cast

EMBEDDING = "embedding"
"""Name of the teacher's embedding in a file of features."""


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """An image in a file."""

    path: Path
    name: str
    """Path in the folder it was found in."""
    sha256: str
    """The SHA-256 of the file."""

    def open(self) -> Picture:
        """Read the image, upright RGB.

        Raises:
            ImageError: It cannot be read.
        """
        return open_image(self.path)


def listed(folder: Path) -> list[Unlabelled]:
    """List the images of a folder and the folders in it, sorted.

    Args:
        folder: The folder.

    Returns:
        Two images or more, each file content once.

    Raises:
        UsageError: There is no such folder (``distil_no_images``), or it has no image, or one
            (``distil_one_image``).
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}: --images is a folder of images to learn from", "distil_no_images")
    found: dict[str, Unlabelled] = {}
    for item in collect([str(folder)], recursive=True):
        digest = files.sha256(item.path)
        found.setdefault(digest, Unlabelled(item.path, item.name, digest))
    check_count(len(found), folder)
    return list(found.values())


def check_count(count: int, folder: Path) -> None:
    """Refuse too few images.

    Args:
        count: Images that can be read.
        folder: Where they are.

    Raises:
        UsageError: There is none (``distil_no_images``), or one (``distil_one_image``).
    """
    if count == 0:
        raise UsageError(f"{folder} has no image that can be read", "distil_no_images")
    if count == 1:
        raise UsageError(
            f"{folder} has one image: a student needs some to learn from and another to be measured on",
            "distil_one_image",
        )


def fingerprint(images: Sequence[Unlabelled]) -> str:
    """Hash the names and contents of images, 64 hex digits."""
    return hashlib.sha256(json.dumps([(i.name, i.sha256) for i in images]).encode()).hexdigest()


def split(images: Sequence[Unlabelled], share: float, seed: int) -> tuple[list[Unlabelled], list[Unlabelled]]:
    """Part images into those to learn from and those held out, by the hash of their contents.

    Args:
        images: Two or more.
        share: Of those held out, in 0..1; neither part is empty.
        seed: Another one holds out others.

    Returns:
        To learn from, and held out; both in the order of ``images``.
    """
    order = sorted(images, key=lambda i: hashlib.sha256(f"{seed} {i.sha256}".encode()).digest())
    out = set(order[: min(max(round(share * len(images)), 1), len(images) - 1)])
    return [i for i in images if i not in out], [i for i in images if i in out]


class TeacherEmbeddings:
    """The teacher's embedding of each image, computed once and kept on disk as bfloat16."""

    def __init__(self, teacher: PromptableSegmenter, sha256: str, folder: Path, dtype: str) -> None:
        """Open the embeddings.

        Args:
            teacher: The model.
            sha256: The hash of its weights.
            folder: Where features are kept.
            dtype: What the encoder computes in, ``"float32"`` or ``"bfloat16"``.
        """
        self.teacher, self.dtype = teacher, dtype
        self.store = KeptFeatures(folder, {"model": sha256, "view": teacher.view.key, "dtype": dtype})

    def compute(
        self, images: Sequence[Unlabelled], tell: Callable[[str], None], done: Callable[[], None]
    ) -> Iterator[Unlabelled]:
        """Compute the embeddings that are not there yet, an image at a time.

        Args:
            images: The images.
            tell: Called with a line about each image that cannot be read.
            done: Called after each image.

        Yields:
            The images that can be read.

        Raises:
            OutputError: The disk is full.
        """
        encode, params = jax.jit(self.teacher.features), None
        for image in images:
            try:
                if not self.store.has(image.sha256):
                    picture = gather([image.open()], [self.teacher.view])
                    params = params or jax.device_put(cast(self.teacher.params, self.dtype), jax.local_devices()[0])
                    embedding = encode(params, picture)
                    self.store.put(image.sha256, {EMBEDDING: np.asarray(embedding[0])})
                yield image
            except ImageError as error:
                tell(f"left out: {error}")
            done()

    def get(self, image: Unlabelled) -> NDArray[Any]:
        """Read an embedding [h, w, D] bfloat16 that `compute` made."""
        return self.store.get(image.sha256, EMBEDDING)
