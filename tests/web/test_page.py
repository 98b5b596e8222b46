"""The network's page in a real Chromium: what it shows is what Python gives, and nothing leaves it."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from mtl_vision.export.web.page import write_page
from mtl_vision.runtime.images import read_image
from mtl_vision.runtime.kinds import KINDS, resize_pixels
from mtl_vision.runtime.model import Model
from mtl_vision.synthetic import render_room

if TYPE_CHECKING:
    from playwright.sync_api import Page

READY, FAILED = "html[data-state=ready]", "html[data-state=failed]"
FETCH = """name => {
  const { values } = mtl.result.maps[name], bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""
OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room that is none of the samples, without loss."""
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
    write_page(model, path := tmp_path_factory.mktemp("page"), ort)
    return path


@pytest.fixture(scope="session")
def single(model: Path, ort: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page as one file."""
    write_page(model, path := tmp_path_factory.mktemp("single"), ort, single=True)
    return (path / "index.html").as_uri()


def give(page: Page, path: Path) -> None:
    """Choose a photo, and wait for its maps."""
    page.set_input_files("#file", path)
    wait_for(page, path.name)


def wait_for(page: Page, name: str) -> None:
    page.wait_for_function("name => globalThis.mtl?.image.name === name", arg=name)
    page.wait_for_selector(READY)


def maps_of(page: Page, model: Path) -> dict[str, np.ndarray]:
    """The maps as the page shows them, by name."""
    size = page.evaluate("mtl.result.size")
    outputs = {output.name: KINDS[output.kind] for output in Model(model, threads=1).manifest.outputs}
    return {
        name: np.frombuffer(b64decode(page.evaluate(FETCH, name)), kind.dtype).reshape(*size, *kind.tail)
        for name, kind in outputs.items()
    }


def assert_alike(page: Page, model: Path, photo: Path, slack: float = 1.0) -> None:
    """The page's maps of a photo are those of onnxruntime in Python, at the photo's own size."""
    runtime = Model(model, threads=1)
    expected, found = runtime.predict(photo), maps_of(page, model)
    for output in runtime.manifest.outputs:
        a, b = found[output.name], expected[output.name]
        assert a.shape == b.shape, output.name
        assert np.ptp(b) > 0.1, f"{output.name} is flat: nothing would be compared"
        figures = KINDS[output.kind].compare(a, b)
        if output.kind == "scalar_map":
            assert (np.abs(a - b) / np.maximum(b, 1e-6)).max() < 1e-3 * slack
        elif output.kind == "unit_vector_map":
            assert figures["mean_degrees"] < 0.1 * slack
            assert figures["max_degrees"] < 1.0 * slack
        elif output.kind == "label_map":
            assert figures["share_different"] < 1e-3 * slack
        else:
            assert figures["max_difference"] < 1e-3 * slack


# What is right


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
    assert_alike(page, model, photo, slack=20 if form == "float16" else 1)
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


# What is wrong


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
