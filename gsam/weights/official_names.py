"""Our paths -> the tensor names of official files: the way back of `gsam.weights.rules`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.weights.rules import Layout, Shaped, permutation, rename


def official_name(path: str, layout: Layout) -> str:
    """Rename a parameter to what the files of a layout call it.

    Args:
        path: Our path, such as ``image_encoder/neck/conv1/kernel``.
        layout: A layout with a way back.

    Returns:
        The name of the tensor, or of the one that stacks it with others.

    Raises:
        ValueError: The layout has no way back.
    """
    if layout.back is None:
        raise ValueError(f"names of the layout {layout.name} are only read")
    name = re.sub(r"\.(kernel|scale|embedding)$", ".weight", path.replace("/", "."))
    for pattern, replacement in layout.back:
        name = re.sub(pattern, replacement, name)
    return name


def sources(shapes: Mapping[str, Shaped], layout: Layout) -> dict[str, list[str]]:
    """Map the official name of every tensor to the paths it holds, several where it stacks them.

    Args:
        shapes: Shapes of a model's parameters by path.
        layout: A layout with a way back.

    Returns:
        The names, in the order of ``shapes``.

    Raises:
        ValueError: The layout has no way back, or it leads elsewhere.
    """
    found: dict[str, list[str]] = {}
    for path in shapes:
        found.setdefault(official_name(path, layout), []).append(path)
    for name, paths in found.items():
        parts = next((p for pattern, p in layout.stacked if re.search(pattern, name)), None)
        names = [name]
        if parts is not None:
            pattern = next(pattern for pattern, p in layout.stacked if p is parts)
            names = [re.sub(pattern, part, name) for part in parts]
        there = [rename(n, shapes, layout) for n in names]
        if sorted(there) != sorted(paths):
            raise ValueError(f"{name} of the layout {layout.name} is {there}, not {paths}")
        found[name] = there
    return found


def official(params: Mapping[str, Any], shapes: Mapping[str, Shaped], layout: Layout) -> dict[str, NDArray[Any]]:
    """Name and turn parameters as an official file has them.

    Args:
        params: Our parameters by path: all of ``shapes``, or some.
        shapes: Shapes of the model's parameters.
        layout: A layout with a way back.

    Returns:
        Contiguous arrays by their official name, in PyTorch's axes and the type they had.

    Raises:
        ValueError: The layout has no way back, or ``params`` has a part of a stacked tensor only.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for name, paths in sources(shapes, layout).items():
        if not (there := [path for path in paths if path in params]):
            continue
        if len(there) < len(paths):
            raise ValueError(f"{name} needs {', '.join(paths)}, and {', '.join(there)} is there")
        parts = [_turned(np.asarray(params[path]), name, path, layout) for path in paths]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        tensors[name] = np.asarray(whole, order="C")
    return tensors


def _turned(value: NDArray[Any], name: str, path: str, layout: Layout) -> NDArray[Any]:
    axes = permutation(name, path, value.ndim, layout)
    return value if axes is None else value.transpose(np.argsort(axes))
