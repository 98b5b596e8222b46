"""report.html in a browser, opened as a file: curves, samples, themes and the keyboard; and it asks for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mtl_vision.report.page import write_report
from tests.report.conftest import MakeRun, make_run  # noqa: F401 (a fixture)

if TYPE_CHECKING:
    from playwright.sync_api import Page

OpenPage = Callable[..., "Page"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
HOSTILE = ("</script><script>document.title = 'taken'</script>", '<img src="http://x/" onerror="document.title = 1">')
PLOT = "#plots .plot"
STEP = f"{PLOT} header output"
LABELLED = f"{PLOT}:first-child .legend"


def opened(open_page: OpenPage, *folders: Path, **context: object) -> Page:
    out = folders[0] / "report.html"
    write_report(folders, out)
    page = open_page(out.as_uri(), until="footer", **context)
    page.locator("#plots").scroll_into_view_if_needed()
    page.wait_for_selector(f"{PLOT} canvas")
    asked = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert not [url for url in asked if not url.startswith("data:")], "it fetches something"
    return page


def waits(page: Page, selector: str, text: str) -> None:
    """Until the first element of the selector has this text, a regular expression."""
    page.locator(selector, has_text=re.compile(text)).first.wait_for()


def first_plot(page: Page) -> tuple[float, float, float, float]:
    """Left, top, width and height of the first plot's area."""
    area = page.locator(f"{PLOT} .u-over").first
    area.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = area.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def test_hover_reads_values_and_a_drag_zooms(open_page: OpenPage, make_run: MakeRun) -> None:  # noqa: F811
    page = opened(open_page, make_run(steps=601))
    x, y, width, height = first_plot(page)
    page.mouse.move(x + width / 2, y + height / 2)
    waits(page, STEP, "^step (299|300|301)$")
    assert page.locator(f"{LABELLED} li").all_inner_texts() == [
        "depth\n0.3333",
        "normals\n1.333",
        "segmentation\n1.333",
    ]
    page.mouse.move(x + width * 0.25, y + height / 2)
    page.mouse.down()
    page.mouse.move(x + width * 0.5, y + height / 2, steps=4)
    page.mouse.up()
    waits(page, "#from-out", "^(149|150|151)$")
    assert 299 <= int(page.locator("#to-out").inner_text()) <= 301
    page.mouse.dblclick(x + width / 2, y + height / 2)
    waits(page, "#to-out", "^600$")


def test_tasks_on_and_off_log_scale_and_keys(open_page: OpenPage, make_run: MakeRun) -> None:  # noqa: F811
    page = opened(open_page, make_run())

    def ink() -> str:
        return page.evaluate(f"document.querySelector('{PLOT} canvas').toDataURL()")

    def changes(act: Callable[[], None]) -> None:
        before = ink()
        act()
        page.wait_for_timeout(200)
        assert ink() != before

    button = page.locator("#tasks button").first
    changes(button.click)
    assert button.get_attribute("aria-pressed") == "false"
    changes(button.click)
    changes(page.locator(f"{PLOT} header button").first.click)
    page.locator(f"{PLOT} .canvas").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    waits(page, STEP, "^step 1$")
    page.keyboard.press("+")
    waits(page, "#to-out", "^(?!299)")
    page.keyboard.press("0")
    waits(page, "#to-out", "^299$")


def test_samples_worst_first_with_a_slider(open_page: OpenPage, make_run: MakeRun) -> None:  # noqa: F811
    page = opened(open_page, make_run())
    names = page.locator(".sample b bdi")
    assert names.all_inner_texts() == ["1. sample2", "2. sample1", "3. sample0"]
    page.get_by_role("radio", name="by segmentation").click()
    assert names.all_inner_texts() == ["1. sample0", "2. sample1", "3. sample2"], "of mIoU the lowest is worst"
    slider, what = page.locator(".sample input").first, page.locator(".sample .what").first
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert what.inner_text() == "truth | photo"
    assert "50%" in (page.locator(".sample img").nth(1).get_attribute("style") or "")
    page.get_by_role("radio", name="error", exact=True).click()
    assert set(page.locator(".sample .what").all_inner_texts()) == {"error"}
    page.keyboard.press("ArrowRight")
    assert set(page.locator(".sample .what").all_inner_texts()) == {"photo"}, "arrow keys go round"
    page.wait_for_load_state("networkidle")
    assert page.evaluate("[...document.querySelectorAll('.sample img')].every((image) => image.naturalWidth === 16)")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_themes_follow_the_system_until_one_is_chosen(
    open_page: OpenPage,
    make_run: MakeRun,  # noqa: F811
    scheme: str,
) -> None:
    page = opened(open_page, make_run(), color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.locator("#theme").click()
    assert page.evaluate(paper) != before


@pytest.mark.parametrize("several", [False, True])
def test_nothing_sticks_out_on_a_phone(open_page: OpenPage, make_run: MakeRun, several: bool) -> None:  # noqa: F811
    long = tuple(f"{'a very long name of a class ' * 4}{k}" for k in range(40))
    folders = [make_run("run" * 30, classes=long)] + (
        [make_run("b", balancer="Equal", classes=long)] if several else []
    )
    page = opened(open_page, *folders, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(f"{PLOT} .u-over").first.scroll_into_view_if_needed()
    page.locator(f"{PLOT} .u-over").first.tap()
    waits(page, STEP, "^step ")


def test_hostile_names_are_text(open_page: OpenPage, make_run: MakeRun) -> None:  # noqa: F811
    page = opened(open_page, make_run(classes=HOSTILE))
    page.get_by_role("radio", name="by segmentation").click()
    assert HOSTILE[0] in page.locator("#gallery-key").inner_text()
    assert page.title() == "run"


def test_runs_over_each_other(open_page: OpenPage, make_run: MakeRun) -> None:  # noqa: F811
    page = opened(open_page, make_run("a"), make_run("b", balancer="Equal"))
    assert page.locator(PLOT).count() == 4 * 3 + 1
    page.get_by_role("button", name="normals").click()
    assert page.locator(f"{PLOT}:visible").count() == 4 * 2 + 1
    page.get_by_role("radio", name="b", exact=True).click()
    assert page.locator(".sample").count() == 3
    x, y, width, height = first_plot(page)
    page.mouse.move(x + width / 2, y + height / 2)
    waits(page, STEP, "^step 1")


def test_before_anything_is_recorded(open_page: OpenPage, make_run: MakeRun) -> None:  # noqa: F811
    folder = make_run(measured=False, history=[])
    out = folder / "report.html"
    write_report([folder], out)
    page = open_page(out.as_uri())
    assert "No step was taken yet" in page.inner_text("main")
