"""Faults of a data set: their kinds, and a report that counts them and keeps the first of each."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from gsam.errors import UsageError
from gsam.types import Json

Weight = Literal["stops", "left out", "used", "note"]
WEIGHTS: tuple[Weight, ...] = ("stops", "left out", "used", "note")

KINDS: Mapping[str, str] = {
    "data_unreadable": "The data set cannot be read, or not to its end.",
    "no_images": "There is no image that can be used.",
    "no_objects": "There is no object that can be used.",
    "no_masks": "No object has a mask.",
    "one_image": "There is one image only, so that none can be held out.",
    "image_entry": "An image has no name, or no size.",
    "image_id_repeated": "An image's id is there twice.",
    "image_repeated": "An image's name is there twice.",
    "image_same": "Two image files have the same content.",
    "image_missing": "An image's file is not there.",
    "image_truncated": "An image's file ends too early.",
    "image_unreadable": "An image's file cannot be decoded.",
    "image_too_large": "An image has more pixels than are opened.",
    "image_empty": "An image has no pixels.",
    "image_forbidden": "An image's file may not be read.",
    "image_not_a_file": "An image is a folder, or no regular file.",
    "image_size": "An image's file has another size than the data set says.",
    "image_turned": "The data set has the size of an image as it is stored, not upright as EXIF says.",
    "image_converted": "An image is read with a change, of its 16 bits or its frames for instance.",
    "image_mirrored": "EXIF turns or mirrors an image; masks must be of the upright one.",
    "entry_unreadable": "Something in the data set cannot be read.",
    "category_entry": "A category has no id, or no name.",
    "category_id_repeated": "A category's id is there twice.",
    "category_repeated": "Two categories have one name; they become one class.",
    "category_case": "Two categories differ in case or spaces only.",
    "category_unknown": "An annotation's category is not listed.",
    "category_unused": "A category has no object.",
    "category_zero": "A category has the id 0, which other trainers take for the background.",
    "annotation_entry": "An annotation is none, or has no image.",
    "annotation_id_repeated": "An annotation's id is there twice.",
    "annotation_image": "An annotation is of an image that is not listed.",
    "annotation_repeated": "Two objects of an image have the same class and the same place.",
    "number_invalid": "A number is none (NaN, infinite, text), or far outside the image.",
    "polygon_points": "A polygon has fewer than three points, or half a point.",
    "polygon_outside": "A polygon leaves the image; it is cut at the edge.",
    "mask_invalid": "A mask's run lengths are none.",
    "mask_size": "A mask has another size than its image.",
    "mask_empty": "A mask has no pixel inside the image.",
    "mask_missing": "An object has a box only, and no mask.",
    "box_missing": "An object has neither a mask nor a box.",
    "box_inverted": "A box has a negative width or height.",
    "box_empty": "A box has no area.",
    "box_outside": "A box leaves the image; it is cut at the edge.",
    "box_differs": "A box has little to do with the bounds of its mask.",
    "area_zero": "An annotation's area is 0, that of its mask is not.",
    "crowd": "A crowd, which training does not learn from.",
    "class_imbalance": "The most frequent class has many times the objects of the rarest.",
    "tiny_objects": "Objects smaller than 1/64 of the longer side of their image.",
}
"""Each with what it means."""
EXAMPLES = 1000
"""Faults of one kind that a report keeps; all are counted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, or worth knowing, with its place."""

    kind: str
    """One of `KINDS`."""
    image: str | None
    """The image's name, if it is of one."""
    annotation: str | None
    """The annotation's id or place in its image, if it is of one."""
    message: str
    """The particulars."""
    weight: Weight = "left out"
    """``"stops"`` if nothing can be trained with the data, ``"left out"`` if the image or object is
    not used, ``"used"`` if it is, as the message says, ``"note"`` if nothing is wrong."""

    @property
    def text(self) -> str:
        """Its place and message in one line."""
        where = ", ".join(part for part in (self.image, self.annotation) if part)
        return legible(" ".join((f"{where}: {self.message}" if where else self.message).split()))

    def to_dict(self) -> Json:
        """Give it as plain values.

        Returns:
            A value for each field, as ``gsam data check --json`` writes it.
        """
        values = {key: legible(value) if value else value for key, value in dataclasses.asdict(self).items()}
        return values


