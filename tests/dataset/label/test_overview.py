"""The overview of a labelled data set: counts, sample, outlines, thumbnails, sheet and page."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import ImageError
from gsam.inputs.image import Picture
from gsam.results.draw.colours import colours
from gsam.results.masks.rle import encode
from gsam.results.overview.survey import Survey
from gsam.results.overview.write import Overview, write_overview

Row = dict[str, Any]


HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "노란 버스",
    "a\u2028b\u2029c",
    "\udcff\x00\x1b[31m",
    "@script@ @data@ {{x}}",
    "__proto__",
    '"&amp;\\',
)


def segment(label: str, score: float, mask: NDArray[np.bool_], label_id: int = 0) -> Row:
    ys, xs = np.nonzero(mask)
    box = [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)] if len(xs) else [0.0] * 4
    area = int(mask.sum())
    return {
        "label": label, "label_id": label_id, "score": score, "mask_score": 0.9, "box": box, "area": area,
        "mask": encode(mask),
    }  # fmt: skip


def square(y: int, x: int, side: int, size: tuple[int, int] = (30, 40)) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def row(name: str, segments: list[Row], size: tuple[int, int] = (30, 40)) -> Row:
    return {
        "id": name, "image": name, "width": size[1], "height": size[0], "error": None, "pipeline": "nano",
        "queries": ["dog"], "segments": segments,
    }  # fmt: skip


def failure(name: str, message: str = "no image") -> Row:
    error = {"code": "image_unreadable", "message": message}
    return {
        "id": name, "image": name, "width": None, "height": None, "error": error, "pipeline": None, "queries": [],
        "segments": [],
    }  # fmt: skip


def grey(found: Row) -> Picture:
    return Picture(np.full((found["height"], found["width"], 3), 90, np.uint8))


def light(i: int, labels: tuple[str, ...]) -> Row:
    """A row whose masks nobody will look at."""
    segments = [{"label": label, "score": 0.5, "box": [0, 0, 1, 1], "area": 1, "mask": None} for label in labels]
    return row(f"{i:06}", segments)


def some_rows(count: int = 12) -> list[Row]:
    return [
        row(f"{i:02}.png", [segment("dog" if i % 3 else "cat", 0.3 + 0.05 * i, square(3, 4 + i, 9))])
        for i in range(count)
    ]


class Page(html.parser.HTMLParser):
    """The scripts, styles and tags of a page, by the standard library's parser."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(path.read_bytes().decode())
        scripts = [text for tag, text in self.texts if tag == "script"]
        self.data, self.script = json.loads(scripts[0]), scripts[1]
        assert len(scripts) == 2

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open, data))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_counts(tmp_path: Path) -> None:
    rows = [
        row("a", [segment("dog", 0.9, square(0, 0, 5)), segment("dog", 0.5, square(9, 9, 5))]),
        row("b", [segment("cat", 0.25, square(0, 0, 5)), segment("dog", 1.0, square(9, 9, 5))]),
        row("c", []),
        failure("d", "it is broken"),
    ]
    found = write_overview(tmp_path, iter(rows), grey)
    assert (found.images, found.failed, found.empty, found.objects, found.shown) == (4, 1, 1, 4, 3)
    assert found.counts == {"dog": 3, "cat": 1}
    dog = found.classes[0]
    assert (dog.label, dog.objects, dog.images, round(dog.mean, 6)) == ("dog", 3, 2, 0.8)
    assert {k: n for k, n in enumerate(dog.histogram) if n} == {10: 1, 18: 1, 19: 1}
    data = Page(found.page).data
    assert [image["id"] for image in data["sample"]] == ["a", "b", "c"]
    assert data["errors"] == [["d", "image_unreadable", "it is broken"]]
    assert [(c["label"], c["objects"], c["images"], c["mean"]) for c in data["classes"]] == [
        ("dog", 3, 2, 0.8), ("cat", 1, 1, 0.25)
    ]  # fmt: skip
    assert [score for _, score, _, _ in data["sample"][1]["objects"]] == [1.0, 0.25]


