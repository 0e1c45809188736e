"""Weights written as the original repositories name and turn them, for tools in PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gsam.errors import OutputError, UsageError
from gsam.registry import FAMILIES
from gsam.weights import ported, store
from gsam.weights.find import find
from gsam.weights.identify import family_modules, fitting, role_module
from gsam.weights.official_names import official
from gsam.weights.read import read
from gsam.weights.rules import Layout, Shaped, permutation, precision, rename, unstack, useful
from gsam.weights.tuned import NOTE, note_of

Kind = Literal["original", "hugging_face"]
FORMAT = {"format": "pt"}
"""Note in the header of a safetensors file, which transformers asks for."""


def layout_of(family: str, config: Any, kind: Kind | None = None) -> Layout:
    """Return the layout in which a family's weights are written.

    Args:
        family: A family of `gsam.registry`.
        config: The model's sizes.
        kind: ``"original"``, that of the original repository (of OWL and SigLIP it is Hugging
            Face's, where their official weights are), or ``"hugging_face"``; None for that in
            which gsam loads the official weights.

    Returns:
        A layout with a way back.

    Raises:
        UsageError: gsam does not write this one (``layout_unwritten``).
    """
    port = family_modules(family)[1]
    if hasattr(port, "written"):
        return port.written(config)
    known = [layout for layout in port.LAYOUTS if layout.back is not None]
    wanted = kind if kind is not None and (kind != "original" or len(known) > 1) else known[0].name
    found = next((layout for layout in known if layout.name == wanted), None)
    if found is None:
        raise UsageError(_unwritten(family), "layout_unwritten")
    return found


def _unwritten(family: str) -> str:
    return f"this {family} has no layout of Hugging Face's: write the original repository's (pth-layout)"


def tensors_of(
    params: Mapping[str, Any],
    shapes: Mapping[str, Shaped],
    family: str,
    config: Any,
    source: str | None,
    kind: Kind | None = None,
) -> dict[str, NDArray[Any]]:
    """Name and turn a model's parameters as official files have them.

    Args:
        params: Flat parameters, of one type.
        shapes: Shapes of all that their module has.
        family: A family of `gsam.registry`.
        config: The model's sizes.
        source: Name of the model that they come from.  What its files hold beside the parameters
            (SAM 2's memory, counters, a classifier that nothing reads) is taken over.  None for
            parameters that come from no file.
        kind: See `layout_of`.

    Returns:
        Arrays by official name, in PyTorch's axes and the types of ``params``.

    Raises:
        UsageError: gsam does not write this layout.
        CheckpointError: The files of ``source`` cannot be read.
    """
    layout = layout_of(family, config, kind)
    try:
        written = official(params, shapes, layout)
    except ValueError:
        if layout.name == "original":
            raise
        raise UsageError(_unwritten(family), "layout_unwritten") from None
    if layout.name == "hugging_face":  # where one tensor has two names, its files have both
        written |= {a: written[b] for a, b in layout.tied if b in written}
    dtype = np.result_type(min(params.values(), key=lambda v: v.dtype.itemsize).dtype)
    if source is None:
        return written
    return written | _beside(written, shapes, family, config, source, layout, dtype)


def write(name: str | Path, target: Path, *, kind: Kind = "original", dtype: DTypeLike = "float32") -> Path:
    """Write a model as one safetensors file with official names and PyTorch's axes.

    Args:
        name: Any name of a model, see `gsam.weights.find`.  Adapters are merged into their base.
        target: The file, which must not exist, ending in ``.safetensors``.
        kind: See `layout_of`.
        dtype: Type of the numbers, but see `gsam.weights.rules.EXACT`.

    Returns:
        ``target``.

    Raises:
        UsageError: ``target`` exists or ends otherwise, or gsam does not write this layout.
        CheckpointError: The model cannot be found, trusted or understood.
        OutputError: The file cannot be written: a full disk, for instance.

    Example:
        >>> from gsam.weights import pth_layout
        >>> pth_layout.write("nano_sam", Path("/tmp/gsam-doc.safetensors"))  # doctest: +SKIP
    """
    if target.suffix.lower() != ".safetensors":
        raise UsageError(f"{target} should end in .safetensors: that is what is written", "output_suffix")
    if target.exists():
        raise UsageError(f"{target} exists already", "output_exists")
    loaded = store.load(name, dtype=dtype)
    shapes = family_modules(loaded.family)[0].spec(loaded.config).shapes
    tensors = tensors_of(loaded.params, shapes, loaded.family, loaded.config, str(name), kind)
    try:
        ported.write(tensors, target, FORMAT)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def _beside(
    written: Mapping[str, NDArray[Any]],
    own: Mapping[str, Shaped],
    family: str,
    config: Any,
    source: str,
    layout: Layout,
    dtype: DTypeLike,
) -> dict[str, NDArray[Any]]:
    """Tensors of a model's own files that are not among its parameters, as the layout has them."""
    found = find(source)
    note = note_of(found.path)
    if note is not None and note.scale is not None:
        return _beside(written, own, family, config, note.base, layout, dtype)
    if note is None and (found.path / NOTE).is_file():
        return {}  # an Orbax folder, which holds nothing else
    module = family_modules(family)[0]
    wide = role_module(family, "track") if "track" in FAMILIES[family].roles else None
    if wide is None or not wide.supports(config):
        wide = module
    shapes = wide.spec(config).shapes
    tensors, read_as = fitting(read(found.path), wide.LAYOUTS, shapes)
    more: dict[str, Any] = {}
    for name, tensor in useful(tensors, shapes, read_as).items():
        path = rename(name, shapes, read_as)
        if path in shapes and path not in own:
            axes = permutation(name, path, len(tensor.shape), read_as)
            value = tensor.load() if axes is None else tensor.load().transpose(axes)
            more[path] = value.astype(precision(path, dtype))
    found_beside = official(more, shapes, layout)
    if read_as.name == layout.name:
        spare = [re.compile(pattern) for pattern, _ in _layout_in(module.LAYOUTS, layout.name).unused]
        for name, tensor in unstack(tensors, shapes, read_as).items():
            if rename(name, shapes, read_as) not in shapes and any(p.fullmatch(name) for p in spare):
                value = tensor.load()
                found_beside[name] = value.astype(dtype) if value.dtype.kind not in "iub" else value
        found_beside |= {a: written[b] for a, b in layout.tied if a in tensors and b in written and a not in written}
    return {name: np.asarray(value, order="C") for name, value in found_beside.items()}


def _layout_in(layouts: Any, name: str) -> Layout:
    found: Layout = next(layout for layout in layouts if layout.name == name)
    return found
