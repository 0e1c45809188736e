"""The objects that were found in one image, as the user holds them. numpy and Pillow only."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.results.masks.box_clipped import BoxClippedMasks as BoxClippedMasks
from gsam.results.masks.cropped import CroppedMasks as CroppedMasks
from gsam.results.masks.low_res import LowResMasks as LowResMasks
from gsam.results.masks.rle import Rle
from gsam.results.masks.windowed import WindowedMasks as WindowedMasks
from gsam.types import Json

if TYPE_CHECKING:
    from PIL import Image

Index = slice | Sequence[int] | np.ndarray | int | str


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """N objects of one image: boxes, masks, labels and scores, best first.

    Index it like an array, ``result[result.scores > 0.5]``, ``result[:3]``, or by a label,
    ``result["dog"]``. A loop gives one object at a time, with ``label``, ``score``, ``box`` and
    ``area``. Boxes and masks are in pixels of the upright image, boxes exclusive right and bottom.

    Example:
        >>> result = gsam.load("nano")("notebooks/scene.png", "dog. pizza")
        >>> sorted(set(result.labels))
        ['dog', 'pizza']
        >>> result[result.labels.index("pizza")].masks.shape
        (1, 512, 512)
        >>> [one.label for one in result["dog"]]
        ['dog']
    """

    pixels: NDArray[np.uint8]
    """[H, W, 3] uint8 RGB, upright."""
    queries: list[str]
    """The queries, in the user's words."""
    xyxy: NDArray[np.float32]
    """[N, 4] float32 boxes x0 y0 x1 y1 in pixels, exclusive right and bottom."""
    labels: list[str]
    """[N] labels, the user's words."""
    label_ids: NDArray[np.int64]
    """[N] int64, rows of ``queries``."""
    scores: NDArray[np.float32]
    """[N] float32 in 0..1."""
    mask_scores: NDArray[np.float32]
    """[N] float32, the segmenter's own estimate of the quality of its masks."""
    low_res: LowResMasks | BoxClippedMasks | CroppedMasks | WindowedMasks | None = None
    """The masks in the small form in which they left the device; None without a segmenter."""
    image: str | None = None
    """The file's name, if there was one."""
    pipeline: str = "custom"
    """The name of the pipeline."""
    tokens: list[str] = dataclasses.field(default_factory=list)
    """[T] words of the caption as the detector read it, if it reads the queries as one."""
    token_scores: NDArray[np.float32] | None = None
    """[N, T] in 0..1: how well each object fits each of ``tokens``."""
    query_labels: list[str] = dataclasses.field(default_factory=list)
    """The label of each of ``queries``; empty where these are the queries themselves."""

    def __post_init__(self) -> None:
        n = len(self.labels)
        shapes = {"xyxy": self.xyxy.shape, "label_ids": self.label_ids.shape, "scores": self.scores.shape}
        if shapes != {"xyxy": (n, 4), "label_ids": (n,), "scores": (n,)} or self.mask_scores.shape != (n,):
            raise ValueError(f"{n} labels do not go with {shapes}, mask_scores {self.mask_scores.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """[N, H, W] bool; without a segmenter, the boxes filled.

        Made anew each time, so hold on to it.
        """
        masks = np.empty((len(self), *self.size), bool)
        for i in range(len(self)):
            masks[i] = self.mask(i)
        return masks

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """[N, H, W] float32: what is cut at the mask threshold to make `masks`.

        Raises `ValueError` without a segmenter.
        """
        if self.low_res is None:
            raise ValueError("this pipeline has no segmenter, so there are no mask logits")
        return self.low_res.logits_full()

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Make the mask of one object.

        Args:
            i: The row of the object.

        Returns:
            [H, W] bool; without a segmenter, the box filled.
        """
        if self.low_res is not None:
            return self.low_res.mask_of(i)
        mask = np.zeros(self.size, bool)
        x0, y0, x1, y1 = np.round(self.xyxy[i]).astype(int)
        mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        return mask

    @functools.cached_property
    def rles(self) -> list[Rle]:
        """[N] masks as COCO run lengths, small enough to keep: what is written and drawn."""
        from gsam.results.masks.rle import encode

        return [encode(self.mask(i)) for i in range(len(self))]

    @functools.cached_property
    def areas(self) -> list[int]:
        """[N] pixels of each mask."""
        from gsam.results.masks.rle import area

        return [area(rle) for rle in self.rles]

    @property
    def label(self) -> str:
        """The label of the only object.  Raises `AttributeError` where there is not exactly one."""
        self._only("label")
        return self.labels[0]

    @property
    def score(self) -> float:
        """The score of the only object, in 0..1.  Raises as `label` does."""
        self._only("score")
        return float(self.scores[0])

    @property
    def box(self) -> NDArray[np.float32]:
        """The box [4] of the only object, x0 y0 x1 y1 in pixels.  Raises as `label` does."""
        self._only("box")
        return self.xyxy[0]

    @property
    def area(self) -> int:
        """The area of the only object's mask in pixels.  Raises as `label` does."""
        self._only("area")
        return self.areas[0]

    def _only(self, name: str) -> None:
        if len(self) != 1:
            many = {"label": "labels", "score": "scores", "box": "xyxy", "area": "areas"}[name]
            raise AttributeError(f"{len(self)} objects have no one {name}: see {many}, or loop: for one in result")

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Result:
        if isinstance(index, str):
            index = self._labelled(index)
        if not isinstance(index, slice | int):
            index = np.asarray(index)
            index = index.astype(int) if index.size == 0 else index
        rows = np.atleast_1d(np.arange(len(self))[index])
        return dataclasses.replace(
            self,
            xyxy=self.xyxy[rows],
            labels=[self.labels[i] for i in rows],
            label_ids=self.label_ids[rows],
            scores=self.scores[rows],
            mask_scores=self.mask_scores[rows],
            low_res=None if self.low_res is None else self.low_res[rows],
            token_scores=None if self.token_scores is None else self.token_scores[rows],
        )

    def _labelled(self, label: str) -> list[int]:
        """The rows of a label, none where it was asked for and not found."""
        known = list(dict.fromkeys([*self.labels, *(self.query_labels or self.queries), *self.queries]))
        if label not in known:
            near = difflib.get_close_matches(label, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, known)) or 'none'}"
            raise UsageError(f"no label {label!r} in this result; {hint}", "label_unknown")
        return [i for i, own in enumerate(self.labels) if own == label]

    def __repr__(self) -> str:
        counts = {label: self.labels.count(label) for label in dict.fromkeys(self.labels)}
        found = ", ".join(f"{n} {label}" for label, n in counts.items()) or "nothing"
        return f"<Result {self.image or 'picture'} {self.size[1]} x {self.size[0]}: {found}>"

    def plot(self, *, fill: float | None = None) -> Image.Image:
        """Draw outlines, boxes and labels over the image.

        Args:
            fill: Opacity of the colour inside masks: 0 for outlines only, 1 for solid masks; by
                default a light tint, through which a thing keeps its own colour.

        Returns:
            An RGB image of the size of the original.

        Raises:
            gsam.errors.UsageError: ``fill`` is out of range.

        Example:
            >>> result = gsam.load("nano")("notebooks/scene.png", "dog. pizza")
            >>> result.plot().size
            (512, 512)
        """
        from gsam.results.draw.outline import TINT
        from gsam.results.draw.overlay import draw

        if fill is not None and not 0 <= fill <= 1:
            raise UsageError(f"fill is an opacity from 0 to 1, not {fill!r}")
        asked = self.query_labels or self.queries
        opacity = TINT if fill is None else fill
        return draw(self.pixels, self.xyxy, self.labels, self.scores, self.rles, asked, fill=opacity)

    def to_dict(self) -> Json:
        """Describe the objects as plain values for JSON: see `gsam.results.formats.scene_json`.

        Returns:
            A dictionary with the image, its size, the pipeline, the queries and one entry per
            object, whose mask is a COCO run length.

        Example:
            >>> result = gsam.load("nano")("notebooks/scene.png", "pizza")
            >>> segment = result.to_dict()["segments"][0]
            >>> segment["label"], segment["mask"]["size"]
            ('pizza', [512, 512])
        """
        from gsam.results.formats.scene_json import scene_dict

        return scene_dict(
            image=self.image,
            size=self.size,
            pipeline=self.pipeline,
            queries=self.queries,
            query_labels=self.query_labels,
            labels=self.labels,
            label_ids=self.label_ids,
            scores=self.scores,
            mask_scores=self.mask_scores,
            xyxy=self.xyxy,
            areas=self.areas,
            rles=self.rles,
        )

    def to_coco(self) -> Json:
        """Describe the objects as a COCO instances data set of this image alone.

        Returns:
            A dictionary with ``images``, ``categories`` and ``annotations``; boxes are x y width
            height.

        Example:
            >>> result = gsam.load("nano")("notebooks/scene.png", "pizza")
            >>> sorted(result.to_coco())
            ['annotations', 'categories', 'images']
        """
        from gsam.results.formats.coco import coco_of

        return coco_of([self.to_dict()]).to_dict()

    def to_supervision(self) -> Any:
        """Convert to ``supervision.Detections``.

        Returns:
            Boxes, masks, scores and class ids, with ``class_name`` and ``mask_score`` as data.

        Raises:
            ImportError: The extra ``viz`` is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision needs the extra: pip install 'gsam-jax[viz]'") from error
        return supervision.Detections(
            xyxy=self.xyxy,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.label_ids.astype(int),
            data={"class_name": np.array(self.labels, dtype=str), "mask_score": self.mask_scores},
        )

    def save(self, path: str | Path) -> Path:
        """Write the image with its overlay, or the objects as JSON, whole or not at all.

        Args:
            path: The file; its ending says the format: ``.png``, ``.jpg``, ``.jpeg`` or ``.webp``
                for the overlay, ``.json``, or ``.coco.json``.

        Returns:
            The path.

        Raises:
            ValueError: The ending is none of these.

        Example:
            >>> result = gsam.load("nano")("notebooks/scene.png", "dog. pizza")
            >>> result.save("dog.json").name
            'dog.json'
        """
        from gsam.results.draw import overlay
        from gsam.results.formats import coco, scene_json

        path = Path(path)
        if path.name.endswith(".coco.json"):
            coco.coco_of([self.to_dict()]).write(path)
        elif path.suffix == ".json":
            scene_json.write(self.to_dict(), path)
        elif path.suffix.lower() in overlay.SUFFIXES:
            overlay.write(self.plot(), path)
        else:
            known = ", ".join([".json", ".coco.json", *overlay.SUFFIXES])
            raise ValueError(f"cannot tell the format of {path.name!r}: it should end in one of {known}")
        return path

    def _repr_png_(self) -> bytes:
        from gsam.results.draw.html import png

        return png(self.plot())

    def _repr_html_(self) -> str:
        from gsam.results.draw.html import page

        rows = [
            (label, f"{score:.2f}", " ".join(str(round(float(v))) for v in box), area)
            for label, score, box, area in zip(self.labels, self.scores, self.xyxy, self.areas, strict=True)
        ]
        return page(repr(self)[1:-1], self.plot(), ("label", "score", "box", "area"), rows)
