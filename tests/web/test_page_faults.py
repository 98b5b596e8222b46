"""The network's page where something is wrong, which it says; and on a phone, in light and dark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_testing import FAILED, READY, OpenPage, assert_alike, give


def test_what_is_no_picture(open_page: OpenPage, single: str, model: Path, photo: Path, tmp_path: Path) -> None:
    """It is said, and the page goes on."""
    page = open_page(single, READY)
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    for name in ("notes.png", "half.jpg"):
        page.set_input_files("#file", tmp_path / name)
        page.wait_for_selector(f"#error:has-text(\"'{name}' is not a picture that this browser can read\")")
    give(page, photo)
    assert page.is_hidden("#error")
    assert_alike(page, model, photo)


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


BROKEN = {
    "cut": (lambda data: data[: len(data) // 2], "damaged or no ONNX file: the file ends too early"),
    "a bit": (_flip, "its checksum is not that of its bytes"),
    "a page": (lambda data: b"<!doctype html><p>not here</p>", "damaged or no ONNX file"),
    "empty": (lambda data: b"", "says nothing about itself"),
    "missing": (None, "'model.onnx' could not be loaded: the server says 404"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_model(
    open_page: OpenPage, serve: Callable[..., Any], folder: Path, tmp_path: Path, fault: str
) -> None:
    damage, words = BROKEN[fault]
    _linked(folder, copy := tmp_path / "page")
    data = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").unlink()
    if damage:
        (copy / "model.onnx").write_bytes(damage(data))
    page = open_page(serve(copy).url, FAILED, errors=("404",))
    assert words in page.inner_text("#error")
    assert page.is_hidden("#loading")


def _linked(folder: Path, copy: Path) -> None:
    """A copy of a folder by links."""
    for path in folder.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(folder)).hardlink_to(path)


def test_a_model_of_another_form_and_version(
    open_page: OpenPage, serve: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    import onnx

    for changes, words in (
        ({"format_version": 9}, "its format version is 9"),
        ({"form": "core"}, "its form is 'core'"),
        (None, "says nothing about itself"),
    ):
        _linked(folder, copy := tmp_path / str((changes is None and "none") or words.split()[1]))
        model = onnx.load(copy / "model.onnx")
        [entry] = model.metadata_props
        if changes is None:
            del model.metadata_props[:]
        else:
            entry.value = json.dumps(json.loads(entry.value) | changes)
        (copy / "model.onnx").unlink()
        onnx.save(model, copy / "model.onnx")
        assert words in open_page(serve(copy).url, FAILED).inner_text("#error")


def test_without_webassembly(open_page: OpenPage, single: str) -> None:
    page = open_page(single, FAILED, script="delete globalThis.WebAssembly")
    assert "has no WebAssembly" in page.inner_text("#error")


def test_without_javascript(open_page: OpenPage, serve: Callable[..., Any], folder: Path) -> None:
    page = open_page(serve(folder).url, java_script_enabled=False)
    assert "switch it on" in page.inner_text("noscript")


def test_without_webgl(open_page: OpenPage, single: str) -> None:
    """Everything but the cloud is there."""
    script = """const get = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
      return kind === "webgl" ? null : get.call(this, kind, ...rest);
    };"""
    page = open_page(single, READY, script=script)
    assert "No point cloud: this browser has no WebGL" in page.inner_text("#note")
    assert page.is_hidden("#error")


def test_without_a_webcam(open_page: OpenPage, single: str) -> None:
    script = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('x', 'NotFoundError'); };"
    page = open_page(single, READY, script=script)
    page.click("#webcam")
    page.wait_for_selector("#error:has-text('No webcam was found')")
    assert page.inner_text("#webcam") == "Use the webcam"


def test_a_folder_from_a_disk(open_page: OpenPage, folder: Path) -> None:
    page = open_page((folder / "index.html").as_uri(), FAILED, errors=("CORS", "Failed to load resource"))
    assert "--single-file" in page.inner_text("#error")


def test_the_page_itself_forbids_other_addresses(open_page: OpenPage, single: str) -> None:
    page = open_page(single, READY, errors=("Content Security Policy", "Refused to connect", "Fetch API cannot load"))
    assert page.evaluate("fetch('https://example.com/').then(() => 'sent', () => 'refused')") == "refused"
    assert page.evaluate("navigator.sendBeacon('https://example.com/', 'x')") in (True, False)


# What it looks like


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(open_page: OpenPage, single: str, scheme: str) -> None:
    """Nothing is cut off, everything has a name, and text stands out from its ground as WCAG AA asks."""
    page = open_page(single, READY, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, select, input, canvas, img, summary")].filter((e) =>
        !(e.ariaLabel || e.alt || e.innerText?.trim() || e.labels?.length || e.querySelector("img[alt]")))
        .map((e) => e.outerHTML)"""
    )
    assert not nameless
    colours = page.evaluate(
        """["--ink", "--quiet", "--paper", "--card"].map((name) => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number);
        })"""
    )
    ink, quiet, paper, card = map(_luminance, colours)
    for text in (ink, quiet):
        for ground in (paper, card):
            assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) > 4.5
    assert (paper > 0.5) == (scheme == "light")


def _luminance(rgb: list[int]) -> float:
    share = np.array(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
