"""The questions: every row of the tables, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Row:
    """One case, on gsam's side and on those of its peers."""

    name: str
    title: str
    case: str
    """A method of `benchmarks.harness.gsam_cases.Side` and `benchmarks.harness.torch_cases.Side`, called with ``options``."""
    options: Mapping[str, Any]
    models: frozenset[str]
    """The checkpoints it needs, see `benchmarks.harness.checkpoints.write`."""
    peers: tuple[str, ...]
    """The forms it is compared with; those behind a ``+`` only with ``--full``."""
    goal: float | None = None
    """Of gsam's time over that of the fastest peer; on an accelerator of `unit`."""
    measure: Literal["close", "masks", "boxes", "scenes"] = "close"
    tolerance: float = 1e-3
    rounds: int = 5
    inner: int = 1
    """Calls a timing."""
    full: bool = False
    """Only with ``--full``."""
    memory: float | None = None
    """The goal of gsam's peak memory over the leanest peer's; None where it is not measured."""
    items: int = 1
    """Pictures (or prompts) a call, for rates."""
    unit: Literal["ratio", "per_second", "milliseconds"] = "ratio"

    def with_peers(self, full: bool) -> Row:
        """The row as it is run: with every form, or with those that cost little."""
        kept = (form for form in self.peers if full or not form.startswith("+"))
        return dataclasses.replace(self, peers=tuple(form.lstrip("+") for form in kept))


def _row(name: str, title: str, case: str, models: str, peers: str, **more: Any) -> Row:
    options = more.pop("options", {})
    return Row(name, title, case, options, frozenset(models.split()), tuple(peers.split()), **more)


def _encoder(size: str, **more: Any) -> Row:
    title = f"SAM ViT-{size.upper()} encoder, 1024 x 1024"
    return _row(
        f"encoder_{size}",
        title,
        "encoder",
        f"sam_{size}",
        "sdpa onnx +compile +eager",
        goal=1.0,
        tolerance=1e-4,
        rounds=2,
        options={"size": size},
        **more,
    )


def _decoder(prompts: int, goal: float, **more: Any) -> Row:
    return _row(
        f"decoder_{prompts}",
        f"SAM decoder, {prompts} box{'es' * (prompts > 1)}",
        "decoder",
        "sam_b",
        ("sdpa compile +eager" if prompts == 1 else "sdpa +eager +compile"),
        goal=goal,
        options={"prompts": prompts},
        items=prompts,
        **more,
    )


CPU = (
    _encoder("b", memory=0.6),
    _encoder("l", full=True),
    _encoder("h", full=True),
    _decoder(1, 0.5, rounds=9, inner=5),
    _decoder(16, 0.35),
    _decoder(64, 0.4, rounds=2),
    _decoder(256, 0.4, rounds=2, full=True),
    _row(
        "click",
        "a click on a picture encoded before, to three masks of 1024 x 1536",
        "click",
        "sam_b",
        "sdpa +eager",
        measure="masks",
        tolerance=1e-4,
        goal=0.5,
        rounds=9,
        inner=3,
    ),
    _row(
        "post",
        "48 masks of things, 256 x 256 -> 1000 x 1500",
        "post",
        "",
        "eager",
        measure="masks",
        tolerance=1e-5,
        goal=0.3,
        rounds=9,
        inner=3,
        options={"dense": False},
    ),
    _row(
        "post_dense",
        "48 masks of noise, 256 x 256 -> 1000 x 1500",
        "post",
        "",
        "eager",
        measure="masks",
        tolerance=1e-5,
        goal=0.3,
        rounds=9,
        inner=3,
        full=True,
        options={"dense": True},
    ),
    _row(
        "deformable",
        "deformable attention, 18,785 queries of 4 x 4 points",
        "deformable",
        "",
        "eager +compile",
        goal=0.45,
        tolerance=1e-3,
        rounds=7,
    ),
    _row(
        "grounding_dino",
        "Grounding DINO tiny, a picture of 1200 x 1600 at 800 x 1066, 5 names",
        "grounding_dino",
        "dino sam_b",
        "eager",
        measure="boxes",
        tolerance=0.1,
        goal=0.7,
        rounds=2,
    ),
    _row(
        "grounded_sam",
        "Grounded SAM, one picture",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        tolerance=0.01,
        goal=0.75,
        rounds=2,
        memory=0.6,
        options={"kind": "fresh"},
    ),
    _row(
        "second_query",
        "Grounded SAM, other names on the picture asked before",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        tolerance=0.01,
        goal=0.5,
        rounds=2,
        options={"kind": "again"},
    ),
    _row("owlv2", "OWLv2 base, 960 x 960, 8 names", "owlv2", "owl_2", "sdpa +eager", rounds=2, full=True),
    _row("clip_crops", "CLIP B/32, 16 crops", "clip_crops", "clip_b", "sdpa +eager +compile", rounds=7, full=True),
    _row(
        "folder_16",
        "Grounded SAM, a folder of 16",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        tolerance=0.01,
        goal=0.75,
        rounds=2,
        full=True,
        memory=0.6,
        options={"kind": "folder", "pictures": 16},
        items=16,
    ),
)
"""Ratios of time: gsam's over the fastest peer's."""


