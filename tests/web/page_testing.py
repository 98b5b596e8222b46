"""What the tests of the network's page share."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.model import Model

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


def assert_alike(page: Page, model: Path, photo: Path) -> None:
    """The page's maps of a photo are those of onnxruntime in Python, at the photo's own size."""
    runtime = Model(model, threads=1)
    expected, found = runtime.predict(photo), maps_of(page, model)
    for output in runtime.manifest.outputs:
        a, b = found[output.name], expected[output.name]
        assert a.shape == b.shape, output.name
        assert np.ptp(b) > 0.1, f"{output.name} is flat: nothing would be compared"
        figures = KINDS[output.kind].compare(a, b)
        if output.kind == "scalar_map":
            assert (np.abs(a - b) / np.maximum(b, 1e-6)).max() < 1e-3
        elif output.kind == "unit_vector_map":
            assert figures["mean_degrees"] < 0.1
            assert figures["max_degrees"] < 1.0
        elif output.kind == "label_map":
            assert figures["share_different"] < 1e-3
        else:
            assert figures["max_difference"] < 1e-3
