"""The model card of a trained model: where it comes from, how good it is, how it is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gsam.version import __version__

OPTIONS = {"segment": "segmenter", "detect": "detector", "classify": "classifier", "track": "tracker"}
"""Role -> the argument of `gsam.load` that takes a model of it."""
TASKS = {
    "segment": "mask-generation",
    "detect": "zero-shot-object-detection",
    "classify": "zero-shot-image-classification",
    "track": "mask-generation",
}
"""Role -> the task as model hubs call it."""
MOST = 40
"""Classes that the table shows; the rest are in the run's results."""


class Scored(Protocol):
    """A figure of one class, see `gsam.results.training_page.scores.Score`."""

    @property
    def label(self) -> str:
        """The class."""

    @property
    def prompt(self) -> str:
        """The prompt or measure."""

    @property
    def count(self) -> int:
        """Held-out objects."""

    @property
    def before(self) -> float:
        """Figure of the base."""

    @property
    def after(self) -> float:
        """Figure of this model."""


def model_card(
    name: str,
    role: str,
    *,
    base: str,
    base_sha256: str,
    licence: str | None,
    what: str,
    settings: Mapping[str, Any],
    scores: Sequence[Scored] = (),
    adapters: bool = False,
    transformers: bool = False,
    original: bool = True,
    sizes: Mapping[str, int] | None = None,
) -> str:
    """Write the card of a trained model.

    Args:
        name: The heading, such as ``sam_vit_b, decoder``.
        role: What the model is for, one of `gsam.registry.ROLES`.
        base: Name of the model that training began with.
        base_sha256: Hash of its weights.
        licence: Licence of its weights; None where it is not known.
        what: The part that was trained.
        settings: What the trainer notes of the run, as JSON; ``data`` is the data's fingerprint.
        scores: Before and after, on images not trained on; none if nothing was held out.
        adapters: The base is needed to load the model.
        transformers: Hugging Face's transformers load the folder as it is.
        original: Tensors have the names of the original repository; else those of transformers.
        sizes: Bytes of the files, by name.

    Returns:
        Markdown, with the header that model hubs read.
    """
    head = [
        "---",
        "library_name: gsam",
        f"base_model: {json.dumps(base)}",
        *([f"license: {licence.lower()}"] if licence is not None else []),
        f"pipeline_tag: {TASKS.get(role, 'image-segmentation')}",
        "---",
    ]
    terms = f"They are under {licence}." if licence is not None else "Their licence is not known to gsam: look it up."
    origin = [
        f"# {name}",
        "",
        f"Trained by gsam {__version__} from `{base}`. What was trained: {what}.",
        "",
        "## Licence",
        "",
        f"This model was made from the weights of `{base}` (SHA-256 `{base_sha256}`). {terms} What of its terms holds "
        "for this model, and what your own images add, is for you to say here.",
    ]
    parts = [*head, "", *origin, "", *_table(scores), *_loading(role, adapters, transformers, original)]
    parts += ["", "## Training", "", "| setting | value |", "|---|---|"]
    parts += [f"| {_cell(key)} | {_cell(_plain(value))} |" for key, value in _flat(settings)]
    if sizes:
        parts += ["", "## Files", "", *(f"- `{file}`: {_bytes(count)}" for file, count in sizes.items())]
    return "\n".join(parts) + "\n"


def _table(scores: Sequence[Scored]) -> list[str]:
    if not scores:
        return ["## Results", "", "Nothing was held out, so it is not known how good this model is.", ""]
    lines = ["## Results", "", "On images that were not trained on: the base, and this model.", ""]
    lines += ["| class | measured by | objects | before | after |", "|---|---|---:|---:|---:|"]
    measures = list(dict.fromkeys(score.prompt for score in scores))
    labels = dict.fromkeys(score.label for score in scores)
    if len(labels) > 1:
        for measure in measures:
            own = [s for s in scores if s.prompt == measure and not math.isnan(s.before + s.after)]
            total = sum(s.count for s in own)
            before, after = (sum(s.count * getattr(s, when) for s in own) for when in ("before", "after"))
            lines += [_row("all", measure, total, before / total, after / total)] if total else []
    shown = list(labels)[:MOST]
    lines += [_row(s.label, s.prompt, s.count, s.before, s.after) for s in scores if s.label in shown]
    if len(labels) > len(shown):
        lines += ["", f"{len(labels) - len(shown)} more classes are in the run's `results.json`."]
    if len(labels) > 1:
        lines += ["", "*all* is the mean over objects."]
    return [*lines, ""]


def _row(label: str, measure: str, count: int, before: float, after: float) -> str:
    return f"| {_cell(label)} | {_cell(measure)} | {count} | {_figure(before)} | {_figure(after)} |"


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _loading(role: str, adapters: bool, transformers: bool, original: bool) -> list[str]:
    lines = ["## How to load it", "", "```python", "import gsam", ""]
    if role == "segment":
        lines += ['predictor = gsam.Predictor("RUN")', 'pipe = gsam.load("grounded_sam", segmenter="RUN")']
    elif role == "detect":
        lines += ['pipe = gsam.load("grounded_sam", detector="RUN")']
    elif role == "track":
        lines += ['predictor = gsam.VideoPredictor("RUN")']
    else:
        lines += [f'model = gsam.{OPTIONS.get(role, "segmenter")}("RUN")']
    lines += ["```", "", "`RUN` is this folder, or the run's folder that it lies in.", ""]
    if adapters:
        lines += [
            "The folder holds adapters: gsam finds the base by its name, compares its hash and merges them. For tools "
            "in PyTorch, and to pass the model on whole, write all of it:",
            "",
            "```bash",
            f"gsam weights port RUN --to {'pth-layout' if original else 'hf-layout'} -o model.safetensors",
            "```",
            "",
        ]
    kind = "the original repository" if original else "Hugging Face's transformers"
    file = "model.safetensors"
    lines += [f"In PyTorch, `{file}` fits the model of {kind}:", "", "```python"]
    lines += [
        "from safetensors.torch import load_file",
        "",
        f'model.load_state_dict(load_file("{file}"), strict=False)',
    ]
    lines += ["```", "", "`strict=False` allows for tensors that the model has and nothing reads."]
    if transformers:
        lines += ["", "`from_pretrained` of transformers reads the folder as it is."]
    return lines


def _flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in settings.items():
        rows += _flat(value, f"{before}{key} ") if isinstance(value, Mapping) else [(f"{before}{key}", value)]
    return rows


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|").replace("<", "&lt;")


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
