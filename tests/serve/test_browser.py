"""The page in a real browser, on a real server with nano; skipped where there is no Chromium."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gsam.results.masks.rle import decode
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.integrations import Integration
from tests.serve.browsing import Tab, running
from tests.serve.conftest import CLIP, SCENE

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.long
WORDS = "dog, pizza, apple, umbrella"
GUITAR, ABOVE_GUITAR, BICYCLE, APPLE, NOTHING = (40, 100), (85, 15), (95, 340, 270, 480), (220, 190), (300, 300)
OWNED = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def found(tab: Tab) -> Tab:
    """A tab with words' objects."""
    tab.page.fill("#words", WORDS)
    tab.page.keyboard.press("Enter")
    tab.wait_rows(5)
    tab.settled()
    return tab


def test_words_are_drawn_over_the_picture(tab: Tab, engine: Engine) -> None:
    before = tab.pixel(*APPLE), tab.pixel(*NOTHING)
    scene = np.asarray(Image.open(SCENE).convert("RGB")).astype(int)
    assert abs(before[0] - scene[APPLE[1], APPLE[0]]).max() < 12
    tab.page.fill("#words", WORDS)
    tab.page.click("#find")
    assert sorted(tab.wait_rows(5)) == ["apple", "apple", "dog", "pizza", "umbrella"]
    assert tab.told().startswith("5 objects: ")
    assert "2 × apple" in tab.told()
    boxes = engine.pipe(str(SCENE), WORDS).xyxy  # rows are sorted by score, as results are
    row = next(i for i, (x0, y0, x1, y1) in enumerate(boxes) if x0 < APPLE[0] < x1 and y0 < APPLE[1] < y1)
    swatch = f"document.querySelectorAll('#objects .swatch')[{row}]"
    colour = tab.page.evaluate(f"getComputedStyle({swatch}).backgroundColor")
    paint = np.array([int(v) for v in colour[4:-1].replace(",", " ").split()[:3]])
    assert abs(tab.pixel(*APPLE) - (0.55 * before[0] + 0.45 * paint)).max() < 6
    assert abs(tab.pixel(*NOTHING) - before[1]).max() < 3
    assert "segment, " in tab.page.locator("#last").inner_text()


def test_sliders_ask_for_nothing(found: Tab, engine: Engine) -> None:
    asked, over = len(found.asked), found.pixel(*APPLE)
    least = engine.pipe.limits.threshold
    assert float(found.page.locator("#least").input_value()) == pytest.approx(least)
    scores = [float(one) for one in found.page.locator("#objects .score").all_inner_texts()]
    middle = sum(sorted(scores)[2:4]) / 2
    found.slide("least", round(middle, 2))
    assert len(found.rows()) == 2
    assert found.page.locator("#count").inner_text() == "2 of 5"
    found.slide("least", 1)
    assert found.rows() == []
    bare = found.pixel(*APPLE)
    assert abs(bare - over).max() > 5
    found.slide("least", least)
    assert len(found.rows()) == 5
    assert (found.pixel(*APPLE) == over).all()
    found.slide("opacity", 0)
    assert abs(found.pixel(*APPLE) - bare).max() < 3
    assert found.since(asked) == []


