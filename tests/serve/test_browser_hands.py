"""Ways into the page and around the picture: dropped, pasted, pinched, dragged; everything."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.serve.browsing import Tab
from tests.serve.conftest import SCENE

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.long
GIVEN = """([data, kind]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], 'scene.png', { type: 'image/png' }));
  const fields = { bubbles: true, cancelable: true };
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', { clipboardData: held, ...fields })
    : new DragEvent(kind, { dataTransfer: held, ...fields });
  document.body.dispatchEvent(event);
  return event.defaultPrevented;
}"""
GUITAR = (40, 100)


def view(tab: Tab) -> dict[str, float]:
    """How large the picture is drawn, and where its corner is."""
    code = "import(new URL('page/canvas.js', document.baseURI)).then(({ view: { x, y, scale } }) => ({ x, y, scale }))"
    tab.settled()
    found: dict[str, float] = tab.page.evaluate(code)
    return found


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_given_by_hand(tab_of: Callable[..., Tab], way: str) -> None:
    tab = tab_of()
    tab.ready()
    data = base64.b64encode(SCENE.read_bytes()).decode()
    if way == "drop":
        assert tab.page.evaluate(GIVEN, [data, "dragover"])  # else the browser would leave the page
        assert tab.page.evaluate("document.body.classList.contains('dropping')")
    tab.page.evaluate(GIVEN, [data, way])
    tab.until("!document.getElementById('canvas').hidden && document.getElementById('busy').hidden")
    assert not tab.page.evaluate("document.body.classList.contains('dropping')")
    assert "scene.png" in tab.page.locator("#medium").inner_text()
    tab.click(*GUITAR)
    assert tab.wait_rows(1) == ["object 1"]


def test_two_fingers_enlarge_and_ask_for_nothing(tab_of: Callable[..., Tab]) -> None:
    tab = tab_of(has_touch=True)
    tab.ready()
    tab.open(SCENE)
    before, asked = view(tab), len(tab.asked)
    touch = tab.context.new_cdp_session(tab.page)
    x, y = tab.at(256, 256)

    def fingers(kind: str, *apart: float) -> None:
        points = [{"x": x + side * half, "y": y, "id": side} for half in apart for side in (-1, 1)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 40)
    for half in (50, 65, 80):
        fingers("touchMove", half)
    fingers("touchEnd")
    after = view(tab)
    assert after["scale"] == pytest.approx(2 * before["scale"], rel=0.05)
    assert np.allclose(tab.at(256, 256), (x, y), atol=3)  # what is between the fingers stays there
    assert tab.rows() == []
    assert tab.since(asked) == []


def test_the_wheel_and_dragging_move_the_picture(tab: Tab) -> None:
    before, asked = view(tab), len(tab.asked)
    x, y = tab.at(*GUITAR)
    tab.page.mouse.move(x, y)
    tab.page.mouse.wheel(0, -400)
    tab.until("document.activeElement !== null")
    larger = view(tab)
    assert larger["scale"] > 1.5 * before["scale"]
    assert np.allclose(tab.at(*GUITAR), (x, y), atol=3)
    tab.page.mouse.down(button="middle")
    tab.page.mouse.move(x + 60, y + 30)
    tab.page.mouse.up(button="middle")
    assert np.allclose(tab.at(*GUITAR), (x + 60, y + 30), atol=3)
    tab.page.click("#fit")
    assert view(tab) == pytest.approx(before)
    assert tab.rows() == []
    assert tab.since(asked) == []


def test_everything_is_found_and_undone(tab: Tab) -> None:
    tab.page.click("#everything")
    tab.until("document.querySelectorAll('#objects li').length > 3")
    tab.settled()
    names = tab.rows()
    assert names[:3] == ["thing 1", "thing 2", "thing 3"]
    segments: list[dict[str, Any]] = tab.saved_json("json")["segments"]
    assert len(segments) == len(names)
    areas = [one["area"] for one in segments]
    assert areas == sorted(areas, reverse=True)
    tab.page.click("#undo")
    tab.wait_rows(0)