def test_the_table_of_a_terminal_is_aligned_and_safe() -> None:
    survey = Survey(5)
    for i, label in enumerate(["노란 버스", "dog", "x" * 90, "\x1b[31mred\n", ""]):
        survey.add(row(str(i), [segment(label, 0.5, square(0, 0, 3))] * (i + 1)))
    found = Overview(Path("index.html"), survey.images, 0, 0, survey.objects, 5, survey.by_count())
    lines = found.lines()
    assert lines[0].split() == ["label", "objects", "images", "mean", "score"]
    assert not any(letter in line for line in lines for letter in "\x1b\n")
    assert "(no name)" in lines[1]
    assert lines[-1].split() == ["all", "15", "5", "0.50"]
    assert len({len(line) + sum("가" <= letter <= "힣" for letter in line) for line in lines}) == 1  # hangul is wide
    short = found.lines(2)
    assert len(short) == 5
    assert short[3] == "and 3 more classes"
    assert Overview(Path("index.html"), 0, 0, 0, 0, 0, []).lines() == []


def test_text_of_any_kind_is_data(tmp_path: Path) -> None:
    rows = [row(text, [segment(text, 0.5, square(2, 2, 8))]) for text in HOSTILE]
    rows += [failure(text, text) for text in HOSTILE]
    found = write_overview(tmp_path, rows, grey)
    page = Page(found.page)
    assert [image["id"] for image in page.data["sample"]] == list(HOSTILE)
    assert {known["label"] for known in page.data["classes"]} == set(HOSTILE)
    assert [error[2] for error in page.data["errors"]] == list(HOSTILE)
    assert not [tag for tag, given in page.tags if tag == "img" or any(name.startswith("on") for name in given)]
    whole = found.page.read_text(encoding="utf-8")
    assert whole.count("<script") == 2
    assert whole.count("</script") == 2
    assert not re.search("[<>&]", next(text for tag, text in page.texts if tag == "script"))


def test_only_what_the_page_brings_may_run(tmp_path: Path) -> None:
    page = Page(write_overview(tmp_path, some_rows(), grey).page)
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    style = next(text for tag, text in page.texts if tag == "style")
    for name, text in (("script-src", page.script), ("style-src", style)):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert not any(letters in policy for letters in ("unsafe", "http", "*"))
    assert not any("style" in given for _, given in page.tags)
    outside = [value for _, given in page.tags for name, value in given.items() if name in ("src", "href")]
    assert set(outside) == {"#images", "overview/contact_sheet.jpg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|https?:(?!//www\.w3\.org)",
                         page.script)  # fmt: skip


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [*some_rows(), failure("x")]
    write_overview(tmp_path / "a", rows, grey)
    write_overview(tmp_path / "b", iter(json.loads(json.dumps(rows))), grey)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    write_overview(tmp_path / "a", rows, grey)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_an_overview_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    mine = tmp_path / "overview" / "mine.jpg"
    write_overview(tmp_path, some_rows(), grey)
    mine.write_bytes(b"x")
    write_overview(tmp_path, some_rows()[:2], grey)
    assert set(tree(tmp_path)) == {
        "index.html", "overview/0000.jpg", "overview/0001.jpg", "overview/contact_sheet.jpg", "overview/mine.jpg",
    }  # fmt: skip
    write_overview(tmp_path, [], grey)
    assert set(tree(tmp_path)) == {"index.html", "overview/mine.jpg"}


@pytest.mark.parametrize("rows", [[], [row("a", [])], [failure("a")], [row("a", []), failure("b")]])
def test_data_sets_without_objects(rows: list[Row], tmp_path: Path) -> None:
    found = write_overview(tmp_path, rows, grey)
    data = Page(found.page).data
    assert (found.objects, found.lines(), data["classes"]) == (0, [], [])
    assert len(data["sample"]) == found.shown == sum(not r["error"] for r in rows)
    assert bool(data["sheet"]) == (tmp_path / "overview" / "contact_sheet.jpg").exists() == bool(found.shown)


def test_only_failures_that_are_listed_are_kept(tmp_path: Path) -> None:
    found = write_overview(tmp_path, (failure(str(i), "x" * 10**5) for i in range(300)), grey)
    data = Page(found.page).data
    assert (found.failed, data["failed"], len(data["errors"])) == (300, 300, 100)
    assert found.page.stat().st_size < 300_000


def gone(_: Row) -> Picture:
    raise ImageError("no such file", "image_missing")


