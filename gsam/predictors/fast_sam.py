"""The vocabulary of FastSAM: everything at once, then prompts that select from it.

``found = gsam.FastSAM("fast_sam_s")(image)``, then ``found.everything_prompt()``, ``box_prompt``,
``point_prompt`` and ``text_prompt``, each a `gsam.Result`: ``.masks``, ``.plot()``, ``.save(...)``.
Docstrings say where it differs from the original; the measures of its prompts are the same, on
masks at the size of the image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gsam.build.devices import devices_of
from gsam.build.stages import by_name
from gsam.inputs.image import Picture, Source, make_view, middle, open_image
from gsam.inputs.letterbox import rectangle
from gsam.models.fast_sam import FastSamSegmenter
from gsam.ops.bounds import bounds
from gsam.ops.resampling import product
from gsam.results.masks.low_res import LowResMasks
from gsam.results.result import BoxClippedMasks, CroppedMasks, Result
from gsam.roles import ImageTextScorer
from gsam.runtime.batch import gather
from gsam.runtime.program import Program
from gsam.runtime.rebuild import Rebuildable
from gsam.types import Images, Params, View

NAME = "object"
"""The label of things that nobody named."""
SMALL = 100
"""Masks of no more pixels are not shown to a classifier."""
CROPS = 16
"""Crops that a classifier scores together."""

Rank = Callable[[str, Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
"""Scores how well each of some images fits a text: logits."""


class FastSAM(Rebuildable):
    """Segment everything in an image in one pass, and select from it by boxes, points or words.

    Args:
        model: Any name of a FastSAM that `gsam.segmenter` takes, or one that is built already.
        classifier: The model that reads words, by any name that `gsam.classifier` takes, or one
            that is built already; it is loaded at the first `FastSAMPrompt.text_prompt`.
        device: Where it computes, as in `gsam.load`: the first, if that is several.
        dtype: The type that it computes in, as in `gsam.load`, for a model by name only.
        **settings: Settings of the segmenter, for a model by name only; ``size`` is the original's
            ``imgsz``.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model, device or setting.
        TypeError: ``dtype`` or ``settings`` are given for a model that is built already, or the
            model does not segment everything at once.
    """

    def __init__(
        self,
        model: str | FastSamSegmenter = "fast_sam_s",
        classifier: str | ImageTextScorer = "clip_vit_base_patch32",
        *,
        device: str | jax.Device | None = None,
        dtype: DTypeLike | None = None,
        **settings: Any,
    ) -> None:
        self.device = devices_of(device)[0]
        built = by_name("segment", model, self.device, dtype, settings)
        if not isinstance(built, FastSamSegmenter):
            raise TypeError(f"{model!r} does not segment everything at once: FastSAM is needed")
        self.model = built
        self.name = model if isinstance(model, str) else type(model).__name__
        self._classifier, self._dtype = classifier, dtype if isinstance(classifier, str) else None
        self._params = jax.device_put(self.model.params, self.device)
        self._find = Program(self.model.everything, self.device.platform, static=["n"], owner=self.model)

    def __call__(
        self,
        image: Source,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        stretch: bool = False,
        max_pixels: int | None = None,
    ) -> FastSAMPrompt:
        """Segment everything in an image.

        Args:
            image: uint8 RGB [H, W, 3], the path of a file, a PIL image, or the bytes of a file.
                Arrays are RGB, where the original takes them for BGR.
            conf: Leave out what scores less, in 0..1; by default the model's, 0.25 (the original's
                demo has 0.4). Another value compiles nothing.
            iou: Of boxes that overlap more, keep the best; by default the model's, 0.7 (the demo
                has 0.9). Another value compiles nothing.
            max_det: At most so many things; by default 300. Another value compiles a program.
            stretch: Map the range of values to 0..255, see `gsam.inputs.image.open_image`.
            max_pixels: The largest number of pixels; by default 100 million.

        Returns:
            Everything that was found, and the prompts that select from it.

        Raises:
            gsam.errors.ImageError: The image cannot be read.
            ValueError: A value is out of range.
        """
        for name, value in (("conf", conf), ("iou", iou)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, it must be in 0..1")
        if max_det is not None and max_det < 1:
            raise ValueError(f"max_det is {max_det}, at least 1 is needed")
        picture, stage = open_image(image, stretch=stretch, max_pixels=max_pixels), self.model
        images = gather([picture], [stage.view])
        limits = [np.float32(own if v is None else v) for v, own in ((conf, stage.conf), (iou, stage.iou))]
        found = self._find(self._params, images, *limits, n=stage.most if max_det is None else max_det)
        return self._to_prompt(picture, images, found)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        words = self._scorer[2:] if "_scorer" in self.__dict__ else ()
        return sum(program.compilations for program in (self._find, *words))

    def _to_prompt(self, picture: Picture, images: Images, found: Any) -> FastSAMPrompt:
        """Bring the things found in one image to the host."""
        found = jax.device_get(found)
        rows, columns = np.asarray(images.content[self.model.view.key])[0].tolist()
        n = int(found.valid[0].sum())
        return FastSAMPrompt(
            picture,
            found.xyxy[0, :n],
            found.framed[0, :n],
            found.score[0, :n],
            found.coefficients[0, :n],
            found.prototypes[0],
            (int(found.cells[0, 0]), int(found.cells[0, 1])),
            (int(found.corner[0, 0]), int(found.corner[0, 1])),
            rectangle(rows, columns),
            self._rank,
        )

    def _rank(self, text: str, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        stage, params, embed, compare = self._scorer
        read = embed(params, stage.text.tokenize([text]))
        found = []
        for start in range(0, len(pictures), CROPS):
            some = _square(pictures[start : start + CROPS], stage.crop, stage.config.image_size)
            spare = ((0, CROPS - len(some)), (0, 0), (0, 0), (0, 0))
            found.append(np.asarray(compare(params, np.pad(some, spare), read))[: len(some), 0])
        return np.concatenate(found)

    @functools.cached_property
    def _scorer(self) -> tuple[ImageTextScorer, Params, Program[Any], Program[jax.Array]]:
        """The classifier, its parameters, and what it does with texts and with pictures."""
        settings = {"template": "{}"} if isinstance(self._classifier, str) else {}
        stage = by_name("classify", self._classifier, self.device, self._dtype, settings)
        if not isinstance(stage, ImageTextScorer):
            raise TypeError("this classifier does not compare whole pictures with a text: it has no `compare`")
        params = jax.device_put(stage.params, self.device)
        platform = self.device.platform
        embed, compare = (Program[Any](f, platform, owner=stage) for f in (stage.embed, stage.compare))
        return stage, params, embed, compare


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FastSAMPrompt:
    """The N things found in one image, best first, and the prompts that select from them.

    Source: ``fastsam/prompt.py``, class ``FastSAMPrompt``.
    """

    picture: Picture
    """The image, upright."""
    xyxy: NDArray[np.float32]
    """[N, 4] boxes x0 y0 x1 y1 in pixels of the image."""
    framed: NDArray[np.float32]
    """[N, 4] boxes in pixels of the letterboxed image."""
    scores: NDArray[np.float32]
    """[N] in 0..1."""
    coefficients: NDArray[np.float32]
    """[N, P] shares of the prototypes in each mask."""
    prototypes: NDArray[np.float32]
    """[h, w, P], the image in the upper left corner."""
    cells: tuple[int, int]
    """Rows and columns of the prototypes that are image."""
    corner: tuple[int, int]
    """Rows and columns before the image in the letterboxed one."""
    frame: tuple[int, int]
    """Height and width of the letterboxed image in pixels."""
    rank: Rank
    """Scores how well crops fit a text."""

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        height, width = self.picture.pixels.shape[:2]
        return f"<{type(self).__name__} {width} x {height}: {len(self)} things>"

    def everything_prompt(self) -> Result:
        """Select everything.

        Returns:
            All things, best first; masks as the original's ``retina_masks=True``.
        """
        return self._everything

    def box_prompt(self, bboxes: ArrayLike) -> Result:
        """Select the mask of the highest IoU with each box.

        Boxes count whole pixels. The original gives the masks of several boxes once each, in no
        certain order.

        Args:
            bboxes: [4] or [n, 4], x0 y0 x1 y1 in pixels of the image.

        Returns:
            One thing per box, in the boxes' order; nothing where nothing was found in the image.

        Raises:
            ValueError: A box is not four finite numbers, or has no pixel of the image.
        """
        boxes = np.asarray(bboxes, np.float64).reshape(-1, np.shape(bboxes)[-1] if np.ndim(bboxes) else 1)
        if boxes.shape[-1] != 4 or not np.isfinite(boxes).all():
            raise ValueError(f"a box is four finite numbers x0 y0 x1 y1, got {np.asarray(bboxes).tolist()}")
        height, width = self.picture.pixels.shape[:2]
        whole = np.round(boxes).clip(0, [width, height, width, height]).astype(int)
        if (empty := (whole[:, 2:] <= whole[:, :2]).any(-1)).any():
            raise ValueError(f"box {boxes[empty][0].tolist()} has no pixel of the picture, {width} x {height}")
        if not len(self):
            return self._everything
        area = (whole[:, 2] - whole[:, 0]) * (whole[:, 3] - whole[:, 1])
        overlap = np.zeros((len(whole), len(self)))
        for i in range(len(self)):
            mask = self._everything.mask(i)
            shared = np.array([np.count_nonzero(mask[y0:y1, x0:x1]) for x0, y0, x1, y1 in whole])
            overlap[:, i] = shared / (area + np.count_nonzero(mask) - shared)
        return self._everything[overlap.argmax(1)]

    def point_prompt(self, points: ArrayLike, pointlabel: ArrayLike) -> Result:
        """Select one mask by points.

        From the largest mask to the smallest, and in each from point to point, a mask that holds a
        foreground point is painted, and one that holds a background point erased.

        Args:
            points: [P, 2] x y in pixels of the image.
            pointlabel: [P], 1 for foreground and 0 for background.

        Returns:
            One thing, or none if no pixel is left.

        Raises:
            ValueError: Shapes or labels are not as said, or a point is outside the image.
        """
        xy, labels = np.asarray(points, np.float64), np.asarray(pointlabel)
        height, width = self.picture.pixels.shape[:2]
        if xy.ndim != 2 or xy.shape[1] != 2 or labels.shape != xy.shape[:1]:
            raise ValueError(f"points [P, 2] and labels [P] are needed, got {xy.shape} and {labels.shape}")
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(f"point labels are 1 (foreground) or 0 (background), got {np.unique(labels).tolist()}")
        if (outside := ~((xy >= 0) & (xy < [width, height])).all(1)).any():
            raise ValueError(f"point {xy[outside][0].tolist()} is outside the picture, {width} x {height} pixels")
        everything, painted, scores = self._everything, np.zeros((height, width), bool), [0.0]
        for i in np.argsort([-a for a in everything.areas], kind="stable").tolist():
            mask = everything.mask(i)
            for (x, y), label in zip(xy.astype(int).tolist(), labels.tolist(), strict=True):
                if mask[y, x]:
                    painted[mask] = bool(label)
                    scores += [float(self.scores[i])] * bool(label)
        return _alone(everything, painted, max(scores))

    def text_prompt(self, text: str) -> Result:
        """Select the thing that a text fits best.

        The classifier sees the box of each thing with white outside its mask. Masks of `SMALL`
        pixels or less are left out.

        Args:
            text: Any words.

        Returns:
            One thing, or none if all are too small; its score is its share of a softmax over all
            things.

        Raises:
            ValueError: The text is empty.
        """
        if not text.strip():
            raise ValueError("nothing is asked for: the text is empty")
        everything = self._everything
        known = [i for i, area in enumerate(everything.areas) if area > SMALL]
        if not known:
            return everything[:0]
        logits = self.rank(text, [_crop(everything, i) for i in known]).astype(np.float64)
        share = np.exp(logits - logits.max())
        one = everything[[known[int(share.argmax())]]]
        score = np.asarray([share.max() / share.sum()], np.float32)
        return dataclasses.replace(one, queries=[text], labels=[text], scores=score)

    def letterboxed(self) -> NDArray[np.bool_]:
        """Make the masks over the letterboxed image, as the original's ``retina_masks=False``.

        They are cut to the box first, at a quarter of the resolution, and enlarged then.

        Returns:
            [N, h, w] bool, the size of ``frame``.
        """
        height, width = self.frame
        whole = np.roll(self.prototypes, self.corner, (0, 1))[: height // 4, : width // 4]
        logits = _dot(self.coefficients, whole)
        x0, y0, x1, y1 = (self.framed.T / 4)[:, :, None, None]
        y, x = np.arange(height // 4)[:, None], np.arange(width // 4)[None]
        logits = np.where((x >= x0) & (x < x1) & (y >= y0) & (y < y1), logits, np.float32(0))
        return LowResMasks(logits, max(self.frame), self.frame, self.frame, 0.0, "bilinear").dense()

    @functools.cached_property
    def _everything(self) -> Result:
        n, size = len(self), self.picture.pixels.shape[:2]
        logits = _dot(self.coefficients, self.prototypes[: self.cells[0], : self.cells[1]])
        return Result(
            pixels=self.picture.pixels,
            queries=[NAME],
            xyxy=self.xyxy,
            labels=[NAME] * n,
            label_ids=np.zeros(n, np.int64),
            scores=self.scores,
            mask_scores=self.scores,
            low_res=BoxClippedMasks.of(logits, self.cells, (size[0], size[1]), self.xyxy),
            image=self.picture.name,
            pipeline="fast_sam",
        )


def _dot(coefficients: NDArray[np.float32], prototypes: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, P] and [h, w, P] -> [N, h, w]."""
    h, w, p = prototypes.shape
    out = np.empty((len(coefficients), h * w), np.float32)
    product(coefficients, prototypes.reshape(h * w, p).T, out)
    return out.reshape(-1, h, w)