def _batch(size: str, batch: int, goal: float | None) -> Row:
    title = f"SAM ViT-{size.upper()} encoder, batch {batch}"
    return _row(
        f"encoder_{size}_{batch}",
        title,
        "encoder",
        f"sam_{size}",
        "sdpa compile",
        goal=goal,
        unit="per_second",
        options={"size": size, "batch": batch},
        items=batch,
        inner=5,
    )


def _prompts(prompts: int, goal: float | None) -> Row:
    return _row(
        f"decoder_{prompts}",
        f"SAM decoder, {prompts} box{'es' * (prompts > 1)}",
        "decoder",
        "sam_b",
        "sdpa compile",
        goal=goal,
        unit="milliseconds",
        options={"prompts": prompts},
        items=prompts,
        inner=10,
    )


GPU = (
    _batch("b", 1, None),
    _batch("b", 8, None),
    _batch("b", 32, 380.0),
    _batch("l", 16, 140.0),
    _batch("h", 8, 70.0),
    *(_prompts(n, {64: 1.0}.get(n)) for n in (1, 16, 64, 256)),
    _row(
        "click",
        "a click on a picture encoded before",
        "click",
        "sam_b",
        "sdpa",
        measure="masks",
        unit="milliseconds",
        goal=3.0,
        inner=5,
    ),
    _row(
        "deformable",
        "deformable attention, 18,785 queries",
        "deformable",
        "",
        "eager compile",
        unit="milliseconds",
        inner=10,
    ),
    _row(
        "grounding_dino",
        "Grounding DINO tiny, 800 x 1066, from the array",
        "grounding_dino",
        "dino sam_b",
        "eager",
        measure="boxes",
        unit="milliseconds",
        inner=3,
    ),
    _row("owlv2", "OWLv2 base, 960 x 960", "owlv2", "owl_2", "sdpa", unit="milliseconds", inner=5),
    _row("clip_crops", "CLIP B/32, 16 crops", "clip_crops", "clip_b", "sdpa compile", unit="milliseconds", inner=10),
    _row(
        "folder",
        "Grounded SAM, a folder of 32 in batches of 8",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        goal=0.67,
        options={"kind": "folder", "pictures": 32},
        items=32,
        rounds=3,
    ),
    _row(
        "nano",
        "nano, 256 pictures in batches of 32",
        "nano",
        "",
        "",
        unit="per_second",
        options={"pictures": 256, "batch": 32},
        items=256,
        rounds=3,
    ),
)
"""On an accelerator, bfloat16 on all sides; goals are rates or milliseconds of gsam's own."""