def vanished(_: Row) -> Picture:
    raise FileNotFoundError(2, "No such file")


def another(_: Row) -> Picture:
    return Picture(np.zeros((31, 40, 3), np.uint8))


@pytest.mark.parametrize("opened", [gone, vanished, another, lambda _: None])
def test_sources_that_are_gone(opened: Callable[[Row], Picture | None], tmp_path: Path) -> None:
    data = Page(write_overview(tmp_path, some_rows(3), opened).page).data
    assert [image["gone"] for image in data["sample"]] == [True] * 3
    assert all(image["objects"][0][3] for image in data["sample"])
    with Image.open(tmp_path / "overview" / "0000.jpg") as image:
        assert image.size == (40, 30)
        assert np.ptp(np.asarray(image)) == 0


def test_errors_that_are_our_own_are_not_hidden(tmp_path: Path) -> None:
    def wrong(_: Row) -> Picture:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_overview(tmp_path, some_rows(), wrong)


def test_masks_that_are_none_leave_the_rest(tmp_path: Path) -> None:
    bad = [
        None,
        {"size": [30, 40], "counts": "~~~"},
        {"size": [9, 9], "counts": [81]},
        {"size": [30, 40]},
        encode(square(0, 0, 0)),
    ]
    segments = [segment("dog", 0.5, square(2, 2, 8)) | {"mask": mask} for mask in bad]
    objects = Page(write_overview(tmp_path, [row("a", segments)], grey).page).data["sample"][0]["objects"]
    assert [path for *_, path in objects] == [""] * len(bad)


def test_thumbnails_are_small_and_show_the_image(tmp_path: Path) -> None:
    pixels = np.zeros((600, 1200, 3), np.uint8)
    pixels[:, 600:] = (250, 20, 20)
    write_overview(tmp_path, [row("a", [], (600, 1200))], lambda _: Picture(pixels))
    with Image.open(tmp_path / "overview" / "0000.jpg") as image:
        assert (image.size, image.format) == ((400, 200), "JPEG")
        seen = np.asarray(image).astype(int)
    assert seen[:, :190].max() < 12
    assert abs(seen[:, 210:] - (250, 20, 20)).max() < 12


def disc(size: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.ogrid[: size[0], : size[1]]
    away = np.hypot(y - size[0] * 0.45, x - size[1] * 0.6)
    return (away < min(size) * 0.4) & (away > min(size) * 0.15)


def test_the_sheet_is_drawn_in_the_colours_of_classes(tmp_path: Path) -> None:
    write_overview(tmp_path, [row("a", [segment("dog", 0.8, disc((300, 400)))], (300, 400))], grey)
    with Image.open(tmp_path / "overview" / "contact_sheet.jpg") as image:
        seen = np.asarray(image).astype(int)
    near = abs(seen - np.array(colours(["dog"])["dog"])).max(-1) < 40
    assert near.sum() > 200
    assert seen.shape == (180 + 26 + 20, 260, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2)])
def test_images_of_any_shape(size: tuple[int, int], tmp_path: Path) -> None:
    found = write_overview(tmp_path, [row("a", [segment("dog", 0.5, np.ones(size, bool))], size)], grey)
    image = Page(found.page).data["sample"][0]
    assert max(image["thumbnail"]) <= 400
    assert min(image["thumbnail"]) >= 1
    assert image["objects"][0][3].startswith("M")


def test_a_page_for_many_classes_stays_small(tmp_path: Path) -> None:
    rows = [light(i, (f"class {i}",)) for i in range(3000)]
    data = Page(write_overview(tmp_path, rows, lambda _: None, most=5).page).data
    assert 1000 <= len(data["classes"]) <= 1005
    assert len(data["classes"]) + data["moreClasses"] == 3000
    assert all(0 <= number < len(data["classes"]) for image in data["sample"] for number, *_ in image["objects"])


def test_nothing_of_the_page_needs_a_link_or_a_server(tmp_path: Path) -> None:
    write_overview(tmp_path, some_rows(), grey)
    data = Page(tmp_path / "index.html").data
    for image in data["sample"]:
        assert (tmp_path / image["file"]).read_bytes()[:3] == b"\xff\xd8\xff"
        assert io.BytesIO((tmp_path / image["file"]).read_bytes()).getbuffer().nbytes < 50_000
