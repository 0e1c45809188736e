"""Every public callable says what its parameters are, what it returns and what it raises."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gsam

ROOT = Path(gsam.__file__).parent
RIDDLE = re.compile(r"(What|How|Of|As|The same) ")
"""Beginnings of sentences that do not say what a thing is."""
MODULES = ("gsam.inputs.medical", "gsam.dataset.geo.engine", "gsam.dataset.ray")
"""Public as such: `gsam.medical`, `gsam.geo`, `gsam.ray`."""


def is_ours(value: Any) -> bool:
    return isinstance(value, type) and str(value.__module__).startswith("gsam.")


def mentioned(annotation: Any) -> Iterator[type]:
    """The classes of gsam in an annotation, `list[Result]` for instance."""
    if is_ours(annotation):
        yield annotation
    for part in typing.get_args(annotation):
        yield from mentioned(part)


def hints(function: Any) -> dict[str, Any]:
    home = sys.modules[inspect.unwrap(function).__module__]
    modules = ("gsam.types", "gsam.results.result", "gsam.tracking.text_tracking")  # imported for typing only
    names = {name: value for module in modules for name, value in vars(importlib.import_module(module)).items()}
    for name in gsam.__all__:
        names.setdefault(name, getattr(gsam, name))
    from PIL import Image

    try:
        return typing.get_type_hints(function, vars(home), {**names, "Image": Image, **vars(home)})
    except NameError:  # imported for typing only
        return {}


def members(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        if str(base.__module__).startswith("gsam."):
            for name, value in vars(base).items():
                if not name.startswith("_") or name == "__call__":
                    yield name, value


def function_of(value: Any) -> Any:
    if isinstance(value, (classmethod, staticmethod)):
        return value.__func__
    if isinstance(value, property):
        return value.fget
    return value.func if isinstance(value, functools.cached_property) else value


@functools.cache
def public() -> dict[str, Any]:
    """Every function, method and class that is reached from `gsam.__all__` and what that
    returns.
    """
    found: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = [(f"gsam.{name}", getattr(gsam, name)) for name in gsam.__all__]
    for module in MODULES:
        home = importlib.import_module(module)
        todo += [(f"{module}.{n}", v) for n, v in vars(home).items() if not n.startswith("_") and _here(v, module)]
    seen: set[int] = set()
    while todo:
        name, value = todo.pop(0)
        if id(value) in seen or isinstance(value, types.ModuleType | str):
            continue
        seen.add(id(value))
        if inspect.isclass(value):
            if not is_ours(value) or issubclass(value, Exception):
                continue
            found[name] = value
            for part, member in members(value):
                function = function_of(member)
                if inspect.isfunction(function):
                    todo.append((f"{name}.{part}", member))
        else:
            function = function_of(value)
            if not inspect.isfunction(inspect.unwrap(function)):
                continue
            found[name] = value
            for cls in mentioned(hints(function).get("return")):
                todo.append((f"{cls.__module__}.{cls.__qualname__}", cls))
    return found


def _here(value: Any, module: str) -> bool:
    return (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module


def section(doc: str, title: str) -> str:
    """The indented text below ``title:``."""
    match = re.search(rf"^{title}:\n((?:[ \t]+.*\n|\n)*)", inspect.cleandoc(doc) + "\n", re.M)
    return textwrap.dedent(match.group(1)) if match else ""


def described(doc: str) -> set[str]:
    """The parameters that ``Args`` names."""
    names: set[str] = set()
    for line in section(doc, "Args").splitlines():
        if match := re.match(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:", line):
            names |= {name.strip(" *") for name in match.group(1).split(",")}
    return names


def attribute_docs(cls: type) -> set[str]:
    """The fields of a class with a docstring of their own below them."""
    names: set[str] = set()
    for base in cls.__mro__:
        if str(base.__module__).startswith("gsam."):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, text in zip(body.body, body.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    names.add(ast.unparse(field.target))
    return names


def missing(name: str, value: Any) -> list[str]:
    """What a docstring lacks."""
    doc = getattr(value, "__doc__", None) or ""
    if not doc:
        return ["a docstring"]
    lacks = ["a first line that is no riddle"] if RIDDLE.match(doc.strip()) else []
    if inspect.isclass(value):
        known = described(doc) | attribute_docs(value)
        if not dataclasses.is_dataclass(value):
            known |= described(value.__init__.__doc__ or "")
        built = "__init__" in vars(value) and not getattr(value, "_is_protocol", False)
        function = value.__init__ if built else None
        wanted = parameters(function) if function else []
    elif isinstance(value, property | functools.cached_property):
        return lacks
    else:
        function = inspect.unwrap(function_of(value))
        known, wanted = described(doc), parameters(function)
        returns = inspect.signature(function).return_annotation
        silent = not section(doc, "Returns") and not section(doc, "Yields")
        if returns not in (None, "None", inspect.Signature.empty) and silent:
            lacks.append("Returns")
    return lacks + [f"parameter {p}" for p in wanted if p not in known]


def parameters(function: Any) -> list[str]:
    return [p for p in inspect.signature(function).parameters if p not in ("self", "cls") and not p.startswith("_")]


@pytest.mark.parametrize("name", sorted(public()))
def test_public_docstrings(name: str) -> None:
    lacks = missing(name, public()[name])
    assert not lacks, f"{name} lacks {', '.join(lacks)}"


def test_all_that_is_public_is_looked_at() -> None:
    wanted = {
        "gsam.load",
        "gsam.Pipeline.__call__",
        "gsam.Predictor.predict",
        "gsam.VideoPredictor.init_state",
        "gsam.Result.plot",
        "gsam.MaskGenerator.generate",
        "gsam.inputs.medical.open_volume",
        "gsam.results.tracks.TrackedFrame.mask",
    }
    assert wanted <= set(public())
    assert len(public()) > 150


@pytest.mark.parametrize("room", sorted(p.name for p in ROOT.iterdir() if p.name != "__pycache__"))
def test_no_docstring_is_a_riddle(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py")) if (ROOT / room).is_dir() else [ROOT / room]
    riddles = []
    for file in (f for f in files if f.suffix == ".py"):
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
            if isinstance(text, str) and RIDDLE.match(text.strip()):
                riddles.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not riddles
