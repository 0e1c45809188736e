"""``gsam everything``: images in; every mask in them out, named if words are given."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from typer import Option

from gsam.cli.options import (
    EVERYTHING,
    HELP,
    AsJson,
    Classes,
    Device,
    DType,
    Images,
    MaxPixels,
    Nms,
    Out,
    Overwrite,
    Quiet,
    Recursive,
    Reject,
    Resume,
    Segmenter,
    Stretch,
    WeightsDir,
    command_app,
    given_of,
    images_of,
    output_folder_of,
    queries_of,
)
from gsam.dataset.mask_files import FORMATS, ImageMasks, MaskFiles
from gsam.dataset.outputs import formats_of
from gsam.dataset.progress import saying
from gsam.dataset.report import describe
from gsam.dataset.run import Run
from gsam.dataset.sources import Item
from gsam.dataset.stream import NOT_OF_AN_IMAGE
from gsam.errors import UsageError
from gsam.registry import roles_of
from gsam.runtime.settings import LIMITS, check_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gsam.text.queries import Queries
    from gsam.types import Json, JsonMapping

app = command_app()
Values: TypeAlias = "JsonMapping"
"""Names and values, as keyword arguments and recipes have them."""
NAMED = ("reject", "nms", "duplicate", "inside")
"""The limits of a recipe that say which named masks are kept."""


@app.command(no_args_is_help=True, context_settings=HELP)
def everything(
    paths: Images,
    model: Annotated[
        str,
        Option(
            "--pipeline",
            "-p",
            "--model",
            "-m",
            help="A segmenter, or a recipe that begins with [ground]: everything_nano needs no download.",
        ),
    ] = EVERYTHING,
    out: Out = None,
    formats: Annotated[
        str,
        Option(
            "--format",
            help="Any of json (as in SA-1B), png (overlay), coco (one file per run), "
            "csv (a folder of masks with metadata.csv).",
        ),
    ] = "json,png",
    query: Annotated[
        list[str] | None, Option("--query", "-q", help='Name every mask as one of these: "cat. bus". May be repeated.')
    ] = None,
    classes: Classes = None,
    segmenter: Segmenter = None,
    classifier: Annotated[
        str | None,
        Option("--classifier", "-c", help="A classifier, or a recipe that has one.  [default: the recipe's]"),
    ] = None,
    reject: Reject = None,
    nms: Nms = None,
    weights_dir: WeightsDir = None,
    device: Device = None,
    dtype: DType = None,
    points_per_side: Annotated[int | None, Option(help="Points of the grid along each side.  [32]")] = None,
    points_per_batch: Annotated[int | None, Option(help="Points decoded together.  [64]")] = None,
    pred_iou_thresh: Annotated[float | None, Option(help="Lowest predicted IoU to keep.  [0.88, SAM 2: 0.8]")] = None,
    stability_score_thresh: Annotated[float | None, Option(help="Lowest stability score to keep.  [0.95]")] = None,
    stability_score_offset: Annotated[
        float | None, Option(help="Shift of the mask threshold for the stability score.  [1.0]")
    ] = None,
    box_nms_thresh: Annotated[float | None, Option(help="IoU above which boxes are duplicates.  [0.7]")] = None,
    crop_n_layers: Annotated[int | None, Option(help="Layers of crops: 4, then 16, ... crops more.  [0]")] = None,
    crop_nms_thresh: Annotated[
        float | None, Option(help="IoU above which boxes of different crops are duplicates.  [0.7]")
    ] = None,
    crop_overlap_ratio: Annotated[
        float | None, Option(help="Overlap of crops as a share of the shorter side, 0 to 1.  [0.34]")
    ] = None,
    crop_n_points_downscale_factor: Annotated[
        int | None, Option(help="Divides the points per side from layer to layer.  [1]")
    ] = None,
    min_mask_region_area: Annotated[
        int | None, Option(help="Remove holes and islands of fewer pixels than this.  [0]")
    ] = None,
    mask_threshold: Annotated[float | None, Option(help="Logits above this are mask.  [0.0]")] = None,
    use_m2m: Annotated[bool | None, Option("--use-m2m", help="Refine each mask with itself as the prompt.")] = None,
    multimask_output: Annotated[
        bool | None, Option("--multimask/--single-mask", help="All masks per point, or one.  [all]")
    ] = None,
    as_json: AsJson = False,
    stretch: Stretch = False,
    max_pixels: MaxPixels = None,
    recursive: Recursive = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Find every mask in images, and name the masks if words are given.

    For a/scene.png this writes out/scene.png, the image with every mask in a colour of its own, and
    out/scene.json.  The options are those of gsam.MaskGenerator; a recipe may have others than the
    defaults in brackets.  Exit code 3: some images could not be read; the others are done.
    """
    given = {k: v for k, v in locals().items() if k in _options() and v is not None}
    kinds = formats_of(formats, FORMATS)
    limits = given_of(reject=reject, nms=nms)
    check_numbers(limits, LIMITS, "--")
    queries = queries_of(query, classes) if query or classes else None
    if queries is None and (classifier or limits):
        option = "a classifier" if classifier else f"--{next(iter(limits))}"
        raise UsageError(f"{option} is for named masks: say the names with -q")
    items = images_of(paths, recursive, kinds)
    config = RunConfig.from_options(model, classifier, queries, given, limits, segmenter)
    config = dataclasses.replace(config, stretch=stretch, max_pixels=max_pixels, device=device, dtype=dtype)
    folder = output_folder_of(out, as_json)
    files = None
    if folder is not None:
        files = MaskFiles(folder, kinds, items, config.names, lambda: config.recorded, overwrite=overwrite)
    say = _json if as_json else _nothing if quiet else _summary
    with Run(items, files, say, resume=resume, as_json=as_json, quiet=quiet) as run:
        if run.todo:
            numbers = {item: number for number, item in enumerate(items)}
            run.process(_find(config, [(numbers[item], item) for item in run.todo]))
        run.finish()
    if run.exit_code:
        raise typer.Exit(run.exit_code)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The settings of a run."""

    model: str
    stage: Values
    """Settings of the segmenter itself."""
    options: Values
    """Options of `gsam.MaskGenerator`."""
    queries: Queries | None
    classifier: Values
    """``name`` and settings; empty without queries."""
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Which of the named masks are kept, see `gsam.pipeline.naming.MaskLabeler`."""
    stretch: bool = False
    """Whether ranges are stretched, see `gsam.inputs.image.open_image`."""
    max_pixels: int | None = None
    """The largest number of pixels, see `gsam.inputs.image.open_image`."""

    device: str | None = None
    """Where it computes, see `gsam.MaskGenerator`."""
    dtype: str | None = None
    """The type that it computes in, see `gsam.MaskGenerator`."""

    @classmethod
    def from_options(
        cls,
        model: str,
        classifier: str | None,
        queries: Queries | None,
        given: Values,
        limits: Mapping[str, float],
        segmenter: str | None,
    ) -> RunConfig:
        """Read the options of the command line and the recipes they name; nothing is loaded yet.

        Args:
            model: A segmenter or a recipe.
            classifier: A classifier, a recipe that has one, or None for that of ``model``.
            queries: What masks may be called; None where they get no names.
            given: Options of `gsam.MaskGenerator`, which count more than those of a recipe.
            limits: Limits on named masks, which count more too.
            segmenter: A segmenter in place of the recipe's.

        Raises:
            UsageError: Something does not exist, or does not fit.
            QueryError: The query cannot be read.
        """
        from gsam.predictors.automatic.settings import Settings

        recipe = _recipe(model)
        if recipe is not None and "ground" not in recipe:
            raise UsageError(f"{model} finds things by words: gsam segment -p {model}, or a recipe with [ground]")
        table = dict((recipe or {}).get("ground", {"name": model}))
        table |= {"name": segmenter} if segmenter else {}
        options = {k: v for k, v in table.items() if k in _options()} | dict(given)
        Settings(**options)  # complains now, not when the models are there
        name, stage = table.pop("name"), {k: v for k, v in table.items() if k not in _options()}
        _needs(name, "segment")  # with a grid of points for its prompts
        if queries is None:
            return cls(name, stage, options, None, {})
        by = _recipe(classifier) if classifier is not None else recipe or {}
        if by is not None and "classify" not in by:
            raise UsageError(f"{classifier or model} names nothing by itself: say which classifier does with -c")
        named: Json = dict(by["classify"]) if by is not None else {"name": classifier}
        _needs(named["name"], "classify")
        own = {k: float(v) for k, v in (by or {}).get("limits", {}).items() if k in NAMED}
        return cls(name, stage, options, queries, named, {**own, **limits})

    @property
    def provenance(self) -> Json:
        """The provenance written beside the masks."""
        note: Json = {"model": self.model, "settings": dict(self.options)}
        return {**note, "queries": self.names, "classifier": self.classifier["name"]} if self.queries else note

    @property
    def recorded(self) -> Json:
        """All that results depend on besides the images, for the manifest of the output folder."""
        from gsam.dataset.settings import plain, platform_of, query_settings, weights_of
        from gsam.version import __version__

        given = {"stage": self.stage, "options": self.options, "classifier": self.classifier, "limits": self.limits}
        models = [self.model, *([self.classifier["name"]] if self.queries else [])]
        return {
            "gsam": __version__,
            "model": self.model,
            **plain(given),
            "queries": query_settings(self.queries) if self.queries else None,
            "weights": weights_of(models),
            "stretch": self.stretch,
            "device": platform_of(self.device) if self.device else None,
            "dtype": self.dtype,
        }

    @property
    def names(self) -> list[str]:
        """The labels that masks may get, in the user's words."""
        return self.queries.categories if self.queries else []

    def load(self) -> Callable[[NDArray[np.uint8]], list[Json]]:
        """Load the models.

        Returns:
            Pixels [H, W, 3] -> records of `gsam.MaskGenerator`, with labels where there are
            queries.
        """
        import gsam
        from gsam.build.devices import devices_of, dtype_of

        device = devices_of(self.device)[0]
        dtype = dtype_of(self.dtype, [device])
        generator = gsam.MaskGenerator(
            self.model, output_mode="coco_rle", device=device, dtype=dtype, **self.options, **self.stage
        )
        if not self.queries:
            return generator.generate
        from gsam.pipeline.naming import MaskLabeler

        settings = {k: v for k, v in self.classifier.items() if k != "name"}
        classifier = gsam.classifier(self.classifier["name"], dtype=dtype, **settings)
        label = MaskLabeler(classifier, self.queries, **self.limits, device=device)
        return lambda pixels: label(pixels, generator.generate(pixels))


