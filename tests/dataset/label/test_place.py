"""Places of results: a folder and a bucket do the same things, and say what is wrong with them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsam.dataset.label import bucket
from gsam.dataset.label.bucket import BucketPlace
from gsam.dataset.label.place import LocalPlace, Place, place_of
from gsam.errors import OutputError, UsageError


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place of each kind, prepared."""
    if request.param == "folder":
        made = place_of(tmp_path / "out")
    else:
        fsspec = pytest.importorskip("fsspec")
        made = place_of(f"memory://{uuid.uuid4().hex}/out")
    made.prepare()
    yield made
    if request.param == "bucket":
        fsspec.filesystem("memory").store.clear()


def test_files_are_there_whole_and_once(place: Place, tmp_path: Path) -> None:
    assert not place.exists("a/b")
    assert place.modified("a/b") is None
    for ask in (place.read, place.size, place.age, place.open):
        with pytest.raises(FileNotFoundError):
            ask("a/b")
    assert place.put_once("a/b", b"first")
    assert not place.put_once("a/b", b"second")
    assert (place.read("a/b"), place.size("a/b")) == (b"first", 5)
    place.put("a/b", b"0123456789")
    assert place.read_range("a/b", 2, 5) == b"234"
    assert place.read_range("a/b", 5, 5) == b""
    with place.open("a/b") as file:
        file.seek(-2, os.SEEK_END)
        assert file.read() == b"89"
    assert 0 <= place.age("a/b") < 60
    place.remove("a/b")
    place.remove("a/b")
    assert not place.exists("a/b")
    assert place.names("a") == place.names("nowhere") == []


def test_local_files_are_moved_in(place: Place, tmp_path: Path) -> None:
    for once, content, answer in ((True, b"1", True), (True, b"2", False), (False, b"3", True)):
        file = tmp_path / "file"
        file.write_bytes(content)
        assert place.put_file("list.jsonl", file, once) is answer
        assert not file.exists()
    assert place.read("list.jsonl") == b"3"
    with place.scratch(".jsonl") as scratch:
        assert (scratch.suffix, scratch.read_bytes()) == (".jsonl", b"")
        scratch.write_bytes(b"4")
        place.put_file("other.jsonl", scratch)
    with contextlib.suppress(KeyError), place.scratch() as scratch:
        raise KeyError
    assert not scratch.exists()
    assert place.names("") == ["list.jsonl", "other.jsonl"]


def test_a_file_that_is_not_filled_is_not_there(place: Place) -> None:
    with contextlib.suppress(KeyError), place.filling("parts/1.jsonl") as file:
        file.write_bytes(b"half")
        raise KeyError
    assert place.names("parts") == []
    assert not file.exists()
    with place.filling("parts/1.jsonl") as file:
        file.write_bytes(b"whole")
        assert place.names("parts") == []
    assert place.names("parts") == ["1.jsonl"]
    assert place.read("parts/1.jsonl") == b"whole"


def test_of_many_at_once_one_is_first(place: Place) -> None:
    won, go = [], threading.Barrier(8)
    same = place_of(place.path())  # as another process has it

    def one(number: int) -> None:
        go.wait()
        if (place, same)[number % 2].put_once("plan.json", b"%d" % number):
            won.append(b"%d" % number)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [place.read("plan.json")]


