"""Every source of a data set: what is listed, and which bytes are opened."""

from __future__ import annotations

import http.server
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.dataset.label.listed import braces, list_entries
from gsam.dataset.label.listing import Entry, parse_entries, write_listing
from gsam.dataset.label.loading import load, opener
from gsam.dataset.label.manifests import Columns
from gsam.errors import GsamError, UsageError


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), grey, np.uint8)).save(file, "PNG")
    return file.getvalue()


def opened(sources: list[str], **settings: Any) -> dict[str, int | str]:
    """The grey of every image by its id, or the code of its error."""
    found: dict[str, int | str] = {}
    open_loaded = opener()
    with io.BytesIO() as file:  # what is read back is what was listed
        listing = write_listing(list_entries(sources, **settings), file, 3)
        lines = file.getvalue()
    for begin, end in zip(listing.offsets, listing.offsets[1:], strict=False):
        for loaded in load(parse_entries(lines[begin:end])):
            assert loaded.entry.id not in found
            try:
                found[loaded.entry.id] = int(open_loaded(loaded).pixels[0, 0, 0])
            except GsamError as error:
                found[loaded.entry.id] = error.code
    return found


def tar_of(path: Path, files: list[tuple[str, bytes]]) -> Path:
    mode: Any = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


SAMPLES = [
    ("000.jpg", png(10)),  # a name says little about what is in a file
    ("000.json", b"{}"),
    ("000.txt", b"a dog"),
    ("001.mask.png", png(99)),
    ("001.jpg", png(11)),
    ("sub/a.b.c.png", png(12)),
    ("sub/.hidden.png", png(98)),
    ("한국어.png", png(13)),
    ("bad.png", b"no image"),
]
FOUND = {"000.jpg": 10, "001.jpg": 11, "sub/a.b.c.png": 12, "한국어.png": 13, "bad.png": "image_unreadable"}


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_tar_read_by_place_and_one_read_as_a_stream(name: str, tmp_path: Path) -> None:
    tar_of(tmp_path / name, SAMPLES)
    assert opened([str(tmp_path / name)]) == {f"{name}/{key}": value for key, value in FOUND.items()}
    entries = list(list_entries([str(tmp_path / name)]))
    assert [entry.shard for entry in entries] == ([True] if name.endswith("gz") else [False] * 5)


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_tar_that_was_cut_short_keeps_what_is_whole(name: str, tmp_path: Path) -> None:
    whole = tar_of(tmp_path / name, [(f"{i}.png", np.random.default_rng(i).bytes(3000)) for i in range(9)])
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "good.png").write_bytes(png(5))
    found = opened([str(tmp_path / name), str(tmp_path / "good.png")])
    assert found.pop("good.png") == 5
    assert found.pop(name) == "shard_damaged"
    assert 2 <= len(found) < 9
    assert set(list(found.values())[:-1]) == {"image_unreadable"}  # random bytes, but all there


@pytest.mark.parametrize("name", ["empty.tar", "empty.tar.gz"])
def test_a_tar_without_an_image_is_told(name: str, tmp_path: Path) -> None:
    tar_of(tmp_path / name, [("a.txt", b"hello")])
    assert opened([str(tmp_path / name)])[name] in ("shard_damaged", "shard_empty")


