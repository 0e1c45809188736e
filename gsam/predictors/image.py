"""`Predictor`: the vocabulary of SamPredictor and of SAM2ImagePredictor, so that people switch by the import."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gsam.build import segmenter
from gsam.errors import UsageError
from gsam.inputs.image import Source, content, open_image
from gsam.models.promptable import PromptableSegmenter
from gsam.predictors import embedding, prompts
from gsam.predictors.decode import BLOCK as BLOCK
from gsam.predictors.decode import Decoder, Masks, Prediction, result
from gsam.predictors.embedding import Embedding
from gsam.predictors.encode import Encoder
from gsam.predictors.prompts import CoordinateSpace, PaddedShape, PerPrompt, Prompt, Transform
from gsam.results.result import Result
from gsam.types import Images

Batch = Sequence[ArrayLike | None] | None
"""One entry a picture."""
UNSET = "set an image first: predictor.set_image(...)"


class Predictor:
    """Segment a picture by points, boxes and earlier masks.

    `set_image` encodes it; every `predict` after that costs only the decoder.  As in the originals: names, order and shapes of
    arguments and results, pixels ``x y`` of the picture, multimask_output, the token that pads points without a box, a
    result without any prompt, and [N, ...] inputs of SAM 2 giving [N, ...] results (N = 1 loses its axis).

    What differs: arrays are numpy's, masks bool also where SAM 2 gives 0.0 and 1.0; pictures are anything
    `gsam.inputs.image.open_image` opens; points outside the picture, labels other than 0 and 1, reversed boxes and numbers that are
    not finite raise `ValueError` instead of giving a mask of something; after `set_image_batch`, `predict` does not pick the
    last picture; prompts of one call may differ in kind and number of points (`predict_many`).  Counts are padded to
    powers of two, so that few programs are compiled, and padding changes no result.  nano's boxes bring their filled selves
    as mask prompt, unless another is given.
    """

    def __init__(
        self,
        model: str | PromptableSegmenter,
        mask_threshold: float = 0.0,
        *,
        cache: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        """``model``: a name as for `gsam.segmenter`, which ``settings`` are for, or a segmenter.

        ``mask_threshold``: logits above it are mask.  ``cache``: a folder where the embeddings of pictures are kept and
        looked for.
        """
        if settings and not isinstance(model, str):
            raise TypeError(f"{next(iter(settings))!r} is for a model by name: this one is built already")
        self.model = cast(PromptableSegmenter, segmenter(model, **settings)) if isinstance(model, str) else model
        name = model if isinstance(model, str) else type(model).__module__.rsplit(".", 1)[-1]
        if not hasattr(self.model, "prompt"):
            hint = (
                ": gsam.FastSAM finds everything first and then selects by points, boxes or text"
                if name.startswith("fast_sam")
                else ""
            )
            raise UsageError(f"{name!r} answers no prompts{hint}")
        self.name = name
        self.mask_threshold = mask_threshold
        params = jax.device_put(self.model.params)
        self._encode = Encoder(self.model, name, params, self.device, None if cache is None else Path(cache))
        self._decode = Decoder(self.model, params, self.device)
        self._pictures: list[Embedding] = []

    @classmethod
    def from_pretrained(cls, model_id: str, **settings: Any) -> Self:
        """The same as ``Predictor(model_id)``."""
        return cls(model_id, **settings)

    @property
    def device(self) -> jax.Device:
        return jax.local_devices()[0]

    # Pictures

    def set_image(self, image: Source, image_format: Literal["RGB", "BGR"] = "RGB") -> None:
        """Encode a picture: uint8 [H, W, 3], of which ``image_format`` tells the channels, or a path, a PIL image, bytes."""
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be 'RGB' or 'BGR', is {image_format!r}")
        if image_format == "BGR":
            if not isinstance(image, np.ndarray):
                raise ValueError("image_format='BGR' is for arrays: a file or a PIL image knows its channels")
            image = image[..., ::-1]
        self.set_image_batch([image])

    def set_image_batch(self, images: Sequence[Source]) -> None:
        """Encode several pictures, for `predict_batch`."""
        pictures = [open_image(image) for image in images]
        if not pictures:
            raise ValueError("no pictures: set_image_batch needs at least one")
        self.reset_image()
        self._pictures = self._encode(pictures)

    def set_torch_image(self, transformed_image: ArrayLike, original_image_size: tuple[int, int]) -> None:
        """Encode a picture that ``transform.apply_image`` made of one of ``original_image_size`` (H, W).

        [1, 3, h, w] RGB in 0..255, channels first as in the original.
        """
        view, size = self.model.view, (int(original_image_size[0]), int(original_image_size[1]))
        (rows, columns), pixels = content(view, size), np.asarray(transformed_image)
        if pixels.shape != (1, 3, rows, columns):
            raise ValueError(f"this view of {size} is [1, 3, {rows}, {columns}], got {list(pixels.shape)}")
        seen = np.full((1, view.size, view.size, 3), view.pad, np.uint8 if pixels.dtype == np.uint8 else np.float32)
        seen[:, :rows, :columns] = pixels.transpose(0, 2, 3, 1)
        images = Images({view.key: jnp.asarray(seen)}, {view.key: jnp.asarray([[rows, columns]])}, jnp.asarray([size]))
        self.reset_image()
        self._pictures = [Embedding(self._encode.features(images), size, (rows, columns))]

    def reset_image(self) -> None:
        """Forget the picture, or pictures."""
        self._pictures = []

    reset_predictor = reset_image

    @property
    def is_image_set(self) -> bool:
        return bool(self._pictures)

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self._picture.size

    @property
    def input_size(self) -> tuple[int, int]:
        """Rows and columns of the model's view that are picture."""
        return self._picture.content

    @property
    def features(self) -> Any:
        """What the model computed of the picture: any pytree of arrays [1, ...].  It can be set, to what it was before."""
        return self._picture.features if self._pictures else None

    @features.setter
    def features(self, features: Any) -> None:
        old = self._picture
        self._pictures = [Embedding(features, old.size, old.content, old.pixels)]

    @property
    def transform(self) -> Transform:
        """From pixels of a picture to those of the view, for `predict_torch` and `set_torch_image`."""
        return Transform(self.model.view)

    def get_image_embedding(self) -> Any:
        """The features of the picture, channels first: [1, C, h, w].  Of a model with several arrays, the same of each."""
        return _channels_first(self._picture.features)

    def get_image_embeddings(self) -> Any:
        """The same of every picture that is set: [B, C, h, w]."""
        if not self._pictures:
            raise RuntimeError(UNSET)
        every = [p.features for p in self._pictures]
        return _channels_first(jax.tree.map(lambda *parts: jnp.concatenate(parts), *every))

    def save_embedding(self, path: str | os.PathLike[str]) -> Path:
        """Write what `set_image` computed as a ``.safetensors`` file, whole or not at all."""
        embedding.save(self._picture, Path(path), self._encode.owner)
        return Path(path)

    def load_embedding(self, path: str | os.PathLike[str]) -> None:
        """Instead of `set_image`: what `save_embedding` wrote, with this model in any precision.

        Raises `gsam.errors.UsageError` for a file that is damaged, or of another model.
        """
        self._pictures = [embedding.load(Path(path), self._encode.owner)]

    @property
    def counts(self) -> dict[str, int]:
        """How many ``pictures`` were encoded so far, and how many ``programs`` compiled."""
        programs = self._encode.programs + self._decode.programs
        return {"pictures": self._encode.encoded, "programs": programs}

    # Prompts

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """One prompt on the picture, or N of one form.

        ``point_coords`` [P, 2] x y with ``point_labels`` [P], 1 foreground and 0 background; ``box`` [4] x0 y0 x1 y1;
        ``mask_input`` [1, h, w], low-resolution logits of an earlier call.  All may have N in front, and so has the result if
        N is not 1.  ``normalize_coords``: coordinates are pixels and still to be normalised; False if they are in 0..1
        already.  C is what the model gives for an ambiguous prompt, 3 of SAM, or 1 without ``multimask_output``.
        """
        picture = self._picture
        given = prompts.parse_single_or_batch(point_coords, point_labels, box, mask_input)
        asked = prompts.read(given, self._frame(picture, normalize_coords))
        return self._answer(picture, asked, multimask_output, return_logits).squeezed()

    def predict_many(
        self,
        point_coords: PerPrompt | None = None,
        point_labels: PerPrompt | None = None,
        boxes: PerPrompt | None = None,
        mask_input: PerPrompt | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """N prompts of any form on the picture, each answered as if it were alone.

        Each argument has one entry a prompt, as `predict` takes it, or None: rows of an array, or a list.  Results have N in
        front.  They are all there at once; `predict_each` holds `BLOCK` of them.
        """
        picture = self._picture
        given = prompts.several(point_coords, point_labels, boxes, mask_input)
        asked = prompts.read(given, self._frame(picture, normalize_coords))
        return self._answer(picture, asked, multimask_output, return_logits)

    def predict_each(
        self,
        point_coords: PerPrompt | None = None,
        point_labels: PerPrompt | None = None,
        boxes: PerPrompt | None = None,
        mask_input: PerPrompt | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Iterator[Prediction]:
        """`predict_many` in bounded memory, whatever N: one prompt's result after the other."""
        picture = self._picture
        given = prompts.several(point_coords, point_labels, boxes, mask_input)
        asked = prompts.read(given, self._frame(picture, normalize_coords))
        room = PaddedShape.of([asked], BLOCK)
        return self._decode.each(
            picture, asked, room, threshold=self.mask_threshold, multimask=multimask_output, logits=return_logits
        )

    def predict_torch(
        self,
        point_coords: ArrayLike | None,
        point_labels: ArrayLike | None,
        boxes: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Prediction:
        """`predict_many` in coordinates that ``transform.apply_coords`` and ``apply_boxes`` gave: for code that is ported."""
        picture = self._picture
        given = prompts.several(point_coords, point_labels, boxes, mask_input)
        asked = prompts.read(given, self._frame(picture, None))
        return self._answer(picture, asked, multimask_output, return_logits)

    def predict_batch(
        self,
        point_coords_batch: Batch = None,
        point_labels_batch: Batch = None,
        box_batch: Batch = None,
        mask_input_batch: Batch = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[Masks], list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """`predict` for every picture of `set_image_batch`: lists with one entry a picture, in and out."""
        if not self._pictures:
            raise RuntimeError(UNSET)
        batches = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        for batch in batches:
            if batch is not None and len(batch) != len(self._pictures):
                raise ValueError(f"prompts for {len(batch)} pictures, but {len(self._pictures)} are set")
        every = []
        for i, picture in enumerate(self._pictures):
            given = prompts.parse_single_or_batch(*(None if batch is None else batch[i] for batch in batches))
            every.append(prompts.read(given, self._frame(picture, normalize_coords)))
        room = PaddedShape.of(every, BLOCK)  # one program for all
        found = [
            self._answer(picture, asked, multimask_output, return_logits, room).squeezed()
            for picture, asked in zip(self._pictures, every, strict=True)
        ]
        return [p.masks for p in found], [p.iou for p in found], [p.low_res for p in found]

    def to_result(
        self,
        prediction: tuple[Masks, NDArray[np.float32], NDArray[np.float32]],
        labels: Sequence[str] | None = None,
        *,
        every: bool = False,
        image: Source | None = None,
    ) -> Result:
        """What `predict` or `predict_many` gave as a `gsam.Result`: to look at, to filter, to save.

        Of each prompt the mask with the best estimate, or all with ``every``; ``labels``, one a mask kept, are numbers from 1
        by default.  ``image``: the picture, where only its embedding was loaded.
        """
        pixels = self._picture.pixels if image is None else open_image(image).pixels
        if pixels is None:
            raise RuntimeError("only an embedding was loaded: give the picture as image=")
        given, iou, _ = prediction
        masks: NDArray[Any] = given if given.dtype == np.bool_ else given > self.mask_threshold
        masks, iou = masks.reshape(-1, *masks.shape[-3:]), iou.reshape(-1, iou.shape[-1])
        if masks.shape[-2:] != pixels.shape[:2]:
            raise ValueError(f"masks of {list(masks.shape[-2:])} are not of this picture, {list(pixels.shape[:2])}")
        if not every and len(iou):
            best = iou.argmax(1)[:, None]
            iou = np.take_along_axis(iou, best, 1)
            masks = np.take_along_axis(masks, best[..., None, None], 1)
        return result(pixels, masks, iou, labels, self.name)

    # Within

    @property
    def _picture(self) -> Embedding:
        if not self._pictures:
            raise RuntimeError(UNSET)
        if len(self._pictures) > 1:
            raise RuntimeError(f"{len(self._pictures)} pictures are set: predict_batch is for them, or set_image one")
        return self._pictures[0]

    def _frame(self, picture: Embedding, normalise: bool | None) -> CoordinateSpace:
        """Of coordinates in pixels of the picture, in 0..1 where they are not to be normalised, None: in pixels of the view."""
        size = picture.content if normalise is None else picture.size if normalise else (1, 1)
        side = lambda: self._decode.low(picture, False)[1:]  # noqa: E731
        return CoordinateSpace(
            size, picture.content, self.model.takes, side, self.model.max_points, self.model.pads_boxes
        )

    def _answer(
        self,
        picture: Embedding,
        asked: Sequence[Prompt],
        multimask: bool,
        logits: bool,
        room: PaddedShape | None = None,
    ) -> Prediction:
        room = room or PaddedShape.of([asked], BLOCK)
        threshold = self.mask_threshold
        return self._decode.together(picture, asked, room, threshold=threshold, multimask=multimask, logits=logits)


def _channels_first(features: Any) -> Any:
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 1), features)
