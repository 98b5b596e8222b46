"""Pages in a real Chromium. Without one, or without playwright, these tests are skipped, and say why.

Chromium is what MTL_CHROMIUM names, or the first of CHROMIUM on the PATH (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # no way out
)
LOCAL = ("data:", "blob:", "about:")  # addresses that ask nobody
WAIT = 60_000  # ms: the machine may be busy

Launch = Callable[..., "Browser"]
OpenPage = Callable[..., "Page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever starts a browser is slow."""
    for item in items:
        if "launch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    found = os.environ.get("MTL_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is installed, and MTL_CHROMIUM is not set")
    return found


@pytest.fixture(scope="session")
def launch(chromium: str) -> Iterator[Launch]:
    """launch(*flags) -> Browser: Chromium with more flags; one of each kind is kept until the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    browsers: dict[tuple[str, ...], Browser] = {}
    with playwright.sync_playwright() as driver:

        def start(*flags: str) -> Browser:
            if flags not in browsers:
                browsers[flags] = driver.chromium.launch(executable_path=chromium, args=[*FLAGS, *flags])
            return browsers[flags]

        yield start
        for browser in browsers.values():
            browser.close()


@pytest.fixture
def open_page(launch: Launch) -> Iterator[OpenPage]:
    """open_page(url, until=None, errors=(), flags=(), script="", **context) -> Page.

    The page fails its test when it says an error on the console that has none of the texts `errors` in it, or raises an
    exception, or sends a request after it has loaded. It has loaded at the first sight of the selector `until`, or else
    at its load event. flags: of Chromium. script: run before the page's own. context: of playwright's `new_context`,
    such as viewport={"width": 390, "height": 844}, color_scheme="dark".
    """
    contexts, faults = [], []

    def open_(
        url: str,
        until: str | None = None,
        errors: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        script: str = "",
        **options: Any,
    ) -> Page:
        context = launch(*flags).new_context(**options)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page, loaded = context.new_page(), []

        def said(text: str) -> None:
            if not any(known in text for known in errors):
                faults.append(text)

        def asked(request: Request) -> None:
            own = request.service_worker is not None or request.frame.page == page
            if loaded and own and not request.url.startswith(LOCAL):
                faults.append(f"a request after it had loaded: {request.url}")

        page.on("console", lambda message: message.type == "error" and said(f"console: {message.text}"))
        page.on("pageerror", lambda error: said(f"exception: {error}"))
        context.on("request", asked)
        if script:
            page.add_init_script(script)
        page.goto(url)
        if until:
            page.wait_for_selector(until)
        loaded.append(True)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults, "\n".join(faults)


# The network's page


@pytest.fixture(scope="session")
def ort() -> dict[str, bytes]:
    """The files of onnxruntime-web: from MTL_ORT_WEB, or by npm."""
    from mtl_vision.export.web.ort import ort_files

    given = os.environ.get("MTL_ORT_WEB")
    try:
        return ort_files(Path(given) if given else None)
    except ValueError as error:
        pytest.skip(f"no onnxruntime-web: {error}")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room that is none of the samples, without loss."""
    import cv2

    from mtl_vision.synthetic import render_room

    path = tmp_path_factory.mktemp("photo") / "room.png"
    cv2.imwrite(str(path), cv2.cvtColor(render_room(123, (240, 320)).image, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from random_model import random_model

    return random_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="session")
def folder(model: Path, ort: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a folder."""
    from mtl_vision.export.web.page import write_page

    write_page(model, path := tmp_path_factory.mktemp("page"), ort)
    return path


@pytest.fixture(scope="session")
def single(model: Path, ort: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page as one file."""
    from mtl_vision.export.web.page import write_page

    write_page(model, path := tmp_path_factory.mktemp("single"), ort, single=True)
    return (path / "index.html").as_uri()


class Server:
    """A plain static host: no headers but the usual ones, and those given. `asked`: the paths that it was asked for."""

    def __init__(self, folder: Path, **headers: str) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                asked.append(self.path)

            def end_headers(self) -> None:
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                super().end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """serve(folder, **headers) -> Server."""
    servers: list[Server] = []

    def start(folder: Path, **headers: str) -> Server:
        servers.append(Server(folder, **headers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
