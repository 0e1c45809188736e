"""Fields of a Hugging Face ``config.json``: of the right kind and size, or one readable error.

Some change what a model computes and no tensor's shape.  Those that gsam does not have are named
with the values that it does, and any other value is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gsam.errors import CheckpointError
from gsam.text.queries import shorten

LAYERS, WIDTH, PIXELS, WORDS = 256, 1 << 16, 1 << 14, 1 << 22
"""The most layers, width, image side and vocabulary that a model may have; real ones have less."""


class Fields:
    """One table of a ``config.json``.

    Args:
        values: The table; None for one that is left out.
        place: Its name for errors.
        file: The file's name for errors.
    """

    def __init__(self, values: Any, place: str = "", file: str = "config.json") -> None:
        if values is not None and not isinstance(values, Mapping):
            raise CheckpointError(f"{file}: {place or 'it'} must be a table", "checkpoint_format")
        self.values: Mapping[str, Any] = values or {}
        self.place, self.file = place, file

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def part(self, name: str) -> Fields:
        """The table in this one; an empty one where it is left out."""
        return Fields(self.values.get(name), f"{self.place}.{name}" if self.place else name, self.file)

    def size(self, name: str, default: int, most: int = WIDTH, least: int = 1) -> int:
        """A whole number.  Raises `CheckpointError` for what is none or is out of range."""
        return self._whole(name, self._given(name, default), least, most)

    def side(self, name: str, default: int, most: int = PIXELS) -> int:
        """A whole number, or two that are equal: a side of a square."""
        given = self._given(name, default)
        if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2 and given[0] == given[1]:
            given = given[0]
        return self._whole(name, given, 1, most)

    def layers(self, name: str, default: int) -> int:
        """A number of layers."""
        return self.size(name, default, LAYERS)

    def sizes(
        self, name: str, default: Sequence[int], count: int | None = None, most: int = WIDTH, least: int = 1
    ) -> tuple[int, ...]:
        """Whole numbers, ``count`` of them where it is given."""
        given = self._given(name, default)
        if not isinstance(given, (list, tuple)) or len(given) > LAYERS or (count is not None and len(given) != count):
            several = "whole numbers" if count is None else f"{count} whole numbers"
            raise self._wrong(name, given, f"must be a list of {several}")
        return tuple(self._whole(name, value, least, most) for value in given)

    def number(self, name: str, default: float, least: float = 0.0, most: float = 1e6) -> float:
        """A finite number within bounds."""
        given = self._given(name, default)
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not least <= given <= most:
            raise self._wrong(name, given, f"must be a number from {least:g} to {most:g}")
        return float(given)

    def numbers(self, name: str, default: tuple[float, float, float], least: float) -> tuple[float, float, float]:
        """Three numbers, one a colour."""
        given = self._given(name, default)
        if not isinstance(given, (list, tuple)) or len(given) != 3:
            raise self._wrong(name, given, "must be a list of 3 numbers")
        red, green, blue = (Fields({name: v}, self.place, self.file).number(name, 0.0, least, 1e3) for v in given)
        return red, green, blue

    def multiple(self, name: str, default: int) -> int:
        """A whole number that may be written with a point."""
        given = self.number(name, default, 1, 64)
        if given != int(given):
            raise self._wrong(name, given, "must be a whole number")
        return int(given)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        given = self._given(name, default)
        if not isinstance(given, bool):
            raise self._wrong(name, given, "must be true or false")
        return given

    def word(self, name: str, known: Mapping[str, str], default: str) -> str:
        """One of a few words, as gsam calls it."""
        given = self._given(name, default)
        if not isinstance(given, str) or given not in known:
            raise self._unsupported(name, given, known)
        return known[given]

    def only(self, **known: Any) -> None:
        """Refuse other values than these, each one value or a tuple of several.

        Raises:
            CheckpointError: A field with another value (``checkpoint_unknown``).
        """
        for name, allowed in known.items():
            several = allowed if isinstance(allowed, tuple) else (allowed,)
            given = self._given(name, several[0])
            if not any(_same(given, value) for value in several):
                raise self._unsupported(name, given, several)

    def divides(self, whole: int, by: int, what: str) -> None:
        """Raise `CheckpointError` unless a size is a multiple of another."""
        if whole % by:
            where = f"{self.place}: " if self.place else ""
            raise CheckpointError(f"{self.file}: {where}{by} {what} do not divide {whole}", "checkpoint_format")

    def _given(self, name: str, default: Any) -> Any:
        given = self.values.get(name, default)
        return default if given is None else given

    def _whole(self, name: str, given: Any, least: int, most: int) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            raise self._wrong(name, given, f"must be a whole number from {least} to {most}")
        return given

    def _name(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def _wrong(self, name: str, given: Any, must: str) -> CheckpointError:
        return CheckpointError(f"{self.file}: {self._name(name)} {must}, not {shown(given)}", "checkpoint_format")

    def _unsupported(self, name: str, given: Any, known: Any) -> CheckpointError:
        only = " or ".join(shown(value) for value in known)
        text = f"{self.file}: {self._name(name)} is {shown(given)}, and only {only} is supported here"
        return CheckpointError(text, "checkpoint_unknown")


def shown(value: Any) -> str:
    """A value of JSON for an error, in short."""
    return shorten(repr(list(value)[:8] if isinstance(value, (list, tuple)) else value))


def _same(given: Any, value: Any) -> bool:
    if isinstance(value, (bool, str)) or value is None:
        return type(given) is type(value) and given == value
    if isinstance(value, Mapping):
        return (
            isinstance(given, Mapping)
            and given.keys() == value.keys()
            and all(_same(given[k], value[k]) for k in value)
        )
    if isinstance(value, (int, float)):
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        return number and math.isclose(given, value, rel_tol=1e-6)
    return isinstance(given, (list, tuple)) and len(given) == len(value) and all(map(_same, given, value))
