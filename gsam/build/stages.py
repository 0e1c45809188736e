"""Build a stage from any name of a model: its weights, on the host, and its settings."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jax
from numpy.typing import DTypeLike

from gsam.build.devices import dtype_of
from gsam.build.schema import GRID_SETTINGS, check_value
from gsam.errors import CheckpointError, UsageError
from gsam.registry import FAMILIES
from gsam.roles import Classifier, Detector, Segmenter, Tracker
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.runtime.settings import unknown_setting
from gsam.text.tokenizer import OPENAI, FastTokenizer, load_tokenizer
from gsam.types import View
from gsam.weights.store import Loaded

if TYPE_CHECKING:
    from gsam.pipeline.refine import SecondLook

INNER = frozenset({"params", "config", "spec", "tokenizer"})
"""Fields of stages that are no settings."""


def detector(name: str, *, dtype: DTypeLike | None = None, **settings: Any) -> Detector:
    """Build a text-conditioned box detector.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        dtype: Type of the computation, ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default
            float32 on a CPU, else bfloat16.
        **settings: Settings of the family's detector, see `gsam.models`.

    Returns:
        A detector, the first step of a `gsam.Pipeline`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no detector.

    Example:
        >>> detect, segment = gsam.detector("nano_owl"), gsam.segmenter("nano_sam")
        >>> pipe = gsam.Pipeline(detect, segment, threshold=0.4)
        >>> "pizza" in pipe("notebooks/scene.png", "pizza").labels
        True
    """
    return cast(Detector, stage("detect", name, settings, dtype))


def segmenter(name: str, *, dtype: DTypeLike | None = None, **settings: Any) -> Segmenter:
    """Build a promptable segmenter.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        dtype: Type of the computation, ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default
            float32 on a CPU, else bfloat16.
        **settings: Settings of the family's segmenter, see `gsam.models`.

    Returns:
        A segmenter, a step of a `gsam.Pipeline` or the model of a `gsam.Predictor`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no segmenter.

    Example:
        >>> gsam.segmenter("nano_sam").view.size
        160
    """
    return cast(Segmenter, stage("segment", name, settings, dtype))


def classifier(name: str, *, dtype: DTypeLike | None = None, **settings: Any) -> Classifier:
    """Build a classifier of images and text.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        dtype: Type of the computation, ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default
            float32 on a CPU, else bfloat16.
        **settings: Settings of the family's classifier, see `gsam.models`.

    Returns:
        A classifier, a step of a `gsam.Pipeline`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no classifier.
    """
    return cast(Classifier, stage("classify", name, settings, dtype))


def tracker(name: str, *, dtype: DTypeLike | None = None, **settings: Any) -> Tracker:
    """Build a SAM 2 with its memory.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        dtype: Type of the computation, ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default
            float32 on a CPU, else bfloat16.
        **settings: Settings of the family's tracker, see `gsam.models`.

    Returns:
        A tracker, the model of a `gsam.VideoPredictor`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no tracker.
    """
    return cast(Tracker, stage("track", name, settings, dtype))


def by_name(role: str, model: Any, device: jax.Device, dtype: DTypeLike | None, settings: Mapping[str, Any]) -> Any:
    """Build the stage that a predictor was given the name of; ``model`` itself if it is built.

    Raises `TypeError` for a dtype or settings of a model that is built already.
    """
    if isinstance(model, str):
        return stage(role, model, settings, dtype_of(dtype, [device]))
    given = [*(["dtype"] if dtype is not None else []), *settings]
    if given:
        raise TypeError(f"{given[0]!r} is for a model by name: this one is built already")
    return model


def stage(role: str, name: str, settings: Mapping[str, Any], dtype: DTypeLike | None = None) -> Any:
    """Build the stage that plays ``role``, a promptable segmenter on a grid where it is to ground
    and cannot itself.

    ``dtype`` of the weights: that of `default_dtype` if None.  Raises `UsageError` for a model that
    cannot, and for settings that it does not take.
    """
    from gsam.weights import store

    for key, value in settings.items():
        check_value(key, value, table=role)
    enable_compilation_cache()
    loaded = store.load(name, role=role, dtype=dtype_of(dtype, jax.local_devices()))
    roles = FAMILIES[loaded.family].roles
    own = {k: v for k, v in settings.items() if k in GRID_SETTINGS}
    on_a_grid = role == "ground" and role not in roles and "segment" in roles
    if not on_a_grid:
        check_role(name, roles, role)
    if not on_a_grid and own:
        raise UsageError(f"{name!r} finds everything by itself and does not take {next(iter(own))}")
    built = _build(loaded, "segment" if on_a_grid else role, {k: v for k, v in settings.items() if k not in own})
    if not on_a_grid:
        return built
    from gsam.pipeline.grid import GridProposer

    return GridProposer(built, **own)


def second_look(made: Any, settings: Mapping[str, Any]) -> SecondLook:
    """Build the step that looks again with the model of a stage that makes masks.

    Args:
        made: A segmenter, or a promptable one on a grid.
        settings: Fields of `gsam.SecondLook`, as a recipe writes them.

    Returns:
        The step, with the stage's own weights.

    Raises:
        UsageError: The model takes no boxes, or a setting is out of range.
    """
    from gsam.pipeline.grid import GridProposer
    from gsam.pipeline.refine import SecondLook

    return SecondLook(made.segmenter if isinstance(made, GridProposer) else made, **_settings(settings))


def check_role(name: str, roles: Mapping[str, str], role: str) -> None:
    """Refuse a model that cannot play a role.

    Args:
        name: What the user calls it.
        roles: What it can do, see `gsam.registry.Family`.
        role: What it is needed for.

    Raises:
        UsageError: ``role`` is none of ``roles``.
    """
    if role not in roles:
        raise UsageError(f"{name!r} is a model to {next(iter(roles))}, one to {role} is needed")


def _build(loaded: Loaded, role: str, settings: Mapping[str, Any]) -> Any:
    module = importlib.import_module(FAMILIES[loaded.family].roles[role])
    tokenizer = load_tokenizer(loaded.tokenizer) if loaded.tokenizer else None
    _check_tokenizer(loaded, getattr(module.build, "__self__", None), tokenizer)
    try:
        return module.build(loaded.config, loaded.params, tokenizer, **_settings(settings))
    except TypeError as error:
        if found := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            known = [f.name for f in dataclasses.fields(module.build.__self__) if f.name not in INNER]
            raise UsageError(f"{loaded.name!r}: {unknown_setting(found[1], known)}") from None
        raise UsageError(f"{loaded.name!r} does not take this setting: {error}") from error
    except ValueError as error:
        raise UsageError(f"{loaded.name!r}: {error}") from error


def _check_tokenizer(loaded: Loaded, kind: Any, tokenizer: FastTokenizer | None) -> None:
    """Refuse a stage that reads text without a tokenizer, or with another model's.

    Raises:
        CheckpointError: There is none (``tokenizer_missing``), or it knows more tokens than the
            model has (``tokenizer_mismatch``).
    """
    from gsam.models.stage import TextStage

    if not (isinstance(kind, type) and issubclass(kind, TextStage)):
        return
    path = Path(loaded.name).expanduser()
    where = path if path.is_dir() else path.parent
    if tokenizer is None:
        place = f"in {where}" if path.exists() else "beside its weights"
        raise CheckpointError(
            f"{loaded.name} has no tokenizer, and it reads text: looked {place} for tokenizer.json, for vocab.json with "
            f"merges.txt or {OPENAI} (CLIP, OWL), and for vocab.txt (Grounding DINO). Copy them there from the model it "
            "was trained from",
            "tokenizer_missing",
        )
    vocab = getattr(loaded.config, "vocab", None) or getattr(getattr(loaded.config, "bert", None), "vocab", None)
    tokenizer.limit = vocab
    if vocab is not None and loaded.family != "siglip" and tokenizer.size > vocab:  # SigLIP's is asked text by text
        text = (
            f"{loaded.name}: the tokenizer has {tokenizer.size:,} tokens and the model {vocab:,}; it is another model's"
        )
        raise CheckpointError(text, "tokenizer_mismatch")


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(settings)
    for key in ("negatives", "template"):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    if isinstance(values.get("canvas"), str):  # "longest 160": a recipe's word for a View
        fit, size = values["canvas"].split()
        values["canvas"] = View(int(size), cast(Any, fit))
    return values
