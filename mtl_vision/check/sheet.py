"""The contact sheet: the faults, a few samples with all their maps, and what the colours mean."""

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np

from mtl_vision.check.outlines import borders_of
from mtl_vision.check.reading import Reading, read
from mtl_vision.check.report import Report
from mtl_vision.datasets.classes import ClassSet
from mtl_vision.datasets.files import spread
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Sample
from mtl_vision.runtime.kinds import IGNORE, INVALID, KINDS
from mtl_vision.runtime.kinds.unit_vector import DIRECTIONS
from mtl_vision.runtime.paint import INK, LINE, legend, paper, text_width, write

WIDTH, GAP, LETTER = 240, 6, 10  # pixels: width of a cell, between cells, width of a letter
COLUMNS = {
    "image": "image",
    "outlines": "depth red, labels blue",
    "depth": "depth",
    "normals": "normals",
    "segmentation": "labels",
}
GREY, RED, GREEN = (120, 120, 120), (200, 0, 0), (0, 120, 0)
DEPTH_LINE, LABEL_LINE = (230, 20, 20), (0, 170, 255)
STEP = 0.06  # of the depth; coarse sensors have steps of 4 %
FAULTS, FAULT_LINES = 6, 4  # faults that are written, and lines of each
Limits = tuple[float, float]  # depth that is drawn brightest and darkest, metres
Cell = tuple[str, np.ndarray]  # a caption and an image
Entries = list[tuple[str, np.ndarray | None]]  # names and colours; None: a heading


