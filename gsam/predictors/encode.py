"""Encode images into embeddings, several at a time, or find them in a folder."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.image import Picture, content
from gsam.models.promptable import PromptableSegmenter
from gsam.predictors import embedding
from gsam.predictors.embedding import Embedding, ModelFingerprint
from gsam.runtime.batch import gather, image_fingerprint
from gsam.runtime.program import Program
from gsam.runtime.shapes import images_per_call, power_of_two
from gsam.types import Images, Params, PyTree

BATCH = 8
"""Images that one call encodes."""


class Encoder:
    """A model's image side, compiled."""

    def __init__(
        self, model: PromptableSegmenter, name: str, params: Params, device: jax.Device, cache: Path | None
    ) -> None:
        """``cache``: a folder where embeddings are kept and looked for."""
        self.model, self.name, self.cache = model, name, cache
        self.encoded = 0
        """Number of images encoded so far."""
        self._params, self._device = params, device
        self._embed = Program(model.features, device.platform, owner=model)
        self._split = Program(self._unstack, device.platform)
        self._project = Program(model.project, device.platform, owner=model)
        self._projects: bool | None = None

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return self._embed.compilations + self._split.compilations + self._project.compilations

    def __call__(self, pictures: Sequence[Picture]) -> list[Embedding]:
        """Encode pictures, several in one call, in powers of two so that programs are few."""
        found = [self._load(picture) for picture in pictures]
        fresh = self.fresh([picture for picture, known in zip(pictures, found, strict=True) if known is None])
        for one in fresh:
            self._save(one)
        rest = iter(fresh)
        return [next(rest) if known is None else known for known in found]

    def fresh(self, pictures: Sequence[Picture]) -> list[Embedding]:
        """Encode pictures, whatever the folder holds."""
        view = self.model.view
        batch_size = images_per_call(BATCH, [view], [self._device])
        fresh: list[Embedding] = []
        for start in range(0, len(pictures), batch_size):
            batch = list(pictures[start : start + batch_size])
            count = power_of_two(len(batch))
            features = self.features(gather([*batch, *[batch[-1]] * (count - len(batch))], [view]), len(batch))
            for picture, own in zip(batch, [features] if count == 1 else self._split(features), strict=False):
                height, width = picture.pixels.shape[:2]
                size = height, width
                fresh.append(self.completed(Embedding(own, size, content(view, size), picture.pixels)))
        return fresh

    def features(self, images: Images, count: int = 1) -> PyTree:
        """Encode a batch, the first ``count`` images of which are real."""
        self.encoded += count
        return self._embed(self._params, images)

    def completed(self, known: Embedding) -> Embedding:
        """Add what prompts without a mask share, by one program wherever the features are from."""
        if self._projects is None:
            self._projects = self._project.eval_shape(self._params, known.features) is not None
        return (
            dataclasses.replace(known, projected=self._project(self._params, known.features))
            if self._projects
            else known
        )

    @functools.cached_property
    def fingerprint(self) -> ModelFingerprint:
        """The model, as the files of its embeddings know it."""
        return ModelFingerprint(self.name, embedding.fingerprint(self.model), self.model.view, self._like)

    @functools.cached_property
    def _like(self) -> PyTree:
        """The pytree of features, as shapes and dtypes."""
        view = self.model.view
        pair: Any = jax.ShapeDtypeStruct((1, 2), jnp.int32)
        pixels: Any = jax.ShapeDtypeStruct((1, view.size, view.size, 3), view.dtype)
        return self._embed.eval_shape(self._params, Images({view.key: pixels}, {view.key: pair}, pair))

    def _load(self, picture: Picture) -> Embedding | None:
        if self.cache is None:
            return None
        path = self._path(self.cache, picture.pixels)
        try:
            known = embedding.load(path, self.fingerprint) if path.is_file() else None
        except (UsageError, OSError):  # damaged: it will be written anew
            return None
        return None if known is None else self.completed(dataclasses.replace(known, pixels=picture.pixels))

    def _save(self, fresh: Embedding) -> None:
        if self.cache is not None and fresh.pixels is not None:
            with contextlib.suppress(OSError):  # full or read-only
                embedding.save(fresh, self._path(self.cache, fresh.pixels), self.fingerprint)

    def _path(self, folder: Path, pixels: NDArray[np.uint8]) -> Path:
        kind = "-".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(self.fingerprint.like)}))
        return folder / f"{self.fingerprint.digest}-{image_fingerprint(pixels).hex()}-{kind}.safetensors"

    def _unstack(self, features: PyTree) -> list[Any]:
        """Pure: cut [B, ...] into B times [1, ...]."""
        count = jax.tree.leaves(features)[0].shape[0]
        return [jax.tree.map(lambda x, i=i: x[i : i + 1], features) for i in range(count)]
