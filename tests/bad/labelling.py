"""Rows 50, 57 and 58: sources of `gsam label` that are damaged, refused or not there."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from gsam.cli.options import queries_of
from gsam.dataset.label.engine import Summary, label
from gsam.dataset.label.listing import Entry
from gsam.dataset.label.place import place_of
from gsam.dataset.label.plan import Plan
from gsam.text.queries import Queries
from tests.bad.table import Row, Run, error
from tests.helpers.fake_gsam import FakePipeline


def labelled(name: str, content: bytes | str, source: str = "{}", **settings: object) -> Callable[[Path], Run]:
    """Label what is in a file, with a stand-in for the pipeline."""

    def make(folder: Path) -> Run:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)
        where = source.format(folder / name)
        return lambda: run(where, folder, **settings)

    return make


def run(source: str, folder: Path, **settings: object) -> Summary:
    given = {"parts": "jsonl", "out": folder / "out", "load": lambda *_, **__: FakePipeline()} | settings
    return label(source, "dog", given.pop("out"), "nano", **given)  # type: ignore[arg-type]


def tarred(*images: tuple[str, bytes], keep: float = 1.0) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in images:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()[: int(len(file.getvalue()) * keep)]


def failed(count: int, images: int) -> Callable[[Summary], None]:
    def check(found: Summary) -> None:
        assert (found.failed, found.images, found.complete) == (count, images, True)

    return check


def planned(folder: Path) -> Run:
    """Label into a folder with another plan."""
    Plan.of(place_of(folder / "out"), {"sources": ["elsewhere"]}, lambda: [Entry("a.png", "a.png")], 256)
    return labelled("list.jsonl", '{"image": "a.png"}')(folder)


def ontology(content: str) -> Callable[[Path], Run]:
    def make(folder: Path) -> Run:
        (folder / "classes.toml").write_text(content)
        return lambda: queries_of(None, folder / "classes.toml")

    return make


def missing(source: str) -> Callable[[Path], Run]:
    return lambda folder: lambda: run(source.format(folder), folder)


def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(file, "PNG")
    return file.getvalue()


def one_label(found: Queries) -> None:
    assert (found.categories, found.groups) == (["pet"], [0, 0])


IMAGE = image()
ROWS: list[Row] = [
    Row("50a", "a tar that was cut short: what is whole is labelled, the tar is a row with its error",
        labelled("a.tar.gz", tarred(*((f"{i}.png", IMAGE + bytes(range(256)) * 40) for i in range(40)), keep=0.6)),
        check=lambda found: failed(1, found.images)(found), exit=3, http=None),
    Row("50b", "a Parquet file that is none", labelled("a.parquet", b"PAR1 nonsense"), check=failed(1, 1), exit=3,
        http=None),
    Row("50c", "a tar that is none", labelled("a.tar", b"nonsense" * 99), check=failed(1, 1), exit=3, http=None),
    Row("50d", "a tar without an image", labelled("a.tgz", tarred(("a.txt", b"hello"))), check=failed(1, 1), exit=3,
        http=None),
    Row("50e", "an image in a tar that is none: the others are labelled",
        labelled("a.tgz", tarred(("a.png", IMAGE), ("b.png", b"none"), ("c.png", IMAGE))), check=failed(1, 3), exit=3,
        http=None),
    Row("50f", "an image of a manifest that is gone", labelled("a.txt", "gone.png"), check=failed(1, 1), exit=3,
        http=None),
    error("57a", "a manifest with an id twice",
          labelled("list.jsonl", '{"image": "a", "id": 1}\n{"image": "b", "id": 1}'), "UsageError id_repeated",
          "entries 1 and 2", 2, None),
    error("57b", "a manifest whose line is no JSON, or has no image",
          labelled("list.jsonl", '{"image": "a"}\n{"name": "b"}'), "UsageError manifest_invalid", "row 2 has no image",
          2, None),
    error("57c", "a manifest without a row", labelled("list.csv", "", part_size=1), "UsageError nothing_to_label",
          "no image is there", 2, None),
    error("57d", "a folder with the results of another plan", planned, "UsageError plan_differs", "was ", 2, None),
    error("57e", "a worker that is not one of some", labelled("list.jsonl", '{"image": "a"}', worker="3/2"),
          "UsageError worker_invalid", "as 3/8", 2, None),
    error("57f", "parts of no known form", labelled("list.jsonl", '{"image": "a"}', parts="xml"),
          "UsageError parts_unknown", "not 'xml'", 2, None),
    error("58a", "a source that is not there", missing("{}/photos"), "UsageError source_missing", "nothing is there", 2,
          None),
    error("58b", "a pattern that nothing fits", missing("{}/*.jpg"), "UsageError source_missing", "nothing is there", 2,
          None),
    error("58c", "a manifest that is not there", missing("{}/list.csv"), "UsageError source_missing",
          "nothing is there", 2, None),
    error("58d", "an http address without --allow-urls", labelled("a.csv", "url\nhttp://example.org/a.png"),
          "UsageError urls_not_allowed", "--allow-urls", 2, None),
    error("58e", "a tar at an http address", lambda folder: lambda: run("https://example.org/a.tar", folder,
          allow_urls=True), "UsageError source_unknown", "download it first", 2, None),
    error("58f", "a store that fsspec does not know", missing("nonsense://bucket/a"), "UsageError store_unknown",
          "no store that fsspec knows", 2, None),
    error("58g", "results on a store that fsspec does not know", lambda folder: lambda: run("x", folder,
          out="nonsense://bucket/a"), "UsageError store_unknown", "nonsense", 2, None),
    error("58h", "an ontology with a query twice", ontology('cat = "a"\ncat = "b"'), "UsageError classes_unreadable",
          "a query is there twice", 2, None),
    Row("58i", "an ontology with a label twice: both queries have it", ontology('cat = "pet"\ndog = "pet"'),
        check=one_label, http=None),
    error("58j", "an ontology whose label is none", ontology("cat = 3"), "UsageError classes_unreadable",
          "has no label", 2, None),
]  # fmt: skip