Tell = Callable[[Fault], None]


def legible(text: str) -> str:
    """Text that UTF-8 can hold: halves of letters are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


class Report:
    """The faults of a data set: all are counted, the first of each kind kept."""

    def __init__(self) -> None:
        self.images = 0
        """Images that can be used."""
        self.classes: dict[str, int] = {}
        """Objects that can be used, by class."""
        self.examples: dict[str, list[Fault]] = {}
        """The first `EXAMPLES` of each kind."""
        self._counts: collections.Counter[tuple[str, Weight]] = collections.Counter()

    def add(self, fault: Fault) -> None:
        """Count a fault, and keep it if it is among the first of its kind.

        Args:
            fault: The fault.
        """
        self._counts[fault.kind, fault.weight] += 1
        kept = self.examples.setdefault(fault.kind, [])
        if len(kept) < EXAMPLES:
            kept.append(fault)

    @property
    def counts(self) -> dict[str, int]:
        """Number of faults and notes of each kind that occurs."""
        return {kind: n for kind in KINDS if (n := self.count_of(*WEIGHTS, kind=kind))}

    @property
    def faults(self) -> list[Fault]:
        """The faults that were kept, without notes, in the order of `KINDS`."""
        return [fault for fault in self._kept() if fault.weight != "note"]

    @property
    def notes(self) -> list[Fault]:
        """The notes that were kept."""
        return [fault for fault in self._kept() if fault.weight == "note"]

    @property
    def fatal(self) -> list[Fault]:
        """The faults that were kept and for which training refuses: something would be left out."""
        return [fault for fault in self._kept() if fault.weight in ("stops", "left out")]

    def count_of(self, *weights: Weight, kind: str | None = None) -> int:
        """Count all faults of some weights.

        Args:
            *weights: As `Fault` has them.
            kind: The only kind; by default all.

        Returns:
            The number.
        """
        return sum(n for (k, weight), n in self._counts.items() if weight in weights and kind in (None, k))

    def refuse(self, data: str, command: str, skip: bool = False) -> None:
        """Raise if the data set is not fit for training.

        Args:
            data: The data set's name, for the message.
            command: The command that lists the faults.
            skip: Accept that faulty images and objects are left out.

        Raises:
            UsageError: Nothing can be trained with it (``data_unusable``), or something would be
                left out and ``skip`` is false (``data_faults``).
        """
        lost = next((fault for fault in self._kept() if fault.weight == "left out"), None)
        for fault in self._kept():
            if fault.weight == "stops":
                why = "" if lost is None else f" (the first fault: {lost.text})"
                raise UsageError(f"{data}: {fault.message}{why}", "data_unusable")
        if skip or lost is None:
            return
        bad = {kind: self.count_of("left out", kind=kind) for kind in KINDS}
        told = ", ".join(f"{n} {kind}" for kind, n in bad.items() if n)
        text = f"{data} has faults ({told}), the first: {lost.text}"
        advice = f"`{command}` lists them; --skip-faults (skip_faults=True) leaves them out"
        raise UsageError(f"{text}; {advice}", "data_faults")

    def to_dict(self) -> Json:
        """Give the counts as plain values; faults themselves are not in it.

        Returns:
            Numbers of images and objects, of objects by class, and of faults by kind.
        """
        return {
            "images": self.images,
            "objects": sum(self.classes.values()),
            "classes": {legible(name): count for name, count in self.classes.items()},
            "counts": self.counts,
            "left_out": self.count_of("stops", "left out"),
        }

    def _kept(self) -> list[Fault]:
        return [fault for kind in KINDS for fault in self.examples.get(kind, ())]
