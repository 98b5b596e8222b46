"""An overview for people: the image and its maps side by side, each with a caption and a key."""

import math
from collections.abc import Mapping

import numpy as np

from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.images import AnyImage, as_rgb
from mtl_vision.runtime.kinds import KINDS, Limits, Size, resize_pixels
from mtl_vision.runtime.paint import LINE, MARGIN, fitted, paper, write
from mtl_vision.runtime.predictor import PANEL

KEY_WIDTH = 320  # a caption and its key need this much, however narrow the image
WIDE = 7.0  # a row of panels wider than this many times its height becomes a grid


def panel_size(image_size: Size) -> Size:
    """The size (H, W) at which `draw` shows an image."""
    longer = max(image_size)
    scale = min(max(longer, PANEL[0]), PANEL[1]) / longer
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def draw(
    image: AnyImage,
    maps: Mapping[str, np.ndarray],
    manifest: Manifest,
    image_size: Size | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> np.ndarray:
    """Draw an image and its maps side by side, each with a caption and a key. Near is bright; no value is grey.

    Args:
        image: as `predict` takes it
        maps: by output name, each of the same view and of any size; outputs without one are left out
        manifest: the outputs
        image_size: the image's own (h, w), where `image` is a copy at another one
        limits: by output name, the values (low, high) that the colours of a scalar map span; what lies beyond has the
            colour of the end. They make the pictures of a sequence comparable, and of one size whatever their keys
            have. Without them, from the map's own 1st to its 99th percentile

    Returns:
        (H', W', 3) uint8 RGB

    Raises:
        ImageError: the image cannot be read.
    """
    image = as_rgb(image, manifest.fill)
    image_size = image_size or (image.shape[0], image.shape[1])
    size = panel_size(image_size)
    width = max(size[1], KEY_WIDTH)
    cells = [(f"image  {image_size[1]} x {image_size[0]}", resize_pixels(image, size), paper(0, width))]
    for output in manifest.outputs:
        if output.name in maps:
            span = (limits or {}).get(output.name)
            cells.append((output.name, *KINDS[output.kind].draw(maps[output.name], output, size, width, span)))
    keys = max(key.shape[0] for _, _, key in cells)
    if limits is not None:
        keys = max([keys, *(KINDS[o.kind].longest_key(o, width) for o in manifest.outputs if o.name in maps)])
    top, key_top = MARGIN + LINE, MARGIN + LINE + size[0]
    H, W = panel = key_top + keys, MARGIN + width
    columns = _columns(len(cells), panel)
    drawn = paper(-(-len(cells) // columns) * H + MARGIN, columns * W + MARGIN)
    for i, (caption, shown, key) in enumerate(cells):
        place = drawn[i // columns * H :, i % columns * W :][:H, :W]
        write(place[MARGIN:], fitted(caption, width), MARGIN)
        place[top:key_top, MARGIN : MARGIN + size[1]] = shown
        place[key_top : key_top + key.shape[0], MARGIN:] = key
    return drawn


def common_limits(manifest: Manifest, given: Limits | None = None) -> dict[str, Limits]:
    """`limits` of `draw` that hold for any image: `given` for every scalar map, or each one's range in the manifest.

    Raises ValueError where there is no scalar map, or where the manifest has no range.
    """
    scalars = [output for output in manifest.outputs if output.kind == "scalar_map"]
    if not scalars:
        names = ", ".join(output.name for output in manifest.outputs)
        raise ValueError(f"expected a model with a map of numbers, such as depth, to colour; found {names}")
    limits = {output.name: given or output.range for output in scalars}
    for name, span in limits.items():
        if span is None or not span[0] < span[1]:
            raise ValueError(f"the model does not say in which range its {name} lies; give it as --range NEAR FAR")
    return {name: span for name, span in limits.items() if span}


def _columns(count: int, size: Size) -> int:
    """All in a row, unless that is too wide; then the grid that comes closest to twice as wide as high."""
    shape = size[1] / size[0]
    if count * shape <= WIDE:
        return count
    return min(range(1, count + 1), key=lambda n: abs(math.log(n * shape / math.ceil(count / n) / 2)))