def _crop(result: Result, i: int) -> NDArray[np.uint8]:
    """Cut thing ``i`` out of the image, on white, within its box."""
    mask = result.mask(i)
    x0, y0, x1, y1 = bounds(mask)
    return np.where(mask[y0:y1, x0:x1, None], result.pixels[y0:y1, x0:x1], np.uint8(255))


def _square(pictures: Sequence[NDArray[np.uint8]], crop: str, size: int) -> NDArray[np.uint8]:
    """[n, size, size, 3]."""
    if crop == "center":
        return np.stack([middle(p, size) for p in pictures])
    return np.stack([make_view(p, View(size, "squash", "bilinear")) for p in pictures])


def _alone(everything: Result, mask: NDArray[np.bool_], score: float) -> Result:
    """A result of one mask [H, W]; of none, if it is empty."""
    x0, y0, x1, y1 = bounds(mask)
    if not x1:
        return everything[:0]
    scores = np.asarray([score], np.float32)
    placed = CroppedMasks(np.asarray([[y0, x0]], np.int64), [mask[y0:y1, x0:x1]], everything.size)
    return dataclasses.replace(
        everything,
        xyxy=np.asarray([[x0, y0, x1, y1]], np.float32),
        labels=[NAME],
        label_ids=np.zeros(1, np.int64),
        scores=scores,
        mask_scores=scores,
        low_res=placed,
    )
