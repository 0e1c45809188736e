"""Labelling configs: the images of a task, the tools that answers are drawn with, their labels."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree
from xml.parsers import expat

from gsam.errors import UsageError
from gsam.results.formats.shapes import root_of

Kind = Literal["brush", "polygon", "rectangle"]
KINDS: tuple[Kind, ...] = ("brush", "polygon", "rectangle")
"""Kinds of tools that an answer can be drawn with, the most exact first."""
NONE = (
    "the labelling config has no BrushLabels, PolygonLabels or RectangleLabels of an Image, so there is nothing "
    "that gsam could answer in"
)


@dataclasses.dataclass(frozen=True)
class Label:
    """A label, and the words that it stands for."""

    name: str
    """The one that results have: the alias, where there is one."""
    words: tuple[str, ...]
    """Names that are asked for: ``predicted_values``, or else the value."""
    names: frozenset[str]
    """All that it is called, words included, without regard to case."""


@dataclasses.dataclass(frozen=True)
class Control:
    """A tool that answers are drawn with."""

    name: str
    image: str
    """Name of the Image tag."""
    kind: Kind
    labels: tuple[Label, ...]
    labeller: str | None = None
    """Name of the Labels tag that has the labels, where the tool has none of its own."""
    smart: bool = False
    """Whether it is there to ask with, too."""
    only_smart: bool = False
    labels_in: str | None = None
    """Field of a task's data that lists further labels."""

    def label_of(self, word: str) -> Label | None:
        """The label that a word means."""
        return next((label for label in self.labels if word.casefold() in label.names), None)

    def of_task(self, data: Mapping[str, Any]) -> Control:
        """With the labels that a task lists itself."""
        listed = data.get(self.labels_in) if self.labels_in else None
        if not isinstance(listed, list):
            return self
        more = [_label(one if isinstance(one, dict) else {"value": one}) for one in listed]
        return dataclasses.replace(self, labels=(*self.labels, *(label for label in more if label)))


@dataclasses.dataclass(frozen=True)
class LabellingConfig:
    """The parts of a labelling config that have to do with images."""

    images: Mapping[str, str]
    """Name of each Image tag -> field of a task's data with its address."""
    controls: tuple[Control, ...]

    @property
    def labels(self) -> list[str]:
        """Names of all labels, each once."""
        return list(dict.fromkeys(label.name for control in self.controls for label in control.labels))

    def controls_of(self, image: str, data: Mapping[str, Any]) -> list[Control]:
        """The tools of an image, with the labels that the task lists itself."""
        return [control.of_task(data) for control in self.controls if control.image == image]


def read_config(text: Any) -> LabellingConfig:
    """Read a labelling config.

    Args:
        text: Its XML.

    Returns:
        Its images and tools; both may be missing.

    Raises:
        UsageError: It is no XML, or declares a DOCTYPE (``labelling_config``).
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError("Label Studio sent no labelling config: set up the labels of the project", "labelling_config")
    try:
        data = text.encode()
        root_of(io.BytesIO(data))  # refuses a DOCTYPE, which comes before the root
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise UsageError(f"the labelling config cannot be read: {error}", "labelling_config") from None
    images = {
        element.get("name", ""): element.get("value", "").removeprefix("$")
        for element in root.iter("Image")
        if element.get("name")
    }
    return LabellingConfig(images, tuple(_controls(root, images)))


def _controls(root: ElementTree.Element, images: Mapping[str, str]) -> list[Control]:
    found = []
    shared = [(element, target) for element in root.iter("Labels") for target in _targets(element, images)]
    for element in root.iter():
        tag = str(element.tag)
        kind = tag.removesuffix("Labels").lower()
        if kind not in KINDS or tag not in (kind.title(), f"{kind.title()}Labels"):
            continue
        for target in _targets(element, images):
            holder = element if tag.endswith("Labels") else next((e for e, at in shared if at == target), None)
            if holder is None:
                continue
            found.append(
                Control(
                    name=element.get("name", ""),
                    image=target,
                    kind=kind,
                    labels=tuple(_labels(holder)),
                    labeller=None if holder is element else holder.get("name", ""),
                    smart=_is_true(element.get("smart")) or _is_true(element.get("smartOnly")),
                    only_smart=_is_true(element.get("smartOnly")),
                    labels_in=holder.get("value", "")[1:] if holder.get("value", "").startswith("$") else None,
                )
            )
    return found


def _targets(element: ElementTree.Element, images: Mapping[str, str]) -> Sequence[str]:
    """Names of the images that a tool is for."""
    return [name.strip() for name in element.get("toName", "").split(",") if name.strip() in images]


def _labels(holder: ElementTree.Element) -> list[Label]:
    return [label for element in holder.iter("Label") if (label := _label(dict(element.attrib)))]


def _label(given: Mapping[str, Any]) -> Label | None:
    value, alias = (str(given.get(field) or "").strip() for field in ("value", "alias"))
    if not (value or alias) or value.startswith("$"):
        return None
    listed = [" ".join(word.split()) for word in str(given.get("predicted_values") or "").split(",") if word.strip()]
    words = tuple(listed or [" ".join((value or alias).split())])
    return Label(alias or value, words, frozenset(name.casefold() for name in (value, alias, *words) if name))


def _is_true(value: str | None) -> bool:
    return value is not None and value.strip().lower() in ("true", "1", "yes")