def contact_sheet(report: Report, rows: int = 6) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a row per sample, spread over the splits."""
    spans = [one.depth for one in report.summaries.values() if one.depth]
    limits = (min(d["p1"] for d in spans), max(d["p99"] for d in spans)) if spans else (0.0, 1.0)
    shown = {"image", "outlines", *(name for dataset in report.opened.values() for name in dataset.files)}
    if "depth" in shown and report.description.intrinsics is not None:
        shown.add("normals")  # derived
    columns = [name for name in COLUMNS if name in shown]
    width = max(len(columns), 4) * (WIDTH + GAP) + GAP
    parts = [_header(report, columns, width)]
    for name, dataset in report.opened.items():
        for index in spread(len(dataset), max(rows // len(report.opened), 1)):
            reading = read(dataset, index)
            found = _cells(f"{name}/{reading.stem}", reading, dataset.classes, limits)
            parts.append(_row([found[column] for column in columns], width))
    for entries in (_depth_and_normals(columns, limits), _classes(report)):
        parts.append(np.pad(legend(entries, width - GAP), ((0, 0), (GAP, 0), (0, 0)), constant_values=255))
    return np.vstack(parts)


def _header(report: Report, columns: Sequence[str], width: int) -> np.ndarray:
    lines = [(f"{report.root}: {report.description.source}", INK)]
    if not report.faults:
        lines.append(("no faults found; check that the outlines match the image", GREEN))
    lines += [(part, GREY) for text in report.unknown for part in textwrap.wrap(f"unknown: {text}", width // LETTER)]
    for fault in report.faults[:FAULTS]:
        text = f"FAULT  {fault.split + ': ' if fault.split else ''}{fault.text}"
        lines += [(part, RED) for part in textwrap.wrap(text, width // LETTER, subsequent_indent="    ")[:FAULT_LINES]]
    if len(report.faults) > FAULTS:
        lines.append((f"and {len(report.faults) - FAULTS} more faults", RED))
    canvas = paper((len(lines) + 1) * LINE + GAP, width)
    for i, (text, colour) in enumerate(lines):
        write(canvas[i * LINE :], text, GAP, colour)
    for i, name in enumerate(columns):
        write(canvas[len(lines) * LINE + GAP :], COLUMNS[name], GAP + i * (WIDTH + GAP))
    return canvas


def _row(found: Sequence[Cell], width: int) -> np.ndarray:
    """Cells side by side, each below its caption."""
    row = paper(max(image.shape[0] for _, image in found) + LINE, width)
    for i, (caption, image) in enumerate(found):
        column = row[:, GAP + i * (WIDTH + GAP) :][:, :WIDTH]
        write(column, caption)
        column[LINE : LINE + image.shape[0]] = image
    return row


def _cells(name: str, reading: Reading, classes: ClassSet | None, limits: Limits) -> dict[str, Cell]:
    full = reading.sample
    if full is None:
        return dict.fromkeys(COLUMNS, ("", _placeholder(""))) | {"image": (name, _placeholder("unreadable"))}
    sample = full.resized((max(round(WIDTH * full.size[0] / full.size[1]), 1), WIDTH))
    targets = sample.targets
    nothing = "", _placeholder("unreadable" if reading.problems else "none", sample.size[0])
    found: dict[str, Cell] = dict.fromkeys(COLUMNS, nothing)
    found["image"] = f"{name}  {full.size[0]}x{full.size[1]}", sample.image
    found["outlines"] = "", _outlines(sample, reading.ids)
    if (depth := targets.get("depth")) is not None:
        known = full.targets["depth"][full.targets["depth"] > 0]
        span = f"{known.min():.2f} .. {known.max():.2f} m" if known.size else "no pixel has depth"
        found["depth"] = span, KINDS["scalar_map"].colour(depth, limits=limits)
    normals, source = targets.get("normals"), "stored"
    if normals is None and depth is not None and sample.intrinsics is not None:
        normals, source = normals_from_depth(depth, sample.intrinsics), "derived from depth"
    if normals is not None:
        found["normals"] = source, KINDS["unit_vector_map"].colour(normals)
    if (labels := targets.get("segmentation")) is not None:
        unlabelled = 100 * float((full.targets["segmentation"] == IGNORE).mean())
        drawn = KINDS["label_map"].colour(labels, classes.palette if classes else ())
        found["segmentation"] = f"{unlabelled:.0f} % unlabelled", drawn
    elif reading.ids is not None:
        found["segmentation"] = "", _placeholder("ids that are no class", sample.size[0])
    return found


def _outlines(sample: Sample, ids: np.ndarray | None) -> np.ndarray:
    """The image in pale grey with the outlines of depth and labels."""
    grey = cv2.cvtColor(cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    canvas = grey // 2 + np.uint8(110)
    if ids is not None:
        ids = cv2.resize(ids.astype(np.float32), sample.size[::-1], interpolation=cv2.INTER_NEAREST)
        canvas[borders_of(ids)] = LABEL_LINE
    if (depth := sample.targets.get("depth")) is not None:
        nearest = cv2.erode(np.where(depth > 0, depth, np.inf).astype(np.float32), np.ones((3, 3), np.uint8))
        canvas[nearest < (1 - STEP) * depth] = DEPTH_LINE  # pixels behind a neighbour; holes are at 0
    return canvas


def _placeholder(text: str, height: int = WIDTH * 3 // 4) -> np.ndarray:
    """A grey cell that says why there is no image."""
    canvas = np.full((height, WIDTH, 3), 235, np.uint8)
    write(canvas[max((height - LINE) // 2, 0) :], text, (WIDTH - text_width(text)) // 2)
    return canvas


def _depth_and_normals(columns: Sequence[str], limits: Limits) -> Entries:
    """The colours of some depths and of the main directions."""
    near, far = limits
    steps = np.linspace(max(near, 1e-6), max(far, 2e-6), 6).round(1 if far > 1 else 6)
    colours = KINDS["scalar_map"].colour(steps[None].astype(np.float32), limits=limits)[0]
    entries: Entries = [("depth", None), *zip((f"{step:.3g} m" for step in steps), colours, strict=True)]
    entries.append(("none", INVALID))
    if "normals" in columns:
        colours = KINDS["unit_vector_map"].colour(np.array([list(DIRECTIONS.values())], np.float32))[0]
        entries += [("   normals", None), *zip(DIRECTIONS, colours, strict=True)]
    return entries


def _classes(report: Report) -> Entries:
    """The classes that occur, the most frequent first."""
    sets = [dataset.classes for dataset in report.opened.values() if dataset.classes is not None]
    if not sets:
        return []
    share = {name: sum(one.classes.get(name, 0) for one in report.summaries.values()) for name in sets[0].names}
    colours = {name: np.array(colour) for name, colour in zip(sets[0].names, sets[0].palette, strict=True)}
    present = sorted((name for name in share if share[name] > 0), key=lambda name: -share[name])
    return [("labels", None), *((name, colours[name]) for name in present), ("none", INVALID)]
