"""A server on a port of its own, and a tab of a browser that remembers what its page asks."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
LOOKS = ("GET /readyz", "GET /v1/integrations", "GET /v1/models")
PIXEL = """async ([x, y]) => {
  const { view } = await import(new URL('page/canvas.js', document.baseURI));
  const canvas = document.getElementById('canvas');
  const ratio = canvas.width / canvas.clientWidth;
  const at = [view.x + x * view.scale, view.y + y * view.scale].map((v) => Math.round(v * ratio));
  const copy = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, -at[0], -at[1]);
  return [...copy.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""
PLACE = """async ([x, y]) => {
  const { view } = await import(new URL('page/canvas.js', document.baseURI));
  const edge = document.getElementById('canvas').getBoundingClientRect();
  return [edge.left + view.x + x * view.scale, edge.top + view.y + y * view.scale];
}"""


def program() -> str | None:
    """The browser of this machine, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """Run a server in a thread; gives its address."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < until, "the server does not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(15)


class Tab:
    """A page of the server in a browser.

    Args:
        browser: Of Playwright.
        address: The server's.
        **context: Of Playwright's new context: its size, for instance.
    """

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1100, "height": 760}, **context)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda raised: self.wrong.append(str(raised)))

        def note(request: Any) -> None:
            if request.url.startswith(address):
                self.asked.append(f"{request.method} {request.url[len(address) - 1 :]}")
            elif not request.url.startswith("blob:" + address[:-1]):
                self.wrong.append(f"asked {request.url}")

        self.page.on("request", note)
        self.page.goto(address)

    def until(self, condition: str, seconds: float = 180) -> Any:
        """Wait until JavaScript holds; the page's policy forbids Playwright's own way."""
        end = time.monotonic() + seconds
        while not (found := self.page.evaluate(condition)):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {condition}; told: {self.told()!r} {self.problem()!r}")
            self.page.wait_for_timeout(60)
        return found

    def ready(self) -> None:
        """Wait until the models are there."""
        self.until("document.getElementById('state').dataset.state === 'ready'")

    def open(self, file: Path | dict[str, Any]) -> None:
        """Open a file as if it was chosen."""
        self.page.set_input_files("#file", file)
        self.until("!document.getElementById('canvas').hidden && document.getElementById('busy').hidden")

    def rows(self) -> list[str]:
        """Names of the objects in the list."""
        found: list[str] = self.page.evaluate(
            "[...document.querySelectorAll('#objects .name')].map((one) => one.value)"
        )
        return found

    def wait_rows(self, count: int) -> list[str]:
        """Wait for a number of objects; their names."""
        self.until(f"document.querySelectorAll('#objects li').length === {count}")
        return self.rows()

    def settled(self) -> None:
        """Wait until nothing is asked for and everything is drawn."""
        self.until("document.getElementById('busy').hidden")
        self.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    def pixel(self, x: float, y: float) -> NDArray[np.int64]:
        """The colour on the canvas where a pixel of the picture is."""
        self.settled()
        return np.array(self.page.evaluate(PIXEL, [x, y]))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is in the window."""
        self.settled()
        left, top = self.page.evaluate(PLACE, [x, y])
        return left, top

    def click(self, x: float, y: float, **how: Any) -> None:
        """Click on a pixel of the picture."""
        self.page.mouse.click(*self.at(x, y), **how)

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw a box in the picture."""
        start, middle, end = self.at(x0, y0), self.at((x0 + x1) / 2, (y0 + y1) / 2), self.at(x1, y1)
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*middle)
        self.page.mouse.move(*end)
        self.page.mouse.up()

    def slide(self, name: str, value: float) -> None:
        """Move a slider."""
        self.page.locator(f"#{name}").fill(str(value))
        self.settled()

    def saved(self, kind: str) -> tuple[str, bytes]:
        """Export; the name of the file, and what is in it."""
        with self.page.expect_download() as waiting:
            self.page.locator(f"[data-export={kind}]").click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def saved_json(self, kind: str) -> Any:
        """Export JSON, and read it."""
        return json.loads(self.saved(kind)[1])

    def saved_image(self, kind: str) -> Image.Image:
        """Export an image, and open it."""
        return Image.open(io.BytesIO(self.saved(kind)[1]))

    def told(self) -> str:
        """Text of the live region."""
        return str(self.page.locator("#told").text_content())

    def problem(self) -> str | None:
        """The message that is shown, or None."""
        shown = self.page.locator("#problem")
        return str(shown.locator("span").inner_text()) if shown.is_visible() else None

    def since(self, before: int) -> list[str]:
        """What was asked after so many requests, but for looks at the server's state."""
        return [one for one in self.asked[before:] if one not in LOOKS]

    def close(self) -> None:
        """End, and complain of all that went wrong in the page."""
        self.context.close()
        if self.wrong:
            raise AssertionError("\n".join(self.wrong))
