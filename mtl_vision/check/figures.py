"""The figures of a split, and how they are said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_vision.check.evidence import Evidence
from mtl_vision.check.frames import median_degrees
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.runtime.kinds import IGNORE

USUAL = 4.0  # degrees between stored normals and those of the depth, in NYUv2
MOST = 13  # classes that are named


@dataclass(frozen=True)
class Figures:
    """count: samples; looked_at: of those, read; sizes: samples by HxW; targets: files by target; depth in metres;
    classes: percent of the labelled pixels; scenes: how many, 0 if that is not known."""

    count: int
    looked_at: int
    sizes: dict[str, int]
    targets: dict[str, int]
    depth: dict[str, float] = field(default_factory=dict)
    normals: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    unlabelled_percent: float | None = None
    scenes: int = 0


def figures(dataset: FolderDataset, evidence: Evidence) -> Figures:
    """The figures of what was read."""
    sizes = Counter("x".join(map(str, look.size)) for look in evidence.looks if look.size is not None)
    targets = {name: sum(stem in files for stem in dataset.stems) for name, files in dataset.files.items()}
    degrees = median_degrees(evidence.close) if evidence.description.normals is not None else None
    histogram = sum((look.labels for look in evidence.looks if look.labels is not None), np.zeros(256, np.int64))
    names = dataset.classes.names if dataset.classes else ()
    labelled = max(int(histogram[:IGNORE].sum()), 1)
    has_labels = bool(histogram.sum())
    return Figures(
        count=len(dataset),
        looked_at=len(evidence.looks),
        sizes=dict(sizes.most_common()),
        targets=targets,
        depth=_depth(evidence),
        normals={} if degrees is None else {"median_degrees_to_depth": degrees},
        classes={n: round(100 * int(histogram[i]) / labelled, 3) for i, n in enumerate(names)} if has_labels else {},
        unlabelled_percent=round(100 * int(histogram[IGNORE]) / int(histogram.sum()), 2) if has_labels else None,
        scenes=len({dataset.scenes[stem] for stem in dataset.stems if stem in dataset.scenes}),
    )


def _depth(evidence: Evidence) -> dict[str, float]:
    looks = [look for look in evidence.looks if look.depth is not None]
    values = np.concatenate([look.depth for look in looks]) if looks else np.zeros(0)  # type: ignore[misc]
    if not values.size:
        return {}
    low, middle, high = (float(value) for value in np.percentile(values, (1, 50, 99)))
    invalid = float(np.mean([look.invalid_percent for look in looks]))
    return {"p1": low, "median": middle, "p99": high, "invalid_percent": invalid}


def to_text(split: str, f: Figures) -> str:
    """The figures for people."""
    seen = "" if f.looked_at == f.count else f" ({f.looked_at} looked at)"
    scenes = f", {f.scenes} scenes" if f.scenes else ""
    targets = ", ".join(f"{name} for {_part(count, f.count)}" for name, count in f.targets.items()) or "no targets"
    lines = [f"{split}: {f.count} samples{seen}{scenes}, {_sizes(f.sizes)}; {targets}"]
    if f.depth:
        lines.append(
            f"  depth     {f.depth['p1']:.2f} .. {f.depth['median']:.2f} .. {f.depth['p99']:.2f} m (1 %, median, "
            f"99 %), {f.depth['invalid_percent']:.1f} % invalid"
        )
    if f.normals:
        degrees = f.normals["median_degrees_to_depth"]
        doubt = f"; about {USUAL:.0f} is usual: are both of the same pictures?" if degrees > 2 * USUAL else ""
        lines.append(f"  normals   {degrees:.1f} degrees (median) from those of the depth{doubt}")
    if f.classes:
        found = sorted(((share, name) for name, share in f.classes.items() if share > 0), reverse=True)
        shares = ", ".join(f"{name} {share:.1f} %" for share, name in found[:MOST])
        shares += f" and {len(found) - MOST} more of {len(f.classes)}" if len(found) > MOST else f" of {len(f.classes)}"
        lines.append(f"  labels    {f.unlabelled_percent:.1f} % unlabelled; {shares}")
    return "\n".join(lines)


def _part(count: int, of: int) -> str:
    return "all" if count == of else f"{count}"


def _sizes(sizes: Mapping[str, Any]) -> str:
    if len(sizes) == 1:
        return f"all {next(iter(sizes))}"
    return ", ".join(f"{count} of {size}" for size, count in sizes.items()) or "none readable"
