"""Full-size parity with torch on the same seeded weights: ``python -m benchmarks.parity``.

Needs the ``test`` extra, about 8 GiB of memory and some minutes.  Writes
``benchmarks/pages/parity.md``.  The tiny configurations of the same comparisons are part of the
tests.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jaxlib
import numpy as np
import torch
import transformers

from benchmarks.harness.oracles import (
    compare,
    efficient_sam,
    fast_sam,
    grounding_dino,
    medsam,
    sam2,
    sam2_video,
    sam_family,
    seeded,
)
from benchmarks.harness.oracles.compare import Row
from benchmarks.harness.oracles.reference import efficient_sam as efficient_sam_reference
from gsam.inputs.image import content, make_view, open_image
from gsam.models import fast_sam as our_fast_sam
from gsam.models import grounding_dino as our_grounding_dino
from gsam.models import mobile_sam, sam_hq
from gsam.ops.views import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, SAM_MEAN, SAM_STD
from gsam.types import View

PAGES = Path(__file__).parent / "pages"


def normalised(image: Path, view: View, mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> np.ndarray:
    """Return an image in one view, as a model takes it, [1, S, S, 3]."""
    pixels = make_view(open_image(image).pixels, view).astype(np.float32) / scale
    return ((pixels - np.float32(mean)) / np.float32(std)).astype(np.float32)[None]


def run_sam(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    pixels = normalised(image, View(1024, "longest"), SAM_MEAN, SAM_STD, 1.0)
    return "SAM", "ViT-B, 1024", compare.compare_sam(seeded.sam("vit_b"), folder, pixels)


def run_mobile_sam(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    config = mobile_sam.VARIANTS["mobile_sam"]
    pixels = normalised(image, View(1024, "longest"), SAM_MEAN, SAM_STD, 1.0)
    model = sam_family.seed(sam_family.model(config))
    return "MobileSAM", "TinyViT-5M, 1024", sam_family.compare_mobile_sam(model, folder, pixels)


def run_sam_hq(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    pixels = normalised(image, View(1024, "longest"), SAM_MEAN, SAM_STD, 1.0)
    model = sam_family.seed(sam_family.model(sam_hq.VARIANTS["sam_hq_vit_b"]))
    return "SAM-HQ", "ViT-B, 1024", sam_family.compare_sam_hq(model, folder, pixels)


def run_light_sam_hq(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    pixels = normalised(image, View(1024, "longest"), SAM_MEAN, SAM_STD, 1.0)
    model = sam_family.seed(sam_family.model(sam_hq.VARIANTS["sam_hq_vit_tiny"]))
    return "Light HQ-SAM", "TinyViT-5M, 1024", sam_family.compare_light_sam_hq(model, folder, pixels)


def run_owl(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    pixels = normalised(image, View(960, "square", "gaussian", 127.5), CLIP_MEAN, CLIP_STD, 255.0)
    ids = seeded.token_ids(5, 16, 49408)
    return "OWLv2", "B/16, 960", compare.compare_owl(seeded.owl("base_patch16"), folder, pixels, ids)


def run_clip(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    pixels = normalised(image, View(224, "squash", "bicubic"), CLIP_MEAN, CLIP_STD, 255.0)
    ids = seeded.token_ids(5, 77, 49408)
    return "CLIP", "B/32, 224", compare.compare_clip(seeded.clip("base_patch32"), folder, pixels, ids)


def run_siglip(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "SigLIP", "B/16, 224", _siglip(image, folder, 1)


def run_siglip2(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "SigLIP 2", "B/16, 224", _siglip(image, folder, 2)


def _siglip(image: Path, folder: Path, version: int) -> list[Row]:
    pixels = normalised(image, View(224, "squash", "bilinear"), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 255.0)
    model = seeded.siglip("base_patch16", version)
    ids = seeded.sticky_ids(5, 64, model.config.text_config.vocab_size, pad=1 if version == 1 else 0)
    return compare.compare_siglip(model, folder, pixels, ids)


def run_efficient_sam_ti(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "EfficientSAM", "Ti, 1024; own reference", _efficient_sam(image, folder, efficient_sam_reference.TI)


def run_efficient_sam_s(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "EfficientSAM", "S, 1024; own reference", _efficient_sam(image, folder, efficient_sam_reference.S)


def _efficient_sam(image: Path, folder: Path, sizes: efficient_sam_reference.Sizes) -> list[Row]:
    return efficient_sam.compare(efficient_sam.model(sizes), folder, open_image(image).pixels)


def run_sam2(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "SAM 2.1", "Hiera-T, 1024", sam2.compare(sam2.model("tiny"), folder, open_image(image).pixels)


def run_sam2_video(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    """Compare on drawn frames, not on the image; transformers' default is SAM 2.1 Hiera-T."""
    config = transformers.Sam2VideoConfig(
        enable_occlusion_spatial_embedding=True, enable_temporal_pos_encoding_for_object_pointers=True
    )
    return "SAM 2.1 on video", "Hiera-T, 1024, drawn frames", sam2_video.compare(sam2_video.model(config), folder)


