"""Read a pickle as data: its instructions are carried out here, one by one, on plain values.

Python's own unpickler looks names up and calls what it finds, and believes every size that a file
states.  This one makes numbers, texts, lists, tuples and dictionaries; a name means what the caller
says that it means, a size is at most what is left of the file, and what is made is counted.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from gsam.errors import CheckpointError
from gsam.weights.modules import Inert

LONGEST_NUMBER = 64
"""Bytes of the longest whole number; the states of random generators need 16."""


class Known(NamedTuple):
    """The meaning of a name in a file: a function of gsam's own, which the file may call."""

    build: Callable[..., Any]


class Machine:
    """Carries out one pickle.

    Args:
        raw: The pickle.
        find: Module and name to a `Known`, to `Inert`, or to a value that nothing calls.
        stored: A persistent id to what it stands for.
        most: Bytes of memory that the values may take, roughly counted.
    """

    def __init__(self, raw: bytes, find: Callable[[str, str], Any], stored: Callable[[Any], Any], most: int) -> None:
        self.raw, self.find, self.stored, self.left = raw, find, stored, most
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Carry out the pickle and return what it made.

        Raises:
            CheckpointError: It asks for more memory than it may have (``checkpoint_unsafe``).
            EOFError: It ends early.
            pickle.UnpicklingError: It is no pickle, or makes what has no use in a checkpoint.
        """
        raw, steps = self.raw, STEPS
        while self.at < len(raw):
            code = raw[self.at]
            self.at += 1
            if code == 0x2E:  # "."
                return self.pop()
            step = steps.get(code)
            if step is None:
                raise pickle.UnpicklingError(f"no such instruction: {code:#x}")
            step(self)
        raise EOFError("the pickle has no end")

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise CheckpointError("refused: the file makes far more than it holds", "checkpoint_unsafe")

    def take(self, count: int) -> bytes:
        found = self.raw[self.at : self.at + count]
        if len(found) < count:
            raise EOFError("the pickle ends early")
        self.at += count
        self.spend(count)
        return found

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        end = self.raw.find(b"\n", self.at)
        if end < 0:
            raise EOFError("the pickle ends early")
        found = self.take(end - self.at)
        self.at += 1
        return found

    def push(self, value: Any, cost: int = 8) -> None:
        self.spend(cost)
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise pickle.UnpicklingError("nothing is there to be taken")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise pickle.UnpicklingError("nothing is there to be used")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise pickle.UnpicklingError("no mark is there")
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def keep(self, index: int) -> None:
        self.spend(64)
        self.memo[index] = self.top()

    def again(self, index: int) -> None:
        if index not in self.memo:
            raise pickle.UnpicklingError(f"nothing was kept as {index}")
        self.push(self.memo[index])

    def tuple(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]), 48 + 8 * count)

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            self.spend(8 * len(values))
            target.extend(values)
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError("only a list can be added to")

    def fill(self, values: list[Any]) -> None:
        target = self.top()
        if len(values) % 2:
            raise pickle.UnpicklingError("a key without a value")
        if isinstance(target, dict):
            self.spend(50 * len(values))
            for key, value in zip(values[::2], values[1::2], strict=True):
                target[hashable(key)] = value
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError("only a dictionary has keys")

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise pickle.UnpicklingError("a name that is none")
        self.push(self.find(module, name))

    def call(self, made: Any, args: Any) -> None:
        if not isinstance(args, tuple):
            raise pickle.UnpicklingError("arguments that are none")
        if made is Inert:
            self.push(Inert(), 64)
        elif isinstance(made, Known):
            try:
                self.push(made.build(*args), 256)
            except TypeError as error:
                raise pickle.UnpicklingError(f"arguments that do not fit: {error}") from None
        else:
            raise pickle.UnpicklingError("an object that is not callable")

    def build(self, state: Any) -> None:
        """Give an object its state: an `Inert` one only; attributes of a dictionary are dropped."""
        target = self.top()
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict):
            raise pickle.UnpicklingError("a state for what has none")


def hashable(key: Any) -> Any:
    """A key whose hash takes no time; a tuple, which may hold anything, becomes one like no other.

    Raises `pickle.UnpicklingError` for what cannot be a key.
    """
    if isinstance(key, (str, int, float, complex, bytes, type(None), Inert)) or key is Inert:
        return key
    if isinstance(key, tuple) or callable(key):
        return Inert()
    raise pickle.UnpicklingError("a key that is no name")


def _long(m: Machine, count: int) -> int:
    if not 0 <= count <= LONGEST_NUMBER:
        raise pickle.UnpicklingError("a number that is too long")
    return int.from_bytes(m.take(count), "little", signed=True)


def _digits(text: bytes) -> Any:
    if text in (b"00", b"01"):
        return text == b"01"
    if len(text) > LONGEST_NUMBER:
        raise pickle.UnpicklingError("a number that is too long")
    return int(text.rstrip(b"L"))


def _text(m: Machine, count: int, encoding: str = "utf-8") -> None:
    m.push(m.take(count).decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict"), 50)


def _protocol(m: Machine) -> None:
    if m.number("<B") > pickle.HIGHEST_PROTOCOL:
        raise pickle.UnpicklingError("a pickle of a kind that does not exist yet")


def _pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


def _mark(m: Machine) -> None:
    m.spend(8)
    m.marks.append(len(m.stack))


def _dictionary(m: Machine) -> None:
    values = m.since_mark()
    m.push({}, 64)
    m.fill(values)


def _all(m: Machine) -> None:
    values = m.since_mark()
    m.push(tuple(values), 48 + 8 * len(values))


def _list(m: Machine) -> None:
    values = m.since_mark()
    m.push(values, 56 + 8 * len(values))


def _frozen(m: Machine) -> None:
    m.since_mark()
    m.push(Inert(), 64)


def _item(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.fill([key, value])


def _one(m: Machine) -> None:
    m.append([m.pop()])


def _reduce(m: Machine) -> None:
    args, made = m.pop(), m.pop()
    m.call(made, args)


def _new_with_names(m: Machine) -> None:
    names, args, made = m.pop(), m.pop(), m.pop()
    if names and made is not Inert:
        raise pickle.UnpicklingError("arguments by name")
    m.call(made, args)


def _dotted(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    m.name(module, name)


def _named(m: Machine) -> None:
    module, name = m.line(), m.line()
    m.name(module.decode(), name.decode())


STEPS: dict[int, Callable[[Machine], None]] = {
    **{ord(k): step for k, step in {
        "(": _mark, "0": _pop, "1": lambda m: m.since_mark() and None, "2": lambda m: m.push(m.top()),
        "K": lambda m: m.push(m.number("<B")), "M": lambda m: m.push(m.number("<H")),
        "J": lambda m: m.push(m.number("<i"), 32), "I": lambda m: m.push(_digits(m.line()), 32),
        "L": lambda m: m.push(_digits(m.line()), 32), "G": lambda m: m.push(m.number(">d"), 24),
        "F": lambda m: m.push(float(m.line()), 24), "N": lambda m: m.push(None),
        "X": lambda m: _text(m, m.number("<I")), "V": lambda m: m.push(m.line().decode("raw-unicode-escape"), 50),
        "U": lambda m: _text(m, m.number("<B"), "latin-1"), "T": lambda m: _text(m, m.number("<I"), "latin-1"),
        "S": lambda m: m.push(m.line().strip(b"'\"").decode("latin-1"), 50),
        "C": lambda m: m.push(m.take(m.number("<B")), 40), "B": lambda m: m.push(m.take(m.number("<I")), 40),
        "}": lambda m: m.push({}, 64), "]": lambda m: m.push([], 56), ")": lambda m: m.push((), 8),
        "t": _all, "d": _dictionary, "l": _list, "a": _one, "e": lambda m: m.append(m.since_mark()),
        "s": _item, "u": lambda m: m.fill(m.since_mark()),
        "p": lambda m: m.keep(_digits(m.line())), "q": lambda m: m.keep(m.number("<B")),
        "r": lambda m: m.keep(m.number("<I")), "g": lambda m: m.again(_digits(m.line())),
        "h": lambda m: m.again(m.number("<B")), "j": lambda m: m.again(m.number("<I")),
        "c": _named, "R": _reduce, "b": lambda m: m.build(m.pop()), "Q": lambda m: m.push(m.stored(m.pop()), 64),
    }.items()},
    0x80: _protocol, 0x81: _reduce, 0x85: lambda m: m.tuple(1), 0x86: lambda m: m.tuple(2),
    0x87: lambda m: m.tuple(3), 0x88: lambda m: m.push(True), 0x89: lambda m: m.push(False),
    0x8A: lambda m: m.push(_long(m, m.number("<B")), 40), 0x8B: lambda m: m.push(_long(m, m.number("<i")), 40),
    0x8C: lambda m: _text(m, m.number("<B")), 0x8D: lambda m: _text(m, m.number("<Q")),
    0x8E: lambda m: m.push(m.take(m.number("<Q")), 40), 0x8F: lambda m: m.push([], 56),
    0x90: lambda m: m.append(m.since_mark()), 0x91: _frozen, 0x92: _new_with_names, 0x93: _dotted,
    0x94: lambda m: m.keep(len(m.memo)), 0x95: lambda m: m.number("<Q") and None,
    0x96: lambda m: m.push(m.take(m.number("<Q")), 40),
}  # fmt: skip
"""The effect of each instruction, of all protocols; extensions, instances of protocol 0 and buffers
beside the pickle have no use in a checkpoint."""
