"""``gsam everything``: pictures in; every mask there is out, named if words are given."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from gsam.cli import segment, signals
from gsam.cli.inputs import Item, collect
from gsam.cli.progress import Progress
from gsam.errors import GsamError, UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
FORMATS = ("json", "png", "coco", "csv")
MODEL = "everything_nano"
Find = Callable[[Any], list[dict[str, Any]]]
"""Pixels [H, W, 3] -> records, with labels where there are words."""


@app.command(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def everything(
    paths: Annotated[list[str], Argument(metavar="PATH...", help="Pictures, folders of them, or quoted patterns.")],
    model: Annotated[
        str,
        Option("--model", "-m", help="A segmenter, or a recipe that begins with [ground]. Photographs want sam_vit_b."),
    ] = MODEL,
    out: Annotated[Path | None, Option("--out", "-o", help="Folder for the results.  [default: out]")] = None,
    formats: Annotated[
        str,
        Option(
            "--format",
            help="Any of json (as in SA-1B), png (overlay), coco (one file a run), csv (a folder of masks with metadata.csv).",
        ),
    ] = "json,png",
    query: Annotated[
        list[str] | None, Option("--query", "-q", help='Name every mask as one of these: "cat. bus". May be repeated.')
    ] = None,
    classifier: Annotated[
        str | None,
        Option("--classifier", "-c", help="A classifier, or a recipe that has one.  [default: the recipe's]"),
    ] = None,
    points_per_side: Annotated[int | None, Option(help="Points of the grid along each side.  [32]")] = None,
    points_per_batch: Annotated[int | None, Option(help="Points decoded together.  [64]")] = None,
    pred_iou_thresh: Annotated[float | None, Option(help="Lowest predicted IoU to keep.  [0.88, SAM 2: 0.8]")] = None,
    stability_score_thresh: Annotated[float | None, Option(help="Lowest stability to keep.  [0.95]")] = None,
    stability_score_offset: Annotated[float | None, Option(help="How far the cuts are apart.  [1.0]")] = None,
    box_nms_thresh: Annotated[float | None, Option(help="Boxes that overlap more are duplicates.  [0.7]")] = None,
    crop_n_layers: Annotated[int | None, Option(help="Look at 4, 16, ... crops too.  [0]")] = None,
    crop_nms_thresh: Annotated[float | None, Option(help="The same for duplicates among crops.  [0.7]")] = None,
    crop_overlap_ratio: Annotated[float | None, Option(help="Of the shorter side, 0 to 1.  [0.34]")] = None,
    crop_n_points_downscale_factor: Annotated[int | None, Option(help="Fewer points in smaller crops.  [1]")] = None,
    min_mask_region_area: Annotated[int | None, Option(help="Remove smaller holes and islands.  [0]")] = None,
    mask_threshold: Annotated[float | None, Option(help="Logits above this are mask.  [0.0]")] = None,
    use_m2m: Annotated[bool | None, Option("--use-m2m", help="Refine each mask with itself as the prompt.")] = None,
    multimask_output: Annotated[
        bool | None, Option("--multimask/--single-mask", help="All masks of a point, or one.  [all]")
    ] = None,
    as_json: Annotated[
        bool, Option("--json", help="One line of JSON a picture on stdout; no files without -o.")
    ] = False,
    recursive: Annotated[bool, Option("--recursive", "-r", help="Look into the folders of folders.")] = False,
    resume: Annotated[bool, Option("--resume/--overwrite", help="Skip pictures whose results are all there.")] = False,
) -> None:
    """Find everything in pictures, without words or with.

    For a/scene.png this writes out/scene.png, the picture with every mask in a colour of its own, and out/scene.json.  The
    options are those of gsam.MaskGenerator; a recipe may have others than the defaults in brackets.  Exit code 3: some
    pictures could not be read; the others are done.
    """
    given = {k: v for k, v in locals().items() if k in _options() and v is not None}
    kinds = segment.formats_of(formats, FORMATS)
    asked = Asked.of(model, classifier, query, given)
    items = collect(paths, recursive, {Path(segment.COCO).stem} if "coco" in kinds else frozenset())
    if not items:
        print(f"gsam: no picture matches {' '.join(map(repr, paths))}", file=sys.stderr)
        raise typer.Exit(4)
    folder = out if out is not None or as_json else Path("out")
    with ExitStack() as stack:
        outputs = Outputs(folder, kinds, items, stack, asked) if folder is not None else None
        done = outputs.done(items) if outputs and resume else set()
        run = Run(outputs, as_json, len(items), len(done))
        run.asked = asked
        todo = [item for item in items if item not in done]
        if todo:
            run.work(asked.ready(), todo)
        run.close()
    if run.failed:
        raise typer.Exit(3)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run computes."""

    model: str
    stage: Mapping[str, Any]
    """Settings of the segmenter itself."""
    options: Mapping[str, Any]
    """Of `gsam.MaskGenerator`."""
    queries: list[str]
    classifier: Mapping[str, Any]
    """``name`` and settings; nothing without queries."""
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What of the named masks is kept, see `gsam.pipeline.naming.MaskLabeler`."""

    @classmethod
    def of(cls, model: str, classifier: str | None, query: Sequence[str] | None, given: Mapping[str, Any]) -> Asked:
        """From the command line, before anything is loaded.  Raises `UsageError` and `QueryError`."""
        from gsam.predictors.automatic.settings import Settings
        from gsam.text.queries import parse_queries

        recipe = _recipe(model)
        if recipe is not None and "ground" not in recipe:
            raise UsageError(f"{model} finds things by words: a recipe that begins with [ground] is needed")
        table = dict((recipe or {}).get("ground", {"name": model}))
        options = {k: v for k, v in table.items() if k in _options()} | dict(given)
        Settings(**options)
        name, stage = table.pop("name"), {k: v for k, v in table.items() if k not in _options()}
        if not query:
            if classifier:
                raise UsageError("a classifier names things by words: say which with -q")
            return cls(name, stage, options, [], {})
        queries = parse_queries([n for part in query for n in parse_queries(part).names]).names
        by = (recipe if classifier is None else _recipe(classifier)) or {}
        if "classify" not in by and classifier is None:
            raise UsageError(f"{model} names nothing by itself: say which classifier does with -c")
        named = dict(by.get("classify", {"name": classifier}))
        limits = {k: float(v) for k, v in by.get("limits", {}).items() if k in ("reject", "nms", "duplicate", "inside")}
        return cls(name, stage, options, queries, named, limits)

    @property
    def note(self) -> dict[str, Any]:
        """What is written beside the masks, and must be the same for a run to go on."""
        note: dict[str, Any] = {"model": self.model, "settings": dict(self.options)}
        return {**note, "queries": self.queries, "classifier": self.classifier["name"]} if self.queries else note

    def ready(self) -> Find:
        """Load the models."""
        import gsam

        generator = gsam.MaskGenerator(self.model, output_mode="coco_rle", **self.options, **self.stage)
        if not self.queries:
            return generator.generate
        from gsam.pipeline.naming import MaskLabeler

        settings = {k: v for k, v in self.classifier.items() if k != "name"}
        namer = MaskLabeler(gsam.classifier(self.classifier["name"], **settings), self.queries, **self.limits)
        return lambda pixels: namer(pixels, generator.generate(pixels))


class Outputs(segment.Outputs):
    """The files of a run."""

    def __init__(
        self, folder: Path, kinds: Sequence[str], items: Sequence[Item], stack: ExitStack, asked: Asked
    ) -> None:
        super().__init__(folder, kinds, items, stack)
        self.asked = asked

    def paths(self, item: Item) -> list[Path]:
        from gsam.results.formats.mask_folder import METADATA

        files = [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind in ("json", "png")]
        return [*files, *([self.folder / item.stem / METADATA] if "csv" in self.kinds else [])]

    def done(self, items: Sequence[Item]) -> set[Item]:
        """Those whose files are all there and, as far as the JSON tells, came from the same models and options."""
        from gsam.results.formats import sa1b

        if "coco" in self.kinds and "json" not in self.kinds:
            return set()
        found = set()
        for item in items:
            if not all(path.is_file() for path in self.paths(item)):
                continue
            if "json" in self.kinds:
                try:
                    scene = sa1b.read(self.folder / f"{item.stem}.json")
                    if scene.get("gsam") != json.loads(json.dumps(self.asked.note)):
                        continue
                    self.count(scene)
                except (ValueError, KeyError, TypeError):
                    continue
            found.add(item)
        return found

    def put(self, item: Item, pixels: Any, scene: Mapping[str, Any]) -> list[Path]:
        from gsam.results.draw import overlay
        from gsam.results.formats import mask_folder, sa1b

        if "csv" in self.kinds:
            mask_folder.write(scene["annotations"], self.folder / item.stem)
        if "png" in self.kinds:
            overlay.write(_drawn(pixels, scene["annotations"], self.asked.queries), self.folder / f"{item.stem}.png")
        if "json" in self.kinds:
            sa1b.write(scene, self.folder / f"{item.stem}.json")
        self.count(scene)
        return self.paths(item)

    def count(self, scene: Mapping[str, Any]) -> None:
        """Into the COCO file of the run, if there is one."""
        if self.coco:
            self.coco.add(_for_coco(scene, self.asked.queries or ["object"]))


class Run(segment.Run):
    """What happens to the pictures, and what is told about it."""

    asked: Asked

    def work(self, find: Find, items: Sequence[Item]) -> None:
        from gsam.inputs.image import open_image
        from gsam.results.formats import sa1b

        bar = Progress(len(items))
        signals.finish_batch(True)
        try:
            for number, item in enumerate(items):
                try:
                    pixels = open_image(item.path).pixels
                except (GsamError, TypeError) as error:
                    self.refuse(item, error, bar)
                    continue
                records = find(pixels)
                size = (pixels.shape[0], pixels.shape[1])
                scene = sa1b.sa1b_dict(records, item.name, size, number, gsam=self.asked.note)
                written = self.outputs.put(item, pixels, scene) if isinstance(self.outputs, Outputs) else []
                self.pictures += 1
                self.objects += len(records)
                self.say(_told(item, scene, written) if not self.as_json else sa1b.dumps(scene))
                bar.step()
                signals.check()
        except signals.Interrupted:
            bar.close()
            if self.outputs:
                self.outputs.close()
            raise
        except OSError as error:
            self.unwritten(error, bar)
        finally:
            signals.finish_batch(False)
            bar.close()


def _options() -> frozenset[str]:
    """What both `gsam.MaskGenerator` and the command line take."""
    return frozenset(inspect.signature(everything).parameters) & _settings()


def _settings() -> frozenset[str]:
    from gsam.predictors.automatic.settings import Settings

    return frozenset(f.name for f in dataclasses.fields(Settings))


def _recipe(name: str) -> dict[str, Any] | None:
    """The recipe of that name or file; None for what is a model."""
    from gsam.build.recipes import read_recipe, recipes

    return read_recipe(name) if name in recipes() or name.endswith(".toml") else None


def _for_coco(scene: Mapping[str, Any], queries: Sequence[str]) -> dict[str, Any]:
    """As `gsam.results.formats.coco` wants it: boxes exclusive, a label each."""
    segments = []
    for a in scene["annotations"]:
        x, y, w, h = a["bbox"]
        label = a.get("label", queries[0])
        box = [x, y, x + w + 1, y + h + 1] if a["area"] else [x, y, x, y]
        segments.append(
            {"label": label, "label_id": queries.index(label) if label in queries else 0, "box": box, "area": a["area"],
             "mask": a["segmentation"], "score": round(a.get("label_score", a["predicted_iou"]), 5)}
        )  # fmt: skip
    image = scene["image"]
    return {
        "image": image["file_name"], "width": image["width"], "height": image["height"],
        "queries": list(queries), "segments": segments,
    }  # fmt: skip


def _drawn(pixels: Any, records: Sequence[Mapping[str, Any]], queries: Sequence[str]) -> Any:
    """The picture with masks in colours of their own, or with names in the colours of these."""
    from gsam.results.draw import instance_overlay

    if not queries:
        return instance_overlay.draw(pixels, records)
    import numpy as np

    from gsam.results.masks.cropped import CroppedMasks
    from gsam.results.masks.rle import decode
    from gsam.results.result import Result

    boxes = np.array([r["bbox"] for r in records], int).reshape(-1, 4)
    ends = boxes[:, :2] + boxes[:, 2:] + 1
    parts = [
        decode(r["segmentation"])[y0:y1, x0:x1]
        for r, (x0, y0), (x1, y1) in zip(records, boxes[:, :2], ends, strict=True)
    ]
    return Result(
        pixels=pixels,
        queries=list(queries),
        xyxy=np.concatenate([boxes[:, :2], ends], 1).astype(np.float32),
        labels=[r["label"] for r in records],
        label_ids=np.array([queries.index(r["label"]) for r in records], np.int64),
        scores=np.array([r["label_score"] for r in records], np.float32),
        mask_scores=np.array([r["predicted_iou"] for r in records], np.float32),
        low_res=CroppedMasks(boxes[:, 1::-1].astype(np.int64), parts, pixels.shape[:2]),
    ).plot()


def _told(item: Item, scene: Mapping[str, Any], written: Sequence[Path]) -> str:
    labels = [a.get("label", "masks") for a in scene["annotations"]]
    found = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)) or "nothing"
    places = f" -> {', '.join(map(segment.shown, written))}" if written else ""
    return f"{segment.shown(item.path)}: {found}{places}"