def test_a_sign_of_life_makes_a_file_new(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    place.put("claims/1", b"x")
    os.utime(tmp_path / "claims" / "1", (1, 1))
    assert place.age("claims/1") > 1e6
    place.touch("claims/1", b"x")
    assert abs(place.age("claims/1")) < 60
    place.touch("claims/2", b"x")
    assert not place.exists("claims/2")
    assert [path.name for path in tmp_path.iterdir()] == ["claims"]  # no probe of the clock stays


def test_files_can_be_read_by_all_whom_the_mask_lets(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    place.put_once("plan.json", b"x")
    place.put("other", b"x")
    assert (tmp_path / "plan.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    place = LocalPlace(tmp_path)
    assert place.put_once("a", b"1")
    assert not place.put_once("a", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert place.read("a") == b"1"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for path, code in (("file", "output_not_a_folder"), ("file/below", "output_not_writable")):
        with pytest.raises(UsageError) as error:
            LocalPlace(tmp_path / path).prepare()
        assert error.value.code == code

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UsageError, match=r"cannot write to .*Permission denied"):
        LocalPlace(tmp_path / "out").prepare()


@pytest.mark.parametrize("way", ["put", "put_once", "put_file", "filling"])
def test_a_disk_that_is_full_leaves_nothing(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = LocalPlace(tmp_path / "out")
    place.prepare()

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "file").write_bytes(b"x")

    def fill(name: str, content: bytes) -> None:
        with place.filling(name) as file:
            file.write_bytes(content)

    write = fill if way == "filling" else getattr(place, way)
    with pytest.raises(OutputError, match=r"cannot write .*out/plan\.json: No space left on device"):
        write("plan.json", tmp_path / "file" if way == "put_file" else b"x")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_folders_that_are_links_elsewhere(tmp_path: Path) -> None:
    for name in ("parts", "claims"):
        (tmp_path / f"big-{name}").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("parts", "claims"):
        (tmp_path / "out" / name).symlink_to(tmp_path / f"big-{name}")
    place = place_of(tmp_path / "out")
    place.prepare()
    with place.filling("parts/1") as file:
        file.write_bytes(b"1")
    assert place.put_once("claims/1", b"1")
    assert place.names("parts") == ["1"] == place.names("claims")
    assert (tmp_path / "big-parts" / "1").read_bytes() == b"1"


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    assert place_of(f"file://{tmp_path}").path("a") == str(tmp_path / "a")
    assert place_of(str(tmp_path)).path() == str(tmp_path)
    assert place_of("memory://b/run/").path("plan.json") == "memory://b/run/plan.json"
    for url, code in (
        ("nonsense://b/run", "store_unknown"),
        ("simplecache::memory://b/run", "store_unknown"),
    ):
        with pytest.raises(UsageError) as error:
            place_of(url)
        assert error.value.code == code, url
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match="gs:// needs gcsfs: pip install gcsfs") as error:
        place_of("gs://b/run")
    assert error.value.code == "extra_missing"


def of_client(name: str, text: str) -> Exception:
    """An error such as a store's client raises, which is none of the system's."""
    error: Exception = type(name, (Exception,), {"__module__": "botocore.exceptions"})(text)
    return error


FAULTS: dict[str, tuple[Exception, str, int]] = {
    "unreachable": (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "store_unreachable", 4),
    "client": (of_client("EndpointConnectionError", "no such host"), "store_unreachable", 4),
    "credentials": (of_client("NoCredentialsError", "Unable to locate credentials"), "store_denied", 1),
    "denied": (PermissionError("Access Denied"), "store_denied", 1),
    "forbidden": (OSError("Forbidden: b/run"), "store_denied", 1),
    "invalid": (OSError(errno.EINVAL, "InvalidBucketName"), "store_unreachable", 1),
    "no bucket": (FileNotFoundError("NoSuchBucket"), "output_not_writable", 1),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_store_that_fails(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    fault, code, tries = FAULTS[kind]
    place, asked, slept = place_of("memory://b/run"), [], []

    def fail(*_: object, **__: object) -> None:
        asked.append(1)
        raise fault

    assert isinstance(place, BucketPlace)
    monkeypatch.setattr(type(place._fs), "pipe_file", fail)
    monkeypatch.setattr(bucket.time, "sleep", slept.append)
    with pytest.raises(UsageError, match=r"memory://b/run") as error:
        place.prepare()
    assert (error.value.code, len(asked), len(slept)) == (code, tries, tries - 1)
    assert sum(slept) < 10
    assert ("after 4 tries" in str(error.value)) is (tries == 4)


def test_a_store_that_fails_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    place = place_of(f"memory://{uuid.uuid4().hex}")
    assert isinstance(place, BucketPlace)
    real, count = type(place._fs).pipe_file, [0]

    def lose(self: Any, path: str, content: bytes, **how: Any) -> None:
        count[0] += 1
        if count[0] != 2:
            real(self, path, content, **how)
        if count[0] < 3:
            raise ConnectionResetError(errno.ECONNRESET, "reset")

    monkeypatch.setattr(type(place._fs), "pipe_file", lose)
    monkeypatch.setattr(bucket.time, "sleep", lambda _: None)
    assert place.put_once("claims/1", b"mine")  # the first try did it and its answer was lost
    assert not place.put_once("claims/1", b"other")
    assert place.read("claims/1") == b"mine"
