"""What is in a data set, and what looks wrong with it: figures for people and programs, and a contact sheet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_vision.data.description import DataError
from mtl_vision.data.folder import FolderDataset
from mtl_vision.data.geometry import KIND_OF, resize
from mtl_vision.data.normals import normals_from_depth
from mtl_vision.data.sample import Sample
from mtl_vision.runtime.kinds import IGNORE, KINDS


@dataclass
class SplitReport:
    """Figures of one split; `faults` are sentences."""

    split: str
    count: int
    sizes: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    depth: dict[str, float] = field(default_factory=dict)
    normals: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    unlabelled_percent: float | None = None
    faults: list[str] = field(default_factory=list)


def report_split(dataset: FolderDataset, most: int = 200) -> SplitReport:
    """Look at up to `most` samples spread over the split; every unreadable file among them is named, none is fatal."""
    report = SplitReport(dataset.split, len(dataset))
    names = dataset.classes.names if dataset.classes else ()
    histogram = np.zeros(256, np.int64)
    depths: list[np.ndarray] = []
    invalid: list[float] = []
    pairs: list[np.ndarray] = []
    for index in spread(len(dataset), most):
        try:
            sample = dataset[index]
        except DataError as error:
            report.faults.append(str(error))
            continue
        key = "x".join(map(str, sample.size))
        report.sizes[key] = report.sizes.get(key, 0) + 1
        for name in sample.targets:
            report.targets[name] = report.targets.get(name, 0) + 1
        if (depth := sample.targets.get("depth")) is not None:
            depths.append(depth[depth > 0][::97])
            invalid.append(float((depth <= 0).mean()))
        if (labels := sample.targets.get("segmentation")) is not None:
            histogram += np.bincount(labels.ravel(), minlength=256)
        if len(pairs) < 20 and (pair := _against_depth(sample)) is not None:
            pairs.append(pair)
    _depth_figures(report, depths, invalid)
    _normals_figures(report, dataset, pairs)
    if histogram.sum():
        labelled = max(int(histogram[:IGNORE].sum()), 1)
        report.classes = {name: round(100 * int(histogram[i]) / labelled, 3) for i, name in enumerate(names)}
        report.unlabelled_percent = round(100 * int(histogram[IGNORE]) / int(histogram.sum()), 2)
        if histogram[:IGNORE].sum() == 0:
            report.faults.append("no pixel has a label: look at segmentation.first and .void in the description")
    return report


def _against_depth(sample: Sample) -> np.ndarray | None:
    """Stored normals beside those of the depth, (2, N, 3), where both exist."""
    if sample.intrinsics is None or not {"depth", "normals"} <= set(sample.targets):
        return None
    stored, derived = sample.targets["normals"], normals_from_depth(sample.targets["depth"], sample.intrinsics)
    both = KINDS["unit_vector_map"].valid(stored) & KINDS["unit_vector_map"].valid(derived)
    if not both.any():
        return None
    return np.stack([stored[both], derived[both]])[:, ::31]


def _depth_figures(report: SplitReport, depths: Sequence[np.ndarray], invalid: Sequence[float]) -> None:
    if not depths:
        return
    values = np.concatenate(depths)
    if not values.size:
        report.faults.append("no pixel has depth: look at depth.invalid in the description")
        return
    low, middle, high = (float(v) for v in np.percentile(values, (1, 50, 99)))
    report.depth = {"p1": low, "median": middle, "p99": high, "invalid_percent": 100 * float(np.mean(invalid))}
    if not 0.3 < middle < 80:
        report.faults.append(
            f"the median depth is {middle:.4g} m: expected metres of a room; look at depth.scale in the description "
            "(0.001 for millimetres)"
        )


def _normals_figures(report: SplitReport, dataset: FolderDataset, pairs: Sequence[np.ndarray]) -> None:
    fmt = dataset.description.normals
    if not pairs or fmt is None or fmt.derive:
        return
    stored, derived = np.concatenate(pairs, axis=1)
    median = float(np.median(np.degrees(np.arccos(np.clip((stored * derived).sum(-1), -1, 1)))))
    report.normals = {"median_degrees_to_depth": median}
    if (axes := _better_axes(stored, derived, fmt.axes)) is not None:
        report.faults.append(
            f"the stored normals do not fit the depth (median {median:.0f} degrees): another frame or sign; try "
            f"normals.axes [{', '.join(axes)}] in the description"
        )
    elif median > 45:
        report.faults.append(
            f"the stored normals lie {median:.0f} degrees (median) from those of the depth: another frame or sign; "
            "correct normals.axes in the description"
        )


def _better_axes(stored: np.ndarray, derived: np.ndarray, axes: Sequence[str]) -> list[str] | None:
    """The `normals.axes` that bring stored vectors (N, 3) nearest to the derived ones; None where `axes` do."""
    products = stored.T.astype(np.float64) @ derived / len(stored)  # [stored axis, our axis]
    turns = itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    score, order, signs = max(
        (sum(sign * products[j, k] for k, (j, sign) in enumerate(zip(order, signs, strict=True))), order, signs)
        for order, signs in turns
    )
    if score - np.trace(products) < 0.05:  # a mean cosine: noise, and axes that the pictures do not tell apart
        return None
    minus = [(axes[j][0] == "-") != (sign < 0) for j, sign in zip(order, signs, strict=True)]
    return [("-" if negative else "") + axes[j][-1] for j, negative in zip(order, minus, strict=True)]


def contact_sheet(datasets: Sequence[FolderDataset], rows: int = 6, width: int = 240) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a row a sample, spread over the splits; image and every target side by side."""
    lines: list[np.ndarray] = []
    for dataset in datasets:
        for index in spread(len(dataset), max(rows // len(datasets), 1)):
            try:
                sample = dataset[index]
            except DataError:
                continue
            size = (round(width * sample.size[0] / sample.size[1]), width)
            sample = resize(sample, size)
            palette = dataset.classes.palette if dataset.classes else ()
            cells = [sample.image]
            for name in dataset.target_names:
                array = sample.targets.get(name)
                kind = KINDS[KIND_OF[name]]
                cells.append(np.zeros_like(sample.image) if array is None else kind.colour(array, palette))
            lines.append(np.hstack(cells))
    if not lines:
        raise DataError("no sample could be read: there is nothing to draw")
    height = max(line.shape[0] for line in lines)
    return np.vstack([np.pad(line, ((0, height - line.shape[0]), (0, 0), (0, 0))) for line in lines])


def spread(count: int, most: int) -> list[int]:
    """At most `most` indices, evenly over 0..count - 1."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def to_text(reports: Sequence[SplitReport]) -> str:
    """The reports for people."""
    lines: list[str] = []
    for r in reports:
        lines.append(
            f"{r.split}: {r.count} samples, sizes {_list(r.sizes)}; targets {_list(r.targets)} (of those looked at)"
        )
        if r.depth:
            d = r.depth
            lines.append(
                f"  depth     {d['p1']:.2f} .. {d['median']:.2f} .. {d['p99']:.2f} m (1 %, median, 99 %), "
                f"{d['invalid_percent']:.1f} % invalid"
            )
        if r.normals:
            lines.append(
                f"  normals   {r.normals['median_degrees_to_depth']:.1f} degrees (median) from those of the depth"
            )
        if r.classes:
            lines.append(f"  labels    {r.unlabelled_percent:.1f} % unlabelled; " + _list(r.classes, " %"))
        lines += [f"  FAULT     {fault}" for fault in r.faults]
    return "\n".join(lines)


def _list(values: dict[str, Any], unit: str = "") -> str:
    return ", ".join(f"{key} {value:g}{unit}" for key, value in values.items()) or "none"