def test_clicks_boxes_and_undo(tab: Tab) -> None:
    sessions = sum(one == "POST /v1/sessions" for one in tab.asked)
    bare = tab.pixel(*GUITAR)
    asked = len(tab.asked)
    tab.click(*GUITAR)
    assert tab.wait_rows(1) == ["object 1"]
    tab.settled()
    other = tab.page.locator("#objects .other")
    assert other.inner_text() == "1/3"
    areas = [tab.saved_json("json")["segments"][0]["area"]]
    other.click()
    tab.settled()
    assert other.inner_text() == "2/3"
    assert tab.saved_json("json")["segments"][0]["area"] != areas[0]
    tab.page.click("#undo")
    tab.click(*ABOVE_GUITAR, button="right")
    tab.until("document.getElementById('told').textContent.includes('without this point')")
    assert tab.wait_rows(1) == ["object 1"]
    assert tab.page.locator("#objects .other").is_hidden()
    tab.drag(*BICYCLE)
    assert tab.wait_rows(2) == ["object 1", "object 2"]
    box = tab.saved_json("json")["segments"][1]["box"]
    assert abs(np.array(box) - BICYCLE).max() < 40
    assert [one.split("/")[-1] for one in tab.since(asked) if "sessions" in one] == ["predict"] * 3
    assert sum(one == "POST /v1/sessions" for one in tab.asked) == max(1, sessions)  # one image, encoded once
    tab.page.click("#undo")
    assert tab.wait_rows(1) == ["object 1"]
    tab.page.click("#undo")
    tab.until("document.querySelector('#objects .other').innerText === '1/3'")
    tab.page.click("#undo")
    tab.wait_rows(0)
    assert abs(tab.pixel(*GUITAR) - bare).max() < 3
    assert tab.page.locator("#undo").is_disabled()
    tab.page.click("#redo")
    assert tab.wait_rows(1) == ["object 1"]


def test_names_are_changed_hidden_and_removed(found: Tab) -> None:
    names = found.rows()
    name = found.page.locator("#objects .name").first
    name.fill(OWNED)
    name.press("Enter")
    assert found.page.locator("#objects .name").first.input_value() == OWNED
    assert found.page.locator("#objects img").count() == 0
    found.page.locator("#objects .hide").nth(1).click()
    found.settled()
    assert found.page.locator("#objects .hide").nth(1).get_attribute("aria-pressed") == "true"
    found.page.locator("#objects .drop").nth(2).click()
    found.wait_rows(4)
    labels = [one["label"] for one in found.saved_json("json")["segments"]]
    assert labels == [OWNED, *names[3:]]  # not the hidden one
    for _ in range(3):
        found.page.keyboard.press("Control+z")
    assert found.wait_rows(5) == names
    assert len(found.saved_json("json")["segments"]) == 5
    assert found.page.title() == "gsam"


def test_exports(found: Tab, engine: Engine) -> None:
    asked = len(found.asked)
    name, _ = found.saved("json")
    assert name == "scene.json"
    written = found.saved_json("json")
    expected = engine.pipe(SCENE, WORDS).to_dict()
    assert {key: written[key] for key in ("width", "height", "pipeline", "queries")} == {
        key: expected[key] for key in ("width", "height", "pipeline", "queries")
    }
    assert [one["label"] for one in written["segments"]] == [one["label"] for one in expected["segments"]]
    masks = [decode(one["mask"]) for one in written["segments"]]
    for mine, theirs, mask in zip(written["segments"], expected["segments"], masks, strict=True):
        assert mine["area"] == mask.sum()
        assert mine.keys() >= {"label", "label_id", "score", "box", "area", "mask"}
        both = decode(theirs["mask"])
        assert (mask & both).sum() > 0.97 * (mask | both).sum()  # batches differ in the last bits
    coco = found.saved_json("coco")
    assert coco["images"] == [{"id": 1, "file_name": "scene.png", "width": 512, "height": 512}]
    names = {one["id"]: one["name"] for one in coco["categories"]}
    assert [names[one["category_id"]] for one in coco["annotations"]] == [one["label"] for one in written["segments"]]
    assert [one["segmentation"] for one in coco["annotations"]] == [one["mask"] for one in written["segments"]]
    numbers = np.asarray(found.saved_image("masks"))
    assert numbers.shape == (512, 512)
    for i, mask in enumerate(masks):
        assert ((numbers == i + 1) == mask).mean() > 0.995
    found.page.locator("#objects .pick").first.click()
    cutout = np.asarray(found.saved_image("cutout"))
    ys, xs = np.nonzero(masks[0])
    part = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert cutout.shape == (*masks[0][part].shape, 4)
    assert ((cutout[..., 3] > 0) == masks[0][part]).all()
    scene = np.asarray(Image.open(SCENE).convert("RGB"))[part]
    assert abs(cutout[..., :3].astype(int) - scene)[masks[0][part]].max() <= 2
    assert found.saved_image("picture").size == (512, 512)
    assert found.since(asked) == []


