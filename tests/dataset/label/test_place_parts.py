"""The plan and its parts in a place: made once, written whole, known again."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsam.dataset.label import parts
from gsam.dataset.label.listing import Entry
from gsam.dataset.label.parts import done_parts, is_done, part_name, write_part
from gsam.dataset.label.place import Place, place_of
from gsam.dataset.label.plan import Plan
from gsam.errors import OutputError, UsageError
from gsam.results.formats import label_parts
from gsam.results.formats.label_parts import read_parts
from gsam.types import Json

COUNT = 10


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place of each kind, not yet made."""
    if request.param == "folder":
        yield place_of(tmp_path / "out")
        return
    fsspec = pytest.importorskip("fsspec")
    yield place_of(f"memory://{uuid.uuid4().hex}/out")
    fsspec.filesystem("memory").store.clear()


def entries(count: int = COUNT) -> Iterator[Entry]:
    return (Entry(f"{i}.png", f"/in/{i}.png") for i in range(count))


def plan_of(place: Place, form: str = "jsonl", **more: Any) -> Plan:
    settings = {"parts": form, "queries": {"labels": ["dog"]}, **more}
    return Plan.of(place, settings, entries, 3)


def row(name: str, **more: Any) -> Json:
    mask = {"size": [4, 5], "counts": "52207"}
    segment = {"label": "dog", "label_id": 0, "score": 0.5, "mask_score": 0.25, "box": [0.0, 1.0, 2.0, 3.0]}
    scene = {"pipeline": "nano", "queries": ["dog"], "segments": [{**segment, "area": 5, "mask": mask}]}
    return {"id": name, "image": name, "width": 5, "height": 4, "error": None, **scene, **more}


def form(name: str) -> str:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    return name


def test_a_plan_is_made_once_and_joined(place: Place) -> None:
    plan = plan_of(place)
    assert (plan.parts, plan.count) == (4, COUNT)
    assert [e.id for part in range(4) for e in plan.entries(part)] == [e.id for e in entries()]
    again = Plan.of(place, {"parts": "jsonl", "queries": {"labels": ["dog"]}}, lambda: pytest.fail("listed again"), 3)
    assert again.key == plan.key
    with pytest.raises(UsageError, match="another plan: threshold") as error:
        plan_of(place, threshold=0.5)
    assert error.value.code == "plan_differs"


def test_of_plans_made_at_one_moment_one_is_there(place: Place) -> None:
    keys, refused, go = [], [], threading.Barrier(6)

    def one(number: int) -> None:
        go.wait()
        try:
            keys.append(plan_of(place_of(place.path()), threshold=number % 2).key)
        except UsageError as error:
            refused.append(error.code)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert (len(keys), refused) == (3, ["plan_differs"] * 3)


def test_a_plan_of_nothing_leaves_nothing(place: Place) -> None:
    with pytest.raises(UsageError, match="no image"):
        Plan.of(place, {"parts": "jsonl"}, lambda: iter(()), 3)
    assert place.names("") == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_parts_are_written_known_and_read(kind: str, place: Place) -> None:
    plan = plan_of(place, form(kind))
    assert done_parts(plan) == set()
    written = [row("0.png"), row("1.png", query_labels=["a"]), row("2.png", segments=[])]
    bad = {"width": None, "height": None, "error": {"code": "image_missing", "message": "no"}, "pipeline": None}
    write_part(plan, 2, [row("x", **bad, segments=[], queries=[])])
    write_part(plan, 0, iter(written))
    assert place.names("parts") == [f"00000.{kind}", f"00002.{kind}"]
    assert done_parts(plan) == {0, 2}
    assert [is_done(plan, part) for part in range(4)] == [True, False, True, False]
    assert [*read_parts(place)][:3] == written == [*read_parts(place.path())][:3]
    data = label_parts.read(place.path())
    assert ([scene["image"] for scene in data], data.labels) == (["0.png", "1.png", "2.png"], ["dog"])
    assert data.problems == ["x: no"]
    content = place.read(part_name(plan, 0))
    write_part(plan, 0, iter(written))
    assert place.read(part_name(plan, 0)) == content
    place.put(f"parts/7.{kind}", content)
    place.put(f"parts/00009.{kind}", content)
    place.put("parts/notes.txt", content)
    assert done_parts(plan) == {0, 2}  # what no part is called, and what the plan has no part for


