"""The overview's page in a real browser, from a file, where Chromium and Playwright are there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.inputs.image import Picture
from gsam.results.masks.rle import encode
from gsam.results.overview.write import write_overview

sync_api = pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OWNED = "</script><img src=x onerror=\"document.title='owned'\"><b>x</b>"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        with_it = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield with_it
        with_it.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open an overview; the test fails where the page complains of anything or asks a network."""
    rows = []
    for i, (label, score) in enumerate([("dog", 0.9), ("dog", 0.4), ("cat", 0.6), (OWNED, 0.7), ("", 0.0)]):
        mask = np.zeros((60, 80), bool)
        mask[5:30, 5 + i : 40] = True
        segments = [
            {"label": label, "score": score, "box": [5 + i, 5, 40, 30], "area": int(mask.sum()), "mask": encode(mask)}
        ]
        row = {"id": f"{i} {label}", "width": 80, "height": 60, "error": None, "pipeline": "nano", "segments": segments}
        rows.append(row if label else {**row, "segments": []})
    error = {"code": "image_unreadable", "message": OWNED}
    rows.append({"id": OWNED, "width": None, "height": None, "error": error, "pipeline": None, "segments": []})
    found = write_overview(tmp_path / "out", rows, lambda _: Picture(np.full((60, 80, 3), 120, np.uint8)))
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("console", lambda message: wrong.append(message.text))
    shown.on("pageerror", lambda raised: wrong.append(str(raised)))
    shown.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith("file:") else None)
    shown.goto(found.page.as_uri())
    until(shown, "[...document.images].every((image) => image.naturalWidth > 0)")
    yield shown
    assert wrong == []
    assert shown.title() == "out · gsam label"
    context.close()


def until(page: Any, condition: str) -> None:
    """Wait until JavaScript holds; the page's policy forbids Playwright's own way."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def names(page: Any) -> list[str]:
    return page.locator("#grid .caption p").all_text_contents()  # inner texts are empty until laid out


def test_classes_and_scores_filter(page: Any) -> None:
    assert len(names(page)) == 5
    assert page.locator("#totals dd").all_inner_texts() == ["6", "4", "3", "1", "nano"]
    page.get_by_role("button", name="dog", exact=True).click()
    assert names(page) == ["0 dog", "1 dog"]
    page.locator("#least").fill("0.5")
    until(page, "document.querySelectorAll('#grid .caption').length === 1")
    assert names(page) == ["0 dog"]
    page.locator("#clear").click()
    assert len(names(page)) == 5
    page.get_by_role("button", name="no objects").click()
    assert [name.strip() for name in names(page)] == ["4"]


def test_images_are_sorted(page: Any) -> None:
    page.locator("#sort").select_option("best")
    assert [name[0] for name in names(page)] == ["0", "3", "2", "1", "4"]
    page.locator("#sort").select_option("worst")
    assert [name[0] for name in names(page)] == ["1", "2", "3", "0", "4"]
    page.locator("#sort").select_option("least")
    assert names(page)[0][0] == "4"


def test_an_image_is_enlarged_by_keys_alone(page: Any) -> None:
    page.locator(".view").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#largeTitle").inner_text() == "0 dog"
    assert page.locator("#stage path.over").count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#largeTitle").inner_text() == f"3 {OWNED}"
    page.locator("#objects button").focus()
    assert page.locator("#stage g.on").count() == 1
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.className") == "view"


def test_outlines_lie_over_thumbnails_and_can_be_hidden(page: Any) -> None:
    assert page.locator("#grid path.over").count() == 4
    path, image = (page.locator(f"#grid li >> nth=0 >> {kind}").bounding_box() for kind in ("path.over", "img"))
    assert path["x"] - image["x"] == pytest.approx(image["width"] * 5 / 80, abs=3)
    assert path["width"] == pytest.approx(image["width"] * 35 / 80, abs=5)
    page.locator("#masks").uncheck()
    assert not page.locator("#grid svg.masks").first.is_visible()


def test_hostile_text_stays_text(page: Any) -> None:
    page.locator("#failed summary").click()
    assert page.locator("#errors td").all_inner_texts() == [OWNED, OWNED, "image_unreadable"]
    assert page.locator("b b, #errors img, td b").count() == 0
    assert page.get_by_role("button", name=OWNED, exact=True).count() == 1


def test_a_narrow_window_needs_no_scrolling_aside(page: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
