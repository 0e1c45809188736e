"""The pure function that a pipeline compiles: detect, suppress, segment, classify, refine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from gsam.pipeline.limits import Limits
from gsam.pipeline.suppress import above_threshold, deduplicate, suppress, suppress_contained
from gsam.roles import EncodesImages, ReadsText, Stage, Step
from gsam.runtime.rebuild import Rebuildable
from gsam.text.captions import CaptionPacker
from gsam.types import Images, Params, PyTree, Scene, Text, Thresholds, View

ROLES = ("detect", "segment", "refine", "classify")


class Steps(Rebuildable):
    """The steps of a pipeline and the pure functions that they make together."""

    _rebuilt_by_name = False

    def __init__(self, steps: Sequence[Stage | Step], limits: Limits) -> None:
        if not steps or _role(steps[0], 0) not in ("detect", "ground"):
            raise TypeError(
                "the first step of a pipeline is a detector: it needs a method `detect`, or `ground` for everything"
            )
        self.limits = limits
        self.steps = _slots(steps)
        self.roles = {slot: _role(step, i) for i, (slot, step) in enumerate(self.steps.items())}
        """The role of the step in each slot; None for a function of one's own."""

    @functools.cached_property
    def views(self) -> tuple[View, ...]:
        """The views of an image that the stages need, each once."""
        return tuple({s.view.key: s.view for s in self._stages().values()}.values())

    @functools.cached_property
    def whole_views(self) -> tuple[View, ...]:
        """The views that stages see whole; a second look sees windows of its own."""
        return tuple(s.view for slot, s in self._stages().items() if self.roles[slot] != "refine")

    def encode(self, params: Mapping[str, Params], images: Images) -> dict[str, PyTree]:
        """Compute the features of images, once per image whatever the query.

        Args:
            params: The parameters of every stage by its slot.
            images: A batch of images as `prepare` makes it.

        Returns:
            The features of each stage that has any, by its slot, [B, ...].
        """
        features: dict[str, PyTree] = {}
        for slot, stage in self._stages().items():
            if isinstance(stage, EncodesImages):
                features[slot] = stage.features(params[slot], images)
                images, features = jax.lax.optimization_barrier((images, features))  # one after the other: less memory
        return features

    def apply(
        self,
        params: Mapping[str, Params],
        images: Images,
        tokens: Text,
        features: Mapping[str, PyTree] | None = None,
        thresholds: Thresholds | None = None,
    ) -> Scene:
        """Find what the text names in a batch of images: a pure function of fixed shapes.

        Args:
            params: The parameters of every stage by its slot.
            images: A batch of images as `prepare` makes it.
            tokens: Its text as `prepare` makes it.
            features: The features as `encode` returns them; by default they are computed here.
            thresholds: What is kept; by default the pipeline's limits, as constants of the program.
                Give ``gsam.Limits(...).thresholds`` to change them without compiling again.

        Returns:
            The scene: boxes, labels and masks of at most ``limits.boxes`` objects per image.
        """
        features = self.encode(params, images) if features is None else features
        thresholds = self.limits.thresholds if thresholds is None else thresholds
        (slot, first), *rest = self.steps.items()
        known, text = {"features": features[slot]} if slot in features else {}, tokens.stages.get(slot)
        if self.roles[slot] == "ground":
            found = first.ground(params[slot], images, text, tokens.valid, self.limits.boxes, **known)
            scene = above_threshold(Scene(images, tokens, thresholds, *found))
        else:
            boxes, labels = first.detect(params[slot], images, text, tokens.valid, self.limits.boxes, **known)
            scene = suppress(Scene(images, tokens, thresholds, boxes, labels))
        for slot, step in rest:
            role = self.roles[slot]
            if role == "segment":
                masks = step.segment(params[slot], features[slot], images, scene.boxes)
                scene = suppress_contained(dataclasses.replace(scene, masks=masks))
            elif role == "refine":
                scene = step.refine(params[slot], scene)
            elif role == "classify":
                scene = step.classify(params[slot], scene, tokens.stages.get(slot), tokens.valid)
                scene = suppress_contained(deduplicate(scene))
            else:
                scene = step(scene)
        return scene

    @functools.cached_property
    def masking(self) -> Stage | None:
        """The last stage that makes masks, None if there is none."""
        found = [stage for slot, stage in self._stages().items() if self.roles[slot] in ("segment", "ground")]
        return found[-1] if found else None

    @functools.cached_property
    def captions(self) -> dict[str, CaptionPacker]:
        """The text processors that read all queries together, by the slots of their stages."""
        texts = {slot: stage.text for slot, stage in self._stages().items() if isinstance(stage, ReadsText)}
        return {slot: text for slot, text in texts.items() if isinstance(text, CaptionPacker)}

    def _stages(self) -> dict[str, PyTree]:
        return {slot: step for slot, step in self.steps.items() if self.roles[slot]}


def _role(step: Any, place: int) -> str | None:
    if place == 0 and hasattr(step, "ground"):
        return "ground"
    return next((role for role in ROLES if hasattr(step, role)), None)


def _slots(steps: Sequence[Any]) -> dict[str, PyTree]:
    """A name for every step, its role where it has one: ``detect``, ``step_1``, ``segment``,
    ``classify``, ``classify_4``.
    """
    slots: dict[str, PyTree] = {}
    for i, step in enumerate(steps):
        role = _role(step, i)
        if role is None and not callable(step):
            raise TypeError(f"step {i} ({type(step).__name__}) is neither a stage nor a function Scene -> Scene")
        name = role or f"step_{i}"
        slots[name if name not in slots else f"{name}_{i}"] = step
    return slots
