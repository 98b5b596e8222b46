"""The contact sheet: what was found in words, a few samples with all their maps, and what the colours mean."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np

from mtl_vision.check.look import Opened, Reading, read, spread
from mtl_vision.check.outlines import borders_of
from mtl_vision.check.report import Report
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.runtime.kinds import IGNORE, KINDS
from mtl_vision.runtime.render import DIRECTIONS

CELL = 240  # width of a picture in the sheet
GAP, LINE = 6, 18
STEP = 0.06  # of the depth; coarse sensors have steps of 4 %
FONT, SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
INK, GREY, PAPER, RED, GREEN = (30, 30, 30), (120, 120, 120), (255, 255, 255), (200, 0, 0), (0, 120, 0)
DEPTH_LINE, LABEL_LINE = (230, 20, 20), (0, 170, 255)
COLUMNS = {
    "image": "picture",
    "outlines": "outlines of depth (red) and labels (blue)",
    "depth": "depth",
    "normals": "normals",
    "segmentation": "labels",
}
NO_DEPTH = 150  # grey: black is far away
Limits = tuple[float, float]
Cell = tuple[str, np.ndarray]  # a caption and a picture


def contact_sheet(report: Report, rows: int = 6) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a row a sample, spread over the splits."""
    limits, columns = _limits(report), _columns(report)
    width = max(len(columns), 4) * (CELL + GAP) + GAP
    lines = [_header(report, columns, width)]
    for split, opened in report.opened.items():
        for index in spread(len(opened.whole), max(rows // len(report.opened), 1)):
            cells = _cells(split, opened, read(opened, index), limits)
            lines.append(_row([cells[name] for name in columns], width))
    lines.append(_key(report, columns, limits, width))
    return np.vstack(lines)


def _columns(report: Report) -> list[str]:
    """The columns that have something to show."""
    stored = {name for opened in report.opened.values() for name in opened.whole.files}
    derivable = "depth" in stored and report.description.intrinsics is not None
    shown = stored | {"image", "outlines"} | ({"normals"} if derivable else set())
    return [name for name in COLUMNS if name in shown]


def _limits(report: Report) -> Limits:
    """Depth that is drawn brightest and darkest, the same in all rows."""
    found = [one.depth for one in report.figures.values() if one.depth]
    return (min(d["p1"] for d in found), max(d["p99"] for d in found)) if found else (0.0, 1.0)


# Words


def _header(report: Report, columns: Sequence[str], width: int) -> np.ndarray:
    lines = [(f"{report.root}: {report.description.source}", INK)]
    if not report.faults:
        lines.append(("no faults found; look whether the outlines lie on the things in the picture", GREEN))
    lines += [(part, GREY) for text in report.open for part in textwrap.wrap(f"not told: {text}", width // 8)]
    texts = [f"{fault.split + ': ' if fault.split else ''}{fault.text}" for fault in report.faults]
    for text in texts[:6]:
        lines += [(part, RED) for part in textwrap.wrap(f"FAULT  {text}", width // 8, subsequent_indent="    ")[:4]]
    if len(texts) > 6:
        lines.append((f"and {len(texts) - 6} more faults", RED))
    canvas = _paper((len(lines) + 1) * LINE + GAP, width)
    for i, (text, colour) in enumerate(lines):
        _write(canvas, text[: width // 7], GAP, i * LINE, colour)
    for i, name in enumerate(columns):
        _write(canvas, COLUMNS[name], GAP + i * (CELL + GAP), len(lines) * LINE + GAP // 2, INK, 0.38)
    return canvas


def _key(report: Report, columns: Sequence[str], limits: Limits, width: int) -> np.ndarray:
    """What the colours mean: depth, directions, classes."""
    near, far = limits
    scalars, vectors = KINDS["scalar_map"], KINDS["unit_vector_map"]
    steps = np.linspace(max(near, 1e-6), max(far, 2e-6), 6).round(1 if far > 1 else 6)
    bar = scalars.colour(steps[None].astype(np.float32), limits=limits)[0]
    directions = vectors.colour(np.array([list(DIRECTIONS.values())], np.float32))[0]
    entries = [("depth", None)] + [(f"{step:.3g} m", bar[i]) for i, step in enumerate(steps)]
    entries += [("none", np.full(3, NO_DEPTH))]
    if "normals" in columns:
        entries += [("   normals", None), *((name, directions[i]) for i, name in enumerate(DIRECTIONS))]
    return np.vstack([_swatches(entries, width), _swatches(_classes(report), width)])


def _classes(report: Report) -> list[tuple[str, np.ndarray | None]]:
    """Name and colour of the classes that occur, the most frequent first."""
    share: dict[str, float] = {}
    for one in report.figures.values():
        for name, percent in one.classes.items():
            share[name] = share.get(name, 0) + percent
    sets = [opened.whole.classes for opened in report.opened.values() if opened.whole.classes is not None]
    if not sets:
        return []
    colours = {name: np.array(colour) for name, colour in zip(sets[0].names, sets[0].palette, strict=True)}
    present = sorted((name for name in share if share[name] > 0), key=lambda name: -share[name])
    return [("labels", None), *((name, colours[name]) for name in present), ("none", np.zeros(3))]


def _swatches(entries: Sequence[tuple[str, np.ndarray | None]], width: int) -> np.ndarray:
    """Names beside their colours; one without a colour is a heading."""
    x, line, places = GAP, 0, []
    for name, colour in entries:
        needed = _wide(name) + (0 if colour is None else LINE) + 2 * GAP
        if x + needed > width:
            x, line = GAP, line + 1
        places.append((name, colour, x, line * LINE))
        x += needed
    canvas = _paper((line + 1) * LINE + GAP, width)
    for name, colour, x, y in places:
        if colour is not None:
            canvas[y + 3 : y + LINE - 3, x : x + LINE - 6] = colour
        _write(canvas, name, x + (0 if colour is None else LINE - 3), y, INK)
    return canvas


# Pictures


def _row(cells: Sequence[Cell], width: int) -> np.ndarray:
    height = max(picture.shape[0] for _, picture in cells)
    gap = _paper(height + LINE, GAP)
    parts = [gap]
    for caption, picture in cells:
        head = _paper(LINE, CELL)
        _write(head, caption, 0, 0, INK)
        parts += [np.vstack([head, picture, _paper(height - picture.shape[0], CELL)]), gap]
    row = np.hstack(parts)
    return np.hstack([row, _paper(row.shape[0], width - row.shape[1])])


def _cells(split: str, opened: Opened, reading: Reading, limits: Limits) -> dict[str, Cell]:
    """A caption and a picture for each of the columns."""
    name, full = f"{split}/{reading.stem}", reading.sample
    if full is None:
        return {column: ("", _missing("")) for column in COLUMNS} | {"image": (name, _missing("unreadable"))}
    sample = full.resized((max(round(CELL * full.size[0] / full.size[1]), 1), CELL))
    targets = sample.targets
    nothing = "", _missing("none" if not reading.problems else "unreadable", sample.size[0])
    cells: dict[str, Cell] = dict.fromkeys(COLUMNS, nothing)
    cells["image"] = f"{name}  {full.size[0]}x{full.size[1]}", sample.image
    cells["outlines"] = "", _outlined(reading, sample.size)
    if (depth := targets.get("depth")) is not None:
        known = full.targets["depth"][full.targets["depth"] > 0]
        span = f"{known.min():.2f} .. {known.max():.2f} m" if known.size else "no pixel has depth"
        drawn = KINDS["scalar_map"].colour(depth, limits=limits)
        cells["depth"] = span, np.where(depth[..., None] > 0, drawn, np.uint8(NO_DEPTH))
    normals, how = targets.get("normals"), "stored"
    if normals is None and depth is not None and sample.intrinsics is not None:
        normals, how = normals_from_depth(depth, sample.intrinsics), "derived from depth"
    if normals is not None:
        cells["normals"] = how, KINDS["unit_vector_map"].colour(normals)
    if (labels := targets.get("segmentation")) is not None:
        palette = opened.whole.classes.palette if opened.whole.classes else ()
        none = 100 * float((full.targets["segmentation"] == IGNORE).mean())
        cells["segmentation"] = f"{none:.0f} % unlabelled", KINDS["label_map"].colour(labels, palette)
    elif reading.ids is not None:
        cells["segmentation"] = "", _missing("ids that are no class", sample.size[0])
    return cells


def _outlined(reading: Reading, size: tuple[int, int]) -> np.ndarray:
    """The picture in pale grey with the outlines of depth in red and of the labels in blue."""
    sample = reading.sample
    assert sample is not None
    shown = sample.resized(size)
    grey = cv2.cvtColor(cv2.cvtColor(shown.image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    canvas = (grey // 2 + 110).astype(np.uint8)
    if reading.ids is not None:
        ids = reading.ids.astype(np.float32)
        edges = borders_of(cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST))
        canvas[edges] = LABEL_LINE
    if (depth := shown.targets.get("depth")) is not None:
        canvas[_steps(depth) > STEP] = DEPTH_LINE
    return canvas


def _steps(depth: np.ndarray) -> np.ndarray:
    """By how much of its depth a pixel (h, w) lies behind its neighbours; 0 beside holes."""
    filled = np.where(depth > 0, depth, np.inf).astype(np.float32)
    nearest = cv2.erode(filled, np.ones((3, 3), np.uint8))
    return np.where(np.isfinite(filled), 1 - nearest / np.where(depth > 0, depth, 1), 0)


def _missing(text: str, height: int = CELL * 3 // 4) -> np.ndarray:
    canvas = np.full((height, CELL, 3), 235, np.uint8)
    _write(canvas, text, (CELL - _wide(text)) // 2, height // 2 - LINE // 2, GREY)
    return canvas


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _write(canvas: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int], scale: float = SCALE) -> None:
    """One line, its top at row `y`, in place."""
    cv2.putText(canvas, _plain(text), (x, y + LINE - 5), FONT, scale, colour, 1, cv2.LINE_AA)


def _wide(text: str) -> int:
    return cv2.getTextSize(_plain(text), FONT, SCALE, 1)[0][0]


def _plain(text: str) -> str:
    """What OpenCV's font has; it crashes on a file's name that is no text."""
    return text.encode("ascii", "replace").decode()
