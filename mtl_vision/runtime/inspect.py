"""What a model file says about itself, as a page for people."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.demo import model_path
from mtl_vision.runtime.kinds import KINDS, Output
from mtl_vision.runtime.model import Model, files_of
from mtl_vision.runtime.terminal import printable

WIDTH, COLUMN = 100, 14  # characters of a line, and of its first word


def page(path: str | Path) -> str:
    """The page of a file that loads. Raises ModelError for one that does not."""
    path = model_path(path)
    m = Model(path, threads=1).manifest
    checksum = "checksum intact" if m.format_version > 1 else "no checksum (format version 1)"
    size = sum(part.stat().st_size for part in files_of(path))
    file = f"{size / 1e6:.1f} MB, {checksum}, manifest of format version {m.format_version}"
    graph = f"{m.form}, {m.precision or 'precision not said'}, opset {m.opset or 'not said'}"
    sections = {
        str(path): {"file": file, "graph": graph, "made with": _pairs(m.versions)},
        "input": _input(m),
        "outputs": {output.name: _output(output, m) for output in m.outputs},
        f"metrics{f' at {_size(m.trained_size)}' if m.trained_size else ''}": _metrics(m.metrics),
        "verified": _verification(m.verification),
    }
    return "\n\n".join("\n".join(_section(title, lines)) for title, lines in sections.items())


def _section(title: str, lines: Mapping[str, str]) -> Iterator[str]:
    yield printable(title)
    for name, text in (lines or {"": "nothing is said"}).items():
        first, *others = wrap(printable(text), WIDTH - COLUMN - 2) or [""]
        yield f"  {printable(name):<{COLUMN}}{'' if len(name) < COLUMN else ' '}{first}"
        yield from (" " * (COLUMN + 2) + line for line in others)


def _input(m: Manifest) -> dict[str, str]:
    height, width = ("H", "W") if m.dynamic_size else m.padded_size if m.form == "core" else (m.height, m.width)
    normal = f"mean {_numbers(m.mean)}, std {_numbers(m.std)} of 0 to 255" if m.mean and m.std else "not said how"
    if m.form == "core":
        image = f"1 x 3 x {height} x {width}, float32, RGB, as (values - mean) / std: {normal}"
        if m.padded_size != (m.height, m.width):
            image += f"; of {m.height} x {m.width}, the edge repeated below and to the right"
    else:
        image = f"N x {height} x {width} x 3, uint8, RGB, 0 to 255; normalised inside: {normal}"
    size = f"multiples of {m.stride}, of about the area of" if m.dynamic_size else "only"
    lines = {
        "image": image,
        "size": f"{size} {m.height} x {m.width} (H x W)",
        "resize": f"{m.resize}: scaled to fit, aspect kept, centred on the colour {_numbers(m.fill)}",
    }
    if m.intrinsics:
        fx, fy, cx, cy = m.intrinsics
        lines["camera"] = f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g} pixels at {m.height} x {m.width}"
    return lines


def _output(output: Output, m: Manifest) -> str:
    kind = KINDS[output.kind]
    shape, values = f"N x H x W{' x 3' if kind.tail else ''}, {kind.dtype.__name__}", kind.values
    if m.form == "core":
        channels = "classes" if output.kind == "label_map" else "3" if kind.tail else "1"
        shape = f"1 x {channels} x H x W, float32"
        values = {"classes": "logits", "3": "a vector of any length", "1": kind.values}[channels]
    said = [f"{output.kind}, {shape}", values.format(classes=len(output.classes))]
    if output.range:
        said.append(f"{output.range[0]:g} to {output.range[1]:g} {output.unit}".rstrip())
    elif output.unit:
        said.append(output.unit)
    said += [output.frame] if output.frame else []
    said += [", ".join(f"{i} {name}" for i, name in enumerate(output.classes))] if output.classes else []
    return "; ".join(said)


def _metrics(metrics: Mapping[str, Any]) -> dict[str, str]:
    """A line a task; single classes are left out."""
    lines: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        task, _, name = key.partition(".")
        if isinstance(value, int | float) and name and not name.startswith("iou."):
            lines.setdefault(task, {})[name] = f"{value:.4g}"
    return {task: _pairs(values) for task, values in lines.items()}


def _verification(found: Mapping[str, Any]) -> dict[str, str]:
    if not found:
        return {}
    lines = {"against": f"{found.get('against')}, on {found.get('images')}"}
    if isinstance(cases := found.get("cases"), list):
        lines["batches"] = ", ".join(map(str, cases))
    outputs = found.get("outputs")
    for name, figures in outputs.items() if isinstance(outputs, dict) else ():
        if isinstance(figures, dict):
            most = figures.get("limit")
            values = {key: f"{value:.3g}" for key, value in figures.items() if isinstance(value, int | float)}
            limit = f"; {most[0]} may be {most[1]:g}" if isinstance(most, list) else ""
            lines[str(name)] = f"at most {_pairs(values)}{limit}"
    if isinstance(small := found.get("int8"), dict):
        lines["8 bits"] = f"{small.get('times_as_fast')} times as fast as float32 on {small.get('machine')}"
        lines["advice"] = str(small.get("advice") or "none against it")
    return lines


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
