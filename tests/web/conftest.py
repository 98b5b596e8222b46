"""Pages in a real Chromium. Without one, or without playwright, these tests are skipped, and say why.

Chromium is what MTL_CHROMIUM names, or the first of CHROMIUM on the PATH (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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

        def asked(address: str) -> None:
            if loaded and not address.startswith(LOCAL):
                faults.append(f"a request after it had loaded: {address}")

        page.on("console", lambda message: message.type == "error" and said(f"console: {message.text}"))
        page.on("pageerror", lambda error: said(f"exception: {error}"))
        context.on("request", lambda request: asked(request.url))
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