def test_a_keyboard_is_enough(tab_of: Callable[..., Tab]) -> None:
    tab = tab_of()
    tab.ready()
    keys = tab.page.keyboard
    keys.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        keys.press("Tab")
        if tab.page.evaluate("document.activeElement.id") == "sample":
            break
    keys.press("Enter")
    tab.until("document.activeElement.id === 'words' && document.activeElement.value !== ''")
    keys.press("Enter")
    tab.wait_rows(5)
    for _ in range(6):
        keys.press("Tab")
        if tab.page.evaluate("document.activeElement.id") == "canvas":
            break
    tab.until("document.activeElement.id === 'canvas'")
    for key in ["Shift+ArrowLeft"] * 5 + ["Shift+ArrowUp"] * 4:  # from the middle to the guitar
        keys.press(key)
    tab.settled()
    where = [int(v) for v in tab.page.locator("#spoken").text_content().split(", ")[:2]]
    assert where[0] < 200
    assert where[1] < 200
    keys.press("Enter")
    assert tab.wait_rows(6)[5] == "object 6"
    keys.press("ArrowLeft")
    keys.press("Shift+Enter")
    tab.until("document.getElementById('told').textContent.includes('without this point')")
    keys.press("n")
    keys.press("b")
    for key in ["Shift+ArrowRight"] * 3 + ["Shift+ArrowDown"] * 3:
        keys.press(key)
    keys.press("Enter")
    assert tab.wait_rows(7)[6] == "object 7"
    keys.press("[")
    tab.until("document.querySelector('#objects .chosen .name').value === 'object 6'")
    keys.press("Delete")
    assert "object 6" not in tab.wait_rows(6)
    keys.press("Control+z")
    tab.wait_rows(7)
    keys.press("?")
    tab.until("document.getElementById('keys').open || document.getElementById('keys').offsetParent !== null")
    keys.press("Escape")
    tab.until("document.activeElement.id === 'canvas'")


def test_a_video_is_followed_and_looked_through(tab_of: Callable[..., Tab]) -> None:
    tab = tab_of()
    tab.ready()
    tab.open(CLIP)
    assert tab.page.locator("#time").inner_text() == "1 / 36"
    first = tab.pixel(120, 110)
    tab.click(120, 110)  # the blue ball
    tab.wait_rows(1)
    assert abs(tab.pixel(124, 104) - first).max() > 5
    tab.page.click("#follow")
    assert tab.page.locator("#cancel").is_visible()
    tab.until("document.getElementById('told').textContent.includes('36 of 36')")
    tab.slide("frame", 20)
    tab.until("document.getElementById('time').textContent === '21 / 36'")
    assert tab.rows() == ["object 1"]
    written = tab.saved_json("json")
    assert [frame["index"] for frame in written["frames"]] == list(range(36))
    there = [frame["objects"] for frame in written["frames"]]
    assert sum(map(len, there)) > 18
    assert all(decode(one["mask"]).sum() == one["area"] for objects in there for one in objects)
    asked = len(tab.asked)
    tab.slide("frame", 5)
    tab.slide("frame", 20)
    assert all("/frames/" in one for one in tab.since(asked))
    assert len(tab.since(asked)) <= 3


def test_following_is_cancelled(tab_of: Callable[..., Tab]) -> None:
    tab = tab_of()
    tab.ready()
    tab.open(CLIP)
    tab.page.fill("#words", "cow, cactus")
    tab.page.click("#find")
    tab.until("document.getElementById('progress').value > 0")
    tab.page.click("#cancel")
    tab.until("document.getElementById('told').textContent.includes('of 36 frames')")
    assert int(tab.told().split(" ")[0]) < 36
    assert any(one.startswith("DELETE /v1/videos/") for one in tab.asked)
    assert tab.page.locator("#cancel").is_hidden()
    assert tab.problem() is None


