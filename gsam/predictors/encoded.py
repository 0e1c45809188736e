"""The images that a predictor has encoded: set, forgotten, saved and loaded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from gsam.inputs.image import Source, content, open_image
from gsam.models.promptable import PromptableSegmenter
from gsam.predictors import embedding
from gsam.predictors.current import CurrentImages
from gsam.predictors.embedding import Embedding
from gsam.predictors.encode import Encoder
from gsam.predictors.prompts import Transform
from gsam.runtime.rebuild import Rebuildable
from gsam.types import Images, PyTree

UNSET = "set an image first: predictor.set_image(...)"


class EncodedImages(Rebuildable):
    """The part of `gsam.Predictor` that has to do with images; prompts are the other.

    Threads may share it: each is answered about the images that it set itself.
    """

    model: PromptableSegmenter
    name: str
    _encode: Encoder

    def __init__(self, device: jax.Device) -> None:
        self._device = device
        self._current = CurrentImages()

    def __repr__(self) -> str:
        try:
            sizes = [e.size for e in self._embeddings]
        except RuntimeError:  # of another thread
            sizes = []
        state = f"{len(sizes)} images are set" if len(sizes) > 1 else "no image is set"
        if len(sizes) == 1:
            state = f"an image of {sizes[0][1]} x {sizes[0][0]} is set"
        return f"<{type(self).__name__} {self.name} on {self.device.platform}: {state}>"

    @property
    def device(self) -> jax.Device:
        """The device that images are encoded and prompts are decoded on."""
        return self._device

    def set_image(
        self,
        image: Source,
        image_format: Literal["RGB", "BGR"] = "RGB",
        *,
        stretch: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        """Encode an image, in place of the one before; where that fails, no image is set.

        Every thread sets its own; see `gsam.Predictor`.

        Args:
            image: uint8 [H, W, 3], the path of a file, a PIL image, the bytes of a file, or
                whatever else `gsam.inputs.image.open_image` opens.
            image_format: The order of the channels of an array, ``"RGB"`` or ``"BGR"``.
            stretch: Map the range of values to 0..255, see `gsam.inputs.image.open_image`.
            max_pixels: The largest number of pixels; by default 100 million.

        Raises:
            gsam.errors.ImageError: The image cannot be read.
            ValueError: ``image_format`` is neither, or ``"BGR"`` for something that is no array.

        Example:
            >>> predictor = gsam.Predictor("nano_sam")
            >>> predictor.set_image(np.zeros((60, 80, 3), np.uint8))
            >>> predictor.original_size
            (60, 80)
        """
        self.reset_image()  # what fails must not be answered by the image before
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be 'RGB' or 'BGR', is {image_format!r}")
        if image_format == "BGR":
            if not hasattr(image, "__array__"):
                raise ValueError("image_format='BGR' is for arrays: a file or a PIL image knows its channels")
            array = np.asarray(image)
            image = (
                array[..., [2, 1, 0, *range(3, array.shape[-1])]] if array.ndim == 3 and array.shape[-1] > 2 else array
            )
        self.set_image_batch([image], stretch=stretch, max_pixels=max_pixels)

    def set_image_batch(
        self, images: Sequence[Source], *, stretch: bool = False, max_pixels: int | None = None
    ) -> None:
        """Encode several images, for `predict_batch`.

        Args:
            images: At least one image, each as `set_image` takes it.
            stretch: Map the range of values to 0..255, see `gsam.inputs.image.open_image`.
            max_pixels: The largest number of pixels; by default 100 million.

        Raises:
            gsam.errors.ImageError: An image cannot be read.
            ValueError: There are no images.
        """
        self.reset_image()
        pictures = [open_image(image, stretch=stretch, max_pixels=max_pixels) for image in images]
        if not pictures:
            raise ValueError("no pictures: set_image_batch needs at least one")
        self._current.set(self._encode(pictures))

    def encode(self, image: Source, *, stretch: bool = False, max_pixels: int | None = None) -> Embedding:
        """Encode an image that the caller keeps, for `using`; what is set stays.

        Args:
            image: As `set_image` takes it.
            stretch: Map the range of values to 0..255, see `gsam.inputs.image.open_image`.
            max_pixels: The largest number of pixels; by default 100 million.

        Returns:
            The features of the image, its size and its pixels.

        Raises:
            gsam.errors.ImageError: The image cannot be read.

        Example:
            >>> predictor = gsam.Predictor("nano_sam")
            >>> predictor.encode(np.zeros((60, 80, 3), np.uint8)).size
            (60, 80)
        """
        return self._encode([open_image(image, stretch=stretch, max_pixels=max_pixels)])[0]

    @contextlib.contextmanager
    def using(self, embedding: Embedding) -> Iterator[Self]:
        """Answer this thread about an image of `encode`, instead of the one that it set.

        Any number of images can so be held, by whoever knows which is meant: a server, for
        instance, that has one per client. Other threads notice nothing, and afterwards the thread
        is answered about what it set before.

        Args:
            embedding: Of `encode`, by this predictor.

        Returns:
            A context, in which no image can be set, that gives the predictor.

        Example:
            >>> predictor = gsam.Predictor("nano_sam")
            >>> images = "notebooks/scene.png", np.zeros((60, 80, 3), np.uint8)
            >>> kept = [predictor.encode(image) for image in images]
            >>> for embedding in kept:
            ...     with predictor.using(embedding):
            ...         predictor.predict([[40, 30]], [1]).masks.shape
            (3, 512, 512)
            (3, 60, 80)
        """
        with self._current.using([embedding]):
            yield self

    def set_torch_image(self, transformed_image: ArrayLike, original_image_size: tuple[int, int]) -> None:
        """Encode an image that ``transform.apply_image`` made.

        Args:
            transformed_image: [1, 3, h, w] RGB in 0..255, channels first as in the original.
            original_image_size: Height and width in pixels of the image it was made of.

        Raises:
            ValueError: The shape is not that of this model's view of such an image.
        """
        self.reset_image()
        view, size = self.model.view, (int(original_image_size[0]), int(original_image_size[1]))
        (rows, columns), pixels = content(view, size), np.asarray(transformed_image)
        if pixels.shape != (1, 3, rows, columns):
            raise ValueError(f"this view of {size} is [1, 3, {rows}, {columns}], got {list(pixels.shape)}")
        seen = np.full((1, view.size, view.size, 3), view.pad, np.uint8 if pixels.dtype == np.uint8 else np.float32)
        seen[:, :rows, :columns] = pixels.transpose(0, 2, 3, 1)
        images = Images({view.key: jnp.asarray(seen)}, {view.key: jnp.asarray([[rows, columns]])}, jnp.asarray([size]))
        self._set(Embedding(self._encode.features(images), size, (rows, columns)))

    def reset_image(self) -> None:
        """Forget the image, or images."""
        self._current.set(())

    reset_predictor = reset_image

    @property
    def is_image_set(self) -> bool:
        """Whether an image is set."""
        return bool(self._embeddings)

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self._embedding.size

    @property
    def input_size(self) -> tuple[int, int]:
        """Rows and columns of the model's view that are image, the rest is padding."""
        return self._embedding.content

    @property
    def features(self) -> PyTree:
        """The model's features of the image, a pytree of arrays [1, ...]; they can be set."""
        return self._embedding.features if self._embeddings else None

    @features.setter
    def features(self, features: PyTree) -> None:
        old = self._embedding
        self._set(Embedding(features, old.size, old.content, old.pixels))

    @property
    def transform(self) -> Transform:
        """The map from pixels of an image to those of the view, see `predict_torch`."""
        return Transform(self.model.view)

    def get_image_embedding(self) -> PyTree:
        """Return the features of the image, channels first.

        Returns:
            [1, C, h, w]; for a model with several feature arrays, the same pytree of such arrays.

        Raises:
            RuntimeError: No image is set, or several are.
        """
        return _channels_first(self._embedding.features)

    def get_image_embeddings(self) -> PyTree:
        """Return the features of every image that is set, channels first.

        Returns:
            [B, C, h, w]; for a model with several feature arrays, the same pytree of such arrays.

        Raises:
            RuntimeError: No image is set.
        """
        current = self._embeddings
        if not current:
            raise RuntimeError(UNSET)
        every = [e.features for e in current]
        return _channels_first(jax.tree.map(lambda *parts: jnp.concatenate(parts), *every))

    def save_embedding(self, path: str | os.PathLike[str]) -> Path:
        """Write the features of the image as a ``.safetensors`` file, whole or not at all.

        Args:
            path: The file to write.

        Returns:
            The path.

        Raises:
            RuntimeError: No image is set, or several are.
        """
        embedding.save(self._embedding, Path(path), self._encode.fingerprint)
        return Path(path)

    def load_embedding(self, path: str | os.PathLike[str]) -> None:
        """Set an image by the features that `save_embedding` wrote, with this model in any
        precision.

        Args:
            path: The file.

        Raises:
            gsam.errors.UsageError: The file is damaged, or of another model.
        """
        self.reset_image()
        self._set(embedding.load(Path(path), self._encode.fingerprint))

    def _set(self, one: Embedding) -> None:
        self._current.set([self._encode.completed(one)])

    @property
    def _embeddings(self) -> Sequence[Embedding]:
        return self._current.get()

    @property
    def _embedding(self) -> Embedding:
        current = self._embeddings
        if not current:
            raise RuntimeError(UNSET)
        if len(current) > 1:
            raise RuntimeError(f"{len(current)} pictures are set: predict_batch is for them, or set_image one")
        return current[0]


def _channels_first(features: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 1), features)
