"""A server with nano, loaded once for all tests of a process."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

fastapi = pytest.importorskip("fastapi")

from fastapi.testclient import TestClient  # noqa: E402
from PIL import Image  # noqa: E402

from gsam.serve.app import create_app  # noqa: E402
from gsam.serve.config import ServeConfig  # noqa: E402
from gsam.serve.engine import Engine  # noqa: E402
from tests.serve.browsing import Tab, program, running  # noqa: E402
from tests.serve.fake_label_studio import FakeLabelStudio, fake_label_studio  # noqa: E402

SCENE = Path(__file__).parents[2] / "notebooks" / "scene.png"
CLIP = Path(__file__).parents[2] / "notebooks" / "clip.mp4"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Nano, ready."""
    models = Engine(ServeConfig())
    models.start()
    until = time.monotonic() + 600  # a busy machine compiles slowly
    while not models.ready and models.failure is None and time.monotonic() < until:
        time.sleep(0.05)
    models.check_ready()
    yield models
    models.close()


@pytest.fixture
def client_of(engine: Engine) -> Iterator[Callable[..., TestClient]]:
    """A client of a server with the settings given; it shows errors as clients see them."""
    made: list[TestClient] = []

    def make(**settings: object) -> TestClient:
        app = create_app(ServeConfig(**settings), engine=engine)  # type: ignore[arg-type]
        client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        client.__enter__()
        made.append(client)
        return client

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    """A client of a server with the settings that are the default."""
    return client_of()


@pytest.fixture(scope="session")
def scene() -> bytes:
    """The PNG of the shipped scene."""
    return SCENE.read_bytes()


@pytest.fixture(scope="session")
def small() -> bytes:
    """A PNG of 48 x 32 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), (90, 120, 160)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def studio(scene: bytes) -> Iterator[FakeLabelStudio]:
    """A Label Studio that has the scene, another that is stored on its side, and a page."""
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(scene)) as picture:
        upright = picture.convert("RGB").crop((0, 100, 512, 400))
        upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=exif)
    files = {"scene.png": scene, "turned.png": turned.getvalue(), "page.png": b"<!doctype html>"}
    with fake_label_studio(files) as server:
        yield server


@pytest.fixture
def cvat(client_of: Callable[..., TestClient]) -> TestClient:
    """A client of a server that speaks CVAT's protocol."""
    return client_of(cvat=True, cvat_query="dog. pizza. nothing else")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if program() is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with running(create_app(ServeConfig(deadline=300), engine=engine)) as found:
        yield found


@pytest.fixture
def tab_of(browser: Any, address: str) -> Iterator[Callable[..., Tab]]:
    """Open a tab; the test fails where it complains of anything, or asks another host."""
    made: list[Tab] = []

    def make(at: str = address, **context: Any) -> Tab:
        made.append(Tab(browser, at, **context))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def tab(tab_of: Callable[..., Tab]) -> Tab:
    """A tab with the scene open."""
    made = tab_of()
    made.ready()
    made.open(SCENE)
    return made


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path
