"""Features of images as a frozen encoder makes them, computed once and kept on disk."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.files import sha256
from gsam.inputs.image import content, make_view
from gsam.models.promptable import PromptableSegmenter
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures
from gsam.training.segmenter.parts import abstract, one_image
from gsam.types import Images, Params, PyTree


def seen(stage: PromptableSegmenter, pixels: Sequence[NDArray[np.uint8]]) -> Images:
    """Show images to a segmenter.

    Args:
        stage: The segmenter, which has a view.
        pixels: [H, W, 3] uint8 each.

    Returns:
        The batch, arrays of the host.
    """
    view, sizes = stage.view, [(p.shape[0], p.shape[1]) for p in pixels]
    views: Any = np.stack([make_view(np.ascontiguousarray(p), view) for p in pixels])
    parts: Any = np.array([content(view, size) for size in sizes], np.int32)
    whole: Any = np.array(sizes, np.int32)
    return Images({view.key: views}, {view.key: parts}, whole)


class ImageFeatures:
    """Features of the images of a data set, in a folder.

    One file an image, named after the content of the image's file; what another model or another
    view made lies in another folder, so a run that is begun again computes what is missing.
    """

    def __init__(self, stage: PromptableSegmenter, folder: Path, model: str) -> None:
        """Open the store.

        Args:
            stage: The segmenter.
            folder: Where features lie.
            model: Hash of the model's weights.
        """
        self.stage = stage
        self.kept = KeptFeatures(folder, {"model": model, "view": stage.view.key, "kind": "segmenter"})
        self._content: dict[str, str] = {}

    def compute(self, params: Params, entries: Iterable[Entry], *, mirrored: bool) -> Iterator[bool]:
        """Encode the images that are not there yet.

        Args:
            params: All parameters, in the type that is computed in.
            entries: The images.
            mirrored: Whether their mirror images are needed too.

        Yields:
            After each image, whether it had to be encoded.

        Raises:
            ImageError: An image cannot be read.
            OutputError: The disk is full or read-only.
        """
        encode = jax.jit(self.stage.features)
        for entry in entries:
            todo = [flip for flip in (False, True)[: 1 + mirrored] if not self.kept.has(self._name(entry, flip))]
            pixels = entry.open() if todo else None
            for flip in todo:
                assert pixels is not None
                made = encode(params, seen(self.stage, [pixels[:, ::-1] if flip else pixels]))
                arrays = {name: np.asarray(value[0].astype(jnp.float32)) for name, value in _named(made)}
                self.kept.put(self._name(entry, flip), arrays)
            yield bool(todo)

    def get(self, entry: Entry, *, flip: bool = False) -> PyTree:
        """Read the features of an image, or of its mirror image.

        Args:
            entry: The image, which was encoded.
            flip: Whether it is the mirror image's.

        Returns:
            What the model's `features` gives, without the leading axis, bfloat16.
        """
        name = self._name(entry, flip)
        return jax.tree.unflatten(self._structure, [self.kept.get(name, key) for key in self._keys])

    def _name(self, entry: Entry, flip: bool) -> str:
        where = str(entry.path)
        if where not in self._content:
            self._content[where] = sha256(entry.path)
        return f"{self._content[where]}{' mirrored' if flip else ''}"

    @functools.cached_property
    def _like(self) -> PyTree:
        return jax.eval_shape(self.stage.features, abstract(self.stage), one_image(self.stage))

    @functools.cached_property
    def _keys(self) -> list[str]:
        return [name for name, _ in _named(self._like)]

    @functools.cached_property
    def _structure(self) -> Any:
        return jax.tree.structure(self._like)


def _named(features: PyTree) -> list[tuple[str, Any]]:
    """The arrays of a pytree with their paths."""
    found = jax.tree_util.tree_flatten_with_path(features)[0]
    return [(f"features{jax.tree_util.keystr(at)}", value) for at, value in found]