def test_a_part_of_another_plan_or_damaged_is_none(place: Place) -> None:
    pytest.importorskip("pyarrow")
    plan = plan_of(place, "parquet")
    write_part(plan, 0, [row("0")])
    write_part(plan, 1, [row("1")])
    old = place.read(part_name(plan, 0))
    place.remove("plan.json")
    other = plan_of(place, "parquet", threshold=0.5)
    if place.path().startswith("memory"):  # parts of before the plan, whatever its clock's grain
        info = place._fs.store[f"{place._root}/plan.json"]  # type: ignore[attr-defined]
        info.created = info.modified = info.created.replace(year=info.created.year + 1)
    else:
        os.utime(place.path("plan.json"), (4e9, 4e9))
    other = plan_of(place, "parquet", threshold=0.5)
    assert done_parts(other) == set()
    write_part(other, 0, [row("0")])
    assert place.read(part_name(other, 0)) != old
    assert done_parts(other) == {0}
    for content in (b"", b"PAR1", old[:-9], b"x" * 100_000):
        place.put(part_name(other, 0), content)
        assert not is_done(other, 0)
    write_part(other, 0, [row("0")])
    assert is_done(other, 0)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_no_part_is_written_where_the_plan_is_gone(kind: str, place: Place) -> None:
    plan = plan_of(place, form(kind))
    place.put("plan.json", place.read("plan.json"))
    write_part(plan, 0, [row("0")])  # the same plan, copied
    place.remove("plan.json")
    for _ in range(2):
        with pytest.raises(OutputError, match="removed or replaced") as error:
            write_part(plan, 1, [row("1")])
        assert error.value.code == "plan_gone"
        plan_of(place, kind, threshold=0.5)
    assert place.names("parts") == [f"00000.{kind}"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_are_taken_as_they_come(kind: str, tmp_path: Path) -> None:
    place = place_of(tmp_path)
    plan = plan_of(place, form(kind))
    alive, most = [0], [0]

    class Counted(dict[str, Any]):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    write_part(plan, 0, (Counted(row(str(i))) for i in range(2000)))
    assert most[0] <= 2 * parts.GROUP
    assert [r["id"] for r in read_parts(place)] == [str(i) for i in range(2000)]
    taken = read_parts(place)
    assert len(list(itertools.islice(taken, 3))) == 3
    if kind == "parquet":
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(tmp_path / "parts" / "00000.parquet")
        assert file.metadata.num_row_groups == 8


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_errors_of_rows_stay_what_they_are(kind: str, place: Place) -> None:
    plan = plan_of(place, form(kind))

    def rows(error: BaseException) -> Iterator[Json]:
        yield row("0")
        raise error

    for error in (KeyboardInterrupt(), OSError(5, "the source went away"), UsageError("no", "x")):
        with pytest.raises(type(error)) as caught:
            write_part(plan, 0, rows(error))
        assert caught.value is error
    with pytest.raises(ValueError, match=r"Out of range|no column colour"):
        write_part(plan, 0, [row("0", colour=float("nan"))])
    assert place.names("parts") == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_disk_that_fills_up_in_the_middle_of_a_part(kind: str, place: Place) -> None:
    plan = plan_of(place, form(kind))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asked = itertools.count()
    many = (row(uuid.uuid4().hex * 10) for _ in zip(range(3000), asked, strict=False))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(OutputError, match=rf"cannot write .*parts/00001\.{kind}: File too large$"):
            write_part(plan, 1, many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert next(asked) < 2000  # it did not wait for the rest
    if not place.path().startswith("memory"):
        assert list((Path(place.path()) / "parts").iterdir()) == []
    write_part(plan, 1, [row("1")])
    assert done_parts(plan) == {1}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_names_that_are_no_text(kind: str, tmp_path: Path) -> None:
    plan = plan_of(place_of(tmp_path), form(kind))
    name = os.fsdecode(b"a\xff\n\xea\xb0\x80.png")
    write_part(plan, 0, [row(name), row("b")])
    told = [r["id"] for r in read_parts(tmp_path)]
    assert told == [name if kind == "jsonl" else "a\\udcff\n가.png", "b"]


def test_more_than_five_digits_of_parts_are_in_order(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number in (100000, 99999, 5, 100001):
        (tmp_path / "parts" / f"{number:05d}.jsonl").write_text(json.dumps({"id": number}) + "\n")
    assert [r["id"] for r in read_parts(tmp_path)] == [5, 99999, 100000, 100001]


def test_what_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, str(tmp_path / "none")):
        with pytest.raises(UsageError, match=r"has no plan\.json"):
            label_parts.read(path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        label_parts.read(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "00000.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"gsam-jax\[batch\]"):
        list(read_parts(tmp_path))
