"""The vocabulary of SamPredictor and of SAM2ImagePredictor, so that people switch by the import."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gsam.build.devices import devices_of
from gsam.build.stages import by_name
from gsam.errors import UsageError
from gsam.inputs.image import Source, open_image
from gsam.models.promptable import PromptableSegmenter
from gsam.predictors import prompts
from gsam.predictors.close_ups import CloseUps, CloseUpSettings
from gsam.predictors.decode import BLOCK as BLOCK
from gsam.predictors.decode import Decoder, Masks, Prediction, to_result
from gsam.predictors.embedding import Embedding
from gsam.predictors.encode import Encoder
from gsam.predictors.encoded import UNSET, EncodedImages
from gsam.predictors.pretrained import Pretrained
from gsam.predictors.prompts import CoordinateSpace, PaddedShape, PerPrompt, Prompt
from gsam.results.result import Result

Batch = Sequence[ArrayLike | None] | None
"""One entry per image."""


class Predictor(Pretrained, EncodedImages):
    """Segment an image by points, boxes and earlier masks.

    `set_image` encodes the image once; every `predict` after that costs only the decoder. Names,
    order and shapes of arguments and results are those of the originals, and so are pixels ``x y``
    of the image, ``multimask_output``, the token that pads points without a box, a result without
    any prompt, and [N, ...] inputs of SAM 2 giving [N, ...] results (N = 1 loses its axis).

    The differences: arrays are numpy's, and masks are bool also where SAM 2 gives 0.0 and 1.0;
    images are anything `gsam.inputs.image.open_image` opens; points outside the image, labels other
    than 0 and 1, reversed boxes and numbers that are not finite raise `ValueError` instead of
    giving a mask of something; after `set_image_batch`, `predict` does not pick the last image;
    prompts of one call may differ in kind (`predict_many`); nano's boxes bring themselves, filled,
    as mask prompt. Threads may share a predictor: each is answered about the image it set itself.

    Source: ``segment_anything/predictor.py`` and ``sam2/sam2_image_predictor.py``.

    Args:
        model: Any name of a model that `gsam.segmenter` takes, or a segmenter that is built
            already.
        mask_threshold: Logits above this are mask.
        cache: A folder where the embeddings of images are kept and looked for; None keeps none.
        refine: Whether answers that are small against the view are given again, in a window around
            each that has more pixels: True, or some of ``below``, ``margin``, ``zoom`` and
            ``agree`` (`gsam.predictors.close_ups.CloseUpSettings`).
        device: Where it computes, as in `gsam.load`: the first, if that is several.
        dtype: The type that it computes in, as in `gsam.load`, for a model by name only.
        **settings: Settings of the segmenter, for a model by name only.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model, device or setting, or it answers no prompts.
        TypeError: ``dtype`` or ``settings`` are given for a model that is built already.

    Example:
        >>> predictor = gsam.Predictor("nano_sam")
        >>> predictor.set_image("notebooks/scene.png")
        >>> masks, iou, low_res = predictor.predict(box=[170, 190, 330, 360])
        >>> masks.shape, masks.dtype, iou.shape, low_res.shape
        ((3, 512, 512), dtype('bool'), (3,), (3, 80, 80))
    """

    def __init__(
        self,
        model: str | PromptableSegmenter,
        mask_threshold: float = 0.0,
        *,
        cache: str | os.PathLike[str] | None = None,
        refine: bool | Mapping[str, float] = False,
        device: str | jax.Device | None = None,
        dtype: DTypeLike | None = None,
        **settings: Any,
    ) -> None:
        looks = CloseUpSettings.of(refine)
        place = devices_of(device)[0]
        super().__init__(place)
        built = by_name("segment", model, place, dtype, settings)
        name = model if isinstance(model, str) else type(model).__module__.rsplit(".", 1)[-1]
        if not isinstance(built, PromptableSegmenter):
            hint = (
                ": gsam.FastSAM finds everything first and then selects by points, boxes or text"
                if name.startswith("fast_sam")
                else ""
            )
            raise UsageError(f"{name!r} answers no prompts{hint}")
        self.model = built
        self.name = name
        self.mask_threshold = mask_threshold
        params = jax.device_put(self.model.params, place)
        self._encode = Encoder(self.model, name, params, self.device, None if cache is None else Path(cache))
        self._decode = Decoder(self.model, params, self.device)
        self.close_ups = CloseUps(self.model, self._encode, self._decode, looks) if looks else None

    @property
    def counts(self) -> dict[str, int]:
        """Number of ``pictures`` encoded so far, and of ``windows`` with a second look."""
        if self.close_ups is None:
            return {"pictures": self._encode.encoded}
        windows = self.close_ups.encoded
        return {"pictures": self._encode.encoded - windows, "windows": windows}

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        looks = self.close_ups.compilations if self.close_ups else 0
        return self._encode.compilations + self._decode.compilations + looks

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
        """Predict masks for one prompt on the image, or for N of one form.

        Args:
            point_coords: [P, 2] or [N, P, 2] points x y in pixels of the image; None for no points.
            point_labels: [P] or [N, P], 1 for foreground and 0 for background.
            box: [4] or [N, 4], x0 y0 x1 y1 in pixels of the image; None for no box.
            mask_input: [1, h, w] or [N, 1, h, w] low-resolution logits of an earlier call; None for
                none.
            multimask_output: Whether to return every mask the model has for an ambiguous prompt (C
                = 3 of SAM), or one (C = 1).
            return_logits: Whether masks are float32 logits instead of bool.
            normalize_coords: False if coordinates are in 0..1 already instead of in pixels.

        Returns:
            A `gsam.predictors.decode.Prediction`, which unpacks as three arrays: masks [C, H, W]
            bool, predicted IoU [C] float32 and low-resolution logits [C, h, w] float32, each with N
            in front if N prompts were given and N is not 1.

        Raises:
            RuntimeError: No image is set, or several are.
            ValueError: A prompt has the wrong shape, lies outside the image or is not finite.

        Example:
            >>> predictor = gsam.Predictor("nano_sam")
            >>> predictor.set_image("notebooks/scene.png")
            >>> masks, iou, _ = predictor.predict([[250, 270]], [1], multimask_output=False)
            >>> masks.shape
            (1, 512, 512)
        """
        embedding = self._embedding
        given = prompts.parse_single_or_batch(point_coords, point_labels, box, mask_input)
        checked = prompts.check_prompts(given, self._space(embedding, normalize_coords))
        return self._predict(embedding, checked, multimask_output, return_logits).squeezed()

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
        """Predict masks for N prompts of any form, each answered as if it were alone.

        All results are there at once; `predict_each` holds few of them.

        Args:
            point_coords: One entry per prompt as `predict` takes it, or None: rows of an array, or
                a list.
            point_labels: The same, [P] each.
            boxes: The same, [4] each.
            mask_input: The same, [1, h, w] each.
            multimask_output: Whether to return every mask the model has for an ambiguous prompt.
            return_logits: Whether masks are float32 logits instead of bool.
            normalize_coords: False if coordinates are in 0..1 already instead of in pixels.

        Returns:
            A `gsam.predictors.decode.Prediction`: masks [N, C, H, W], predicted IoU [N, C] and
            low-resolution logits [N, C, h, w].

        Raises:
            RuntimeError: No image is set, or several are.
            ValueError: A prompt has the wrong shape, lies outside the image or is not finite.

        Example:
            >>> predictor = gsam.Predictor("nano_sam")
            >>> predictor.set_image("notebooks/scene.png")
            >>> masks, _, _ = predictor.predict_many(
            ...     point_coords=[[[250, 270]], None], point_labels=[[1], None],
            ...     boxes=[None, [170, 190, 330, 360]], multimask_output=False)
            >>> masks.shape
            (2, 1, 512, 512)
        """
        embedding = self._embedding
        given = prompts.parse_per_prompt(point_coords, point_labels, boxes, mask_input)
        checked = prompts.check_prompts(given, self._space(embedding, normalize_coords))
        return self._predict(embedding, checked, multimask_output, return_logits)

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
        """Predict masks for N prompts in bounded memory, whatever N.

        Args:
            point_coords: One entry per prompt as `predict` takes it, or None: rows of an array, or
                a list.
            point_labels: The same, [P] each.
            boxes: The same, [4] each.
            mask_input: The same, [1, h, w] each.
            multimask_output: Whether to return every mask the model has for an ambiguous prompt.
            return_logits: Whether masks are float32 logits instead of bool.
            normalize_coords: False if coordinates are in 0..1 already instead of in pixels.

        Returns:
            An iterator over one `gsam.predictors.decode.Prediction` per prompt, in order: masks [C,
            H, W], predicted IoU [C] and low-resolution logits [C, h, w].

        Raises:
            RuntimeError: No image is set, or several are.
            ValueError: A prompt has the wrong shape, lies outside the image or is not finite.
        """
        embedding = self._embedding
        given = prompts.parse_per_prompt(point_coords, point_labels, boxes, mask_input)
        checked = prompts.check_prompts(given, self._space(embedding, normalize_coords))
        shape = PaddedShape.of([checked], BLOCK)
        answers = self._decode.decode_each(
            embedding, checked, shape, threshold=self.mask_threshold, multimask=multimask_output, logits=return_logits
        )
        pairs = zip(checked, answers, strict=True)
        return (self._closer(embedding, [prompt], one.alone(), return_logits).squeezed() for prompt, one in pairs)

    def predict_torch(
        self,
        point_coords: ArrayLike | None,
        point_labels: ArrayLike | None,
        boxes: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Prediction:
        """Predict masks for prompts in coordinates of the view: for code that is ported.

        Args:
            point_coords: [N, P, 2] as ``transform.apply_coords`` gives them; None for no points.
            point_labels: [N, P], 1 for foreground and 0 for background.
            boxes: [N, 4] as ``transform.apply_boxes`` gives them; None for no boxes.
            mask_input: [N, 1, h, w] low-resolution logits of an earlier call; None for none.
            multimask_output: Whether to return every mask the model has for an ambiguous prompt.
            return_logits: Whether masks are float32 logits instead of bool.

        Returns:
            A `gsam.predictors.decode.Prediction`: masks [N, C, H, W], predicted IoU [N, C] and
            low-resolution logits [N, C, h, w].

        Raises:
            RuntimeError: No image is set, or several are.
            ValueError: A prompt has the wrong shape, lies outside the image or is not finite.
        """
        embedding = self._embedding
        given = prompts.parse_per_prompt(point_coords, point_labels, boxes, mask_input)
        checked = prompts.check_prompts(given, self._space(embedding, None))
        return self._predict(embedding, checked, multimask_output, return_logits)

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
        """Predict masks on every image of `set_image_batch`.

        Args:
            point_coords_batch: One entry per image as `predict` takes it, or None for no points.
            point_labels_batch: The same for the labels of points.
            box_batch: The same for boxes.
            mask_input_batch: The same for low-resolution logits of earlier calls.
            multimask_output: Whether to return every mask the model has for an ambiguous prompt.
            return_logits: Whether masks are float32 logits instead of bool.
            normalize_coords: False if coordinates are in 0..1 already instead of in pixels.

        Returns:
            Three lists with one entry per image: masks, predicted IoU and low-resolution logits,
            shaped as `predict` returns them.

        Raises:
            RuntimeError: No image is set.
            ValueError: The lists are not as long as there are images, or a prompt is not valid.
        """
        current = self._embeddings
        if not current:
            raise RuntimeError(UNSET)
        batches = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        for batch in batches:
            if batch is not None and len(batch) != len(current):
                raise ValueError(f"prompts for {len(batch)} pictures, but {len(current)} are set")
        every = []
        for i, embedding in enumerate(current):
            given = prompts.parse_single_or_batch(*(None if batch is None else batch[i] for batch in batches))
            every.append(prompts.check_prompts(given, self._space(embedding, normalize_coords)))
        shape = PaddedShape.of(every, BLOCK)  # one program for all
        found = [
            self._predict(embedding, checked, multimask_output, return_logits, shape).squeezed()
            for embedding, checked in zip(current, every, strict=True)
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
        """Turn what `predict` or `predict_many` returned into a `gsam.Result`, to plot, filter or
        save.

        Args:
            prediction: Masks, predicted IoU and low-resolution logits as returned.
            labels: One label per mask that is kept; by default numbers from 1.
            every: Whether to keep all masks of a prompt instead of the one with the best predicted
                IoU.
            image: The image, where only its embedding was loaded.

        Returns:
            The masks as objects of the image.

        Raises:
            RuntimeError: No image is set, or only an embedding was loaded and ``image`` is missing.
            ValueError: Masks are not of the size of the image.

        Example:
            >>> predictor = gsam.Predictor("nano_sam")
            >>> predictor.set_image("notebooks/scene.png")
            >>> result = predictor.to_result(predictor.predict(box=[170, 190, 330, 360]), ["dog"])
            >>> result.labels, len(result)
            (['dog'], 1)
        """
        pixels = self._embedding.pixels if image is None else open_image(image).pixels
        if pixels is None:
            raise RuntimeError("only an embedding was loaded: give the picture as image=")
        given, iou, _ = prediction
        masks: np.ndarray = given if given.dtype == np.bool_ else given > self.mask_threshold
        return to_result(pixels, masks, iou, labels, self.name, every=every)

    def _space(self, embedding: Embedding, normalise: bool | None) -> CoordinateSpace:
        """Coordinates in pixels of the image, or in 0..1 without ``normalise``; None: of the
        view.
        """
        size = embedding.content if normalise is None else embedding.size if normalise else (1, 1)
        mask_size = lambda: self._decode.low_res_shape(embedding, False)[1:]  # noqa: E731
        model = self.model
        return CoordinateSpace(
            size, embedding.content, model.prompt_types, mask_size, model.max_points, model.pads_boxes
        )

    def _predict(
        self,
        embedding: Embedding,
        checked: Sequence[Prompt],
        multimask: bool,
        logits: bool,
        shape: PaddedShape | None = None,
    ) -> Prediction:
        shape = shape or PaddedShape.of([checked], BLOCK)
        found = self._decode.decode_all(
            embedding, checked, shape, threshold=self.mask_threshold, multimask=multimask, logits=logits
        )
        return self._closer(embedding, checked, found, logits)

    def _closer(self, embedding: Embedding, checked: Sequence[Prompt], found: Prediction, logits: bool) -> Prediction:
        """Look again, where that is wanted."""
        if self.close_ups is None:
            return found
        return self.close_ups(embedding, checked, found, threshold=self.mask_threshold, logits=logits)
