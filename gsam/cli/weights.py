"""``gsam weights``: list, fetch, convert and check models."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from gsam.dataset.folder import new_folder
from gsam.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from gsam.types import JsonMapping
    from gsam.weights.find import CheckpointSource
    from gsam.weights.store import Loaded

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
HELP = {"help_option_names": ["-h", "--help"]}
NAME = "A name of `gsam weights list`, a hub id (owner/name@revision), a file or a folder."
Row = tuple[str, str, bool | None]
"""Name of a check, its outcome, and whether that is well; None if it was not made."""


class Dtype(enum.StrEnum):
    """Floating-point types of parameters."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Layout(enum.StrEnum):
    """Forms in which weights are written."""

    orbax = "orbax"
    pth = "pth-layout"
    hf = "hf-layout"


@app.callback(no_args_is_help=True, context_settings=HELP)
def weights() -> None:
    """List, fetch, convert and check model weights."""


@app.command("list", context_settings=HELP)
def list_models() -> None:
    """List the official models: roles, size, licence, and whether they are here."""
    from gsam.registry import family_of, roles_of
    from gsam.weights import find

    rows = [("NAME", "FAMILY", "ROLES", "PARAMETERS", "LICENCE", "HERE")]
    for name, entry in _entries().items():
        family = family_of(name) or ""
        size = f"{entry['parameters'] / 1e6:.1f} M"
        rows.append(
            (name, family, ", ".join(roles_of(name)), size, entry["licence"], "yes" if find.is_cached(name) else "no")
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (c.rjust(w) if i == 3 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        print("  ".join(cells).rstrip())


@app.command(context_settings=HELP)
def pull(name: Annotated[str, Argument(metavar="NAME", help=NAME)]) -> None:
    """Fetch a model if it is not here yet, and print where it is."""
    from gsam.weights import find

    print(find.find(name).path)


@app.command(context_settings=HELP)
def port(
    source: Annotated[str, Argument(metavar="SRC", help=NAME)],
    target: Annotated[
        Path | None, Argument(metavar="DST", help="What to write, a folder or a file; it must not exist.")
    ] = None,
    out: Annotated[Path | None, Option("--out", "-o", help="Another way to say DST.")] = None,
    to: Annotated[
        Layout,
        Option(
            help="orbax: a folder. pth-layout: a .safetensors file with the tensor names of the original repository, "
            "for its PyTorch code. hf-layout: one with the names of Hugging Face's transformers."
        ),
    ] = Layout.orbax,
    dtype: Annotated[Dtype, Option(help="Type of the numbers in it.")] = Dtype.float32,
) -> None:
    """Convert a checkpoint to an Orbax folder, or to a file for PyTorch.

    The checkpoint may be of any kind, also the folder of a training run, whose adapters are merged
    into their base.  An Orbax folder serves wherever a model is named, and so does a file.
    """
    from gsam.weights import pth_layout, store

    if (target is None) == (out is None):
        raise UsageError("name what to write once: gsam weights port SRC DST, or -o DST", "output_unnamed")
    place = target if target is not None else out
    assert place is not None
    with new_folder(place):
        if to is Layout.orbax:
            print(store.save(store.load(source, dtype=dtype.value), place))
        else:
            kind: pth_layout.Kind = "original" if to is Layout.pth else "hugging_face"
            print(pth_layout.write(source, place, kind=kind, dtype=dtype.value))


@app.command(context_settings=HELP)
def verify(
    name: Annotated[str, Argument(metavar="NAME", help=NAME)],
    image: Annotated[
        Path | None, Option(help="The image of the published values, where it cannot be downloaded.")
    ] = None,
) -> None:
    """Check a model: hash, tensors, and published values.

    Compares the file with its known hash, finds a place for every tensor, and compares what the
    model computes with values that others have published.  Says what cannot be checked.  Exit code
    1 if something is wrong.
    """
    from gsam.weights import find, store

    try:
        found = find.find(name)
    except CheckpointError as error:
        raise CheckpointError(f"nothing was checked: {error}", error.code) from None
    well = _print(_hashes(name, found))
    loaded = store.load(name)
    well &= _print(_content(name, loaded)) & _print(_published(name, loaded, image))
    if not well:
        raise typer.Exit(1)


def _print(rows: Iterator[Row]) -> bool:
    healthy = True
    for what, how, well in rows:
        print(f"{ {True: 'ok', False: '!!', None: '--'}[well] }  {what:10} {how}", flush=True)
        healthy &= well is not False
    return healthy


def _entries() -> dict[str, JsonMapping]:
    """Give the manifest entries of the official models and of those that ship, by name."""
    import tomllib

    from gsam.weights import find, folders

    shipped = tomllib.loads((folders.data_folder("nano") / "manifest.toml").read_text(encoding="utf-8"))
    return {**shipped, **find.manifest()}


def _entry(name: str) -> JsonMapping:
    """Give the entry of a model by its name or its id on the hub; empty for any other."""
    entries = _entries()
    by_hub = {e[k]: e for e in entries.values() for k in ("hub", "hub_twin") if k in e}
    return entries.get(name) or by_hub.get(name.partition("@")[0]) or {}


def _hashes(name: str, found: CheckpointSource) -> Iterator[Row]:
    """Compare files with their hashes.  Raises `CheckpointError` for one that differs."""
    from gsam.weights.hashes import hub_hash, verify_hash
    from gsam.weights.identity import weights_hash
    from gsam.weights.tuned import note_of

    note = note_of(found.path)
    if note is not None and note.scale is not None:
        try:
            same = weights_hash(note.base) == note.base_sha256
            told = "the one it was trained from" if same else "another than the one it was trained from"
        except (CheckpointError, UsageError) as error:
            same, told = False, str(error)
        yield "base", f"{note.base}: {told}", same
    files = [found.path] if found.path.is_file() else sorted(found.path.glob("*.safetensors"))
    files = files or sorted(found.path.glob("*.bin"))
    known = found.sha256 or (_entry(name).get("sha256") if found.variant else None)
    for file in files:
        expected = known.get(file.name) if isinstance(known, Mapping) else known
        if expected:
            verify_hash(file, expected)
            yield "sha256", f"{file.name}: {expected}, as in the manifest", True
        elif expected := hub_hash(file):
            verify_hash(file, expected)
            yield "sha256", f"{file.name}: {expected}, as the hub says", True
        else:
            yield _known_hash(file)
    if not files:
        yield "sha256", "not checked, an Orbax folder has no hash", None


def _known_hash(file: Path) -> Row:
    """Compare a file with the hashes of all official ones: by its value, and by its name."""
    from gsam import files

    entries = _entries()
    actual = files.sha256(file)
    hashes = {name: e["sha256"] for name, e in entries.items() if "sha256" in e}
    several = {name: set(h.values()) if isinstance(h, Mapping) else {h} for name, h in hashes.items()}
    if same := [name for name, values in several.items() if actual in values]:
        return "sha256", f"{file.name}: {actual}, the official file of {' and '.join(same)}", True
    called = [n for n, e in entries.items() if file.name in (e.get("file"), e.get("url", "").rpartition("/")[2])]
    if called and (wanted := hashes.get(called[0])) is not None:
        return "sha256", f"{file.name}: {actual}, the official {called[0]} has {wanted}", False
    return "sha256", f"{file.name}: {actual}; not checked, it is no official file", None


def _content(name: str, loaded: Loaded) -> Iterator[Row]:
    count = sum(x.size for x in loaded.params.values())
    yield "tensors", f"{len(loaded.params)}, each used once, of the right shape and finite ({loaded.family})", True
    expected = _entry(name).get("parameters")
    if expected is None:
        yield "parameters", f"{count:,}; not compared, this model is not in the manifest", None
    elif count == expected:
        yield "parameters", f"{count:,}", True
    else:
        yield "parameters", f"{count:,}, the manifest says {expected:,}", False


def _published(name: str, loaded: Loaded, image: Path | None) -> Iterator[Row]:
    from gsam.evaluation.published import Unavailable, compare

    entry = _entry(name)
    if not entry.get("published"):
        yield "published", "not checked, no published values of this model are known", None
        return
    try:
        for what, expected, actual, tolerance in compare(entry, loaded, image):
            worst = max(abs(a - e) for a, e in zip(actual, expected, strict=True))
            values = " ".join(f"{a:.4f}" for a in actual)
            wanted = " ".join(f"{e:.4f}" for e in expected)
            yield "published", f"{what}: {values}, published {wanted} ± {tolerance:g}", worst <= tolerance
    except Unavailable as error:
        yield "published", f"not checked: {error}", None
