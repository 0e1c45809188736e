"""Masks that were found before, named by a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.formats.rle import decode
from gsam.image import Picture
from gsam.pipeline.ask import Reader
from gsam.pipeline.memory import lean
from gsam.pipeline.prepare import gather
from gsam.pipeline.shapes import bucket
from gsam.roles import Classifier
from gsam.text import Query, parse_queries
from gsam.types import Boxes, Images, Labels, Masks, Params, Scene, Text

CELLS = 64
"""Masks are shown to the classifier on a grid of so many cells a side."""
LEAST = 16
"""Masks are padded to this many, or a power of two."""


class Namer:
    """Gives records of `gsam.MaskGenerator` a ``label`` and a ``label_score``.

    The score is the predicted IoU and the classifier's probability, weighted as the classifier says; what stays below
    ``reject`` is left out.
    """

    def __init__(self, classifier: Classifier, query: Query, reject: float = 0.0) -> None:
        self.classifier, self.queries, self.reject = classifier, parse_queries(query), reject
        self._params = jax.device_put(classifier.params, jax.local_devices()[0])
        self._classify = jax.jit(self._names, compiler_options=lean(jax.local_devices()[0].platform))
        self._text: Any = None

    def __call__(self, pixels: NDArray[np.uint8], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Records of ``output_mode="coco_rle"`` of a picture [H, W, 3], those that are named."""
        if not records:
            return []
        count = max(LEAST, 1 << (len(records) - 1).bit_length())
        boxes, masks = np.zeros((1, count, 4), np.float32), np.full((1, count, CELLS, CELLS), -1, np.float32)
        quality, valid = np.zeros((1, count), np.float32), (np.arange(count) < len(records))[None]
        rows, columns = ((np.arange(CELLS) + 0.5) / CELLS * side for side in pixels.shape[:2])
        at = np.ix_(rows.astype(int), columns.astype(int))
        for i, record in enumerate(records):
            x, y, w, h = record["bbox"]
            boxes[0, i] = x, y, x + w + 1, y + h + 1
            masks[0, i] = 2.0 * decode(record["segmentation"])[at] - 1.0
            quality[0, i] = min(max(record["predicted_iou"], 0.0), 1.0)
        images = gather([Picture(pixels)], [self.classifier.view])
        found = self._classify(self._params, images, self._asked(), boxes, masks, quality, valid)
        index, score, keep = (x[0] for x in jax.device_get(found))
        return [
            {**record, "label": self.queries.labels[index[i]], "label_score": float(score[i])}
            for i, record in enumerate(records)
            if keep[i]
        ]

    def _names(
        self,
        params: Params,
        images: Images,
        text: Text,
        boxes: jax.Array,
        masks: jax.Array,
        quality: jax.Array,
        valid: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Pure: index, score and whether it is kept, of each box [1, N]."""
        scores = jnp.where(text.valid[:, None], quality[..., None], 0.0)
        labels = Labels(jnp.zeros(valid.shape, jnp.int32), quality, scores)
        scene = Scene(images, text, Boxes(boxes, quality, valid), labels, Masks(masks, quality))
        scene = self.classifier.classify(params, scene, text.stages["classify"], text.valid)
        return scene.labels.index, scene.labels.score, scene.boxes.valid

    def _asked(self) -> Text:
        """What is asked, read once."""
        if self._text is None:
            prompts = self.queries.prompts
            count = bucket(len(prompts))
            read = Reader(self.classifier, lambda: self._params).ask([*prompts, *[""] * (count - len(prompts))])
            valid = jnp.arange(count)[None] < len(prompts)
            one = jnp.float32(1.0)
            read = jax.tree.map(lambda x: x[None], read)
            self._text = Text(
                {"classify": read}, valid, jnp.zeros(valid.shape), one, one, one, one, jnp.float32(self.reject)
            )
        return self._text
