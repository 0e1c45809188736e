"""Masks that were found before, named by a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.ops.top import take
from gsam.pipeline.limits import Limits
from gsam.pipeline.suppress import deduplicated, not_contained
from gsam.pipeline.text_cache import text_caches
from gsam.results.masks.rle import decode
from gsam.roles import Classifier
from gsam.runtime.batch import gather
from gsam.runtime.program import Program
from gsam.runtime.shapes import power_of_two, query_bucket
from gsam.text.queries import Query, parse_queries
from gsam.types import Boxes, Images, JsonMapping, Labels, Masks, Params, PyTree, Scene, Text, Thresholds

CELLS = 64
"""Masks are shown to the classifier on a grid of so many cells a side."""
LEAST = 16
"""Masks are padded to this many, or a power of two."""


class MaskLabeler:
    """Gives records of `gsam.MaskGenerator` a ``label`` and a ``label_score``.

    The score is the predicted IoU and the classifier's probability, weighted as the classifier
    says; what stays below ``reject`` is left out.  A grid of points finds a thing and its parts; of
    those with one name the best stays, as in a pipeline (`gsam.Limits`): ``nms``, ``duplicate`` and
    ``inside`` say how much two may share.
    """

    def __init__(
        self,
        classifier: Classifier,
        query: Query,
        reject: float = 0.0,
        *,
        nms: float = 0.7,
        duplicate: float = 1.0,
        inside: float = 0.9,
        device: jax.Device | None = None,
    ) -> None:
        self.classifier, self.queries = classifier, parse_queries(query)
        self.limits = Limits(nms=nms, duplicate=duplicate, group=1.0, inside=inside, reject=reject)
        device = device or jax.local_devices()[0]
        self._params = jax.device_put(classifier.params, device)
        self._classify = Program(self._names, device.platform, owner=classifier)
        self._text: Any = None

    def __call__(self, pixels: NDArray[np.uint8], records: Sequence[JsonMapping]) -> list[dict[str, PyTree]]:
        """Records of ``output_mode="coco_rle"`` of a picture [H, W, 3], those that are named, best
        first.
        """
        if not records:
            return []
        count = max(LEAST, power_of_two(len(records)))
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
        found = self._classify(
            self._params, images, self._asked(), self.limits.thresholds, boxes, masks, quality, valid
        )
        rows, index, score, keep = (x[0] for x in jax.device_get(found))
        return [
            {**records[row], "label": self.queries.labels[label], "label_score": float(value)}
            for row, label, value in zip(rows[keep], index[keep], score[keep], strict=True)
        ]

    def _names(
        self,
        params: Params,
        images: Images,
        text: Text,
        thresholds: Thresholds,
        boxes: jax.Array,
        masks: jax.Array,
        quality: jax.Array,
        valid: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Pure: of N boxes, best first, their row, index and score and whether they are kept: [1,
        N] each.
        """
        scores = jnp.where(text.valid[:, None], quality[..., None], 0.0)
        labels = Labels(jnp.zeros(valid.shape, jnp.int32), quality, scores)
        scene = Scene(images, text, thresholds, Boxes(boxes, valid), labels, Masks(masks, quality))
        scene = self.classifier.classify(params, scene, text.stages.get("classify"), text.valid)
        best = deduplicated(scene)
        scene = best.of(scene)
        apart = not_contained(scene)
        scene = apart.of(scene)
        return take(best.rows, apart.rows), scene.labels.index, scene.labels.score, apart.valid

    def _asked(self) -> Text:
        """The encoded queries, computed once."""
        if self._text is None:
            prompts = self.queries.prompts
            count = query_bucket(len(prompts))
            padded = [*prompts, *[""] * (count - len(prompts))]
            groups = [*self.queries.groups, *range(len(prompts), count)]
            caches = text_caches({"classify": self.classifier}, lambda: {"classify": self._params})
            packed = {slot: cache.encode(padded) for slot, cache in caches.items()}
            valid, own = jnp.asarray([[bool(p) for p in padded]]), jnp.asarray([groups], jnp.int32)
            self._text = Text(jax.tree.map(lambda x: x[None], packed), valid, own)
        return self._text