def _find(config: RunConfig, items: Sequence[tuple[int, Item]]) -> Iterator[tuple[Item, ImageMasks | Exception]]:
    """Load the models at once, and find the masks of one image after the other, by its number."""
    with saying(f"loading {config.model}"):
        find = config.load()

    def each() -> Iterator[tuple[Item, ImageMasks | Exception]]:
        from gsam.inputs.image import open_image
        from gsam.results.formats.sa1b import sa1b_dict

        for number, item in items:
            try:
                pixels = open_image(item.path, stretch=config.stretch, max_pixels=config.max_pixels).pixels
                size = (pixels.shape[0], pixels.shape[1])
                scene = sa1b_dict(find(pixels), item.name, size, number, gsam=config.provenance)
            except NOT_OF_AN_IMAGE:
                raise
            except Exception as error:
                yield item, error
                continue
            yield item, ImageMasks(pixels, scene)

    return each()


def _json(item: Item, image: ImageMasks, written: Sequence[Path]) -> str:
    from gsam.results.formats import sa1b

    return sa1b.dumps(image.scene)


def _nothing(item: Item, image: ImageMasks, written: Sequence[Path]) -> None:
    """Say nothing of what is as it should be."""


def _summary(item: Item, image: ImageMasks, written: Sequence[Path]) -> str:
    return describe(item.path, image.labels, written)


def _options() -> frozenset[str]:
    """Name the settings that both `gsam.MaskGenerator` and the command line take."""
    from gsam.predictors.automatic.settings import Settings

    return frozenset(inspect.signature(everything).parameters) & {f.name for f in dataclasses.fields(Settings)}


def _recipe(name: str) -> Json | None:
    """Read the recipe of that name or file; None for the name of a model."""
    from gsam.build.recipes import read_recipe, recipes

    return read_recipe(name) if name in recipes() or name.endswith(".toml") else None


def _needs(name: str, role: str) -> None:
    """Refuse an official model that cannot play a role; others are judged when they are loaded."""
    from gsam.build.stages import check_role

    if roles := roles_of(name):
        check_role(name, roles, role)
