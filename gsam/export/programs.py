"""The programs of a pipeline, as pure functions and the shapes they are written for.

Whatever varies from call to call is symbolic, so that one program serves any number of images
(``b``), of queries (``c``), of captions (``k``, two or more; one has a program of its own) and of
tokens per caption (``t``).  Only a view that is no square has a program for each of its rectangles.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gsam.errors import UsageError
from gsam.export.artefact import plain
from gsam.pipeline import Pipeline
from gsam.pipeline.text_cache import ROWS
from gsam.roles import EncodesText, ReadsText
from gsam.text.model_text import ModelText, is_model_text
from gsam.types import Images, PyTree, Text, Thresholds

Canvas = tuple[int, int]
"""Rows and columns of a view."""
Symbols = Callable[..., tuple[Any, ...]]
"""`jax.export.symbolic_shape`."""


@dataclasses.dataclass(frozen=True)
class ProgramSpec:
    """A pure function of parameters and arrays, with their shapes."""

    name: str
    function: Callable[..., Any]
    shapes: Callable[[], tuple[Any, ...]]
    note: Mapping[str, Any]
    """The program's entry in the pipeline's note."""


def programs(pipe: Pipeline, canvases: Sequence[Mapping[str, Canvas]], symbols: Symbols) -> Iterator[ProgramSpec]:
    """List all programs of a pipeline.

    One embeds the texts of each stage; `Pipeline.encode` and `Pipeline.apply` have one per canvas.

    ``canvases``: the rectangles of the views that are no squares, by `View.key`.
    """
    stages = {slot: s for slot, s in pipe.steps.items() if pipe.roles[slot]}
    for slot, stage in stages.items():
        if isinstance(stage, ReadsText) and not is_model_text(stage.text):
            raise UsageError(
                f"{slot} reads text with code of its own: its `text` must be of a model, see gsam.text.model_text"
            )
    with warnings.catch_warnings():  # the word may be one that the models do not know
        warnings.simplefilter("ignore")
        images, text = pipe.prepare(np.zeros((64, 64, 3), np.uint8), "a")
    for slot, stage in stages.items():
        if isinstance(stage, EncodesText):
            yield _embed(slot, stage, symbols)
    for canvas in canvases:
        yield from _Seen(pipe, images, text, canvas, symbols).programs()


def _embed(slot: str, stage: Any, symbols: Symbols) -> ProgramSpec:
    text: ModelText = stage.text
    axes = text.token_axes

    def shapes() -> tuple[Any, ...]:
        tokens = text.tokenize([""] * ROWS)
        size = dict(zip(axes, symbols(", ".join(axes)), strict=True))
        return _shapes(dict(stage.params)), jax.tree.map(lambda x: _varying(x, axes, size), tokens)

    def embed(params: PyTree, tokens: PyTree) -> PyTree:
        return stage.embed(params, tokens)

    return ProgramSpec(f"embed_{slot}", embed, shapes, {"is": "embed", "slot": slot})


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """A pipeline whose images are on one canvas."""

    pipe: Pipeline
    images: Images
    text: Text
    canvas: Mapping[str, Canvas]
    symbols: Symbols

    def programs(self) -> Iterator[ProgramSpec]:
        where = "".join(f"_{h}x{w}" for h, w in dict.fromkeys(self.canvas.values()))
        note = {"canvas": self.canvas}
        yield ProgramSpec(f"encode{where}", self.encode, self.encode_shapes, {"is": "encode", **note})
        axes = [t.axes for t in self.texts.values()]
        captions = any("k" in leaf for a in axes for leaf in a)
        for several in (False, True) if captions else (False,):
            name = f"apply{where}{'_several' * several}"
            shapes = functools.partial(self.apply_shapes, captions, several)
            kind = ("several" if several else "one") if captions else None
            yield ProgramSpec(name, self.apply, shapes, {"is": "apply", "captions": kind, **note})

    def encode(self, params: PyTree, images: PyTree) -> list[jax.Array]:
        return jax.tree.leaves(self.pipe.encode(params, Images(**images)))

    def apply(
        self, params: PyTree, images: PyTree, text: PyTree, thresholds: PyTree, features: list[jax.Array]
    ) -> dict[str, PyTree]:
        """Return the results as dictionaries; features come as `encode` gives them."""
        known = jax.tree.unflatten(jax.tree.structure(self.features), features)
        scene = self.pipe.apply(params, Images(**images), Text(**text), known, Thresholds(**thresholds))
        masks = None if scene.masks is None else plain(scene.masks)
        return {"boxes": plain(scene.boxes), "labels": plain(scene.labels), "masks": masks}

    def encode_shapes(self) -> tuple[Any, ...]:
        (b,) = self.symbols("b")
        return self.params, plain(self.images_of(b))

    def apply_shapes(self, captions: bool, several: bool) -> tuple[Any, ...]:
        names = ["b", "c", *"t" * captions, *"k" * several]
        found = self.symbols(", ".join(names), constraints=["k >= 2"] * several)
        size = {"k": 1, **dict(zip(names, found, strict=True))}
        features = [_varying(x, ("b",), size) for x in jax.tree.leaves(self.features)]
        return (
            self.params,
            plain(self.images_of(size["b"])),
            plain(self.text_of(size)),
            plain(self.thresholds_of(size)),
            features,
        )

    @functools.cached_property
    def texts(self) -> dict[str, ModelText]:
        """The text processors of the stages that read text."""
        return {slot: self.pipe.steps[slot].text for slot in self.text.stages}

    @functools.cached_property
    def params(self) -> PyTree:
        return {slot: _shapes(dict(s.params)) for slot, s in self.pipe.steps.items() if self.pipe.roles[slot]}

    @functools.cached_property
    def features(self) -> PyTree:
        """The shapes of what `Pipeline.encode` gives for one image."""
        encode = lambda params, images: self.pipe.encode(params, images)  # noqa: E731  # a trace the pipeline does not reuse
        return jax.eval_shape(encode, self.params, self.images_of(1))

    def images_of(self, b: Any) -> Images:
        """The shapes of ``b`` images."""
        views: Any = {}
        for key, seen in self.images.views.items():
            views[key] = jax.ShapeDtypeStruct((b, *self.canvas.get(key, seen.shape[1:3]), 3), seen.dtype)
        pair: Any = _varying(self.images.size, ("b",), {"b": b})
        return Images(views, dict.fromkeys(views, pair), pair)

    def text_of(self, size: Mapping[str, Any]) -> Text:
        """The shapes of a text."""
        stages = {}
        for slot, text in self.texts.items():
            leaves, tree = jax.tree.flatten(self.text.stages[slot])
            shapes = [_varying(x, a, size) for x, a in zip(leaves, text.axes, strict=True)]
            stages[slot] = jax.tree.unflatten(tree, shapes)
        valid: Any = _varying(self.text.valid, ("b", "c"), size)
        groups: Any = _varying(self.text.groups, ("b", "c"), size)
        return Text(stages, valid, groups)

    def thresholds_of(self, size: Mapping[str, Any]) -> Thresholds:
        """The shapes of thresholds: one of each query's own, the rest numbers."""
        shapes: Any = _shapes(self.pipe.limits.thresholds)
        own: Any = jax.ShapeDtypeStruct((size["b"], size["c"]), shapes.threshold.dtype)
        return dataclasses.replace(shapes, threshold=own)


def _varying(x: Any, axes: Sequence[str], size: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*(size[a] for a in axes), *x.shape[len(axes) :]), x.dtype)


def _shapes(values: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), values)