def test_a_token_is_asked_for_and_kept_for_the_tab(tab_of: Callable[..., Tab], engine: Engine) -> None:
    with running(create_app(ServeConfig(token="open-sesame"), engine=engine)) as address:
        tab = tab_of(address)
        for token, title in (("wrong", "This server wants a token"), ("open-sesame", "That token is not right")):
            tab.until("document.getElementById('tokenDialog').open")
            assert tab.page.locator("#tokenTitle").inner_text() == title
            tab.page.fill("#token", token)
            tab.page.keyboard.press("Enter")
            tab.page.wait_for_timeout(50)
        tab.until("document.getElementById('servedWords').textContent === 'nano'")
        tab.open(SCENE)
        tab.click(*GUITAR)
        tab.wait_rows(1)
        assert tab.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        refused = [text for text in tab.wrong if "401" not in text]
        assert refused == []
        tab.wrong.clear()  # the browser itself writes a line for each 401


def test_models_that_are_being_loaded_are_waited_for(tab_of: Callable[..., Tab], engine: Engine) -> None:
    app = create_app(ServeConfig(deadline=300), engine=Engine(ServeConfig()))  # that never starts
    told = Integration("Label Studio", "nothing was heard of it")
    told.problem(OWNED)
    app.state.integrations["label_studio"] = told
    with running(app) as address:
        tab = tab_of(address)
        tab.until("document.getElementById('stateText').textContent === 'the models are being loaded'")
        tab.page.set_input_files("#file", SCENE)
        tab.until("!document.getElementById('canvas').hidden")
        tab.page.fill("#words", WORDS)
        tab.page.click("#find")
        tab.until("document.getElementById('busyText').textContent === 'Looking'")
        app.state.engine = engine
        tab.until("document.getElementById('stateText').textContent === 'nano is ready'")
        tab.until("document.querySelector('#tied li')")
        assert tab.page.locator("#tied .chip").inner_text() == "problem"
        assert OWNED in tab.page.locator("#tied li").inner_text()
        assert tab.page.locator("#tied img").count() == 0
        assert tab.page.locator("#tied b").inner_text() == "Label Studio"
        assert len(tab.wait_rows(5)) == 5
        assert [text for text in tab.wrong if "503" not in text] == []
        tab.wrong.clear()


def test_what_goes_wrong_is_told_in_words(tab: Tab) -> None:
    asked = len(tab.asked)
    tab.open({"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"})
    assert "cannot show notes.png" in str(tab.problem())
    tab.page.fill("#words", ". , .")
    tab.page.click("#find")
    tab.until("document.getElementById('problem').textContent.includes('Nothing is asked for')")
    assert tab.page.locator("#problem").get_attribute("role") == "alert"
    tab.page.click("#problemClose")
    assert tab.problem() is None
    tab.click(*GUITAR)
    tab.wait_rows(1)
    assert not [one for one in tab.since(asked) if one == "POST /v1/sessions"]
    assert [text for text in tab.wrong if "422" not in text] == []
    tab.wrong.clear()


def test_an_image_that_the_server_has_forgotten_is_sent_again(tab: Tab) -> None:
    tab.click(*GUITAR)
    tab.wait_rows(1)
    session = next(one.split("/")[3] for one in tab.asked if one.endswith("/predict"))
    assert tab.page.request.delete(f"{tab.page.url}v1/sessions/{session}").status == 204
    tab.page.click("#fresh")
    tab.click(*APPLE)
    tab.wait_rows(2)
    assert tab.problem() is None
    assert [text for text in tab.wrong if "404" not in text] == []
    tab.wrong.clear()


@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_needs_no_scrolling_aside(tab_of: Callable[..., Tab], width: int) -> None:
    tab = tab_of(has_touch=True, device_scale_factor=2)
    tab.page.set_viewport_size({"width": width, "height": 720})
    tab.ready()
    photo = io.BytesIO()
    Image.open(SCENE).convert("RGB").resize((600, 200)).save(photo, "JPEG")
    tab.open({"name": "a-long-name-of-a-photo.jpg", "mimeType": "image/jpeg", "buffer": photo.getvalue()})
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.page.evaluate("document.getElementById('canvas').width") == 2 * tab.page.locator("#canvas").evaluate(
        "(canvas) => canvas.clientWidth"
    )
    tab.page.touchscreen.tap(*tab.at(258, 74))
    assert tab.wait_rows(1) == ["object 1"]
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
