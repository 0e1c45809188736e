"""A stand-in for the few names of cvat-sdk that the functions use, where it is not installed."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Iterable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionFunctionSpec:
    labels: Sequence[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InteractionFunctionSpec:
    min_pos_points: int
    min_neg_points: int | None = None
    min_bounding_boxes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingFunctionSpec:
    supported_shape_types: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InteractionResultShape:
    type: str
    points: list[float]
    attributes: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackableShape:
    type: str
    points: list[float]


class InteractionResultAttributes(enum.IntEnum):
    CONFIDENCE = 0


def label_spec(name: str, id: int, **more: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(name=name, id=id, **more)


def _shape(kind: str) -> Any:
    def make(label_id: int, points: Iterable[float], *, group: int = 0) -> types.SimpleNamespace:
        return types.SimpleNamespace(label_id=label_id, frame=0, type=kind, points=list(points), group=group)

    return make


def modules() -> dict[str, types.ModuleType]:
    """What to put into ``sys.modules``."""
    sdk, names = types.ModuleType("cvat_sdk"), types.ModuleType("cvat_sdk.auto_annotation")
    models = types.ModuleType("cvat_sdk.models")
    models.AttributeValRequest = types.SimpleNamespace  # type: ignore[attr-defined]
    known = [DetectionFunctionSpec, InteractionFunctionSpec, TrackingFunctionSpec, InteractionResultShape]
    for one in (*known, TrackableShape, InteractionResultAttributes, label_spec):
        setattr(names, one.__name__, one)
    for kind in ("mask", "polygon", "rectangle"):
        setattr(names, kind, _shape(kind))
    sdk.auto_annotation, sdk.models = names, models  # type: ignore[attr-defined]
    return {"cvat_sdk": sdk, "cvat_sdk.auto_annotation": names, "cvat_sdk.models": models}
