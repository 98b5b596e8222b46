"""The network's page in a real Chromium: what it shows is what Python gives, and nothing leaves it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from page_testing import READY, OpenPage, assert_alike, give, wait_for

from mtl_vision.export.web.page import write_page
from mtl_vision.runtime.images import read_image
from mtl_vision.runtime.kinds import resize_pixels
from mtl_vision.runtime.model import Model
from mtl_vision.synthetic import render_room


def test_a_folder_on_a_plain_host(
    open_page: OpenPage, serve: Callable[..., Any], folder: Path, model: Path, photo: Path
) -> None:
    """It loads each file once, says how it computes, and asks for nothing more; without a network it opens again."""
    server = serve(folder)
    page = open_page(server.url, READY)
    assert re.search(r"\d ms a picture . WebAssembly, one thread", page.inner_text("#status"))
    assert "opens without a network" in page.inner_text("#offline")
    asked = list(server.asked)
    for name in ("/model.onnx", "/ort/ort-wasm-simd-threaded.wasm.gz"):
        assert asked.count(name) == 1
    assert not any("webgpu" in name for name in asked if name != "/ort/ort.webgpu.bundle.min.js")
    give(page, photo)
    assert_alike(page, model, photo)
    page.click("#samples button:last-child")
    wait_for(page, page.get_attribute("#samples button:last-child img", "alt"))
    assert server.asked == asked
    server.stop()
    page.context.set_offline(True)
    again = page.context.new_page()
    again.goto(f"{server.url}index.html")
    again.wait_for_selector(READY)
    give(again, photo)
    assert_alike(again, model, photo)


def test_one_file_by_double_click(open_page: OpenPage, single: str, model: Path, photo: Path) -> None:
    page = open_page(single, READY)
    assert "needs no network" in page.inner_text("#offline")
    assert "the single file leaves WebGPU out" in page.inner_text("#status")
    give(page, photo)
    assert_alike(page, model, photo)


def test_threads_where_the_host_allows_them(
    open_page: OpenPage, serve: Callable[..., Any], folder: Path, model: Path, photo: Path
) -> None:
    headers = {"Cross_Origin_Opener_Policy": "same-origin", "Cross_Origin_Embedder_Policy": "require-corp"}
    page = open_page(serve(folder, **headers).url, READY)
    cores = min(page.evaluate("navigator.hardwareConcurrency"), 4)
    assert f"{cores} threads" in page.inner_text("#status") or cores == 1
    give(page, photo)
    assert_alike(page, model, photo)


FORMS: dict[str, dict[str, Any]] = {
    "float16": {"half": True},
    "any size": {"dynamic": True},
    "depth alone": {"names": ("depth",)},
    "labels alone, as logits": {"names": ("segmentation",), "logits": True},
    "four tasks, 40 classes": {"names": ("depth", "normals", "segmentation", "edges"), "classes": "nyu40"},
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_model(
    open_page: OpenPage, ort: dict[str, bytes], serve: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    """With a tall photo, which is letterboxed, or taken as it is by the dynamic one."""
    from random_model import random_model

    model, photo = random_model(tmp_path / "model.onnx", **FORMS[form]), tmp_path / "tall.png"
    cv2.imwrite(str(photo), cv2.cvtColor(render_room(7, (240, 320)).image[:, 60:220], cv2.COLOR_RGB2BGR))
    write_page(model, tmp_path / "page", ort)
    page = open_page(serve(tmp_path / "page").url, READY)
    give(page, photo)
    assert_alike(page, model, photo)
    names = [output.name for output in Model(model, threads=1).manifest.outputs]
    assert page.locator("#maps .panel").count() == 1 + len(names)
    assert page.is_visible("#space") == ("depth" in names)


def test_webgpu(open_page: OpenPage, serve: Callable[..., Any], folder: Path, model: Path, photo: Path) -> None:
    """By a processor in software: the page takes it only when it is told to."""
    flags = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
    page = open_page(serve(folder).url + "?backend=webgpu", READY, flags=flags)
    if "WebGPU finds no" in page.inner_text("#status"):
        pytest.skip("this Chromium has no WebGPU, not even in software")
    assert page.inner_text("#status").endswith("WebGPU")
    give(page, photo)
    assert_alike(page, model, photo)


def test_photos_are_resized_as_python_does(open_page: OpenPage, single: str) -> None:
    """By area and linearly, at sizes of all kinds: to a grey level, and that at few pixels."""
    page, rng = open_page(single, READY), np.random.default_rng(0)
    js = """async ([text, from, to]) => {
      const { resizePixels } = await import("app/resize.js");
      const found = resizePixels(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), from, to);
      return btoa(Array.from(found, (byte) => String.fromCharCode(byte)).join(""));
    }"""
    for _ in range(30):
        (h, w), (height, width) = rng.integers(1, 160, 2), rng.integers(1, 160, 2)  # also of another shape
        pixels = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        text = page.evaluate(js, [b64encode(pixels).decode(), [int(h), int(w)], [int(height), int(width)]])
        found = np.frombuffer(b64decode(text), np.uint8).reshape(height, width, 3)
        difference = np.abs(found.astype(int) - resize_pixels(pixels, (int(height), int(width))))
        assert difference.max() <= 1, f"{h}x{w} to {height}x{width}"
        assert difference.mean() < (0.003 if height <= h and width <= w else 0.1), f"{h}x{w} to {height}x{width}"


def test_photos_are_read_as_python_does(open_page: OpenPage, single: str, tmp_path: Path) -> None:
    """Turned upright, and what is transparent laid over the mean colour."""
    page, room = open_page(single, READY), cv2.cvtColor(render_room(3, (60, 80)).image, cv2.COLOR_RGB2BGR)
    alpha = np.full((60, 80), 255, np.uint8)
    alpha[:, 40:] = 0
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([room, alpha]))
    exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = cv2.imencode(".jpg", room, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    for name in ("clear.png", "turned.jpg"):
        give(page, tmp_path / name)
        expected, size = read_image(tmp_path / name), page.evaluate("mtl.image.size")
        assert tuple(size) == expected.shape[:2]
        found = np.array(page.evaluate("Array.from(mtl.image.pixels)")).reshape(expected.shape)
        assert np.abs(found - expected).mean() < 1


def test_what_is_under_the_pointer(open_page: OpenPage, single: str, model: Path, photo: Path) -> None:
    """Metres, direction and class, at once in all panels, by the mouse and by the keyboard."""
    page = open_page(single, READY)
    give(page, photo)
    maps, classes = Model(model, threads=1).predict(photo), Model(model, threads=1).manifest.outputs[2].classes
    canvas = page.locator(".panel.depth canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.hover(position={"x": box["width"] * 0.75, "y": box["height"] * 0.6})
    y, x = int(240 * 0.6), int(320 * 0.75)
    near = (slice(y - 2, y + 3), slice(x - 2, x + 3))  # the page's pixels are not the screen's
    depth = float(page.inner_text(".panel.depth .value").removesuffix(" m"))
    assert maps["depth"][near].min() - 0.01 <= depth <= maps["depth"][near].max() + 0.01
    assert page.inner_text(".panel.segmentation .value") in {classes[i] for i in np.unique(maps["segmentation"][near])}
    assert re.fullmatch(r"(faces us|left|right|up|down)(, \d+° off)?", page.inner_text(".panel.normals .value"))
    page.mouse.move(1, 1)
    assert page.is_hidden(".panel.depth .value")
    page.focus(".panel.photo canvas")
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#told")
    assert re.match(r"Depth: \d+\.\d\d m; Normals: .*; Segmentation: ", first)
    for _ in range(20):
        page.keyboard.press("Shift+ArrowLeft")
    assert page.inner_text("#told") != first


def test_the_cloud_turns(open_page: OpenPage, single: str) -> None:
    """By the mouse and by the keyboard, and comes back."""
    page = open_page(single, READY)
    cloud = page.locator("#cloud")

    def seen() -> bytes:
        page.wait_for_timeout(150)
        return cloud.screenshot()

    page.click("#reset")
    front = seen()
    assert len(np.unique(cv2.imdecode(np.frombuffer(front, np.uint8), 1).reshape(-1, 3), axis=0)) > 1000
    box = cloud.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 120)
    page.mouse.up()
    turned = seen()
    assert turned != front
    page.select_option("#colours", "segmentation")
    assert seen() != turned
    page.select_option("#colours", "photo")
    page.focus("#cloud")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    assert seen() != turned
    page.keyboard.press("0")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    assert seen() == front


def test_the_webcam(open_page: OpenPage, serve: Callable[..., Any], folder: Path) -> None:
    """Chromium's own moving picture: maps follow it until it is stopped."""
    page = open_page(serve(folder).url, READY, permissions=["camera"])
    page.click("#webcam")
    page.wait_for_function("() => globalThis.mtl?.image.name === 'webcam'")
    assert "a picture, live" in page.inner_text("#status")
    page.evaluate("globalThis.first = mtl.image")
    page.wait_for_function("() => mtl.image !== first && mtl.image.pixels.some((p, i) => p !== first.pixels[i])")
    assert page.get_attribute("#webcam", "aria-pressed") == "true"
    page.click("#webcam")
    assert page.inner_text("#webcam") == "Use the webcam"
    page.wait_for_timeout(500)
    page.evaluate("globalThis.last = mtl.image")
    page.wait_for_timeout(500)
    assert page.evaluate("mtl.image === last")


DROP = """([name, type, text]) => {
  const data = new DataTransfer();
  if (name) data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
  for (const kind of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}"""


def test_drag_and_drop(open_page: OpenPage, single: str, model: Path, photo: Path) -> None:
    page = open_page(single, READY)
    page.evaluate(DROP, ["dropped.png", "image/png", b64encode(photo.read_bytes()).decode()])
    wait_for(page, "dropped.png")
    assert_alike(page, model, photo)
    assert page.is_hidden("#drop")
    page.evaluate(DROP, ["", "", ""])
    page.wait_for_selector("#error:has-text('There is no file in what was dropped')")