def test_one_name_twice_in_a_tar(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar.gz"):
        tar_of(tmp_path / name, [("x.png", png(1)), ("y.png", png(3)), ("x.png", png(2))])
        want = {f"{name}/x.png": 1, f"{name}/y.png": 3, f"{name}/x.png#2": 2}
        assert opened([str(tmp_path / name)]) == want


def test_shards_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for i, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        tar_of(tmp_path / folder / "0.tar", [("x.png", png(i))])
    assert opened([str(tmp_path / "{a,b}" / "0.tar")]) == {"a/0.tar/x.png": 0, "b/0.tar/x.png": 1}


def test_a_folder_of_shards_as_img2dataset_writes_it(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    for i in range(2):
        tar_of(tmp_path / f"{i:05}.tar", [(f"{i}000.jpg", png(i)), (f"{i}000.json", b"{}")])
        table = __import__("pyarrow").table({"url": ["http://a/b.jpg"], "key": ["x"], "status": ["success"]})
        pyarrow.write_table(table, tmp_path / f"{i:05}.parquet")
    (tmp_path / "beside.png").write_bytes(png(7))
    want = {"beside.png": 7, "00000.tar/0000.jpg": 0, "00001.tar/1000.jpg": 1}
    assert opened([str(tmp_path)]) == want
    assert opened([str(tmp_path / "{00000..00001}.tar")]) == {k: v for k, v in want.items() if "tar" in k}


def test_parquet_in_its_forms(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    greys = list(range(10))
    pq.write_table(pa.table({"image": [png(g) for g in greys]}), tmp_path / "bytes.parquet", row_group_size=4)
    assert opened([str(tmp_path / "bytes.parquet")]) == {f"bytes.parquet/{g}": g for g in greys}
    hub = [{"bytes": png(g), "path": f"{g}.png"} if g != 3 else {"bytes": None, "path": "3.png"} for g in greys]
    table = pa.table({"image": hub, "image_id": [f"n{g}" for g in greys], "query": ["cat", *[None] * 9]})
    pq.write_table(table, tmp_path / "hub.parquet", row_group_size=3)
    found = opened([str(tmp_path / "hub.parquet")])
    assert found == {f"n{g}": g if g != 3 else "image_missing" for g in greys}
    assert [entry.query for entry in list_entries([str(tmp_path / "hub.parquet")])][:2] == ["cat", None]
    for g in greys:
        (tmp_path / f"{g}.png").write_bytes(png(g))
    paths = pa.table({"URL": [f"{g}.png" for g in greys], "name": [f"n{g}" for g in greys]})
    pq.write_table(paths, tmp_path / "paths.parquet")
    assert opened([str(tmp_path / "paths.parquet")]) == {f"{g}.png": g for g in greys}
    named = opened([str(tmp_path / "paths.parquet")], columns=Columns("URL", "name"))
    assert named == {f"n{g}": g for g in greys}
    pq.write_table(pa.table({"caption": ["a"]}), tmp_path / "none.parquet")
    with pytest.raises(UsageError, match=r"no column of images .* but caption: name one with --image-column"):
        opened([str(tmp_path / "none.parquet")])


def test_a_parquet_file_that_was_cut_short_or_is_gone(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [png(g) for g in range(6)]}), path, row_group_size=2)
    entries, whole = list(list_entries([str(path)])), path.read_bytes()
    path.write_bytes(whole[:-100])
    (tmp_path / "b.png").write_bytes(png(4))
    assert opened([str(path), str(tmp_path / "b.png")]) == {"a.parquet": "shard_damaged", "b.png": 4}
    path.unlink()
    codes = [loaded.content.code for loaded in load(entries) if isinstance(loaded.content, GsamError)]
    assert codes == ["shard_damaged"] * 6
    spoilt = bytearray(whole)
    spoilt[60:400] = bytes(340)  # in the first row group
    path.write_bytes(spoilt)
    assert len(list(load(entries))) == 6


def test_a_manifest_of_each_kind(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    (tmp_path / "a.txt").write_text("0.png\n\n1.png\n")
    assert opened([str(tmp_path / "a.txt")]) == {"0.png": 0, "1.png": 1}
    (tmp_path / "a.tsv").write_text("ID\tFile_Name\nx\t2.png\n")
    assert opened([str(tmp_path / "a.tsv")]) == {"x": 2}
    rows = [{"image": "0.png", "query": ["a, b", "c"]}, {"image": str(tmp_path / "1.png"), "id": 7}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert opened([str(tmp_path / "a.jsonl")]) == {"0.png": 0, "7": 1}
    assert next(iter(list_entries([str(tmp_path / "a.jsonl")]))).query == '"a, b"\n"c"'
    with pytest.raises(UsageError, match="row 1 has no image: photo"):
        opened([str(tmp_path / "a.jsonl")], columns=Columns("photo"))


def test_names_with_newlines_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    names = [b"a\nb.png", b"\xff\xfe.png", "\u202eevil.png".encode()]
    for i, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(png(i))
    found = opened([str(tmp_path)])
    assert sorted(found.values()) == [0, 1, 2]  # type: ignore[type-var]
    assert {"a\nb.png", "\\xff\\xfe.png", "\u202eevil.png"} == set(found)


def test_what_is_not_there_is_said_before_anything_begins(tmp_path: Path) -> None:
    for source in ("typo.png", "typo/", "typo.tar", "typo.parquet", "*.png", "typo.jsonl"):
        with pytest.raises(UsageError, match=r"is not there|nothing is there"):
            opened([str(tmp_path / source)])


def test_braces(tmp_path: Path) -> None:
    assert braces("s3://b/{08..11}.tar") == [f"s3://b/{n}.tar" for n in ("08", "09", "10", "11")]
    assert braces("{a,b}/{1..2}") == ["a/1", "a/2", "b/1", "b/2"]
    assert braces("{name}.png") == ["{name}.png"]
    (tmp_path / "{1..2}.png").write_bytes(png(1))
    assert braces(str(tmp_path / "{1..2}.png")) == [str(tmp_path / "{1..2}.png")]


def test_a_store(tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    for name, content in {"in/a.png": png(1), "in/sub/b.png": png(2), "in/c.txt": b""}.items():
        fs.pipe_file(f"/bucket/{name}", content)
    tar_of(tmp_path / "0.tar", SAMPLES)
    fs.pipe_file("/bucket/tars/0.tar", (tmp_path / "0.tar").read_bytes())
    fs.pipe_file("/bucket/list.csv", b"image,id\nin/a.png,one\nmemory://bucket/in/sub/b.png,two\ngone.png,three\n")
    try:
        assert opened(["memory://bucket/in"]) == {"a.png": 1, "sub/b.png": 2}
        assert opened(["memory://bucket/in"], recursive=False) == {"a.png": 1}
        assert opened(["memory://bucket/in/*.png"]) == {"a.png": 1}
        assert opened(["memory://bucket/list.csv"]) == {"one": 1, "two": 2, "three": "image_missing"}
        assert opened(["memory://bucket/tars/0.tar"]) == {f"0.tar/{key}": value for key, value in FOUND.items()}
        with pytest.raises(UsageError, match="nothing is there"):
            opened(["memory://bucket/none"])
        with pytest.raises(UsageError, match="no store that fsspec knows"):
            opened(["nonsense://bucket/none"])
    finally:
        fs.rm("/bucket", recursive=True)


def test_parquet_on_a_store() -> None:
    import fsspec

    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    with io.BytesIO() as file:
        pq.write_table(pa.table({"jpg": [png(g) for g in range(5)], "__key__": list("abcde")}), file)
        fsspec.filesystem("memory").pipe_file("/store/x.parquet", file.getvalue())
    try:
        assert opened(["memory://store/x.parquet"]) == dict(zip("abcde", range(5), strict=True))
    finally:
        fsspec.filesystem("memory").rm("/store", recursive=True)


@pytest.fixture
def server() -> Iterator[str]:
    asked: dict[str, int] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] = asked.get(self.path, 0) + 1
            if self.path == "/flaky.png" and asked[self.path] == 1:
                self.send_error(503)
                return
            if self.path == "/away.png":
                self.send_response(302)
                self.send_header("Location", "http://169.254.169.254/latest")
                self.end_headers()
                return
            if self.path == "/none.png":
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png(8))

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_addresses_only_when_allowed(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "urls.csv").write_text(f"url,id\n{server}/a.png,a\n{server}/none.png,b\n{server}/flaky.png,c\n")
    for source in (str(tmp_path / "urls.csv"), f"{server}/a.png"):
        with pytest.raises(UsageError, match="--allow-urls") as error:
            opened([source])
        assert error.value.code == "urls_not_allowed"
    private = opened([str(tmp_path / "urls.csv")], allow_urls=True)
    assert set(private.values()) == {"url_private"}
    monkeypatch.setenv("GSAM_PRIVATE_URLS", "1")
    monkeypatch.setattr("gsam.dataset.label.loading.WAITS", (0.01,))
    assert opened([str(tmp_path / "urls.csv")], allow_urls=True) == {"a": 8, "b": "url_failed", "c": 8}
    assert opened([f"{server}/a.png"], allow_urls=True) == {"a.png": 8}
    with pytest.raises(UsageError, match="download it first"):
        opened([f"{server}/a.tar"], allow_urls=True)


def test_a_redirect_to_a_private_address_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gsam.inputs import remote

    # The server's own address is let through, as a public one would be.
    monkeypatch.setattr(remote, "_public", lambda address: address == "127.0.0.1")
    assert opened([f"{server}/away.png"], allow_urls=True) == {"away.png": "url_private"}


def test_a_manifest_of_very_many_rows_needs_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    def many(count: int) -> Iterator[Entry]:
        return (Entry(f"{i:08}.png", f"/data/{i:08}.png") for i in range(count))

    peaks = []
    for count in (3_000, 15_000):
        with (tmp_path / "listing").open("w+b") as file:
            tracemalloc.start()
            assert write_listing(many(count), file, 256).count == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 12_000 < 24  # bytes a row: a hash of its id, while it is looked for twice