def run_medsam(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    rows = medsam.compare(seeded.sam("vit_b"), folder, open_image(image).pixels)
    return "MedSAM", "ViT-B, 1024; transformers and scipy", rows


def run_grounding_dino(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    size, rows = _grounding(image, folder, "tiny")
    return "Grounding DINO", f"Swin-T, {size}", rows


def run_grounding_dino_base(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    size, rows = _grounding(image, folder, "wide")
    return "Grounding DINO", f"as Swin-B, narrow, {size}", rows


def _grounding(image: Path, folder: Path, size: str) -> tuple[str, list[Row]]:
    """Compare on the middle of the image, 4 to 3: 800 x 1066."""
    view = our_grounding_dino.view(our_grounding_dino.VARIANTS["grounding_dino_tiny"])
    picture = open_image(image).pixels
    rows = min(picture.shape[0], picture.shape[1] * 3 // 4)
    top = (picture.shape[0] - rows) // 2
    picture = picture[top : top + rows]
    h, w = content(view, picture.shape[:2])
    pixels = make_view(picture, view)[:h, :w].astype(np.float32) / 255.0
    pixels = (pixels - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    compared = grounding_dino.compare(
        grounding_dino.model(size), folder, pixels, ["car", "dog", "tree", "house", "person"]
    )
    return f"{h} x {w}", compared


def run_fast_sam(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "FastSAM", "s, 1024", _fast_sam(image, folder, "s")


def run_fast_sam_x(image: Path, folder: Path) -> tuple[str, str, list[Row]]:
    return "FastSAM", "x, 1024", _fast_sam(image, folder, "x")


def _fast_sam(image: Path, folder: Path, size: str) -> list[Row]:
    config, pixels = our_fast_sam.VARIANTS[f"fast_sam_{size}"], open_image(image).pixels
    return fast_sam.compare(fast_sam.reference.seeded(size), config, folder, pixels)


SYSTEMS: dict[str, Callable[[Path, Path], tuple[str, str, list[Row]]]] = {
    "sam": run_sam,
    "mobile_sam": run_mobile_sam,
    "sam_hq": run_sam_hq,
    "light_sam_hq": run_light_sam_hq,
    "efficient_sam_ti": run_efficient_sam_ti,
    "efficient_sam_s": run_efficient_sam_s,
    "sam2": run_sam2,
    "sam2_video": run_sam2_video,
    "medsam": run_medsam,
    "owl": run_owl,
    "clip": run_clip,
    "siglip": run_siglip,
    "siglip2": run_siglip2,
    "grounding_dino": run_grounding_dino,
    "grounding_dino_base": run_grounding_dino_base,
    "fast_sam": run_fast_sam,
    "fast_sam_x": run_fast_sam_x,
}

CHANGES = seeded.CHANGES | {
    "grounding_dino": grounding_dino.CHANGE,
    "medsam": medsam.ORACLE,
    "sam2": sam2.CHANGE,
    "sam2_video": sam2_video.CHANGE,
}
OWN = {
    **dict.fromkeys(("mobile_sam", "sam_hq", "light_sam_hq"), sam_family.ORACLE),
    "efficient_sam": efficient_sam.ORACLE,
    "fast_sam": fast_sam.CHANGE,
}
"""Systems whose oracle is none of transformers', and what it is."""
SWAPS = """\
Grounding DINO ranks its first guesses by score and gives each rank a query of its own. Guesses whose scores lie closer than
the arithmetic's noise may swap ranks: 'first guesses ranked otherwise' counts those. Both sides are right then, but the two
queries that swapped differ, and with them a little of all. So what follows is compared from the reference's own ranking, and
the whole only where both ranked alike.
"""


def table(results: list[tuple[str, str, list[Row]]], image: Path, seconds: float) -> str:
    """Write the page."""
    lines = [
        "# Parity",
        "",
        "Ours against the reference in torch, float32 on CPU, on the same seeded random weights (scaled so that activations",
        f"keep unit order), on `{image.name}`. Made by `python -m benchmarks.parity` on {datetime.date.today()}",
        f"in {seconds:.0f} s.",
        f"Python {platform.python_version()}, jax {jax.__version__}, jaxlib {jaxlib.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}.",
        "",
        "Oracle: transformers, set to the original repository's arithmetic where the two differ:",
        *[f"- {name}: {change}" for name, change in CHANGES.items()],
        "",
        "Where transformers has no faithful model:",
        *[f"- {name}: {oracle}" for name, oracle in OWN.items()],
        "",
        "| system | size | what | largest difference | limit | |",
        "|---|---|---|---|---|---|",
    ]
    for system, size, rows in results:
        for r in rows:
            verdict = "ok" if r.difference <= r.limit else "**over**"
            lines.append(f"| {system} | {size} | {r.what} | {r.difference:.1e} {r.unit} | {r.limit:.0e} | {verdict} |")
    if any(r.what.startswith("first guesses") and r.difference > 0 for _, _, rows in results for r in rows):
        lines += ["", *SWAPS.splitlines()]
    return "\n".join([*lines, ""])


def main() -> int:
    """Compare, print and write; the exit code is 1 if a difference is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(SYSTEMS), action="append")
    parser.add_argument("--image", type=Path, default=PAGES.parents[1] / "notebooks" / "scene.png")
    parser.add_argument("--out", type=Path, default=PAGES / "parity.md")
    args = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")
    started, results = time.time(), []
    for name in args.only or SYSTEMS:
        with tempfile.TemporaryDirectory() as folder:
            results.append(SYSTEMS[name](args.image, Path(folder)))
        for row in results[-1][2]:
            print(*results[-1][:2], row.what, f"{row.difference:.2e}", "limit", row.limit, flush=True)
    args.out.write_text(table(results, args.image, time.time() - started))
    return int(any(r.difference > r.limit for _, _, rows in results for r in rows))


if __name__ == "__main__":
    raise SystemExit(main())
